// Exact optimal policies. Formulas, conventions and names are those of ttamer.reference.
#pragma once

#include "ttamer/model/model.hpp"
#include "ttamer/policy/policy.hpp"

#include <cstdint>
#include <limits>
#include <vector>

namespace ttamer {

// Costs in units of loss, so that minimising loss + weighted cost is minimising the trade-off.
EdgeCosts weigh_costs(const Model &model, double tradeoff);

// The dynamic index of every node of a line or forest and the value, in units of loss.
struct Surrogates {
    std::vector<std::vector<double>> index; // one (K_parent or 1) a node
    double value;                           // E[min(outside, min over roots of kappa)]
};

Surrogates solve_forest(const Model &model, const EdgeCosts &weighted_costs,
                        double outside = std::numeric_limits<double>::infinity());

// What to do in each state of a node, by rank of the best loss so far; equal neighbours are merged.
struct Interval {
    std::int32_t upper;
    std::int32_t next;
};

struct StateIntervals {
    std::vector<std::size_t> ends; // of each state's intervals
    std::vector<Interval> intervals;
};

// Backward induction over the attainable losses, with recall.
struct Induction {
    double value; // in units of loss
    std::int32_t first_node;
    std::vector<StateIntervals> intervals; // one a node
};

Induction solve_walk(const Model &model, const EdgeCosts &weighted_costs);

// The same without recall, where the last node consulted answers: what to do depends on its state alone.
struct LastInduction {
    double value; // in units of loss
    std::int32_t first_node;
    std::vector<std::int32_t> next; // of each state, of all nodes, or kStop
};

LastInduction solve_last(const Model &model, const EdgeCosts &weighted_costs);

// The optimal policy for a trade-off in (0, 1]. A forest needs recall.
Policy solve(const Model &model, double tradeoff, bool recall);

// The model after soft aggregation of every transition to at most `states` meta-states. For solving only.
Model aggregate(const Model &model, std::size_t states);

} // namespace ttamer
