#include "ttamer/base/quantiser.hpp"

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

namespace ttamer {

namespace {

constexpr std::uint32_t kMaxCells = 4096;
// Of both tables together, 4 bytes each: 16 KiB, so that what is used of one node stays in the first-level cache. Where
// there are more edges than that, so many are looked up anyway.
constexpr std::size_t kMaxWords = 4096;
// One cell saves a look-up for each signal, which is worth more than a smaller table.
constexpr std::size_t kMaxWordsOfOneCell = 2048;
constexpr std::uint32_t kUnreached = 0xFFFFFFFFU;

// The widest parts, as a power of two, such that no more than `most` of the cell's edges share one.
std::uint32_t widest(std::span<const std::uint32_t> edges, std::uint32_t cell_shift, std::uint32_t most) {
    std::uint32_t shift = cell_shift;
    for (std::size_t k = most; k < edges.size(); ++k) {
        shift = std::min(shift, static_cast<std::uint32_t>(std::bit_width(edges[k] ^ edges[k - most])) - 1);
    }
    return shift;
}

// The width of a cell's parts when `climbs` follow: one edge more where the sum with the rest of an offset resolves it,
// which needs all bits of that.
std::uint32_t part_shift(std::span<const std::uint32_t> edges, std::uint32_t cell_shift, std::uint32_t climbs) {
    if (edges.empty()) {
        return cell_shift;
    }
    const std::uint32_t resolving = std::min(widest(edges, cell_shift, climbs + 1), StateLookup::kRestBits);
    return climbs == 0 ? resolving : std::max(resolving, widest(edges, cell_shift, climbs));
}

// Calls visit(cell, its edges) for each cell that has edges.
template <typename Visit>
void visit_cells(std::span<const std::uint32_t> edges, std::uint32_t cell_shift, const Visit &visit) {
    for (std::size_t first = 0; first < edges.size();) {
        const std::uint32_t cell = edges[first] >> cell_shift;
        std::size_t last = first;
        while (last < edges.size() && edges[last] >> cell_shift == cell) {
            ++last;
        }
        visit(cell, edges.subspan(first, last - first));
        first = last;
    }
}

} // namespace

Quantiser::Quantiser(std::span<const float> edges) {
    if (edges.size() > kMaxEdges) {
        throw std::invalid_argument("bin_edges: expected at most " + std::to_string(kMaxEdges) + ", got " +
                                    std::to_string(edges.size()));
    }
    if (!edges.empty()) {
        lowest_ = order_key(edges.front()) - 1;
        range_ = order_key(edges.back()) - lowest_;
    }
    for (const float edge : edges) {
        edges_.push_back(order_key(edge) - lowest_);
    }
    choose_cells();
    build();
    edges_.push_back(kUnreached);
}

// As few climbs as tables of a bounded size allow, and with these the smallest tables.
void Quantiser::choose_cells() {
    const auto bits = static_cast<std::uint32_t>(std::bit_width(range_));
    const std::size_t most = std::max(kMaxWords, 2 * edges_.size());
    for (climbs_ = 0;; climbs_ = std::max(1U, 2 * climbs_)) {
        std::uint64_t fewest = std::numeric_limits<std::uint64_t>::max();
        for (std::uint32_t shift = std::clamp(bits, 1U, 31U); shift > 0 && range_ >> shift < kMaxCells; --shift) {
            const std::uint64_t needed = words(shift, climbs_);
            if (needed < fewest) {
                fewest = needed;
                cell_shift_ = shift;
            }
            if (range_ >> shift == 0 && needed <= kMaxWordsOfOneCell) {
                return;
            }
        }
        if (fewest <= most || climbs_ >= edges_.size()) {
            return;
        }
    }
}

// 64 bits: many cells may want up to 2^31 parts each, and then are not taken.
std::uint64_t Quantiser::words(std::uint32_t cell_shift, std::uint32_t climbs) const {
    std::uint64_t count = 2 * (static_cast<std::uint64_t>(range_ >> cell_shift) + 1); // each cell has a part at least
    visit_cells(edges_, cell_shift, [&](std::uint32_t, std::span<const std::uint32_t> inside) {
        count += (std::uint64_t{1} << (cell_shift - part_shift(inside, cell_shift, climbs))) - 1;
    });
    return count;
}

void Quantiser::build() {
    std::size_t before = 0;
    const auto add_empty = [&](std::size_t end) {
        while (cells_.size() < end) {
            cells_.push_back(static_cast<std::uint32_t>(parts_.size()) << StateLookup::kCountBits);
            parts_.push_back(static_cast<std::uint32_t>(before) << StateLookup::kRestBits);
        }
    };
    visit_cells(edges_, cell_shift_, [&](std::uint32_t cell, std::span<const std::uint32_t> inside) {
        add_empty(cell);
        add_cell(inside, before);
        before += inside.size();
    });
    add_empty((range_ >> cell_shift_) + 1);
}

// A cell with edges, `before` of which come before it.
void Quantiser::add_cell(std::span<const std::uint32_t> edges, std::size_t before) {
    const std::uint32_t shift = part_shift(edges, cell_shift_, climbs_);
    const std::uint32_t bits = cell_shift_ - shift;
    cells_.push_back(static_cast<std::uint32_t>(parts_.size()) << StateLookup::kCountBits | bits);
    std::size_t k = 0;
    for (std::uint32_t part = 0; part < std::uint32_t{1} << bits; ++part) {
        std::uint32_t word = static_cast<std::uint32_t>(before + k) << StateLookup::kRestBits;
        const std::size_t first = k;
        for (; k < edges.size() && (edges[k] >> shift & ((1U << bits) - 1)) == part; ++k) {
            if (k == first && shift <= StateLookup::kRestBits) {
                const std::uint32_t rest = edges[k] & ((1U << shift) - 1);
                word += (1U << StateLookup::kRestBits) - (rest << (StateLookup::kRestBits - shift));
            }
        }
        parts_.push_back(word);
    }
}

Quantisers::Quantisers(std::span<const std::span<const float>> edges) {
    for (const auto &of_node : edges) {
        append(Quantiser(of_node));
    }
}

void Quantisers::append(const Quantiser &one) {
    constexpr std::size_t kMostParts = std::size_t{1} << (32 - StateLookup::kCountBits);
    if (parts_.size() + one.parts_.size() > kMostParts) {
        throw std::invalid_argument("bin_edges: too many, the look-up tables of all nodes exceed " +
                                    std::to_string(kMostParts) + " entries");
    }
    nodes_.push_back({static_cast<std::uint32_t>(cells_.size()), edges_.size(), one.lowest_, one.range_,
                      one.cell_shift_, one.climbs_});
    const auto before = static_cast<std::uint32_t>(parts_.size()) << StateLookup::kCountBits;
    for (const std::uint32_t cell : one.cells_) {
        cells_.push_back(cell + before);
    }
    parts_.insert(parts_.end(), one.parts_.begin(), one.parts_.end());
    edges_.insert(edges_.end(), one.edges_.begin(), one.edges_.end());
    without_climbs_ = without_climbs_ && one.climbs_ == 0;
}

StateLookup Quantisers::lookup(std::size_t node) const {
    const auto &[first_cell, first_edge, lowest, range, cell_shift, climbs] = nodes_[node];
    return {cells_.data() + first_cell, parts_.data(), edges_.data() + first_edge, lowest, range, cell_shift, climbs};
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
