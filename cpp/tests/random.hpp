// Random whole numbers that are the same everywhere.
#pragma once

#include <cstdint>
#include <random>

namespace ttamer::test {

// The distributions of <random> differ between standard libraries; whole numbers of the generator do not.
inline std::int32_t below(std::mt19937 &random, std::int32_t bound) {
    return static_cast<std::int32_t>(random() % static_cast<std::uint32_t>(bound));
}

} // namespace ttamer::test
