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
    const auto given = std::bit_cast<std::uint32_t>(signal);
    const std::uint32_t bits = given == 0x80000000U ? 0 : given; // not by adding 0, which may flush denormals
    const auto sign = static_cast<std::uint32_t>(static_cast<std::int32_t>(bits) >> 31);
    return bits ^ (sign | 0x80000000U);
}

// The tables of a Quantiser as plain pointers and numbers, so that a loop can keep them in registers. A signal's
// *offset* is its order_key counted from `lowest`, the key just below the first edge's, and at most `range`, the last
// edge's offset: what lies further out is in the same state.
struct StateLookup {
    // A cell says where its parts begin and, in its lowest bits, the binary logarithm of their number.
    static constexpr std::uint32_t kCountBits = 6;
    // Of an offset within its part: as many as a part that resolves an edge has at most.
    static constexpr std::uint32_t kRestBits = 16;

    const std::uint32_t *cells;
    const std::uint32_t *parts;
    const std::uint32_t *edges; // offsets, and one more that no signal reaches
    std::uint32_t lowest;
    std::uint32_t range;
    std::uint32_t cell_shift; // 1 to 31
    std::uint32_t climbs;     // how often `climbed` is asked after the tables

    static std::uint32_t offset(std::uint32_t key, std::uint32_t lowest, std::uint32_t range) {
        return std::min(std::max(key, lowest) - lowest, range);
    }
    std::uint32_t offset(std::uint32_t key) const { return offset(key, lowest, range); }

    // Where a part stands, and what its offset has left within it: the first bits of that, in kRestBits.
    struct Place {
        std::uint32_t part;
        std::uint32_t rest;
    };

    static Place place(std::uint32_t offset, std::uint32_t cell, std::uint32_t cell_shift) {
        const std::uint32_t inside = offset << (32 - cell_shift); // the first bits: which cell, are shifted out
        const std::uint32_t bits = cell & ((1U << kCountBits) - 1);
        return {(cell >> kCountBits) + (inside >> 1 >> (31 - bits)), inside << bits >> (32 - kRestBits)};
    }

    // The number of edges before a part stands in its upper half. From its first edge on, the sum carries one more.
    static std::uint32_t resolved(std::uint32_t part, std::uint32_t rest) { return (part + rest) >> kRestBits; }

    std::uint32_t climbed(std::uint32_t state, std::uint32_t offset) const {
        return state + static_cast<std::uint32_t>(offset >= edges[state]);
    }

    bool has_one_cell() const { return range >> cell_shift == 0; }

    // The state of a signal that is not NaN, from its order_key.
    std::int32_t state(std::uint32_t key) const { return static_cast<std::int32_t>(state_at(offset(key))); }

    std::uint32_t state_at(std::uint32_t offset) const {
        const Place found = place(offset, cells[offset >> cell_shift], cell_shift);
        std::uint32_t at = resolved(parts[found.part], found.rest);
        for (std::uint32_t climb = 0; climb < climbs; ++climb) {
            at = climbed(at, offset);
        }
        return at;
    }
};

// Looks a state up through two tables keyed on the float's bits; where edges crowd, a bounded number of climbs follows.
// A binary search mispredicts half of its branches, which costs more than everything else that deciding does.
//
// Quantile edges crowd (near 1, for probabilities), so cells of equal width would hold from none to hundreds. The
// first table cuts the range of the edges into cells; each cell is cut again into parts, as finely as its own edges
// need. A part mostly holds one edge at most and knows where: adding the offset within it to its word carries into the
// number of edges before it, without a comparison and without looking the edge up. Some dozen edges mostly lie far
// enough apart for one cell, whose parts then need no other table.
class Quantiser {
  public:
    // Finite, strictly increasing edges, at most kMaxEdges.
    explicit Quantiser(std::span<const float> edges);

    static constexpr std::size_t kMaxEdges = 0xFFFE;

    StateLookup lookup() const {
        return {cells_.data(), parts_.data(), edges_.data(), lowest_, range_, cell_shift_, climbs_};
    }

    std::int32_t state(std::uint32_t key) const { return lookup().state(key); }

  private:
    friend class Quantisers;

    void choose_cells();
    std::uint64_t words(std::uint32_t cell_shift, std::uint32_t climbs) const;
    void build();
    void add_cell(std::span<const std::uint32_t> edges, std::size_t before);

    std::uint32_t lowest_ = 0;
    std::uint32_t range_ = 0;
    std::uint32_t cell_shift_ = 1;
    std::uint32_t climbs_ = 0;
    std::vector<std::uint32_t> cells_;
    std::vector<std::uint32_t> parts_;
    std::vector<std::uint32_t> edges_;
};

// Those of all nodes, which a model's policies share. Their tables lie behind each other, so that rows which consult
// different nodes can be looked up together; a cell says where in all of them its parts begin.
class Quantisers {
  public:
    // One list of edges a node, each as for a Quantiser.
    explicit Quantisers(std::span<const std::span<const float>> edges);

    std::size_t size() const { return nodes_.size(); }
    StateLookup lookup(std::size_t node) const;
    // Where the node's cells begin.
    std::uint32_t first_cell(std::size_t node) const { return nodes_[node].first_cell; }

    const std::uint32_t *cells() const { return cells_.data(); }
    const std::uint32_t *parts() const { return parts_.data(); }
    // Whether a part's word tells the state of every signal, at every node.
    bool without_climbs() const { return without_climbs_; }

  private:
    void append(const Quantiser &quantiser);

    struct Node {
        std::uint32_t first_cell;
        std::size_t first_edge;
        std::uint32_t lowest;
        std::uint32_t range;
        std::uint32_t cell_shift;
        std::uint32_t climbs;
    };
    std::vector<Node> nodes_;
    std::vector<std::uint32_t> cells_;
    std::vector<std::uint32_t> parts_;
    std::vector<std::uint32_t> edges_;
    bool without_climbs_ = true;
};

// States of column `node` of a row-major (rows, nodes) array of signals.
std::vector<std::int32_t> states_of(std::span<const float> edges, std::span<const float> signals, std::size_t nodes,
                                    std::size_t node);

} // namespace ttamer
