#include "ttamer/replay/passing.hpp"

#include "ttamer/base/dispatch.hpp"

#include <array>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__) // GCC and Clang, on any system
#include <immintrin.h>
#define TTAMER_X86_PASSING
#endif

namespace ttamer {

namespace {

// Both places are written, and one counts.
std::size_t plain_pass(const StandingRow *rows, const StandingEntry *found, std::size_t count, StandingRow *going,
                       StandingRow *stopped_end) {
    std::size_t end = 0;
    TTAMER_UNROLL
    for (std::size_t k = 0; k < count; ++k) {
        constexpr std::int32_t goes_on = 0;
        const auto outcome = consult_row(rows[k], found[k], 0, goes_on);
        const StandingRow row = with_position(outcome.row, static_cast<std::int32_t>(rows[k] & kPositionBits));
        going[end] = row;
        *(stopped_end - (k - end) - 1) = row;
        end += outcome.next == goes_on ? 1 : 0;
    }
    return end;
}

#ifdef TTAMER_X86_PASSING

constexpr std::size_t kLanes = 8;

// By which of eight rows go on: the order that brings these to the front, a byte each.
struct Order {
    alignas(8) std::array<std::uint8_t, kLanes> lanes;
};

constexpr std::array<Order, 1 << kLanes> make_orders() {
    std::array<Order, 1 << kLanes> orders{};
    for (std::size_t which = 0; which < orders.size(); ++which) {
        std::size_t end = 0;
        for (const std::size_t wanted : {1, 0}) {
            for (std::size_t row = 0; row < kLanes; ++row) {
                if ((which >> row & 1) == wanted) {
                    orders[which].lanes[end++] = static_cast<std::uint8_t>(row);
                }
            }
        }
    }
    return orders;
}

constexpr auto kOrders = make_orders();

// consult_row, eight at a time. Eight rows are written as a whole to both places, those that go on at the front and
// those that stop at the back; what is too much there, the next eight cover.
__attribute__((target("avx2,popcnt"))) std::size_t wide_pass(const StandingRow *rows, const StandingEntry *found,
                                                             std::size_t count, StandingRow *going,
                                                             StandingRow *stopped_end) {
    std::size_t end = 0;
    std::size_t k = 0;
    for (; k + kLanes <= count; k += kLanes) {
        const __m256i row = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(rows + k));
        const __m256i entry = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(found + k));
        const __m256i best = _mm256_min_epu32(row, _mm256_blend_epi16(entry, row, 0x55)); // the row's lower halves
        const __m256i bound = _mm256_slli_epi32(entry, 16);
        const __m256i go = _mm256_cmpeq_epi32(_mm256_max_epu32(best, bound), best); // best >= bound
        const auto goes = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(go)));
        const auto *order = reinterpret_cast<const __m128i *>(kOrders[goes].lanes.data());
        const __m256i parted = _mm256_permutevar8x32_epi32(best, _mm256_cvtepu8_epi32(_mm_loadl_epi64(order)));
        _mm256_storeu_si256(reinterpret_cast<__m256i *>(going + end), parted);
        _mm256_storeu_si256(reinterpret_cast<__m256i *>(stopped_end - (k - end) - kLanes), parted);
        end += static_cast<std::size_t>(_mm_popcnt_u32(goes));
    }
    return end + plain_pass(rows + k, found + k, count - k, going + end, stopped_end - (k - end));
}

#endif

std::vector<Pass> of_this_processor() {
    std::vector<Pass> found;
#ifdef TTAMER_X86_PASSING
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt")) {
        found.push_back(wide_pass);
    }
#endif
    found.push_back(plain_pass);
    return found;
}

} // namespace

std::span<const Pass> all_passes() {
    static const auto found = of_this_processor();
    return found;
}

} // namespace ttamer
