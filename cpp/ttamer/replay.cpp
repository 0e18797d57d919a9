#include "ttamer/replay.hpp"

#include "ttamer/dispatch.hpp"
#include "ttamer/kernels.hpp"
#include "ttamer/open_nodes.hpp"
#include "ttamer/passing.hpp"
#include "ttamer/row_block.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <limits>

namespace ttamer {

namespace {

// Forests: one request after the other, since each has open nodes of its own.
class ForestRunner {
  public:
    ForestRunner(const Policy &policy, std::span<const double> costs)
        : policy_(policy), costs_(costs), open_(static_cast<std::size_t>(policy.nodes())) {}

    void run(const float *signals, std::int32_t &last, std::int32_t &answer, double &cost) {
        open_roots(policy_, open_.data());
        RowState row = kFreshRow;
        float best_signal = std::numeric_limits<float>::infinity();
        for (std::int32_t node = policy_.tables().first_node; node != kStop;) {
            cost += costs_[static_cast<std::size_t>(policy_.topology().incoming_edge(node))];
            const std::int32_t state = state_of(policy_, node, signals[node]);
            last = node;
            node = consult_branch(policy_, node, state, signals[node], row, best_signal, open_.data());
        }
        answer = answer_of(row);
    }

  private:
    const Policy &policy_;
    std::span<const double> costs_;
    std::vector<std::int32_t> open_;
};

// How many requests move together, by the signals they have. The more there are, the fewer times the tables of all
// nodes come into the first-level cache; the signals should stay in the second.
constexpr std::size_t kSignals = std::size_t{1} << 15;
constexpr std::size_t kFewestRequests = 1024;
constexpr std::size_t kMostRequests = 4096;

// Rows say which request they are in place of where they stand: all rows that wait for a node stand there.
static_assert(kMostRequests <= kPositionBits + 1);

std::size_t request_of(RowState row) {
    return static_cast<std::size_t>(row & kPositionBits);
}

// The requests' signals in a column of a row-major array. As bits: in a float register, they took a quarter longer.
void take_column(const float *column, std::size_t columns, const RowState *TTAMER_RESTRICT rows, std::size_t count,
                 float *TTAMER_RESTRICT taken) {
    TTAMER_UNROLL
    for (std::size_t k = 0; k < count; ++k) {
        std::memcpy(taken + k, column + request_of(rows[k]) * columns, sizeof(float));
    }
}

// A node of a policy without recall: signals whose keys are below the first of `keys` stop or go on, as `lowest` says,
// those from there to the second do the other, and so on.
struct Turns {
    std::vector<std::uint32_t> keys;
    StateEntry lowest;
};

// As many comparisons as cost less than looking a state up; mostly there is one.
constexpr std::size_t kMostTurns = 16;

Turns turns_of(const Policy &policy, std::int32_t node) {
    const StateEntry *entries = policy.entries(node);
    const auto edges = policy.edges_of(node);
    const auto action = [&](std::size_t state) {
        return rank_of(entries[state]) <= stop_upper_of(entries[state]) ? kStops : kGoesOn;
    };
    Turns turns{{}, action(0)};
    for (std::size_t state = 1; state <= edges.size() && turns.keys.size() <= kMostTurns; ++state) {
        if (action(state) != action(state - 1)) {
            turns.keys.push_back(order_key(edges[state - 1]));
        }
    }
    return turns;
}

// The cost of the path to each node, where no node can be reached by two; else nothing. Nodes no policy reaches cost 0.
std::vector<double> costs_of_paths(const Policy &policy, std::span<const double> costs) {
    std::vector<double> paid(static_cast<std::size_t>(policy.nodes()));
    for (const auto node : policy.topology().order()) {
        const std::int32_t previous = policy.only_previous(node);
        if (previous == Policy::kSeveral) {
            return {};
        }
        const double before = previous == kRoot ? 0.0 : paid[static_cast<std::size_t>(previous)];
        paid[static_cast<std::size_t>(node)] =
            before + costs[static_cast<std::size_t>(policy.edge_between(previous, node))];
    }
    return paid;
}

// Walks: some thousand requests move through the nodes together, so that those at one node are consulted together. Each
// node has a queue of the rows that wait for it, which lie side by side when they are consulted.
class WalkRunner {
  public:
    WalkRunner(const Policy &policy, const Recorded &recorded, const Replayed &result)
        : policy_(policy), recorded_(recorded), result_(result), nodes_(static_cast<std::size_t>(policy.nodes())),
          rows_(nodes_ * requests()), counts_(nodes_), stopped_(requests()),
          path_costs_(costs_of_paths(policy, recorded.costs)), cost_(path_costs_.empty() ? requests() : 0),
          observed_(policy.tables().recall && policy.tables().observed), best_signals_(observed_ ? requests() : 0) {
        for (std::int32_t node = 0; node < policy.nodes() && !policy.tables().recall; ++node) {
            turns_.push_back(turns_of(policy, node));
        }
    }

    // Of one run, at most.
    std::size_t requests() const { return std::clamp(kSignals / nodes_, kFewestRequests, kMostRequests); }

    void run(std::size_t begin, std::size_t count) {
        const std::int32_t first = policy_.tables().first_node;
        std::fill(counts_.begin(), counts_.end(), std::size_t{0});
        std::fill(best_signals_.begin(), best_signals_.end(), std::numeric_limits<float>::infinity());
        std::fill(cost_.begin(), cost_.end(), 0.0);
        for (std::size_t k = 0; k < count; ++k) {
            queue_of(first)[k] = with_position(kFreshRow, static_cast<RowState>(k));
        }
        count_of(first) = count;
        pay({queue_of(first), count}, kRoot, first);
        for (const auto node : policy_.topology().order()) {
            for (std::size_t k = 0; k < count_of(node); k += kBlock) {
                consult(node, begin, queue_of(node) + k, std::min(kBlock, count_of(node) - k));
            }
        }
        write(begin, count);
    }

  private:
    RowState *queue_of(std::int32_t node) { return rows_.data() + static_cast<std::size_t>(node) * requests(); }
    std::size_t &count_of(std::int32_t node) { return counts_[static_cast<std::size_t>(node)]; }

    // Where each has costs of its own.
    void pay(std::span<const RowState> rows, std::int32_t node, std::int32_t next) {
        if (cost_.empty()) {
            return;
        }
        const double cost = recorded_.costs[static_cast<std::size_t>(policy_.edge_between(node, next))];
        for (const RowState row : rows) {
            cost_[request_of(row)] += cost;
        }
    }

    void consult(std::int32_t node, std::size_t begin, RowState *rows, std::size_t count) {
        std::array<float, kBlock> taken;
        take_column(recorded_.signals.data() + begin * nodes_ + static_cast<std::size_t>(node), nodes_, rows, count,
                    taken.data());
        const std::span<const float> signals(taken.data(), count);
        observed_ || policy_.only_next(node) == Policy::kSeveral ? consult_each(node, rows, signals)
                                                                 : consult_and_part(node, rows, signals);
    }

    // All that go on go to one node.
    void consult_and_part(std::int32_t node, const RowState *rows, std::span<const float> signals) {
        std::array<StateEntry, kBlock> found;
        std::array<RowState, kBlock> stopped;
        std::array<RowState, kBlock> unused;
        find(node, signals, found.data());
        RowState *queue = policy_.only_next(node) == kStop ? unused.data() : end_of_queue(policy_.only_next(node));
        const std::size_t going = pass_(rows, found.data(), signals.size(), node, policy_.tables().recall, queue,
                                        stopped.data() + stopped.size());
        finish(node, std::span<const RowState>(stopped).last(signals.size() - going));
        wait(node, policy_.only_next(node), going);
    }

    void find(std::int32_t node, std::span<const float> signals, StateEntry *found) const {
        if (!turns_.empty()) {
            const auto &[keys, lowest] = turns_[static_cast<std::size_t>(node)];
            if (keys.size() <= kMostTurns) {
                find_turns(keys, lowest, signals.data(), signals.size(), policy_.worst_key(node), found);
                return;
            }
        }
        find_entries(policy_.at(node).lookup, policy_.entries(node), signals.data(), signals.size(),
                     policy_.worst_key(node), found);
    }

    void consult_each(std::int32_t node, RowState *rows, std::span<const float> signals) {
        std::array<RowState, kBlock> before;
        std::array<float, kBlock> best;
        std::array<std::int32_t, kBlock> next;
        const std::size_t count = signals.size();
        std::copy_n(rows, count, before.begin());
        if (observed_) {
            take_column(best_signals_.data(), 1, rows, count, best.data());
        }
        consult_block(policy_, node, rows, best.data(), signals, next.data());
        for (std::size_t k = 0; k < count; ++k) {
            rows[k] = choose(kPositionBits, before[k], rows[k]);
        }
        for (std::size_t k = 0; k < count && observed_; ++k) {
            best_signals_[request_of(rows[k])] = best[k];
        }
        policy_.only_next(node) >= 0 ? part(node, rows, next.data(), count) : send_each(node, rows, next.data(), count);
    }

    // Where those that go on go to one node: without a branch on what a row does, which data would mispredict.
    void part(std::int32_t node, const RowState *rows, const std::int32_t *next, std::size_t count) {
        std::array<RowState, kBlock> stopped;
        RowState *queue = end_of_queue(policy_.only_next(node));
        std::size_t going = 0;
        for (std::size_t k = 0; k < count; ++k) {
            queue[going] = rows[k];
            stopped[k - going] = rows[k];
            going += next[k] == kStop ? 0 : 1;
        }
        finish(node, {stopped.data(), count - going});
        wait(node, policy_.only_next(node), going);
    }

    void send_each(std::int32_t node, const RowState *rows, const std::int32_t *next, std::size_t count) {
        for (std::size_t k = 0; k < count; ++k) {
            if (next[k] == kStop) {
                finish(node, {rows + k, 1});
            } else {
                *end_of_queue(next[k]) = rows[k];
                wait(node, next[k], 1);
            }
        }
    }

    RowState *end_of_queue(std::int32_t node) { return queue_of(node) + count_of(node); }

    // So many more rows, which stand at the end of the queue of `next`, wait there after `node`.
    void wait(std::int32_t node, std::int32_t next, std::size_t count) {
        if (count > 0) {
            pay({end_of_queue(next), count}, node, next);
            count_of(next) += count;
        }
    }

    // A stopped row in 4 bytes: the node that answers plus 1, as in a row, and the node consulted last.
    void finish(std::int32_t node, std::span<const RowState> rows) {
        for (const RowState row : rows) {
            stopped_[request_of(row)] = static_cast<std::uint32_t>(with_position(row, node));
        }
    }

    // Requests stop out of order. In order, results and losses stream to and from memory.
    void write(std::size_t begin, std::size_t count) {
        for (std::size_t k = 0; k < count; ++k) {
            result_.last_node[begin + k] = static_cast<std::int32_t>(stopped_[k] & kPositionBits);
            result_.answer_node[begin + k] = static_cast<std::int32_t>(stopped_[k] >> 16) - 1;
        }
        for (std::size_t k = 0; k < count; ++k) {
            result_.cost[begin + k] = path_costs_.empty() ? cost_[k] : path_costs_[stopped_[k] & kPositionBits];
        }
    }

    const Policy &policy_;
    const Recorded &recorded_;
    const Replayed &result_;
    const Pass pass_ = all_passes().front();
    std::size_t nodes_;
    std::vector<RowState> rows_; // (nodes, requests): who waits at each node
    std::vector<std::size_t> counts_;
    std::vector<std::uint32_t> stopped_; // of each request
    std::vector<double> path_costs_;     // by the node consulted last, where only one path leads to each; else empty
    std::vector<double> cost_;           // of each request; empty where paths have costs
    bool observed_;
    std::vector<float> best_signals_; // empty unless losses are observed
    std::vector<Turns> turns_;        // of each node; empty with recall
};

} // namespace

void replay(const Policy &policy, const Recorded &recorded, const Replayed &result) {
    const auto nodes = static_cast<std::size_t>(policy.nodes());
    const std::size_t rows = recorded.signals.size() / nodes;
    if (policy.is_forest()) {
        ForestRunner runner(policy, recorded.costs);
        for (std::size_t row = 0; row < rows; ++row) {
            result.cost[row] = 0;
            runner.run(recorded.signals.data() + row * nodes, result.last_node[row], result.answer_node[row],
                       result.cost[row]);
        }
    } else {
        WalkRunner runner(policy, recorded, result);
        for (std::size_t begin = 0; begin < rows; begin += runner.requests()) {
            runner.run(begin, std::min(runner.requests(), rows - begin));
        }
    }
    for (std::size_t row = 0; row < result.loss.size(); ++row) {
        const auto answer = static_cast<std::size_t>(result.answer_node[row]);
        result.loss[row] = static_cast<double>(recorded.losses[row * nodes + answer]);
    }
}

} // namespace ttamer
