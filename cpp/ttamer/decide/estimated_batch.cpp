#include "ttamer/decide/estimated_batch.hpp"

#include "ttamer/base/text.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

namespace ttamer {

EstimatedBatch::EstimatedBatch(std::shared_ptr<const Estimator> estimator, const std::shared_ptr<const Policy> &policy,
                               std::int64_t capacity, NanSignal nan)
    : StepBatch(estimator->last(), estimator->nodes(), policy, capacity, nan), estimator_(std::move(estimator)),
      max_probs_(SignalKind::max_prob, this->capacity(), nan) {
    const std::size_t places = this->capacity() * static_cast<std::size_t>(estimator_->nodes());
    const std::size_t top = estimator_->form().top;
    log_probs_.resize(places * top);
    classes_.resize(places * top);
    readings_.resize(places);
    gathered_.resize(estimator_->largest_set());
    scratch_.resize(estimator_->largest_features());
}

std::span<const std::int32_t> EstimatedBatch::decide(std::int64_t node, const Logits &logits, const Rows &rows) {
    signals_of(node, logits, rows);
    return commit(logits.rows, rows);
}

std::span<const float> EstimatedBatch::signals_of(std::int64_t node, const Logits &logits, const Rows &rows) {
    check_node(node);
    check_logits(logits);
    max_probs_.check(logits, rows);
    find_steps(node, logits.rows, rows);
    estimate(logits, rows);
    return signals().first(logits.rows);
}

std::span<const std::int32_t> EstimatedBatch::decide(std::span<const std::int32_t> nodes, const Logits &logits,
                                                     const Rows &rows) {
    if (nodes.size() != logits.rows) {
        throw std::invalid_argument("node: expected one for each of the " + text(logits.rows) +
                                    " rows of logits, got " + text(nodes.size()));
    }
    check_nodes(nodes);
    check_logits(logits);
    max_probs_.check(logits, rows);
    find_steps(nodes, rows);
    estimate(logits, rows);
    return commit(logits.rows, rows);
}

void EstimatedBatch::check_logits(const Logits &logits) const {
    if (logits.classes != estimator_->form().classes) {
        throw std::invalid_argument(
            "logits: expected (B, " + text(estimator_->form().classes) +
            "), the classes that the estimates were fitted on, got C = " + text(logits.classes));
    }
}

void EstimatedBatch::estimate(const Logits &logits, const Rows &rows) {
    max_probs_.compute(logits);
    const auto max_probs = max_probs_.finish(logits, rows);
    for (std::size_t k = 0; k < logits.rows; ++k) {
        estimate_one(k, rows.at(k), call_nodes()[k], logits, max_probs[k]);
    }
}

void EstimatedBatch::estimate_one(std::size_t k, std::size_t row, std::int32_t node, const Logits &logits,
                                  float max_prob) {
    const EvidenceForm &form = estimator_->form();
    const std::size_t at = place(row, node);
    float *log_probs = log_probs_.data() + at * form.top;
    std::int32_t *classes = classes_.data() + at * form.top;
    evidence_of_logits(logits, k, max_prob, form, log_probs, classes);
    readings_[at] = read({log_probs, classes}, form);
    if (std::isnan(max_prob)) { // the worst state, and no answer unless there is no other
        readings_[at].missing = true;
        signals()[k] = std::numeric_limits<float>::quiet_NaN();
        new_answers()[k] = answer_without(row, node, true);
        return;
    }
    const auto set = estimator_->set(step(k));
    for (std::size_t i = 0; i < set.size(); ++i) {
        gathered_[i] = readings_[place(row, set[i])];
    }
    const auto estimated = estimator_->estimate(step(k), {gathered_.data(), set.size()}, scratch_.data());
    signals()[k] = estimated.signal;
    new_answers()[k] = estimated.answer;
}

} // namespace ttamer
