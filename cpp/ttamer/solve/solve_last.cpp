// Backward induction for any walk without recall: lines, skips and dags. Nothing is carried from node to node, and one
// value a state is all there is.
#include "ttamer/base/levels.hpp"
#include "ttamer/solve/consult.hpp"
#include "ttamer/solve/solve.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>

namespace ttamer {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

class LastWalk {
  public:
    LastWalk(const Model &model, const EdgeCosts &costs)
        : model_(model), costs_(costs), tolerance_(snap_tolerance(model.levels)) {
        std::size_t most = 1;
        for (const auto &losses : model.losses) {
            first_.push_back(value_.size());
            value_.resize(value_.size() + losses.size(), kInfinity);
            most = std::max(most, losses.size());
        }
        result_.next.resize(value_.size(), kStop);
        consulted_.resize(most);
    }

    LastInduction run() {
        const auto &order = model_.topology.order();
        for (auto node = order.rbegin(); node != order.rend(); ++node) {
            solve_node(*node);
        }
        for (const auto &next : model_.topology.successors(kRoot)) {
            keep_better(next, {&result_.value, 1}, {&result_.first_node, 1});
        }
        return std::move(result_);
    }

  private:
    void solve_node(std::int32_t node) {
        const auto at = static_cast<std::size_t>(node);
        const auto &losses = model_.losses[at];
        const std::span<double> value(value_.data() + first_[at], losses.size());
        const std::span<std::int32_t> choice(result_.next.data() + first_[at], losses.size());
        for (const auto &next : model_.topology.successors(node)) {
            keep_better(next, value, choice);
        }
        for (std::size_t s = 0; s < losses.size(); ++s) {
            choice[s] = losses[s] <= value[s] + tolerance_ ? kStop : choice[s];
            value[s] = std::min(losses[s], value[s]);
        }
    }

    // Where consulting `next` is better than what there is. Equal successors go to the lowest node, and these come in
    // ascending order.
    void keep_better(const Successor &next, std::span<double> best, std::span<std::int32_t> choice) {
        const auto edge = static_cast<std::size_t>(next.edge);
        const auto to = static_cast<std::size_t>(next.node);
        if (std::isinf(value_[first_[to]])) {
            return; // no way to an answer, from any of its states
        }
        const std::span<double> values(consulted_.data(),
                                       std::max(model_.transitions[edge].rows(), costs_[edge].size()));
        consult_afresh(model_.transitions[edge], costs_[edge], {value_.data() + first_[to], model_.losses[to].size()},
                       values);
        for (std::size_t s = 0; s < best.size(); ++s) {
            const double value = values[values.size() == 1 ? 0 : s];
            choice[s] = value < best[s] - tolerance_ ? next.node : choice[s];
            best[s] = std::min(value, best[s]);
        }
    }

    const Model &model_;
    const EdgeCosts &costs_;
    double tolerance_;
    std::vector<std::size_t> first_; // of each node's states
    std::vector<double> value_;      // of each state
    std::vector<double> consulted_;
    LastInduction result_{kInfinity, kStop, {}};
};

} // namespace

LastInduction solve_last(const Model &model, const EdgeCosts &weighted_costs) {
    return LastWalk(model, weighted_costs).run();
}

} // namespace ttamer
