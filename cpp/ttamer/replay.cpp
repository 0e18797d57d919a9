#include "ttamer/replay.hpp"

#include "ttamer/kernels.hpp"
#include "ttamer/open_nodes.hpp"
#include "ttamer/parting.hpp"
#include "ttamer/row_block.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
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

// Bits of a row that say which request it is, in place of where it stands: all rows that wait for a node stand there.
constexpr RowState kRequest = 0xFFFF;
static_assert(kMostRequests <= kRequest + 1);

std::size_t request_of(RowState row) {
    return static_cast<std::size_t>(row & kRequest);
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
          rows_(nodes_ * queue_size()), counts_(nodes_), path_costs_(costs_of_paths(policy, recorded.costs)),
          cost_(path_costs_.empty() ? requests() : 0), observed_(policy.tables().recall && policy.tables().observed),
          best_signals_(observed_ ? requests() : 0) {}

    // Of one run, at most.
    std::size_t requests() const { return std::clamp(kSignals / nodes_, kFewestRequests, kMostRequests); }
    std::size_t queue_size() const { return requests() + kPartSlack; }

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
    }

  private:
    RowState *queue_of(std::int32_t node) { return rows_.data() + static_cast<std::size_t>(node) * queue_size(); }
    std::size_t &count_of(std::int32_t node) { return counts_[static_cast<std::size_t>(node)]; }

    // Where each has costs of its own.
    void pay(std::span<const RowState> rows, std::int32_t node, std::int32_t next) {
        if (cost_.empty() || rows.empty()) {
            return;
        }
        const double cost = recorded_.costs[static_cast<std::size_t>(policy_.edge_between(node, next))];
        for (const RowState row : rows) {
            cost_[request_of(row)] += cost;
        }
    }

    void consult(std::int32_t node, std::size_t begin, RowState *rows, std::size_t count) {
        std::array<float, kBlock> signals;
        std::array<float, kBlock> best;
        std::array<std::int32_t, kBlock> next;
        const float *column = recorded_.signals.data() + begin * nodes_ + static_cast<std::size_t>(node);
        take_column(column, nodes_, rows, kRequest, count, signals.data());
        for (std::size_t k = 0; k < count && observed_; ++k) {
            best[k] = best_signals_[request_of(rows[k])];
        }
        consult_block(policy_, node, rows, best.data(), {signals.data(), count}, kRequest, next.data());
        for (std::size_t k = 0; k < count && observed_; ++k) {
            best_signals_[request_of(rows[k])] = best[k];
        }
        pass_on(node, begin, rows, next.data(), count);
    }

    // Requests that go on wait at their next node.
    void pass_on(std::int32_t node, std::size_t begin, const RowState *rows, const std::int32_t *next,
                 std::size_t count) {
        std::array<RowState, kBlock + kPartSlack> stopped;
        std::size_t stops = 0;
        if (const std::int32_t onward = policy_.only_next(node); onward >= 0) {
            RowState *queue = queue_of(onward) + count_of(onward);
            const std::size_t going = part_(rows, next, count, queue, stopped.data() + stopped.size());
            pay({queue, going}, node, onward);
            count_of(onward) += going;
            stops = count - going;
        } else {
            for (std::size_t k = 0; k < count; ++k) {
                if (next[k] == kStop) {
                    stopped[stopped.size() - ++stops] = rows[k];
                } else {
                    queue_of(next[k])[count_of(next[k])++] = rows[k];
                    pay({rows + k, 1}, node, next[k]);
                }
            }
        }
        finish(node, begin, std::span<const RowState>(stopped).last(stops));
    }

    void finish(std::int32_t node, std::size_t begin, std::span<const RowState> rows) {
        const bool paths = !path_costs_.empty();
        const double path_cost = paths ? path_costs_[static_cast<std::size_t>(node)] : 0.0;
        for (const RowState row : rows) {
            const std::size_t request = request_of(row);
            result_.last_node[begin + request] = node;
            result_.answer_node[begin + request] = answer_of(row);
            result_.cost[begin + request] = paths ? path_cost : cost_[request];
        }
    }

    const Policy &policy_;
    const Recorded &recorded_;
    const Replayed &result_;
    const Part part_ = all_parts().front();
    std::size_t nodes_;
    std::vector<RowState> rows_; // (nodes, requests): who waits at each node
    std::vector<std::size_t> counts_;
    std::vector<double> path_costs_; // by the node consulted last, where only one path leads to each; else empty
    std::vector<double> cost_;       // of each request; empty where paths have costs
    bool observed_;
    std::vector<float> best_signals_; // empty unless losses are observed
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
    // Requests stop out of order. In order, losses stream from memory: looked up as requests stop, each would be waited
    // for.
    for (std::size_t row = 0; row < result.loss.size(); ++row) {
        const auto answer = static_cast<std::size_t>(result.answer_node[row]);
        result.loss[row] = static_cast<double>(recorded.losses[row * nodes + answer]);
    }
}

} // namespace ttamer
