#include "ttamer/replay/run_signals.hpp"

#include "ttamer/base/dispatch.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace ttamer {

namespace {

// A tile is turned where at least one in so many of the run's requests wait for the node that is asked for.
constexpr std::size_t kOneIn = 3;

// Cache lines that are asked for at a time, and signals in each.
constexpr std::size_t kLinesAhead = 16;
constexpr std::size_t kLine = kCacheLine / sizeof(float);

#ifdef TTAMER_VECTORS
using FourBits = std::uint32_t __attribute__((vector_size(16)));
#endif

#ifdef TTAMER_SHUFFLES
using FourSignals = float __attribute__((vector_size(16)));
using EightSignals = float __attribute__((vector_size(32)));

constexpr std::size_t kEight = 8;

TTAMER_INLINE FourSignals four_at(const float *at) {
    FourSignals four;
    std::memcpy(&four, at, sizeof four);
    return four;
}

// Of eight requests, each half of a register being one of the first and one of the last four.
TTAMER_INLINE void turn_eight(const float *signals, std::size_t stride, float *columns, std::size_t apart) {
    EightSignals pairs[4];
    TTAMER_UNROLL
    for (std::size_t k = 0; k < 4; ++k) {
        pairs[k] = __builtin_shufflevector(four_at(signals + k * stride), four_at(signals + (k + 4) * stride), //
                                           0, 1, 2, 3, 4, 5, 6, 7);
    }
    const auto &[a, b, c, d] = pairs;
    const EightSignals low_ab = __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
    const EightSignals high_ab = __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
    const EightSignals low_cd = __builtin_shufflevector(c, d, 0, 8, 1, 9, 4, 12, 5, 13);
    const EightSignals high_cd = __builtin_shufflevector(c, d, 2, 10, 3, 11, 6, 14, 7, 15);
    const EightSignals turned[4] = {
        __builtin_shufflevector(low_ab, low_cd, 0, 1, 8, 9, 4, 5, 12, 13),
        __builtin_shufflevector(low_ab, low_cd, 2, 3, 10, 11, 6, 7, 14, 15),
        __builtin_shufflevector(high_ab, high_cd, 0, 1, 8, 9, 4, 5, 12, 13),
        __builtin_shufflevector(high_ab, high_cd, 2, 3, 10, 11, 6, 7, 14, 15),
    };
    TTAMER_UNROLL
    for (std::size_t j = 0; j < 4; ++j) {
        std::memcpy(columns + j * apart, &turned[j], sizeof turned[j]);
    }
}
#endif

// As bits: through a float register it took a quarter longer.
template <AnyRow Row>
TTAMER_INLINE void take_each(const float *column, std::size_t stride, const Row *rows, std::size_t count,
                             float *TTAMER_RESTRICT taken) {
    const auto bits_at = [&](std::size_t k) {
        std::uint32_t bits = 0;
        std::memcpy(&bits, column + static_cast<std::size_t>(rows[k] & kPositionBits) * stride, sizeof bits);
        return bits;
    };
    std::size_t k = 0;
#ifdef TTAMER_VECTORS
    TTAMER_UNROLL
    for (; k + 4 <= count; k += 4) {
        const FourBits four{bits_at(k), bits_at(k + 1), bits_at(k + 2), bits_at(k + 3)};
        std::memcpy(taken + k, &four, sizeof four);
    }
#endif
    for (; k < count; ++k) {
        const std::uint32_t bits = bits_at(k);
        std::memcpy(taken + k, &bits, sizeof bits);
    }
}

// Without a multiplication where there is none to do.
template <AnyRow Row>
TTAMER_INLINE void take_any(const SignalColumn &column, const Row *rows, std::size_t count, float *taken) {
    if (column.stride == 1) {
        take_each(column.first, 1, rows, count, taken);
    } else {
        take_each(column.first, column.stride, rows, count, taken);
    }
}

// columns[j * apart + k] = signals[k * stride + j], for the first RunSignals::kTile of each request.
TTAMER_CLONES void turn(const float *signals, std::size_t stride, std::size_t count, float *TTAMER_RESTRICT columns,
                        std::size_t apart) {
    std::size_t k = 0;
#ifdef TTAMER_SHUFFLES
    for (; k + kEight <= count; k += kEight) {
        turn_eight(signals + k * stride, stride, columns + k, apart);
    }
#endif
    for (; k < count; ++k) {
        for (std::size_t j = 0; j < RunSignals::kTile; ++j) {
            columns[j * apart + k] = signals[k * stride + j];
        }
    }
}

} // namespace

TTAMER_CLONES void SignalColumn::take(const StandingRow *rows, std::size_t count, float *taken) const {
    take_any(*this, rows, count, taken);
}

TTAMER_CLONES void SignalColumn::take(const RankRow *rows, std::size_t count, float *taken) const {
    take_any(*this, rows, count, taken);
}

RunSignals::RunSignals(std::span<const float> signals, std::size_t nodes, std::size_t most)
    : signals_(signals), nodes_(nodes), most_(most) {
    for (auto &turned : turned_) {
        turned.columns.resize(nodes < kTile ? 0 : kTile * most);
    }
}

void RunSignals::start(std::size_t begin, std::size_t count) {
    begin_ = begin;
    count_ = count;
    for (auto &turned : turned_) {
        turned.tile = kNone;
    }
    const auto ahead = signals_.subspan((begin + count) * nodes_);
    ahead_ = ahead.first(std::min(most_ * nodes_, ahead.size()));
}

SignalColumn RunSignals::column(std::size_t node, std::size_t waiting) {
    const float *signals = signals_.data() + begin_ * nodes_;
    if (nodes_ < kTile) {
        return {signals + node, nodes_};
    }
    const std::size_t tile = std::min(node / kTile * kTile, nodes_ - kTile);
    if (turned_[last_].tile != tile) {
        const std::size_t other = 1 - last_;
        if (turned_[other].tile != tile) {
            if (waiting * kOneIn < count_) {
                return {signals + node, nodes_};
            }
            turn(signals + tile, nodes_, count_, turned_[other].columns.data(), most_);
            turned_[other].tile = tile;
        }
        last_ = other;
    }
    return {turned_[last_].columns.data() + (node - tile) * most_, 1};
}

void RunSignals::fetch_ahead() {
    const std::size_t lines = std::min(kLinesAhead, ahead_.size() / kLine);
    for (std::size_t k = 0; k < lines; ++k) {
        TTAMER_PREFETCH(ahead_.data() + k * kLine, 2);
    }
    ahead_ = ahead_.subspan(lines * kLine);
}

} // namespace ttamer
