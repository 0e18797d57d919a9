// A small set estimator for the tests: a line of a model with a score, a probe with two inputs, and a model that only
// answers.
#pragma once

#include "models.hpp"

#include "ttamer/signals/set_estimator.hpp"

#include <memory>

namespace ttamer::test {

inline SetTables small_sets() {
    SetTables t{};
    t.nodes = 3;
    t.last = {0, 1, 2};
    t.cells = {0, 1, 2};
    t.input_offsets = {0, 1, 3, 3};
    t.knot_offsets = {0, 1, 1, 3};
    t.knots = {0.5F, -1.0F, 1.0F};
    t.columns = {1, 1, 2};
    t.values = {0.25, -0.5, 1.0, 0.0, 2.0, 0.5, 0.25, -1.0, 1.0, 0.0, -0.25, 0.75, 0.125};
    t.class_offsets = {0, 2, 2, 3};
    t.classes = {0, 2, 1};
    t.agreeing = {1, 0, 1};
    t.cell_offsets = {0, 1, 3, 6};
    t.cell_nodes = {0, 0, 1, 0, 1, 2};
    t.target_offsets = {0, 2, 4, 6};
    t.targets = {0, 2, 0, 2, 2, 0};
    t.answering = {1, 1, 2};
    for (int k = 0; k < 2 * 6 + 2 * 9 + 2 * 11; ++k) { // columns: 1 + 4, and 3, and 1 + 1 for the pair
        t.coefficients.push_back((k * 7 % 11) / 8.0 - 0.5);
    }
    t.tree_offsets = {0, 5, 6, 9};
    t.tree_variables = {1, -1, 0, -1, -1, -1, 0, -1, -1};
    t.tree_thresholds = {0.25, 0, 0.125, 0, 0, 0, 0.5, 0, 0};
    t.tree_left = {1, 1, 3, 0, 2, 0, 1, 1, 0};
    t.tree_right = {2, 0, 4, 0, 0, 0, 2, 0, 0};
    return t;
}

inline std::shared_ptr<const SetEstimator> small_set_estimator() {
    return std::make_shared<const SetEstimator>(small_sets());
}

// Over its steps; a signal is the number of the state, of which there are more than leaves.
inline std::shared_ptr<const Policy> small_set_policy(std::uint32_t seed) {
    return std::make_shared<const Policy>(solve(random_model(Topology::line(3), 5, seed, false), 0.9, false));
}

} // namespace ttamer::test
