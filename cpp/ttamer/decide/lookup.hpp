// From the signals of many rows to the entries of their states.
#pragma once

#include "ttamer/base/quantiser.hpp"
#include "ttamer/policy/policy.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace ttamer {

struct BlockFields;

// Rows decided together: their keys and entries stay in the first-level cache between the loops.
inline constexpr std::size_t kBlock = 128;

// The tier of each row of a block, null where the policy has none, and how many entries lie between two tiers'.
struct RowTiers {
    const std::int32_t *each = nullptr;
    std::uint32_t entries = 0;
};

// The entry of each signal's state; NaN is looked up by the key `worst`. count <= kBlock.
void find_entries(const StateLookup &lookup, const StandingEntry *entries, const RowTiers &tiers, const float *signals,
                  std::size_t count, std::uint32_t worst, StandingEntry *found);
void find_entries(const StateLookup &lookup, const RankEntry *entries, const RowTiers &tiers, const float *signals,
                  std::size_t count, std::uint32_t worst, RankEntry *found);

// The same where each row consults a node of its own, and `fields` are those of the nodes.
void find_entries(const JointTables &tables, const StandingEntry *entries, const RowTiers &tiers,
                  const std::int32_t *nodes, const BlockFields &fields, const float *signals, std::size_t count,
                  StandingEntry *found);
void find_entries(const JointTables &tables, const RankEntry *entries, const RowTiers &tiers, const std::int32_t *nodes,
                  const BlockFields &fields, const float *signals, std::size_t count, RankEntry *found);

// What of an entry counts where only its state says whether to stop.
inline constexpr StandingEntry kStops = 1;
inline constexpr StandingEntry kGoesOn = 0;

// kStops or kGoesOn for each signal: the lowest signals do `lowest`, and from each of the keys `switches` on signals do
// the other. NaN is looked up by the key `worst`. count <= kBlock. Rows that take such an entry do not know the
// standing of their state.
void find_switches(std::span<const std::uint32_t> switches, StandingEntry lowest, const float *signals,
                   std::size_t count, std::uint32_t worst, StandingEntry *found);

} // namespace ttamer
