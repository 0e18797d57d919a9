#include "ttamer/consult.hpp"

#include "ttamer/product.hpp"

#include <algorithm>
#include <numeric>
#include <optional>

namespace ttamer {

namespace {

using Ranks = std::vector<std::int32_t>;

// Ranks worked on together.
struct Block {
    std::int32_t begin;
    std::int32_t end;
};

// Gains X - Phi(X) of one state for the ranks of a block.
void fill_gains(const Solved &next, std::size_t state, const std::vector<double> &levels, const Block &block,
                double *out) {
    const std::int32_t first = std::clamp(next.first[state], block.begin, block.end);
    const std::int32_t own = std::clamp(next.own[state], first, block.end);
    std::fill_n(out, first - block.begin, 0.0);
    const double *values = next.values.row(state);
    const double *level = levels.data();
    out -= block.begin;
    for (std::int32_t x = first; x < own; ++x) {
        out[x] = level[x] - values[x];
    }
    for (std::int32_t x = own; x < block.end; ++x) {
        out[x] = level[x] - next.value_at_own[state];
    }
}

// One transition against one solved node, a block of ranks at a time, from the highest down.
class ByRank {
  public:
    ByRank(const Transition &transition, double cost, const Solved &next, const std::vector<double> &levels,
           const Ranks &own, Ranks &from, Table &values)
        : transition_(transition), cost_(cost), next_(next), levels_(levels), own_(own), from_(from), values_(values) {}

    void run(std::int32_t width, bool dense, bool drop) {
        const std::int32_t highest = *std::max_element(own_.begin(), own_.end());
        from_ = own_;
        for (auto &from : from_) {
            ++from; // nothing computed yet
        }
        for (std::size_t s = 0; s < own_.size(); ++s) {
            going_.push_back(s);
        }
        blocks_ = highest / width + 1;
        if (dense) {
            sort_states();
            sum_settled(width);
        }
        for (std::int32_t b = blocks_ - 1; b >= 0; --b) {
            const Block block{b * width, std::min((b + 1) * width, highest + 1)};
            std::vector<std::size_t> rows;
            for (const auto s : going_) {
                if (own_[s] >= block.begin) {
                    rows.push_back(s);
                }
            }
            if (!rows.empty()) {
                dense ? dense_block(block, b, rows) : counted_block(block, rows);
                if (drop) {
                    drop_stopped(block);
                }
            }
        }
    }

  private:
    // For each state and block, how likely the next node's loss is to rank below the block, and its value then: sums
    // over the states whose gain is a straight line throughout the block. These come first in the order.
    void sum_settled(std::int32_t width) {
        const auto blocks = static_cast<std::size_t>(blocks_);
        std::vector<double> values(order_.size());
        for (std::size_t k = 0; k < order_.size(); ++k) {
            values[k] = next_.value_at_own[order_[k]];
        }
        const std::vector<double> ones(order_.size(), 1.0);
        std::vector<std::size_t> ends(blocks);
        for (std::size_t b = 0; b < blocks; ++b) {
            ends[b] = settled_before(static_cast<std::int32_t>(b) * width);
        }
        settled_mass_ = Matrix(transition_.rows(), blocks);
        settled_value_ = Matrix(transition_.rows(), blocks);
        for (std::size_t s = 0; s < transition_.rows(); ++s) {
            const double *p = row_of(s);
            double mass = 0;
            double value = 0;
            std::size_t done = 0;
            for (std::size_t b = 0; b < blocks; ++b) {
                mass += dot(p + done, ones.data() + done, ends[b] - done);
                value += dot(p + done, values.data() + done, ends[b] - done);
                done = ends[b];
                settled_mass_.row(s)[b] = mass;
                settled_value_.row(s)[b] = value;
            }
        }
    }

    // How many states, in order, have settled before rank `begin`.
    std::size_t settled_before(std::int32_t begin) const {
        const auto end =
            std::partition_point(order_.begin(), order_.end(), [&](auto r) { return next_.own[r] <= begin; });
        return static_cast<std::size_t>(end - order_.begin());
    }

    // States of both nodes are sorted by their own rank: what is not settled is a tail, and needs no gathering.
    void sort_states() {
        const auto by_rank = [](const Ranks &own) {
            std::vector<std::size_t> order(own.size());
            std::iota(order.begin(), order.end(), std::size_t{0});
            std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return own[a] < own[b]; });
            return order;
        };
        order_ = by_rank(next_.own);
        if (std::is_sorted(order_.begin(), order_.end())) {
            return; // as it is
        }
        sorted_.emplace(transition_.rows(), order_.size());
        for (std::size_t s = 0; s < transition_.rows(); ++s) {
            const double *p = transition_.dense_row(s);
            double *row = sorted_->row(s);
            for (std::size_t k = 0; k < order_.size(); ++k) {
                row[k] = p[order_[k]];
            }
        }
    }

    const double *row_of(std::size_t s) const { return sorted_ ? sorted_->row(s) : transition_.dense_row(s); }

    void dense_block(const Block &block, std::int32_t number, const std::vector<std::size_t> &rows) {
        const std::size_t settled = settled_before(block.begin);
        const std::size_t open = order_.size() - settled;
        panel_.assign(open * kPanelWidth, 0.0);
        for (std::size_t k = 0; k < open; ++k) {
            fill_gains(next_, order_[settled + k], levels_, block, panel_.data() + k * kPanelWidth);
        }
        const bool shared = transition_.rows() == 1;
        starts_.clear();
        for (std::size_t i = 0; i < (shared ? 1 : rows.size()); ++i) {
            starts_.push_back(row_of(shared ? 0 : rows[i]) + settled);
        }
        sums_.resize(starts_.size() * kPanelWidth);
        multiply_panel(starts_.data(), starts_.size(), open, panel_.data(), sums_.data());
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const std::size_t source = shared ? 0 : rows[i];
            const auto at = static_cast<std::size_t>(number);
            write(block, rows[i], settled_mass_.row(source)[at], settled_value_.row(source)[at],
                  sums_.data() + (shared ? 0 : i) * kPanelWidth);
        }
    }

    void counted_block(const Block &block, const std::vector<std::size_t> &rows) {
        const auto width = static_cast<std::size_t>(block.end - block.begin);
        std::vector<double> shared(width, 0.0);
        std::vector<double> gains(width);
        double shared_mass = 0;
        double shared_value = 0;
        const auto marginal = transition_.marginal();
        for (std::size_t r = 0; r < next_.states(); ++r) {
            add_state(block, r, marginal[r], shared_mass, shared_value, shared.data(), gains.data());
        }
        sums_.resize(width);
        for (const auto s : rows) {
            const auto entries = transition_.counted_row(s);
            double mass = entries.rest * shared_mass;
            double value = entries.rest * shared_value;
            std::fill(sums_.begin(), sums_.end(), 0.0);
            add_scaled(entries.rest, shared.data(), width, sums_.data());
            for (std::size_t k = 0; k < entries.indices.size(); ++k) {
                add_state(block, static_cast<std::size_t>(entries.indices[k]), entries.weights[k], mass, value,
                          sums_.data(), gains.data());
            }
            write(block, s, mass, value, sums_.data());
        }
    }

    void add_state(const Block &block, std::size_t r, double weight, double &mass, double &value, double *sums,
                   double *gains) const {
        if (next_.own[r] <= block.begin) {
            mass += weight;
            value += weight * next_.value_at_own[r];
        } else if (std::min(next_.first[r], next_.own[r]) < block.end) {
            fill_gains(next_, r, levels_, block, gains);
            add_scaled(weight, gains, static_cast<std::size_t>(block.end - block.begin), sums);
        }
    }

    // cost + X - sum of P times gain, for the ranks up to the state's own.
    void write(const Block &block, std::size_t s, double mass, double value, const double *sums) {
        double *row = values_.row(s);
        const std::int32_t end = std::min(block.end, own_[s] + 1);
        for (std::int32_t x = block.begin; x < end; ++x) {
            const double level = levels_[static_cast<std::size_t>(x)];
            const double expected = (level - level * mass + value) - sums[x - block.begin];
            row[x] = cost_ + std::max(expected, 0.0); // rounding alone may go below what no loss can
        }
        from_[s] = block.begin;
    }

    void drop_stopped(const Block &block) {
        const auto begin = static_cast<std::size_t>(block.begin);
        std::erase_if(going_,
                      [&](std::size_t s) { return own_[s] >= block.begin && levels_[begin] <= values_.row(s)[begin]; });
    }

    const Transition &transition_;
    double cost_;
    const Solved &next_;
    const std::vector<double> &levels_;
    const Ranks &own_;
    Ranks &from_;
    Table &values_;
    std::int32_t blocks_ = 0;
    std::vector<std::size_t> going_; // states for which lower ranks are still of interest
    Matrix settled_mass_;
    Matrix settled_value_;
    std::vector<std::size_t> order_; // of the next node's states, by their own rank
    std::optional<Matrix> sorted_;   // the transition with its columns in that order, unless they are
    std::vector<const double *> starts_;
    std::vector<double> panel_;
    std::vector<double> sums_;
};

constexpr auto kDenseWidth = static_cast<std::int32_t>(kPanelWidth);
// Sparse rows are walked once a block; a wider one walks them less often.
constexpr std::int32_t kCountedWidth = 128;

// A state's values are a mixture of two meta-states' values, one of which may stop where the state goes on: so all are
// worked out.
void consult_through_meta(const Transition &transition, double cost, const Solved &next,
                          const std::vector<double> &levels, const Ranks &own, Ranks &from, Table &values) {
    const Transition &meta = *transition.meta();
    Ranks meta_own(meta.rows(), 0);
    for (std::size_t s = 0; s < own.size(); ++s) {
        const auto &[group, share] = transition.membership(s);
        meta_own[group] = std::max(meta_own[group], own[s]);
        if (share > 0) {
            meta_own[group + 1] = std::max(meta_own[group + 1], own[s]);
        }
    }
    Ranks meta_from;
    Table meta_values(meta.rows(), levels.size());
    ByRank(meta, cost, next, levels, meta_own, meta_from, meta_values).run(kDenseWidth, true, false);
    from.assign(own.size(), 0);
    for (std::size_t s = 0; s < own.size(); ++s) {
        const auto &[group, share] = transition.membership(s);
        const double *low = meta_values.row(group);
        const double *high = meta_values.row(share > 0 ? group + 1 : group);
        double *row = values.row(s);
        for (std::int32_t x = 0; x <= own[s]; ++x) {
            row[x] = (1 - share) * low[x] + share * high[x];
        }
    }
}

} // namespace

void consult_by_rank(const Transition &transition, double cost, const Solved &next, const std::vector<double> &levels,
                     const std::vector<std::int32_t> &own, std::vector<std::int32_t> &from, Table &values) {
    if (transition.meta() != nullptr) {
        consult_through_meta(transition, cost, next, levels, own, from, values);
        return;
    }
    const bool dense = transition.is_dense();
    ByRank(transition, cost, next, levels, own, from, values).run(dense ? kDenseWidth : kCountedWidth, dense, true);
}

std::vector<double> consult_afresh(const Transition &transition, double cost, const Solved &next) {
    std::vector<double> out = transition.times(next.value_at_own);
    for (auto &value : out) {
        value += cost;
    }
    return out;
}

} // namespace ttamer
