// Ranks: the sorted values a policy compares, so that at run time only integers are compared.
#pragma once

#include <cstdint>
#include <vector>

namespace ttamer {

// Values closer than kSnap times the largest loss are the same value.
inline constexpr double kSnap = 1e-12;

// All losses that can be attained, sorted, without repeats. The last is infinite where there are probes: nodes that
// inform and cannot answer, whose loss is that in every state. One before it is finite.
std::vector<double> attainable_levels(const std::vector<std::vector<double>> &losses);

// The largest that is finite.
double largest_loss(const std::vector<double> &levels);

double snap_tolerance(const std::vector<double> &levels);

// Move each index within tolerance of a level, or of another index, onto it: a level attracts first, the nearest; of
// the others, each group within tolerance of its smallest becomes that.
void snap(const std::vector<double> &levels, std::vector<std::vector<double>> &index);

// Levels and (snapped) indices together, sorted, without repeats.
std::vector<double> merge_levels(const std::vector<double> &levels, const std::vector<std::vector<double>> &index);

// Position of a value that is one of the levels.
std::int32_t rank_of(const std::vector<double> &levels, double value);

} // namespace ttamer
