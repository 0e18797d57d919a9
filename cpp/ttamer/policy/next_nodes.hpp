// Nodes from which requests go on to several others, for many rows at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace ttamer {

// Where the states of one node go on to, by the standing of the best loss so far: a state's k-th next node from its
// k-th bound on. All states have as many bounds, so that no branch depends on a row, which data would mispredict.
class NextNodes {
  public:
    // Keeps the tables small: every state has as many bounds as the one with the most.
    static constexpr std::size_t kMostBounds = 8;

    // Of as many states as `nexts` has rows of width + 1; bounds has rows of width, ascending.
    NextNodes(std::size_t width, std::vector<std::uint16_t> bounds, std::vector<std::int16_t> nexts)
        : width_(width), bounds_(std::move(bounds)), nexts_(std::move(nexts)) {}

    std::int32_t next(std::size_t state, std::uint32_t standing) const {
        const std::uint16_t *bounds = bounds_.data() + state * width_;
        std::size_t passed = 0;
        for (std::size_t k = 0; k < width_; ++k) {
            passed += static_cast<std::size_t>(standing >= bounds[k]);
        }
        return nexts_[state * (width_ + 1) + passed];
    }

  private:
    std::size_t width_;
    std::vector<std::uint16_t> bounds_;
    std::vector<std::int16_t> nexts_;
};

} // namespace ttamer
