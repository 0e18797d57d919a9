#include "ttamer/signals/evidence.hpp"

#include "ttamer/signals/softmax_kernels.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

namespace ttamer {

namespace {

constexpr double kLeastDoubt = 1e-6;

// Logits looked at together: whether any belongs to the largest is one vectorised comparison, mostly answered no.
constexpr std::size_t kChunk = 64;

// Values [begin, begin + count) of a row as float32.
const float *chunk_of(const Logits &logits, std::size_t begin, std::size_t count, float *buffer) {
    if (logits.type == LogitType::float32) {
        return static_cast<const float *>(logits.data) + begin;
    }
    const auto *halves = static_cast<const std::uint16_t *>(logits.data) + begin;
    if (logits.type == LogitType::float16) {
        softmax::widen_float16(halves, count, buffer);
    } else {
        softmax::widen_bfloat16(halves, count, buffer);
    }
    return buffer;
}

// The largest values so far, descending; equal ones in the order they came.
class Largest {
  public:
    Largest(std::size_t top, float *values, std::int32_t *classes) : top_(top), values_(values), classes_(classes) {
        std::fill_n(values_, top_, -std::numeric_limits<float>::infinity());
        std::fill_n(classes_, top_, -1);
    }

    // What a value has to exceed to be among them.
    float least() const { return values_[top_ - 1]; }
    bool is_full() const { return held_ == top_; }

    void add(float value, std::int32_t label) {
        std::size_t at = held_ < top_ ? held_++ : top_ - 1;
        for (; at > 0 && values_[at - 1] < value; --at) {
            values_[at] = values_[at - 1];
            classes_[at] = classes_[at - 1];
        }
        values_[at] = value;
        classes_[at] = label;
    }

  private:
    std::size_t top_;
    float *values_;
    std::int32_t *classes_;
    std::size_t held_ = 0;
};

} // namespace

Reading read(const Evidence &evidence, const EvidenceForm &form) {
    Reading reading{evidence, 0, 0, 0, 0};
    double mass = 0;
    double rivals = 0;
    for (std::size_t k = 0; k < form.top; ++k) {
        const double log_prob = evidence.log_probs[k];
        const double prob = std::exp(log_prob);
        mass += prob;
        rivals += k == 0 ? 0.0 : prob;
        reading.entropy -= prob * log_prob;
    }
    const double rest = std::max(0.0, 1.0 - mass);
    const auto beyond = static_cast<double>(form.classes - form.top);
    reading.other = kLogFloor;
    if (rest > 0 && beyond > 0) {
        const double each = std::log(rest / beyond);
        reading.entropy -= rest * each;
        rivals += rest;
        const double last = evidence.log_probs[form.top - 1];
        reading.other = std::clamp(each, std::min<double>(kLogFloor, last), last);
    }
    reading.second = form.top > 1 ? evidence.log_probs[1] : reading.other;
    reading.doubt = std::log(std::clamp(rivals, kLeastDoubt, 1.0));
    return reading;
}

double log_odds(const Reading &reading, const EvidenceForm &form, std::int32_t label) {
    const float *log_probs = reading.evidence.log_probs;
    if (reading.evidence.classes[0] == label) {
        return log_probs[0] - reading.second;
    }
    for (std::size_t k = 1; k < form.top; ++k) {
        if (reading.evidence.classes[k] == label) {
            return static_cast<double>(log_probs[k]) - log_probs[0];
        }
    }
    return reading.other - log_probs[0];
}

void evidence_of_logits(const Logits &logits, std::size_t row, float max_prob, const EvidenceForm &form,
                        float *log_probs, std::int32_t *classes) {
    if (std::isnan(max_prob)) {
        std::fill_n(log_probs, form.top, static_cast<float>(-std::log(static_cast<double>(form.classes))));
        std::iota(classes, classes + form.top, 0);
        return;
    }
    std::array<float, kChunk> buffer;
    Largest largest(form.top, log_probs, classes);
    for (std::size_t begin = 0; begin < form.classes; begin += kChunk) {
        const std::size_t count = std::min(kChunk, form.classes - begin);
        const float *values = chunk_of(logits, row * form.classes + begin, count, buffer.data());
        float most = values[0];
        for (std::size_t k = 1; k < count; ++k) {
            most = std::max(most, values[k]);
        }
        if (largest.is_full() && !(most > largest.least())) {
            continue;
        }
        for (std::size_t k = 0; k < count; ++k) {
            if (!largest.is_full() || values[k] > largest.least()) {
                largest.add(values[k], static_cast<std::int32_t>(begin + k));
            }
        }
    }
    const double log_sum = log_probs[0] - std::log(static_cast<double>(max_prob));
    for (std::size_t k = 0; k < form.top; ++k) {
        log_probs[k] = std::max(static_cast<float>(log_probs[k] - log_sum), kLogFloor);
    }
}

} // namespace ttamer
