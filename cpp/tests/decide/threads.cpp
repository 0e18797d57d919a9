// One policy, one model, many threads: for ThreadSanitizer, and equal results everywhere.
#include "ttamer/decide/batch.hpp"
#include "ttamer/solve/expect.hpp"

#include "check.hpp"
#include "models.hpp"

#include <memory>
#include <thread>
#include <vector>

using namespace ttamer;

namespace {

constexpr std::size_t kThreads = 4;

std::vector<std::int32_t> serve(const std::shared_ptr<const Policy> &policy, const std::vector<float> &signals) {
    const auto nodes = static_cast<std::size_t>(policy->nodes());
    const std::size_t rows = signals.size() / nodes;
    Batch batch(policy, static_cast<std::int64_t>(rows), NanSignal::error);
    for (std::int32_t row = 0; row < static_cast<std::int32_t>(rows); ++row) {
        const std::vector<std::int32_t> only{row};
        std::int32_t node = policy->tables().first_node;
        while (node != kStop) {
            const auto at = static_cast<std::size_t>(row) * nodes + static_cast<std::size_t>(node);
            node =
                batch.decide(node, std::span(signals).subspan(at, 1), {.narrow = only, .wide = {}, .given = true})[0];
        }
    }
    return test::answers(batch);
}

} // namespace

int main() {
    const Model model = test::random_model(Topology::skip(4), 6, 9);
    const auto policy = std::make_shared<const Policy>(solve(model, 0.9, true));
    const auto signals = test::random_signals(std::size_t{4} * 200, 6, 10);
    const auto served = serve(policy, signals);
    const auto replayed = test::replay_all(*policy, signals, model.costs);
    const auto expected = expect(model, *policy);
    CHECK(served == replayed.answer_node);

    std::vector<char> same(kThreads, 0);
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
            const Policy again = solve(model, 0.9, true);
            same[t] = serve(policy, signals) == served &&
                      test::replay_all(*policy, signals, model.costs).cost == replayed.cost &&
                      expect(model, *policy).stops == expected.stops && again.tables().value == policy->tables().value;
        });
    }
    for (auto &thread : threads) {
        thread.join();
    }
    for (const char one : same) {
        CHECK(one);
    }
    return test::result();
}
