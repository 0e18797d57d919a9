// Forests: which nodes are open to a request, and how good they are.
#pragma once

#include "ttamer/policy/policy.hpp"
#include "ttamer/policy/row_state.hpp"

#include <algorithm>
#include <cstdint>

namespace ttamer {

// One number a node: the rank of its index while it is open, kClosed before its parent is consulted and after itself.
inline constexpr std::int32_t kClosed = kNoRank;

inline void open_roots(const Policy &policy, std::int32_t *open) {
    std::fill_n(open, policy.nodes(), kClosed);
    for (const auto &root : policy.topology().successors(kRoot)) {
        open[root.node] = policy.index_rank(root.node, 0);
    }
}

inline void close_and_open(const Policy &policy, std::int32_t node, std::int32_t state, std::int32_t *open) {
    open[node] = kClosed;
    for (const auto &child : policy.topology().successors(node)) {
        open[child.node] = policy.index_rank(child.node, state);
    }
}

// The open node of the smallest index, the lowest among equals; kStop if the best loss is at most that index, or if
// nothing is open.
inline std::int32_t next_open(const Policy &policy, const std::int32_t *open, std::int32_t best_rank) {
    const std::int32_t *lowest = std::min_element(open, open + policy.nodes());
    return best_rank <= *lowest ? kStop : static_cast<std::int32_t>(lowest - open);
}

// After consult_one on a forest: close the node, open its children, and say which open node is next with the best loss
// so far at `best_rank`.
inline std::int32_t next_branch(const Policy &policy, std::int32_t node, std::int32_t state, std::int32_t best_rank,
                                RankRow &row, std::int32_t *open) {
    close_and_open(policy, node, state, open);
    const std::int32_t next = next_open(policy, open, best_rank);
    row = with_position(row, next == kStop ? kStoppedPosition : node + 1);
    return next;
}

} // namespace ttamer
