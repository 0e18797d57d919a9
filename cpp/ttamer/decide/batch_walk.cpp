// Calls on walks: many rows consult their nodes together.
#include "ttamer/decide/batch.hpp"

#include "ttamer/base/dispatch.hpp"
#include "ttamer/base/pairs.hpp"
#include "ttamer/decide/kernels.hpp"
#include "ttamer/decide/lookup.hpp"
#include "ttamer/decide/node_fields.hpp"
#include "ttamer/decide/row_block.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <concepts>
#include <functional>
#include <utility>
#include <vector>

namespace ttamer {

namespace {

// Below so many rows the loops over columns cost more than they save.
constexpr std::size_t kFewRows = 8;

// Block by block: rows in another order mostly show it at once.
template <typename Place> bool all_rising(std::span<const Place> places) {
    for (std::size_t begin = 0; begin < places.size(); begin += kBlock) {
        // One more than a block, to compare it with the next.
        const auto some = places.subspan(begin, std::min(kBlock + 1, places.size() - begin));
        if (!is_rising(some.data(), some.size())) {
            return false;
        }
    }
    return !places.empty();
}

// out[k] = values[places[k]].
template <typename Value, typename Place>
void gather(const Value *values, std::span<const Place> places, Value *TTAMER_RESTRICT out) {
    const Place *at = places.data();
    const std::size_t count = places.size();
    TTAMER_UNROLL
    for (std::size_t k = 0; k < count; ++k) {
        out[k] = values[at[k]];
    }
}

// out[places[k]] = values[k].
template <AnyRow Row, typename Place>
void scatter(const Row *values, std::span<const Place> places, Row *TTAMER_RESTRICT out) {
    const Place *at = places.data();
    const std::size_t count = places.size();
    std::size_t k = 0;
    if constexpr (std::same_as<Row, StandingRow>) {
        TTAMER_UNROLL
        for (; k + 2 <= count; k += 2) {
            const auto [first, second] = two_at(values + k);
            out[at[k]] = first;
            out[at[k + 1]] = second;
        }
    }
    TTAMER_UNROLL
    for (; k < count; ++k) {
        out[at[k]] = values[k];
    }
}

// Whether any of the values is among the numbers.
template <typename Value> bool overlap(std::span<const Value> values, const std::vector<std::int32_t> &numbers) {
    const std::less<> before;
    const void *begin = values.data();
    const void *end = values.data() + values.size();
    const void *numbers_begin = numbers.data();
    const void *numbers_end = numbers.data() + numbers.size();
    return before(begin, numbers_end) && before(numbers_begin, end);
}

} // namespace

// Whether each of the rows, which stand at a call's positions from `begin` on, may consult its node. All are looked at:
// nearly always the answer is yes, and a loop that never leaves early is faster. No marked row may.
template <AnyRow Row> bool Batch::all_open(const Call &call, std::size_t begin, std::span<const Row> rows) const {
    if (call.nodes.each.empty()) {
        const std::int32_t previous = policy_->only_previous(call.nodes.one);
        if (previous != Policy::kSeveral) {
            return all_at(rows.data(), rows.size(), previous + 1);
        }
    }
    if (policy_->is_tree() && !call.nodes.each.empty()) {
        const JointTables tables = policy_->joint_tables();
        const std::int32_t *nodes = call.nodes.each.data() + begin;
        if constexpr (std::same_as<Row, StandingRow>) {
            return node_field_kernels(tables).front().follow(tables, nodes, rows.data(), rows.size());
        } else {
            return all_follow(tables, nodes, rows.data(), rows.size());
        }
    }
    bool open = true;
    for (std::size_t k = 0; k < rows.size(); ++k) {
        open &= (rows[k] & Row{kMark}) == 0 && may_follow(position_of(rows[k]), call.nodes.at(begin + k));
    }
    return open;
}

// Rows 0, 1, and so on.
template <AnyRow Row> bool Batch::consult_first(States<Row> &states, const Call &call) {
    const std::size_t count = call.signals.size();
    if (has_nan(call.signals) || !all_open<Row>(call, 0, {states.rows.data(), count})) {
        return false;
    }
    for (std::size_t begin = 0; begin < count; begin += kBlock) {
        consult_rows(call, begin, std::min(kBlock, count - begin), states.rows.data() + begin,
                     signal_.empty() ? nullptr : signal_.data() + begin,
                     tiers_.empty() ? nullptr : tiers_.data() + begin, next_.data() + begin);
    }
    return true;
}

// Rows that lie anywhere, so that each visit to one costs: all that is done with it is done at once, and undone if a
// later one is refused. What comes next is written beside the result of the last call, which the caller keeps if this
// one is refused, and the two change places.
template <AnyRow Row, typename Place>
bool Batch::consult_named(States<Row> &states, const Call &call, std::span<const Place> places) {
    // Rows that rise, as those that go on are found, need no marks.
    const bool rising = all_rising(places);
    if (rising && (places.front() < 0 || static_cast<std::uint64_t>(places.back()) >= capacity())) {
        return false;
    }
    // Of rows that consult different nodes, one may follow the other: their marks stay until the end of the call.
    const Row marks = rising || call.nodes.each.empty() ? Row{0} : Row{kMark};
    for (std::size_t begin = 0; begin < places.size(); begin += kBlock) {
        const auto some = places.subspan(begin, std::min(kBlock, places.size() - begin));
        if ((!rising && !all_inside(some.data(), some.size(), capacity())) ||
            has_nan(call.signals.subspan(begin, some.size()))) {
            undo(states, call, begin);
            return false;
        }
        rising ? bring(states, begin, some) : bring_and_mark(states, begin, some);
        if (!all_open<Row>(call, begin, {states.before.data() + begin, some.size()})) {
            undo(states, call, begin + some.size());
            return false;
        }
        consult_gathered(states, call, begin, some, marks);
    }
    for (std::size_t k = 0; k < places.size() && marks != 0; ++k) {
        states.rows[static_cast<std::size_t>(places[k])] &= ~Row{kMark};
    }
    std::swap(next_, pending_);
    return true;
}

// Brings at most kBlock of them together.
template <AnyRow Row, typename Place>
void Batch::bring(States<Row> &states, std::size_t begin, std::span<const Place> places) {
    gather(states.rows.data(), places, states.before.data() + begin);
    if (!signal_.empty()) {
        gather(signal_.data(), places, signal_before_.data() + begin);
    }
}

// The same, and marks them: a row that is named twice is found by its mark or, once it has been put back without one,
// by where it stands, as no node follows itself. The mark takes the place of what it marks: the store then waits for no
// load.
template <AnyRow Row, typename Place>
void Batch::bring_and_mark(States<Row> &states, std::size_t begin, std::span<const Place> places) {
    const Place *at = places.data();
    const std::size_t count = places.size();
    Row *rows = states.rows.data();
    Row *before = states.before.data() + begin;
    TTAMER_UNROLL
    for (std::size_t k = 0; k < count; ++k) {
        const auto place = static_cast<std::size_t>(at[k]);
        before[k] = rows[place];
        rows[place] = Row{kMark};
    }
    if (!signal_.empty()) {
        gather(signal_.data(), places, signal_before_.data() + begin);
    }
}

// Consults them and puts them back, with `marks`.
template <AnyRow Row, typename Place>
void Batch::consult_gathered(States<Row> &states, const Call &call, std::size_t begin, std::span<const Place> places,
                             Row marks) {
    const std::size_t count = places.size();
    std::array<Row, kBlock> rows;
    std::array<float, kBlock> best_signals;
    std::array<std::int32_t, kBlock> tiers;
    std::copy_n(states.before.data() + begin, count, rows.begin());
    for (std::size_t k = 0; k < count && !signal_.empty(); ++k) {
        best_signals[k] = signal_before_[begin + k];
    }
    if (!tiers_.empty()) {
        gather(tiers_.data(), places, tiers.data());
    }
    consult_rows(call, begin, count, rows.data(), best_signals.data(), tiers_.empty() ? nullptr : tiers.data(),
                 pending_.data() + begin);
    for (std::size_t k = 0; k < count && !signal_.empty(); ++k) {
        signal_[static_cast<std::size_t>(places[k])] = best_signals[k];
    }
    for (std::size_t k = 0; k < count && marks != 0; ++k) {
        rows[k] |= marks;
    }
    scatter(rows.data(), places, states.rows.data());
}

// The last first: of a row that is named twice, only the first has what it was.
template <AnyRow Row> void Batch::undo(States<Row> &states, const Call &call, std::size_t end) {
    while (end-- > 0) {
        const std::size_t row = call.rows.at(end);
        states.rows[row] = states.before[end] & ~Row{kMark};
        if (!signal_.empty()) {
            signal_[row] = signal_before_[end];
        }
    }
}

// At most kBlock rows of a walk, side by side.
template <AnyRow Row>
void Batch::consult_rows(const Call &call, std::size_t begin, std::size_t count, Row *rows, float *best_signals,
                         const std::int32_t *tiers, std::int32_t *next) {
    const auto signals = call.signals.subspan(begin, count);
    if (count < kFewRows || (nan_ != NanSignal::error && any_nan(signals.data(), count))) {
        float unused = 0;
        for (std::size_t k = 0; k < count; ++k) {
            const std::int32_t node = call.nodes.at(begin + k);
            const Policy &policy = policy_->of_row(tiers, k);
            if (std::isnan(signals[k])) {
                next[k] = consult_missing(policy, node, nan_ == NanSignal::worst, rows[k]);
                continue;
            }
            next[k] = consult_one(policy, node, state_of(policy, node, signals[k]), signals[k], rows[k],
                                  signal_.empty() ? unused : best_signals[k]);
        }
    } else if (call.nodes.each.empty()) {
        consult_block(*policy_, call.nodes.one, rows, best_signals, tiers, signals, next);
    } else {
        consult_block(*policy_, call.nodes.each.data() + begin, rows, best_signals, tiers, signals, next);
    }
}

// Whether what the call gives lies where it writes what comes next. Nodes without rows may: each block of them is taken
// out before it is written over, and nothing is refused after that.
bool Batch::overwrites(const Call &call) const {
    const auto &[nodes, signals, rows] = call;
    return !rows.given ? overlap(signals, next_)
                       : overlap(signals, pending_) || overlap(nodes.each, pending_) ||
                             overlap(rows.narrow, pending_) || overlap(rows.wide, pending_);
}

// Of arguments that lie apart from what the call writes.
template <AnyRow Row> bool Batch::consult_apart(States<Row> &states, const Call &call) {
    return !call.rows.given           ? consult_first(states, call)
           : call.rows.narrow.empty() ? consult_named(states, call, call.rows.wide)
                                      : consult_named(states, call, call.rows.narrow);
}

// Consults them with copies of what the call gives, or throws: results among arguments are rare enough to allocate.
template <AnyRow Row> TTAMER_NOINLINE void Batch::consult_copies(States<Row> &states, const Call &call) {
    const std::vector<std::int32_t> each(call.nodes.each.begin(), call.nodes.each.end());
    const std::vector<float> signals(call.signals.begin(), call.signals.end());
    const std::vector<std::int32_t> narrow(call.rows.narrow.begin(), call.rows.narrow.end());
    const std::vector<std::int64_t> wide(call.rows.wide.begin(), call.rows.wide.end());
    const Rows rows{narrow, wide, call.rows.given};
    const Call apart{{each, call.nodes.one}, signals, rows};
    if (!consult_apart(states, apart)) {
        refuse(apart); // what the call gave may have been overwritten
    }
}

template <AnyRow Row> bool Batch::consult(States<Row> &states, const Call &call) {
    if (overwrites(call)) {
        consult_copies(states, call);
        return true;
    }
    return consult_apart(states, call);
}

template bool Batch::consult(States<StandingRow> &, const Call &);
template bool Batch::consult(States<RankRow> &, const Call &);

} // namespace ttamer
