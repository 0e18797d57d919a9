// The loops of softmax.cpp over lanes, to be inlined into functions that are compiled for several processors.
//
// Values stand as (steps, Lanes). Lanes are the columns of one long row, or as many short rows side by side.
#pragma once

#include "ttamer/base/dispatch.hpp"
#include "ttamer/signals/softmax.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace ttamer::softmax {

inline constexpr float kNone = -std::numeric_limits<float>::infinity();

// e^d is near the least normal number here. Below it e^d is taken for that, -inf included: next to 1 it is nothing.
inline constexpr float kLowest = -87.0F;

// e^d for kLowest <= d <= 0; NaN stays NaN. The relative error is below 2e-7 where e^d is above 1e-9, and e^0 is
// exactly 1. Fused: a * b + c rounds once, and then ln 2 need not be cut into a high and a low part.
template <bool Fused> TTAMER_INLINE float exp_of(float d) {
    constexpr float kLog2E = 1.44269504F;
    constexpr float kLn2 = 0.69314718F;
    constexpr float kLn2High = 0.693145751953125F; // 15 bits, so that times a whole number it is exact
    constexpr float kLn2Low = 1.42860677e-6F;
    // Adding it rounds to a whole number n and leaves n + 127, the exponent of 2^n, in the lowest bits.
    constexpr float kRound = 12582912.0F + 127.0F;
    const float rounded = d * kLog2E + kRound;
    const float n = rounded - kRound;
    const float r = Fused ? d - n * kLn2 : (d - n * kLn2High) - n * kLn2Low;
    float p = 0.0082903067F;
    p = p * r + 0.041897975F;
    p = p * r + 0.16667637F;
    p = p * r + 0.4999915F;
    p = p * r + 0.9999997F;
    p = p * r + 1.0F;
    return p * std::bit_cast<float>(std::bit_cast<std::uint32_t>(rounded) << 23);
}

// Whether the compiler makes one operation of a * b + c for the processor that the caller is compiled for.
TTAMER_INLINE bool is_fused() {
    const volatile float third = 1.0F / 3.0F; // unknown to the compiler
    const float unknown = third;
    return unknown * 3.0F - 1.0F != 0.0F; // the product, a little above 1, rounds to 1
}

// The larger; NaN on the left is passed over, NaN on the right is kept.
TTAMER_INLINE float larger(float a, float b) {
    return a > b ? a : b;
}
TTAMER_INLINE float smaller(float a, float b) {
    return a < b ? a : b;
}

template <std::size_t Lanes> struct Largest {
    float first[Lanes];
    float second[Lanes]; // only where asked for; equal to `first` where that stands twice

    TTAMER_INLINE void clear() {
        for (std::size_t lane = 0; lane < Lanes; ++lane) {
            first[lane] = kNone;
            second[lane] = kNone;
        }
    }

    template <bool Two> TTAMER_INLINE void take(const float *TTAMER_RESTRICT values, std::size_t steps) {
        for (std::size_t step = 0; step < steps; ++step) {
            for (std::size_t lane = 0; lane < Lanes; ++lane) {
                const float value = values[step * Lanes + lane];
                if constexpr (Two) {
                    second[lane] = larger(smaller(value, first[lane]), second[lane]);
                }
                first[lane] = larger(value, first[lane]);
            }
        }
    }

    // All lanes' into lane 0.
    template <bool Two, std::size_t Half = Lanes / 2> TTAMER_INLINE void gather() {
        for (std::size_t lane = 0; lane < Half; ++lane) {
            if constexpr (Two) {
                const float less = smaller(first[lane], first[lane + Half]);
                second[lane] = larger(less, larger(second[lane], second[lane + Half]));
            }
            first[lane] = larger(first[lane], first[lane + Half]);
        }
        if constexpr (Half > 1) {
            gather<Two, Half / 2>();
        }
    }
};

// What follows in memory, so many bytes for each step of the work: fetched meanwhile, which by itself a processor does
// too late where work and memory take about as long. It may lie beyond the end of everything; nothing is read.
struct Ahead {
    std::uintptr_t begin = 0;
    std::size_t stride = 0;

    TTAMER_INLINE void fetch(std::size_t step) const {
        for (std::size_t byte = 0; byte < stride; byte += kCacheLine) {
            // From a number: a pointer into an array must not point that far.
            // NOLINTNEXTLINE(performance-no-int-to-ptr)
            TTAMER_PREFETCH(reinterpret_cast<const void *>(begin + step * stride + byte), 1);
        }
    }
};

// Sums of e^d and of d e^d, d being the distance to the lane's reference.
template <std::size_t Lanes> struct Sums {
    float powers[Lanes];
    std::int32_t at[Lanes]; // where asked for, what stands at the reference is counted here and not among the powers
    float weighted[Lanes];  // only where asked for

    TTAMER_INLINE void clear() {
        for (std::size_t lane = 0; lane < Lanes; ++lane) {
            powers[lane] = 0;
            at[lane] = 0;
            weighted[lane] = 0;
        }
    }

    // `lowest` is kLowest, unknown to the compiler: else it makes a case of its own of what is below.
    template <bool Weighted, bool Apart, bool Fused>
    TTAMER_INLINE void take(const float *TTAMER_RESTRICT values, std::size_t steps,
                            const float *TTAMER_RESTRICT reference, float lowest, Ahead ahead = {}) {
        for (std::size_t step = 0; step < steps; ++step) {
            ahead.fetch(step);
            for (std::size_t lane = 0; lane < Lanes; ++lane) {
                const float d = larger(lowest, values[step * Lanes + lane] - reference[lane]);
                const float power = exp_of<Fused>(d);
                if constexpr (Apart) {
                    const std::uint32_t other = -static_cast<std::uint32_t>(d != 0.0F);
                    at[lane] += 1 + static_cast<std::int32_t>(other);
                    powers[lane] += std::bit_cast<float>(std::bit_cast<std::uint32_t>(power) & other);
                } else {
                    powers[lane] += power;
                }
                if constexpr (Weighted) {
                    weighted[lane] += d * power;
                }
            }
        }
    }

    template <bool Weighted, std::size_t Half = Lanes / 2> TTAMER_INLINE void gather() {
        for (std::size_t lane = 0; lane < Half; ++lane) {
            powers[lane] += powers[lane + Half];
            if constexpr (Weighted) {
                weighted[lane] += weighted[lane + Half];
            }
        }
        if constexpr (Half > 1) {
            gather<Weighted, Half / 2>();
        }
    }
};

TTAMER_INLINE void widen_bfloat16(const std::uint16_t *TTAMER_RESTRICT from, std::size_t count,
                                  float *TTAMER_RESTRICT to) {
    for (std::size_t k = 0; k < count; ++k) {
        to[k] = std::bit_cast<float>(static_cast<std::uint32_t>(from[k]) << 16);
    }
}

TTAMER_INLINE void widen_float16(const std::uint16_t *TTAMER_RESTRICT from, std::size_t count,
                                 float *TTAMER_RESTRICT to) {
    constexpr auto kRebias = std::bit_cast<float>(std::uint32_t{(127 + 127 - 15) << 23});
    for (std::size_t k = 0; k < count; ++k) {
        const std::uint32_t half = from[k];
        const std::uint32_t magnitude = (half & 0x7FFFU) << 13;
        const auto scaled = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) * kRebias);
        const std::uint32_t special = magnitude >= 0x0F800000U ? 0x7F800000U : 0U; // inf and NaN
        to[k] = std::bit_cast<float>(scaled | special | ((half & 0x8000U) << 16));
    }
}

TTAMER_INLINE std::size_t size_of(LogitType type) {
    return type == LogitType::float32 ? sizeof(float) : sizeof(std::uint16_t);
}

// `count` logits as float32: where they stand, or widened into `buffer`.
TTAMER_INLINE const float *widened(const char *from, LogitType type, std::size_t count, float *buffer) {
    if (type == LogitType::float32) {
        return reinterpret_cast<const float *>(from);
    }
    if (type == LogitType::float16) {
        widen_float16(reinterpret_cast<const std::uint16_t *>(from), count, buffer);
    } else {
        widen_bfloat16(reinterpret_cast<const std::uint16_t *>(from), count, buffer);
    }
    return buffer;
}

// Short rows from `begin` on, at most Lanes of them, to lanes (classes, Lanes); lanes without a row show nothing.
// Returns the number of rows. `buffer` has room for as many numbers as `turned`.
template <std::size_t Lanes>
TTAMER_INLINE std::size_t turn(const Logits &logits, std::size_t begin, float *buffer, float *TTAMER_RESTRICT turned) {
    const std::size_t classes = logits.classes;
    const std::size_t rows = std::min(Lanes, logits.rows - begin);
    const char *from = static_cast<const char *>(logits.data) + begin * classes * size_of(logits.type);
    const float *values = widened(from, logits.type, rows * classes, buffer);
    if (rows < Lanes) {
        std::fill_n(turned, classes * Lanes, kNone);
    }
    for (std::size_t lane = 0; lane < rows; ++lane) {
        for (std::size_t c = 0; c < classes; ++c) {
            turned[c * Lanes + lane] = values[lane * classes + c];
        }
    }
    return rows;
}

} // namespace ttamer::softmax
