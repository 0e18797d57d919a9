// Transition counts between the states of two nodes, in compressed rows. Counts of shards add exactly.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace ttamer {

struct Counts {
    std::int32_t rows = 0;
    std::int32_t columns = 0;
    std::vector<std::int64_t> offsets; // rows + 1
    std::vector<std::int32_t> indices; // column of each entry, increasing within a row
    std::vector<std::int64_t> values;  // positive
};

// Counts of the pairs (from[k], to[k]); states are within range.
Counts count_transitions(std::span<const std::int32_t> from, std::span<const std::int32_t> to, std::int32_t rows,
                         std::int32_t columns);

// Throws std::invalid_argument if the arrays do not fit together; what comes from a file is checked before use.
void check(const Counts &counts);

Counts add(const Counts &a, const Counts &b);

} // namespace ttamer
