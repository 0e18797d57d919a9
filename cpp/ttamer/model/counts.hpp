// Transition counts between the states of two nodes, in compressed rows. Counts of shards add exactly; those of
// weighted requests are sums of weights, and add within rounding.
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
    std::vector<double> values;        // positive; whole ones are exact up to 2^53
};

// Counts of the pairs (from[k], to[k]), each of weights[k], positive, or of 1 without weights; states are within range.
Counts count_transitions(std::span<const std::int32_t> from, std::span<const std::int32_t> to, std::int32_t rows,
                         std::int32_t columns, std::span<const double> weights = {});

// Throws std::invalid_argument if the arrays do not fit together; what comes from a file is checked before use.
void check(const Counts &counts);

Counts add(const Counts &a, const Counts &b);

// Throws std::invalid_argument if b was not part of a. What is left of an entry but for rounding is nothing.
Counts subtract(const Counts &a, const Counts &b);

} // namespace ttamer
