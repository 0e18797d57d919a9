#include "ttamer/signals/estimator.hpp"

#include "ttamer/signals/tables.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

namespace ttamer {

EstimateKind estimate_kind(std::string_view name) {
    if (name == "signal") {
        return EstimateKind::signal;
    }
    if (name == "history") {
        return EstimateKind::history;
    }
    if (name == "posterior") {
        return EstimateKind::posterior;
    }
    throw std::invalid_argument("estimate: expected 'signal', 'history' or 'posterior', got '" + std::string(name) +
                                "'");
}

std::size_t feature_count(EstimateKind kind, std::size_t set_size) {
    if (kind == EstimateKind::signal) {
        return 1;
    }
    return set_size + (set_size > 1 ? 5 : 2);
}

void features_of(EstimateKind kind, const EvidenceForm &form, std::span<const Reading> readings, std::size_t last,
                 std::size_t candidate, double *out) {
    const std::int32_t label = readings[candidate].evidence.classes[0];
    if (kind == EstimateKind::signal) {
        out[0] = log_odds(readings[last], form, label);
        return;
    }
    const std::size_t count = readings.size();
    double lowest = std::numeric_limits<double>::infinity();
    double highest = -lowest;
    std::size_t agreeing = 0;
    for (std::size_t i = 0; i < count; ++i) {
        out[i] = log_odds(readings[i], form, label);
        lowest = std::min(lowest, out[i]);
        highest = std::max(highest, out[i]);
        agreeing += readings[i].evidence.classes[0] == label ? 1 : 0;
    }
    out += count;
    if (count > 1) {
        *out++ = lowest;
        *out++ = highest;
        *out++ = static_cast<double>(agreeing) / static_cast<double>(count);
    }
    *out++ = readings[last].entropy;
    *out = readings[last].doubt;
}

Estimator::Estimator(EstimatorTables tables) : tables_(std::move(tables)) {
    check();
    std::size_t offset = 0;
    for (std::size_t step = 0; step < steps(); ++step) {
        const auto nodes = set(step);
        largest_set_ = std::max(largest_set_, nodes.size());
        last_positions_.push_back(
            static_cast<std::size_t>(std::find(nodes.begin(), nodes.end(), last(step)) - nodes.begin()));
        for (auto k = tables_.candidate_offsets[step]; k < tables_.candidate_offsets[step + 1]; ++k) {
            coefficient_offsets_.push_back(offset);
            offset += 1 + feature_count(tables_.kind, nodes.size());
        }
    }
    require(offset == tables_.coefficients.size(), "coefficients: expected an intercept and one weight a feature for "
                                                   "each candidate");
}

std::span<const std::int32_t> Estimator::set(std::size_t step) const {
    const auto begin = as_size(tables_.set_offsets[step]);
    return {tables_.sets.data() + begin, as_size(tables_.set_offsets[step + 1]) - begin};
}

void Estimator::check() const {
    const auto &t = tables_;
    require(t.form.classes >= 2 && t.form.top >= 1 && t.form.top <= t.form.classes &&
                t.form.classes <= as_size(std::numeric_limits<std::int32_t>::max()),
            "class_count, top: expected at least 2 classes and 1 to as many at the top");
    require(t.nodes >= 1 && !t.last.empty(), "last: expected at least one node and one step");
    require(are_offsets(t.set_offsets, steps(), t.sets.size()), "set_offsets: expected increasing offsets into sets");
    require(are_offsets(t.candidate_offsets, steps(), t.candidates.size()),
            "candidate_offsets: expected increasing offsets into candidates");
    for (std::size_t step = 0; step < steps(); ++step) {
        const auto nodes = set(step);
        std::vector<std::int32_t> sorted(nodes.begin(), nodes.end());
        std::sort(sorted.begin(), sorted.end());
        require(sorted.front() >= 0 && sorted.back() < t.nodes &&
                    std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(),
                "sets: expected different nodes at each step");
        require(std::binary_search(sorted.begin(), sorted.end(), t.last[step]), "last: expected a node of the step");
        for (auto k = t.candidate_offsets[step]; k < t.candidate_offsets[step + 1]; ++k) {
            const auto candidate = t.candidates[as_size(k)];
            require(candidate >= 0 && as_size(candidate) < nodes.size(),
                    "candidates: expected positions in the step's set");
        }
    }
    require(std::all_of(t.coefficients.begin(), t.coefficients.end(), [](double c) { return std::isfinite(c); }),
            "coefficients: expected finite numbers");
}

Estimator::Estimate Estimator::estimate(std::size_t step, std::span<const Reading> readings, double *scratch) const {
    double least = std::numeric_limits<double>::infinity();
    std::int32_t answer = last(step);
    const std::size_t features = feature_count(tables_.kind, readings.size());
    for (auto k = as_size(tables_.candidate_offsets[step]); k < as_size(tables_.candidate_offsets[step + 1]); ++k) {
        const auto candidate = as_size(tables_.candidates[k]);
        if (readings[candidate].missing) {
            continue;
        }
        features_of(tables_.kind, tables_.form, readings, last_positions_[step], candidate, scratch);
        const double *weights = tables_.coefficients.data() + coefficient_offsets_[k];
        double wrong = weights[0];
        for (std::size_t f = 0; f < features; ++f) {
            wrong += weights[1 + f] * scratch[f];
        }
        if (wrong < least) { // equal ones: the first
            least = wrong;
            answer = set(step)[candidate];
        }
    }
    const auto most = static_cast<double>(std::numeric_limits<float>::max());
    return {static_cast<float>(-std::clamp(least, -most, most)), answer};
}

void estimate_rows(const Estimator &estimator, std::span<const float> log_probs, std::span<const std::int32_t> classes,
                   std::span<float> signals, std::span<std::int32_t> answers) {
    const auto nodes = as_size(estimator.nodes());
    const std::size_t top = estimator.form().top;
    const std::size_t rows = log_probs.size() / (nodes * top);
    std::vector<Reading> all(nodes);
    std::vector<Reading> readings(estimator.largest_set());
    std::vector<double> scratch(estimator.largest_features());
    for (std::size_t row = 0; row < rows; ++row) {
        for (std::size_t node = 0; node < nodes; ++node) {
            const std::size_t at = (row * nodes + node) * top;
            all[node] = read({log_probs.data() + at, classes.data() + at}, estimator.form());
        }
        for (std::size_t step = 0; step < estimator.steps(); ++step) {
            const auto set = estimator.set(step);
            for (std::size_t i = 0; i < set.size(); ++i) {
                readings[i] = all[as_size(set[i])];
            }
            const auto found = estimator.estimate(step, {readings.data(), set.size()}, scratch.data());
            signals[row * estimator.steps() + step] = found.signal;
            answers[row * estimator.steps() + step] = found.answer;
        }
    }
}

} // namespace ttamer
