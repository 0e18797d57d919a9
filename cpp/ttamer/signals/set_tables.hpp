// The tables of a set estimator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace ttamer {

// A policy that estimates decides over the steps of a walk: a step is a set of nodes consulted and the last of them. At
// each, a cell turns what the nodes showed into columns, columns into an estimated loss of each of its targets,
// linearly, and these into a leaf of a tree, which is the step's state.
struct SetTables {
    std::int32_t nodes;
    std::vector<std::int32_t> last;  // node consulted last, one a step
    std::vector<std::int32_t> cells; // one a step
    // Inputs of nodes: scores, which fall into bins between knots. A bin gives the input's columns their values; the
    // bin after the last is that of missing scores.
    std::vector<std::int32_t> input_offsets; // nodes + 1
    std::vector<std::int32_t> knot_offsets;  // inputs + 1, into knots
    std::vector<float> knots;
    std::vector<std::int32_t> columns; // how many, one an input
    std::vector<double> values;        // (knots + 2, columns) of each input
    // Answers of nodes that have a column: an indicator, and the same times the node's first column.
    std::vector<std::int32_t> class_offsets; // nodes + 1, into classes
    std::vector<std::int32_t> classes;
    std::vector<std::int32_t> agreeing;     // nodes: whether a column for each pair of them tells if answers are equal
    std::vector<std::int32_t> cell_offsets; // cells + 1, into cell_nodes
    std::vector<std::int32_t> cell_nodes;   // whose columns a cell has
    std::vector<std::int32_t> target_offsets; // cells + 1, into targets
    std::vector<std::int32_t> targets;        // nodes
    std::vector<std::int32_t> answering;      // cells: how many of the first targets may answer
    std::vector<double> coefficients;         // of each cell and target, an intercept and a weight a column
    std::vector<std::int32_t> tree_offsets;   // cells + 1, into the rest
    std::vector<std::int32_t> tree_variables; // -1: a leaf, whose number is tree_left
    std::vector<double> tree_thresholds;
    std::vector<std::int32_t> tree_left; // where the variable is at most the threshold
    std::vector<std::int32_t> tree_right;
};

// The part number k of those that offsets cut values into.
inline std::span<const std::int32_t> part(const std::vector<std::int32_t> &values,
                                          const std::vector<std::int32_t> &offsets, std::size_t k) {
    return std::span(values).subspan(static_cast<std::size_t>(offsets[k]),
                                     static_cast<std::size_t>(offsets[k + 1] - offsets[k]));
}

// Throws std::invalid_argument that names the table if anything does not fit together, but for the number of
// coefficients.
void check(const SetTables &tables);

} // namespace ttamer
