#include "ttamer/signals/softmax.hpp"

#include "ttamer/base/dispatch.hpp"
#include "ttamer/signals/logit_margins.hpp"
#include "ttamer/signals/softmax_kernels.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

namespace ttamer {

namespace {

using softmax::kNone;
using softmax::Largest;
using softmax::size_of;
using softmax::Sums;
using softmax::widened;

// Values that stay in the first-level cache between finding their maximum and summing. Each lane adds up few of them
// in float32; the blocks of a row are added in float64.
constexpr std::size_t kBlock = 1024;
constexpr std::size_t kLanes = 64;

// Rows this short are taken side by side, a row a lane: a row of its own would leave most lanes empty.
constexpr std::size_t kNarrow = 32;
constexpr std::size_t kSideBySide = 32;
static_assert(kNarrow * kSideBySide <= kBlock && kBlock % kLanes == 0);

// What a softmax's signal is computed from: the maximum, the runner-up, and the sums of e^d and d e^d, d being the
// distance to the maximum. Of a confident row the maximum itself, e^0, stands apart in `at`: added to a 1, the small
// terms that tell confident rows from each other would lose their digits.
struct Row {
    float first = kNone;
    float second = kNone;
    double at = 0;
    double powers = 0;
    double weighted = 0;
};

// A sum of powers below this makes a row confident.
constexpr float kConfident = 1.0625F;

template <SignalKind Kind> TTAMER_INLINE float signal_of(const Row &row) {
    if (row.first == kNone) {
        return std::numeric_limits<float>::quiet_NaN();
    }
    const double sum = row.at + row.powers;
    if constexpr (Kind == SignalKind::max_prob) {
        return static_cast<float>(1 / sum);
    } else if constexpr (Kind == SignalKind::margin) {
        return static_cast<float>(-std::expm1(static_cast<double>(row.second) - row.first) / sum);
    } else {
        return static_cast<float>(row.weighted / sum - std::log1p(row.at - 1 + row.powers));
    }
}

// The sum of e^d of a block without its maximum, which stands there once.
template <bool Fused>
TTAMER_INLINE double powers_below(const float *powers, const float *values, std::size_t steps, const float *rest,
                                  float reference) {
    double total = 0;
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
        if (powers[lane] < 1) {
            total += powers[lane];
            continue;
        }
        for (std::size_t step = 0; step < steps + (rest != nullptr ? 1 : 0); ++step) {
            const float d = (step < steps ? values + step * kLanes : rest)[lane] - reference;
            total += d < 0 ? softmax::exp_of<Fused>(std::max(d, softmax::kLowest)) : 0.0F;
        }
    }
    return total;
}

// A block of one row joins what is known of it. `rest` holds the last values, fewer than kLanes, padded with -inf.
template <SignalKind Kind, bool Fused>
TTAMER_INLINE void take_block(Row &row, const float *values, std::size_t steps, const float *rest, float lowest,
                              softmax::Ahead ahead) {
    constexpr bool kTwo = Kind == SignalKind::margin;
    constexpr bool kWeighted = Kind == SignalKind::entropy;
    Largest<kLanes> largest;
    largest.clear();
    largest.take<kTwo>(values, steps);
    if (rest != nullptr) {
        largest.take<kTwo>(rest, 1);
    }
    largest.gather<kTwo>();
    // Where all is -inf so far, distances to -inf would be NaN.
    const float known = std::max(row.first, std::numeric_limits<float>::lowest());
    const float reference = std::max(known, largest.first[0]);
    if (reference > known) {
        const double distance = static_cast<double>(known) - reference;
        const double power = std::exp(distance);
        const double sum = row.at + row.powers;
        row.weighted = sum > 0 ? power * (row.weighted + distance * sum) : 0;
        row.powers = power * sum;
        row.at = 0;
    }
    if constexpr (kTwo) {
        row.second = std::max({std::min(row.first, largest.first[0]), row.second, largest.second[0]});
    }
    row.first = std::max(row.first, largest.first[0]);
    float references[kLanes];
    std::fill_n(references, kLanes, reference);
    Sums<kLanes> sums;
    sums.clear();
    sums.take<kWeighted, false, Fused>(values, steps, references, lowest, ahead);
    if (rest != nullptr) {
        sums.take<kWeighted, false, Fused>(rest, 1, references, lowest);
    }
    float apart[kLanes];
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
        apart[lane] = sums.powers[lane];
    }
    sums.gather<kWeighted>();
    row.weighted += static_cast<double>(sums.weighted[0]);
    // Of all so far: where an earlier block has the same maximum, that one stands apart already, and two are above.
    if (largest.first[0] == reference && row.at + row.powers + sums.powers[0] < kConfident) {
        row.at = 1;
        row.powers += powers_below<Fused>(apart, values, steps, rest, reference);
        return;
    }
    row.powers += static_cast<double>(sums.powers[0]);
}

template <SignalKind Kind, bool Fused>
TTAMER_INLINE void one_by_one(const Logits &logits, float lowest, float *signals) {
    float buffer[kBlock];
    float padded[kLanes];
    const auto *data = static_cast<const char *>(logits.data);
    const std::size_t size = size_of(logits.type);
    for (std::size_t k = 0; k < logits.rows; ++k) {
        Row row;
        const std::size_t end = (k + 1) * logits.classes;
        for (std::size_t begin = k * logits.classes; begin < end; begin += kBlock) {
            const std::size_t count = std::min(kBlock, end - begin);
            const float *values = widened(data + begin * size, logits.type, count, buffer);
            const std::size_t whole = count / kLanes * kLanes;
            if (count > whole) {
                std::fill_n(padded, kLanes, kNone);
                std::memcpy(padded, values + whole, (count - whole) * sizeof(float));
            }
            const auto next = reinterpret_cast<std::uintptr_t>(data + begin * size) + count * size;
            take_block<Kind, Fused>(row, values, whole / kLanes, count > whole ? padded : nullptr, lowest,
                                    {next, kLanes * size});
        }
        signals[k] = signal_of<Kind>(row);
    }
}

template <SignalKind Kind, bool Fused>
TTAMER_INLINE void side_by_side(const Logits &logits, float lowest, float *signals) {
    constexpr bool kTwo = Kind == SignalKind::margin;
    constexpr bool kWeighted = Kind == SignalKind::entropy;
    float buffer[kNarrow * kSideBySide];
    float turned[kNarrow * kSideBySide];
    for (std::size_t begin = 0; begin < logits.rows; begin += kSideBySide) {
        const std::size_t count = softmax::turn<kSideBySide>(logits, begin, buffer, turned);
        Largest<kSideBySide> largest;
        largest.clear();
        largest.take<kTwo>(turned, logits.classes);
        float references[kSideBySide];
        for (std::size_t lane = 0; lane < kSideBySide; ++lane) {
            references[lane] = softmax::larger(largest.first[lane], std::numeric_limits<float>::lowest());
        }
        Sums<kSideBySide> sums;
        sums.clear();
        sums.take<kWeighted, true, Fused>(turned, logits.classes, references, lowest);
        for (std::size_t lane = 0; lane < count; ++lane) {
            signals[begin + lane] =
                signal_of<Kind>({largest.first[lane], largest.second[lane], static_cast<double>(sums.at[lane]),
                                 sums.powers[lane], sums.weighted[lane]});
        }
    }
}

template <SignalKind Kind, bool Fused> TTAMER_INLINE void run_as(const Logits &logits, float *signals) {
    const volatile float lowest = softmax::kLowest; // see Sums::take
    if (logits.classes <= kNarrow) {
        side_by_side<Kind, Fused>(logits, lowest, signals);
    } else {
        one_by_one<Kind, Fused>(logits, lowest, signals);
    }
}

template <SignalKind Kind> TTAMER_INLINE void run(const Logits &logits, float *signals) {
    if (softmax::is_fused()) {
        run_as<Kind, true>(logits, signals);
    } else {
        run_as<Kind, false>(logits, signals);
    }
}

TTAMER_CLONES void max_probs(const Logits &logits, float *signals) {
    run<SignalKind::max_prob>(logits, signals);
}

TTAMER_CLONES void margins(const Logits &logits, float *signals) {
    run<SignalKind::margin>(logits, signals);
}

TTAMER_CLONES void entropies(const Logits &logits, float *signals) {
    run<SignalKind::entropy>(logits, signals);
}

} // namespace

SignalKind signal_kind(std::string_view name) {
    if (name.empty()) {
        return SignalKind::stated;
    }
    if (name == "max_prob") {
        return SignalKind::max_prob;
    }
    if (name == "margin") {
        return SignalKind::margin;
    }
    if (name == "entropy") {
        return SignalKind::entropy;
    }
    if (name == "logit_margin") {
        return SignalKind::logit_margin;
    }
    throw std::invalid_argument("signal: expected max_prob, margin, entropy, logit_margin or nothing, got '" +
                                std::string(name) + "'");
}

void signals_from_logits(SignalKind kind, const Logits &logits, float *signals) {
    if (kind == SignalKind::max_prob) {
        max_probs(logits, signals);
    } else if (kind == SignalKind::margin) {
        margins(logits, signals);
    } else if (kind == SignalKind::entropy) {
        entropies(logits, signals);
    } else {
        logit_margins(logits, signals);
    }
}

} // namespace ttamer
