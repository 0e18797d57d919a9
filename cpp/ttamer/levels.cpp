#include "ttamer/levels.hpp"

#include <algorithm>
#include <cstddef>

namespace ttamer {

namespace {

std::vector<double> sorted_unique(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
    return values;
}

} // namespace

std::vector<double> attainable_levels(const std::vector<std::vector<double>> &losses) {
    std::vector<double> all;
    for (const auto &row : losses) {
        all.insert(all.end(), row.begin(), row.end());
    }
    return sorted_unique(std::move(all));
}

double snap_tolerance(const std::vector<double> &levels) {
    return kSnap * std::max(1.0, levels.back());
}

std::int32_t rank_of(const std::vector<double> &levels, double value) {
    return static_cast<std::int32_t>(std::lower_bound(levels.begin(), levels.end(), value) - levels.begin());
}

} // namespace ttamer
