// A policy over recorded traces.
#pragma once

#include "ttamer/policy.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace ttamer {

struct Replay {
    std::vector<std::int32_t> last_node;
    std::vector<std::int32_t> answer_node;
    std::vector<double> cost; // in the unit of `costs`
};

// signals: row-major (N, nodes), no NaN. costs: one an edge, in the traces' unit.
Replay replay(const Policy &policy, std::span<const float> signals, std::span<const double> costs);

} // namespace ttamer
