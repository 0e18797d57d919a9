#include "ttamer/signals/set_tables.hpp"

#include "ttamer/base/quantiser.hpp"
#include "ttamer/signals/tables.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace ttamer {

namespace {

template <typename T> bool all_finite(const std::vector<T> &values) {
    return std::all_of(values.begin(), values.end(), [](T value) { return std::isfinite(value); });
}

bool all_from_to(std::span<const std::int32_t> values, std::int32_t least, std::size_t end) {
    return std::all_of(values.begin(), values.end(),
                       [&](std::int32_t value) { return value >= least && (value < 0 || as_size(value) < end); });
}

bool are_different(std::span<const std::int32_t> values) {
    std::vector<std::int32_t> sorted(values.begin(), values.end());
    std::sort(sorted.begin(), sorted.end());
    return std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end();
}

// Whether the values of each part rise.
template <typename T> bool rise(const std::vector<T> &values, const std::vector<std::int32_t> &offsets) {
    for (std::size_t k = 0; k + 1 < offsets.size(); ++k) {
        const auto begin = values.begin() + offsets[k];
        const auto end = values.begin() + offsets[k + 1];
        if (std::adjacent_find(begin, end, std::greater_equal<>()) != end) {
            return false;
        }
    }
    return true;
}

void check_inputs(const SetTables &t) {
    require(t.nodes >= 1 && !t.last.empty(), "last: expected at least one node and one step");
    const std::size_t nodes = as_size(t.nodes);
    const std::size_t inputs = t.columns.size();
    require(all_from_to(t.last, 0, nodes), "last: expected nodes");
    require(are_offsets(t.input_offsets, nodes, inputs, true),
            "input_offsets: expected offsets into columns, one more than nodes");
    require(are_offsets(t.knot_offsets, inputs, t.knots.size(), true),
            "knot_offsets: expected offsets into knots, one more than inputs");
    require(all_finite(t.knots) && rise(t.knots, t.knot_offsets),
            "knots: expected finite numbers that rise strictly within an input");
    require(all_from_to(t.columns, 0, t.values.size() + 1), "columns: expected numbers of columns of values");
    for (std::size_t i = 0; i < inputs; ++i) {
        require(as_size(t.knot_offsets[i + 1] - t.knot_offsets[i]) <= Quantiser::kMaxEdges,
                "knots: expected at most 65534 in an input");
    }
    std::size_t values = 0;
    for (std::size_t i = 0; i < inputs; ++i) { // a sum that ends before it overflows
        values += (as_size(t.knot_offsets[i + 1] - t.knot_offsets[i]) + 2) * as_size(t.columns[i]);
        require(values <= t.values.size(), "values: expected a row a bin of each input, of as many as it has columns");
    }
    require(values == t.values.size(), "values: expected a row a bin of each input, of as many as it has columns");
    require(values <= std::numeric_limits<std::uint32_t>::max(), "values: expected at most 4294967295");
    require(all_finite(t.values), "values: expected finite numbers");
    require(are_offsets(t.class_offsets, nodes, t.classes.size(), true),
            "class_offsets: expected offsets into classes, one more than nodes");
    require(all_from_to(t.classes, -1, std::numeric_limits<std::size_t>::max()) && rise(t.classes, t.class_offsets),
            "classes: expected numbers from -1 that rise strictly within a node");
    require(t.agreeing.size() == nodes && all_from_to(t.agreeing, 0, 2), "agreeing: expected 0 or 1 for each node");
}

void check_cells(const SetTables &t) {
    const std::size_t nodes = as_size(t.nodes);
    const std::size_t cells = t.answering.size();
    require(t.cells.size() == t.last.size() && all_from_to(t.cells, 0, cells), "cells: expected a cell for each step");
    require(are_offsets(t.cell_offsets, cells, t.cell_nodes.size()),
            "cell_offsets: expected increasing offsets into cell_nodes, one more than cells");
    require(are_offsets(t.target_offsets, cells, t.targets.size()),
            "target_offsets: expected increasing offsets into targets, one more than cells");
    require(all_from_to(t.cell_nodes, 0, nodes), "cell_nodes: expected different nodes in each cell");
    require(all_from_to(t.targets, 0, nodes), "targets: expected different nodes in each cell");
    for (std::size_t cell = 0; cell < cells; ++cell) {
        require(are_different(part(t.cell_nodes, t.cell_offsets, cell)),
                "cell_nodes: expected different nodes in each cell");
        const auto targets = part(t.targets, t.target_offsets, cell);
        require(are_different(targets), "targets: expected different nodes in each cell");
        require(t.answering[cell] >= 0 && as_size(t.answering[cell]) <= targets.size(),
                "answering: expected how many of each cell's targets may answer");
    }
    require(all_finite(t.coefficients), "coefficients: expected finite numbers");
    require(are_offsets(t.tree_offsets, cells, t.tree_variables.size()),
            "tree_offsets: expected increasing offsets into tree_variables, one more than cells");
    require(t.tree_thresholds.size() == t.tree_variables.size() && all_finite(t.tree_thresholds),
            "tree_thresholds: expected a finite number for each of tree_variables");
    require(t.tree_left.size() == t.tree_variables.size(), "tree_left: expected one for each of tree_variables");
    require(t.tree_right.size() == t.tree_variables.size(), "tree_right: expected one for each of tree_variables");
}

// Each node but the root has one parent, which comes before it: descents end.
void check_tree(const SetTables &t, std::size_t cell) {
    const auto variables = part(t.tree_variables, t.tree_offsets, cell);
    const auto left = part(t.tree_left, t.tree_offsets, cell);
    const auto right = part(t.tree_right, t.tree_offsets, cell);
    const auto targets = part(t.targets, t.target_offsets, cell).size();
    const auto answering = as_size(t.answering[cell]);
    const std::size_t most = answering > 0 ? 1 + 2 * (targets - answering) : targets;
    require(all_from_to(variables, -1, most), "tree_variables: expected variables of the cell, or -1 for a leaf");
    const std::size_t count = variables.size();
    std::vector<bool> is_child(count, false);
    std::vector<bool> is_leaf(count, false);
    std::size_t leaves = 0;
    for (std::size_t k = 0; k < count; ++k) {
        if (variables[k] < 0) {
            require(left[k] >= 0 && as_size(left[k]) < count && !is_leaf[as_size(left[k])],
                    "tree_left: expected a number of its own for each leaf, from 0 on");
            require(right[k] == 0, "tree_right: expected 0 for each leaf");
            is_leaf[as_size(left[k])] = true;
            ++leaves;
            continue;
        }
        for (const auto &[child, complaint] :
             {std::pair{left[k], "tree_left: expected a later node of the cell's tree, no other's child"},
              std::pair{right[k], "tree_right: expected a later node of the cell's tree, no other's child"}}) {
            require(child >= 0 && as_size(child) > k && as_size(child) < count && !is_child[as_size(child)], complaint);
            is_child[as_size(child)] = true;
        }
    }
    require(static_cast<std::size_t>(std::count(is_child.begin(), is_child.end(), true)) == count - 1,
            "tree_left: expected every node of a tree but the first to be a child");
    require(
        std::all_of(is_leaf.begin(), is_leaf.begin() + static_cast<std::ptrdiff_t>(leaves), [](bool is) { return is; }),
        "tree_left: expected a number of its own for each leaf, from 0 on");
}

} // namespace

void check(const SetTables &tables) {
    check_inputs(tables);
    check_cells(tables);
    for (std::size_t cell = 0; cell < tables.answering.size(); ++cell) {
        check_tree(tables, cell);
    }
}

} // namespace ttamer
