#include "ttamer/kernels.hpp"

#include "ttamer/dispatch.hpp"
#include "ttamer/topology.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

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

// A negative value is a large unsigned one.
TTAMER_CLONES bool all_inside(const std::int32_t *values, std::size_t count, std::size_t end) {
    std::uint32_t largest = 0;
    for (std::size_t k = 0; k < count; ++k) {
        largest = std::max(largest, static_cast<std::uint32_t>(values[k]));
    }
    return count == 0 || largest < end;
}

TTAMER_CLONES bool all_inside(const std::int64_t *values, std::size_t count, std::size_t end) {
    std::uint64_t largest = 0;
    for (std::size_t k = 0; k < count; ++k) {
        largest = std::max(largest, static_cast<std::uint64_t>(values[k]));
    }
    return count == 0 || largest < end;
}

TTAMER_CLONES bool all_at(const RowState *rows, std::size_t count, std::int64_t position) {
    RowState difference = 0;
    for (std::size_t k = 0; k < count; ++k) {
        difference |= rows[k] ^ position;
    }
    return (difference & kPositionBits) == 0;
}

namespace {

// out[k] = table[at[k]]. Processors store once a cycle and load two or three times: two positions come with one load.
template <typename T>
TTAMER_INLINE void pick(const T *table, const std::uint32_t *at, std::size_t count, T *TTAMER_RESTRICT out) {
    constexpr std::size_t kLow = std::endian::native == std::endian::little ? 0 : 1;
    std::size_t k = 0;
    TTAMER_UNROLL
    for (; k + 2 <= count; k += 2) {
        std::uint64_t both = 0;
        std::memcpy(&both, at + k, sizeof both);
        out[k + kLow] = table[static_cast<std::uint32_t>(both)];
        out[k + 1 - kLow] = table[both >> 32];
    }
    if (k < count) {
        out[k] = table[at[k]];
    }
}

} // namespace

TTAMER_CLONES void find_entries(const StateLookup &shared, const StateEntry *entries, const float *signals,
                                std::size_t count, std::uint32_t worst, StateEntry *TTAMER_RESTRICT found) {
    // A copy: stores could otherwise change what `shared` refers to, and every step would load it anew.
    const StateLookup lookup = shared;
    alignas(64) std::uint32_t offsets[kBlock];
    alignas(64) std::uint32_t at[kBlock];
    alignas(64) std::uint32_t words[kBlock];
    alignas(64) std::uint32_t rests[kBlock];
    for (std::size_t k = 0; k < count; ++k) {
        const auto nan = static_cast<std::uint32_t>(mask(signals[k] != signals[k]));
        offsets[k] = lookup.offset((nan & worst) | (~nan & order_key(signals[k])));
    }
    // Loops of loads that go anywhere between loops that are vectorised: together they would be neither.
    const std::uint32_t one_cell = lookup.cells[0];
    if (lookup.has_one_cell()) {
        for (std::size_t k = 0; k < count; ++k) {
            const StateLookup::Place place = StateLookup::place(offsets[k], one_cell, lookup.cell_shift);
            at[k] = place.part;
            rests[k] = place.rest;
        }
    } else {
        for (std::size_t k = 0; k < count; ++k) {
            at[k] = offsets[k] >> lookup.cell_shift;
        }
        pick(lookup.cells, at, count, words);
        for (std::size_t k = 0; k < count; ++k) {
            const StateLookup::Place place = StateLookup::place(offsets[k], words[k], lookup.cell_shift);
            at[k] = place.part;
            rests[k] = place.rest;
        }
    }
    pick(lookup.parts, at, count, words);
    for (std::size_t k = 0; k < count; ++k) {
        at[k] = StateLookup::resolved(words[k], rests[k]);
    }
    for (std::uint32_t step = 0; step < lookup.steps; ++step) {
        pick(lookup.edges, at, count, words);
        for (std::size_t k = 0; k < count; ++k) {
            at[k] += static_cast<std::uint32_t>(offsets[k] >= words[k]);
        }
    }
    pick(entries, at, count, found);
}

TTAMER_CLONES void find_turns(std::span<const std::uint32_t> turns, StateEntry lowest, const float *signals,
                              std::size_t count, std::uint32_t worst, StateEntry *TTAMER_RESTRICT found) {
    static_assert((kStops ^ kGoesOn) == StateEntry{1} << 31);
    alignas(64) std::uint32_t keys[kBlock];
    alignas(64) std::uint32_t entries[kBlock];
    for (std::size_t k = 0; k < count; ++k) {
        const auto nan = static_cast<std::uint32_t>(mask(signals[k] != signals[k]));
        keys[k] = (nan & worst) | (~nan & order_key(signals[k]));
        entries[k] = static_cast<std::uint32_t>(lowest);
    }
    for (const std::uint32_t turn : turns) {
        for (std::size_t k = 0; k < count; ++k) {
            entries[k] ^= static_cast<std::uint32_t>(keys[k] >= turn) << 31;
        }
    }
    for (std::size_t k = 0; k < count; ++k) {
        found[k] = static_cast<StateEntry>(entries[k]);
    }
}

TTAMER_CLONES bool find_entries(const JointTables &tables, const std::int32_t *nodes,
                                const float *TTAMER_RESTRICT signals, std::size_t count,
                                StateEntry *TTAMER_RESTRICT found, std::int32_t *TTAMER_RESTRICT onward) {
    alignas(64) std::uint32_t worst[kBlock];
    alignas(64) std::uint32_t offsets[kBlock];
    alignas(64) std::uint32_t ranges[kBlock];
    alignas(64) std::uint32_t shifts[kBlock];
    alignas(64) std::uint32_t at[kBlock];
    alignas(64) std::uint32_t firsts[kBlock];
    alignas(64) std::uint32_t words[kBlock];
    bool several = false;
    for (std::size_t k = 0; k < count; ++k) {
        const NodeTables &node = tables.nodes[nodes[k]];
        worst[k] = node.worst_key;
        offsets[k] = node.lookup.lowest;
        ranges[k] = node.lookup.range;
        shifts[k] = node.lookup.cell_shift;
        at[k] = node.first_cell;
        firsts[k] = node.first_entry;
        onward[k] = node.only_next;
        several |= node.only_next == Policy::kSeveral;
    }
    for (std::size_t k = 0; k < count; ++k) {
        const auto nan = static_cast<std::uint32_t>(mask(signals[k] != signals[k]));
        const std::uint32_t key = (nan & worst[k]) | (~nan & order_key(signals[k]));
        offsets[k] = std::min(std::max(key, offsets[k]) - offsets[k], ranges[k]);
        at[k] += offsets[k] >> shifts[k];
    }
    if (!tables.without_steps) {
        for (std::size_t k = 0; k < count; ++k) {
            found[k] = tables.entries[firsts[k] + tables.nodes[nodes[k]].lookup.state_at(offsets[k])];
        }
        return several;
    }
    pick(tables.cells, at, count, words);
    for (std::size_t k = 0; k < count; ++k) {
        const StateLookup::Place place = StateLookup::place(offsets[k], words[k], shifts[k]);
        at[k] = place.part;
        offsets[k] = place.rest;
    }
    pick(tables.parts, at, count, words);
    for (std::size_t k = 0; k < count; ++k) {
        at[k] = firsts[k] + StateLookup::resolved(words[k], offsets[k]);
    }
    pick(tables.entries, at, count, found);
    return several;
}

namespace {

std::int32_t element(std::int32_t one, std::size_t /*k*/) {
    return one;
}
std::int32_t element(const std::int32_t *each, std::size_t k) {
    return each[k];
}

// Inlined into the functions below, each of which is compiled for several processors.
template <typename Node>
inline void update_each(RowState *rows, const StateEntry *found, std::size_t count, Node nodes, bool recall,
                        Node onward, std::int32_t *next) {
    const std::int64_t also = recall ? 0 : -1;
    for (std::size_t k = 0; k < count; ++k) {
        const Step step = consult_row(rows[k], found[k], also, element(nodes, k), element(onward, k));
        rows[k] = step.row;
        next[k] = step.next;
    }
}

template <typename Node>
inline void update_each_observed(RowState *rows, float *best_signals, const StateEntry *found, const float *signals,
                                 std::size_t count, Node nodes, Node onward, std::int32_t *next) {
    for (std::size_t k = 0; k < count; ++k) {
        const float signal = compared(signals[k]);
        const std::int64_t also = smaller_signal(rows[k], rank_of(found[k]), signal, best_signals[k]);
        const bool take = rank_of(found[k]) < rank_of(rows[k]) || also != 0;
        const Step step = consult_row(rows[k], found[k], also, element(nodes, k), element(onward, k));
        best_signals[k] = take ? signal : best_signals[k];
        rows[k] = step.row;
        next[k] = step.next;
    }
}

} // namespace

TTAMER_CLONES void update(RowState *rows, const StateEntry *found, std::size_t count, std::int32_t node, bool recall,
                          std::int32_t onward, std::int32_t *next) {
    update_each(rows, found, count, node, recall, onward, next);
}

TTAMER_CLONES void update(RowState *rows, const StateEntry *found, std::size_t count, const std::int32_t *nodes,
                          bool recall, const std::int32_t *onward, std::int32_t *next) {
    update_each(rows, found, count, nodes, recall, onward, next);
}

TTAMER_CLONES void update_observed(RowState *rows, float *best_signals, const StateEntry *found, const float *signals,
                                   std::size_t count, std::int32_t node, std::int32_t onward, std::int32_t *next) {
    update_each_observed(rows, best_signals, found, signals, count, node, onward, next);
}

TTAMER_CLONES void update_observed(RowState *rows, float *best_signals, const StateEntry *found, const float *signals,
                                   std::size_t count, const std::int32_t *nodes, const std::int32_t *onward,
                                   std::int32_t *next) {
    update_each_observed(rows, best_signals, found, signals, count, nodes, onward, next);
}

} // namespace ttamer
