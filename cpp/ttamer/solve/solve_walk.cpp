// Backward induction over the loss grid for any walk with recall: lines, skips and dags.
#include "ttamer/solve/solve.hpp"

#include "ttamer/base/levels.hpp"
#include "ttamer/solve/consult.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace ttamer {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Stands for the infinite level of probes, so that products stay finite: far above all that is attained, and added up
// without overflow.
constexpr double kNoLoss = std::numeric_limits<double>::max() / 4;

// Tables are large, and fresh memory costs a page fault every 4 KiB. So those that a solve is done with serve the next
// nodes, and up to 4 MiB of them the next solve of this thread: a sweep over trade-offs asks for the same ones each
// time.
constexpr std::size_t kMostKept = std::size_t{1} << 19;
thread_local std::vector<Buffer> kept;

// Whether the product with a transition is one with dense panels.
bool needs_panels(const Transition &transition) {
    return transition.is_dense() || transition.meta() != nullptr;
}

class Walk {
  public:
    Walk(const Model &model, const EdgeCosts &costs)
        : model_(model), costs_(costs), tolerance_(snap_tolerance(model.levels)), solved_(model.losses.size()),
          panels_(model.losses.size(), false), waiting_(model.losses.size(), 0), answers_(model.losses.size()) {
        result_.intervals.resize(model.losses.size());
        const auto &edges = model.topology.edges();
        for (std::size_t e = 0; e < edges.size(); ++e) {
            if (edges[e].from != kRoot) {
                const auto to = static_cast<std::size_t>(edges[e].to);
                ++waiting_[to];
                panels_[to] = panels_[to] || needs_panels(model.transitions[e]);
            }
        }
        cut_ranks();
        std::swap(tables_, kept);
    }

    Induction run() {
        const auto &order = model_.topology.order();
        for (auto node = order.rbegin(); node != order.rend(); ++node) {
            solve_node(*node);
        }
        result_.value = kInfinity;
        for (const auto &next : model_.topology.successors(kRoot)) {
            const auto edge = static_cast<std::size_t>(next.edge);
            if (!answers_[static_cast<std::size_t>(next.node)]) {
                continue;
            }
            double value = 0;
            consult_afresh(model_.transitions[edge], costs_[edge],
                           solved_[static_cast<std::size_t>(next.node)].value_at_own, {&value, 1});
            result_.first_node = value < result_.value - tolerance_ ? next.node : result_.first_node;
            result_.value = std::min(value, result_.value);
        }
        keep_tables();
        return std::move(result_);
    }

  private:
    // All nodes' ranks are cut alike, so that a block of one is a block of the next.
    void cut_ranks() {
        const bool dense = std::find(panels_.begin(), panels_.end(), true) != panels_.end();
        const std::int32_t width = dense ? kDenseWidth : kCountedWidth;
        for (const auto &ranks : model_.ranks) {
            blocks_.emplace_back(ranks, width);
            table_size_ = std::max(table_size_, blocks_.back().size());
        }
        levels_ = model_.levels;
        levels_.back() = std::min(levels_.back(), kNoLoss);
        const auto whole = static_cast<std::size_t>(width);
        levels_.resize((levels_.size() + whole - 1) / whole * whole, levels_.back());
    }

    void solve_node(std::int32_t node) {
        const auto at = static_cast<std::size_t>(node);
        const auto &own = model_.ranks[at];
        const auto successors = model_.topology.successors(node);
        Gains best{&blocks_[at], own, std::vector<double>(own.size()), take_table()};
        for (auto &from : best.from) {
            ++from; // nothing is better than stopping yet
        }
        choice_.clear();
        answers_[at] = !model_.is_probe(node);
        for (const auto &next : successors) {
            consider(node, next, successors.front().node, best);
            answers_[at] = answers_[at] || answers_[static_cast<std::size_t>(next.node)];
        }
        auto &solved = solved_[at];
        solved.blocks = &blocks_[at];
        for (std::size_t s = 0; s < own.size(); ++s) {
            finish(s, successors.empty() ? kStop : successors.front().node, best, solved, result_.intervals[at]);
        }
        solved.table = std::move(best.table);
        if (panels_[at]) {
            find_active(solved);
        }
        release(node);
    }

    // What consulting `next` gains; where there are several successors, the best of them and which it is.
    void consider(std::int32_t node, const Successor &next, std::int32_t first, Gains &best) {
        const auto edge = static_cast<std::size_t>(next.edge);
        const auto &ahead = solved_[static_cast<std::size_t>(next.node)];
        if (next.node == first) {
            consult_by_rank(model_.transitions[edge], costs_[edge], ahead, levels_, best);
            consult_without_answer(node, next, best);
            return;
        }
        if (choice_.empty()) {
            choice_.assign(best.blocks->states() * levels_.size(), first);
        }
        Gains other{best.blocks, {}, {}, take_table()};
        consult_by_rank(model_.transitions[edge], costs_[edge], ahead, levels_, other);
        consult_without_answer(node, next, other);
        for (std::size_t s = 0; s < best.blocks->states(); ++s) {
            keep_better(s, next.node, other, best);
        }
        tables_.push_back(std::move(other.table));
    }

    // At a probe's own rank, where X is infinite and goes on to be: exactly, which kNoLoss is not made for. Without a
    // way to an answer, going on is worth as little as stopping.
    void consult_without_answer(std::int32_t node, const Successor &next, Gains &gains) const {
        if (!model_.is_probe(node)) {
            return;
        }
        const auto edge = static_cast<std::size_t>(next.edge);
        const auto to = static_cast<std::size_t>(next.node);
        if (answers_[to]) {
            consult_afresh(model_.transitions[edge], costs_[edge], solved_[to].value_at_own, gains.at_own);
        } else {
            std::fill(gains.at_own.begin(), gains.at_own.end(), kNoLoss);
        }
    }

    // Block by block: both are worked out from the beginning of one.
    void keep_better(std::size_t s, std::int32_t node, const Gains &other, Gains &best) {
        const auto &blocks = *best.blocks;
        const std::int32_t own = blocks.own()[s];
        std::int32_t *chosen = choice_.data() + s * levels_.size();
        for (std::size_t block = blocks.of(other.from[s]); blocks.begin(block) < own; ++block) {
            const std::int32_t begin = blocks.begin(block);
            const std::int32_t count = std::min(blocks.width(), own - begin);
            const double *gains = other.row(block, s);
            double *most = best.row(block, s);
            if (begin < best.from[s]) {
                std::copy_n(gains, count, most);
                std::fill_n(chosen + begin, count, node);
                continue;
            }
            for (std::int32_t x = 0; x < count; ++x) {
                // Equal successors go to the lowest node, and these come in ascending order.
                chosen[begin + x] = gains[x] > most[x] + tolerance_ ? node : chosen[begin + x];
                most[x] = std::max(most[x], gains[x]);
            }
        }
        chosen[own] = other.at_own[s] < best.at_own[s] - tolerance_ ? node : chosen[own];
        best.at_own[s] = std::min(best.at_own[s], other.at_own[s]);
        best.from[s] = std::min(best.from[s], other.from[s]);
    }

    // From the gains of going on to where it beats stopping, and to the intervals of the policy.
    void finish(std::size_t s, std::int32_t next, Gains &best, Solved &solved, StateIntervals &out) {
        const std::int32_t own = best.blocks->own()[s];
        const std::int32_t first = first_above(0, best.from[s], s, best);
        solved.first.push_back(std::min(first, own));
        solved.value_at_own.push_back(first <= own ? best.at_own[s] : levels_[static_cast<std::size_t>(own)]);
        complete(s, best, solved);
        std::int32_t x = first_above(tolerance_, first, s, best);
        if (x > 0) {
            out.intervals.push_back({std::min(x - 1, own), kStop});
        }
        const std::size_t start = out.intervals.size();
        for (; x <= own && !choice_.empty(); ++x) {
            const std::int32_t chosen = choice_[s * levels_.size() + static_cast<std::size_t>(x)];
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

    // The lowest rank from x on with a gain above `least`; own + 1 if there is none.
    std::int32_t first_above(double least, std::int32_t x, std::size_t s, const Gains &gains) const {
        const auto &blocks = *gains.blocks;
        const std::int32_t own = blocks.own()[s];
        while (x < own) {
            const std::size_t block = blocks.of(x);
            const std::int32_t begin = blocks.begin(block);
            const std::int32_t end = std::min(begin + blocks.width(), own);
            const double *row = gains.row(block, s);
            for (; x < end; ++x) {
                if (row[x - begin] > least) {
                    return x;
                }
            }
        }
        return x > own || levels_[static_cast<std::size_t>(own)] - gains.at_own[s] > least ? x : own + 1;
    }

    // In the first block and the last in which the state is active, what is not between its first rank and its own.
    void complete(std::size_t s, Gains &best, const Solved &solved) {
        const auto &blocks = *best.blocks;
        const std::int32_t own = blocks.own()[s];
        const std::int32_t first = solved.first[s];
        const std::size_t low = blocks.of(first);
        if (blocks.begin(low) < own) {
            std::fill_n(best.row(low, s), first - blocks.begin(low), 0.0);
        }
        const std::size_t last = blocks.of(own);
        if (blocks.begin(last) < own) {
            double *gains = best.row(last, s);
            for (std::int32_t x = own - blocks.begin(last); x < blocks.width(); ++x) {
                gains[x] = levels_[static_cast<std::size_t>(blocks.begin(last) + x)] - solved.value_at_own[s];
            }
        }
    }

    // Where gains of a block are not all 0. Columns between such ones are cleared: a panel has no gaps.
    void find_active(Solved &solved) const {
        const auto &blocks = *solved.blocks;
        solved.active.assign(blocks.count(), {blocks.states(), 0});
        for (std::size_t s = 0; s < blocks.states(); ++s) {
            auto &active = solved.active[blocks.of(solved.first[s])];
            const std::size_t column = blocks.column(s);
            active = {std::min(active.begin, column), std::max(active.end, column + 1)};
        }
        Columns before{blocks.states(), 0};
        for (std::size_t block = 0; block < blocks.count(); ++block) {
            auto &active = solved.active[block];
            before = {std::min(before.begin, active.begin), std::max(before.end, active.end)};
            const Columns open = blocks.open(block);
            active = {std::max(before.begin, open.begin), std::min(before.end, open.end)};
            active.end = std::max(active.begin, active.end);
        }
        for (std::size_t s = 0; s < blocks.states(); ++s) {
            for (std::size_t block = 0; block < blocks.of(solved.first[s]); ++block) {
                const auto &active = solved.active[block];
                const std::size_t column = blocks.column(s);
                if (column >= active.begin && column < active.end) {
                    std::fill_n(solved.table.data() + blocks.at(block, column), blocks.width(), 0.0);
                }
            }
        }
    }

    // All are as large as the largest has to be, so that any serves any node.
    Buffer take_table() {
        while (!tables_.empty()) {
            Buffer found = std::move(tables_.back());
            tables_.pop_back();
            if (found.size() >= table_size_) {
                return found;
            }
        }
        return Buffer(table_size_);
    }

    // Successors all of whose predecessors are solved give their tables back.
    void release(std::int32_t node) {
        for (const auto &next : model_.topology.successors(node)) {
            const auto at = static_cast<std::size_t>(next.node);
            if (--waiting_[at] == 0) {
                tables_.push_back(std::move(solved_[at].table));
            }
        }
    }

    void keep_tables() {
        for (auto &solved : solved_) {
            tables_.push_back(std::move(solved.table));
        }
        std::size_t total = 0;
        for (auto &table : tables_) {
            if (table.size() > 0 && total + table.size() <= kMostKept) {
                total += table.size();
                kept.push_back(std::move(table));
            }
        }
    }

    const Model &model_;
    const EdgeCosts &costs_;
    double tolerance_;
    std::vector<Solved> solved_;
    Induction result_{0, kStop, {}};
    std::vector<bool> panels_;          // whether a predecessor, other than the root, multiplies the node's table
    std::vector<std::int32_t> waiting_; // predecessors not yet solved, the root left out
    std::vector<bool> answers_;         // whether the node or one that may come after it can answer
    std::vector<RankBlocks> blocks_;
    std::vector<double> levels_; // up to whole blocks; none is infinite
    std::size_t table_size_ = 0;
    std::vector<Buffer> tables_;       // free ones
    std::vector<std::int32_t> choice_; // the best successor by state and rank, of a node that has several
};

} // namespace

Induction solve_walk(const Model &model, const EdgeCosts &weighted_costs) {
    return Walk(model, weighted_costs).run();
}

} // namespace ttamer
