#include "ttamer/signals/logit_margins.hpp"

#include "ttamer/base/dispatch.hpp"
#include "ttamer/signals/softmax_kernels.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

namespace ttamer {

namespace {

using softmax::kNone;
using softmax::Largest;
using softmax::size_of;
using softmax::widened;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Logits widened at a time, and lanes whose three vectors fit the registers.
constexpr std::size_t kBlock = 1024;
constexpr std::size_t kLanes = 32;
// As many rows side by side as there are lanes, where a row of its own would leave most of them empty.
constexpr std::size_t kNarrow = 32;
static_assert(kNarrow * kLanes <= kBlock && kBlock % kLanes == 0);

struct TwoLargest {
    Largest<kLanes> most;
    std::int32_t invalid[kLanes]; // whether the lane saw a NaN or +inf, which leave no softmax

    TTAMER_INLINE void clear() {
        most.clear();
        std::fill_n(invalid, kLanes, 0);
    }

    TTAMER_INLINE void take(const float *TTAMER_RESTRICT values, std::size_t steps) {
        for (std::size_t step = 0; step < steps; ++step) {
            for (std::size_t lane = 0; lane < kLanes; ++lane) {
                const float value = values[step * kLanes + lane];
                const float less = softmax::smaller(value, most.first[lane]);
                most.second[lane] = softmax::larger(less, most.second[lane]);
                most.first[lane] = softmax::larger(value, most.first[lane]);
                invalid[lane] |= static_cast<std::int32_t>(!(value < kInfinity));
            }
        }
    }

    TTAMER_INLINE float margin(std::size_t lane) const {
        if (invalid[lane] != 0 || most.first[lane] == kNone) {
            return std::numeric_limits<float>::quiet_NaN();
        }
        return most.first[lane] - most.second[lane];
    }

    TTAMER_INLINE void gather() {
        most.gather<true>();
        invalid[0] = *std::max_element(invalid, invalid + kLanes);
    }
};

TTAMER_INLINE void one_by_one(const Logits &logits, float *signals) {
    float buffer[kBlock];
    float padded[kLanes];
    const auto *data = static_cast<const char *>(logits.data);
    const std::size_t size = size_of(logits.type);
    for (std::size_t k = 0; k < logits.rows; ++k) {
        TwoLargest row;
        row.clear();
        const std::size_t end = (k + 1) * logits.classes;
        for (std::size_t begin = k * logits.classes; begin < end; begin += kBlock) {
            const std::size_t count = std::min(kBlock, end - begin);
            const float *values = widened(data + begin * size, logits.type, count, buffer);
            const std::size_t whole = count / kLanes * kLanes;
            row.take(values, whole / kLanes);
            if (count > whole) {
                std::fill_n(padded, kLanes, kNone);
                std::memcpy(padded, values + whole, (count - whole) * sizeof(float));
                row.take(padded, 1);
            }
        }
        row.gather();
        signals[k] = row.margin(0);
    }
}

TTAMER_INLINE void side_by_side(const Logits &logits, float *signals) {
    float buffer[kNarrow * kLanes];
    float turned[kNarrow * kLanes];
    for (std::size_t begin = 0; begin < logits.rows; begin += kLanes) {
        const std::size_t count = softmax::turn<kLanes>(logits, begin, buffer, turned);
        TwoLargest rows;
        rows.clear();
        rows.take(turned, logits.classes);
        for (std::size_t lane = 0; lane < count; ++lane) {
            signals[begin + lane] = rows.margin(lane);
        }
    }
}

} // namespace

TTAMER_CLONES void logit_margins(const Logits &logits, float *signals) {
    if (logits.classes <= kNarrow) {
        side_by_side(logits, signals);
    } else {
        one_by_one(logits, signals);
    }
}

} // namespace ttamer
