#include "ttamer/base/dispatch.hpp"
#include "ttamer/signals/softmax_kernels.hpp"

#include <algorithm>

namespace ttamer {

namespace {

// Logits looked at together: whether the largest is among them is a few vectorised comparisons, mostly answered no.
constexpr std::size_t kLanes = 16;
constexpr std::size_t kBlock = 128;
static_assert(kBlock % kLanes == 0);

TTAMER_INLINE float largest_of(const float *values, std::size_t count) {
    softmax::Largest<kLanes> largest;
    largest.clear();
    const std::size_t whole = count / kLanes * kLanes;
    largest.take<false>(values, whole / kLanes);
    largest.gather<false>();
    float most = largest.first[0];
    for (std::size_t k = whole; k < count; ++k) {
        most = softmax::larger(values[k], most);
    }
    return most;
}

} // namespace

TTAMER_CLONES void largest_classes(const Logits &logits, std::int32_t *classes) {
    float buffer[kBlock];
    const auto *data = static_cast<const char *>(logits.data);
    const std::size_t size = softmax::size_of(logits.type);
    for (std::size_t row = 0; row < logits.rows; ++row) {
        classes[row] = 0;
        float most = softmax::kNone;
        for (std::size_t begin = 0; begin < logits.classes; begin += kBlock) {
            const std::size_t count = std::min(kBlock, logits.classes - begin);
            const float *values =
                softmax::widened(data + (row * logits.classes + begin) * size, logits.type, count, buffer);
            if (const float here = largest_of(values, count); here > most) {
                most = here;
                classes[row] = static_cast<std::int32_t>(begin) +
                               static_cast<std::int32_t>(std::find(values, values + count, here) - values);
            }
        }
    }
}

} // namespace ttamer
