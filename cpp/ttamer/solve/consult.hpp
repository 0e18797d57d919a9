// What consulting the next node is worth: one transition applied to the values of a solved node.
#pragma once

#include "ttamer/model/model.hpp"
#include "ttamer/solve/rank_blocks.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace ttamer {

// Numbers, not initialised: most of them are never touched, and clearing them would cost as much as the work.
class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(std::size_t size) : size_(size), values_(std::make_unique_for_overwrite<double[]>(size)) {}

    std::size_t size() const { return values_ == nullptr ? 0 : size_; } // one that was moved from has none
    double *data() const { return values_.get(); }

  private:
    std::size_t size_ = 0;
    std::unique_ptr<double[]> values_;
};

// What going on from each state of a node is worth, by rank of X, the best loss before it: the gain X - Phi(X) over
// stopping with X, Phi the value of going on. It never falls as X grows. From the rank of the state's own loss on, Phi
// stays what it is there, since what came before then no longer matters.
struct Gains {
    const RankBlocks *blocks = nullptr;
    std::vector<std::int32_t> from; // the lowest rank worked out; own + 1 before any is
    std::vector<double> at_own;     // Phi at the own rank
    Buffer table;                   // gains at the ranks [from, own)

    double *row(std::size_t block, std::size_t state) const {
        return table.data() + blocks->at(block, blocks->column(state));
    }
};

// A solved node: Phi that of going on optimally, which may be to stop. The gain is 0 before the rank `first`. The table
// holds each state's gains in full in the blocks from that of `first` to that of its own rank. Where a dense product
// reads it, also those of all columns active in a block: the ones that gain there, and what lies between them.
struct Solved {
    const RankBlocks *blocks = nullptr;
    std::vector<std::int32_t> first;
    std::vector<double> value_at_own;
    std::vector<Columns> active; // of each block, where a dense product asks
    Buffer table;
};

// Ranks in a block: as many as a panel of the dense product has columns; more where all transitions are counted, since
// every block goes over all of their entries.
inline constexpr std::int32_t kDenseWidth = 16;
inline constexpr std::int32_t kCountedWidth = 128;

// cost + P times the values of `next`, the cost one for all states or one for each, into `out`, whose blocks and table
// are set: for X up to each state's own rank, and down to `from`. Below that the request is better off stopping: the
// gain never falls as X grows, so the first block that begins with a gain of 0 ends the work on a row. `levels` are the
// losses by rank, filled up to whole blocks.
void consult_by_rank(const Transition &transition, std::span<const double> costs, const Solved &next,
                     const std::vector<double> &levels, Gains &out);

// The same where X does not matter (before the first node, or without recall): cost + P value_at_own, for each state.
void consult_afresh(const Transition &transition, std::span<const double> costs, std::span<const double> value_at_own,
                    std::span<double> out);

} // namespace ttamer
