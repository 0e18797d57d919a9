// What a model is made of: quantiser, counts, transitions.
#include "ttamer/model/model.hpp"

#include "arguments.hpp"
#include "bindings.hpp"

#include "ttamer/base/quantiser.hpp"
#include "ttamer/model/counts.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

namespace ttamer::bindings {

namespace {

py::array_t<double> matrix_array(const Matrix &matrix) {
    py::array_t<double> out({static_cast<py::ssize_t>(matrix.rows), static_cast<py::ssize_t>(matrix.columns)});
    std::copy(matrix.values.begin(), matrix.values.end(), out.mutable_data());
    return out;
}

Transition dense_transition(py::handle values) {
    const auto array = checked_array<double>(values, "values", "(rows, columns) float64", 2);
    const auto span = as_span<double>(array);
    if (span.empty()) {
        throw std::invalid_argument("values: expected at least one row and column, got " + describe(values));
    }
    return Transition::dense(static_cast<std::size_t>(array.shape(0)), static_cast<std::size_t>(array.shape(1)),
                             {span.begin(), span.end()});
}

std::int32_t size_of(py::handle value, const char *name) {
    const auto size = integer_of(value, name);
    if (size < 1 || size > INT32_MAX) {
        throw std::invalid_argument(std::string(name) + ": expected 1 to 2147483647, got " + std::to_string(size));
    }
    return static_cast<std::int32_t>(size);
}

Counts counts_from_arrays(py::handle columns, py::handle offsets, py::handle indices, py::handle values) {
    const auto width = size_of(columns, "columns");
    Counts counts{0, width, vector_of<std::int64_t>(offsets, "offsets", "(rows + 1,) int64"),
                  vector_of<std::int32_t>(indices, "indices", "(entries,) int32"),
                  vector_of<double>(values, "values", "(entries,) float64")};
    counts.rows = static_cast<std::int32_t>(counts.offsets.size()) - 1;
    check(counts);
    return counts;
}

Counts count_checked(py::handle from, py::handle to, py::handle height, py::handle width, py::handle masses) {
    const auto rows = size_of(height, "rows");
    const auto columns = size_of(width, "columns");
    const auto sources = span_of<std::int32_t>(from, "from_states", "(N,) int32");
    const auto targets = span_of<std::int32_t>(to, "to_states", "(N,) int32");
    if (sources.size() != targets.size()) {
        throw std::invalid_argument("to_states: expected as many as from_states");
    }
    const auto outside = [](std::span<const std::int32_t> states, std::int32_t bound) {
        return std::any_of(states.begin(), states.end(), [=](auto state) { return state < 0 || state >= bound; });
    };
    if (outside(sources, rows) || outside(targets, columns)) {
        throw std::out_of_range("states: out of range of rows or columns");
    }
    if (masses.is_none()) {
        return count_transitions(sources, targets, rows, columns);
    }
    const auto weights = span_of<double>(masses, "weights", "(N,) float64");
    if (weights.size() != sources.size()) {
        throw std::invalid_argument("weights: expected as many as from_states");
    }
    if (!std::all_of(weights.begin(), weights.end(), [](auto weight) { return weight > 0 && std::isfinite(weight); })) {
        throw std::invalid_argument("weights: expected finite numbers > 0");
    }
    return count_transitions(sources, targets, rows, columns, weights);
}

py::array_t<std::int32_t> states_array(py::handle edges, py::handle signals, py::handle number) {
    const auto node = integer_of(number, "node");
    const auto array = checked_array<float>(signals, "signals", "(N, n) float32", 2);
    if (node < 0 || node >= array.shape(1)) {
        throw std::out_of_range("node: expected 0 to " + std::to_string(array.shape(1) - 1) + ", got " +
                                std::to_string(node));
    }
    return to_array(states_of(span_of<float>(edges, "edges", "(K - 1,) float32"), as_span<float>(array),
                              static_cast<std::size_t>(array.shape(1)), static_cast<std::size_t>(node)));
}

constexpr std::size_t kMostTables = std::size_t{1} << 20; // of any topology's nodes or edges

std::shared_ptr<Model> make_model(py::handle topology, py::handle losses, py::handle transitions, py::handle costs,
                                  py::handle cost_scale, py::handle bin_edges, py::handle observed,
                                  py::handle signal_nodes, py::handle state_costs) {
    auto model = std::make_shared<Model>(Model{instance_of<Topology>(topology, "topology", "a Topology"),
                                               {},
                                               {},
                                               vector_of<double>(costs, "costs", "(E,) float64"),
                                               number_of(cost_scale, "cost_scale"),
                                               {},
                                               flag_of(observed, "observed")});
    if (!state_costs.is_none()) {
        for (const auto &row : items_of(state_costs, "state_costs", "a sequence of arrays", kMostTables)) {
            model->state_costs.push_back(vector_of<double>(row, "state_costs", "(K,) float64"));
        }
    }
    if (!signal_nodes.is_none()) {
        model->signal_nodes = vector_of<std::int32_t>(signal_nodes, "signal_nodes", "(n,) int32");
    }
    for (const auto &matrix : items_of(transitions, "transitions", "a sequence of Transition", kMostTables)) {
        model->transitions.push_back(instance_of<Transition>(matrix, "transitions", "a sequence of Transition"));
    }
    for (const auto &row : items_of(losses, "losses", "a sequence of arrays", kMostTables)) {
        model->losses.push_back(vector_of<double>(row, "losses", "(K,) float64"));
    }
    for (const auto &row : items_of(bin_edges, "bin_edges", "a sequence of arrays", kMostTables)) {
        model->bin_edges.push_back(vector_of<float>(row, "bin_edges", "(K - 1,) float32"));
    }
    prepare(*model);
    return model;
}

void bind_counts(py::module_ &m) {
    py::class_<Counts>(m, "Counts", "Transition counts between the states of two nodes, in compressed rows.")
        .def_static("_make", &counts_from_arrays, py::arg("columns"), py::arg("offsets"), py::arg("indices"),
                    py::arg("values"), "From the arrays of compressed rows; ValueError if they do not fit together.")
        .def_static("count", &count_checked, py::arg("from_states"), py::arg("to_states"), py::arg("rows"),
                    py::arg("columns"), py::arg("weights") = py::none(),
                    "Count the pairs of two (N,) int32 arrays of states, or add up their (N,) float64 weights.")
        .def_readonly("rows", &Counts::rows)
        .def_readonly("columns", &Counts::columns)
        .def_property_readonly("offsets", [](const Counts &c) { return to_array(c.offsets); })
        .def_property_readonly("indices", [](const Counts &c) { return to_array(c.indices); })
        .def_property_readonly("values", [](const Counts &c) { return to_array(c.values); })
        .def("__add__", &add, py::arg("other"), py::is_operator())
        .def("__sub__", &subtract, py::arg("other"), py::is_operator());
    make_whole(py::type::of<Counts>());
}

} // namespace

void bind_model(py::module_ &m) {
    bind_counts(m);
    py::class_<Transition>(m, "Transition", "Transition matrix of one edge: dense, or counts shrunk to the marginal.")
        .def_static("dense", &dense_transition, py::arg("values"), "From a (rows, columns) float64 array.")
        .def_static(
            "counted",
            [](py::handle table, py::handle marginal, py::handle weight) {
                const auto &counts = instance_of<Counts>(table, "counts", "Counts");
                const auto strength = number_of(weight, "strength");
                const auto sums = span_of<double>(marginal, "marginal", "(columns,) float64");
                if (static_cast<std::int64_t>(sums.size()) != counts.columns) {
                    throw std::invalid_argument("marginal: expected one count for each column");
                }
                return Transition::counted(counts, sums, strength);
            },
            py::arg("counts"), py::arg("marginal"), py::arg("strength"),
            "Row frequencies shrunk to the marginal, kept sparse.")
        .def("to_dense", [](const Transition &t) { return matrix_array(t.to_dense()); }, "(rows, columns) float64.");
    py::class_<Model, std::shared_ptr<Model>>(m, "Model", "What the solvers read.")
        .def_static("_make", &make_model, py::arg("topology"), py::arg("losses"), py::arg("transitions"),
                    py::arg("costs"), py::arg("cost_scale"), py::arg("bin_edges"), py::arg("observed"),
                    py::arg("signal_nodes") = py::none(), py::arg("state_costs") = py::none());
    make_whole(py::type::of<Transition>());
    make_whole(py::type::of<Model>());
    m.def("states", &states_array, py::arg("edges"), py::arg("signals"), py::arg("node"),
          "(N,) int32 states of column `node` of (N, n) float32 signals.");
}

} // namespace ttamer::bindings
