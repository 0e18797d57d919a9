// A policy over recorded traces.
#pragma once

#include "ttamer/policy.hpp"

#include <cstdint>
#include <span>

namespace ttamer {

// Where a replay is written: N of each.
struct Replayed {
    std::span<std::int32_t> last_node;
    std::span<std::int32_t> answer_node;
    std::span<double> cost; // in the unit of `costs`
};

// signals: row-major (N, nodes), no NaN. costs: one an edge, in the traces' unit.
void replay(const Policy &policy, std::span<const float> signals, std::span<const double> costs,
            const Replayed &result);

} // namespace ttamer
