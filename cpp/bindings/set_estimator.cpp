// Set estimators: tables in, estimates of recorded scores and answers out.
#include "ttamer/signals/set_estimator.hpp"

#include "arguments.hpp"
#include "bindings.hpp"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace ttamer::bindings {

namespace {

std::shared_ptr<SetEstimator> make_set_estimator(py::handle nodes, py::handle tables) {
    const auto count =
        static_cast<std::int32_t>(std::clamp<std::int64_t>(integer_of(nodes, "nodes"), INT32_MIN, INT32_MAX));
    if (!py::isinstance<py::dict>(tables)) {
        refuse_type(tables, "tables", "a dict");
    }
    const auto arrays = py::reinterpret_borrow<py::dict>(tables);
    std::size_t read = 0;
    const auto array = [&]<typename T>(std::vector<T> &out, const char *name, const char *expected) {
        if (!arrays.contains(name)) {
            throw std::invalid_argument(std::string("tables: expected an entry '") + name + "', got none");
        }
        out = vector_of<T>(arrays[name], name, expected);
        ++read;
    };
    const auto integers = [&](std::vector<std::int32_t> &out, const char *name) { array(out, name, "(*,) int32"); };
    const auto doubles = [&](std::vector<double> &out, const char *name) { array(out, name, "(*,) float64"); };
    SetTables t{};
    t.nodes = count;
    integers(t.last, "last");
    integers(t.cells, "cells");
    integers(t.input_offsets, "input_offsets");
    integers(t.knot_offsets, "knot_offsets");
    array(t.knots, "knots", "(*,) float32");
    integers(t.columns, "columns");
    doubles(t.values, "values");
    integers(t.class_offsets, "class_offsets");
    integers(t.classes, "classes");
    integers(t.agreeing, "agreeing");
    integers(t.cell_offsets, "cell_offsets");
    integers(t.cell_nodes, "cell_nodes");
    integers(t.target_offsets, "target_offsets");
    integers(t.targets, "targets");
    integers(t.answering, "answering");
    doubles(t.coefficients, "coefficients");
    integers(t.tree_offsets, "tree_offsets");
    integers(t.tree_variables, "tree_variables");
    doubles(t.tree_thresholds, "tree_thresholds");
    integers(t.tree_left, "tree_left");
    integers(t.tree_right, "tree_right");
    if (arrays.size() != read) {
        throw std::invalid_argument("tables: expected " + std::to_string(read) + " entries, got " +
                                    std::to_string(arrays.size()));
    }
    return std::make_shared<SetEstimator>(std::move(t));
}

py::tuple estimate(const SetEstimator &estimator, py::handle scores, py::handle answers) {
    const auto values = checked_array<float>(scores, "scores", "(N, I) float32", 2);
    const auto replies = checked_array<std::int32_t>(answers, "answers", "(N, n) int32", 2);
    if (static_cast<std::size_t>(values.shape(1)) != estimator.inputs()) {
        throw std::invalid_argument("scores: expected (N, " + std::to_string(estimator.inputs()) +
                                    ") float32, one an input, got " + describe(scores));
    }
    if (replies.shape(1) != estimator.nodes() || replies.shape(0) != values.shape(0)) {
        throw std::invalid_argument("answers: expected (" + std::to_string(values.shape(0)) + ", " +
                                    std::to_string(estimator.nodes()) + ") int32, one a node, got " +
                                    describe(answers));
    }
    const auto steps = static_cast<py::ssize_t>(estimator.steps());
    py::array_t<float> signals({values.shape(0), steps});
    py::array_t<std::int32_t> answering({values.shape(0), steps});
    const auto score_span = as_span<float>(values);
    const auto reply_span = as_span<std::int32_t>(replies);
    const std::span<float> signals_out(signals.mutable_data(), static_cast<std::size_t>(signals.size()));
    const std::span<std::int32_t> answers_out(answering.mutable_data(), static_cast<std::size_t>(answering.size()));
    {
        const py::gil_scoped_release release;
        estimate_rows(estimator, score_span, reply_span, signals_out, answers_out);
    }
    return py::make_tuple(signals, answering);
}

py::array_t<std::int32_t> leaves_of(const SetEstimator &estimator) {
    py::array_t<std::int32_t> leaves(static_cast<py::ssize_t>(estimator.steps()));
    for (std::size_t step = 0; step < estimator.steps(); ++step) {
        leaves.mutable_data()[step] = estimator.leaves(step);
    }
    return leaves;
}

} // namespace

void bind_set_estimator(py::module_ &m) {
    py::class_<SetEstimator, std::shared_ptr<SetEstimator>>(
        m, "SetEstimator", "Immutable tables of estimates from scores and answers of the nodes consulted.")
        .def_static("_make", &make_set_estimator, py::arg("nodes"), py::arg("tables"))
        .def_property_readonly("leaves", &leaves_of, "(V,) int32 : the states of each step.")
        .def("estimate", &estimate, py::arg("scores"), py::arg("answers"),
             "(signals, answers), each (N, V), of (N, I) scores and (N, n) answers.");
    make_whole(py::type::of<SetEstimator>());
}

} // namespace ttamer::bindings
