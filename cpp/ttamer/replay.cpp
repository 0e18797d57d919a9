#include "ttamer/replay.hpp"

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

// Walks: some hundred requests move through the nodes together, so that those at one node are consulted together.
class WalkRunner {
  public:
    static constexpr std::size_t kRequests = 1024;

    WalkRunner(const Policy &policy, std::span<const float> signals, std::span<const double> costs, Replay &result)
        : policy_(policy), signals_(signals), costs_(costs), result_(result),
          nodes_(static_cast<std::size_t>(policy.nodes())), waiting_(nodes_ * kRequests), counts_(nodes_),
          rows_(kRequests), last_(kRequests), cost_(kRequests),
          observed_(policy.tables().recall && policy.tables().observed), best_signals_(observed_ ? kRequests : 0) {}

    void run(std::size_t begin, std::size_t count) {
        std::fill(counts_.begin(), counts_.end(), std::size_t{0});
        std::fill(rows_.begin(), rows_.end(), kFreshRow);
        std::fill(best_signals_.begin(), best_signals_.end(), std::numeric_limits<float>::infinity());
        std::fill(cost_.begin(), cost_.end(), 0.0);
        const auto first = static_cast<std::size_t>(policy_.tables().first_node);
        std::iota(waiting_at(first), waiting_at(first) + count, 0);
        counts_[first] = count;
        for (const auto node : policy_.topology().order()) {
            const auto at = static_cast<std::size_t>(node);
            for (std::size_t k = 0; k < counts_[at]; k += kBlock) {
                consult(node, begin, waiting_at(at) + k, std::min(kBlock, counts_[at] - k));
            }
        }
        std::copy_n(last_.begin(), count, result_.last_node.begin() + static_cast<std::ptrdiff_t>(begin));
        std::copy_n(cost_.begin(), count, result_.cost.begin() + static_cast<std::ptrdiff_t>(begin));
        std::transform(rows_.begin(), rows_.begin() + static_cast<std::ptrdiff_t>(count),
                       result_.answer_node.begin() + static_cast<std::ptrdiff_t>(begin), answer_of);
    }

  private:
    std::int32_t *waiting_at(std::size_t node) { return waiting_.data() + node * kRequests; }

    void consult(std::int32_t node, std::size_t begin, const std::int32_t *requests, std::size_t count) {
        std::array<RowState, kBlock> rows;
        std::array<float, kBlock> signals;
        std::array<float, kBlock> best;
        std::array<std::int32_t, kBlock> next;
        const float *column = signals_.data() + begin * nodes_ + static_cast<std::size_t>(node);
        for (std::size_t k = 0; k < count; ++k) {
            const auto request = static_cast<std::size_t>(requests[k]);
            rows[k] = rows_[request];
            signals[k] = column[request * nodes_];
            last_[request] = node;
        }
        for (std::size_t k = 0; k < count && observed_; ++k) {
            best[k] = best_signals_[static_cast<std::size_t>(requests[k])];
        }
        pay(node, requests, rows.data(), count);
        consult_block(policy_, node, rows.data(), best.data(), {signals.data(), count}, next.data());
        for (std::size_t k = 0; k < count; ++k) {
            rows_[static_cast<std::size_t>(requests[k])] = rows[k];
        }
        for (std::size_t k = 0; k < count && observed_; ++k) {
            best_signals_[static_cast<std::size_t>(requests[k])] = best[k];
        }
        pass_on(node, requests, next.data(), count);
    }

    // The cost of the edge over which each request came.
    void pay(std::int32_t node, const std::int32_t *requests, const RowState *rows, std::size_t count) {
        const std::int32_t previous = policy_.only_previous(node);
        if (previous != Policy::kSeveral) {
            const double cost = costs_[static_cast<std::size_t>(policy_.edge_between(previous, node))];
            for (std::size_t k = 0; k < count; ++k) {
                cost_[static_cast<std::size_t>(requests[k])] += cost;
            }
            return;
        }
        for (std::size_t k = 0; k < count; ++k) {
            const auto last = static_cast<std::int32_t>(position_of(rows[k])) - 1;
            const auto edge = static_cast<std::size_t>(policy_.edge_between(last, node));
            cost_[static_cast<std::size_t>(requests[k])] += costs_[edge];
        }
    }

    // Requests that go on wait at their next node; written without a branch on where, which data would mispredict.
    void pass_on(std::int32_t node, const std::int32_t *requests, const std::int32_t *next, std::size_t count) {
        const std::int32_t onward = policy_.only_next(node);
        if (onward >= 0) {
            std::int32_t *waiting = waiting_at(static_cast<std::size_t>(onward));
            std::size_t &waits = counts_[static_cast<std::size_t>(onward)];
            std::size_t end = waits;
            for (std::size_t k = 0; k < count && end < kRequests; ++k) {
                waiting[end] = requests[k];
                end += next[k] == onward ? 1 : 0;
            }
            waits = end;
            return;
        }
        for (std::size_t k = 0; k < count; ++k) {
            if (next[k] != kStop) {
                const auto to = static_cast<std::size_t>(next[k]);
                waiting_at(to)[counts_[to]++] = requests[k];
            }
        }
    }

    const Policy &policy_;
    std::span<const float> signals_;
    std::span<const double> costs_;
    Replay &result_;
    std::size_t nodes_;
    std::vector<std::int32_t> waiting_; // (nodes, kRequests): requests to be consulted at each node
    std::vector<std::size_t> counts_;
    std::vector<RowState> rows_;
    std::vector<std::int32_t> last_;
    std::vector<double> cost_;
    bool observed_;
    std::vector<float> best_signals_; // empty unless losses are observed
};

} // namespace

Replay replay(const Policy &policy, std::span<const float> signals, std::span<const double> costs) {
    const auto nodes = static_cast<std::size_t>(policy.nodes());
    const std::size_t rows = signals.size() / nodes;
    Replay result{std::vector<std::int32_t>(rows), std::vector<std::int32_t>(rows), std::vector<double>(rows)};
    if (policy.is_forest()) {
        ForestRunner runner(policy, costs);
        for (std::size_t row = 0; row < rows; ++row) {
            runner.run(signals.data() + row * nodes, result.last_node[row], result.answer_node[row], result.cost[row]);
        }
        return result;
    }
    WalkRunner runner(policy, signals, costs, result);
    for (std::size_t begin = 0; begin < rows; begin += WalkRunner::kRequests) {
        runner.run(begin, std::min(WalkRunner::kRequests, rows - begin));
    }
    return result;
}

} // namespace ttamer
