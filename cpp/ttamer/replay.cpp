#include "ttamer/replay.hpp"

#include "ttamer/batch.hpp"

#include <cstddef>

namespace ttamer {

Replay replay(const Policy &policy, std::span<const float> signals, std::span<const double> costs) {
    const auto nodes = static_cast<std::size_t>(policy.nodes());
    const std::size_t rows = signals.size() / nodes;
    Replay result{std::vector<std::int32_t>(rows), std::vector<std::int32_t>(rows), std::vector<double>(rows)};
    for (std::size_t row = 0; row < rows; ++row) {
        Answer answer;
        double cost = 0;
        std::int32_t last = kRoot;
        std::int32_t node = policy.tables().first_node;
        while (node != kStop) {
            cost += costs[static_cast<std::size_t>(policy.edge_between(last, node))];
            const float signal = signals[row * nodes + static_cast<std::size_t>(node)];
            const std::int32_t state = policy.quantiser(node).state(order_key(signal));
            const StateEntry entry = policy.entries(node)[state];
            take_answer(policy.tables(), answer, node, entry.rank, signal);
            last = node;
            node = policy.next(node, state, entry, answer.rank);
        }
        result.last_node[row] = last;
        result.answer_node[row] = answer.node;
        result.cost[row] = cost;
    }
    return result;
}

} // namespace ttamer
