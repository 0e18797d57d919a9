// From signals to states: the number of edges <= signal, compared in float32.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace ttamer {

// Unsigned integers in the order of the floats, -0 equal to 0. NaN gets some key; callers look for it first.
inline std::uint32_t order_key(float signal) {
    const auto bits = std::bit_cast<std::uint32_t>(signal + 0.0F); // -0 + 0 is 0
    const auto sign = static_cast<std::uint32_t>(static_cast<std::int32_t>(bits) >> 31);
    return bits ^ (sign | 0x80000000U);
}

// The tables of a Quantiser as plain pointers and numbers, so that a loop can keep them in registers.
struct StateLookup {
    // A cell says where its parts begin and how wide they are; packed, so that one load brings both.
    static constexpr std::uint32_t kShiftBits = 5;

    const std::uint32_t *cells;
    const std::uint16_t *bases; // number of edges before each part
    const std::uint32_t *keys;  // of the edges, padded with `steps` that no signal reaches
    std::uint32_t lowest;
    std::uint32_t range;
    std::uint32_t cell_shift;
    std::uint32_t cell_mask;
    std::uint32_t steps;

    std::uint32_t offset(std::uint32_t key) const { return std::min(std::max(key, lowest) - lowest, range); }

    std::uint32_t edges_before(std::uint32_t offset_of_key) const {
        const std::uint32_t cell = cells[offset_of_key >> cell_shift];
        return bases[(cell >> kShiftBits) + ((offset_of_key & cell_mask) >> (cell & ((1U << kShiftBits) - 1)))];
    }

    // Whether all parts are of one width, which the first cell then says.
    bool has_one_cell() const { return range >> cell_shift == 0; }

    // The state of a signal that is not NaN, from its order_key.
    std::int32_t state(std::uint32_t key) const {
        return static_cast<std::int32_t>(climb(edges_before(offset(key)), key));
    }

    std::uint32_t climb(std::uint32_t base, std::uint32_t key) const {
        std::uint32_t state = base;
        for (std::uint32_t step = 0; step < steps; ++step) {
            state += key >= keys[base + step] ? 1U : 0U;
        }
        return state;
    }
};

// Looks a state up through two tables keyed on the float's bits, then takes a bounded number of further steps. A
// binary search mispredicts half of its branches, which costs more than everything else that deciding does.
//
// Quantile edges crowd (near 1, for probabilities), so cells of equal width would hold from none to hundreds. The
// first table cuts the range of the edges into cells; each cell is cut again as finely as its own edges need. Some
// dozen edges mostly lie far enough apart for one cell, whose parts then need no other table.
class Quantiser {
  public:
    // Finite, strictly increasing edges, at most kMaxEdges.
    explicit Quantiser(std::span<const float> edges);

    static constexpr std::size_t kMaxEdges = 0xFFFE;

    StateLookup lookup() const {
        return {cells_.data(), bases_.data(), keys_.data(), lowest_, range_, cell_shift_, cell_mask_, steps_};
    }

    std::int32_t state(std::uint32_t key) const { return lookup().state(key); }

  private:
    bool build_one_cell(std::span<const std::uint32_t> keys);
    void build_cells(std::span<const std::uint32_t> keys);
    bool build(std::span<const std::uint32_t> keys, std::uint32_t steps);

    std::size_t count_;
    std::uint32_t lowest_ = 0;
    std::uint32_t range_ = 0;
    std::uint32_t cell_shift_ = 0;
    std::uint32_t cell_mask_ = 0;
    std::uint32_t steps_ = 1;
    std::vector<std::uint32_t> cells_;
    std::vector<std::uint16_t> bases_;
    std::vector<std::uint32_t> keys_;
};

// States of column `node` of a row-major (rows, nodes) array of signals.
std::vector<std::int32_t> states_of(std::span<const float> edges, std::span<const float> signals, std::size_t nodes,
                                    std::size_t node);

} // namespace ttamer
