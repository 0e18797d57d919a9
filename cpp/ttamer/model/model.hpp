// What a solver reads: losses per state, transitions, costs.
#pragma once

#include "ttamer/base/quantiser.hpp"
#include "ttamer/base/topology.hpp"
#include "ttamer/model/transition.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace ttamer {

using EdgeCosts = std::vector<std::vector<double>>;

// What an edge costs in a state; a single cost is that of all states.
inline double cost_in(std::span<const double> costs, std::size_t state) {
    return costs[costs.size() == 1 ? 0 : state];
}

struct Model {
    Topology topology;
    std::vector<std::vector<double>> losses; // one (K_j) a node; infinite in every state of a probe
    std::vector<Transition> transitions;     // one (K_i or 1, K_j) an edge
    std::vector<double> costs;               // one an edge, in the user's unit; the mean where it differs by state
    double cost_scale;                       // what costs are divided by
    std::vector<std::vector<float>> bin_edges;
    bool observed; // a consulted node's loss is seen: its signal is the loss itself
    // The node whose signal tells each node's state: mostly its own. A node whose signal says nothing takes that of one
    // which every path to it passes.
    std::vector<std::int32_t> signal_nodes = {}; // empty: each its own, which prepare writes out

    // One (K_i or 1) an edge: what it costs in each state of the node it leaves. Empty: `costs`, which prepare copies.
    EdgeCosts state_costs = {};

    // What does not depend on the trade-off, worked out once by prepare.
    std::vector<double> levels = {};                   // losses that can be attained, increasing
    std::vector<std::vector<std::int32_t>> ranks = {}; // position of each state's loss among them
    std::shared_ptr<const Quantisers> quantisers = {};

    // A node that informs and cannot answer.
    bool is_probe(std::int32_t node) const { return std::isinf(losses[static_cast<std::size_t>(node)][0]); }
    std::size_t states(std::int32_t node) const { return losses[static_cast<std::size_t>(node)].size(); }
};

// Check a model whose tables are filled in, and complete it. Throws std::invalid_argument that names the node or edge
// if anything does not fit.
void prepare(Model &model);

} // namespace ttamer
