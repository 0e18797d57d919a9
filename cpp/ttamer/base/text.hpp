// Numbers in messages.
#pragma once

#include <cstdint>
#include <string>

namespace ttamer {

template <typename Number> std::string text(Number value) {
    return std::to_string(static_cast<std::int64_t>(value));
}

} // namespace ttamer
