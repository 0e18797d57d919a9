#include "ttamer/replay.hpp"

#include "ttamer/batch.hpp"
#include "ttamer/open_nodes.hpp"

#include <cstddef>

namespace ttamer {

namespace {

// One request after the other; `open` is scratch for forests.
class Runner {
  public:
    Runner(const Policy &policy, std::span<const double> costs)
        : policy_(policy), costs_(costs), open_(static_cast<std::size_t>(policy.nodes())) {}

    void run(const float *signals, std::int32_t &last, Answer &answer, double &cost) {
        if (policy_.is_forest()) {
            open_roots(policy_, open_.data());
        }
        last = kRoot;
        std::int32_t node = policy_.tables().first_node;
        while (node != kStop) {
            const std::int32_t edge =
                policy_.is_forest() ? policy_.topology().incoming_edge(node) : policy_.edge_between(last, node);
            cost += costs_[static_cast<std::size_t>(edge)];
            const std::int32_t state = policy_.quantiser(node).state(order_key(signals[node]));
            const StateEntry entry = policy_.entries(node)[state];
            take_answer(policy_.tables(), answer, node, entry.rank, signals[node]);
            last = node;
            node = next(node, state, entry, answer.rank);
        }
    }

  private:
    std::int32_t next(std::int32_t node, std::int32_t state, StateEntry entry, std::int32_t rank) {
        if (!policy_.is_forest()) {
            return policy_.next(node, state, entry, rank);
        }
        close_and_open(policy_, node, state, open_.data());
        return next_open(policy_, open_.data(), rank);
    }

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
        Answer answer;
        runner.run(signals.data() + row * nodes, result.last_node[row], answer, result.cost[row]);
        result.answer_node[row] = answer.node;
    }
    return result;
}

} // namespace ttamer
