// Tables of a policy: what is refused, and what good ones answer.
#include "ttamer/policy/policy.hpp"

#include "ttamer/policy/row_state.hpp"

#include "check.hpp"
#include "models.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

using namespace ttamer;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Two nodes of two states; node 0 stops up to rank 0 and else goes on.
PolicyTables good_tables() {
    return {.topology = Topology::line(2),
            .recall = true,
            .observed = false,
            .tradeoff = 0.5,
            .value = 0.25,
            .cost_scale = 1.0,
            .first_node = 0,
            .costs = {0.125, 0.25},
            .levels = {0.0, 0.5, 1.0},
            .state_offsets = {0, 2, 4},
            .bin_edges = {0.5F, 0.75F},
            .ranks = {0, 2, 1, 2},
            .interval_offsets = {0, 1, 3, 4, 5},
            .interval_upper = {0, 0, 2, 1, 2},
            .interval_next = {kStop, kStop, 1, kStop, kStop},
            .index_offsets = {},
            .index_ranks = {},
            .signal_nodes = {0, 1}};
}

template <typename Change> void refuses(Change &&change, const char *part) {
    PolicyTables tables = good_tables();
    change(tables);
    CHECK_THROWS(Policy(tables), std::invalid_argument, part);
}

using Tables = PolicyTables;

void numbers() {
    for (const double bad : {0.0, -0.5, 1.5, std::nan("")}) {
        refuses([=](Tables &t) { t.tradeoff = bad; }, "policy: tradeoff: expected a number in (0, 1]");
    }
    for (const double bad : {-0.5, kInfinity, std::nan("")}) {
        refuses([=](Tables &t) { t.value = bad; }, "policy: value: expected a finite number >= 0");
        refuses([=](Tables &t) { t.costs[1] = bad; }, "policy: costs: expected finite values >= 0");
        refuses([=](Tables &t) { t.levels[1] = bad; }, "policy: levels: expected finite, strictly increasing");
    }
    for (const double bad : {0.0, -1.0, kInfinity, std::nan("")}) {
        refuses([=](Tables &t) { t.cost_scale = bad; }, "policy: cost_scale: expected a finite number > 0");
    }
    refuses([](Tables &t) { t.costs.pop_back(); }, "policy: costs: expected one for each edge");
    refuses([](Tables &t) { t.levels.clear(); }, "policy: levels");
    refuses([](Tables &t) { t.levels = {0.0, 0.5, 0.5}; }, "policy: levels");
    refuses([](Tables &t) { t.levels = {-0.5, 0.5, 1.0}; }, "policy: levels");
}

void states() {
    const char *offsets = "policy: state_offsets: expected 3 increasing offsets into ranks";
    refuses([](Tables &t) { t.state_offsets = {}; }, offsets);
    refuses([](Tables &t) { t.state_offsets = {0, 4}; }, offsets);
    refuses([](Tables &t) { t.state_offsets = {1, 2, 4}; }, offsets);
    refuses([](Tables &t) { t.state_offsets = {0, 0, 4}; }, offsets);
    refuses([](Tables &t) { t.state_offsets = {0, 5, 4}; }, offsets);
    refuses([](Tables &t) { t.state_offsets = {0, -1, 4}; }, offsets);
    refuses([](Tables &t) { t.state_offsets = {0, 2, 5}; }, offsets);
    refuses([](Tables &t) { t.bin_edges.pop_back(); }, "policy: bin_edges: expected one less than states");
    refuses([](Tables &t) { t.bin_edges[1] = std::nanf(""); }, "strictly increasing values at node 1");
    refuses([](Tables &t) { t.bin_edges[0] = -HUGE_VALF; }, "strictly increasing values at node 0");
    refuses(
        [](Tables &t) {
            t.state_offsets = {0, 3, 4};
            t.bin_edges = {0.75F, 0.5F};
        },
        "strictly increasing values at node 0");
    refuses([](Tables &t) { t.ranks[0] = -1; }, "policy: ranks: expected positions in levels");
    refuses([](Tables &t) { t.ranks[0] = 3; }, "policy: ranks: expected positions in levels");
    refuses([](Tables &t) { t.first_node = 1; }, "policy: first_node: 1 does not follow the root");
    refuses([](Tables &t) { t.first_node = -1; }, "policy: first_node: -1 does not follow the root");
}

void intervals() {
    refuses([](Tables &t) { t.interval_next.pop_back(); }, "policy: interval_next: expected one for each");
    const char *offsets = "policy: interval_offsets: expected increasing offsets";
    refuses([](Tables &t) { t.interval_offsets = {0, 1, 3, 4}; }, offsets);
    refuses([](Tables &t) { t.interval_offsets = {0, 1, 1, 4, 5}; }, offsets);
    refuses([](Tables &t) { t.interval_offsets = {0, 1, 3, 4, 6}; }, offsets);
    const char *upper = "policy: interval_upper: expected increasing ranks that cover the state at node 0";
    refuses([](Tables &t) { t.interval_upper = {0, 2, 2, 1, 2}; }, upper);
    refuses([](Tables &t) { t.interval_upper = {0, -1, 2, 1, 2}; }, upper);
    refuses([](Tables &t) { t.interval_upper = {0, 0, 1, 1, 2}; }, upper);
    refuses([](Tables &t) { t.interval_upper = {0, 0, 2, 0, 2}; }, "cover the state at node 1");
    refuses([](Tables &t) { t.interval_upper = {0, 0, 2, 1, 3}; }, "policy: interval_upper");
    refuses([](Tables &t) { t.interval_next[2] = 0; }, "policy: interval_next: 0 does not follow at node 0");
    refuses([](Tables &t) { t.interval_next[4] = 1; }, "policy: interval_next: 1 does not follow at node 1");
    refuses([](Tables &t) { t.interval_next[0] = -2; }, "policy: interval_next: -2 does not follow at node 0");
}

// Node 0 cannot answer, and goes on to node 1.
void probes() {
    const auto make = [](auto change) {
        PolicyTables tables = good_tables();
        tables.levels = {0.0, 0.5, kInfinity};
        tables.ranks = {2, 2, 0, 1};
        tables.interval_offsets = {0, 1, 2, 3, 4};
        tables.interval_upper = {2, 2, 0, 1};
        tables.interval_next = {1, 1, kStop, kStop};
        change(tables);
        return Policy(tables);
    };
    const Policy policy = make([](Tables &) {});
    CHECK(policy.is_probe(0) && !policy.is_probe(1));
    CHECK(policy.next(0, 0, kNoRank) == 1);
    const auto refuses = [&](auto change, const char *part) {
        CHECK_THROWS(make(change), std::invalid_argument, part);
    };
    refuses([](Tables &t) { t.interval_next[1] = kStop; }, "policy: node 0 cannot answer, and requests end there");
    refuses([](Tables &t) { t.ranks = {2, 1, 0, 1}; }, "policy: ranks: expected a loss of inf in every state or none");
    refuses(
        [](Tables &t) {
            t.ranks = {2, 2, 2, 2};
            t.interval_upper = {2, 2, 2, 2};
        },
        "policy: node 1 cannot answer, and requests end there");
    refuses([](Tables &t) { t.levels = {kInfinity}; }, "policy: levels: expected finite");
}

void look_ups() {
    const Policy policy(good_tables());
    CHECK(policy.nodes() == 2 && policy.states(0) == 2);
    CHECK(policy.edges_of(1).size() == 1 && policy.edges_of(1)[0] == 0.75F);
    CHECK(policy.edge_between(kRoot, 0) == 0 && policy.edge_between(0, 1) == 1);
    CHECK(policy.edge_between(kRoot, 1) == -1 && policy.edge_between(1, 0) == -1);
    const auto next = [&](std::int32_t node, std::int32_t state, std::int32_t rank) {
        return policy.next(node, state, rank);
    };
    CHECK(next(0, 0, 0) == kStop);
    CHECK(next(0, 1, 0) == kStop && next(0, 1, 1) == 1 && next(0, 1, 2) == 1);
    CHECK(next(1, 1, 2) == kStop);
}

std::int32_t next_by_intervals(const PolicyTables &tables, std::size_t state, std::int32_t rank) {
    auto k = static_cast<std::size_t>(tables.interval_offsets[state]);
    while (tables.interval_upper[k] < rank) {
        ++k;
    }
    return tables.interval_next[k];
}

// Every state of solved policies, consulted by rows with every best so far that can come before: the answer and the
// next node are those that the intervals say.
template <AnyRow Row> void rows_follow_intervals(const Policy &policy, const std::vector<Row> &before) {
    const auto &t = policy.tables();
    for (std::int32_t node = 0; node < policy.nodes(); ++node) {
        for (std::int32_t state = 0; state < policy.states(node); ++state) {
            const auto at = static_cast<std::size_t>(t.state_offsets[static_cast<std::size_t>(node)] + state);
            for (const Row seen : before) {
                if (position_of(seen) == node + 1) { // no node follows itself
                    continue;
                }
                const std::int32_t earlier = best_rank(policy, seen);
                Row row = seen;
                float signal = kNoSignal;
                const std::int32_t next = consult_one(policy, node, state, 0, row, signal);
                if (policy.is_probe(node)) { // what there was stays
                    const std::int32_t known = known_rank(policy, seen);
                    CHECK(next == policy.next(node, state, t.recall ? known : t.ranks[at]));
                    CHECK(known_rank(policy, row) == known);
                    CHECK(answer_of(policy, row) == answer_of(policy, seen));
                    continue;
                }
                const bool keeps = t.recall && earlier <= t.ranks[at];
                CHECK(next == next_by_intervals(t, at, keeps ? earlier : t.ranks[at]));
                CHECK(best_rank(policy, row) == (keeps ? earlier : t.ranks[at]));
                CHECK(answer_of(policy, row) == (keeps ? answer_of(policy, seen) : node));
                CHECK(position_of(row) == (next == kStop ? kStoppedPosition : node + 1));
            }
        }
    }
}

// Rows that consulted the first state of one node, for each state of the nodes that come first.
template <AnyRow Row> std::vector<Row> rows_before(const Policy &policy) {
    std::vector<Row> rows{kFresh<Row>};
    const auto first = policy.topology().order().front();
    for (std::int32_t state = 0; state < policy.states(first); ++state) {
        Row row = kFresh<Row>;
        float signal = kNoSignal;
        consult_one(policy, first, state, 0, row, signal);
        rows.push_back(with_position(row, first + 1)); // also where it stops
    }
    return rows;
}

void rows_follow_intervals(const Policy &policy) {
    policy.has_standings() ? rows_follow_intervals(policy, rows_before<StandingRow>(policy))
                           : rows_follow_intervals(policy, rows_before<RankRow>(policy));
}

void rows_of_solved_policies() {
    for (std::uint32_t seed = 0; seed < 20; ++seed) {
        for (const auto &topology : {Topology::line(3), Topology::skip(4), test::some_dag(), test::joining_dag()}) {
            const bool recall = seed % 4 != 0;
            const bool observed = seed % 3 == 0;
            const auto with_probes = solve(test::model_with_probes(topology, 6, seed, observed), 0.9, recall);
            rows_follow_intervals(with_probes);
            const auto policy = solve(test::random_model(topology, 6, seed, observed), 0.9, recall);
            CHECK(policy.has_standings() == !(recall && observed));
            rows_follow_intervals(policy);
            rows_follow_intervals(Policy(test::with_random_intervals(policy.tables(), seed)));
        }
    }
}

// As many states and nodes as standings can number, and one more.
void the_most_standings() {
    CHECK(Policy(test::large_tables(2, 32766)).has_standings());
    CHECK(!Policy(test::large_tables(5, 13106)).has_standings());
}

} // namespace

int main() {
    numbers();
    states();
    intervals();
    look_ups();
    probes();
    rows_of_solved_policies();
    the_most_standings();
    return test::result();
}
