// Running state of one request in 8 bytes: one load and one store a step, also where rows lie scattered.
#pragma once

#include "ttamer/policy.hpp"

#include <cstdint>
#include <limits>

namespace ttamer {

// Choices are written with masks: a ternary on a comparison of loads may become a branch that data mispredicts.
inline std::int64_t mask(bool yes) {
    return -static_cast<std::int64_t>(yes);
}
inline std::int64_t choose(std::int64_t which, std::int64_t yes, std::int64_t no) {
    return (which & yes) | (~which & no);
}

// Rank of the best loss so far in the upper half, then the node that answers and the position, 16 bits each. Both
// count from 1, so that 0 is none; nodes are few enough (Topology), also to leave a bit of the position free.
using RowState = std::int64_t;

inline constexpr std::int64_t kStoppedPosition = 0x7FFF;
inline constexpr std::int64_t kTaken = 0x8000; // beside the position: the call at work names the row
inline constexpr std::int64_t kPositionBits = kTaken | 0x7FFF;
inline constexpr std::int64_t kLowerHalf = 0xFFFFFFFF;
inline constexpr RowState kFreshRow = static_cast<std::int64_t>(kNoRank) << 32;

// The node that answers, -1 for none.
inline std::int32_t answer_of(RowState row) {
    return static_cast<std::int32_t>(row >> 16 & 0xFFFF) - 1;
}
// The node consulted last plus 1, 0 for a fresh row, or kStoppedPosition.
inline std::int64_t position_of(RowState row) {
    return row & (kPositionBits ^ kTaken);
}
inline RowState with_position(RowState row, std::int64_t position) {
    return (row & ~kPositionBits) | position;
}

struct Step {
    RowState row;
    std::int32_t next;
};

// The signal of a row's answer where losses are observed; NaN is no information and loses every comparison.
inline float compared(float signal) {
    return signal == signal ? signal : std::numeric_limits<float>::infinity();
}

// With recall a smaller loss replaces the answer; equal losses keep the node consulted first or, where losses are
// observed, the smaller signal. `also` is the mask of rows that take the new answer though its loss is not smaller:
// all of them without recall, where the last node answers, and those that smaller_signal finds where losses are
// observed.
inline std::int64_t smaller_signal(RowState row, std::int32_t rank, float signal, float best_signal) {
    return mask(rank == rank_of(row)) & mask(signal < best_signal);
}

// next is `onward`, or stop. Ranks are compared as upper halves, without taking rows and entries apart: of two numbers
// one of which has its lower half full, the smaller one has the smaller rank if ranks differ, and else is the other.
inline Step consult_row(RowState row, StateEntry entry, std::int64_t also, std::int64_t node, std::int64_t onward) {
    const std::int64_t take = mask((entry | kLowerHalf) < row) | also;
    const RowState best = choose(take, (entry & ~kLowerHalf) | (node + 1) << 16, row);
    const std::int64_t go = mask(best > (entry << 32 | kLowerHalf));
    return {with_position(best, choose(go, node + 1, kStoppedPosition)),
            static_cast<std::int32_t>(choose(go, onward, kStop))};
}

// The next node where the states of `node` go on to several, which the row's position then depends on.
inline std::int32_t settle(const Policy &policy, std::int32_t node, std::int32_t state, RowState &row) {
    const std::int32_t next = policy.look_up(node, state, rank_of(row));
    row = with_position(row, next == kStop ? kStoppedPosition : node + 1);
    return next;
}

// One request that consults `node` in `state`: its row, and the signal of its answer, which is used and kept only where
// losses are observed. On forests next is not for this to say.
inline std::int32_t consult_one(const Policy &policy, std::int32_t node, std::int32_t state, float signal,
                                RowState &row, float &best_signal) {
    const PolicyTables &tables = policy.tables();
    const StateEntry entry = policy.entries(node)[state];
    std::int64_t also = tables.recall ? 0 : -1;
    if (tables.recall && tables.observed) {
        also = smaller_signal(row, rank_of(entry), compared(signal), best_signal);
        best_signal = rank_of(entry) < rank_of(row) || also != 0 ? compared(signal) : best_signal;
    }
    const Step step = consult_row(row, entry, also, node, policy.only_next(node));
    row = step.row;
    return step.next == Policy::kSeveral ? settle(policy, node, state, row) : step.next;
}

} // namespace ttamer
