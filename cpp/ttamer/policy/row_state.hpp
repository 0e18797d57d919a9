// Running state of one request in one number: one load and one store a decision, also where rows lie scattered.
#pragma once

#include "ttamer/base/masks.hpp"
#include "ttamer/policy/policy.hpp"

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <limits>

namespace ttamer {

// A row in 4 bytes, where the policy's states have standings: that of the best so far in the upper half, then the
// position.
using StandingRow = std::uint32_t;

// A row in 8 bytes, elsewhere: rank of the best loss so far in the upper half, then the node that answers, counted from
// 1, and the position, 16 bits each. An answer without a rank is provisional, see Policy::provisional.
using RankRow = std::int64_t;

template <typename T>
concept AnyRow = std::same_as<T, StandingRow> || std::same_as<T, RankRow>;

// Of either, the lowest 16 bits: the node consulted last, counted from 1, so that 0 is none. Nodes are few enough
// (Topology) to leave a bit free.
inline constexpr std::int32_t kStoppedPosition = 0x7FFF;
inline constexpr std::int32_t kMark = 0x8000; // beside the position: the call at work names the row
inline constexpr std::int32_t kPositionBits = kMark | 0x7FFF;

template <AnyRow Row> inline constexpr Row kFresh = 0;
template <> inline constexpr StandingRow kFresh<StandingRow> = 0xFFFF0000; // behind every state
template <> inline constexpr RankRow kFresh<RankRow> = static_cast<RankRow>(kNoRank) << 32;

// The node consulted last plus 1, 0 for a fresh row, or kStoppedPosition.
template <AnyRow Row> std::int32_t position_of(Row row) {
    return static_cast<std::int32_t>(row & (kPositionBits ^ kMark));
}
template <AnyRow Row> Row with_position(Row row, std::int32_t position) {
    return (row & ~static_cast<Row>(kPositionBits)) | static_cast<Row>(position);
}

// Whether a node answers that gave a signal; a provisional answer, which answer_of names too, is none.
inline bool has_answer(const Policy & /*policy*/, RankRow row) {
    return rank_of(row) != kNoRank;
}
inline bool has_answer(const Policy &policy, StandingRow row) {
    return row >> 16 < policy.provisional(0);
}

// The node that answers, -1 for none; the rank of its loss, kNoRank for none.
inline std::int32_t answer_of(const Policy & /*policy*/, RankRow row) {
    return static_cast<std::int32_t>(row >> 16 & 0xFFFF) - 1;
}
inline std::int32_t best_rank(const Policy &policy, RankRow row) {
    const std::int32_t node = answer_of(policy, row);
    return has_answer(policy, row) || node < 0 ? rank_of(row) : policy.rank(node, policy.worst_state(node));
}
inline std::int32_t answer_of(const Policy &policy, StandingRow row) {
    return row >= kFresh<StandingRow> ? -1 : policy.standing(row >> 16).node;
}
inline std::int32_t best_rank(const Policy &policy, StandingRow row) {
    return row >= kFresh<StandingRow> ? kNoRank : policy.standing(row >> 16).rank;
}
// The rank of the loss of an answer that has_answer knows, else kNoRank: what probes go by.
template <AnyRow Row> std::int32_t known_rank(const Policy &policy, Row row) {
    return has_answer(policy, row) ? best_rank(policy, row) : kNoRank;
}

template <AnyRow Row> struct Outcome {
    Row row;
    std::int32_t next;
};

// The best of what was seen before and now, and whether to go on from there: `onward`, or stop. Standings are compared
// as upper halves, without taking rows and entries apart: the entry takes the row's lower half first.
inline Outcome<StandingRow> consult_row(StandingRow row, StandingEntry entry, std::int32_t node, std::int32_t onward) {
    constexpr auto lower = static_cast<StandingRow>(kPositionBits);
    const StandingRow best = std::min(row, (entry & ~lower) | (row & lower));
    const auto go = mask_of<std::int32_t>(best >= entry << 16);
    return {with_position(best, choose(go, node + 1, kStoppedPosition)), choose(go, onward, kStop)};
}

// The signal of a row's answer where losses are observed; NaN is no information and loses every comparison. A row
// without an answer has one that wins every comparison: the kNoRank of a probe's state is equal to the row's, and no
// answer.
inline constexpr float kNoSignal = -std::numeric_limits<float>::infinity();
inline float compared(float signal) {
    return signal == signal ? signal : std::numeric_limits<float>::infinity();
}

// With recall a smaller loss replaces the answer; equal losses keep the node consulted first or, where losses are
// observed, the smaller signal. `also` is the mask of rows that take the new answer though its loss is not smaller:
// without recall, where the last node answers, those that last_answers finds, and where losses are observed those that
// smaller_signal does.
inline std::int64_t last_answers(RankEntry entry) {
    return mask_of<std::int64_t>(rank_of(entry) != kNoRank); // all but probes
}
inline std::int64_t smaller_signal(RankRow row, std::int32_t rank, float signal, float best_signal) {
    return mask_of<std::int64_t>(rank == rank_of(row)) & mask_of<std::int64_t>(signal < best_signal);
}

// Ranks are compared as upper halves too: of two numbers one of which has its lower half full, the smaller one has the
// smaller rank if ranks differ, and else is the other.
inline Outcome<RankRow> consult_row(RankRow row, RankEntry entry, std::int64_t also, std::int32_t node,
                                    std::int32_t onward) {
    constexpr RankRow lower = 0xFFFFFFFF;
    const std::int64_t is_new = mask_of<std::int64_t>((entry | lower) < row) | also;
    const RankRow best = choose(is_new, (entry & ~lower) | static_cast<RankRow>(node + 1) << 16, row);
    const auto go = mask_of<std::int64_t>(best > (entry << 32 | lower));
    return {with_position(best, static_cast<std::int32_t>(choose<std::int64_t>(go, node + 1, kStoppedPosition))),
            static_cast<std::int32_t>(choose<std::int64_t>(go, onward, kStop))};
}

// The next node where the states of `node` go on to several, which the row's position then depends on. Without recall
// the state alone says it, and rows of a replay may not know theirs.
template <AnyRow Row> std::int32_t settle(const Policy &policy, std::int32_t node, std::int32_t state, Row &row) {
    const std::int32_t next =
        policy.next(node, state, policy.tables().recall ? known_rank(policy, row) : policy.rank(node, state));
    row = with_position(row, next == kStop ? kStoppedPosition : node + 1);
    return next;
}

// One request that consults `node` in `state`: its row, and the signal of its answer, which is used and kept only where
// answers are compared by it. On forests next is not for this to say.
inline std::int32_t consult_one(const Policy &policy, std::int32_t node, std::int32_t state, float /*signal*/,
                                StandingRow &row, float & /*best_signal*/) {
    const auto outcome = consult_row(row, policy.entries<StandingEntry>(node)[state], node, policy.only_next(node));
    row = outcome.row;
    return outcome.next == Policy::kSeveral ? settle(policy, node, state, row) : outcome.next;
}
inline std::int32_t consult_one(const Policy &policy, std::int32_t node, std::int32_t state, float signal, RankRow &row,
                                float &best_signal) {
    const RankEntry entry = policy.entries<RankEntry>(node)[state];
    std::int64_t also = policy.tables().recall ? 0 : last_answers(entry);
    if (policy.compares_signals()) {
        also = smaller_signal(row, rank_of(entry), compared(signal), best_signal);
        best_signal = rank_of(entry) < rank_of(row) || also != 0 ? compared(signal) : best_signal;
    }
    const auto outcome = consult_row(row, entry, also, node, policy.only_next(node));
    row = outcome.row;
    return outcome.next == Policy::kSeveral ? settle(policy, node, state, row) : outcome.next;
}

// One request that consults `node`, whose signal is NaN: the answer stays what it was. Without one, the node's own is
// given for the time being if it `may_answer`.
inline StandingRow with_provisional(const Policy &policy, StandingRow row, std::int32_t node) {
    return policy.provisional(node) << 16 | (row & kPositionBits);
}
inline RankRow with_provisional(const Policy & /*policy*/, RankRow row, std::int32_t node) {
    return kFresh<RankRow> | static_cast<RankRow>(node + 1) << 16 | (row & kPositionBits);
}
template <AnyRow Row> void miss(const Policy &policy, std::int32_t node, bool may_answer, Row &row) {
    if (may_answer && !policy.is_probe(node) && !has_answer(policy, row)) {
        row = with_provisional(policy, row, node);
    }
}

// The same on a walk, and what is next: what the worst state says, but never a stop without an answer while a node may
// follow one that could have answered.
template <AnyRow Row> std::int32_t consult_missing(const Policy &policy, std::int32_t node, bool may_answer, Row &row) {
    miss(policy, node, may_answer, row);
    const bool probe = policy.is_probe(node);
    const std::int32_t state = policy.worst_state(node);
    const std::int32_t best = probe ? known_rank(policy, row) : best_rank(policy, row);
    const std::int32_t rank = policy.tables().recall ? best : policy.rank(node, state);
    const std::int32_t next =
        probe || answer_of(policy, row) >= 0 ? policy.next(node, state, rank) : policy.next_without_answer(node);
    row = with_position(row, next == kStop ? kStoppedPosition : node + 1);
    return next;
}

} // namespace ttamer
