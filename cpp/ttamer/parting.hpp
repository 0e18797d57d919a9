// Parting rows that go on from rows that stop, dispatched at run time.
#pragma once

#include "ttamer/row_state.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace ttamer {

// Numbers that part may write beyond the end of what goes on, and before the beginning of what stops.
inline constexpr std::size_t kPartSlack = 4;

// Copies the rows whose next node is kStop to the places that end at `stopped_end`, in some order, and the others to
// `going`, in theirs. Returns how many go on. No branch depends on what a row does: data would mispredict it.
using Part = std::size_t (*)(const RowState *rows, const std::int32_t *next, std::size_t count, RowState *going,
                             RowState *stopped_end);

// Those that this processor can run, the fastest first: which is what replay takes.
std::span<const Part> all_parts();

} // namespace ttamer
