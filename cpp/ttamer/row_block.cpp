#include "ttamer/row_block.hpp"

#include "ttamer/kernels.hpp"

#include <array>
#include <cmath>

namespace ttamer {

std::int32_t state_of(const Policy &policy, std::int32_t node, float signal) {
    const std::uint32_t key = std::isnan(signal) ? policy.worst_key(node) : order_key(signal);
    return policy.quantiser(node).state(key);
}

void consult_block(const Policy &policy, std::int32_t node, RowState *rows, float *best_signals,
                   std::span<const float> signals, std::int32_t *next) {
    std::array<StateEntry, kBlock> found;
    const std::size_t count = signals.size();
    find_entries(policy.quantiser(node).lookup(), policy.entries(node), signals.data(), count, policy.worst_key(node),
                 found.data());
    const std::int32_t onward = policy.only_next(node);
    if (policy.tables().recall && policy.tables().observed) {
        update_observed(rows, best_signals, found.data(), signals.data(), count, node, onward, next);
    } else {
        update(rows, found.data(), count, node, policy.tables().recall, onward, next);
    }
    if (onward == Policy::kSeveral) {
        for (std::size_t k = 0; k < count; ++k) {
            if (next[k] == Policy::kSeveral) {
                next[k] = settle(policy, node, state_of(policy, node, signals[k]), rows[k]);
            }
        }
    }
}

} // namespace ttamer
