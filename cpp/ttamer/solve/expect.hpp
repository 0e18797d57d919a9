// Where requests are expected to go under the model.
#pragma once

#include "ttamer/model/model.hpp"
#include "ttamer/policy/policy.hpp"

#include <vector>

namespace ttamer {

// One entry a state, numbered as in PolicyTables.
struct Expectation {
    std::vector<double> visits; // probability that the node is consulted and found in the state
    std::vector<double> stops;  // probability that the request stops there
    double cost = 0;            // expected cost in the user's unit
    double loss = 0;            // expected loss of the answer
};

// The policy must have been solved for a model of the same topology and states. Exact on walks. On forests what a
// request may still consult depends on all it has seen, so there it is the mean over kSimulated requests drawn from the
// model, always the same ones.
Expectation expect(const Model &model, const Policy &policy);

inline constexpr int kSimulated = 50'000;

// The part of expect for forests.
Expectation expect_forest(const Model &model, const Policy &policy);

} // namespace ttamer
