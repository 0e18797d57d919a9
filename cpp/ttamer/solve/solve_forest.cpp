// The dynamic index on lines and forests from the distributions of surrogate losses.
#include "ttamer/solve/solve.hpp"

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>

namespace ttamer {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// P(Z <= x) for each state of the parent: jumps at `breaks`, right-continuous, 0 before the first. Without breaks Z is
// infinite.
struct Distribution {
    std::vector<double> breaks;
    Matrix below;
};

// For each of the (sorted) points: how many breaks are <= it.
std::vector<std::size_t> pieces(const std::vector<double> &breaks, const std::vector<double> &points) {
    std::vector<std::size_t> found(points.size());
    std::size_t k = 0;
    for (std::size_t x = 0; x < points.size(); ++x) {
        while (k < breaks.size() && breaks[k] <= points[x]) {
            ++k;
        }
        found[x] = k;
    }
    return found;
}

std::vector<double> sorted_union(const std::vector<const std::vector<double> *> &parts) {
    std::vector<double> all;
    for (const auto *part : parts) {
        all.insert(all.end(), part->begin(), part->end());
    }
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    return all;
}

// Distribution of min(Z, everything so far): P(min <= x) = 1 - prod(1 - P). Written as a sum, so that 0 stays 0.
void take_minimum(Matrix &total, const std::vector<double> &points, const Distribution &one) {
    if (one.breaks.empty()) {
        return;
    }
    const auto piece = pieces(one.breaks, points);
    for (std::size_t s = 0; s < total.rows; ++s) {
        const double *below = one.below.row(one.below.rows == 1 ? 0 : s);
        double *sum = total.row(s);
        for (std::size_t x = 0; x < points.size(); ++x) {
            if (piece[x] > 0) {
                const double p = below[piece[x] - 1];
                sum[x] += p - sum[x] * p;
            }
        }
    }
}

class Forest {
  public:
    Forest(const Model &model, const EdgeCosts &costs)
        : model_(model), costs_(costs), kappa_(static_cast<std::size_t>(model.topology.nodes())) {}

    Surrogates run(double outside) {
        const auto &order = model_.topology.order();
        Surrogates result{std::vector<std::vector<double>>(order.size()), 0};
        for (auto node = order.rbegin(); node != order.rend(); ++node) {
            result.index[static_cast<std::size_t>(*node)] = consult(*node);
        }
        result.value = value(outside);
        return result;
    }

  private:
    std::vector<double> consult(std::int32_t node) {
        const auto at = static_cast<std::size_t>(node);
        const auto edge = static_cast<std::size_t>(model_.topology.incoming_edge(node));
        const auto breaks = breaks_below(node);
        if (breaks.empty()) { // neither the node nor any below it can answer: never worth it
            return std::vector<double>(std::max(model_.transitions[edge].rows(), costs_[edge].size()), kInfinity);
        }
        const Matrix below = by_state(model_.transitions[edge].times(reached(node, breaks)), costs_[edge].size());
        auto index = largest_with_gain(breaks, below, costs_[edge]);
        kappa_[at].breaks = sorted_union({&breaks, &index});
        const auto piece = pieces(breaks, kappa_[at].breaks);
        kappa_[at].below = Matrix(below.rows, kappa_[at].breaks.size());
        for (std::size_t s = 0; s < below.rows; ++s) {
            for (std::size_t x = 0; x < piece.size(); ++x) {
                const bool held = kappa_[at].breaks[x] < index[s] || piece[x] == 0;
                kappa_[at].below.row(s)[x] = held ? 0.0 : below.row(s)[piece[x] - 1];
            }
        }
        // The children are not read again; on long lines their tables are the bulk of the memory.
        for (const auto &child : model_.topology.successors(node)) {
            kappa_[static_cast<std::size_t>(child.node)] = {};
        }
        return index;
    }

    std::vector<double> breaks_below(std::int32_t node) const {
        std::vector<const std::vector<double> *> parts;
        if (node != kRoot && !model_.is_probe(node)) {
            parts.push_back(&model_.losses[static_cast<std::size_t>(node)]);
        }
        for (const auto &child : model_.topology.successors(node)) {
            parts.push_back(&kappa_[static_cast<std::size_t>(child.node)].breaks);
        }
        return sorted_union(parts);
    }

    // P(Y <= x) given the node's own state, where Y = min(R, min over children of kappa).
    Matrix reached(std::int32_t node, const std::vector<double> &breaks) const {
        const auto &losses = model_.losses[static_cast<std::size_t>(node)];
        Matrix total(losses.size(), breaks.size());
        for (const auto &child : model_.topology.successors(node)) {
            take_minimum(total, breaks, kappa_[static_cast<std::size_t>(child.node)]);
        }
        for (std::size_t r = 0; r < losses.size(); ++r) {
            const auto own = std::lower_bound(breaks.begin(), breaks.end(), losses[r]) - breaks.begin();
            std::fill(total.row(r) + own, total.row(r) + total.columns, 1.0);
        }
        return total;
    }

    // A row for each state where costs differ by state, though what is shown may not.
    static Matrix by_state(Matrix below, std::size_t states) {
        if (below.rows >= states) {
            return below;
        }
        Matrix rows(states, below.columns);
        for (std::size_t s = 0; s < states; ++s) {
            std::copy_n(below.row(0), below.columns, rows.row(s));
        }
        return rows;
    }

    // The largest x with E[(x - Y)_+] <= cost, for every row of P(Y <= x).
    static std::vector<double> largest_with_gain(const std::vector<double> &breaks, const Matrix &below,
                                                 std::span<const double> costs) {
        std::vector<double> index(below.rows);
        for (std::size_t s = 0; s < below.rows; ++s) {
            const double *row = below.row(s);
            const double cost = cost_in(costs, s);
            double gain = 0;
            std::size_t k = 0;
            for (; k + 1 < breaks.size(); ++k) {
                const double next = gain + row[k] * (breaks[k + 1] - breaks[k]);
                if (next > cost) {
                    break;
                }
                gain = next;
            }
            index[s] = breaks[k] + (cost - gain) / row[k];
        }
        return index;
    }

    // E[min(outside, Z)] is the integral of P(Z > x) from 0 to outside.
    double value(double outside) const {
        const auto breaks = breaks_below(kRoot);
        Matrix below(1, breaks.size());
        for (const auto &root : model_.topology.successors(kRoot)) {
            take_minimum(below, breaks, kappa_[static_cast<std::size_t>(root.node)]);
        }
        double total = std::min(breaks.front(), outside);
        for (std::size_t x = 0; x + 1 < breaks.size(); ++x) {
            // Rounding may leave a probability above 1.
            const double above = std::max(1 - below.values[x], 0.0);
            total += above * (std::min(breaks[x + 1], outside) - std::min(breaks[x], outside));
        }
        return total;
    }

    const Model &model_;
    const EdgeCosts &costs_;
    std::vector<Distribution> kappa_;
};

} // namespace

Surrogates solve_forest(const Model &model, const EdgeCosts &weighted_costs, double outside) {
    return Forest(model, weighted_costs).run(outside);
}

} // namespace ttamer
