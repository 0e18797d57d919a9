#include "ttamer/base/levels.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace ttamer {

namespace {

std::vector<double> sorted_unique(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
    return values;
}

double nearest(const std::vector<double> &levels, double value) {
    const auto above = std::lower_bound(levels.begin(), levels.end(), value);
    if (above == levels.begin()) {
        return *above;
    }
    const double below = *(above - 1);
    return above == levels.end() || value - below <= *above - value ? below : *above;
}

bool contains(const std::vector<double> &levels, double value) {
    return std::binary_search(levels.begin(), levels.end(), value);
}

} // namespace

std::vector<double> attainable_levels(const std::vector<std::vector<double>> &losses) {
    std::vector<double> all;
    for (const auto &row : losses) {
        all.insert(all.end(), row.begin(), row.end());
    }
    return sorted_unique(std::move(all));
}

double largest_loss(const std::vector<double> &levels) {
    return std::isinf(levels.back()) ? levels[levels.size() - 2] : levels.back();
}

double snap_tolerance(const std::vector<double> &levels) {
    const double largest = largest_loss(levels);
    return largest > 0 ? kSnap * largest : kSnap;
}

void snap(const std::vector<double> &levels, std::vector<std::vector<double>> &index) {
    const double tolerance = snap_tolerance(levels);
    std::vector<double> others;
    for (auto &row : index) {
        for (auto &value : row) {
            if (std::isinf(value)) {
                continue; // a level itself, that of probes
            }
            const double level = nearest(levels, value);
            if (std::abs(level - value) <= tolerance) {
                value = level;
            } else {
                others.push_back(value);
            }
        }
    }
    std::vector<double> anchors;
    for (const double value : sorted_unique(std::move(others))) {
        if (anchors.empty() || value - anchors.back() > tolerance) {
            anchors.push_back(value);
        }
    }
    for (auto &row : index) {
        for (auto &value : row) {
            if (!contains(levels, value)) {
                value = *(std::upper_bound(anchors.begin(), anchors.end(), value) - 1);
            }
        }
    }
}

std::vector<double> merge_levels(const std::vector<double> &levels, const std::vector<std::vector<double>> &index) {
    std::vector<double> all = levels;
    for (const auto &row : index) {
        all.insert(all.end(), row.begin(), row.end());
    }
    return sorted_unique(std::move(all));
}

std::int32_t rank_of(const std::vector<double> &levels, double value) {
    return static_cast<std::int32_t>(std::lower_bound(levels.begin(), levels.end(), value) - levels.begin());
}

} // namespace ttamer
