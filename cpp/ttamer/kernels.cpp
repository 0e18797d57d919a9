#include "ttamer/kernels.hpp"

#include "ttamer/dispatch.hpp"
#include "ttamer/topology.hpp"

#include <limits>

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

TTAMER_CLONES void find_entries(const StateLookup &shared, const StateEntry *entries, const float *signals,
                                std::size_t count, std::uint32_t worst, StateEntry *found) {
    // A copy: stores to `found` could otherwise change what `shared` refers to, and every step would load it anew.
    const StateLookup lookup = shared;
    std::uint32_t keys[kBlock];
    std::uint32_t offsets[kBlock];
    for (std::size_t k = 0; k < count; ++k) {
        const auto nan = mask(signals[k] != signals[k]);
        const auto key = static_cast<std::int32_t>(order_key(signals[k]));
        keys[k] = static_cast<std::uint32_t>(choose(nan, static_cast<std::int32_t>(worst), key));
        offsets[k] = lookup.offset(keys[k]);
    }
    if (lookup.steps == 1) { // what quantile edges mostly need
        for (std::size_t k = 0; k < count; ++k) {
            const std::uint32_t base = lookup.edges_before(offsets[k]);
            found[k] = entries[base + static_cast<std::uint32_t>(keys[k] >= lookup.keys[base])];
        }
        return;
    }
    for (std::size_t k = 0; k < count; ++k) {
        found[k] = entries[lookup.state(keys[k])];
    }
}

TTAMER_CLONES void update(const Columns &columns, const StateEntry *found, std::size_t count, std::int32_t node,
                          bool recall, std::int32_t onward, std::int32_t stopped, std::int32_t *next) {
    const std::int32_t always = recall ? 0 : -1;
    std::int32_t *TTAMER_RESTRICT rank = columns.rank;
    std::int32_t *TTAMER_RESTRICT answer = columns.answer;
    std::int32_t *TTAMER_RESTRICT position = columns.position;
    for (std::size_t k = 0; k < count; ++k) {
        const std::int32_t take = mask(found[k].rank < rank[k]) | always;
        const std::int32_t best = choose(take, found[k].rank, rank[k]);
        const std::int32_t stop = mask(best <= found[k].stop_upper);
        rank[k] = best;
        answer[k] = choose(take, node, answer[k]);
        position[k] = choose(stop, stopped, node + 1);
        next[k] = choose(stop, kStop, onward);
    }
}

TTAMER_CLONES void update_observed(const Columns &columns, const StateEntry *found, const float *signals,
                                   std::size_t count, std::int32_t node, std::int32_t onward, std::int32_t stopped,
                                   std::int32_t *next) {
    for (std::size_t k = 0; k < count; ++k) {
        const float signal = signals[k] == signals[k] ? signals[k] : std::numeric_limits<float>::infinity();
        const std::int32_t smaller = mask(signal < columns.signal[k]);
        const std::int32_t equal = mask(found[k].rank == columns.rank[k]);
        const std::int32_t take = mask(found[k].rank < columns.rank[k]) | (equal & smaller);
        const std::int32_t best = choose(take, found[k].rank, columns.rank[k]);
        const std::int32_t stop = mask(best <= found[k].stop_upper);
        columns.rank[k] = best;
        columns.answer[k] = choose(take, node, columns.answer[k]);
        columns.signal[k] = take != 0 ? signal : columns.signal[k];
        columns.position[k] = choose(stop, stopped, node + 1);
        next[k] = choose(stop, kStop, onward);
    }
}

} // namespace ttamer
