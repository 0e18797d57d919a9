#include "ttamer/decide/answer_batch.hpp"

#include "ttamer/base/text.hpp"
#include "ttamer/decide/kernels.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

namespace ttamer {

namespace {

std::string shape_of(std::size_t width) {
    return width == 1 ? "(B,)" : "(B, " + text(width) + ")";
}

} // namespace

AnswerBatch::AnswerBatch(std::shared_ptr<const SetEstimator> estimator, const std::shared_ptr<const Policy> &policy,
                         std::int64_t capacity, NanSignal nan, SignalKind signal, std::size_t classes)
    : StepBatch(estimator->last(), estimator->nodes(), policy, capacity, nan), estimator_(std::move(estimator)),
      values_(this->capacity() * estimator_->inputs()),
      replies_(this->capacity() * static_cast<std::size_t>(estimator_->nodes())),
      has_logit_scores_(signal != SignalKind::stated), logit_scores_(signal, this->capacity(), nan, classes),
      classes_(this->capacity()), scratch_(estimator_->scratch()) {}

std::span<const std::int32_t> AnswerBatch::decide(std::int64_t node, const Shown &shown, const Rows &rows) {
    check_node(node);
    const auto one = static_cast<std::int32_t>(node);
    const std::size_t inputs = estimator_->inputs(one);
    if (shown.width != inputs && (inputs > 0 || shown.width > 1)) { // one that no estimate looks at may be NaN
        throw std::invalid_argument("scores: expected " + shape_of(inputs) + " float32, one an input of node " +
                                    text(node) + ", got " + shape_of(shown.width));
    }
    check_sizes(shown, rows);
    check_answers(one, shown);
    find_steps(node, shown.rows, rows);
    estimate(shown, rows);
    return commit(shown.rows, rows);
}

std::span<const std::int32_t> AnswerBatch::decide(std::span<const std::int32_t> nodes, const Shown &shown,
                                                  const Rows &rows) {
    if (nodes.size() != shown.rows) {
        throw std::invalid_argument("node: expected one for each of the " + text(shown.rows) + " rows of scores, got " +
                                    text(nodes.size()));
    }
    check_nodes(nodes);
    if (shown.width > 1) {
        throw std::invalid_argument("scores: expected (B,) float32 for a node a row, got " + shape_of(shown.width));
    }
    check_sizes(shown, rows);
    for (const std::int32_t node : nodes) {
        const std::size_t inputs = estimator_->inputs(node);
        if (inputs > shown.width) {
            throw std::invalid_argument(
                inputs > 1 ? "node: " + text(node) + " has " + text(inputs) + " inputs; consult it in a call of its own"
                           : "scores: expected (B,) float32, one an input of node " + text(node) + ", got none");
        }
        check_answers(node, shown);
    }
    find_steps(nodes, rows);
    estimate(shown, rows);
    return commit(shown.rows, rows);
}

std::span<const std::int32_t> AnswerBatch::decide(std::int64_t node, const Logits &logits, const Rows &rows) {
    check_node(node);
    check_logits(static_cast<std::int32_t>(node));
    return decide(node, shown_by(logits, rows), rows);
}

std::span<const std::int32_t> AnswerBatch::decide(std::span<const std::int32_t> nodes, const Logits &logits,
                                                  const Rows &rows) {
    if (nodes.size() != logits.rows) {
        throw std::invalid_argument("node: expected one for each of the " + text(logits.rows) +
                                    " rows of logits, got " + text(nodes.size()));
    }
    check_nodes(nodes);
    std::for_each(nodes.begin(), nodes.end(), [this](std::int32_t node) { check_logits(node); });
    return decide(nodes, shown_by(logits, rows), rows);
}

void AnswerBatch::check_logits(std::int32_t node) const {
    if (!has_logit_scores_) {
        throw std::invalid_argument("decide_logits: the policy's scores are not of a kind that logits give; call "
                                    "decide_answers with your own, or fit on traces made by Traces.from_probs");
    }
    if (estimator_->inputs(node) != 1) {
        throw std::invalid_argument("decide_logits: node " + text(node) + " has " + text(estimator_->inputs(node)) +
                                    " inputs, logits give one; call decide_answers");
    }
}

Shown AnswerBatch::shown_by(const Logits &logits, const Rows &rows) {
    logit_scores_.check(logits, rows);
    logit_scores_.compute(logits);
    largest_classes(logits, classes_.data());
    return {logits.rows, 1, logit_scores_.finish(logits, rows), {classes_.data(), logits.rows}, true};
}

void AnswerBatch::check_sizes(const Shown &shown, const Rows &rows) const {
    if (shown.rows > capacity()) {
        throw std::invalid_argument("scores: " + text(shown.rows) + " rows exceed the batch's capacity of " +
                                    text(capacity()));
    }
    if (shown.has_answers && shown.answers.size() != shown.rows) {
        throw std::invalid_argument("answers: expected one for each of the " + text(shown.rows) +
                                    " rows of scores, got " + text(shown.answers.size()));
    }
    if (rows.given && rows.size() != shown.rows) {
        throw std::invalid_argument("rows: expected one for each of the " + text(shown.rows) + " rows of scores, got " +
                                    text(rows.size()));
    }
    const auto none = std::find_if(shown.answers.begin(), shown.answers.end(), [](auto answer) { return answer < -1; });
    if (none != shown.answers.end()) {
        throw std::invalid_argument("answers: expected numbers >= 0, or -1 for none, got " + text(*none) +
                                    " at position " + text(none - shown.answers.begin()));
    }
}

void AnswerBatch::check_answers(std::int32_t node, const Shown &shown) const {
    if (!shown.has_answers && estimator_->uses_answer(node)) {
        throw std::invalid_argument("answers: expected (B,) int32, one a row, -1 for none; node " + text(node) +
                                    "'s are decided on");
    }
}

void AnswerBatch::estimate(const Shown &shown, const Rows &rows) {
    const bool has_nan = any_nan(shown.scores.data(), shown.scores.size());
    for (std::size_t begin = 0; begin < shown.rows; begin += SetEstimator::kBlock) {
        const std::size_t count = std::min(SetEstimator::kBlock, shown.rows - begin);
        for (std::size_t i = 0; i < count; ++i) {
            const std::size_t row = rows.at(begin + i);
            requests_[i] = {estimator_->cell(step(begin + i)), values_.data() + row * estimator_->inputs(),
                            replies_.data() + place(row, 0)};
        }
        const auto nodes = call_nodes().subspan(begin, count);
        for (std::size_t first = 0, end = 0; first < count; first = end) { // of one node at a time
            const std::int32_t node = nodes[first];
            while (end < count && nodes[end] == node) {
                ++end;
            }
            estimator_->read(node, shown.scores.data() + (begin + first) * shown.width,
                             shown.has_answers ? shown.answers.data() + begin + first : nullptr,
                             {&requests_[first], end - first});
        }
        for (std::size_t i = 0; i < count && has_nan; ++i) {
            if (shows_nan(begin + i, rows, shown)) {
                estimator_->read_failed(nodes[i], requests_[i]);
            }
        }
        estimator_->estimate({requests_.data(), count}, &signals()[begin], &new_answers()[begin], scratch_);
        for (std::size_t i = 0; i < count && nan() != NanSignal::error; ++i) {
            allow_for_failures(begin + i, rows.at(begin + i), requests_[i]);
        }
    }
}

// A node without inputs may be handed a score too: NaN says that it failed, and nothing else is read of it.
bool AnswerBatch::shows_nan(std::size_t k, const Rows &rows, const Shown &shown) const {
    const auto scores = shown.scores.subspan(k * shown.width, shown.width);
    const bool is_nan = any_nan(scores.data(), scores.size());
    if (is_nan && nan() == NanSignal::error) {
        complain_nan(k, rows.at(k));
    }
    return is_nan;
}

void AnswerBatch::allow_for_failures(std::size_t k, std::size_t row, const SetEstimator::Request &request) {
    const std::int32_t node = call_nodes()[k];
    if (request.replies[node].answer == Reply::kFailed) {
        signals()[k] = std::numeric_limits<float>::quiet_NaN();
        new_answers()[k] = answer_without(row, node, estimator_->may_answer(step(k), node));
    } else if (std::isnan(signals()[k])) { // what may not answer changes nothing where all else failed
        new_answers()[k] = answer(row);
    }
}

void AnswerBatch::complain_nan(std::size_t k, std::size_t row) const {
    throw std::invalid_argument("scores: NaN at position " + text(k) + " (row " + text(row) +
                                R"(); start the batch with nan="failed" for nodes that may fail, or nan="worst")");
}

} // namespace ttamer
