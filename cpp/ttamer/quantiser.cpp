#include "ttamer/quantiser.hpp"

#include <stdexcept>
#include <string>

namespace ttamer {

namespace {

constexpr std::uint32_t kMaxCells = 1024;
// Parts of all cells together: 8 KiB, so that the tables of one node stay in the first-level cache.
constexpr std::size_t kMaxParts = 4096;
constexpr std::uint32_t kBeyond = 0xFFFFFFFFU;

// Most keys that fall into one of the parts of width 2^shift, counted from `start`.
std::size_t most_in_a_part(std::span<const std::uint32_t> keys, std::uint32_t start, std::uint32_t shift) {
    std::size_t most = 0;
    for (std::size_t first = 0; first < keys.size();) {
        std::size_t next = first;
        while (next < keys.size() && (keys[next] - start) >> shift == (keys[first] - start) >> shift) {
            ++next;
        }
        most = std::max(most, next - first);
        first = next;
    }
    return most;
}

} // namespace

Quantiser::Quantiser(std::span<const float> edges) : count_(edges.size()) {
    if (count_ > kMaxEdges) {
        throw std::invalid_argument("bin_edges: expected at most " + std::to_string(kMaxEdges) + ", got " +
                                    std::to_string(count_));
    }
    std::vector<std::uint32_t> keys(count_);
    std::transform(edges.begin(), edges.end(), keys.begin(), order_key);
    if (!keys.empty()) {
        lowest_ = keys.front();
        range_ = keys.back() - keys.front();
    }
    if (!build_one_cell(keys)) {
        build_cells(keys);
    }
    keys_ = std::move(keys);
    keys_.resize(count_ + steps_, kBeyond);
}

bool Quantiser::build_one_cell(std::span<const std::uint32_t> keys) {
    cell_shift_ = static_cast<std::uint32_t>(std::bit_width(range_));
    return cell_shift_ < 32 && build(keys, 1);
}

void Quantiser::build_cells(std::span<const std::uint32_t> keys) {
    cell_shift_ = 0;
    if (!keys.empty()) {
        const auto wanted = std::min(kMaxCells, std::bit_ceil(2 * static_cast<std::uint32_t>(count_)));
        while ((range_ >> cell_shift_) >= wanted) {
            ++cell_shift_;
        }
    }
    // Terminates: with as many steps as edges, one part a cell is enough.
    for (std::uint32_t steps = 1; !build(keys, steps); steps *= 2) {
    }
}

bool Quantiser::build(std::span<const std::uint32_t> keys, std::uint32_t steps) {
    steps_ = steps;
    cell_mask_ = (std::uint32_t{1} << cell_shift_) - 1;
    cells_.clear();
    bases_.clear();
    std::size_t first = 0;
    const std::uint32_t cells = (range_ >> cell_shift_) + 1;
    for (std::uint32_t cell = 0; cell < cells; ++cell) {
        const std::uint32_t start = lowest_ + (cell << cell_shift_);
        std::size_t last = first;
        while (last < keys.size() && (keys[last] - lowest_) >> cell_shift_ == cell) {
            ++last;
        }
        const auto inside = keys.subspan(first, last - first);
        std::uint32_t shift = cell_shift_;
        while (shift > 0 && most_in_a_part(inside, start, shift) > steps) {
            --shift;
        }
        cells_.push_back(static_cast<std::uint32_t>(bases_.size()) << StateLookup::kShiftBits | shift);
        const std::uint32_t parts = std::uint32_t{1} << (cell_shift_ - shift);
        if (bases_.size() + parts > kMaxParts && steps < keys.size()) {
            return false;
        }
        for (std::uint32_t part = 0; part < parts; ++part) {
            while (first < last && (keys[first] - start) >> shift < part) {
                ++first;
            }
            bases_.push_back(static_cast<std::uint16_t>(first));
        }
        first = last;
    }
    return true;
}

std::vector<std::int32_t> states_of(std::span<const float> edges, std::span<const float> signals, std::size_t nodes,
                                    std::size_t node) {
    const Quantiser quantiser(edges);
    std::vector<std::int32_t> states(signals.size() / nodes);
    for (std::size_t row = 0; row < states.size(); ++row) {
        states[row] = quantiser.state(order_key(signals[row * nodes + node]));
    }
    return states;
}

} // namespace ttamer
