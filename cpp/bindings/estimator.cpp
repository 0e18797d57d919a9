// Estimators: tables in, estimates of recorded evidence out.
#include "ttamer/signals/estimator.hpp"

#include "arguments.hpp"
#include "bindings.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ttamer::bindings {

namespace {

std::size_t count_of(py::handle number, const char *name) {
    const auto value = integer_of(number, name);
    if (value < 1) {
        throw std::invalid_argument(std::string(name) + ": expected at least 1, got " + std::to_string(value));
    }
    return static_cast<std::size_t>(value);
}

std::shared_ptr<Estimator> make_estimator(py::handle nodes, py::handle class_count, py::handle top, py::handle kind,
                                          py::handle last, py::handle set_offsets, py::handle sets,
                                          py::handle candidate_offsets, py::handle candidates,
                                          py::handle coefficients) {
    const auto integers = [](py::handle value, const char *name) {
        return vector_of<std::int32_t>(value, name, "(*,) int32");
    };
    const EvidenceForm form{count_of(class_count, "class_count"), count_of(top, "top")};
    const auto narrowed = static_cast<std::int32_t>(
        std::min<std::int64_t>(static_cast<std::int64_t>(count_of(nodes, "nodes")), INT32_MAX));
    return std::make_shared<Estimator>(EstimatorTables{
        narrowed, form, estimate_kind(string_of(kind, "kind")), integers(last, "last"),
        integers(set_offsets, "set_offsets"), integers(sets, "sets"), integers(candidate_offsets, "candidate_offsets"),
        integers(candidates, "candidates"), vector_of<double>(coefficients, "coefficients", "(*,) float64")});
}

// (N, nodes, top) log-probabilities and classes that belong together.
struct Recorded {
    py::array log_probs;
    py::array classes;
};

Recorded recorded(py::handle log_probs, py::handle classes) {
    Recorded found{checked_array<float>(log_probs, "log_probs", "(N, n, top) float32", 3),
                   checked_array<std::int32_t>(classes, "classes", "(N, n, top) int32", 3)};
    for (int k = 0; k < 3; ++k) {
        if (found.log_probs.shape(k) != found.classes.shape(k)) {
            throw std::invalid_argument("classes: expected the shape of log_probs, got " + describe(classes));
        }
    }
    return found;
}

py::tuple estimate(const Estimator &estimator, py::handle log_probs, py::handle classes) {
    const auto given = recorded(log_probs, classes);
    if (given.log_probs.shape(1) != estimator.nodes() ||
        static_cast<std::size_t>(given.log_probs.shape(2)) != estimator.form().top) {
        throw std::invalid_argument("log_probs: expected (N, " + std::to_string(estimator.nodes()) + ", " +
                                    std::to_string(estimator.form().top) + ") float32, got " + describe(log_probs));
    }
    const auto steps = static_cast<py::ssize_t>(estimator.steps());
    py::array_t<float> signals({given.log_probs.shape(0), steps});
    py::array_t<std::int32_t> answers({given.log_probs.shape(0), steps});
    const auto probs = as_span<float>(given.log_probs);
    const auto labels = as_span<std::int32_t>(given.classes);
    const std::span<float> signals_out(signals.mutable_data(), static_cast<std::size_t>(signals.size()));
    const std::span<std::int32_t> answers_out(answers.mutable_data(), static_cast<std::size_t>(answers.size()));
    {
        const py::gil_scoped_release release;
        estimate_rows(estimator, probs, labels, signals_out, answers_out);
    }
    return py::make_tuple(signals, answers);
}

} // namespace

void bind_estimator(py::module_ &m) {
    py::class_<Estimator, std::shared_ptr<Estimator>>(m, "Estimator", "Immutable coefficients of estimates.")
        .def_static("_make", &make_estimator, py::arg("nodes"), py::arg("class_count"), py::arg("top"), py::arg("kind"),
                    py::arg("last"), py::arg("set_offsets"), py::arg("sets"), py::arg("candidate_offsets"),
                    py::arg("candidates"), py::arg("coefficients"))
        .def("estimate", &estimate, py::arg("log_probs"), py::arg("classes"),
             "(signals, answers), each (N, steps), of (N, n, top) evidence.");
    make_whole(py::type::of<Estimator>());
}

} // namespace ttamer::bindings
