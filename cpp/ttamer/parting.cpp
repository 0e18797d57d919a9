#include "ttamer/parting.hpp"

#include "ttamer/dispatch.hpp"
#include "ttamer/topology.hpp"

#include <array>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__) // GCC and Clang, on any system
#include <immintrin.h>
#define TTAMER_X86_PARTING
#endif

namespace ttamer {

namespace {

// Both places are written, and one counts.
std::size_t plain_part(const RowState *TTAMER_RESTRICT rows, const std::int32_t *TTAMER_RESTRICT next,
                       std::size_t count, RowState *TTAMER_RESTRICT going, RowState *TTAMER_RESTRICT stopped_end) {
    std::size_t end = 0;
    TTAMER_UNROLL
    for (std::size_t k = 0; k < count; ++k) {
        going[end] = rows[k];
        *(stopped_end - (k - end) - 1) = rows[k];
        end += next[k] == kStop ? 0 : 1;
    }
    return end;
}

#ifdef TTAMER_X86_PARTING

constexpr std::size_t kLanes = 4;
static_assert(kLanes <= kPartSlack);

// By which of four rows go on: the halves of a row, in the order that brings these to the front.
struct Order {
    alignas(32) std::array<std::uint32_t, 2 * kLanes> halves;
};

constexpr std::array<Order, 1 << kLanes> make_orders() {
    std::array<Order, 1 << kLanes> orders{};
    for (std::size_t which = 0; which < orders.size(); ++which) {
        std::size_t end = 0;
        for (const std::size_t wanted : {1, 0}) {
            for (std::size_t row = 0; row < kLanes; ++row) {
                if ((which >> row & 1) == wanted) {
                    orders[which].halves[end++] = static_cast<std::uint32_t>(2 * row);
                    orders[which].halves[end++] = static_cast<std::uint32_t>(2 * row + 1);
                }
            }
        }
    }
    return orders;
}

constexpr auto kOrders = make_orders();

// Four rows are written as a whole to both places, those that go on at the front and those that stop at the back; what
// is too much there, the next four cover.
__attribute__((target("avx2,popcnt"))) std::size_t wide_part(const RowState *rows, const std::int32_t *next,
                                                             std::size_t count, RowState *going,
                                                             RowState *stopped_end) {
    const __m128i stop = _mm_set1_epi32(kStop);
    std::size_t end = 0;
    std::size_t k = 0;
    for (; k + kLanes <= count; k += kLanes) {
        const __m128i stops = _mm_cmpeq_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(next + k)), stop);
        const auto goes = static_cast<unsigned>(_mm_movemask_ps(_mm_castsi128_ps(stops))) ^ 0xFU;
        const __m256i order = _mm256_load_si256(reinterpret_cast<const __m256i *>(kOrders[goes].halves.data()));
        const __m256i parted =
            _mm256_permutevar8x32_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(rows + k)), order);
        _mm256_storeu_si256(reinterpret_cast<__m256i *>(going + end), parted);
        _mm256_storeu_si256(reinterpret_cast<__m256i *>(stopped_end - (k - end) - kLanes), parted);
        end += static_cast<std::size_t>(_mm_popcnt_u32(goes));
    }
    return end + plain_part(rows + k, next + k, count - k, going + end, stopped_end - (k - end));
}

#endif

std::vector<Part> of_this_processor() {
    std::vector<Part> found;
#ifdef TTAMER_X86_PARTING
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt")) {
        found.push_back(wide_part);
    }
#endif
    found.push_back(plain_part);
    return found;
}

} // namespace

std::span<const Part> all_parts() {
    static const auto found = of_this_processor();
    return found;
}

} // namespace ttamer
