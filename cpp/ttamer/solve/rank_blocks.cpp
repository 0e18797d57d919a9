#include "ttamer/solve/rank_blocks.hpp"

#include <algorithm>
#include <bit>
#include <functional>
#include <numeric>

namespace ttamer {

RankBlocks::RankBlocks(std::span<const std::int32_t> own, std::int32_t width)
    : own_(own), shift_(std::countr_zero(static_cast<std::uint32_t>(width))) {
    const bool rising = std::is_sorted(own.begin(), own.end());
    falling_ = !rising && std::is_sorted(own.begin(), own.end(), std::greater<>());
    if (!rising && !falling_) {
        order_.resize(own.size());
        std::iota(order_.begin(), order_.end(), std::size_t{0});
        std::stable_sort(order_.begin(), order_.end(), [&](auto a, auto b) { return own[a] < own[b]; });
        columns_.resize(own.size());
        for (std::size_t column = 0; column < own.size(); ++column) {
            columns_[order_[column]] = column;
        }
    }
    const std::size_t blocks = of(*std::max_element(own.begin(), own.end())) + 1;
    // A state with rank r is settled from the first block on that begins at r or above.
    settled_.assign(blocks + 1, 0);
    for (const auto rank : own) {
        ++settled_[of(rank + width - 1)];
    }
    offsets_.resize(blocks);
    std::size_t settled = 0;
    for (std::size_t block = 0; block < blocks; ++block) {
        settled += settled_[block];
        settled_[block] = settled;
        offsets_[block] = size_ - open(block).begin * static_cast<std::size_t>(width);
        size_ += (own.size() - settled) * static_cast<std::size_t>(width);
    }
}

Columns RankBlocks::open(std::size_t block) const {
    const std::size_t closed = settled(block);
    return falling_ ? Columns{0, states() - closed} : Columns{closed, states()};
}

Columns RankBlocks::settling(std::size_t block) const {
    const std::size_t before = block > 0 ? settled(block - 1) : 0;
    const std::size_t now = settled(block);
    return falling_ ? Columns{states() - now, states() - before} : Columns{before, now};
}

} // namespace ttamer
