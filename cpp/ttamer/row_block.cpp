#include "ttamer/row_block.hpp"

#include "ttamer/kernels.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace ttamer {

std::int32_t state_of(const Policy &policy, std::int32_t node, float signal) {
    const NodeTables &tables = policy.at(node);
    return tables.lookup.state(std::isnan(signal) ? tables.worst_key : order_key(signal));
}

namespace {

// `nodes` and `onward` are one number for all rows or a pointer to one each.
template <typename Node>
void consult_found(const Policy &policy, Node nodes, Node onward, const StateEntry *found, RowState *rows,
                   float *best_signals, std::span<const float> signals, std::int32_t *next) {
    if (policy.tables().recall && policy.tables().observed) {
        update_observed(rows, best_signals, found, signals.data(), signals.size(), nodes, onward, next);
    } else {
        update(rows, found, signals.size(), nodes, policy.tables().recall, onward, next);
    }
}

} // namespace

void consult_block(const Policy &policy, std::int32_t node, RowState *rows, float *best_signals,
                   std::span<const float> signals, std::int32_t *next) {
    std::array<StateEntry, kBlock> found;
    const std::size_t count = signals.size();
    find_entries(policy.at(node).lookup, policy.entries(node), signals.data(), count, policy.worst_key(node),
                 found.data());
    const std::int32_t onward = policy.only_next(node);
    consult_found(policy, node, onward, found.data(), rows, best_signals, signals, next);
    for (std::size_t k = 0; k < count && onward == Policy::kSeveral; ++k) {
        if (next[k] == Policy::kSeveral) {
            next[k] = settle(policy, node, state_of(policy, node, signals[k]), rows[k]);
        }
    }
}

void consult_block(const Policy &policy, const std::int32_t *nodes, RowState *rows, float *best_signals,
                   std::span<const float> signals, std::int32_t *next) {
    std::array<StateEntry, kBlock> found;
    std::array<std::int32_t, kBlock> at; // a copy: `nodes` may be what `next` overwrites
    std::array<std::int32_t, kBlock> onward;
    const std::size_t count = signals.size();
    std::copy_n(nodes, count, at.begin());
    const bool several =
        find_entries(policy.joint_tables(), at.data(), signals.data(), count, found.data(), onward.data());
    consult_found<const std::int32_t *>(policy, at.data(), onward.data(), found.data(), rows, best_signals, signals,
                                        next);
    for (std::size_t k = 0; k < count && several; ++k) {
        if (next[k] == Policy::kSeveral) {
            next[k] = settle(policy, at[k], state_of(policy, at[k], signals[k]), rows[k]);
        }
    }
}

} // namespace ttamer
