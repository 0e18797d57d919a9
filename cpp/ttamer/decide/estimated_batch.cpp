#include "ttamer/decide/estimated_batch.hpp"

#include "ttamer/base/text.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

namespace ttamer {

EstimatedBatch::EstimatedBatch(std::shared_ptr<const Estimator> estimator, std::shared_ptr<const Policy> policy,
                               std::int64_t capacity, NanSignal nan)
    : estimator_(std::move(estimator)), policy_(std::move(policy)), nan_(nan), batch_(policy_, capacity, nan),
      max_probs_(SignalKind::max_prob, batch_.capacity(), nan) {
    if (static_cast<std::size_t>(policy_->nodes()) != estimator_->steps() || policy_->is_forest() ||
        policy_->tables().recall) {
        throw std::invalid_argument("estimator: expected a policy over its " + text(estimator_->steps()) +
                                    " steps that does not recall");
    }
    const auto nodes = static_cast<std::size_t>(estimator_->nodes());
    step_after_.assign((estimator_->steps() + 1) * nodes, -1);
    for (std::int32_t step = kRoot; step < policy_->nodes(); ++step) {
        for (const auto &next : policy_->topology().successors(step)) {
            const std::int32_t node = estimator_->last(static_cast<std::size_t>(next.node));
            step_after_[static_cast<std::size_t>(step + 1) * nodes + static_cast<std::size_t>(node)] = next.node;
        }
    }
    const std::size_t rows = batch_.capacity();
    const std::size_t top = estimator_->form().top;
    log_probs_.resize(rows * nodes * top);
    classes_.resize(rows * nodes * top);
    readings_.resize(rows * nodes);
    answers_.assign(rows, -1);
    nodes_.resize(rows);
    steps_.resize(rows);
    signals_.resize(rows);
    new_answers_.resize(rows);
    new_log_probs_.resize(rows * top);
    new_classes_.resize(rows * top);
    new_readings_.resize(rows);
    next_.resize(rows);
    gathered_.resize(estimator_->largest_set());
    scratch_.resize(estimator_->largest_features());
}

std::span<const std::int32_t> EstimatedBatch::decide(std::int64_t node, const Logits &logits, const Rows &rows) {
    signals(node, logits, rows);
    return commit(logits.rows, rows);
}

std::span<const float> EstimatedBatch::signals(std::int64_t node, const Logits &logits, const Rows &rows) {
    check_node(node);
    check_logits(logits);
    max_probs_.check(logits, rows);
    std::fill_n(nodes_.begin(), logits.rows, static_cast<std::int32_t>(node));
    estimate({nodes_.data(), logits.rows}, logits, rows);
    return {signals_.data(), logits.rows};
}

std::span<const std::int32_t> EstimatedBatch::decide(std::span<const std::int32_t> nodes, const Logits &logits,
                                                     const Rows &rows) {
    if (nodes.size() != logits.rows) {
        throw std::invalid_argument("node: expected one for each of the " + text(logits.rows) +
                                    " rows of logits, got " + text(nodes.size()));
    }
    std::for_each(nodes.begin(), nodes.end(), [this](std::int32_t node) { check_node(node); });
    check_logits(logits);
    max_probs_.check(logits, rows);
    std::copy(nodes.begin(), nodes.end(), nodes_.begin()); // they may be the result of the last call
    estimate({nodes_.data(), nodes.size()}, logits, rows);
    return commit(logits.rows, rows);
}

void EstimatedBatch::check_node(std::int64_t node) const {
    if (node < 0 || node >= estimator_->nodes()) {
        throw std::out_of_range("node: expected 0 to " + text(estimator_->nodes() - 1) + ", got " + text(node));
    }
}

void EstimatedBatch::check_logits(const Logits &logits) const {
    if (logits.classes != estimator_->form().classes) {
        throw std::invalid_argument(
            "logits: expected (B, " + text(estimator_->form().classes) +
            "), the classes that the estimates were fitted on, got C = " + text(logits.classes));
    }
}

// Everything about a call but its effects: steps, signals, answers and evidence, by position in the call.
void EstimatedBatch::estimate(std::span<const std::int32_t> nodes, const Logits &logits, const Rows &rows) {
    batch_.check_rows(rows);
    for (std::size_t k = 0; k < logits.rows; ++k) {
        const std::size_t row = rows.at(k);
        steps_[k] = batch_.has_stopped(row) ? -1 : step_after(batch_.last_node(row), nodes[k]);
        if (steps_[k] < 0) {
            complain_closed(row, nodes[k]);
        }
    }
    max_probs_.compute(logits);
    const auto found = max_probs_.finish(logits, rows);
    for (std::size_t k = 0; k < logits.rows; ++k) {
        estimate_one(k, rows.at(k), nodes[k], logits, found[k]);
    }
}

void EstimatedBatch::estimate_one(std::size_t k, std::size_t row, std::int32_t node, const Logits &logits,
                                  float max_prob) {
    const EvidenceForm &form = estimator_->form();
    float *log_probs = new_log_probs_.data() + k * form.top;
    std::int32_t *classes = new_classes_.data() + k * form.top;
    evidence_of_logits(logits, k, max_prob, form, log_probs, classes);
    new_readings_[k] = read({log_probs, classes}, form);
    if (std::isnan(max_prob)) { // the worst state, and no answer unless there is no other
        signals_[k] = std::numeric_limits<float>::quiet_NaN();
        new_readings_[k].missing = true;
        new_answers_[k] = batch_.has_answer(row) ? answers_[row] : nan_ == NanSignal::worst ? node : -1;
        return;
    }
    const auto step = static_cast<std::size_t>(steps_[k]);
    const auto set = estimator_->set(step);
    for (std::size_t i = 0; i < set.size(); ++i) {
        gathered_[i] = set[i] == node ? new_readings_[k] : readings_[place(row, set[i])];
    }
    const auto estimated = estimator_->estimate(step, {gathered_.data(), set.size()}, scratch_.data());
    signals_[k] = estimated.signal;
    new_answers_[k] = estimated.answer;
}

// The batch decides or throws; what was seen is kept only after that.
std::span<const std::int32_t> EstimatedBatch::commit(std::size_t count, const Rows &rows) {
    const auto next =
        batch_.decide(std::span<const std::int32_t>(steps_.data(), count), {signals_.data(), count}, rows);
    const EvidenceForm &form = estimator_->form();
    for (std::size_t k = 0; k < count; ++k) {
        const std::size_t row = rows.at(k);
        const std::size_t at = place(row, nodes_[k]);
        std::copy_n(new_log_probs_.data() + k * form.top, form.top, log_probs_.data() + at * form.top);
        std::copy_n(new_classes_.data() + k * form.top, form.top, classes_.data() + at * form.top);
        readings_[at] = new_readings_[k];
        readings_[at].evidence = {log_probs_.data() + at * form.top, classes_.data() + at * form.top};
        answers_[row] = new_answers_[k];
    }
    // Last: `rows` may be the result of the last call, which this overwrites.
    for (std::size_t k = 0; k < count; ++k) {
        next_[k] = next[k] == kStop ? kStop : estimator_->last(static_cast<std::size_t>(next[k]));
    }
    return {next_.data(), count};
}

void EstimatedBatch::reset(const Rows &rows) {
    batch_.reset(rows);
    if (!rows.given) {
        std::fill(answers_.begin(), answers_.end(), -1);
        return;
    }
    for (std::size_t k = 0; k < rows.size(); ++k) {
        answers_[rows.at(k)] = -1;
    }
}

void EstimatedBatch::answer_node(std::span<std::int32_t> out) const {
    std::copy(answers_.begin(), answers_.end(), out.begin());
}

void EstimatedBatch::complain_closed(std::size_t row, std::int32_t node) const {
    const auto which = "row " + text(row);
    if (batch_.has_stopped(row)) {
        throw std::invalid_argument("rows: " + which + " has stopped; reset it before it takes a new request");
    }
    const std::int32_t step = batch_.last_node(row);
    std::string open;
    for (std::int32_t other = 0; other < estimator_->nodes(); ++other) {
        if (step_after(step, other) >= 0) {
            open += (open.empty() ? "" : ", ") + text(other);
        }
    }
    const std::string last =
        step == kRoot ? "nothing" : "node " + text(estimator_->last(static_cast<std::size_t>(step)));
    throw std::invalid_argument("node: " + text(node) + " is not open to " + which + ", which consulted " + last +
                                " last; open: " + (open.empty() ? "none" : open));
}

} // namespace ttamer
