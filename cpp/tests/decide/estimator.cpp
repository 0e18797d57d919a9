// Estimates: evidence from logits, features worked out by hand, and batches that decide as replays of recorded
// evidence.
#include "check.hpp"
#include "models.hpp"

#include "ttamer/decide/estimated_batch.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

using namespace ttamer;

namespace {

constexpr std::size_t kClasses = 70; // more than a chunk
constexpr std::size_t kTop = 8;
constexpr EvidenceForm kForm{kClasses, kTop};
constexpr std::int32_t kNodes = 3;
using Bad = std::invalid_argument;

std::vector<float> random_logits(std::size_t rows, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<float> logits(rows * kClasses);
    for (auto &logit : logits) {
        logit = static_cast<float>(test::below(random, 41) - 20) / 4; // many ties
    }
    return logits;
}

Logits view(const std::vector<float> &logits) {
    return {logits.data(), LogitType::float32, logits.size() / kClasses, kClasses};
}

struct Kept {
    std::vector<float> log_probs;
    std::vector<std::int32_t> classes;
};

Kept keep(const std::vector<float> &logits) {
    const std::size_t rows = logits.size() / kClasses;
    Kept kept{std::vector<float>(rows * kTop), std::vector<std::int32_t>(rows * kTop)};
    std::vector<float> most(rows);
    signals_from_logits(SignalKind::max_prob, view(logits), most.data());
    for (std::size_t row = 0; row < rows; ++row) {
        evidence_of_logits(view(logits), row, most[row], kForm, kept.log_probs.data() + row * kTop,
                           kept.classes.data() + row * kTop);
    }
    return kept;
}

void evidence_is_the_largest() {
    const auto logits = random_logits(50, 1);
    const auto kept = keep(logits);
    for (std::size_t row = 0; row < 50; ++row) {
        const float *values = logits.data() + row * kClasses;
        std::vector<std::int32_t> order(kClasses);
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return values[a] > values[b]; });
        double sum = 0;
        for (std::size_t c = 0; c < kClasses; ++c) {
            sum += std::exp(static_cast<double>(values[c]));
        }
        for (std::size_t k = 0; k < kTop; ++k) {
            CHECK(kept.classes[row * kTop + k] == order[k]);
            const double expected = std::max<double>(values[order[k]] - std::log(sum), kLogFloor);
            CHECK(std::abs(kept.log_probs[row * kTop + k] - expected) < 2e-6);
        }
    }
}

void readings() {
    const std::array<float, 2> log_probs = {std::log(0.5F), std::log(0.3F)};
    const std::array<std::int32_t, 2> classes = {4, 1};
    const EvidenceForm form{6, 2}; // 0.2 is left for four classes
    const Reading reading = read({log_probs.data(), classes.data()}, form);
    const auto near = [](double a, double b) { return std::abs(a - b) < 1e-6; };
    CHECK(near(reading.second, std::log(0.3)));
    CHECK(near(reading.other, std::log(0.05)));
    CHECK(near(reading.doubt, std::log(0.5)));
    CHECK(near(reading.entropy, -0.5 * std::log(0.5) - 0.3 * std::log(0.3) - 0.2 * std::log(0.05)));
    CHECK(near(log_odds(reading, form, 4), std::log(0.5 / 0.3)));
    CHECK(near(log_odds(reading, form, 1), std::log(0.3 / 0.5)));
    CHECK(near(log_odds(reading, form, 0), std::log(0.05 / 0.5)));
}

// A posterior estimate on a line, with whatever coefficients.
std::shared_ptr<const Estimator> some_estimator(EstimateKind kind, std::uint32_t seed) {
    std::mt19937 random(seed);
    EstimatorTables tables{kNodes, kForm, kind, {}, {0}, {}, {0}, {}, {}};
    for (std::int32_t step = 0; step < kNodes; ++step) {
        tables.last.push_back(step);
        for (std::int32_t node = 0; node <= step; ++node) {
            tables.sets.push_back(node);
            if (kind == EstimateKind::posterior || node == step) {
                tables.candidates.push_back(node);
                const auto count = feature_count(kind, static_cast<std::size_t>(step) + 1) + 1;
                for (std::size_t f = 0; f < count; ++f) {
                    tables.coefficients.push_back(test::below(random, 9) / 8.0 - 0.75);
                }
            }
        }
        tables.set_offsets.push_back(static_cast<std::int32_t>(tables.sets.size()));
        tables.candidate_offsets.push_back(static_cast<std::int32_t>(tables.candidates.size()));
    }
    return std::make_shared<const Estimator>(std::move(tables));
}

std::shared_ptr<const Policy> some_policy(std::uint32_t seed) {
    auto model = test::random_model(Topology::line(kNodes), 5, seed, false);
    return std::make_shared<const Policy>(solve(model, 0.9, false));
}

// Requests served one by one from logits end as they do when their recorded evidence is replayed.
void batches_are_replays(EstimateKind kind, std::uint32_t seed) {
    constexpr std::size_t rows = 40;
    const auto estimator = some_estimator(kind, seed);
    const auto policy = some_policy(seed);
    std::vector<std::vector<float>> logits;
    std::vector<float> log_probs(rows * kNodes * kTop);
    std::vector<std::int32_t> classes(rows * kNodes * kTop);
    for (std::uint32_t node = 0; node < kNodes; ++node) {
        logits.push_back(random_logits(rows, seed * 10 + node));
        const auto kept = keep(logits.back());
        for (std::size_t row = 0; row < rows; ++row) {
            const std::size_t to = (row * kNodes + node) * kTop;
            std::copy_n(kept.log_probs.data() + row * kTop, kTop, log_probs.data() + to);
            std::copy_n(kept.classes.data() + row * kTop, kTop, classes.data() + to);
        }
    }
    std::vector<float> signals(rows * kNodes);
    std::vector<std::int32_t> answers(rows * kNodes);
    estimate_rows(*estimator, log_probs, classes, signals, answers);
    const auto expected = test::replay_all(*policy, signals, policy->tables().costs);
    EstimatedBatch batch(estimator, policy, rows, NanSignal::error);
    std::vector<std::int32_t> next(rows, policy->tables().first_node);
    std::vector<std::int32_t> last(rows, -1);
    while (true) {
        std::vector<std::int64_t> wide;
        std::vector<std::int32_t> nodes;
        std::vector<float> shown;
        for (std::size_t row = 0; row < rows; ++row) {
            if (next[row] != kStop) {
                wide.push_back(static_cast<std::int64_t>(row));
                nodes.push_back(next[row]);
                const float *from = logits[static_cast<std::size_t>(next[row])].data() + row * kClasses;
                shown.insert(shown.end(), from, from + kClasses);
            }
        }
        if (wide.empty()) {
            break;
        }
        const Rows given{.narrow = {}, .wide = wide, .given = true};
        const auto found = batch.decide(std::span<const std::int32_t>(nodes), view(shown), given);
        for (std::size_t k = 0; k < wide.size(); ++k) {
            last[static_cast<std::size_t>(wide[k])] = nodes[k];
            next[static_cast<std::size_t>(wide[k])] = found[k];
        }
    }
    std::vector<std::int32_t> given(rows);
    batch.answer_node(given);
    for (std::size_t row = 0; row < rows; ++row) {
        CHECK(last[row] == expected.last_node[row]);
        CHECK(given[row] == answers[row * kNodes + static_cast<std::size_t>(last[row])]);
        CHECK(batch.answer_steps()[row] == last[row]); // on a line steps are nodes
        CHECK(batch.answer_signals()[row] == signals[row * kNodes + static_cast<std::size_t>(last[row])]);
    }
    batch.reset({});
    CHECK(batch.answer_steps()[0] == kRoot);
    CHECK(std::isnan(batch.answer_signals()[0]));
}

void refuses() {
    const auto estimator = some_estimator(EstimateKind::posterior, 3);
    EstimatedBatch batch(estimator, some_policy(3), 4, NanSignal::error);
    auto logits = random_logits(2, 5);
    const std::vector<std::int32_t> twice = {1, 1};
    const std::vector<std::int32_t> outside = {0, 4};
    CHECK_THROWS(batch.decide(1, view(logits), {}), Bad, "node: 1 is not open to row 0, which consulted nothing last");
    CHECK_THROWS(batch.decide(0, view(logits), {.narrow = twice, .wide = {}, .given = true}), Bad,
                 "rows: row 1 is repeated");
    CHECK_THROWS(batch.decide(0, view(logits), {.narrow = outside, .wide = {}, .given = true}), std::out_of_range,
                 "rows: expected 0 to 3, got 4");
    CHECK_THROWS(batch.decide(3, view(logits), {}), std::out_of_range, "node: expected 0 to 2, got 3");
    const Logits few{logits.data(), LogitType::float32, 2, kClasses / 2};
    CHECK_THROWS(batch.decide(0, few, {}), Bad, "logits: expected (B, 70)");
    logits[kClasses] = std::numeric_limits<float>::quiet_NaN();
    CHECK_THROWS(batch.decide(0, view(logits), {}), Bad, "position 1");
    std::vector<std::int32_t> answers(4);
    batch.answer_node(answers);
    CHECK(std::all_of(answers.begin(), answers.end(), [](auto node) { return node == -1; }));
    EstimatedBatch patient(estimator, some_policy(3), 4, NanSignal::worst);
    patient.decide(0, view(logits), {});
    patient.answer_node(answers);
    CHECK(answers == std::vector<std::int32_t>({0, 0, -1, -1}));
    CHECK(std::isnan(patient.answer_signals()[1]));
    CHECK(patient.answer_steps()[1] == 0);
}

} // namespace

int main() {
    evidence_is_the_largest();
    readings();
    for (std::uint32_t seed = 0; seed < 6; ++seed) {
        for (const auto kind : {EstimateKind::signal, EstimateKind::history, EstimateKind::posterior}) {
            batches_are_replays(kind, seed);
        }
    }
    refuses();
    return test::result();
}
