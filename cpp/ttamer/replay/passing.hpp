// Replays: rows consult a node, and those that go on are parted from those that stop. Dispatched at run time.
#pragma once

#include "ttamer/policy/row_state.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace ttamer {

// Consults a node for rows whose states have the entries `found`, as consult_row does, but leaves their kPositionBits
// as they are. The rows that go on are written to `going`, in order; those that stop to the places that end at
// `stopped_end`, in some order. Returns how many go on. Of the `count` places from `going` on, and of as many before
// `stopped_end`, those left over may be written too. `going` may be `rows`, or begin before them. No branch depends on
// what a row does: data would mispredict it.
using Pass = std::size_t (*)(const StandingRow *rows, const StandingEntry *found, std::size_t count, StandingRow *going,
                             StandingRow *stopped_end);

// Those that this processor can run, the fastest first.
std::span<const Pass> all_passes();

} // namespace ttamer
