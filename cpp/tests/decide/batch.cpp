// Requests in flight: the same decisions however they are cut into calls, and no change where a call is refused.
#include "ttamer/decide/batch.hpp"

#include "check.hpp"
#include "models.hpp"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

using namespace ttamer;

namespace {

using Ints = std::vector<std::int32_t>;
using Longs = std::vector<std::int64_t>;
using Floats = std::vector<float>;
using Shared = std::shared_ptr<const Policy>;

const Rows kAll;

Rows narrow(const Ints &rows) {
    return {.narrow = rows, .wide = {}, .given = true};
}

Rows wide(const Longs &rows) {
    return {.narrow = {}, .wide = rows, .given = true};
}

Ints copy(std::span<const std::int32_t> values) {
    return {values.begin(), values.end()};
}

std::vector<double> losses(const Batch &batch) {
    std::vector<double> out(batch.capacity());
    batch.answer_loss(out);
    return out;
}

// A line that goes on whatever it sees, except from state 0 of a node, whose loss is the least there is.
Shared line_policy(bool observed) {
    const std::vector<double> row{0.25, 0.5, 0.25};
    Model model{Topology::line(4), {}, {}, std::vector<double>(4, 0.0), 1.0, {}, observed};
    for (int j = 0; j < 4; ++j) {
        model.losses.push_back({0.0, 0.75, 0.5});
        model.bin_edges.push_back({1.0F, 2.0F});
        model.transitions.push_back(Transition::dense(1, 3, row));
    }
    prepare(model);
    return std::make_shared<Policy>(solve(model, 0.5, true));
}

void deciding() {
    Batch batch(line_policy(false), 4, NanSignal::error);
    CHECK(batch.capacity() == 4);
    CHECK(copy(batch.decide(0, Floats{1, 0, 2}, kAll)) == Ints({1, kStop, 1}));
    CHECK(test::answers(batch) == Ints({0, 0, 0, -1}));
    CHECK(losses(batch) == std::vector<double>({0.75, 0.0, 0.5, HUGE_VAL}));
    // Equal losses keep the node consulted first; a smaller one replaces it.
    CHECK(copy(batch.decide(Ints{1, 1}, Floats{2, 2}, narrow({0, 2}))) == Ints({2, 2}));
    CHECK(test::answers(batch) == Ints({1, 0, 0, -1}));
    CHECK(copy(batch.decide(2, Floats{0}, wide({2}))) == Ints({kStop}));
    CHECK(test::answers(batch) == Ints({1, 0, 2, -1}));
    CHECK(batch.decide(0, {}, kAll).empty());
    CHECK(batch.decide(Ints{}, {}, narrow({})).empty());
}

void ties_of_observed_losses() {
    Batch batch(line_policy(true), 2, NanSignal::worst);
    batch.decide(0, Floats{1.75F, std::nanf("")}, kAll); // NaN is the worst state: 0.75 as well
    CHECK(losses(batch) == std::vector<double>({0.75, 0.75}));
    batch.decide(1, Floats{1.25F, 1.99F}, kAll);
    CHECK(test::answers(batch) == Ints({1, 1}));
    batch.decide(2, Floats{1.5F, std::nanf("")}, kAll);
    CHECK(test::answers(batch) == Ints({1, 1}));
}

// A node that shows nothing answers only while no other does, or never.
void missing_answers() {
    const float nothing = std::nanf("");
    for (const bool observed : {false, true}) {
        Batch worst(line_policy(observed), 2, NanSignal::worst);
        CHECK(copy(worst.decide(0, Floats{nothing, 2}, kAll)) == Ints({1, 1}));
        CHECK(test::answers(worst) == Ints({0, 0}));
        CHECK(losses(worst) == std::vector<double>({0.75, 0.5}));
        CHECK(copy(worst.decide(1, Floats{1, nothing}, kAll)) == Ints({2, 2}));
        CHECK(test::answers(worst) == Ints({1, 0}));
        CHECK(losses(worst) == std::vector<double>({0.75, 0.5}));

        Batch failed(line_policy(observed), 2, NanSignal::failed);
        CHECK(copy(failed.decide(0, Floats{nothing, nothing}, kAll)) == Ints({1, 1}));
        CHECK(test::answers(failed) == Ints({-1, -1}));
        CHECK(losses(failed) == std::vector<double>({HUGE_VAL, HUGE_VAL}));
        failed.decide(1, Floats{2, nothing}, kAll);
        failed.decide(2, Floats{nothing, nothing}, kAll);
        CHECK(copy(failed.decide(3, Floats{nothing, nothing}, kAll)) == Ints({kStop, kStop}));
        CHECK(test::answers(failed) == Ints({1, -1}));
    }
}

// Node 1 says nothing of its own: what node 0 showed tells its state.
void carried_signals() {
    Model model = test::random_model(Topology::line(3), 3, 5, false);
    model.signal_nodes = {0, 0, 2};
    prepare(model);
    const auto policy = std::make_shared<Policy>(solve(model, 0.99, false));
    model.signal_nodes = {0, 1, 2};
    prepare(model);
    const auto plain = std::make_shared<Policy>(solve(model, 0.99, false));
    CHECK(policy->carries_signals() && !plain->carries_signals());
    const Floats shown{0, 1, 2, 1, 0, 2, 2, 0, 1, 1};
    Batch batch(policy, 10, NanSignal::error);
    Batch told(plain, 10, NanSignal::error);
    for (std::int32_t row = 9; row >= 0; --row) { // rows one by one, in another order than they came
        const Floats one{shown[static_cast<std::size_t>(row)]};
        for (std::int32_t node = 0; node != kStop;) {
            const Ints next = copy(batch.decide(node, node == 1 ? Floats{7} : one, narrow({row})));
            CHECK(copy(told.decide(node, one, narrow({row}))) == next);
            node = next[0];
        }
    }
    CHECK(losses(batch) == losses(told));
    for (const Ints &nodes : {Ints{0, 2, 2}, Ints{0, 0, 0}, Ints{0, -1, 2}, Ints{0, 3, 2}, Ints{0, 1}}) {
        model.signal_nodes = nodes;
        if (nodes == Ints{0, 0, 0}) {
            model.bin_edges[2][0] = 0.5F; // bins that are not shared
        }
        CHECK_THROWS(prepare(model), std::invalid_argument, "signal_nodes: ");
    }
}

void resetting() {
    Batch batch(line_policy(true), 3, NanSignal::error);
    batch.decide(0, Floats{1, 0, 2}, kAll);
    batch.reset(narrow({1}));
    CHECK(test::answers(batch) == Ints({0, -1, 0}));
    batch.reset(wide({2, 0}));
    CHECK(test::answers(batch) == Ints({-1, -1, -1}));
    CHECK(copy(batch.decide(0, Floats{2, 2, 2}, kAll)) == Ints({1, 1, 1}));
    batch.reset(kAll);
    CHECK(losses(batch) == std::vector<double>(3, HUGE_VAL));
    CHECK(copy(batch.decide(0, Floats{0, 0, 0}, kAll)) == Ints({kStop, kStop, kStop}));
}

// Rows 0 and 1 go on after node 0, row 2 has stopped, row 3 is fresh.
Batch in_flight(const Shared &policy) {
    Batch batch(policy, 4, NanSignal::error);
    batch.decide(0, Floats{1, 2, 0}, kAll);
    return batch;
}

Ints finish(Batch &batch) {
    Ints seen = test::answers(batch);
    const auto append = [&](const Ints &more) { seen.insert(seen.end(), more.begin(), more.end()); };
    append(copy(batch.decide(1, Floats{2, 1}, narrow({1, 0}))));
    append(copy(batch.decide(0, Floats{1}, narrow({3}))));
    append(copy(batch.decide(Ints{2, 1, 2}, Floats{1, 2, 2}, wide({0, 3, 1}))));
    append(test::answers(batch));
    return seen;
}

template <typename Error, typename Call> void refuses(Call &&call, const char *part) {
    const auto policy = line_policy(true);
    Batch batch = in_flight(policy);
    Batch twin = in_flight(policy);
    CHECK_THROWS(call(batch), Error, part);
    CHECK(finish(batch) == finish(twin));
}

void errors() {
    using Bad = std::invalid_argument;
    using Range = std::out_of_range;
    const Floats two{1, 1};
    refuses<Range>([&](Batch &b) { b.decide(-1, two, kAll); }, "node: expected 0 to 3, got -1");
    refuses<Range>([&](Batch &b) { b.decide(4, two, kAll); }, "node: expected 0 to 3, got 4");
    refuses<Range>([&](Batch &b) { b.decide(Ints{1, 4}, two, kAll); }, "got 4 at position 1");
    refuses<Bad>([&](Batch &b) { b.decide(Ints{1}, two, kAll); },
                 "node: expected one for each of the 2 signals, got 1");
    refuses<Bad>([&](Batch &b) { b.decide(2, two, kAll); },
                 "node: 2 is not open to row 0, which consulted node 0 last; open: 1");
    refuses<Bad>([&](Batch &b) { b.decide(Ints{1, 1}, two, narrow({0, 3})); },
                 "node: 1 is not open to row 3, which consulted nothing last; open: 0");
    refuses<Bad>([&](Batch &b) { b.decide(1, Floats{1, 1, 1}, kAll); }, "rows: row 2 has stopped");
    refuses<Bad>([&](Batch &b) { b.decide(1, Floats{1, std::nanf("")}, kAll); }, "signals: NaN at position 1 (row 1)");
    refuses<Bad>([&](Batch &b) { b.decide(1, Floats(5, 1), kAll); }, "signals: 5 exceed the batch's capacity of 4");
    refuses<Bad>([&](Batch &b) { b.decide(1, two, narrow({0})); },
                 "rows: expected one for each of the 2 signals, got 1");
    refuses<Bad>([&](Batch &b) { b.decide(1, two, narrow({0, 0})); }, "rows: row 0 is repeated at position 1");
    refuses<Range>([&](Batch &b) { b.decide(1, two, narrow({0, 4})); }, "rows: expected 0 to 3, got 4 at position 1");
    refuses<Range>([&](Batch &b) { b.decide(1, two, wide({0, -1})); }, "rows: expected 0 to 3, got -1 at position 1");
    refuses<Bad>([&](Batch &b) { b.reset(narrow({3, 3})); }, "rows: row 3 is repeated");
    refuses<Range>([&](Batch &b) { b.reset(wide({0, std::int64_t{1} << 40})); }, "rows: expected 0 to 3");
    const auto policy = line_policy(true);
    CHECK_THROWS(Batch(policy, -1, NanSignal::error), Bad, "capacity: expected 0 to");
    CHECK_THROWS(Batch(policy, (std::int64_t{1} << 28) + 1, NanSignal::error), Bad, "capacity: expected 0 to");
}

// Large calls take other loops than single rows; replay takes a third way. All decide alike.
void every_way() {
    constexpr std::size_t count = 300;
    for (const auto &topology : {Topology::line(3), Topology::skip(4), test::some_dag()}) {
        for (std::uint32_t seed = 0; seed < 18; ++seed) {
            const bool observed = seed % 2 == 0;
            const auto model = seed < 6 ? test::random_model(topology, 5, seed, observed)
                                        : test::model_with_probes(topology, 5, seed, observed);
            const auto policy = std::make_shared<Policy>(solve(model, 0.9, seed % 3 != 0));
            const auto nodes = static_cast<std::size_t>(policy->nodes());
            const auto signals = test::random_signals(count * nodes, 5, seed);
            const auto replayed = test::replay_all(*policy, signals, policy->tables().costs);
            Batch whole(policy, count, NanSignal::error);
            Batch single(policy, count, NanSignal::error);
            const auto column = [&](std::int32_t node) {
                Floats values(count);
                for (std::size_t row = 0; row < count; ++row) {
                    values[row] = signals[row * nodes + static_cast<std::size_t>(node)];
                }
                return values;
            };
            const auto first = policy->tables().first_node;
            Ints next = copy(whole.decide(first, column(first), kAll));
            Ints last(count, first);
            Ints alone(count);
            for (std::int32_t row = 0; row < static_cast<std::int32_t>(count); ++row) {
                const auto at = static_cast<std::size_t>(row);
                alone[at] = single.decide(first, Floats{column(first)[at]}, narrow({row}))[0];
                while (alone[at] != kStop) {
                    const auto node = alone[at];
                    last[at] = node;
                    alone[at] = single.decide(node, Floats{column(node)[at]}, narrow({row}))[0];
                }
            }
            while (std::any_of(next.begin(), next.end(), [](auto node) { return node != kStop; })) {
                Ints rows;
                Ints at_nodes;
                Floats seen;
                for (std::size_t row = 0; row < count; ++row) {
                    if (next[row] != kStop) {
                        rows.push_back(static_cast<std::int32_t>(row));
                        at_nodes.push_back(next[row]);
                        seen.push_back(column(next[row])[row]);
                    }
                }
                const auto result = copy(whole.decide(at_nodes, seen, narrow(rows)));
                for (std::size_t k = 0; k < rows.size(); ++k) {
                    next[static_cast<std::size_t>(rows[k])] = result[k];
                }
            }
            CHECK(test::answers(whole) == test::answers(single));
            CHECK(losses(whole) == losses(single));
            CHECK(replayed.answer_node == test::answers(single));
            CHECK(replayed.last_node == last);
        }
    }
}

// Consecutive rows in one call, with every count around the lengths of the blocks they are decided in.
void in_blocks() {
    for (const bool observed : {false, true}) {
        const auto policy = line_policy(observed);
        for (const std::size_t count : {1UL, 7UL, 8UL, 9UL, 31UL, 32UL, 33UL, 128UL, 129UL, 135UL, 136UL, 260UL}) {
            const auto signals = test::random_signals(count, 3, static_cast<std::uint32_t>(count));
            Batch whole(policy, static_cast<std::int64_t>(count) + 1, NanSignal::worst);
            Batch pieces(policy, static_cast<std::int64_t>(count) + 1, NanSignal::worst);
            const auto once = copy(whole.decide(0, signals, kAll));
            for (std::size_t row = 0; row < count; ++row) {
                CHECK(pieces.decide(0, std::span(signals).subspan(row, 1),
                                    narrow({static_cast<std::int32_t>(row)}))[0] == once[row]);
            }
            CHECK(test::answers(whole) == test::answers(pieces));
            CHECK(losses(whole) == losses(pieces));
        }
    }
}

// Rows that are never all at one node, in one call and one by one: the same decisions and answers.
void at_different_nodes(const Shared &policy, std::size_t count, std::uint32_t seed) {
    std::mt19937 random(seed);
    Batch whole(policy, static_cast<std::int64_t>(count), NanSignal::worst);
    Batch single(policy, static_cast<std::int64_t>(count), NanSignal::worst);
    Ints ahead(count, policy->tables().first_node);
    for (int round = 0; round < 6; ++round) {
        Ints rows;
        for (std::size_t row = 0; row < count; ++row) {
            if (ahead[row] != kStop && test::below(random, 4) > 0) {
                rows.push_back(static_cast<std::int32_t>(row));
            }
        }
        if (round % 2 == 0) {
            std::reverse(rows.begin(), rows.end());
        }
        Ints nodes;
        Floats signals;
        for (const auto row : rows) {
            nodes.push_back(ahead[static_cast<std::size_t>(row)]);
            const auto edges = policy->edges_of(nodes.back());
            signals.push_back(
                edges[static_cast<std::size_t>(test::below(random, static_cast<std::int32_t>(edges.size())))]);
        }
        const auto next = copy(whole.decide(nodes, signals, narrow(rows)));
        bool same = true;
        for (std::size_t k = 0; k < rows.size(); ++k) {
            const auto alone = single.decide(nodes[k], std::span(signals).subspan(k, 1), narrow({rows[k]}))[0];
            same = same && next[k] == alone;
            ahead[static_cast<std::size_t>(rows[k])] = alone;
        }
        CHECK(same);
    }
    CHECK(test::answers(whole) == test::answers(single));
    CHECK(losses(whole) == losses(single));
}

// Several blocks, and calls of around as many rows as are decided one after the other.
void at_different_nodes(const Shared &policy, std::uint32_t seed) {
    at_different_nodes(policy, 300, seed);
    at_different_nodes(policy, 21, seed);
}

void at_different_nodes() {
    for (std::uint32_t seed = 0; seed < 6; ++seed) {
        const bool recall = seed % 2 == 0;
        at_different_nodes(std::make_shared<const Policy>(test::large_tables(4, 20000, recall)), seed);
        at_different_nodes(std::make_shared<const Policy>(test::large_tables(20, 50, recall)), seed);
        for (const auto &topology : {Topology::line(6), Topology::skip(5), test::some_dag(), test::joining_dag()}) {
            const auto model = test::random_model(topology, 9, seed, seed % 3 == 0);
            const auto with_probes = test::model_with_probes(topology, 9, seed, seed % 3 == 0);
            at_different_nodes(std::make_shared<const Policy>(solve(with_probes, 0.99, recall)), seed);
            const auto solved = std::make_shared<const Policy>(solve(model, 0.99, recall));
            at_different_nodes(solved, seed);
            at_different_nodes(std::make_shared<const Policy>(test::with_random_intervals(solved->tables(), seed)),
                               seed);
        }
    }
}

} // namespace

int main() {
    deciding();
    ties_of_observed_losses();
    missing_answers();
    carried_signals();
    resetting();
    errors();
    every_way();
    in_blocks();
    at_different_nodes();
    return test::result();
}
