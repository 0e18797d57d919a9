// Loops over columns of a batch that the compiler vectorises.
#pragma once

#include "ttamer/policy.hpp"
#include "ttamer/quantiser.hpp"

#include <cstddef>
#include <cstdint>

namespace ttamer {

// Choices are written with masks: a ternary on a comparison of loads may become a branch that data mispredicts.
inline std::int32_t mask(bool yes) {
    return -static_cast<std::int32_t>(yes);
}
inline std::int32_t choose(std::int32_t which, std::int32_t yes, std::int32_t no) {
    return (which & yes) | (~which & no);
}

bool any_nan(const float *signals, std::size_t count);

bool all_equal(const std::int32_t *values, std::size_t count, std::int32_t expected);

// Rows decided together: their keys and entries stay in the first-level cache between the loops.
inline constexpr std::size_t kBlock = 128;

// The entry of each signal's state; NaN is looked up by the key `worst`. count <= kBlock.
void find_entries(const StateLookup &lookup, const StateEntry *entries, const float *signals, std::size_t count,
                  std::uint32_t worst, StateEntry *found);

// Running state of consecutive rows, column by column.
struct Columns {
    std::int32_t *rank;
    std::int32_t *answer;
    std::int32_t *position;
    float *signal; // only where losses are observed
};

// take_answer and the comparison with stop_upper for `count` rows that consulted `node`. next is `onward` or stop;
// position becomes node + 1, or `stopped`.
void update(const Columns &columns, const StateEntry *found, std::size_t count, std::int32_t node, bool recall,
            std::int32_t onward, std::int32_t stopped, std::int32_t *next);

// The same where losses are observed: of equal ranks the smaller signal answers. NaN counts as infinite.
void update_observed(const Columns &columns, const StateEntry *found, const float *signals, std::size_t count,
                     std::int32_t node, std::int32_t onward, std::int32_t stopped, std::int32_t *next);

} // namespace ttamer
