// Ranks worked on together, and where a node's states stand in the products over them.
#pragma once

#include "ttamer/base/product.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace ttamer {

// Ranks in blocks of `width`, a power of 2, for one node. A state is open in a block while ranks below its own remain
// above the block's first; then it is settled: what came before no longer matters. Columns are the states in an order
// of their own ranks, rising or falling, so that those open in a block are neighbours: no product gathers them.
//
// A table holds `width` numbers for each block and each column open in it, block by block: a panel of the product with
// a transition, as it stands.
class RankBlocks {
  public:
    RankBlocks() = default;
    RankBlocks(std::span<const std::int32_t> own, std::int32_t width);

    std::size_t states() const { return own_.size(); }
    std::span<const std::int32_t> own() const { return own_; }
    std::int32_t width() const { return 1 << shift_; }
    // Blocks up to the highest own rank; every state is settled in those above.
    std::size_t count() const { return offsets_.size(); }
    std::int32_t begin(std::size_t block) const { return static_cast<std::int32_t>(block << shift_); }
    std::size_t of(std::int32_t rank) const { return static_cast<std::size_t>(rank) >> shift_; }

    std::size_t column(std::size_t state) const { return columns_.empty() ? state : columns_[state]; }
    // The state of each column; empty where it is the one of the same number.
    std::span<const std::size_t> order() const { return order_; }

    Columns open(std::size_t block) const;
    // Columns that settle between `block` and the one below it.
    Columns settling(std::size_t block) const;

    // Numbers in a table, and where in it those of a column that is open in a block begin.
    std::size_t size() const { return size_; }
    std::size_t at(std::size_t block, std::size_t column) const { return offsets_[block] + (column << shift_); }

  private:
    std::size_t settled(std::size_t block) const { return block < count() ? settled_[block] : states(); }

    std::span<const std::int32_t> own_;
    int shift_ = 0; // 2^shift_ is the width
    std::size_t size_ = 0;
    bool falling_ = false;
    std::vector<std::size_t> order_;
    std::vector<std::size_t> columns_;
    std::vector<std::size_t> settled_; // states settled in each block
    std::vector<std::size_t> offsets_; // of column 0, which need not be open: less than 0, wrapped around, if not
};

} // namespace ttamer
