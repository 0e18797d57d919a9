#include "ttamer/solve/consult.hpp"

#include "ttamer/base/dispatch.hpp"
#include "ttamer/base/product.hpp"

#include <algorithm>
#include <numeric>
#include <optional>
#include <span>

namespace ttamer {

namespace {

static_assert(kDenseWidth == kPanelWidth && kDenseWidth % kRowGroup == 0 && kCountedWidth % kRowGroup == 0);

TTAMER_INLINE double going_on(double cost, double level, const Sums &settled, double sum) {
    const double expected = (level - level * settled.mass + settled.value) - sum;
    return cost + std::max(expected, 0.0); // rounding alone may go below what no loss can
}

TTAMER_CLONES void fill_gains(double cost, Sums settled, const double *TTAMER_RESTRICT levels,
                              const double *TTAMER_RESTRICT sums, std::size_t width, double *TTAMER_RESTRICT gains) {
    for (std::size_t x = 0; x < width; ++x) {
        gains[x] = levels[x] - going_on(cost, levels[x], settled, sums[x]);
    }
}

// One transition against one solved node, a block of ranks at a time, from the highest down.
class ByRank {
  public:
    ByRank(const Transition &transition, std::span<const double> costs, const Solved &next,
           const std::vector<double> &levels, Gains &out)
        : transition_(transition), costs_(costs), next_(next), ahead_(*next.blocks), levels_(levels), out_(out),
          own_(out.blocks->own()), width_(static_cast<std::size_t>(ahead_.width())) {}

    // `drop`: rows on which a block ended the work are left out of the lower ones.
    void run(bool drop) {
        out_.at_own.resize(own_.size());
        out_.from.resize(own_.size());
        going_.resize(own_.size());
        std::iota(going_.begin(), going_.end(), std::size_t{0});
        if (transition_.is_dense()) {
            sort_columns();
            sum_settled();
        }
        for (std::size_t block = out_.blocks->count(); block-- > 0;) {
            const std::int32_t begin = ahead_.begin(block);
            rows_.clear();
            for (const auto s : going_) {
                if (own_[s] >= begin) {
                    rows_.push_back(s);
                }
            }
            if (!rows_.empty()) {
                transition_.is_dense() ? dense_block(block) : counted_block(block);
                if (drop) {
                    std::erase_if(going_, [&](std::size_t s) { return own_[s] >= begin && stops(block, s); });
                }
            }
        }
    }

  private:
    // The transition's columns in the order of the next node's.
    void sort_columns() {
        const auto order = ahead_.order();
        if (order.empty()) {
            return; // as they are
        }
        sorted_.emplace(transition_.rows(), order.size());
        for (std::size_t s = 0; s < transition_.rows(); ++s) {
            const double *p = transition_.dense_row(s);
            double *row = sorted_->row(s);
            for (std::size_t column = 0; column < order.size(); ++column) {
                row[column] = p[order[column]];
            }
        }
    }

    const double *row_of(std::size_t s) const { return sorted_ ? sorted_->row(s) : transition_.dense_row(s); }

    // For each state and block, how likely the next node's state is to have settled there, and its value then: the
    // gain of such a state is a straight line throughout the block.
    void sum_settled() {
        std::vector<double> values(ahead_.states());
        for (std::size_t s = 0; s < values.size(); ++s) {
            values[ahead_.column(s)] = next_.value_at_own[s];
        }
        std::vector<Columns> pieces;
        for (std::size_t block = 0; block <= ahead_.count(); ++block) {
            pieces.push_back(ahead_.settling(block));
        }
        settled_.resize(transition_.rows() * pieces.size());
        for (std::size_t s = 0; s < transition_.rows(); ++s) {
            // Blocks above the state's own rank are not asked for.
            const std::size_t needed = is_shared() ? pieces.size() : std::min(ahead_.of(own_[s]) + 1, pieces.size());
            kernels_.running_sums(row_of(s), values.data(), std::span(pieces).first(needed),
                                  settled_.data() + s * pieces.size());
        }
    }

    bool is_shared() const { return transition_.rows() == 1; }

    void dense_block(std::size_t block) {
        const std::size_t pieces = ahead_.count() + 1;
        const std::size_t piece = std::min(block, ahead_.count());
        const Columns active = block < ahead_.count() ? next_.active[block] : Columns{0, 0};
        const double *panel = active.count() > 0 ? next_.table.data() + ahead_.at(block, active.begin) : nullptr;
        const double *starts[kPanelRows];
        double sums[kPanelRows * kPanelWidth];
        std::size_t done = 0;
        while (done < rows_.size()) {
            const std::size_t count = std::min(kPanelRows, rows_.size() - done);
            const std::size_t needed = is_shared() ? 1 : count;
            for (std::size_t i = 0; i < needed; ++i) {
                starts[i] = row_of(is_shared() ? 0 : rows_[done + i]) + active.begin;
            }
            kernels_.multiply_panel(starts, needed, active.count(), panel, sums);
            for (std::size_t i = 0; i < count; ++i) {
                const std::size_t s = rows_[done + i];
                write(block, s, settled_[(is_shared() ? 0 : s) * pieces + piece],
                      sums + (is_shared() ? 0 : i) * kPanelWidth);
            }
            done += count;
        }
    }

    void counted_block(std::size_t block) {
        std::vector<double> shared(width_);
        std::vector<double> sums(width_);
        find_gains(block);
        clear_terms();
        const auto marginal = transition_.marginal();
        for (std::size_t r = 0; r < marginal.size(); ++r) {
            add_term(block, r, marginal[r]);
        }
        kernels_.add_rows(terms_, weights_.data(), width_, shared.data());
        const Sums shared_settled = settled_now_;
        for (const auto s : rows_) {
            const auto entries = transition_.counted_row(s);
            clear_terms();
            settled_now_ = {entries.rest * shared_settled.mass, entries.rest * shared_settled.value};
            terms_.push_back(shared.data());
            weights_.push_back(entries.rest);
            for (std::size_t k = 0; k < entries.indices.size(); ++k) {
                add_term(block, static_cast<std::size_t>(entries.indices[k]), entries.weights[k]);
            }
            kernels_.add_rows(terms_, weights_.data(), width_, sums.data());
            write(block, s, settled_now_, sums.data());
        }
    }

    // Where the gains of each of the next node's states stand; null where it is settled or gains nothing.
    void find_gains(std::size_t block) {
        const std::int32_t begin = ahead_.begin(block);
        const std::int32_t end = begin + ahead_.width();
        gains_.assign(ahead_.states(), nullptr);
        for (std::size_t r = 0; r < gains_.size(); ++r) {
            if (ahead_.own()[r] > begin && next_.first[r] < end) {
                gains_[r] = next_.table.data() + ahead_.at(block, ahead_.column(r));
            }
        }
    }

    void clear_terms() {
        terms_.clear();
        weights_.clear();
        settled_now_ = {0, 0};
    }

    void add_term(std::size_t block, std::size_t r, double weight) {
        if (gains_[r] != nullptr) {
            terms_.push_back(gains_[r]);
            weights_.push_back(weight);
        } else if (ahead_.own()[r] <= ahead_.begin(block)) {
            settled_now_.mass += weight;
            settled_now_.value += weight * next_.value_at_own[r];
        }
    }

    // cost + X - sum of P times gain, for the ranks up to the state's own.
    void write(std::size_t block, std::size_t s, const Sums &settled, const double *sums) {
        const std::int32_t begin = ahead_.begin(block);
        const double *level = levels_.data() + begin;
        const double cost = cost_in(costs_, s);
        const std::int32_t own = own_[s] - begin;
        if (own < ahead_.width()) {
            out_.at_own[s] = going_on(cost, level[own], settled, sums[own]);
        }
        if (own > 0) { // else the state has settled
            fill_gains(cost, settled, level, sums, width_, out_.row(block, s));
        }
        out_.from[s] = begin;
    }

    bool stops(std::size_t block, std::size_t s) const {
        const std::int32_t begin = ahead_.begin(block);
        return own_[s] == begin ? levels_[static_cast<std::size_t>(begin)] <= out_.at_own[s]
                                : out_.row(block, s)[0] <= 0;
    }

    const ProductKernels &kernels_ = product_kernels();
    const Transition &transition_;
    std::span<const double> costs_;
    const Solved &next_;
    const RankBlocks &ahead_;
    const std::vector<double> &levels_;
    Gains &out_;
    std::span<const std::int32_t> own_;
    std::size_t width_;
    std::vector<std::size_t> going_; // states for which lower ranks are still of interest
    std::vector<std::size_t> rows_;  // those of them that the block at work concerns
    // Dense transitions.
    std::optional<Matrix> sorted_; // with the columns in order, unless they are
    std::vector<Sums> settled_;    // by row and block
    // Counted ones, in the block at work.
    std::vector<const double *> gains_;
    std::vector<const double *> terms_;
    std::vector<double> weights_;
    Sums settled_now_{0, 0};
};

// A state's values are a mixture of two meta-states' values, one of which may stop where the state goes on: so all are
// worked out.
void consult_through_meta(const Transition &transition, std::span<const double> costs, const Solved &next,
                          const std::vector<double> &levels, Gains &out) {
    const Transition &meta = *transition.meta();
    const auto own = out.blocks->own();
    const std::int32_t width = out.blocks->width();
    std::vector<std::int32_t> meta_own(meta.rows(), 0);
    for (std::size_t s = 0; s < own.size(); ++s) {
        const auto &[group, share] = transition.membership(s);
        meta_own[group] = std::max(meta_own[group], own[s]);
        if (share > 0) {
            meta_own[group + 1] = std::max(meta_own[group + 1], own[s]);
        }
    }
    const RankBlocks meta_blocks(meta_own, width);
    Gains found{&meta_blocks, {}, {}, Buffer(meta_blocks.size())};
    // Costs are those of states: what they share of their meta-states comes without.
    constexpr double kNothing = 0;
    ByRank(meta, {&kNothing, 1}, next, levels, found).run(false);
    const auto at_rank = [&](std::size_t group, std::int32_t x) {
        const double level = levels[static_cast<std::size_t>(x)];
        return x == meta_own[group] ? found.at_own[group] : level - found.row(meta_blocks.of(x), group)[x % width];
    };
    out.from.assign(own.size(), 0);
    out.at_own.resize(own.size());
    for (std::size_t s = 0; s < own.size(); ++s) {
        const auto &[group, share] = transition.membership(s);
        const std::size_t above = share > 0 ? group + 1 : group;
        const double cost = cost_in(costs, s);
        out.at_own[s] = cost + (1 - share) * at_rank(group, own[s]) + share * at_rank(above, own[s]);
        for (std::size_t block = 0; out.blocks->begin(block) < own[s]; ++block) {
            const double *low = found.row(block, group);
            const double *high = found.row(block, above);
            double *gains = out.row(block, s);
            for (std::int32_t x = 0; x < width; ++x) {
                gains[x] = (1 - share) * low[x] + share * high[x] - cost;
            }
        }
    }
}

} // namespace

void consult_by_rank(const Transition &transition, std::span<const double> costs, const Solved &next,
                     const std::vector<double> &levels, Gains &out) {
    if (transition.meta() != nullptr) {
        consult_through_meta(transition, costs, next, levels, out);
        return;
    }
    ByRank(transition, costs, next, levels, out).run(true);
}

void consult_afresh(const Transition &transition, std::span<const double> costs, std::span<const double> value_at_own,
                    std::span<double> out) {
    transition.times(value_at_own, out.first(transition.rows()));
    if (transition.rows() < out.size()) {
        std::fill(out.begin() + 1, out.end(), out[0]);
    }
    for (std::size_t s = 0; s < out.size(); ++s) {
        out[s] += cost_in(costs, s);
    }
}

} // namespace ttamer
