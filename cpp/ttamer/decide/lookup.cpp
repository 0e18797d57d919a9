#include "ttamer/decide/lookup.hpp"

#include "ttamer/base/dispatch.hpp"
#include "ttamer/base/pairs.hpp"
#include "ttamer/decide/node_fields.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace ttamer {

namespace {

#ifdef TTAMER_VECTORS
using Eight = std::uint32_t __attribute__((vector_size(32)));
#endif

// out[k] = table[at[k]].
TTAMER_INLINE void pick(const std::int64_t *table, const std::uint32_t *at, std::size_t count,
                        std::int64_t *TTAMER_RESTRICT out) {
    std::size_t k = 0;
    TTAMER_UNROLL
    for (; k + 2 <= count; k += 2) {
        const auto [first, second] = two_at(at + k);
        out[k] = table[first];
        out[k + 1] = table[second];
    }
    if (k < count) {
        out[k] = table[at[k]];
    }
}

// Eight numbers are put together in a register and stored at once: each store takes a cycle, and a vector that was
// stored in parts cannot be loaded as a whole before all of them are out of the way.
TTAMER_INLINE void pick(const std::uint32_t *table, const std::uint32_t *at, std::size_t count,
                        std::uint32_t *TTAMER_RESTRICT out) {
    std::size_t k = 0;
#ifdef TTAMER_VECTORS
    for (; k + 8 <= count; k += 8) {
        const Two a = two_at(at + k);
        const Two b = two_at(at + k + 2);
        const Two c = two_at(at + k + 4);
        const Two d = two_at(at + k + 6);
        const Eight eight{table[a.first], table[a.second], table[b.first], table[b.second],
                          table[c.first], table[c.second], table[d.first], table[d.second]};
        std::memcpy(out + k, &eight, sizeof eight);
    }
#endif
    for (; k < count; ++k) {
        out[k] = table[at[k]];
    }
}

// From entries of the first tier to those of each row's own.
TTAMER_INLINE void add_tiers(const RowTiers &tiers, std::size_t count, std::uint32_t *TTAMER_RESTRICT at) {
    if (tiers.each != nullptr) {
        for (std::size_t k = 0; k < count; ++k) {
            at[k] += static_cast<std::uint32_t>(tiers.each[k]) * tiers.entries;
        }
    }
}

// Scratch of one block.
struct Columns {
    alignas(64) std::uint32_t offsets[kBlock];
    alignas(64) std::uint32_t at[kBlock];
    alignas(64) std::uint32_t words[kBlock];
    alignas(64) std::uint32_t rests[kBlock];
};

// Either, by whether a signal is NaN.
TTAMER_INLINE std::uint32_t nan_or(float signal, std::uint32_t of_nan, std::uint32_t of_others) {
    const std::uint32_t nan = 0U - static_cast<std::uint32_t>(signal != signal);
    return (nan & of_nan) | (~nan & of_others);
}

// StateLookup::offset where NaN counts as `worst`.
struct AnyOffset {
    const StateLookup &lookup;
    std::uint32_t worst;

    TTAMER_INLINE std::uint32_t operator()(float signal) const {
        return lookup.offset(nan_or(signal, worst, order_key(signal)));
    }
};

// The same where all edges are positive: positive floats are in the order of their bits, and all others are below
// those as integers too, so that no key is needed.
struct PositiveOffset {
    std::int32_t lowest;
    std::int32_t highest;
    std::uint32_t worst;

    static constexpr std::uint32_t kZero = 0x80000000; // the order_key of 0

    static bool holds(const StateLookup &lookup) { return lookup.lowest >= kZero; }

    PositiveOffset(const StateLookup &lookup, std::uint32_t worst_key)
        : lowest(static_cast<std::int32_t>(lookup.lowest - kZero)),
          highest(static_cast<std::int32_t>(lookup.lowest - kZero + lookup.range)), worst(lookup.offset(worst_key)) {}

    TTAMER_INLINE std::uint32_t operator()(float signal) const {
        const std::int32_t bits = std::min(std::max(std::bit_cast<std::int32_t>(signal), lowest), highest);
        return nan_or(signal, worst, static_cast<std::uint32_t>(bits - lowest));
    }
};

// Offsets, and for each where its part stands and what is left within it. Loops of loads that go anywhere stand between
// loops that are vectorised: together they would be neither.
template <typename Offset>
TTAMER_INLINE void place_all(const StateLookup &lookup, Offset offset_of, const float *signals, std::size_t count,
                             Columns &columns) {
    auto &[offsets, at, words, rests] = columns;
    if (lookup.has_one_cell()) { // whose parts are all of one width
        const std::uint32_t first = lookup.cells[0] >> StateLookup::kCountBits;
        const std::uint32_t width = lookup.cell_shift - (lookup.cells[0] & ((1U << StateLookup::kCountBits) - 1));
        for (std::size_t k = 0; k < count; ++k) {
            offsets[k] = offset_of(signals[k]);
            at[k] = first + (offsets[k] >> width);
            rests[k] = offsets[k] << (31 - width) << 1 >> (32 - StateLookup::kRestBits);
        }
        return;
    }
    for (std::size_t k = 0; k < count; ++k) {
        offsets[k] = offset_of(signals[k]);
        at[k] = offsets[k] >> lookup.cell_shift;
    }
    pick(lookup.cells, at, count, words);
    for (std::size_t k = 0; k < count; ++k) {
        const StateLookup::Place place = StateLookup::place(offsets[k], words[k], lookup.cell_shift);
        at[k] = place.part;
        rests[k] = place.rest;
    }
}

template <typename Entry>
TTAMER_INLINE void find_at_one(const StateLookup &shared, const Entry *entries, const RowTiers &tiers,
                               const float *signals, std::size_t count, std::uint32_t worst,
                               Entry *TTAMER_RESTRICT found) {
    // A copy: stores could otherwise change what `shared` refers to, and every climb would load it anew.
    const StateLookup lookup = shared;
    Columns columns;
    if (PositiveOffset::holds(lookup)) {
        place_all(lookup, PositiveOffset(lookup, worst), signals, count, columns);
    } else {
        place_all(lookup, AnyOffset{lookup, worst}, signals, count, columns);
    }
    auto &[offsets, at, words, rests] = columns;
    pick(lookup.parts, at, count, words);
    for (std::size_t k = 0; k < count; ++k) {
        at[k] = StateLookup::resolved(words[k], rests[k]);
    }
    for (std::uint32_t climb = 0; climb < lookup.climbs; ++climb) {
        pick(lookup.edges, at, count, words);
        for (std::size_t k = 0; k < count; ++k) {
            at[k] += static_cast<std::uint32_t>(offsets[k] >= words[k]);
        }
    }
    add_tiers(tiers, count, at);
    pick(entries, at, count, found);
}

template <typename Entry>
TTAMER_INLINE void find_at_each(const JointTables &tables, const Entry *entries, const RowTiers &tiers,
                                const std::int32_t *nodes, const BlockFields &fields,
                                const float *TTAMER_RESTRICT signals, std::size_t count, Entry *TTAMER_RESTRICT found) {
    Columns columns;
    auto &[offsets, at, words, rests] = columns;
    for (std::size_t k = 0; k < count; ++k) {
        const std::uint32_t key = nan_or(signals[k], fields.worst_key[k], order_key(signals[k]));
        offsets[k] = StateLookup::offset(key, fields.lowest[k], fields.range[k]);
        at[k] = fields.first_cell[k] + (offsets[k] >> fields.cell_shift[k]);
    }
    if (!tables.without_climbs) {
        for (std::size_t k = 0; k < count; ++k) {
            at[k] = fields.first_entry[k] + tables.nodes[nodes[k]].lookup.state_at(offsets[k]);
        }
        add_tiers(tiers, count, at);
        pick(entries, at, count, found);
        return;
    }
    pick(tables.cells, at, count, words);
    for (std::size_t k = 0; k < count; ++k) {
        const StateLookup::Place place = StateLookup::place(offsets[k], words[k], fields.cell_shift[k]);
        at[k] = place.part;
        rests[k] = place.rest;
    }
    pick(tables.parts, at, count, words);
    for (std::size_t k = 0; k < count; ++k) {
        at[k] = fields.first_entry[k] + StateLookup::resolved(words[k], rests[k]);
    }
    add_tiers(tiers, count, at);
    pick(entries, at, count, found);
}

} // namespace

TTAMER_CLONES void find_entries(const StateLookup &lookup, const StandingEntry *entries, const RowTiers &tiers,
                                const float *signals, std::size_t count, std::uint32_t worst, StandingEntry *found) {
    find_at_one(lookup, entries, tiers, signals, count, worst, found);
}

TTAMER_CLONES void find_entries(const StateLookup &lookup, const RankEntry *entries, const RowTiers &tiers,
                                const float *signals, std::size_t count, std::uint32_t worst, RankEntry *found) {
    find_at_one(lookup, entries, tiers, signals, count, worst, found);
}

TTAMER_CLONES void find_entries(const JointTables &tables, const StandingEntry *entries, const RowTiers &tiers,
                                const std::int32_t *nodes, const BlockFields &fields, const float *signals,
                                std::size_t count, StandingEntry *found) {
    find_at_each(tables, entries, tiers, nodes, fields, signals, count, found);
}

TTAMER_CLONES void find_entries(const JointTables &tables, const RankEntry *entries, const RowTiers &tiers,
                                const std::int32_t *nodes, const BlockFields &fields, const float *signals,
                                std::size_t count, RankEntry *found) {
    find_at_each(tables, entries, tiers, nodes, fields, signals, count, found);
}

TTAMER_CLONES void find_switches(std::span<const std::uint32_t> switches, StandingEntry lowest, const float *signals,
                                 std::size_t count, std::uint32_t worst, StandingEntry *TTAMER_RESTRICT found) {
    static_assert((kStops ^ kGoesOn) == 1);
    alignas(64) std::uint32_t keys[kBlock];
    for (std::size_t k = 0; k < count; ++k) {
        keys[k] = nan_or(signals[k], worst, order_key(signals[k]));
        found[k] = lowest;
    }
    for (const std::uint32_t key : switches) {
        for (std::size_t k = 0; k < count; ++k) {
            found[k] ^= static_cast<std::uint32_t>(keys[k] >= key);
        }
    }
}

} // namespace ttamer
