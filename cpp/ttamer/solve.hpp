// Exact optimal policies. Formulas, conventions and names are those of python/ttamer/reference.py.
#pragma once

#include "ttamer/model.hpp"
#include "ttamer/policy.hpp"

#include <cstdint>
#include <limits>
#include <vector>

namespace ttamer {

// The dynamic index of every node of a line or forest and the value, in units of loss.
struct Surrogates {
    std::vector<std::vector<double>> index; // one (K_parent or 1) a node
    double value;                           // E[min(outside, min over roots of kappa)]
};

Surrogates solve_forest(const Model &model, const std::vector<double> &weighted_costs,
                        double outside = std::numeric_limits<double>::infinity());

// Backward induction over the attainable losses. Rows are states of a node; columns are ranks of the best loss so far
// and, last, infinity. Without recall nothing is carried, and infinity is the only column.
struct Induction {
    double value;
    std::int32_t first_node;
    std::vector<Matrix> best;                      // value of the best successor, infinity where there is none
    std::vector<std::vector<std::int32_t>> choice; // that successor, row-major as best; kStop where there is none
};

Induction solve_walk(const Model &model, const std::vector<double> &weighted_costs, bool recall);

// The optimal policy of a walk for a trade-off in (0, 1].
Policy solve(const Model &model, double tradeoff, bool recall);

} // namespace ttamer
