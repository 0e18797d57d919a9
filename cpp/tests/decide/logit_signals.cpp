// What a batch says of logits that no signals can be made of, and of traces that do not say which.
#include "ttamer/decide/logit_signals.hpp"

#include "check.hpp"

#include <stdexcept>
#include <vector>

using namespace ttamer;

int main() {
    const std::vector<float> logits(12, 0.0F);
    const Logits good{logits.data(), LogitType::float32, 3, 4};
    LogitSignals signals(signal_kind("max_prob"), 3, NanSignal::error);
    signals.check(good, {});
    signals.compute(good);
    CHECK(signals.finish(good, {})[2] == 0.25F);
    CHECK_THROWS(signals.check({logits.data(), LogitType::float32, 12, 1}, {}), std::invalid_argument, "C >= 2");
    CHECK_THROWS(signals.check({logits.data(), LogitType::float32, 4, 3}, {}), std::invalid_argument, "capacity of 3");
    LogitSignals of_four(signal_kind("max_prob"), 12, NanSignal::error, 4);
    of_four.check(good, {});
    CHECK_THROWS(of_four.check({logits.data(), LogitType::float32, 4, 3}, {}), std::invalid_argument,
                 "expected (B, 4), the classes that the policy was made for, got C = 3");
    LogitSignals stated(signal_kind(""), 3, NanSignal::error);
    CHECK_THROWS(stated.check(good, {}), std::invalid_argument, "Traces.from_probs");
    CHECK_THROWS(signal_kind("best"), std::invalid_argument, "got 'best'");
    return test::result();
}
