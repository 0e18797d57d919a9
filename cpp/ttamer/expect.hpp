// Where requests are expected to go: exact probabilities under the model, by a forward pass.
#pragma once

#include "ttamer/model.hpp"
#include "ttamer/policy.hpp"

#include <vector>

namespace ttamer {

// One entry a state, numbered as in PolicyTables.
struct Expectation {
    std::vector<double> visits; // probability that the node is consulted and found in the state
    std::vector<double> stops;  // probability that the request stops there
    double cost = 0;            // expected cost in the user's unit
};

// The policy must have been solved for a model of the same topology and states.
Expectation expect(const Model &model, const Policy &policy);

} // namespace ttamer
