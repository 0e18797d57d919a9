// The loops that most of an exact solve's time goes into, once for each kind of processor.
//
// Fused operations are asked for by name, so that none is left to the compiler. A processor or a compiler without them
// calls std::fma, which is many times slower and rounds alike.
#include "ttamer/base/product.hpp"

#include "ttamer/base/dispatch.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(TTAMER_PLAIN) // GCC and Clang, on any system
#include <immintrin.h>
#define TTAMER_X86_KERNELS
#endif

namespace ttamer {

namespace {

// kRows x kColumns sums stay in registers while both factors stream by.
using Tile = void (*)(const double *const *rows, std::size_t inner, const double *panel, double *out);

// Rows in groups of kRows, in as many runs over the panel as its columns take.
template <std::size_t kRows, std::size_t kColumns, Tile tile>
void run(const double *const *rows, std::size_t count, std::size_t inner, const double *panel, double *out) {
    static_assert(kPanelWidth % kColumns == 0 && kPanelRows % kRows == 0);
    std::size_t row = 0;
    for (; row + kRows <= count; row += kRows) {
        for (std::size_t column = 0; column < kPanelWidth; column += kColumns) {
            tile(rows + row, inner, panel + column, out + row * kPanelWidth + column);
        }
    }
    if (row < count) { // a last group of less: the missing rows repeat the last one
        const double *group[kRows];
        double sums[kRows * kPanelWidth];
        for (std::size_t i = 0; i < kRows; ++i) {
            group[i] = rows[std::min(row + i, count - 1)];
        }
        for (std::size_t column = 0; column < kPanelWidth; column += kColumns) {
            tile(group, inner, panel + column, sums + column);
        }
        std::memcpy(out + row * kPanelWidth, sums, (count - row) * kPanelWidth * sizeof(double));
    }
}

// The sums take half of an ARM processor's 32 vectors of two numbers.
constexpr std::size_t kPlainRows = 4;
constexpr std::size_t kPlainColumns = 8;

void plain_tile(const double *const *rows, std::size_t inner, const double *panel, double *out) {
    double sums[kPlainRows][kPlainColumns] = {};
    for (std::size_t k = 0; k < inner; ++k) {
        const double *values = panel + k * kPanelWidth;
        for (std::size_t i = 0; i < kPlainRows; ++i) {
            const double scale = rows[i][k];
            for (std::size_t w = 0; w < kPlainColumns; ++w) {
                sums[i][w] = std::fma(scale, values[w], sums[i][w]);
            }
        }
    }
    for (std::size_t i = 0; i < kPlainRows; ++i) {
        std::memcpy(out + i * kPanelWidth, sums[i], sizeof(sums[i]));
    }
}

void plain_add_rows(std::span<const double *const> rows, const double *weights, std::size_t width, double *out) {
    std::fill_n(out, width, 0.0);
    for (std::size_t k = 0; k < rows.size(); ++k) {
        const double *values = rows[k];
        for (std::size_t w = 0; w < width; ++w) {
            out[w] = std::fma(weights[k], values[w], out[w]);
        }
    }
}

constexpr std::size_t kLanes = 8;

// In pairs, so that the additions need not wait for each other.
double total(const double *lanes) {
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

void plain_running_sums(const double *p, const double *values, std::span<const Columns> pieces, Sums *out) {
    double masses[kLanes] = {};
    double sums[kLanes] = {};
    for (const auto &piece : pieces) {
        std::size_t k = piece.begin;
        for (; k + kLanes <= piece.end; k += kLanes) {
            for (std::size_t w = 0; w < kLanes; ++w) {
                masses[w] += p[k + w];
                sums[w] = std::fma(p[k + w], values[k + w], sums[w]);
            }
        }
        for (; k < piece.end; ++k) {
            masses[0] += p[k];
            sums[0] = std::fma(p[k], values[k], sums[0]);
        }
        *out++ = {total(masses), total(sums)};
    }
}

void plain_multiply_vector(const double *matrix, std::size_t count, std::size_t inner, const double *values,
                           double *out) {
    const std::size_t whole = inner - inner % kLanes;
    for (std::size_t i = 0; i < count; ++i) {
        const double *row = matrix + i * inner;
        double sums[kLanes] = {};
        for (std::size_t k = 0; k < whole; k += kLanes) {
            for (std::size_t w = 0; w < kLanes; ++w) {
                sums[w] = std::fma(row[k + w], values[k + w], sums[w]);
            }
        }
        out[i] = total(sums);
        for (std::size_t k = whole; k < inner; ++k) {
            out[i] = std::fma(row[k], values[k], out[i]);
        }
    }
}

#ifdef TTAMER_X86_KERNELS

// By hand: of the plain loops a compiler makes good code for one shape and spills every register for the next.
constexpr std::size_t kWideRows = 8;
constexpr std::size_t kWideColumns = 16;

__attribute__((target("avx512f"))) void wide_tile(const double *const *rows, std::size_t inner, const double *panel,
                                                  double *out) {
    __m512d sums[kWideRows][2];
    TTAMER_UNROLL
    for (std::size_t i = 0; i < kWideRows; ++i) {
        sums[i][0] = sums[i][1] = _mm512_setzero_pd();
    }
    for (std::size_t k = 0; k < inner; ++k) {
        const double *values = panel + k * kPanelWidth;
        const __m512d left = _mm512_loadu_pd(values);
        const __m512d right = _mm512_loadu_pd(values + 8);
        TTAMER_UNROLL
        for (std::size_t i = 0; i < kWideRows; ++i) {
            const __m512d scale = _mm512_set1_pd(rows[i][k]);
            sums[i][0] = _mm512_fmadd_pd(scale, left, sums[i][0]);
            sums[i][1] = _mm512_fmadd_pd(scale, right, sums[i][1]);
        }
    }
    TTAMER_UNROLL
    for (std::size_t i = 0; i < kWideRows; ++i) {
        _mm512_storeu_pd(out + i * kPanelWidth, sums[i][0]);
        _mm512_storeu_pd(out + i * kPanelWidth + 8, sums[i][1]);
    }
}

// The two halves of eight lanes, in the pairs of the plain one.
__attribute__((target("avx2"))) double total(const __m256d (&lanes)[2]) {
    const __m256d fours = _mm256_add_pd(lanes[0], lanes[1]);
    const __m128d twos = _mm_add_pd(_mm256_castpd256_pd128(fours), _mm256_extractf128_pd(fours, 1));
    return _mm_cvtsd_f64(_mm_add_sd(twos, _mm_unpackhi_pd(twos, twos)));
}

constexpr std::size_t kHalfRows = 6;
constexpr std::size_t kHalfColumns = 8;

__attribute__((target("avx2,fma"))) void half_tile(const double *const *rows, std::size_t inner, const double *panel,
                                                   double *out) {
    __m256d sums[kHalfRows][2];
    TTAMER_UNROLL
    for (std::size_t i = 0; i < kHalfRows; ++i) {
        sums[i][0] = sums[i][1] = _mm256_setzero_pd();
    }
    for (std::size_t k = 0; k < inner; ++k) {
        const double *values = panel + k * kPanelWidth;
        const __m256d left = _mm256_loadu_pd(values);
        const __m256d right = _mm256_loadu_pd(values + 4);
        TTAMER_UNROLL
        for (std::size_t i = 0; i < kHalfRows; ++i) {
            const __m256d scale = _mm256_broadcast_sd(rows[i] + k);
            sums[i][0] = _mm256_fmadd_pd(scale, left, sums[i][0]);
            sums[i][1] = _mm256_fmadd_pd(scale, right, sums[i][1]);
        }
    }
    TTAMER_UNROLL
    for (std::size_t i = 0; i < kHalfRows; ++i) {
        _mm256_storeu_pd(out + i * kPanelWidth, sums[i][0]);
        _mm256_storeu_pd(out + i * kPanelWidth + 4, sums[i][1]);
    }
}

template <std::size_t kVectors>
__attribute__((target("avx2,fma"))) void half_add_group(std::span<const double *const> rows, const double *weights,
                                                        std::size_t begin, double *out) {
    __m256d sums[kVectors];
    TTAMER_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) {
        sums[v] = _mm256_setzero_pd();
    }
    for (std::size_t k = 0; k < rows.size(); ++k) {
        const __m256d weight = _mm256_broadcast_sd(weights + k);
        const double *values = rows[k] + begin;
        TTAMER_UNROLL
        for (std::size_t v = 0; v < kVectors; ++v) {
            sums[v] = _mm256_fmadd_pd(weight, _mm256_loadu_pd(values + 4 * v), sums[v]);
        }
    }
    TTAMER_UNROLL
    for (std::size_t v = 0; v < kVectors; ++v) {
        _mm256_storeu_pd(out + begin + 4 * v, sums[v]);
    }
}

// Two groups of columns at a time: more sums then run side by side than one group has.
void half_add_rows(std::span<const double *const> rows, const double *weights, std::size_t width, double *out) {
    std::size_t begin = 0;
    for (; begin + 2 * kRowGroup <= width; begin += 2 * kRowGroup) {
        half_add_group<2 * kRowGroup / 4>(rows, weights, begin, out);
    }
    if (begin < width) {
        half_add_group<kRowGroup / 4>(rows, weights, begin, out);
    }
}

__attribute__((target("avx2,fma"))) void half_running_sums(const double *p, const double *values,
                                                           std::span<const Columns> pieces, Sums *out) {
    __m256d masses[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()};
    __m256d sums[2] = {_mm256_setzero_pd(), _mm256_setzero_pd()};
    for (const auto &piece : pieces) {
        std::size_t k = piece.begin;
        for (; k + kLanes <= piece.end; k += kLanes) {
            TTAMER_UNROLL
            for (std::size_t half = 0; half < 2; ++half) {
                const __m256d weights = _mm256_loadu_pd(p + k + 4 * half);
                masses[half] = _mm256_add_pd(masses[half], weights);
                sums[half] = _mm256_fmadd_pd(weights, _mm256_loadu_pd(values + k + 4 * half), sums[half]);
            }
        }
        for (; k < piece.end; ++k) {
            const __m256d weight = _mm256_set_pd(0, 0, 0, p[k]);
            masses[0] = _mm256_add_pd(masses[0], weight);
            sums[0] = _mm256_fmadd_pd(weight, _mm256_set_pd(0, 0, 0, values[k]), sums[0]);
        }
        *out++ = {total(masses), total(sums)};
    }
}

template <std::size_t kRows>
__attribute__((target("avx2,fma"))) void half_multiply_rows(const double *matrix, std::size_t inner,
                                                            const double *values, double *out) {
    const std::size_t whole = inner - inner % kLanes;
    __m256d sums[kRows][2];
    TTAMER_UNROLL
    for (std::size_t i = 0; i < kRows; ++i) {
        sums[i][0] = sums[i][1] = _mm256_setzero_pd();
    }
    for (std::size_t k = 0; k < whole; k += kLanes) {
        const __m256d left = _mm256_loadu_pd(values + k);
        const __m256d right = _mm256_loadu_pd(values + k + 4);
        TTAMER_UNROLL
        for (std::size_t i = 0; i < kRows; ++i) {
            const double *row = matrix + i * inner + k;
            sums[i][0] = _mm256_fmadd_pd(_mm256_loadu_pd(row), left, sums[i][0]);
            sums[i][1] = _mm256_fmadd_pd(_mm256_loadu_pd(row + 4), right, sums[i][1]);
        }
    }
    TTAMER_UNROLL
    for (std::size_t i = 0; i < kRows; ++i) {
        out[i] = total(sums[i]);
        for (std::size_t k = whole; k < inner; ++k) {
            out[i] = std::fma(matrix[i * inner + k], values[k], out[i]);
        }
    }
}

// Sums of several rows do not wait for each other.
void half_multiply_vector(const double *matrix, std::size_t count, std::size_t inner, const double *values,
                          double *out) {
    constexpr std::size_t kTogether = 4;
    std::size_t i = 0;
    for (; i + kTogether <= count; i += kTogether) {
        half_multiply_rows<kTogether>(matrix + i * inner, inner, values, out + i);
    }
    for (; i < count; ++i) {
        half_multiply_rows<1>(matrix + i * inner, inner, values, out + i);
    }
}

#endif

std::vector<ProductKernels> of_this_processor() {
    std::vector<ProductKernels> found;
#ifdef TTAMER_X86_KERNELS
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        if (__builtin_cpu_supports("avx512f")) {
            // The others wait for memory, not for vectors.
            found.push_back({"avx512", run<kWideRows, kWideColumns, wide_tile>, half_add_rows, half_running_sums,
                             half_multiply_vector});
        }
        found.push_back(
            {"avx2", run<kHalfRows, kHalfColumns, half_tile>, half_add_rows, half_running_sums, half_multiply_vector});
    }
#endif
    found.push_back({"plain", run<kPlainRows, kPlainColumns, plain_tile>, plain_add_rows, plain_running_sums,
                     plain_multiply_vector});
    return found;
}

} // namespace

std::span<const ProductKernels> all_product_kernels() {
    static const auto found = of_this_processor();
    return found;
}

const ProductKernels &product_kernels() {
    return all_product_kernels().front();
}

} // namespace ttamer
