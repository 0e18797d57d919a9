// Two neighbours in one load: loads are what limits loops over rows or tables that lie anywhere.
#pragma once

#include "ttamer/base/dispatch.hpp"

#include <bit>
#include <cstdint>
#include <cstring>

namespace ttamer {

struct Two {
    std::uint32_t first;
    std::uint32_t second;
};

TTAMER_INLINE Two two_at(const std::uint32_t *at) {
    std::uint64_t both = 0;
    std::memcpy(&both, at, sizeof both);
    const auto low = static_cast<std::uint32_t>(both);
    const auto high = static_cast<std::uint32_t>(both >> 32);
    return std::endian::native == std::endian::little ? Two{low, high} : Two{high, low};
}

} // namespace ttamer
