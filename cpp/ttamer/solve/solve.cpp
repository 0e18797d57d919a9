// From a solved walk to the tables of a policy.
#include "ttamer/solve/solve.hpp"

#include "ttamer/base/levels.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace ttamer {

EdgeCosts weigh_costs(const Model &model, double tradeoff) {
    if (!(tradeoff > 0 && tradeoff <= 1)) {
        std::ostringstream text; // shorter than to_string: 1.5, not 1.500000
        text << "tradeoff: expected a number in (0, 1], got " << tradeoff;
        throw std::invalid_argument(text.str());
    }
    const double weight = (1 - tradeoff) / tradeoff / model.cost_scale;
    EdgeCosts weighted = model.state_costs;
    for (auto &edge : weighted) {
        for (auto &cost : edge) {
            cost *= weight;
            if (!std::isfinite(cost)) {
                std::ostringstream text;
                text << "tradeoff: " << tradeoff << " with costs divided by " << model.cost_scale
                     << " weighs costs infinitely more than losses";
                throw std::invalid_argument(text.str());
            }
        }
    }
    return weighted;
}

namespace {

PolicyTables start_tables(const Model &model, double tradeoff, bool recall) {
    PolicyTables tables{.topology = model.topology,
                        .recall = recall,
                        .observed = model.observed,
                        .tradeoff = tradeoff,
                        .value = 0,
                        .cost_scale = model.cost_scale,
                        .first_node = kStop,
                        .costs = model.costs,
                        .levels = model.levels,
                        .state_offsets = {0},
                        .bin_edges = {},
                        .ranks = {},
                        .interval_offsets = {},
                        .interval_upper = {},
                        .interval_next = {},
                        .index_offsets = {},
                        .index_ranks = {},
                        .signal_nodes = model.signal_nodes};
    std::size_t states = 0;
    for (const auto &ranks : model.ranks) {
        states += ranks.size();
    }
    tables.ranks.reserve(states);
    tables.bin_edges.reserve(states);
    tables.state_offsets.reserve(model.losses.size() + 1);
    for (std::size_t j = 0; j < model.losses.size(); ++j) {
        tables.bin_edges.insert(tables.bin_edges.end(), model.bin_edges[j].begin(), model.bin_edges[j].end());
        tables.ranks.insert(tables.ranks.end(), model.ranks[j].begin(), model.ranks[j].end());
        tables.state_offsets.push_back(static_cast<std::int32_t>(tables.ranks.size()));
    }
    return tables;
}

void fill_from_walk(const Induction &solved, PolicyTables &tables) {
    tables.value = tables.tradeoff * solved.value;
    tables.first_node = solved.first_node;
    std::size_t intervals = 0;
    for (const auto &node : solved.intervals) {
        intervals += node.intervals.size();
    }
    tables.interval_upper.resize(intervals);
    tables.interval_next.resize(intervals);
    tables.interval_offsets.resize(tables.ranks.size() + 1);
    std::size_t state = 0;
    std::size_t before = 0;
    for (const auto &node : solved.intervals) {
        for (std::size_t k = 0; k < node.intervals.size(); ++k) {
            tables.interval_upper[before + k] = node.intervals[k].upper;
            tables.interval_next[before + k] = node.intervals[k].next;
        }
        for (const auto end : node.ends) {
            tables.interval_offsets[++state] = static_cast<std::int32_t>(before + end);
        }
        before += node.intervals.size();
    }
}

// One interval a state.
void fill_from_last(LastInduction solved, PolicyTables &tables) {
    tables.value = tables.tradeoff * solved.value;
    tables.first_node = solved.first_node;
    tables.interval_upper = tables.ranks;
    tables.interval_next = std::move(solved.next);
    tables.interval_offsets.resize(tables.ranks.size() + 1);
    std::iota(tables.interval_offsets.begin(), tables.interval_offsets.end(), 0);
}

// Losses and indices are compared with each other at run time, so both get ranks among all of them.
void fill_from_surrogates(Surrogates solved, const Model &model, PolicyTables &tables) {
    snap(model.levels, solved.index);
    tables.value = tables.tradeoff * solved.value;
    tables.levels = merge_levels(model.levels, solved.index);
    for (auto &rank : tables.ranks) {
        rank = rank_of(tables.levels, model.levels[static_cast<std::size_t>(rank)]);
    }
    tables.index_offsets.push_back(0);
    for (const auto &row : solved.index) {
        for (const double value : row) {
            tables.index_ranks.push_back(rank_of(tables.levels, value));
        }
        tables.index_offsets.push_back(static_cast<std::int32_t>(tables.index_ranks.size()));
    }
    double lowest = std::numeric_limits<double>::infinity();
    for (const auto &root : model.topology.successors(kRoot)) { // ascending: ties go to the lowest node
        const double index = solved.index[static_cast<std::size_t>(root.node)][0];
        tables.first_node = index < lowest ? root.node : tables.first_node;
        lowest = std::min(lowest, index);
    }
}

} // namespace

Policy solve(const Model &model, double tradeoff, bool recall) {
    const auto weighted = weigh_costs(model, tradeoff);
    auto tables = start_tables(model, tradeoff, recall);
    if (model.topology.shape() == Shape::forest) {
        if (!recall) {
            throw std::invalid_argument("recall: a forest has no last node to answer, expected recall");
        }
        fill_from_surrogates(solve_forest(model, weighted), model, tables);
    } else if (recall) {
        fill_from_walk(solve_walk(model, weighted), tables);
    } else {
        fill_from_last(solve_last(model, weighted), tables);
    }
    return {std::move(tables), model.quantisers};
}

namespace {

// Losses that states lead to: a node's own or, of a probe, the least that is expected after it.
std::vector<std::vector<double>> losses_ahead(const Model &model) {
    auto losses = model.losses;
    const auto &order = model.topology.order();
    for (auto node = order.rbegin(); node != order.rend(); ++node) {
        auto &own = losses[static_cast<std::size_t>(*node)];
        if (!model.is_probe(*node)) {
            continue;
        }
        for (const auto &next : model.topology.successors(*node)) {
            const auto &after = losses[static_cast<std::size_t>(next.node)];
            if (std::isinf(after[0])) {
                continue; // no way to an answer, from any of its states
            }
            const auto expected = model.transitions[static_cast<std::size_t>(next.edge)].times(after);
            for (std::size_t s = 0; s < own.size(); ++s) {
                own[s] = std::min(own[s], expected[expected.size() == 1 ? 0 : s]);
            }
        }
    }
    return losses;
}

} // namespace

Model aggregate(const Model &model, std::size_t states) {
    Model aggregated = model;
    const auto losses = losses_ahead(model);
    for (std::size_t e = 0; e < model.transitions.size(); ++e) {
        const auto &ahead = losses[static_cast<std::size_t>(model.topology.edges()[e].to)];
        if (!std::isinf(ahead[0])) { // states that lead to no answer are all alike
            aggregated.transitions[e] = Transition::aggregated(model.transitions[e], ahead, states);
        }
    }
    return aggregated;
}

} // namespace ttamer
