#include "ttamer/decide/kernels.hpp"

#include "ttamer/base/dispatch.hpp"

namespace ttamer {

TTAMER_CLONES bool any_nan(const float *signals, std::size_t count) {
    int found = 0;
    for (std::size_t k = 0; k < count; ++k) {
        found |= static_cast<int>(signals[k] != signals[k]);
    }
    return found != 0;
}

TTAMER_CLONES bool all_equal(const std::int32_t *values, std::size_t count, std::int32_t expected) {
    std::int32_t difference = 0;
    for (std::size_t k = 0; k < count; ++k) {
        difference |= values[k] ^ expected;
    }
    return difference == 0;
}

namespace {

// A number is outside if its highest bit is set, or that of what it lacks to the last one. Comparing the largest with
// the end would be plainer, but vectors have no maximum of 64 bits.
template <typename Unsigned, typename Value>
TTAMER_INLINE bool each_inside(const Value *values, std::size_t count, std::size_t end) {
    const auto last = static_cast<Unsigned>(end) - 1;
    Unsigned outside = 0;
    for (std::size_t k = 0; k < count; ++k) {
        const auto value = static_cast<Unsigned>(values[k]);
        outside |= value | (last - value);
    }
    return outside >> (8 * sizeof(Unsigned) - 1) == 0;
}

} // namespace

TTAMER_CLONES bool all_inside(const std::int32_t *values, std::size_t count, std::size_t end) {
    return each_inside<std::uint32_t>(values, count, end);
}

TTAMER_CLONES bool all_inside(const std::int64_t *values, std::size_t count, std::size_t end) {
    return each_inside<std::uint64_t>(values, count, end);
}

namespace {

template <typename Value> TTAMER_INLINE bool each_below_next(const Value *values, std::size_t count) {
    int falls = 0;
    for (std::size_t k = 0; k + 1 < count; ++k) {
        falls |= static_cast<int>(values[k] >= values[k + 1]);
    }
    return falls == 0;
}

} // namespace

TTAMER_CLONES bool is_rising(const std::int32_t *values, std::size_t count) {
    return each_below_next(values, count);
}

TTAMER_CLONES bool is_rising(const std::int64_t *values, std::size_t count) {
    return each_below_next(values, count);
}

namespace {

template <AnyRow Row> TTAMER_INLINE bool each_at(const Row *rows, std::size_t count, std::int32_t position) {
    Row difference = 0;
    for (std::size_t k = 0; k < count; ++k) {
        difference |= rows[k] ^ static_cast<Row>(position);
    }
    return (difference & static_cast<Row>(kPositionBits)) == 0;
}

} // namespace

TTAMER_CLONES bool all_at(const StandingRow *rows, std::size_t count, std::int32_t position) {
    return each_at(rows, count, position);
}

TTAMER_CLONES bool all_at(const RankRow *rows, std::size_t count, std::int32_t position) {
    return each_at(rows, count, position);
}

namespace {

std::int32_t element(std::int32_t one, std::size_t /*k*/) {
    return one;
}
std::int32_t element(const std::int32_t *each, std::size_t k) {
    return each[k];
}

template <typename Node>
TTAMER_INLINE void update_standings(StandingRow *rows, const StandingEntry *found, std::size_t count, Node nodes,
                                    Node onward, std::int32_t *next) {
    for (std::size_t k = 0; k < count; ++k) {
        const auto outcome = consult_row(rows[k], found[k], element(nodes, k), element(onward, k));
        rows[k] = outcome.row;
        next[k] = outcome.next;
    }
}

template <typename Node>
TTAMER_INLINE void update_ranks(RankRow *rows, const RankEntry *found, std::size_t count, Node nodes, bool recall,
                                Node onward, std::int32_t *next) {
    const std::int64_t last = recall ? 0 : -1;
    for (std::size_t k = 0; k < count; ++k) {
        const auto outcome =
            consult_row(rows[k], found[k], last & last_answers(found[k]), element(nodes, k), element(onward, k));
        rows[k] = outcome.row;
        next[k] = outcome.next;
    }
}

template <typename Node>
TTAMER_INLINE void update_each_observed(RankRow *rows, float *best_signals, const RankEntry *found,
                                        const float *signals, std::size_t count, Node nodes, Node onward,
                                        std::int32_t *next) {
    for (std::size_t k = 0; k < count; ++k) {
        const float signal = compared(signals[k]);
        const std::int64_t also = smaller_signal(rows[k], rank_of(found[k]), signal, best_signals[k]);
        const bool is_new = rank_of(found[k]) < rank_of(rows[k]) || also != 0;
        const auto outcome = consult_row(rows[k], found[k], also, element(nodes, k), element(onward, k));
        best_signals[k] = is_new ? signal : best_signals[k];
        rows[k] = outcome.row;
        next[k] = outcome.next;
    }
}

} // namespace

TTAMER_CLONES void update(StandingRow *rows, const StandingEntry *found, std::size_t count, std::int32_t node,
                          std::int32_t onward, std::int32_t *next) {
    update_standings(rows, found, count, node, onward, next);
}

TTAMER_CLONES void update(StandingRow *rows, const StandingEntry *found, std::size_t count, const std::int32_t *nodes,
                          const std::int32_t *onward, std::int32_t *next) {
    update_standings(rows, found, count, nodes, onward, next);
}

TTAMER_CLONES void update(RankRow *rows, const RankEntry *found, std::size_t count, std::int32_t node, bool recall,
                          std::int32_t onward, std::int32_t *next) {
    update_ranks(rows, found, count, node, recall, onward, next);
}

TTAMER_CLONES void update(RankRow *rows, const RankEntry *found, std::size_t count, const std::int32_t *nodes,
                          bool recall, const std::int32_t *onward, std::int32_t *next) {
    update_ranks(rows, found, count, nodes, recall, onward, next);
}

TTAMER_CLONES void update_observed(RankRow *rows, float *best_signals, const RankEntry *found, const float *signals,
                                   std::size_t count, std::int32_t node, std::int32_t onward, std::int32_t *next) {
    update_each_observed(rows, best_signals, found, signals, count, node, onward, next);
}

TTAMER_CLONES void update_observed(RankRow *rows, float *best_signals, const RankEntry *found, const float *signals,
                                   std::size_t count, const std::int32_t *nodes, const std::int32_t *onward,
                                   std::int32_t *next) {
    update_each_observed(rows, best_signals, found, signals, count, nodes, onward, next);
}

} // namespace ttamer
