// Loops over columns of a batch that the compiler vectorises.
#pragma once

#include "ttamer/policy.hpp"
#include "ttamer/quantiser.hpp"
#include "ttamer/row_state.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace ttamer {

bool any_nan(const float *signals, std::size_t count);

bool all_equal(const std::int32_t *values, std::size_t count, std::int32_t expected);

// Whether all values lie in [0, end).
bool all_inside(const std::int32_t *values, std::size_t count, std::size_t end);
bool all_inside(const std::int64_t *values, std::size_t count, std::size_t end);

// Whether all rows are at one position, and none is taken.
bool all_at(const RowState *rows, std::size_t count, std::int64_t position);

// Rows decided together: their keys and entries stay in the first-level cache between the loops.
inline constexpr std::size_t kBlock = 128;

// The entry of each signal's state; NaN is looked up by the key `worst`. count <= kBlock.
void find_entries(const StateLookup &lookup, const StateEntry *entries, const float *signals, std::size_t count,
                  std::uint32_t worst, StateEntry *found);

// What of an entry counts where the last node answers, as it does without recall: whether the state stops.
inline constexpr StateEntry kStops = kNoRank;
inline constexpr StateEntry kGoesOn = 0xFFFFFFFF;

// kStops or kGoesOn for each signal: the lowest signals do `lowest`, and from each of the keys `turns` on signals do
// the other. NaN is looked up by the key `worst`. count <= kBlock.
void find_turns(std::span<const std::uint32_t> turns, StateEntry lowest, const float *signals, std::size_t count,
                std::uint32_t worst, StateEntry *found);

// The same as find_entries where each row consults a node of its own; also where the states of that go on to. Whether
// that is several for any of them.
bool find_entries(const JointTables &tables, const std::int32_t *nodes, const float *signals, std::size_t count,
                  StateEntry *found, std::int32_t *onward);

// consult_row for `count` consecutive rows that consulted `node` and go on to `onward`.
void update(RowState *rows, const StateEntry *found, std::size_t count, std::int32_t node, bool recall,
            std::int32_t onward, std::int32_t *next);

// The same where losses are observed: of equal ranks the smaller signal answers. NaN counts as infinite.
void update_observed(RowState *rows, float *best_signals, const StateEntry *found, const float *signals,
                     std::size_t count, std::int32_t node, std::int32_t onward, std::int32_t *next);

// The two with a node and an onward node for each row.
void update(RowState *rows, const StateEntry *found, std::size_t count, const std::int32_t *nodes, bool recall,
            const std::int32_t *onward, std::int32_t *next);
void update_observed(RowState *rows, float *best_signals, const StateEntry *found, const float *signals,
                     std::size_t count, const std::int32_t *nodes, const std::int32_t *onward, std::int32_t *next);

} // namespace ttamer
