// A policy over recorded traces.
#pragma once

#include "ttamer/policy/policy.hpp"

#include <cstdint>
#include <span>

namespace ttamer {

// What is replayed.
struct Recorded {
    std::span<const float> signals; // row-major (N, nodes), no NaN
    std::span<const double> costs;  // one an edge, in the traces' unit; or row-major (N, edges), those of each request
    std::span<const float> losses;  // as the signals, or none
};

// Where a replay is written: N of each.
struct Replayed {
    std::span<std::int32_t> last_node;
    std::span<std::int32_t> answer_node;
    std::span<double> cost; // in the unit of the recorded costs
    std::span<double> loss; // of the answers; none without recorded losses
};

void replay(const Policy &policy, const Recorded &recorded, const Replayed &result);

} // namespace ttamer
