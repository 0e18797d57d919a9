// Replays against a batch that takes one request at a time: states that turn between stopping and going on never, a few
// and many times, signals between, below and above all edges. What is recorded has no NaN.
#include "ttamer/replay/replay.hpp"

#include "check.hpp"
#include "models.hpp"

#include <cmath>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

using namespace ttamer;

namespace {

// The states' numbers, halves between them, and edges.
std::vector<float> some_signals(const Policy &policy, std::size_t requests, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<float> signals;
    for (std::size_t row = 0; row < requests; ++row) {
        for (std::int32_t node = 0; node < policy.nodes(); ++node) {
            const std::int32_t states = policy.states(node);
            const auto edges = policy.edges_of(node);
            float signal = static_cast<float>(test::below(random, 2 * states + 4)) / 2 - 1;
            if (states > 1 && test::below(random, 2) == 0) {
                signal = edges[static_cast<std::size_t>(test::below(random, states - 1))];
            }
            signals.push_back(signal);
        }
    }
    return signals;
}

// What a batch makes of each request, in the words of a replay. Losses are those recorded: the request's number.
void agrees(const std::shared_ptr<const Policy> &policy, std::size_t requests, std::uint32_t seed) {
    const auto nodes = static_cast<std::size_t>(policy->nodes());
    const auto signals = some_signals(*policy, requests, seed);
    const auto &costs = policy->tables().costs;
    std::vector<float> losses(signals.size());
    for (std::size_t k = 0; k < losses.size(); ++k) {
        losses[k] = static_cast<float>(k);
    }
    std::vector<std::int32_t> last(requests);
    std::vector<std::int32_t> answer(requests);
    std::vector<double> cost(requests);
    std::vector<double> loss(requests);
    replay(*policy, {signals, costs, losses}, {last, answer, cost, loss});
    bool same = true;
    for (std::size_t row = 0; row < requests; ++row) {
        Batch batch(policy, 1, NanSignal::error);
        std::int32_t before = kRoot;
        double paid = 0;
        for (std::int32_t node = policy->tables().first_node; node != kStop;) {
            paid += costs[static_cast<std::size_t>(policy->edge_between(before, node))];
            before = node;
            node = batch.decide(node, {&signals[row * nodes + static_cast<std::size_t>(node)], 1}, {})[0];
        }
        const std::int32_t answers = test::answers(batch)[0];
        same = same && last[row] == before && answer[row] == answers && std::abs(cost[row] - paid) < 1e-12 &&
               loss[row] == static_cast<double>(row * nodes + static_cast<std::size_t>(answers));
    }
    CHECK(same);
}

} // namespace

int main() {
    for (const auto &topology : {Topology::line(1), Topology::line(5), Topology::skip(4), test::some_dag(),
                                 test::joining_dag(), test::parting_dag()}) {
        for (const std::size_t states : {std::size_t{1}, std::size_t{2}, std::size_t{9}, std::size_t{70}}) {
            for (std::uint32_t seed = 0; seed < 8; ++seed) {
                const auto model = test::random_model(topology, states, seed, seed % 2 == 0);
                const auto policy = std::make_shared<const Policy>(solve(model, 0.9, seed % 4 < 2));
                const auto with_probes = test::model_with_probes(topology, states, seed, seed % 2 == 0);
                agrees(std::make_shared<const Policy>(solve(with_probes, 0.9, seed % 4 < 2)), 300, seed);
                agrees(policy, 300, seed);
                agrees(std::make_shared<const Policy>(test::with_random_intervals(policy->tables(), seed)), 300, seed);
            }
        }
    }
    // More requests than move together: 2,048 or, where there are many nodes, 1,024.
    for (std::uint32_t seed = 0; seed < 4; ++seed) {
        for (const auto &[topology, requests] :
             {std::pair(Topology::line(5), std::size_t{8193}), std::pair(Topology::line(40), std::size_t{2100}),
              std::pair(Topology::skip(9), std::size_t{4097}), std::pair(test::parting_dag(), std::size_t{8193}),
              std::pair(test::some_dag(), std::size_t{8193})}) {
            const auto model = test::random_model(topology, 6, seed, seed % 2 == 0);
            agrees(std::make_shared<const Policy>(solve(model, 0.99, seed < 2)), requests, seed);
        }
    }
    // More states than have standings.
    for (const bool recall : {false, true}) {
        const auto large = std::make_shared<const Policy>(test::large_tables(3, 22000, recall));
        CHECK(!large->has_standings());
        agrees(large, 8193, 5);
    }
    return test::result();
}
