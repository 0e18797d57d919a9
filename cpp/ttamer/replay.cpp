#include "ttamer/replay.hpp"

#include "ttamer/dispatch.hpp"
#include "ttamer/kernels.hpp"
#include "ttamer/open_nodes.hpp"
#include "ttamer/row_block.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <numeric>

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

// Appends the requests whose next node is `onward`, with their rows, to its queue and returns their number. All of them
// leave in `last_rows` what they have seen. A function of its own, so that everything stays in registers.
TTAMER_NOINLINE std::size_t hand_on(const std::int32_t *TTAMER_RESTRICT requests, const RowState *TTAMER_RESTRICT rows,
                                    const std::int32_t *TTAMER_RESTRICT next, std::size_t count, std::int32_t node,
                                    std::int32_t onward, RowState *TTAMER_RESTRICT last_rows,
                                    std::int32_t *TTAMER_RESTRICT queue, RowState *TTAMER_RESTRICT queue_rows) {
    std::size_t end = 0;
    for (std::size_t k = 0; k < count; ++k) {
        const std::int32_t request = requests[k];
        const RowState row = rows[k];
        last_rows[request] = with_position(row, node + 1);
        queue[end] = request;
        queue_rows[end] = row;
        end += next[k] == onward ? 1 : 0;
    }
    return end;
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

// Walks: some hundred requests move through the nodes together, so that those at one node are consulted together. Each
// node has a queue of the requests that wait for it, with their rows, so that rows lie side by side when they are
// consulted.
class WalkRunner {
  public:
    static constexpr std::size_t kRequests = 1024;

    WalkRunner(const Policy &policy, std::span<const float> signals, std::span<const double> costs,
               const Replayed &result)
        : policy_(policy), signals_(signals), costs_(costs), result_(result),
          nodes_(static_cast<std::size_t>(policy.nodes())), requests_(nodes_ * kRequests), rows_(nodes_ * kRequests),
          counts_(nodes_), last_rows_(kRequests), path_costs_(costs_of_paths(policy, costs)),
          cost_(path_costs_.empty() ? kRequests : 0), observed_(policy.tables().recall && policy.tables().observed),
          best_signals_(observed_ ? kRequests : 0) {}

    void run(std::size_t begin, std::size_t count) {
        std::fill(counts_.begin(), counts_.end(), std::size_t{0});
        std::fill(best_signals_.begin(), best_signals_.end(), std::numeric_limits<float>::infinity());
        std::fill(cost_.begin(), cost_.end(), 0.0);
        const auto first = static_cast<std::size_t>(policy_.tables().first_node);
        std::iota(requests_at(first), requests_at(first) + count, 0);
        std::fill_n(rows_at(first), count, kFreshRow);
        counts_[first] = count;
        for (const auto node : policy_.topology().order()) {
            const auto at = static_cast<std::size_t>(node);
            for (std::size_t k = 0; k < counts_[at]; k += kBlock) {
                consult(node, begin, requests_at(at) + k, rows_at(at) + k, std::min(kBlock, counts_[at] - k));
            }
        }
        for (std::size_t k = 0; k < count; ++k) {
            const auto last = static_cast<std::int32_t>(position_of(last_rows_[k])) - 1;
            result_.last_node[begin + k] = last;
            result_.answer_node[begin + k] = answer_of(last_rows_[k]);
            result_.cost[begin + k] = path_costs_.empty() ? cost_[k] : path_costs_[static_cast<std::size_t>(last)];
        }
    }

  private:
    std::int32_t *requests_at(std::size_t node) { return requests_.data() + node * kRequests; }
    RowState *rows_at(std::size_t node) { return rows_.data() + node * kRequests; }

    void consult(std::int32_t node, std::size_t begin, const std::int32_t *requests, RowState *rows,
                 std::size_t count) {
        std::array<float, kBlock> signals;
        std::array<float, kBlock> best;
        std::array<std::int32_t, kBlock> next;
        const float *column = signals_.data() + begin * nodes_ + static_cast<std::size_t>(node);
        for (std::size_t k = 0; k < count; ++k) {
            signals[k] = column[static_cast<std::size_t>(requests[k]) * nodes_];
        }
        for (std::size_t k = 0; k < count && observed_; ++k) {
            best[k] = best_signals_[static_cast<std::size_t>(requests[k])];
        }
        for (std::size_t k = 0; k < count && !cost_.empty(); ++k) {
            const auto last = static_cast<std::int32_t>(position_of(rows[k])) - 1;
            cost_[static_cast<std::size_t>(requests[k])] +=
                costs_[static_cast<std::size_t>(policy_.edge_between(last, node))];
        }
        consult_block(policy_, node, rows, best.data(), {signals.data(), count}, next.data());
        for (std::size_t k = 0; k < count && observed_; ++k) {
            best_signals_[static_cast<std::size_t>(requests[k])] = best[k];
        }
        pass_on(node, requests, rows, next.data(), count);
    }

    // Requests that go on wait at their next node. What each has seen is kept as if it stopped here, and overwritten
    // if it does not: without a branch on where it goes, which data would mispredict.
    void pass_on(std::int32_t node, const std::int32_t *requests, const RowState *rows, const std::int32_t *next,
                 std::size_t count) {
        RowState *last_rows = last_rows_.data();
        const std::int32_t onward = policy_.only_next(node);
        if (onward < 0) {
            for (std::size_t k = 0; k < count; ++k) {
                last_rows[requests[k]] = with_position(rows[k], node + 1);
                if (next[k] != kStop) {
                    const auto to = static_cast<std::size_t>(next[k]);
                    requests_at(to)[counts_[to]] = requests[k];
                    rows_at(to)[counts_[to]++] = rows[k];
                }
            }
            return;
        }
        const auto to = static_cast<std::size_t>(onward);
        counts_[to] += hand_on(requests, rows, next, count, node, onward, last_rows, requests_at(to) + counts_[to],
                               rows_at(to) + counts_[to]);
    }

    const Policy &policy_;
    std::span<const float> signals_;
    std::span<const double> costs_;
    const Replayed &result_;
    std::size_t nodes_;
    std::vector<std::int32_t> requests_; // (nodes, kRequests): who waits at each node
    std::vector<RowState> rows_;         // their rows
    std::vector<std::size_t> counts_;
    std::vector<RowState> last_rows_; // of each request, its position the node consulted last
    std::vector<double> path_costs_;  // by the node consulted last, where only one path leads to each; else empty
    std::vector<double> cost_;        // of each request; empty where paths have costs
    bool observed_;
    std::vector<float> best_signals_; // empty unless losses are observed
};

} // namespace

void replay(const Policy &policy, std::span<const float> signals, std::span<const double> costs,
            const Replayed &result) {
    const auto nodes = static_cast<std::size_t>(policy.nodes());
    const std::size_t rows = signals.size() / nodes;
    if (policy.is_forest()) {
        ForestRunner runner(policy, costs);
        for (std::size_t row = 0; row < rows; ++row) {
            result.cost[row] = 0;
            runner.run(signals.data() + row * nodes, result.last_node[row], result.answer_node[row], result.cost[row]);
        }
        return;
    }
    WalkRunner runner(policy, signals, costs, result);
    for (std::size_t begin = 0; begin < rows; begin += WalkRunner::kRequests) {
        runner.run(begin, std::min(WalkRunner::kRequests, rows - begin));
    }
}

} // namespace ttamer
