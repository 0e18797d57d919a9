// Small models for the tests: random tables with many ties, from a generator that is the same everywhere.
#pragma once

#include "ttamer/decide/batch.hpp"
#include "ttamer/model/model.hpp"
#include "ttamer/policy/policy.hpp"
#include "ttamer/replay/replay.hpp"
#include "ttamer/solve/solve.hpp"

#include "random.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

namespace ttamer::test {

inline std::vector<double> row_of(std::mt19937 &random, std::size_t states) {
    std::vector<double> row(states);
    double sum = 0;
    for (auto &p : row) {
        p = below(random, 4);
        sum += p;
    }
    if (sum == 0) {
        row[0] = sum = 1;
    }
    for (auto &p : row) {
        p /= sum;
    }
    return row;
}

// Losses are multiples of 1/4 from 1/4 on; a signal is the number of its state.
inline Model random_model(const Topology &topology, std::size_t states, std::uint32_t seed, bool observed = true) {
    std::mt19937 random(seed);
    Model model{topology, {}, {}, {}, 1.0, {}, observed};
    for (std::int32_t j = 0; j < topology.nodes(); ++j) {
        model.losses.emplace_back();
        model.bin_edges.emplace_back();
        for (std::size_t s = 0; s < states; ++s) {
            model.losses.back().push_back((1 + below(random, 4)) / 4.0);
            if (s > 0) {
                model.bin_edges.back().push_back(static_cast<float>(s));
            }
        }
    }
    for (const auto &edge : topology.edges()) {
        const std::size_t rows = edge.from == kRoot ? 1 : states;
        std::vector<double> values;
        for (std::size_t s = 0; s < rows; ++s) {
            const auto row = row_of(random, states);
            values.insert(values.end(), row.begin(), row.end());
        }
        model.transitions.push_back(Transition::dense(rows, states, std::move(values)));
        model.costs.push_back(below(random, 3) / 16.0);
    }
    prepare(model);
    return model;
}

// The same where some nodes cannot answer, but not all.
inline Model model_with_probes(const Topology &topology, std::size_t states, std::uint32_t seed, bool observed = true) {
    std::mt19937 random(seed);
    Model model = random_model(topology, states, seed, observed);
    const auto answering = static_cast<std::size_t>(below(random, topology.nodes()));
    for (std::size_t j = 0; j < model.losses.size(); ++j) {
        if (j != answering && below(random, 2) == 0) {
            model.losses[j].assign(model.losses[j].size(), std::numeric_limits<double>::infinity());
        }
    }
    prepare(model);
    return model;
}

inline Topology some_dag() {
    const std::vector<Edge> edges{{kRoot, 1}, {kRoot, 3}, {1, 0}, {3, 0}, {1, 2}, {0, 2}};
    return Topology::dag(4, edges);
}

// Two ways that join, and a node that only the one where they do leads to.
inline Topology joining_dag() {
    const std::vector<Edge> edges{{kRoot, 0}, {kRoot, 1}, {0, 2}, {1, 2}, {2, 3}, {3, 4}, {0, 4}};
    return Topology::dag(5, edges);
}

// A node that goes on to two, which nothing else leads to, and from each a way of its own.
inline Topology parting_dag() {
    const std::vector<Edge> edges{{kRoot, 0}, {0, 1}, {0, 3}, {1, 2}, {3, 4}};
    return Topology::dag(5, edges);
}

// A line, all losses different, each state with a rank up to which it stops, which for some is its own.
inline PolicyTables large_tables(std::int32_t nodes, std::int32_t states, bool recall = true) {
    PolicyTables tables{.topology = Topology::line(nodes),
                        .recall = recall,
                        .observed = false,
                        .tradeoff = 0.5,
                        .value = 0.5,
                        .cost_scale = 1,
                        .first_node = 0,
                        .costs = std::vector<double>(static_cast<std::size_t>(nodes), 1.0),
                        .levels = {},
                        .state_offsets = {0},
                        .bin_edges = {},
                        .ranks = {},
                        .interval_offsets = {0},
                        .interval_upper = {},
                        .interval_next = {},
                        .index_offsets = {},
                        .index_ranks = {},
                        .signal_nodes = {}};
    for (std::int32_t j = 0; j < nodes; ++j) {
        for (std::int32_t s = 0; s < states; ++s) {
            const std::int32_t rank = (states - 1 - s) * nodes + j;
            tables.levels.push_back((j + nodes * s) / static_cast<double>(nodes * states));
            tables.ranks.push_back(rank);
            if (s > 0) { // crowded near 1, as edges of probabilities are
                tables.bin_edges.push_back(1.0F -
                                           static_cast<float>(states - s) * static_cast<float>(states - s) / (1 << 21));
            }
            const std::int32_t stops = j == nodes - 1 || s % 5 == 0 ? rank : rank / 2;
            tables.interval_upper.push_back(stops);
            tables.interval_next.push_back(kStop);
            if (stops < rank) {
                tables.interval_upper.push_back(rank);
                tables.interval_next.push_back(j + 1);
            }
            tables.interval_offsets.push_back(static_cast<std::int32_t>(tables.interval_upper.size()));
        }
        tables.state_offsets.push_back(static_cast<std::int32_t>(tables.ranks.size()));
        tables.signal_nodes.push_back(j);
    }
    std::sort(tables.levels.begin(), tables.levels.end());
    return tables;
}

// Good tables, of half of whose nodes the states have from one to four intervals each that lead anywhere: files may
// hold such policies, though no solver makes them.
inline PolicyTables with_random_intervals(const PolicyTables &before, std::uint32_t seed) {
    std::mt19937 random(seed);
    PolicyTables tables = before;
    const auto levels = static_cast<std::int32_t>(tables.levels.size());
    tables.interval_offsets = {0};
    tables.interval_upper.clear();
    tables.interval_next.clear();
    for (std::int32_t node = 0; node < tables.topology.nodes(); ++node) {
        const auto open = tables.topology.successors(node);
        const auto begin = static_cast<std::size_t>(tables.state_offsets[static_cast<std::size_t>(node)]);
        const auto end = static_cast<std::size_t>(tables.state_offsets[static_cast<std::size_t>(node) + 1]);
        const bool kept = below(random, 2) == 0;
        const bool many = below(random, 4) == 0; // more than are told apart without a search
        for (auto state = begin; state < end; ++state) {
            if (kept) {
                for (auto k = before.interval_offsets[state]; k < before.interval_offsets[state + 1]; ++k) {
                    tables.interval_upper.push_back(before.interval_upper[static_cast<std::size_t>(k)]);
                    tables.interval_next.push_back(before.interval_next[static_cast<std::size_t>(k)]);
                }
                tables.interval_offsets.push_back(static_cast<std::int32_t>(tables.interval_upper.size()));
                continue;
            }
            std::vector<std::int32_t> uppers{tables.ranks[state] + below(random, levels - tables.ranks[state])};
            while (uppers.back() > 0 && uppers.size() < (many ? 14 : 4) && (many || below(random, 3) > 0)) {
                uppers.push_back(below(random, uppers.back()));
            }
            tables.interval_upper.insert(tables.interval_upper.end(), uppers.rbegin(), uppers.rend());
            for (std::size_t k = 0; k < uppers.size(); ++k) {
                const auto which = static_cast<std::size_t>(below(random, static_cast<std::int32_t>(open.size()) + 1));
                tables.interval_next.push_back(which == open.size() ? kStop : open[which].node);
            }
            tables.interval_offsets.push_back(static_cast<std::int32_t>(tables.interval_upper.size()));
        }
    }
    return tables;
}

inline std::vector<float> random_signals(std::size_t count, std::int32_t states, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<float> signals(count);
    for (auto &signal : signals) {
        signal = static_cast<float>(below(random, states));
    }
    return signals;
}

// Where `changes` are made to the tables of a good policy, and what is then said of them.
template <typename Change> PolicyTables changed(const Policy &policy, Change &&change) {
    PolicyTables tables = policy.tables();
    change(tables);
    return tables;
}

inline std::vector<std::int32_t> answers(const Batch &batch) {
    std::vector<std::int32_t> nodes(batch.capacity());
    batch.answer_node(nodes);
    return nodes;
}

struct Replay {
    std::vector<std::int32_t> last_node;
    std::vector<std::int32_t> answer_node;
    std::vector<double> cost;
};

inline Replay replay_all(const Policy &policy, std::span<const float> signals, std::span<const double> costs) {
    const std::size_t rows = signals.size() / static_cast<std::size_t>(policy.nodes());
    Replay result{std::vector<std::int32_t>(rows), std::vector<std::int32_t>(rows), std::vector<double>(rows)};
    replay(policy, {signals, costs, {}}, {result.last_node, result.answer_node, result.cost, {}});
    return result;
}

} // namespace ttamer::test
