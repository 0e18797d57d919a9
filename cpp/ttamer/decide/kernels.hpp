// Loops over columns of a batch that the compiler vectorises.
#pragma once

#include "ttamer/policy/policy.hpp"
#include "ttamer/policy/row_state.hpp"

#include <cstddef>
#include <cstdint>

namespace ttamer {

bool any_nan(const float *signals, std::size_t count);

bool all_equal(const std::int32_t *values, std::size_t count, std::int32_t expected);

// Whether all values lie in [0, end).
bool all_inside(const std::int32_t *values, std::size_t count, std::size_t end);
bool all_inside(const std::int64_t *values, std::size_t count, std::size_t end);

// Whether each value is below the next.
bool is_rising(const std::int32_t *values, std::size_t count);
bool is_rising(const std::int64_t *values, std::size_t count);

// Whether all rows are at one position, and none is marked.
bool all_at(const StandingRow *rows, std::size_t count, std::int32_t position);
bool all_at(const RankRow *rows, std::size_t count, std::int32_t position);

// consult_row for `count` consecutive rows that consulted `node` and go on to `onward`.
void update(StandingRow *rows, const StandingEntry *found, std::size_t count, std::int32_t node, std::int32_t onward,
            std::int32_t *next);
void update(RankRow *rows, const RankEntry *found, std::size_t count, std::int32_t node, bool recall,
            std::int32_t onward, std::int32_t *next);

// The same where losses are observed: of equal ranks the smaller signal answers. NaN counts as infinite.
void update_observed(RankRow *rows, float *best_signals, const RankEntry *found, const float *signals,
                     std::size_t count, std::int32_t node, std::int32_t onward, std::int32_t *next);

// The three with a node and an onward node for each row.
void update(StandingRow *rows, const StandingEntry *found, std::size_t count, const std::int32_t *nodes,
            const std::int32_t *onward, std::int32_t *next);
void update(RankRow *rows, const RankEntry *found, std::size_t count, const std::int32_t *nodes, bool recall,
            const std::int32_t *onward, std::int32_t *next);
void update_observed(RankRow *rows, float *best_signals, const RankEntry *found, const float *signals,
                     std::size_t count, const std::int32_t *nodes, const std::int32_t *onward, std::int32_t *next);

} // namespace ttamer
