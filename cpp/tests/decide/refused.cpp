// Large calls that are refused late, after some of their rows have been consulted: nothing has changed then, the result
// of the call before included, and the message is the one a small call gets.
#include "ttamer/decide/batch.hpp"

#include "check.hpp"
#include "models.hpp"

#include <cmath>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <vector>

using namespace ttamer;

namespace {

using Ints = std::vector<std::int32_t>;
using Floats = std::vector<float>;

constexpr std::int32_t kRequests = 400; // several blocks
constexpr std::int32_t kFresh = 3;      // rows that have consulted nothing

// A line that goes on whatever it sees: consulting the later nodes costs nothing, and they may do better.
std::shared_ptr<const Policy> going_on(bool observed) {
    Model model{Topology::line(3), {}, {}, std::vector<double>(3, 0.0), 1.0, {}, observed};
    for (int j = 0; j < 3; ++j) {
        model.losses.push_back({0.25 / (j + 1), 0.75, 0.5});
        model.bin_edges.push_back({1.0F, 2.0F});
        model.transitions.push_back(Transition::dense(1, 3, {0.25, 0.5, 0.25}));
    }
    prepare(model);
    return std::make_shared<Policy>(solve(model, 0.5, true));
}

// Signals of a random state each, all as far above its edge: where losses are observed and equal, the smaller answers.
Floats random_signals(float above, std::uint32_t seed) {
    Floats signals = test::random_signals(kRequests, 3, seed);
    for (float &signal : signals) {
        signal += above;
    }
    return signals;
}

// All but the last rows have consulted node 0; the result says node 1 for each of them.
struct Flight {
    Batch batch;
    std::span<const std::int32_t> result;

    explicit Flight(const std::shared_ptr<const Policy> &policy)
        : batch(policy, kRequests + kFresh, NanSignal::error), result(batch.decide(0, random_signals(0.5F, 1), {})) {}

    // All that can be seen: the result, the answers, and what every row does then.
    Ints rest() {
        Ints seen(result.begin(), result.end());
        const auto add = [&](std::span<const std::int32_t> more) { seen.insert(seen.end(), more.begin(), more.end()); };
        add(test::answers(batch));
        add(batch.decide(1, random_signals(0.25F, 2), {}));
        add(test::answers(batch));
        add(batch.decide(2, random_signals(0.125F, 3), {}));
        add(test::answers(batch));
        return seen;
    }
};

Ints every_row() {
    Ints rows(kRequests);
    std::iota(rows.rbegin(), rows.rend(), 0);
    return rows;
}

template <typename Error, typename Nodes>
void refuses(const Nodes &nodes, const Ints &rows, const Floats &signals, const char *part) {
    for (const bool observed : {false, true}) {
        const auto policy = going_on(observed);
        const std::vector<std::int64_t> wide(rows.begin(), rows.end());
        for (const Rows &named :
             {Rows{.narrow = rows, .wide = {}, .given = true}, Rows{.narrow = {}, .wide = wide, .given = true}}) {
            Flight flight(policy);
            Flight twin(policy);
            CHECK_THROWS(flight.batch.decide(nodes, signals, named), Error, part);
            CHECK(flight.rest() == twin.rest());
        }
    }
}

void one_node() {
    using Bad = std::invalid_argument;
    const Floats signals(kRequests, 1.0F);
    auto rows = every_row();
    rows[390] = rows[10]; // consulted by then, and put back
    refuses<Bad>(1, rows, signals, "rows: row 389 is repeated at position 390");
    rows = every_row();
    rows[300] = rows[299]; // brought together with it
    refuses<Bad>(1, rows, signals, "rows: row 100 is repeated at position 300");
    rows = every_row();
    rows[350] = kRequests; // has consulted nothing
    refuses<Bad>(1, rows, signals, "node: 1 is not open to row 400, which consulted nothing last; open: 0");
    rows = every_row();
    rows[399] = kRequests + kFresh;
    refuses<std::out_of_range>(1, rows, signals, "rows: expected 0 to 402, got 403 at position 399");
    Floats with_nan = signals;
    with_nan[250] = std::nanf("");
    refuses<Bad>(1, every_row(), with_nan, "signals: NaN at position 250 (row 149)");
}

void a_node_each() {
    using Bad = std::invalid_argument;
    const Floats signals(kRequests, 1.0F);
    Ints nodes(kRequests, 1);
    auto rows = every_row();
    rows[398] = kRequests;
    nodes[398] = 0;
    nodes[399] = 2; // open to none of them
    refuses<Bad>(nodes, rows, signals, "node: 2 is not open to row 0, which consulted node 0 last; open: 1");
    rows[399] = rows[5]; // has consulted node 1 by then, which node 2 follows
    refuses<Bad>(nodes, rows, signals, "rows: row 394 is repeated at position 399");
}

// Rows that rise are not marked, and mostly rising ones are.
void rising_rows() {
    using Bad = std::invalid_argument;
    using Range = std::out_of_range;
    const Floats signals(kRequests, 1.0F);
    Floats with_nan = signals;
    with_nan[250] = std::nanf("");
    Ints all(kRequests);
    std::iota(all.begin(), all.end(), 0);
    for (const Ints &nodes : {Ints{}, Ints(kRequests, 1)}) { // one for all, and one each, all but one the same
        const auto refused = [&]<typename Error>(const Ints &rows, const Floats &given, const char *part) {
            if (nodes.empty()) {
                refuses<Error>(1, rows, given, part);
                return;
            }
            auto mixed = nodes;
            mixed[0] = 2; // row 0 or 1 is not open to it, which is looked at after rows and before signals
            refuses<Error>(mixed, rows, given, part);
        };
        auto rows = all;
        rows[399] = kRequests + kFresh;
        refused.operator()<Range>(rows, signals, "rows: expected 0 to 402, got 403 at position 399");
        rows = all;
        rows[0] = -1;
        refused.operator()<Range>(rows, signals, "rows: expected 0 to 402, got -1 at position 0");
        rows = all;
        rows[128] = 127; // in another block
        refused.operator()<Bad>(rows, signals, "rows: row 127 is repeated at position 128");
        rows = all;
        rows[399] = 398;
        refused.operator()<Bad>(rows, signals, "rows: row 398 is repeated at position 399");
    }
    auto rows = all;
    rows[399] = kRequests; // has consulted nothing
    refuses<Bad>(1, rows, signals, "node: 1 is not open to row 400, which consulted nothing last; open: 0");
    refuses<Bad>(1, all, with_nan, "signals: NaN at position 250 (row 250)");
    Ints nodes(kRequests, 1);
    nodes[399] = 2;
    refuses<Bad>(nodes, all, signals, "node: 2 is not open to row 399, which consulted node 0 last; open: 1");
}

// Where a node may follow several others, and on a forest: fresh rows, one of them named twice, in blocks far apart.
void other_shapes() {
    const std::vector<std::int64_t> parents{-1, 0, 0};
    const Floats signals(kRequests, 0.0F);
    Ints rows(kRequests);
    std::iota(rows.begin(), rows.end(), 0);
    rows[399] = 5;
    const Rows named{.narrow = rows, .wide = {}, .given = true};
    for (const auto &topology : {Topology::skip(3), Topology::forest(parents)}) {
        const auto policy = std::make_shared<const Policy>(solve(test::random_model(topology, 3, 4), 0.99, true));
        Ints nodes(kRequests, 0);
        nodes[399] = 1; // which may follow node 0
        Batch batch(policy, kRequests, NanSignal::error);
        const char *part = "rows: row 5 is repeated at position 399";
        CHECK_THROWS(batch.decide(nodes, signals, named), std::invalid_argument, part);
        CHECK_THROWS(batch.decide(0, signals, named), std::invalid_argument, part);
        CHECK(test::answers(batch) == Ints(kRequests, -1));
        CHECK(batch.decide(0, signals, {}).size() == signals.size()); // all of them are as fresh as before
    }
}

// Without rows, all are looked at before any is consulted.
void no_rows() {
    const auto policy = going_on(false);
    Flight flight(policy);
    Flight twin(policy);
    const Floats signals(kRequests + 1, 1.0F);
    CHECK_THROWS(flight.batch.decide(1, signals, {}), std::invalid_argument, "node: 1 is not open to row 400");
    CHECK(flight.rest() == twin.rest());
}

// The result of a call, nodes, may be passed as the rows or the nodes of the next.
void result_as_argument() {
    const auto policy = going_on(true);
    Flight flight(policy);
    const auto rows = every_row();
    Floats signals(kRequests, 1.0F);
    signals[399] = std::nanf("");
    const Rows named{.narrow = rows, .wide = {}, .given = true};
    CHECK_THROWS(flight.batch.decide(flight.result, signals, named), std::invalid_argument, "NaN at position 399");
    signals[399] = 1.0F;
    const auto next = flight.batch.decide(flight.result, signals, named);
    CHECK(Ints(next.begin(), next.end()) == Ints(kRequests, 2));
    CHECK_THROWS(flight.batch.decide(2, signals, {.narrow = next, .wide = {}, .given = true}), std::invalid_argument,
                 "rows: row 2 is repeated at position 1");
    CHECK(Ints(next.begin(), next.end()) == Ints(kRequests, 2));
}

} // namespace

int main() {
    one_node();
    a_node_each();
    rising_rows();
    other_shapes();
    no_rows();
    result_as_argument();
    return test::result();
}
