// Rows of one call that consult different nodes: what each reads of its node. Dispatched at run time.
#pragma once

#include "ttamer/base/dispatch.hpp"
#include "ttamer/decide/lookup.hpp"
#include "ttamer/policy/policy.hpp"
#include "ttamer/policy/row_state.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace ttamer {

// Of each row of a block.
struct alignas(64) BlockFields : NodeFields<std::array<std::uint32_t, kBlock>> {};

// Whether each row stands at the one node before its own, on policies where no node may follow two others.
template <AnyRow Row>
bool all_follow(const JointTables &tables, const std::int32_t *nodes, const Row *rows, std::size_t count) {
    Row closed = 0;
    TTAMER_UNROLL
    for (std::size_t k = 0; k < count; ++k) {
        closed |= rows[k] ^ static_cast<Row>(tables.nodes[nodes[k]].only_previous + 1);
    }
    return (closed & Row{kPositionBits}) == 0;
}

struct NodeFieldKernels {
    // The fields of count <= kBlock nodes.
    void (*read)(const JointTables &tables, const std::int32_t *nodes, std::size_t count, BlockFields &fields);
    // all_follow.
    bool (*follow)(const JointTables &tables, const std::int32_t *nodes, const StandingRow *rows, std::size_t count);
};

// Those that this processor can run on these tables, the fastest first.
std::span<const NodeFieldKernels> node_field_kernels(const JointTables &tables);

} // namespace ttamer
