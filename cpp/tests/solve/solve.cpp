// Solvers against each other: walks, the forest's surrogates, and the forward pass over what they chose.
#include "ttamer/solve/solve.hpp"

#include "check.hpp"
#include "models.hpp"

#include "ttamer/base/levels.hpp"
#include "ttamer/solve/expect.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

using namespace ttamer;

namespace {

bool near(double a, double b) {
    return std::abs(a - b) <= 1e-12;
}

void ranks() {
    CHECK(attainable_levels({{0.5, 0.0}, {0.5, 0.25}}) == std::vector<double>{0.0, 0.25, 0.5});
    const std::vector<double> levels{0.0, 0.25, 0.5};
    CHECK(rank_of(levels, 0.0) == 0 && rank_of(levels, 0.5) == 2);
    CHECK(snap_tolerance(levels) == 1e-12 * levels.back());
    CHECK(snap_tolerance({0.0}) == 1e-12);
    CHECK(snap_tolerance({0.0, 8.0}) == 8e-12);
    CHECK(snap_tolerance({0.0, 8.0, HUGE_VAL}) == 8e-12); // of probes
    std::vector<std::vector<double>> index{{HUGE_VAL, 8.0 + 1e-12, 3.0}};
    snap({0.0, 8.0, HUGE_VAL}, index);
    CHECK(index[0] == std::vector<double>({HUGE_VAL, 8.0, 3.0}));
}

void walk_and_forest_agree_on_lines() {
    for (std::uint32_t seed = 0; seed < 60; ++seed) {
        const auto topology = Topology::line(1 + seed % 5);
        const auto model = seed % 2 == 0 ? test::random_model(topology, 1 + seed % 7, seed)
                                         : test::model_with_probes(topology, 1 + seed % 7, seed);
        const auto walk = solve_walk(model, model.state_costs);
        const auto forest = solve_forest(model, model.state_costs);
        CHECK(near(walk.value, forest.value));
        CHECK(walk.first_node == 0);
        const auto tolerance = snap_tolerance(model.levels);
        for (std::size_t j = 0; j + 1 < model.losses.size(); ++j) {
            for (std::size_t s = 0; s < model.losses[j].size(); ++s) {
                // Whoever holds the state's own loss stops if it is at most the next node's index.
                const auto &index = forest.index[j + 1];
                const auto end = walk.intervals[j].ends[s];
                const bool stops = walk.intervals[j].intervals[end - 1].next == kStop;
                // Nothing after the node can answer: there a probe stops, if somebody asks it, without an answer.
                if (std::isinf(index[0])) {
                    CHECK(stops);
                    continue;
                }
                CHECK(stops == (model.losses[j][s] <= index[index.size() == 1 ? 0 : s] + tolerance));
            }
        }
    }
}

void outside_options() {
    const auto model = test::random_model(Topology::line(3), 4, 7);
    const double alone = solve_forest(model, model.state_costs).value;
    CHECK(near(solve_forest(model, model.state_costs, 0.0).value, 0.0));
    CHECK(near(solve_forest(model, model.state_costs, 1e9).value, alone));
    CHECK(solve_forest(model, model.state_costs, 0.3).value <= std::min(alone, 0.3) + 1e-12);
}

void forgetting_never_helps() {
    for (std::uint32_t seed = 0; seed < 20; ++seed) {
        for (const auto &topology : {Topology::line(4), Topology::skip(4), test::some_dag()}) {
            const auto model = test::random_model(topology, 5, seed);
            CHECK(solve(model, 0.5, true).tables().value <= solve(model, 0.5, false).tables().value + 1e-12);
        }
    }
}

// Where requests stop and what that costs adds up to the value that was promised.
void forward_pass() {
    for (std::uint32_t seed = 0; seed < 20; ++seed) {
        for (const auto &topology : {Topology::line(4), Topology::skip(3), test::some_dag()}) {
            const auto model =
                seed % 2 == 0 ? test::random_model(topology, 4, seed) : test::model_with_probes(topology, 4, seed);
            for (const bool recall : {true, false}) {
                const auto policy = solve(model, 0.75, recall);
                const auto expected = expect(model, policy);
                double stopped = 0;
                double loss = 0;
                for (std::size_t s = 0; s < expected.stops.size(); ++s) {
                    CHECK(expected.stops[s] <= expected.visits[s] + 1e-15);
                    stopped += expected.stops[s];
                    const auto rank = static_cast<std::size_t>(policy.tables().ranks[s]);
                    loss += expected.stops[s] > 0 ? expected.stops[s] * policy.tables().levels[rank] : 0;
                }
                CHECK(near(stopped, 1));
                if (!recall) {
                    CHECK(near(policy.tables().value, 0.75 * loss + 0.25 * expected.cost / model.cost_scale));
                }
            }
        }
    }
    const auto line = test::random_model(Topology::line(3), 4, 1);
    const auto skip = test::random_model(Topology::skip(3), 4, 1);
    CHECK_THROWS(expect(skip, solve(line, 0.5, true)), std::invalid_argument, "model: not of the policy's topology");
    const auto wider = test::random_model(Topology::line(3), 5, 1);
    CHECK_THROWS(expect(wider, solve(line, 0.5, true)), std::invalid_argument, "model: not of the policy's topology");
}

// Rows that sum to a last bit more than 1 must not make a value of 0 negative, nor a policy refuse it.
void free_of_loss() {
    std::vector<double> row;
    for (const double weight : {2.0, 1.0, 1.0, 1.0, 1.0}) {
        row.push_back(weight / 6);
    }
    const std::vector<double> zeros(5, 0.0);
    Model model{Topology::line(2),
                {zeros, {0.25}},
                {Transition::dense(1, 5, row), Transition::dense(1, 1, {1.0})},
                {0.0, 0.0},
                1.0,
                {{1.0F, 2.0F, 3.0F, 4.0F}, {}},
                true};
    prepare(model);
    for (const bool recall : {true, false}) {
        CHECK(solve(model, 0.5, recall).tables().value == 0);
    }
    CHECK(solve_forest(model, model.state_costs).value >= 0);
}

void tradeoffs() {
    const auto model = test::random_model(Topology::line(2), 3, 5);
    for (const double bad :
         {0.0, -1.0, 1.5, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
        CHECK_THROWS(solve(model, bad, true), std::invalid_argument, "tradeoff: expected a number in (0, 1]");
    }
    CHECK(solve(model, 1.0, true).tables().tradeoff == 1.0);
}

void models() {
    const auto good = test::random_model(Topology::line(2), 3, 6);
    const auto refuses = [&](auto change, const char *part) {
        Model model = good;
        change(model);
        CHECK_THROWS(prepare(model), std::invalid_argument, part);
    };
    refuses([](Model &m) { m.losses.pop_back(); }, "losses: expected one for each of the 2 nodes, got 1");
    refuses([](Model &m) { m.bin_edges.pop_back(); }, "bin_edges: expected one for each of the 2 nodes, got 1");
    refuses([](Model &m) { m.costs.push_back(1); }, "costs: expected one for each of the 2 edges, got 3");
    refuses([](Model &m) { m.transitions.pop_back(); }, "transitions: expected one for each of the 2 edges, got 1");
    refuses([](Model &m) { m.costs[0] = -1; }, "costs: expected finite values >= 0");
    refuses([](Model &m) { m.costs[0] = std::nan(""); }, "costs: expected finite values >= 0");
    refuses([](Model &m) { m.state_costs.pop_back(); }, "state_costs: expected one for each of the 2 edges, got 1");
    refuses([](Model &m) { m.state_costs[0] = {1, 2, 3}; }, "costs[0]: expected a number, or one for each of the 1 ");
    refuses([](Model &m) { m.state_costs[1] = {1, 2}; }, "costs[1]: expected a number, or one for each of the 3 ");
    refuses([](Model &m) { m.state_costs[1] = {1, -2, 3}; }, "costs: expected finite values >= 0");
    refuses([](Model &m) { m.cost_scale = 0; }, "cost_scale: expected a finite number > 0");
    refuses([](Model &m) { m.losses[1].clear(); }, "losses[1]: expected at least one state");
    refuses([](Model &m) { m.losses[1][0] = std::nan(""); }, "losses[1]: expected finite values >= 0");
    refuses([](Model &m) { m.losses[1][2] = HUGE_VAL; },
            "losses[1]: expected finite values >= 0, or inf in every state (a probe), got");
    refuses([](Model &m) { m.losses[0][1] = -HUGE_VAL; }, "losses[0]: expected finite values >= 0");
    refuses([](Model &m) { m.losses = {{HUGE_VAL, HUGE_VAL, HUGE_VAL}, {HUGE_VAL, HUGE_VAL, HUGE_VAL}}; },
            "losses: no node can answer");
    refuses([](Model &m) { m.bin_edges[1].pop_back(); }, "bin_edges[1]: expected 2 edges for 3 states, got 1");
    refuses([](Model &m) { m.bin_edges[1][1] = m.bin_edges[1][0]; },
            "bin_edges[1]: expected finite, strictly increasing");
    refuses([](Model &m) { m.bin_edges[0][1] = std::nanf(""); }, "bin_edges[0]: expected finite, strictly increasing");
    refuses([](Model &m) { m.transitions[1] = Transition::dense(2, 3, std::vector<double>(6, 1.0 / 3)); },
            "transitions[1]: expected (3 or 1, 3) for edge 0 -> 1, got (2, 3)");
    refuses([](Model &m) { m.transitions[1] = Transition::dense(3, 2, std::vector<double>(6, 0.5)); },
            "transitions[1]: expected (3 or 1, 3) for edge 0 -> 1, got (3, 2)");
}

// Requests keep away from where they would end without an answer, and from what never leads to a better one.
void dead_ends() {
    const std::vector<Edge> edges{{kRoot, 2}, {2, 0}, {0, 1}, {2, 3}};
    Model model = test::random_model(Topology::dag(4, edges), 3, 1);
    for (const std::size_t node : {std::size_t{2}, std::size_t{0}, std::size_t{1}}) {
        model.losses[node].assign(3, HUGE_VAL);
    }
    prepare(model);
    for (const bool recall : {false, true}) {
        const auto policy = solve(model, 0.5, recall);
        for (std::int32_t state = 0; state < 3; ++state) {
            CHECK(policy.next(2, state, policy.rank(2, state)) == 3);
        }
    }
    model.losses[3].assign(3, HUGE_VAL);
    CHECK_THROWS(prepare(model), std::invalid_argument, "losses: no node can answer");
    const std::vector<std::int64_t> parents{-1, -1};
    Model forest = test::random_model(Topology::forest(parents), 3, 1);
    forest.losses[0].assign(3, HUGE_VAL);
    prepare(forest);
    CHECK(std::isinf(solve_forest(forest, forest.state_costs).index[0][0]));
    CHECK(solve(forest, 0.5, true).tables().first_node == 1);
}

template <typename Entry> bool same(std::span<const Entry> one, std::span<const Entry> other) {
    return std::equal(one.begin(), one.end(), other.begin(), other.end());
}

// A solver's tables are taken as they are; they would pass what is asked of a file's.
void solved_tables_hold() {
    const std::vector<std::int64_t> parents{-1, 0, 0, -1, 3};
    for (const auto &topology : {Topology::line(4), Topology::skip(4), test::some_dag(), Topology::forest(parents)}) {
        for (std::uint32_t seed = 0; seed < 12; ++seed) {
            const bool recall = seed % 3 != 0 || topology.shape() == Shape::forest;
            const bool observed = seed % 2 == 0;
            const std::size_t states = 1 + seed % 6;
            const auto model = seed % 4 < 2 ? test::random_model(topology, states, seed, observed)
                                            : test::model_with_probes(topology, states, seed, observed);
            const Policy solved = solve(model, 0.9, recall);
            const Policy again(solved.tables());
            CHECK(same(solved.all_entries<StandingEntry>(), again.all_entries<StandingEntry>()));
            CHECK(same(solved.all_entries<RankEntry>(), again.all_entries<RankEntry>()));
            CHECK(solved.has_standings() == (topology.shape() != Shape::forest && (!observed || !recall)));
        }
    }
    Model model = test::random_model(Topology::line(3), 3, 1);
    model.costs = {1.5e308, 1.5e308, 1.5e308};
    model.state_costs.clear(); // those of all states
    for (auto &losses : model.losses) {
        losses.assign(losses.size(), 1.5e308);
    }
    prepare(model);
    CHECK_THROWS(solve(model, 0.5, false), std::invalid_argument, "policy: value: expected a finite number >= 0");
}

} // namespace

int main() {
    solved_tables_hold();
    ranks();
    walk_and_forest_agree_on_lines();
    outside_options();
    forgetting_never_helps();
    forward_pass();
    free_of_loss();
    tradeoffs();
    models();
    dead_ends();
    return test::result();
}
