// Set estimators: estimates worked out by hand, tables that do not fit, and batches that decide as replays of
// estimates.
#include "check.hpp"
#include "sets.hpp"

#include "ttamer/decide/answer_batch.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>

using namespace ttamer;

namespace {

using Bad = std::invalid_argument;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kNothing = -std::numeric_limits<float>::infinity();

struct Estimated {
    std::vector<float> signals;
    std::vector<std::int32_t> answers;
};

Estimated estimate(const SetEstimator &estimator, const std::vector<float> &scores,
                   const std::vector<std::int32_t> &answers) {
    const std::size_t rows = answers.size() / 3;
    Estimated found{std::vector<float>(rows * 3), std::vector<std::int32_t>(rows * 3)};
    estimate_rows(estimator, scores, answers, found.signals, found.answers);
    return found;
}

// One node, whose loss is its first column, but none where it answers `listed`: bins, classes, and a tree of two
// splits.
void estimates_by_hand(std::int32_t listed) {
    SetTables t{};
    t.nodes = 1;
    t.last = {0};
    t.cells = {0};
    t.input_offsets = {0, 1};
    t.knot_offsets = {0, 2};
    t.knots = {0.0F, 1.0F};
    t.columns = {1};
    t.values = {0.875, 0.5, 0.125, 0.75};
    t.class_offsets = {0, 1};
    t.classes = {listed};
    t.agreeing = {0};
    t.cell_offsets = {0, 1};
    t.cell_nodes = {0};
    t.target_offsets = {0, 1};
    t.targets = {0};
    t.answering = {1};
    t.coefficients = {0.0, 1.0, 0.0, -1.0}; // of that answer: no loss, whatever the score
    t.tree_offsets = {0, 5};
    t.tree_variables = {0, -1, 0, -1, -1};
    t.tree_thresholds = {0.125, 0, 0.75, 0, 0};
    t.tree_left = {1, 2, 3, 1, 0};
    t.tree_right = {2, 0, 4, 0, 0};
    const SetEstimator estimator(t);
    CHECK(estimator.leaves(0) == 3);
    const std::vector<float> scores = {-1, 0, 0.5, 1, 9, kNothing, kNan, std::numeric_limits<float>::lowest(), -1};
    const std::vector<std::int32_t> answers = {0, 0, 0, -1, listed - 1, 0, listed + 1, 0, listed};
    std::vector<float> signals(9);
    std::vector<std::int32_t> answering(9);
    estimate_rows(estimator, scores, answers, signals, answering);
    CHECK(signals == std::vector<float>{0, 1, 1, 2, 2, 1, 1, 1, 2});
    CHECK(answering == std::vector<std::int32_t>(9, 0));
}

void tables_that_do_not_fit() {
    CHECK(test::small_set_estimator()->leaves(0) == 3);
    const auto refuses = [](const std::function<void(SetTables &)> &change, const char *part) {
        SetTables tables = test::small_sets();
        change(tables);
        CHECK_THROWS(SetEstimator(tables), Bad, std::string("estimator: ") + part);
    };
    refuses([](auto &t) { t.nodes = 0; }, "last: expected at least one node");
    refuses([](auto &t) { t.last = {}; }, "last: expected at least one node and one step");
    refuses([](auto &t) { t.last[1] = 3; }, "last: expected nodes");
    refuses([](auto &t) { t.cells[1] = 3; }, "cells: expected a cell for each step");
    refuses([](auto &t) { t.cells.pop_back(); }, "cells: expected a cell for each step");
    refuses([](auto &t) { t.input_offsets = {0, 2, 1, 3}; }, "input_offsets: expected");
    refuses([](auto &t) { t.knot_offsets[3] = 2; }, "knot_offsets: expected");
    refuses([](auto &t) { t.knots[2] = -1; }, "knots: expected finite numbers that rise");
    refuses([](auto &t) { t.knots[2] = kNan; }, "knots: expected finite numbers that rise");
    refuses(
        [](auto &t) {
            t.knots.clear();
            for (int k = 0; k < 65535; ++k) {
                t.knots.push_back(static_cast<float>(k));
            }
            t.knot_offsets = {0, 65535, 65535, 65535};
        },
        "knots: expected at most 65534 in an input");
    refuses([](auto &t) { t.columns[0] = -1; }, "columns: expected");
    refuses([](auto &t) { t.columns[0] = 2; }, "values: expected a row a bin");
    refuses([](auto &t) { t.values.push_back(0); }, "values: expected a row a bin");
    refuses([](auto &t) { t.values[0] = std::numeric_limits<double>::infinity(); }, "values: expected finite numbers");
    refuses([](auto &t) { t.class_offsets.pop_back(); }, "class_offsets: expected");
    refuses([](auto &t) { t.classes[0] = 2; }, "classes: expected numbers from -1 that rise");
    refuses([](auto &t) { t.classes[0] = -2; }, "classes: expected numbers from -1 that rise");
    refuses([](auto &t) { t.agreeing[0] = 2; }, "agreeing: expected 0 or 1");
    refuses([](auto &t) { t.cell_offsets = {0, 0, 3, 6}; }, "cell_offsets: expected increasing");
    refuses([](auto &t) { t.cell_nodes[2] = 0; }, "cell_nodes: expected different nodes");
    refuses([](auto &t) { t.cell_nodes[2] = 3; }, "cell_nodes: expected different nodes");
    refuses([](auto &t) { t.target_offsets = {0, 0, 4, 6}; }, "target_offsets: expected increasing");
    refuses([](auto &t) { t.targets[1] = 0; }, "targets: expected different nodes");
    refuses([](auto &t) { t.targets[1] = -1; }, "targets: expected different nodes");
    refuses([](auto &t) { t.answering[2] = 3; }, "answering: expected how many");
    refuses([](auto &t) { t.coefficients.pop_back(); }, "coefficients: expected an intercept and one weight a column");
    refuses([](auto &t) { t.coefficients.push_back(0); }, "coefficients: expected an intercept");
    refuses([](auto &t) { t.coefficients[7] = kNan; }, "coefficients: expected finite numbers");
    refuses([](auto &t) { t.tree_offsets[1] = 0; }, "tree_offsets: expected increasing");
    refuses([](auto &t) { t.tree_thresholds[0] = kNan; }, "tree_thresholds: expected a finite number");
    refuses([](auto &t) { t.tree_left.pop_back(); }, "tree_left: expected one for each");
    refuses([](auto &t) { t.tree_right.pop_back(); }, "tree_right: expected one for each");
    refuses([](auto &t) { t.tree_variables[0] = 3; }, "tree_variables: expected variables of the cell");
    refuses([](auto &t) { t.tree_variables[6] = 1; }, "tree_variables: expected variables of the cell");
    refuses([](auto &t) { t.tree_left[2] = 2; }, "tree_left: expected a later node");
    refuses([](auto &t) { t.tree_right[2] = 1; }, "tree_right: expected a later node");
    refuses([](auto &t) { t.tree_right[0] = 5; }, "tree_right: expected a later node");
    refuses([](auto &t) { t.tree_right[1] = 1; }, "tree_right: expected 0 for each leaf");
    refuses([](auto &t) { t.tree_left[1] = 0; }, "tree_left: expected a number of its own for each leaf");
    refuses([](auto &t) { t.tree_left[1] = 3; }, "tree_left: expected a number of its own for each leaf");
    refuses([](auto &t) { t.tree_variables[0] = -1, t.tree_left[0] = 3, t.tree_right[0] = 0; },
            "tree_left: expected every node of a tree but the first to be a child");
}

struct Requests {
    std::vector<float> scores;         // (rows, 3)
    std::vector<std::int32_t> answers; // (rows, 3)
};

Requests some_requests(std::size_t rows, std::uint32_t seed) {
    std::mt19937 random(seed);
    Requests requests;
    for (std::size_t k = 0; k < 3 * rows; ++k) {
        const auto score = static_cast<float>(test::below(random, 9) - 4) / 2;
        requests.scores.push_back(score == 2 ? kNothing : score);
        requests.answers.push_back(test::below(random, 4) - 1);
    }
    return requests;
}

// What `node` showed for all rows.
struct NodeShown {
    std::vector<float> scores;
    std::vector<std::int32_t> answers;

    NodeShown(const Requests &requests, std::size_t node) {
        for (std::size_t row = 0; row < requests.answers.size() / 3; ++row) {
            const auto from = requests.scores.begin() + static_cast<std::ptrdiff_t>(3 * row);
            if (node < 2) {
                scores.insert(scores.end(), from + (node == 0 ? 0 : 1), from + (node == 0 ? 1 : 3));
            }
            answers.push_back(requests.answers[3 * row + node]);
        }
    }
    Shown all() const { return {answers.size(), scores.size() / answers.size(), scores, answers, true}; }
};

void batches_are_replays(std::uint32_t seed) {
    constexpr std::size_t rows = 150; // several blocks
    const auto estimator = test::small_set_estimator();
    const auto policy = test::small_set_policy(seed);
    const auto requests = some_requests(rows, seed);
    const auto found = estimate(*estimator, requests.scores, requests.answers);
    const auto expected = test::replay_all(*policy, found.signals, policy->tables().costs);
    AnswerBatch batch(estimator, policy, rows, NanSignal::error);
    std::vector<std::int32_t> open(rows);
    std::vector<std::int32_t> last(rows, -1);
    for (std::size_t row = 0; row < rows; ++row) {
        open[row] = static_cast<std::int32_t>(row);
    }
    for (std::int32_t node = 0; node < 3 && !open.empty(); ++node) {
        Requests those;
        for (const std::int32_t row : open) {
            last[static_cast<std::size_t>(row)] = node;
            for (std::size_t k = 0; k < 3; ++k) {
                those.scores.push_back(requests.scores[static_cast<std::size_t>(row) * 3 + k]);
                those.answers.push_back(requests.answers[static_cast<std::size_t>(row) * 3 + k]);
            }
        }
        const NodeShown shown(those, static_cast<std::size_t>(node));
        const auto next = batch.decide(node, shown.all(), {.narrow = open, .wide = {}, .given = true});
        std::vector<std::int32_t> following;
        for (std::size_t k = 0; k < open.size(); ++k) {
            CHECK(next[k] == kStop || next[k] == node + 1);
            if (next[k] != kStop) {
                following.push_back(open[k]);
            }
        }
        open = following;
    }
    std::vector<std::int32_t> answers(rows);
    batch.answer_node(answers);
    for (std::size_t row = 0; row < rows; ++row) {
        CHECK(last[row] == expected.last_node[row]);
        CHECK(answers[row] == found.answers[row * 3 + static_cast<std::size_t>(last[row])]);
    }
}

// A policy that consults everything: costs nothing, and losses fall.
std::shared_ptr<const Policy> onward() {
    auto model = test::random_model(Topology::line(3), 5, 1, false);
    for (std::size_t node = 0; node < 3; ++node) {
        model.losses[node].assign(5, 1.0 / static_cast<double>(node + 1));
    }
    std::fill(model.costs.begin(), model.costs.end(), 0.0);
    prepare(model);
    return std::make_shared<const Policy>(solve(model, 0.9, false));
}

void refuses() {
    AnswerBatch batch(test::small_set_estimator(), onward(), 4, NanSignal::error);
    const std::vector<float> scores = {0, 1, 2, 3, 4, 5};
    const std::vector<std::int32_t> answers = {0, 1, 2, -1, 0, 1};
    const auto shown = [&](std::size_t rows, std::size_t width, bool has_answers = true) {
        return Shown{rows, width, {scores.data(), rows * width}, {answers.data(), has_answers ? rows : 0}, has_answers};
    };
    const std::vector<std::int32_t> twice = {1, 1};
    const std::vector<std::int32_t> outside = {0, 4};
    const std::vector<std::int32_t> mixed = {0, 1};
    CHECK_THROWS(batch.decide(3, shown(2, 1), {}), std::out_of_range, "node: expected 0 to 2, got 3");
    CHECK_THROWS(batch.decide(0, shown(2, 2), {}), Bad, "scores: expected (B,) float32, one an input of node 0, got");
    CHECK_THROWS(batch.decide(1, shown(2, 1), {}), Bad, "scores: expected (B, 2) float32, one an input of node 1");
    CHECK_THROWS(batch.decide(0, shown(2, 1, false), {}), Bad, "answers: expected (B,) int32, one a row");
    CHECK_THROWS(batch.decide(0, shown(5, 1), {}), Bad, "scores: 5 rows exceed the batch's capacity of 4");
    CHECK_THROWS(batch.decide(1, shown(2, 2), {}), Bad, "node: 1 is not open to row 0, which consulted nothing last");
    CHECK_THROWS(batch.decide(mixed, shown(2, 1), {}), Bad, "node: 1 has 2 inputs");
    CHECK_THROWS(batch.decide(twice, shown(3, 1), {}), Bad, "node: expected one for each of the 3 rows");
    CHECK_THROWS(batch.decide(0, shown(2, 1), {.narrow = twice, .wide = {}, .given = true}), Bad, "row 1 is repeated");
    CHECK_THROWS(batch.decide(0, shown(2, 1), {.narrow = outside, .wide = {}, .given = true}), std::out_of_range,
                 "rows: expected 0 to 3, got 4");
    const std::vector<float> bad = {0, kNan};
    CHECK_THROWS(batch.decide(0, Shown{2, 1, bad, {answers.data(), 2}, true}, {}), Bad,
                 "scores: NaN at position 1 (row 1)");
    CHECK_THROWS(AnswerBatch(test::small_set_estimator(),
                             std::make_shared<const Policy>(
                                 solve(test::random_model(Topology::line(2), 5, 1, false), 0.9, false)),
                             4, NanSignal::error),
                 Bad, "estimator: expected a policy over its 3 steps that does not recall");
    std::vector<std::int32_t> given(4);
    batch.answer_node(given);
    CHECK(given == std::vector<std::int32_t>(4, -1));
}

// Node 0 fails in row 0; the probe then shows something; node 2 answers where it has.
void nodes_that_fail() {
    const std::vector<float> first = {kNan, 0.0F};
    const std::vector<float> second = {0, 0, 0, 0};
    const std::vector<std::int32_t> answers = {0, 0};
    for (const auto nan : {NanSignal::worst, NanSignal::failed}) {
        AnswerBatch batch(test::small_set_estimator(), onward(), 2, nan);
        std::vector<std::int32_t> given(2);
        const std::int32_t own = nan == NanSignal::worst ? 0 : -1;
        CHECK(batch.decide(0, Shown{2, 1, first, answers, true}, {})[0] == 1);
        batch.answer_node(given);
        CHECK(given == std::vector<std::int32_t>({own, 0}));
        CHECK(batch.decide(1, Shown{2, 2, second, {}, false}, {})[0] == 2);
        batch.answer_node(given);
        CHECK(given == std::vector<std::int32_t>({own, 0}));
        batch.decide(2, Shown{2, 0, {}, answers, true}, {});
        batch.answer_node(given);
        CHECK(given[0] == 2); // node 0 has failed
        const auto seen = estimate(*test::small_set_estimator(), {0, 0, 0}, {0, -1, 0});
        CHECK(given[1] == seen.answers[2]);
        batch.reset({});
        batch.answer_node(given);
        CHECK(given == std::vector<std::int32_t>(2, -1));
    }
}

} // namespace

int main() {
    for (const std::int32_t listed : {3, 5000}) { // few enough for a table, or not
        estimates_by_hand(listed);
    }
    tables_that_do_not_fit();
    for (std::uint32_t seed = 0; seed < 8; ++seed) {
        batches_are_replays(seed);
    }
    refuses();
    nodes_that_fail();
    return test::result();
}
