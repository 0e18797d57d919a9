// Requests in flight under a policy that estimates: logits in, next node and answer out.
#pragma once

#include "ttamer/decide/batch.hpp"
#include "ttamer/decide/logit_signals.hpp"
#include "ttamer/signals/estimator.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace ttamer {

// A batch over the steps of the estimator's walk, and what each request has seen so far. Callers speak of nodes.
// Belongs to one loop, like the batch.
class EstimatedBatch {
  public:
    // The policy decides over the estimator's steps and does not recall: that is in the estimate.
    EstimatedBatch(std::shared_ptr<const Estimator> estimator, std::shared_ptr<const Policy> policy,
                   std::int64_t capacity, NanSignal nan);

    // As Batch::decide, from logits; allocates nothing. A row of logits without a softmax is NaN.
    std::span<const std::int32_t> decide(std::int64_t node, const Logits &logits, const Rows &rows);
    std::span<const std::int32_t> decide(std::span<const std::int32_t> nodes, const Logits &logits, const Rows &rows);

    // The signals that a call for these rows would decide with; changes nothing.
    std::span<const float> signals(std::int64_t node, const Logits &logits, const Rows &rows);

    void reset(const Rows &rows);
    std::size_t capacity() const { return batch_.capacity(); }
    // The node whose answer is given, -1 before anything is consulted.
    void answer_node(std::span<std::int32_t> out) const;
    void answer_loss(std::span<double> out) const { batch_.answer_loss(out); }

  private:
    void check_node(std::int64_t node) const;
    void check_logits(const Logits &logits) const;
    void estimate(std::span<const std::int32_t> nodes, const Logits &logits, const Rows &rows);
    void estimate_one(std::size_t k, std::size_t row, std::int32_t node, const Logits &logits, float max_prob);
    std::span<const std::int32_t> commit(std::size_t count, const Rows &rows);
    std::size_t place(std::size_t row, std::int32_t node) const {
        return row * static_cast<std::size_t>(estimator_->nodes()) + static_cast<std::size_t>(node);
    }
    // The step at which `node` is consulted after the step `last` (kRoot before the first), or -1.
    std::int32_t step_after(std::int32_t last, std::int32_t node) const {
        return step_after_[static_cast<std::size_t>(last + 1) * static_cast<std::size_t>(estimator_->nodes()) +
                           static_cast<std::size_t>(node)];
    }
    [[noreturn]] void complain_closed(std::size_t row, std::int32_t node) const;

    std::shared_ptr<const Estimator> estimator_;
    std::shared_ptr<const Policy> policy_;
    NanSignal nan_;
    Batch batch_;
    LogitSignals max_probs_;
    std::vector<std::int32_t> step_after_; // (steps + 1) x nodes
    // Of each row and node: evidence and what it tells. (capacity, nodes), evidence with `top` places each.
    std::vector<float> log_probs_;
    std::vector<std::int32_t> classes_;
    std::vector<Reading> readings_;
    std::vector<std::int32_t> answers_; // of each row
    // Of a call, by position: kept apart until the batch has accepted it.
    std::vector<std::int32_t> nodes_;
    std::vector<std::int32_t> steps_;
    std::vector<float> signals_;
    std::vector<std::int32_t> new_answers_;
    std::vector<float> new_log_probs_;
    std::vector<std::int32_t> new_classes_;
    std::vector<Reading> new_readings_;
    std::vector<std::int32_t> next_;
    // Of one estimate.
    std::vector<Reading> gathered_;
    std::vector<double> scratch_;
};

} // namespace ttamer
