// Forests: the mean over requests drawn from the model.
#include "ttamer/solve/expect.hpp"

#include "ttamer/policy/open_nodes.hpp"
#include "ttamer/policy/row_state.hpp"

#include <cstddef>
#include <cstdint>
#include <utility>

namespace ttamer {

namespace {

// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): neighbouring numbers give unrelated ones.
std::uint64_t hashed(std::uint64_t value) {
    value = (value + 1) * 0x9E3779B97F4A7C15U;
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9U;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBU;
    return value ^ (value >> 31);
}

class Simulation {
  public:
    Simulation(const Model &model, const Policy &policy)
        : model_(model), policy_(policy), open_(static_cast<std::size_t>(policy.nodes())), states_(open_.size()),
          result_{std::vector<double>(policy.tables().ranks.size()), std::vector<double>(policy.tables().ranks.size()),
                  0, 0} {}

    Expectation run() {
        for (int request = 0; request < kSimulated; ++request) {
            run_one(static_cast<std::uint64_t>(request));
        }
        for (auto *share : {&result_.visits, &result_.stops}) {
            for (auto &value : *share) {
                value /= kSimulated;
            }
        }
        result_.cost /= kSimulated;
        result_.loss /= kSimulated;
        return std::move(result_);
    }

  private:
    void run_one(std::uint64_t request) {
        open_roots(policy_, open_.data());
        RankRow row = kFresh<RankRow>;
        float unused = 0;
        std::int32_t node = policy_.tables().first_node;
        while (true) {
            const auto at = static_cast<std::size_t>(node);
            const std::int32_t state = draw(node, request);
            states_[at] = state;
            const auto number = static_cast<std::size_t>(policy_.tables().state_offsets[at] + state);
            result_.visits[number] += 1;
            result_.cost += cost(node);
            consult_one(policy_, node, state, 0, row, unused);
            node = next_branch(policy_, node, state, rank_of(row), row, open_.data());
            if (node == kStop) {
                result_.stops[number] += 1;
                result_.loss += policy_.tables().levels[static_cast<std::size_t>(rank_of(row))];
                return;
            }
        }
    }

    // Of consulting the node given its parent's state.
    double cost(std::int32_t node) const {
        const auto edge = static_cast<std::size_t>(model_.topology.incoming_edge(node));
        const auto parent = model_.topology.edges()[edge].from;
        const auto state = parent == kRoot ? 0 : states_[static_cast<std::size_t>(parent)];
        return cost_in(model_.state_costs[edge], static_cast<std::size_t>(state));
    }

    // A state of the node given that of its parent.
    std::int32_t draw(std::int32_t node, std::uint64_t request) {
        const auto edge = static_cast<std::size_t>(model_.topology.incoming_edge(node));
        const auto parent = model_.topology.edges()[edge].from;
        const auto &transition = model_.transitions[edge];
        const auto row = static_cast<std::size_t>(
            parent == kRoot || transition.rows() == 1 ? 0 : states_[static_cast<std::size_t>(parent)]);
        // A number of its own for each request and node: whatever policy asks, the request is the same.
        const std::uint64_t number = hashed(request * open_.size() + static_cast<std::uint64_t>(node));
        const double point = static_cast<double>(number >> 11) * 0x1.0p-53;
        return static_cast<std::int32_t>(transition.state_at(row, point));
    }

    const Model &model_;
    const Policy &policy_;
    std::vector<std::int32_t> open_;
    std::vector<std::int32_t> states_;
    Expectation result_;
};

} // namespace

Expectation expect_forest(const Model &model, const Policy &policy) {
    return Simulation(model, policy).run();
}

} // namespace ttamer
