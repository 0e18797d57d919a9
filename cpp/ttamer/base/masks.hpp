// Choices without a branch.
#pragma once

#include <concepts>

namespace ttamer {

// Choices are written with masks: a ternary on a comparison of loads may become a branch that data mispredicts.
template <std::integral T> T mask_of(bool yes) {
    return static_cast<T>(T{0} - static_cast<T>(yes));
}
template <std::integral T> T choose(T which, T yes, T no) {
    return (which & yes) | (~which & no);
}

} // namespace ttamer
