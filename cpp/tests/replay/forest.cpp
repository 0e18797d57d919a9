// Forests: batches leave a branch and come back as replay does, whatever the order of the calls.
#include "ttamer/decide/batch.hpp"

#include "check.hpp"
#include "models.hpp"

#include "ttamer/solve/expect.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <vector>

using namespace ttamer;

namespace {

constexpr std::array<std::int64_t, 5> kParents = {-1, 0, 0, 1, -1};

Model branches(std::uint32_t seed) {
    return test::random_model(Topology::forest(kParents), 3, seed);
}

// Every request plays its whole course before the next; each call is for one row.
void batch_is_replay(std::uint32_t seed) {
    const Model model = branches(seed);
    const auto policy = std::make_shared<const Policy>(solve(model, 0.9, true));
    const std::size_t count = 60;
    const auto signals = test::random_signals(count * 5, 3, seed);
    const auto expected = test::replay_all(*policy, signals, model.costs);
    Batch batch(policy, static_cast<std::int64_t>(count), NanSignal::error);
    for (std::size_t row = 0; row < count; ++row) {
        const std::vector<std::int32_t> rows = {static_cast<std::int32_t>(row)};
        std::int32_t node = policy->tables().first_node;
        std::int32_t last = kRoot;
        while (node != kStop) {
            last = node;
            const float signal = signals[row * 5 + static_cast<std::size_t>(node)];
            node = batch.decide(node, std::span(&signal, 1), {.narrow = rows, .wide = {}, .given = true})[0];
        }
        CHECK(last == expected.last_node[row]);
        CHECK(test::answers(batch)[row] == expected.answer_node[row]);
    }
}

void closed_nodes() {
    const auto policy = std::make_shared<const Policy>(solve(branches(1), 0.9, true));
    Batch batch(policy, 2, NanSignal::error);
    const std::vector<float> signals = {0.0F, 0.0F};
    CHECK_THROWS(batch.decide(3, signals, {}), std::invalid_argument, "open: 0, 4");
    CHECK(test::answers(batch)[0] == -1);
    batch.decide(0, signals, {});
    batch.reset({});
    CHECK_THROWS(batch.decide(1, signals, {}), std::invalid_argument, "consulted nothing last; open: 0, 4");
}

void expectations(std::uint32_t seed) {
    const Model model = branches(seed);
    const Policy policy = solve(model, 0.9, true);
    const Expectation expected = expect(model, policy);
    CHECK(std::abs(std::accumulate(expected.stops.begin(), expected.stops.end(), 0.0) - 1) < 1e-9);
    const double worth = 0.9 * expected.loss + 0.1 * expected.cost / model.cost_scale;
    CHECK(std::abs(worth - policy.tables().value) < 0.01);
}

} // namespace

int main() {
    for (std::uint32_t seed = 0; seed < 10; ++seed) {
        batch_is_replay(seed);
    }
    closed_nodes();
    expectations(3);
    CHECK_THROWS(solve(branches(0), 0.5, false), std::invalid_argument, "recall: a forest");
    return test::result();
}
