// What estimators ask of their tables.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace ttamer {

inline void require(bool holds, const char *what) {
    if (!holds) {
        throw std::invalid_argument(std::string("estimator: ") + what);
    }
}

inline std::size_t as_size(std::int32_t value) {
    return static_cast<std::size_t>(value);
}

// Whether offsets cut `total` entries into `parts`, none of which is empty unless that is allowed.
inline bool are_offsets(const std::vector<std::int32_t> &offsets, std::size_t parts, std::size_t total,
                        bool may_be_empty = false) {
    if (offsets.size() != parts + 1 || offsets.front() != 0 || static_cast<std::size_t>(offsets.back()) != total) {
        return false;
    }
    return may_be_empty ? std::is_sorted(offsets.begin(), offsets.end())
                        : std::adjacent_find(offsets.begin(), offsets.end(), std::greater_equal<>()) == offsets.end();
}

} // namespace ttamer
