// Rows of one call that consult different nodes: what each takes of its node. Dispatched at run time.
#pragma once

#include "ttamer/lookup.hpp"
#include "ttamer/policy.hpp"
#include "ttamer/row_state.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace ttamer {

// Of each row of a block, in the order of NodeColumns.
struct NodeFields {
    alignas(64) std::uint32_t lowest[kBlock];
    alignas(64) std::uint32_t range[kBlock];
    alignas(64) std::uint32_t cell_shift[kBlock];
    alignas(64) std::uint32_t first_cell[kBlock];
    alignas(64) std::uint32_t first_entry[kBlock];
    alignas(64) std::uint32_t worst_key[kBlock];
    alignas(64) std::int32_t only_next[kBlock];
};

struct NodeFieldKernels {
    // The fields of count <= kBlock nodes.
    void (*take)(const JointTables &tables, const std::int32_t *nodes, std::size_t count, NodeFields &fields);
    // Whether each row stands at the one node before its own, on policies where no node may follow two others.
    bool (*follow)(const JointTables &tables, const std::int32_t *nodes, const StandingRow *rows, std::size_t count);
};

// Those that this processor can run on these tables, the fastest first.
std::span<const NodeFieldKernels> node_field_kernels(const JointTables &tables);

} // namespace ttamer
