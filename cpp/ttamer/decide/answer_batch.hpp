// Requests in flight under a policy that decides on everything seen: scores and answers in, next node and answer out.
#pragma once

#include "ttamer/decide/logit_signals.hpp"
#include "ttamer/decide/step_batch.hpp"
#include "ttamer/signals/set_estimator.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace ttamer {

// What the nodes of a call showed.
struct Shown {
    std::size_t rows;
    std::size_t width; // scores a row
    std::span<const float> scores;
    std::span<const std::int32_t> answers; // one a row, -1 for none
    bool has_answers;
};

// A batch over the steps of the estimator's walk, and what each request has seen so far: bins of scores, and answers.
class AnswerBatch : public StepBatch {
  public:
    // signal: what the nodes' scores are, as far as logits give them; of how many classes, 0 for any number.
    AnswerBatch(std::shared_ptr<const SetEstimator> estimator, const std::shared_ptr<const Policy> &policy,
                std::int64_t capacity, NanSignal nan, SignalKind signal = SignalKind::stated, std::size_t classes = 0);

    // As Batch::decide, from as many scores a row as the node has inputs, and answers, without which nodes may be that
    // no estimate looks at the answers of; allocates nothing. A NaN among a row's scores makes it a NaN signal. Of a
    // call with a node a row each has one input, or none and its score only says whether it failed.
    std::span<const std::int32_t> decide(std::int64_t node, const Shown &shown, const Rows &rows);
    std::span<const std::int32_t> decide(std::span<const std::int32_t> nodes, const Shown &shown, const Rows &rows);

    // The same from logits: the score that they give, and the most probable class for an answer. A row of logits
    // without a softmax is NaN.
    std::span<const std::int32_t> decide(std::int64_t node, const Logits &logits, const Rows &rows);
    std::span<const std::int32_t> decide(std::span<const std::int32_t> nodes, const Logits &logits, const Rows &rows);

  private:
    Shown shown_by(const Logits &logits, const Rows &rows);
    void check_logits(std::int32_t node) const;
    void check_sizes(const Shown &shown, const Rows &rows) const;
    void check_answers(std::int32_t node, const Shown &shown) const;
    void estimate(const Shown &shown, const Rows &rows);
    bool shows_nan(std::size_t k, const Rows &rows, const Shown &shown) const;
    void allow_for_failures(std::size_t k, std::size_t row, const SetEstimator::Request &request);
    [[noreturn]] void complain_nan(std::size_t k, std::size_t row) const;

    std::shared_ptr<const SetEstimator> estimator_;
    std::vector<std::uint32_t> values_; // (capacity, inputs)
    std::vector<Reply> replies_;        // (capacity, nodes)
    bool has_logit_scores_;
    LogitSignals logit_scores_;
    std::vector<std::int32_t> classes_; // that logits of a call answer
    // Of a block of a call.
    std::array<SetEstimator::Request, SetEstimator::kBlock> requests_{};
    std::vector<double> scratch_;
};

} // namespace ttamer
