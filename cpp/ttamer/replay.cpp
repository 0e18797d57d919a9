#include "ttamer/replay.hpp"

#include "ttamer/open_nodes.hpp"
#include "ttamer/row_state.hpp"

#include <cstddef>
#include <limits>

namespace ttamer {

namespace {

// One request after the other; `open` is scratch for forests.
class Runner {
  public:
    Runner(const Policy &policy, std::span<const double> costs)
        : policy_(policy), costs_(costs), open_(static_cast<std::size_t>(policy.nodes())) {}

    void run(const float *signals, std::int32_t &last, std::int32_t &answer, double &cost) {
        if (policy_.is_forest()) {
            open_roots(policy_, open_.data());
        }
        last = kRoot;
        RowState row = kFreshRow;
        float best_signal = std::numeric_limits<float>::infinity();
        std::int32_t node = policy_.tables().first_node;
        while (node != kStop) {
            const std::int32_t edge =
                policy_.is_forest() ? policy_.topology().incoming_edge(node) : policy_.edge_between(last, node);
            cost += costs_[static_cast<std::size_t>(edge)];
            const std::int32_t state = policy_.quantiser(node).state(order_key(signals[node]));
            last = node;
            node = consult_one(policy_, node, state, signals[node], row, best_signal);
            if (policy_.is_forest()) {
                close_and_open(policy_, last, state, open_.data());
                node = next_open(policy_, open_.data(), rank_of(row));
            }
        }
        answer = answer_of(row);
    }

  private:
    const Policy &policy_;
    std::span<const double> costs_;
    std::vector<std::int32_t> open_;
};

} // namespace

Replay replay(const Policy &policy, std::span<const float> signals, std::span<const double> costs) {
    const auto nodes = static_cast<std::size_t>(policy.nodes());
    const std::size_t rows = signals.size() / nodes;
    Replay result{std::vector<std::int32_t>(rows), std::vector<std::int32_t>(rows), std::vector<double>(rows)};
    Runner runner(policy, costs);
    for (std::size_t row = 0; row < rows; ++row) {
        runner.run(signals.data() + row * nodes, result.last_node[row], result.answer_node[row], result.cost[row]);
    }
    return result;
}

} // namespace ttamer
