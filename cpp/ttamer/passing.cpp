#include "ttamer/passing.hpp"

#include "ttamer/dispatch.hpp"
#include "ttamer/topology.hpp"

#include <array>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__) // GCC and Clang, on any system
#include <immintrin.h>
#define TTAMER_X86_PASSING
#endif

namespace ttamer {

namespace {

// Both places are written, and one counts.
std::size_t plain_pass(const RowState *TTAMER_RESTRICT rows, const StateEntry *TTAMER_RESTRICT found, std::size_t count,
                       std::int32_t node, bool recall, RowState *TTAMER_RESTRICT going,
                       RowState *TTAMER_RESTRICT stopped_end) {
    const std::int64_t also = recall ? 0 : -1;
    std::size_t end = 0;
    TTAMER_UNROLL
    for (std::size_t k = 0; k < count; ++k) {
        const Step step = consult_row(rows[k], found[k], also, node, 0);
        const RowState row = choose(kPositionBits, rows[k], step.row);
        going[end] = row;
        *(stopped_end - (k - end) - 1) = row;
        end += step.next == kStop ? 0 : 1;
    }
    return end;
}

#ifdef TTAMER_X86_PASSING

constexpr std::size_t kLanes = 4;

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

// consult_row, four at a time. Four rows are written as a whole to both places, those that go on at the front and those
// that stop at the back; what is too much there, the next four cover.
__attribute__((target("avx2,popcnt"))) std::size_t wide_pass(const RowState *rows, const StateEntry *found,
                                                             std::size_t count, std::int32_t node, bool recall,
                                                             RowState *going, RowState *stopped_end) {
    const __m256i lower = _mm256_set1_epi64x(kLowerHalf);
    const __m256i also = _mm256_set1_epi64x(recall ? 0 : -1);
    const __m256i answer = _mm256_set1_epi64x(static_cast<std::int64_t>(node + 1) << 16);
    std::size_t end = 0;
    std::size_t k = 0;
    for (; k + kLanes <= count; k += kLanes) {
        const __m256i row = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(rows + k));
        const __m256i entry = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(found + k));
        const __m256i take = _mm256_or_si256(_mm256_cmpgt_epi64(row, _mm256_or_si256(entry, lower)), also);
        // Of the four 16 bits of a number, the lowest are the row's own, the next say who answers, and the rest the
        // rank.
        const __m256i taken = _mm256_blend_epi16(_mm256_blend_epi16(entry, answer, 0x22), row, 0x11);
        const __m256i best = _mm256_blendv_epi8(row, taken, take);
        const __m256i go = _mm256_cmpgt_epi64(best, _mm256_or_si256(_mm256_slli_epi64(entry, 32), lower));
        const auto goes = static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(go)));
        const __m256i order = _mm256_load_si256(reinterpret_cast<const __m256i *>(kOrders[goes].halves.data()));
        const __m256i parted = _mm256_permutevar8x32_epi32(best, order);
        _mm256_storeu_si256(reinterpret_cast<__m256i *>(going + end), parted);
        _mm256_storeu_si256(reinterpret_cast<__m256i *>(stopped_end - (k - end) - kLanes), parted);
        end += static_cast<std::size_t>(_mm_popcnt_u32(goes));
    }
    return end + plain_pass(rows + k, found + k, count - k, node, recall, going + end, stopped_end - (k - end));
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
