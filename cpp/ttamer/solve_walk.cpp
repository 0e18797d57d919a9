// Backward induction over the loss grid for any walk: lines, skips and dags, with and without recall.
#include "ttamer/solve.hpp"

#include "ttamer/consult.hpp"
#include "ttamer/levels.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace ttamer {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Tables are large, and fresh memory costs a page fault every 4 KiB. So those that a solve is done with serve the next
// nodes, and up to 4 MiB of them the next solve of this thread: a sweep over trade-offs asks for the same ones each
// time.
constexpr std::size_t kMostKept = std::size_t{1} << 19;
thread_local std::vector<Table> kept;

class Walk {
  public:
    Walk(const Model &model, const std::vector<double> &costs, bool recall)
        : model_(model), costs_(costs), recall_(recall), solved_(model.losses.size()) {
        tolerance_ = snap_tolerance(model.levels);
        std::swap(tables_, kept);
        result_.intervals.resize(model.losses.size());
        waiting_.assign(model.losses.size(), 0);
        for (const auto &edge : model.topology.edges()) {
            waiting_[static_cast<std::size_t>(edge.to)] += edge.from == kRoot ? 0 : 1;
        }
    }

    Induction run() {
        const auto &order = model_.topology.order();
        for (auto node = order.rbegin(); node != order.rend(); ++node) {
            recall_ ? with_recall(*node) : without_recall(*node);
        }
        result_.value = kInfinity;
        for (const auto &next : model_.topology.successors(kRoot)) {
            const double value = consult_afresh(next)[0];
            result_.first_node = value < result_.value - tolerance_ ? next.node : result_.first_node;
            result_.value = std::min(value, result_.value);
        }
        keep_tables();
        return std::move(result_);
    }

  private:
    std::vector<double> consult_afresh(const Successor &next) const {
        const auto edge = static_cast<std::size_t>(next.edge);
        return ttamer::consult_afresh(model_.transitions[edge], costs_[edge],
                                      solved_[static_cast<std::size_t>(next.node)]);
    }

    // The last node consulted answers: nothing is carried from node to node, and one value a state is all there is.
    void without_recall(std::int32_t node) {
        const auto at = static_cast<std::size_t>(node);
        const auto &losses = model_.losses[at];
        std::vector<double> best(losses.size(), kInfinity);
        std::vector<std::int32_t> choice(losses.size(), kStop);
        for (const auto &next : model_.topology.successors(node)) {
            const auto values = consult_afresh(next);
            for (std::size_t s = 0; s < losses.size(); ++s) {
                const double value = values[values.size() == 1 ? 0 : s];
                // Equal successors go to the lowest node, and these come in ascending order.
                choice[s] = value < best[s] - tolerance_ ? next.node : choice[s];
                best[s] = std::min(value, best[s]);
            }
        }
        auto &solved = solved_[at];
        solved.own = model_.ranks[at];
        solved.value_at_own.reserve(losses.size());
        result_.intervals[at].intervals.reserve(losses.size());
        result_.intervals[at].ends.reserve(losses.size());
        for (std::size_t s = 0; s < losses.size(); ++s) {
            const bool stop = losses[s] <= best[s] + tolerance_;
            solved.value_at_own.push_back(std::min(losses[s], best[s]));
            result_.intervals[at].intervals.push_back({solved.own[s], stop ? kStop : choice[s]});
            result_.intervals[at].ends.push_back(s + 1);
        }
    }

    void with_recall(std::int32_t node) {
        const auto at = static_cast<std::size_t>(node);
        const auto &own = model_.ranks[at];
        auto &solved = solved_[at];
        solved.own = own;
        solved.values = take_table(own.size());
        choice_.clear();
        from_.assign(own.begin(), own.end());
        for (auto &from : from_) {
            ++from; // nothing is better than stopping yet
        }
        const auto successors = model_.topology.successors(node);
        for (const auto &next : successors) {
            consider(next, next.node == successors.front().node, solved);
        }
        for (std::size_t s = 0; s < own.size(); ++s) {
            finish(s, successors.empty() ? kStop : successors.front().node, solved, result_.intervals[at]);
        }
        release(node);
    }

    // Values of consulting `next`; where there are several successors, the best of them and which it is.
    void consider(const Successor &next, bool first, Solved &solved) {
        const auto edge = static_cast<std::size_t>(next.edge);
        const auto &ahead = solved_[static_cast<std::size_t>(next.node)];
        const auto consult = [&](std::vector<std::int32_t> &from, Table &values) {
            consult_by_rank(model_.transitions[edge], costs_[edge], ahead, model_.levels, solved.own, from, values);
        };
        if (first) {
            first_next_ = next.node;
            consult(from_, solved.values);
            return;
        }
        if (choice_.empty()) {
            choice_.assign(solved.states() * model_.levels.size(), first_next_);
        }
        Table values = take_table(solved.states());
        std::vector<std::int32_t> from;
        consult(from, values);
        for (std::size_t s = 0; s < solved.states(); ++s) {
            keep_better(s, solved.own[s], next.node, from[s], values.row(s), solved.values.row(s));
        }
        tables_.push_back(std::move(values));
    }

    void keep_better(std::size_t s, std::int32_t own, std::int32_t node, std::int32_t from, const double *value,
                     double *best) {
        std::int32_t *chosen = choice_.data() + s * model_.levels.size();
        for (std::int32_t x = from; x < from_[s]; ++x) {
            best[x] = value[x];
            chosen[x] = node;
        }
        for (std::int32_t x = std::max(from, from_[s]); x <= own; ++x) {
            // Equal successors go to the lowest node, and these come in ascending order.
            chosen[x] = value[x] < best[x] - tolerance_ ? node : chosen[x];
            best[x] = std::min(value[x], best[x]);
        }
        from_[s] = std::min(from_[s], from);
    }

    // From the values of going on to where it beats stopping, and to the intervals of the policy.
    void finish(std::size_t s, std::int32_t next, Solved &solved, StateIntervals &out) {
        const double *level = model_.levels.data();
        const double *best = solved.values.row(s);
        const std::int32_t own = solved.own[s];
        std::int32_t first = from_[s];
        while (first <= own && level[first] <= best[first]) {
            ++first;
        }
        solved.first.push_back(std::min(first, own));
        solved.value_at_own.push_back(first <= own ? best[own] : level[own]);
        std::int32_t x = first;
        while (x <= own && level[x] <= best[x] + tolerance_) {
            ++x;
        }
        if (x > 0) {
            out.intervals.push_back({std::min(x - 1, own), kStop});
        }
        const std::size_t start = out.intervals.size();
        for (; x <= own && !choice_.empty(); ++x) {
            const std::int32_t chosen = choice_[s * model_.levels.size() + static_cast<std::size_t>(x)];
            if (out.intervals.size() > start && out.intervals.back().next == chosen) {
                out.intervals.back().upper = x;
            } else {
                out.intervals.push_back({x, chosen});
            }
        }
        if (x <= own) {
            out.intervals.push_back({own, next});
        }
        out.ends.push_back(out.intervals.size());
    }

    Table take_table(std::size_t rows) {
        for (auto table = tables_.begin(); table != tables_.end(); ++table) {
            if (table->fits(rows, model_.levels.size())) {
                Table found = std::move(*table);
                tables_.erase(table);
                return found;
            }
        }
        return {rows, model_.levels.size()};
    }

    // Successors all of whose predecessors are solved give their tables back.
    void release(std::int32_t node) {
        for (const auto &next : model_.topology.successors(node)) {
            const auto at = static_cast<std::size_t>(next.node);
            if (--waiting_[at] == 0) {
                tables_.push_back(std::move(solved_[at].values));
            }
        }
    }

    void keep_tables() {
        for (auto &solved : solved_) {
            tables_.push_back(std::move(solved.values));
        }
        std::size_t total = 0;
        for (auto &table : tables_) {
            if (table.fits(1, model_.levels.size()) && total + table.size() <= kMostKept) {
                total += table.size();
                kept.push_back(std::move(table));
            }
        }
    }

    const Model &model_;
    const std::vector<double> &costs_;
    bool recall_;
    double tolerance_;
    std::vector<Solved> solved_;
    Induction result_{0, kStop, {}};
    std::vector<std::int32_t> waiting_; // predecessors not yet solved, the root left out
    std::vector<Table> tables_;         // free ones
    // Of the node at work: the lowest rank with values, and the best successor by state and rank if it has several.
    std::vector<std::int32_t> from_;
    std::vector<std::int32_t> choice_;
    std::int32_t first_next_ = kStop;
};

} // namespace

Induction solve_walk(const Model &model, const std::vector<double> &weighted_costs, bool recall) {
    return Walk(model, weighted_costs, recall).run();
}

} // namespace ttamer
