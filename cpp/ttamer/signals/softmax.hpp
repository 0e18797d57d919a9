// Signals from logits: how confident a softmax is, as one number a row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ttamer {

// Where signals come from: stated by the caller, or the largest probability, the largest less the second largest, or
// the negative entropy (nats) of softmax(logits), or the largest logit less the second largest.
enum class SignalKind { stated, max_prob, margin, entropy, logit_margin };

// "" is stated; throws invalid_argument for a name that is none.
SignalKind signal_kind(std::string_view name);

enum class LogitType { float32, float16, bfloat16 };

// A row-major (rows, classes) array, classes >= 2.
struct Logits {
    const void *data;
    LogitType type;
    std::size_t rows;
    std::size_t classes;
};

// One signal a row; kind is not `stated`. A logit of -inf is a probability of 0. A row that has no softmax (a NaN or
// +inf among its logits, or only -inf) has the signal NaN.
//
// Each row is read from memory once. The relative error of a largest probability or a margin is below 1e-6, of an
// entropy below 2e-6; the last bits depend on whether the processor multiplies and adds in one operation. A logit
// margin is exact but for its one rounding.
void signals_from_logits(SignalKind kind, const Logits &logits, float *signals);

// The class of each row's largest logit, of equal ones the first; whichever in a row that has no softmax.
void largest_classes(const Logits &logits, std::int32_t *classes);

} // namespace ttamer
