// Requests in flight under a policy that estimates: logits in, next node and answer out.
#pragma once

#include "ttamer/decide/logit_signals.hpp"
#include "ttamer/decide/step_batch.hpp"
#include "ttamer/signals/estimator.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace ttamer {

// A batch over the steps of the estimator's walk, and the evidence that each request has seen so far.
class EstimatedBatch : public StepBatch {
  public:
    EstimatedBatch(std::shared_ptr<const Estimator> estimator, const std::shared_ptr<const Policy> &policy,
                   std::int64_t capacity, NanSignal nan);

    // As Batch::decide, from logits; allocates nothing. A row of logits without a softmax is NaN.
    std::span<const std::int32_t> decide(std::int64_t node, const Logits &logits, const Rows &rows);
    std::span<const std::int32_t> decide(std::span<const std::int32_t> nodes, const Logits &logits, const Rows &rows);

    // The signals that a call for these rows would decide with; changes nothing.
    std::span<const float> signals_of(std::int64_t node, const Logits &logits, const Rows &rows);

  private:
    void check_logits(const Logits &logits) const;
    void estimate(const Logits &logits, const Rows &rows);
    void estimate_one(std::size_t k, std::size_t row, std::int32_t node, const Logits &logits, float max_prob);

    std::shared_ptr<const Estimator> estimator_;
    LogitSignals max_probs_;
    // Of each row and node: evidence and what it tells. (capacity, nodes), evidence with `top` places each.
    std::vector<float> log_probs_;
    std::vector<std::int32_t> classes_;
    std::vector<Reading> readings_;
    // Of one estimate.
    std::vector<Reading> gathered_;
    std::vector<double> scratch_;
};

} // namespace ttamer
