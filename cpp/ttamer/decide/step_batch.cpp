#include "ttamer/decide/step_batch.hpp"

#include "ttamer/base/text.hpp"
#include "ttamer/decide/kernels.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

namespace ttamer {

StepBatch::StepBatch(std::span<const std::int32_t> last, std::int32_t nodes,
                     const std::shared_ptr<const Policy> &policy, std::int64_t capacity, NanSignal nan)
    : last_(last.begin(), last.end()), count_(nodes), nan_(nan), batch_(policy, capacity, nan) {
    if (static_cast<std::size_t>(policy->nodes()) != last.size() || policy->is_forest() || policy->tables().recall) {
        throw std::invalid_argument("estimator: expected a policy over its " + text(last.size()) +
                                    " steps that does not recall");
    }
    step_after_.assign((last.size() + 1) * static_cast<std::size_t>(nodes), -1);
    for (std::int32_t step = kRoot; step < policy->nodes(); ++step) {
        for (const auto &next : policy->topology().successors(step)) {
            const std::int32_t node = last_[static_cast<std::size_t>(next.node)];
            step_after_[static_cast<std::size_t>(step + 1) * static_cast<std::size_t>(nodes) +
                        static_cast<std::size_t>(node)] = next.node;
        }
    }
    const std::size_t rows = batch_.capacity();
    answers_.assign(rows, -1);
    last_steps_.assign(rows, kRoot);
    answer_signals_.assign(rows, std::numeric_limits<float>::quiet_NaN());
    answer_steps_.assign(rows, kRoot);
    nodes_.resize(rows);
    steps_.resize(rows);
    signals_.resize(rows);
    new_answers_.resize(rows);
    next_.resize(rows);
}

void StepBatch::check_node(std::int64_t node) const {
    if (node < 0 || node >= count_) {
        throw std::out_of_range("node: expected 0 to " + text(count_ - 1) + ", got " + text(node));
    }
}

void StepBatch::check_nodes(std::span<const std::int32_t> nodes) const {
    if (!all_inside(nodes.data(), nodes.size(), static_cast<std::size_t>(count_))) {
        std::for_each(nodes.begin(), nodes.end(), [this](std::int32_t node) { check_node(node); });
    }
}

void StepBatch::find_steps(std::int64_t node, std::size_t count, const Rows &rows) {
    std::fill_n(nodes_.begin(), count, static_cast<std::int32_t>(node));
    find_steps(count, rows);
}

void StepBatch::find_steps(std::span<const std::int32_t> nodes, const Rows &rows) {
    std::copy(nodes.begin(), nodes.end(), nodes_.begin()); // they may be the result of the last call
    find_steps(nodes.size(), rows);
}

void StepBatch::find_steps(std::size_t count, const Rows &rows) {
    batch_.check_rows(rows);
    for (std::size_t k = 0; k < count; ++k) {
        const std::size_t row = rows.at(k);
        steps_[k] = batch_.has_stopped(row) ? -1 : step_after(batch_.last_node(row), nodes_[k]);
        if (steps_[k] < 0) {
            complain_closed(row, nodes_[k]);
        }
    }
}

std::int32_t StepBatch::answer_without(std::size_t row, std::int32_t node, bool may_answer) const {
    return nan_ == NanSignal::worst && may_answer && !batch_.has_answer(row) ? node : answers_[row];
}

std::span<const std::int32_t> StepBatch::commit(std::size_t count, const Rows &rows) {
    const auto next =
        batch_.decide(std::span<const std::int32_t>(steps_.data(), count), {signals_.data(), count}, rows);
    for (std::size_t k = 0; k < count; ++k) {
        const std::size_t row = rows.at(k);
        answers_[row] = new_answers_[k];
        last_steps_[row] = steps_[k];
        if (!std::isnan(signals_[k]) || std::isnan(answer_signals_[row])) {
            answer_signals_[row] = signals_[k];
            answer_steps_[row] = steps_[k];
        }
    }
    // Last: `rows` may be the result of the last call, which this overwrites.
    for (std::size_t k = 0; k < count; ++k) {
        next_[k] = next[k] == kStop ? kStop : last_[static_cast<std::size_t>(next[k])];
    }
    return {next_.data(), count};
}

void StepBatch::enter(std::span<const std::int64_t> tiers, const Rows &rows, std::span<std::int32_t> first_nodes) {
    batch_.enter(tiers, rows, first_nodes);
    for (std::size_t k = 0; k < tiers.size(); ++k) {
        clear(rows.at(k));
        first_nodes[k] = last_[static_cast<std::size_t>(first_nodes[k])];
    }
}

void StepBatch::reset(const Rows &rows) {
    batch_.reset(rows);
    const std::size_t count = rows.given ? rows.size() : capacity();
    for (std::size_t k = 0; k < count; ++k) {
        clear(rows.at(k));
    }
}

void StepBatch::clear(std::size_t row) {
    answers_[row] = -1;
    answer_steps_[row] = last_steps_[row] = kRoot;
    answer_signals_[row] = std::numeric_limits<float>::quiet_NaN();
}

void StepBatch::resume(std::int64_t node, const Rows &rows) {
    check_node(node);
    batch_.check_rows(rows);
    const std::size_t count = rows.given ? rows.size() : capacity();
    for (std::size_t k = 0; k < count; ++k) {
        const std::size_t row = rows.at(k);
        batch_.check_entered(row);
        if (batch_.has_stopped(row) && last_[static_cast<std::size_t>(last_steps_[row])] != node) {
            throw std::invalid_argument("node: expected the one consulted last, " +
                                        text(last_[static_cast<std::size_t>(last_steps_[row])]) + " for row " +
                                        text(row) + ", got " + text(node));
        }
        if (!batch_.has_stopped(row)) {
            throw std::invalid_argument("rows: row " + text(row) + " has not stopped");
        }
    }
    for (std::size_t k = 0; k < count; ++k) {
        const std::array<std::int64_t, 1> row{static_cast<std::int64_t>(rows.at(k))};
        if (batch_.has_stopped(rows.at(k))) { // a row may be named twice
            batch_.resume(last_steps_[rows.at(k)], Rows{{}, row, true});
        }
    }
}

void StepBatch::answer_node(std::span<std::int32_t> out) const {
    std::copy(answers_.begin(), answers_.end(), out.begin());
}

void StepBatch::complain_closed(std::size_t row, std::int32_t node) const {
    const auto which = "row " + text(row);
    batch_.check_entered(row);
    if (batch_.has_stopped(row)) {
        throw std::invalid_argument("rows: " + which +
                                    " has stopped; reset it before it takes a new request, or resume it");
    }
    const std::int32_t step = batch_.last_node(row);
    std::string open;
    for (std::int32_t other = 0; other < count_; ++other) {
        if (step_after(step, other) >= 0) {
            open += (open.empty() ? "" : ", ") + text(other);
        }
    }
    const std::string last = step == kRoot ? "nothing" : "node " + text(last_[static_cast<std::size_t>(step)]);
    throw std::invalid_argument("node: " + text(node) + " is not open to " + which + ", which consulted " + last +
                                " last; open: " + (open.empty() ? "none" : open));
}

} // namespace ttamer
