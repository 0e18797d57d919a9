// Walks: exact probabilities by a forward pass.
#include "ttamer/solve/expect.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <utility>

namespace ttamer {

namespace {

// mass[j] is (K_j, ranks): the probability that j is consulted, found in a state, with the best loss so far at a rank.
// Without recall that rank is the state's own, and one column does.
class Forward {
  public:
    Forward(const Model &model, const Policy &policy)
        : model_(model), policy_(policy), tables_(policy.tables()),
          columns_(tables_.recall ? tables_.levels.size() : 1), mass_(static_cast<std::size_t>(policy.nodes())),
          result_{std::vector<double>(tables_.ranks.size()), std::vector<double>(tables_.ranks.size()), 0, 0} {}

    Expectation run() {
        // Before the first node X is infinite; the highest rank is then as good, since every loss is at most that.
        Matrix start(1, columns_);
        start.values.back() = 1;
        go(kRoot, tables_.first_node, start);
        for (const auto node : model_.topology.order()) {
            if (!mass_[static_cast<std::size_t>(node)].values.empty()) {
                leave(node);
            }
        }
        return std::move(result_);
    }

  private:
    // Requests at `from`, by its states and X, consult `to`.
    void go(std::int32_t from, std::int32_t to, const Matrix &going) {
        const auto edge = static_cast<std::size_t>(policy_.edge_between(from, to));
        double total = 0;
        for (std::size_t s = 0; s < going.rows; ++s) {
            double mass = 0;
            for (std::size_t x = 0; x < columns_; ++x) {
                mass += going.row(s)[x];
            }
            total += mass;
            result_.cost += mass * cost_in(model_.state_costs[edge], s);
        }
        if (total == 0) {
            return;
        }
        const Matrix arriving = model_.transitions[edge].transposed_times(going);
        Matrix &mass = mass_[static_cast<std::size_t>(to)];
        if (mass.values.empty()) {
            mass = Matrix(model_.states(to), columns_);
        }
        for (std::size_t r = 0; r < arriving.rows; ++r) {
            const auto own = tables_.recall ? static_cast<std::size_t>(tables_.ranks[first_state(to) + r]) : 0;
            const double *from_row = arriving.row(r);
            double *row = mass.row(r);
            for (std::size_t x = 0; x < own; ++x) {
                row[x] += from_row[x];
            }
            for (std::size_t x = own; x < columns_; ++x) { // now this node is the best so far
                row[own] += from_row[x];
            }
        }
    }

    void leave(std::int32_t node) {
        Matrix mass = std::move(mass_[static_cast<std::size_t>(node)]);
        std::vector<std::pair<std::int32_t, Matrix>> going;
        for (const auto &next : model_.topology.successors(node)) {
            going.emplace_back(next.node, Matrix(mass.rows, columns_));
        }
        for (std::size_t s = 0; s < mass.rows; ++s) {
            leave_state(node, s, mass.row(s), going);
        }
        for (const auto &[to, matrix] : going) {
            go(node, to, matrix);
        }
    }

    void leave_state(std::int32_t node, std::size_t s, const double *mass,
                     std::vector<std::pair<std::int32_t, Matrix>> &going) {
        const auto number = first_state(node) + s;
        const auto state = static_cast<std::int32_t>(s);
        for (std::size_t x = 0; x < columns_; ++x) {
            if (mass[x] == 0) {
                continue;
            }
            result_.visits[number] += mass[x];
            const std::int32_t rank = tables_.recall ? static_cast<std::int32_t>(x) : tables_.ranks[number];
            const std::int32_t next = policy_.next(node, state, rank);
            if (next == kStop) {
                result_.stops[number] += mass[x];
                result_.loss += mass[x] * tables_.levels[static_cast<std::size_t>(rank)];
                continue;
            }
            for (auto &[to, matrix] : going) {
                if (to == next) {
                    matrix.row(s)[x] = mass[x];
                }
            }
        }
    }

    std::size_t first_state(std::int32_t node) const {
        return static_cast<std::size_t>(tables_.state_offsets[static_cast<std::size_t>(node)]);
    }

    const Model &model_;
    const Policy &policy_;
    const PolicyTables &tables_;
    std::size_t columns_;
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
