// Signals from logits against plain loops in double precision, at every size around the kernels' own.
#include "ttamer/signals/softmax.hpp"

#include "check.hpp"
#include "random.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <utility>
#include <vector>

using namespace ttamer;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The signals by their definitions.
double plainly(SignalKind kind, std::vector<double> row) {
    std::sort(row.begin(), row.end(), std::greater<>());
    double sum = 0;
    for (const double x : row) {
        sum += std::exp(x - row[0]);
    }
    if (kind == SignalKind::max_prob) {
        return 1 / sum;
    }
    if (kind == SignalKind::margin) {
        return (1 - std::exp(row[1] - row[0])) / sum;
    }
    if (kind == SignalKind::logit_margin) {
        return row[0] - row[1];
    }
    double entropy = 0;
    for (const double x : row) {
        const double p = std::exp(x - row[0]) / sum;
        entropy += p > 0 ? p * std::log(p) : 0;
    }
    return entropy;
}

std::vector<float> random_logits(std::size_t count, double scale, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<float> logits(count);
    for (auto &x : logits) {
        x = static_cast<float>(scale * (test::below(random, 20001) - 10000) / 10000.0);
    }
    return logits;
}

void agrees(std::size_t classes, double scale) {
    constexpr std::size_t kRows = 35; // more than are taken side by side
    const auto logits = random_logits(kRows * classes, scale, static_cast<std::uint32_t>(classes));
    for (const auto kind : {SignalKind::max_prob, SignalKind::margin, SignalKind::entropy, SignalKind::logit_margin}) {
        std::vector<float> signals(kRows);
        signals_from_logits(kind, {logits.data(), LogitType::float32, kRows, classes}, signals.data());
        for (std::size_t k = 0; k < kRows; ++k) {
            const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(k * classes);
            const double expected = plainly(kind, {begin, begin + static_cast<std::ptrdiff_t>(classes)});
            CHECK(std::fabs(signals[k] - expected) <= 1e-6 * std::fabs(expected) + 1e-7);
        }
    }
}

// Blocks of 1024 logits are summed apart: the same maximum in several, next to or far above the rest.
void ties() {
    constexpr std::size_t kClasses = 4096;
    const std::vector<std::vector<std::pair<std::size_t, float>>> rows{
        {{0, 20.0F}, {1500, 20.0F}},
        {{1023, 20.0F}, {1024, 20.0F}, {4095, 20.0F}},
        {{0, 20.0F}, {1500, 20.0F}, {4095, 21.0F}},
        {{0, 21.0F}, {1500, 20.0F}, {4095, 20.0F}},
        {{0, 20.0F}, {1500, 20.000002F}, {4095, 20.0F}},
        {{0, 1.0F}, {1500, 1.0F}},
        {},
    };
    for (const auto kind : {SignalKind::max_prob, SignalKind::margin, SignalKind::entropy, SignalKind::logit_margin}) {
        for (const auto &row : rows) {
            std::vector<float> logits(kClasses, 0.0F);
            for (const auto &[place, value] : row) {
                logits[place] = value;
            }
            float found = 0;
            signals_from_logits(kind, {logits.data(), LogitType::float32, 1, kClasses}, &found);
            const double expected = plainly(kind, {logits.begin(), logits.end()});
            CHECK(std::fabs(found - expected) <= 1e-6 * std::fabs(expected) + 1e-12);
        }
    }
}

void halves() {
    // 1, -2, the least subnormal, -inf; each with its float32.
    const std::vector<std::uint16_t> half{0x3C00, 0xC000, 0x0001, 0xFC00};
    const std::vector<std::uint16_t> brain{0x3F80, 0xC000, 0x3380, 0xFF80}; // its third is 2^-24 too
    const std::vector<float> single{1.0F, -2.0F, 0x1p-24F, -kInfinity};
    float expected = 0;
    float found = 0;
    signals_from_logits(SignalKind::entropy, {single.data(), LogitType::float32, 1, 4}, &expected);
    signals_from_logits(SignalKind::entropy, {half.data(), LogitType::float16, 1, 4}, &found);
    CHECK(found == expected);
    signals_from_logits(SignalKind::entropy, {brain.data(), LogitType::bfloat16, 1, 4}, &found);
    CHECK(found == expected);
}

void no_softmax() {
    for (const std::size_t classes : {std::size_t{5}, std::size_t{1500}}) {
        std::vector<float> logits(4 * classes, 0.0F);
        logits[classes - 1] = kInfinity;
        logits[classes] = std::numeric_limits<float>::quiet_NaN();
        std::fill_n(logits.begin() + static_cast<std::ptrdiff_t>(2 * classes), classes, -kInfinity);
        for (const auto kind :
             {SignalKind::max_prob, SignalKind::margin, SignalKind::entropy, SignalKind::logit_margin}) {
            std::vector<float> signals(4);
            signals_from_logits(kind, {logits.data(), LogitType::float32, 4, classes}, signals.data());
            CHECK(std::isnan(signals[0]) && std::isnan(signals[1]) && std::isnan(signals[2]));
            CHECK(std::isfinite(signals[3]));
        }
    }
}

} // namespace

int main() {
    for (const std::size_t classes : {2, 3, 31, 32, 33, 64, 65, 127, 1000, 1023, 1024, 1025, 1088, 2049, 5000}) {
        for (const double scale : {0.01, 3.0, 50.0}) {
            agrees(classes, scale);
        }
    }
    ties();
    halves();
    no_softmax();
    return test::result();
}
