#include "ttamer/kernels.hpp"

#include "ttamer/dispatch.hpp"
#include "ttamer/topology.hpp"

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

TTAMER_CLONES bool all_at(const RowState *rows, std::size_t count, std::int64_t position) {
    RowState difference = 0;
    for (std::size_t k = 0; k < count; ++k) {
        difference |= position_of(rows[k] ^ position);
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
        const auto nan = static_cast<std::int32_t>(mask(signals[k] != signals[k]));
        const auto key = static_cast<std::int32_t>(order_key(signals[k]));
        keys[k] = static_cast<std::uint32_t>((nan & static_cast<std::int32_t>(worst)) | (~nan & key));
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

TTAMER_CLONES void update(RowState *rows, const StateEntry *found, std::size_t count, std::int32_t node, bool recall,
                          std::int32_t onward, std::int32_t *next) {
    const std::int64_t also = recall ? 0 : -1;
    for (std::size_t k = 0; k < count; ++k) {
        const Step step = consult_row(rows[k], found[k], also, node, onward);
        rows[k] = step.row;
        next[k] = step.next;
    }
}

TTAMER_CLONES void update_observed(RowState *rows, float *best_signals, const StateEntry *found, const float *signals,
                                   std::size_t count, std::int32_t node, std::int32_t onward, std::int32_t *next) {
    for (std::size_t k = 0; k < count; ++k) {
        const float signal = compared(signals[k]);
        const std::int64_t also = smaller_signal(rows[k], found[k].rank, signal, best_signals[k]);
        const bool take = found[k].rank < rank_of(rows[k]) || also != 0;
        const Step step = consult_row(rows[k], found[k], also, node, onward);
        best_signals[k] = take ? signal : best_signals[k];
        rows[k] = step.row;
        next[k] = step.next;
    }
}

} // namespace ttamer
