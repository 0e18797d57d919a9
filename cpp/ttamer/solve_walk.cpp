// Backward induction over the loss grid for any walk: lines, skips and dags, with and without recall.
#include "ttamer/levels.hpp"
#include "ttamer/solve.hpp"

#include <algorithm>
#include <utility>

namespace ttamer {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

class Walk {
  public:
    Walk(const Model &model, const std::vector<double> &costs, bool recall)
        : model_(model), costs_(costs), recall_(recall), levels_(attainable_levels(model.losses)),
          tolerance_(snap_tolerance(levels_)), columns_(recall ? levels_.size() + 1 : 1),
          ahead_(static_cast<std::size_t>(model.topology.nodes())) {}

    Induction run() {
        const auto &order = model_.topology.order();
        Induction result{0, kStop, std::vector<Matrix>(order.size()),
                         std::vector<std::vector<std::int32_t>>(order.size())};
        for (auto node = order.rbegin(); node != order.rend(); ++node) {
            const auto at = static_cast<std::size_t>(*node);
            continuations(*node, model_.states(*node), result.best[at], result.choice[at]);
            ahead_[at] = value_of_consulting(*node, result.best[at]);
        }
        Matrix value;
        std::vector<std::int32_t> node;
        continuations(kRoot, 1, value, node);
        result.value = value.values.back();
        result.first_node = node.back();
        return result;
    }

  private:
    // Value of the best successor of `from` for each of its states and columns, and which one it is.
    void continuations(std::int32_t from, std::size_t rows, Matrix &best, std::vector<std::int32_t> &choice) const {
        best = Matrix(rows, columns_, kInfinity);
        choice.assign(rows * columns_, kStop);
        for (const auto &next : model_.topology.successors(from)) {
            const auto edge = static_cast<std::size_t>(next.edge);
            const Matrix consult = model_.transitions[edge].times(ahead_[static_cast<std::size_t>(next.node)]);
            for (std::size_t s = 0; s < rows; ++s) {
                const double *value = consult.row(consult.rows == 1 ? 0 : s);
                double *lowest = best.row(s);
                std::int32_t *node = choice.data() + s * columns_;
                for (std::size_t x = 0; x < columns_; ++x) {
                    const double total = costs_[edge] + value[x];
                    // Equal successors go to the lowest node, and these come in ascending order.
                    node[x] = total < lowest[x] - tolerance_ ? next.node : node[x];
                    lowest[x] = std::min(total, lowest[x]);
                }
            }
        }
    }

    // What consulting a node is worth for each state it may show and each X before: stop or go on, whichever is less.
    Matrix value_of_consulting(std::int32_t node, const Matrix &best) const {
        const auto &losses = model_.losses[static_cast<std::size_t>(node)];
        Matrix ahead(losses.size(), columns_);
        for (std::size_t s = 0; s < losses.size(); ++s) {
            double *row = ahead.row(s);
            if (!recall_) {
                row[0] = std::min(losses[s], best.row(s)[0]);
                continue;
            }
            const auto own = static_cast<std::size_t>(rank_of(levels_, losses[s]));
            for (std::size_t x = 0; x < own; ++x) {
                row[x] = std::min(levels_[x], best.row(s)[x]);
            }
            // From the state's own rank on, this node is the best so far: what came before no longer matters.
            std::fill(row + own, row + columns_, std::min(losses[s], best.row(s)[own]));
        }
        return ahead;
    }

    const Model &model_;
    const std::vector<double> &costs_;
    bool recall_;
    std::vector<double> levels_;
    double tolerance_;
    std::size_t columns_;
    std::vector<Matrix> ahead_;
};

} // namespace

Induction solve_walk(const Model &model, const std::vector<double> &weighted_costs, bool recall) {
    return Walk(model, weighted_costs, recall).run();
}

} // namespace ttamer
