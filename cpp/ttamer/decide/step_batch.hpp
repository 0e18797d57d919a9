// Requests in flight under a policy over the steps of an estimator's walk, whatever the estimates are made of.
#pragma once

#include "ttamer/decide/batch.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace ttamer {

// A batch over steps, of which callers speak as nodes: a step is a set of nodes consulted and the last of them. Belongs
// to one loop, like the batch. Those that derive from it keep what nodes showed; they may write it before a call is
// accepted, as of nodes that a row has not consulted nothing is read.
class StepBatch {
  public:
    // As Batch::enter: of a policy with tiers.
    void enter(std::span<const std::int64_t> tiers, const Rows &rows, std::span<std::int32_t> first_nodes);
    void reset(const Rows &rows);
    // As Batch::resume; the node has to be the one that each row consulted last.
    void resume(std::int64_t node, const Rows &rows);
    std::size_t capacity() const { return batch_.capacity(); }
    // The node whose answer is given, -1 while there is none.
    void answer_node(std::span<std::int32_t> out) const;
    void answer_loss(std::span<double> out) const { batch_.answer_loss(out); }
    // The last estimate of each row's answer, and the step at which it was made: of a node that showed nothing only
    // while no other did. NaN and -1 before the first.
    std::span<const float> answer_signals() const { return answer_signals_; }
    std::span<const std::int32_t> answer_steps() const { return answer_steps_; }

  protected:
    // last: the node consulted last at each step. The policy decides over these steps and does not recall: that is in
    // the estimates.
    StepBatch(std::span<const std::int32_t> last, std::int32_t nodes, const std::shared_ptr<const Policy> &policy,
              std::int64_t capacity, NanSignal nan);
    ~StepBatch() = default;

    // Throws std::out_of_range unless the nodes are there.
    void check_node(std::int64_t node) const;
    void check_nodes(std::span<const std::int32_t> nodes) const;
    // The node and the step of each position of a call, whose nodes have been checked and which the capacity holds.
    // Throws unless each node is open to its row.
    void find_steps(std::int64_t node, std::size_t count, const Rows &rows);
    void find_steps(std::span<const std::int32_t> nodes, const Rows &rows);

    // Decides with signals() and new_answers(), or throws and nothing has changed.
    std::span<const std::int32_t> commit(std::size_t count, const Rows &rows);

    // Of a call, by position.
    std::span<const std::int32_t> call_nodes() const { return nodes_; }
    std::size_t step(std::size_t k) const { return static_cast<std::size_t>(steps_[k]); }
    std::span<float> signals() { return signals_; }
    std::span<std::int32_t> new_answers() { return new_answers_; }

    NanSignal nan() const { return nan_; }
    // The row's answer after `node` showed nothing: what it was, or while there is none its own, if it may answer and
    // NaN means that.
    std::int32_t answer_without(std::size_t row, std::int32_t node, bool may_answer) const;
    std::int32_t answer(std::size_t row) const { return answers_[row]; }
    std::size_t place(std::size_t row, std::int32_t node) const {
        return row * static_cast<std::size_t>(count_) + static_cast<std::size_t>(node);
    }

  private:
    void find_steps(std::size_t count, const Rows &rows);
    void clear(std::size_t row);
    // The step at which `node` is consulted after the step `last` (kRoot before the first), or -1.
    std::int32_t step_after(std::int32_t last, std::int32_t node) const {
        return step_after_[static_cast<std::size_t>(last + 1) * static_cast<std::size_t>(count_) +
                           static_cast<std::size_t>(node)];
    }
    [[noreturn]] void complain_closed(std::size_t row, std::int32_t node) const;

    std::vector<std::int32_t> last_;
    std::int32_t count_; // of nodes
    NanSignal nan_;
    Batch batch_;
    std::vector<std::int32_t> step_after_; // (steps + 1) x nodes
    std::vector<std::int32_t> answers_;    // of each row
    std::vector<std::int32_t> last_steps_; // of each row, also once it has stopped
    std::vector<float> answer_signals_;
    std::vector<std::int32_t> answer_steps_;
    // Of a call, by position.
    std::vector<std::int32_t> nodes_;
    std::vector<std::int32_t> steps_;
    std::vector<float> signals_;
    std::vector<std::int32_t> new_answers_;
    std::vector<std::int32_t> next_;
};

} // namespace ttamer
