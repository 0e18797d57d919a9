// Walks: exact probabilities by a forward pass.
#include "ttamer/expect.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <utility>

namespace ttamer {

namespace {

// mass[j] is (K_j, ranks): the probability that j is consulted, found in a state, with the best loss so far at a rank.
class Forward {
  public:
    Forward(const Model &model, const Policy &policy)
        : model_(model), policy_(policy), tables_(policy.tables()), ranks_(tables_.levels.size()),
          mass_(static_cast<std::size_t>(policy.nodes())),
          result_{std::vector<double>(tables_.ranks.size()), std::vector<double>(tables_.ranks.size()), 0, 0} {
        for (std::int32_t j = 0; j < policy.nodes(); ++j) {
            mass_[static_cast<std::size_t>(j)] = Matrix(model.states(j), ranks_);
        }
    }

    Expectation run() {
        // Before the first node X is infinite; the highest rank is then as good, since every loss is at most that.
        Matrix start(1, ranks_);
        start.values.back() = 1;
        go(kRoot, tables_.first_node, start);
        for (const auto node : model_.topology.order()) {
            leave(node);
        }
        return std::move(result_);
    }

  private:
    // Requests at `from`, by its states and X, consult `to`.
    void go(std::int32_t from, std::int32_t to, const Matrix &going) {
        const auto edge = static_cast<std::size_t>(policy_.edge_between(from, to));
        double total = 0;
        for (const double mass : going.values) {
            total += mass;
        }
        result_.cost += total * tables_.costs[edge];
        const Matrix arriving = model_.transitions[edge].transposed_times(going);
        for (std::size_t r = 0; r < arriving.rows; ++r) {
            const auto own = static_cast<std::size_t>(tables_.ranks[first_state(to) + r]);
            double *row = mass_[static_cast<std::size_t>(to)].row(r);
            for (std::size_t x = 0; x < ranks_; ++x) {
                row[tables_.recall ? std::min(x, own) : own] += arriving.row(r)[x];
            }
        }
    }

    void leave(std::int32_t node) {
        const auto begin = first_state(node);
        Matrix &mass = mass_[static_cast<std::size_t>(node)];
        std::vector<std::pair<std::int32_t, Matrix>> going;
        for (const auto &next : model_.topology.successors(node)) {
            going.emplace_back(next.node, Matrix(mass.rows, ranks_));
        }
        for (std::size_t s = 0; s < mass.rows; ++s) {
            const auto state = static_cast<std::int32_t>(s);
            const auto entry = policy_.entries(node)[state];
            for (std::size_t x = 0; x < ranks_; ++x) {
                const double here = mass.row(s)[x];
                if (here == 0) {
                    continue;
                }
                result_.visits[begin + s] += here;
                const auto next = policy_.next(node, state, entry, static_cast<std::int32_t>(x));
                if (next == kStop) {
                    result_.stops[begin + s] += here;
                    result_.loss += here * tables_.levels[x];
                    continue;
                }
                for (auto &[to, matrix] : going) {
                    if (to == next) {
                        matrix.row(s)[x] = here;
                    }
                }
            }
        }
        mass = Matrix();
        for (const auto &[to, matrix] : going) {
            go(node, to, matrix);
        }
    }

    std::size_t first_state(std::int32_t node) const {
        return static_cast<std::size_t>(tables_.state_offsets[static_cast<std::size_t>(node)]);
    }

    const Model &model_;
    const Policy &policy_;
    const PolicyTables &tables_;
    std::size_t ranks_;
    std::vector<Matrix> mass_;
    Expectation result_;
};

} // namespace

Expectation expect(const Model &model, const Policy &policy) {
    bool same = model.topology == policy.topology();
    for (std::int32_t j = 0; same && j < policy.nodes(); ++j) {
        same = static_cast<std::int32_t>(model.states(j)) == policy.states(j);
    }
    if (!same) {
        throw std::invalid_argument("model: not of the policy's topology and states");
    }
    return policy.is_forest() ? expect_forest(model, policy) : Forward(model, policy).run();
}

} // namespace ttamer
