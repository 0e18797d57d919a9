#include "ttamer/decide/logit_signals.hpp"

#include "ttamer/decide/kernels.hpp"

#include <cmath>
#include <stdexcept>
#include <string>

namespace ttamer {

namespace {

// Whether every row lies in [0, 1] and sums to 1. Logits do so by chance only where there are two of them or few rows.
bool look_like_probabilities(const Logits &logits) {
    constexpr std::size_t kFewRows = 8;
    if (logits.type != LogitType::float32 || logits.rows == 0 || (logits.classes < 3 && logits.rows < kFewRows)) {
        return false;
    }
    const auto *values = static_cast<const float *>(logits.data);
    for (std::size_t row = 0; row < logits.rows; ++row) {
        double sum = 0;
        for (std::size_t k = 0; k < logits.classes; ++k) {
            const float value = values[row * logits.classes + k];
            if (!(value >= 0 && value <= 1)) {
                return false;
            }
            sum += static_cast<double>(value);
        }
        if (std::abs(sum - 1) > 1e-3) {
            return false;
        }
    }
    return true;
}

} // namespace

void LogitSignals::check(const Logits &logits, const Rows &rows) const {
    if (kind_ == SignalKind::stated) {
        throw std::invalid_argument("decide_logits: the policy's signal is not one that logits give; call decide with "
                                    "your own signals, or fit on traces made by Traces.from_probs");
    }
    if (logits.classes < 2) {
        throw std::invalid_argument("logits: expected (B, C) with C >= 2, got C = " + std::to_string(logits.classes));
    }
    if (classes_ != 0 && logits.classes != classes_) {
        throw std::invalid_argument(
            "logits: expected (B, " + std::to_string(classes_) +
            "), the classes that the policy was made for, got C = " + std::to_string(logits.classes));
    }
    if (logits.rows > signals_.size()) {
        throw std::invalid_argument("logits: " + std::to_string(logits.rows) + " rows exceed the batch's capacity of " +
                                    std::to_string(signals_.size()));
    }
    if (rows.given && rows.size() != logits.rows) {
        throw std::invalid_argument("rows: expected one for each of the " + std::to_string(logits.rows) +
                                    " rows of logits, got " + std::to_string(rows.size()));
    }
    if (look_like_probabilities(logits)) {
        throw std::invalid_argument("logits: every row lies in [0, 1] and sums to 1, as probabilities do; pass their "
                                    "logarithms");
    }
}

std::span<const float> LogitSignals::finish(const Logits &logits, const Rows &rows) const {
    const std::span<const float> signals{signals_.data(), logits.rows};
    if (nan_ != NanSignal::error || !any_nan(signals.data(), signals.size())) {
        return signals;
    }
    std::size_t k = 0;
    while (!std::isnan(signals[k])) {
        ++k;
    }
    const auto row = !rows.given           ? static_cast<std::int64_t>(k)
                     : rows.narrow.empty() ? rows.wide[k]
                                           : std::int64_t{rows.narrow[k]};
    throw std::invalid_argument("logits: NaN, +inf or only -inf at position " + std::to_string(k) + " (row " +
                                std::to_string(row) +
                                R"(); start the batch with nan="failed" for nodes that may fail, or nan="worst")");
}

} // namespace ttamer
