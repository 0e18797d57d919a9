#include "ttamer/product.hpp"

#include "ttamer/dispatch.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

namespace ttamer {

namespace {

constexpr std::size_t kRows = 4;
constexpr std::size_t kWidth = 32;

// kRows x kWidth sums held in registers while `panel` (inner x kWidth, packed) streams by.
TTAMER_CLONES void multiply_panel(const double *left, std::size_t stride, std::size_t inner, const double *panel,
                                  double *out, std::size_t out_stride) {
    double sums[kRows][kWidth] = {};
    for (std::size_t k = 0; k < inner; ++k) {
        const double *values = panel + k * kWidth;
        for (std::size_t i = 0; i < kRows; ++i) {
            const double scale = left[i * stride + k];
            for (std::size_t w = 0; w < kWidth; ++w) {
                sums[i][w] += scale * values[w];
            }
        }
    }
    for (std::size_t i = 0; i < kRows; ++i) {
        std::memcpy(out + i * out_stride, sums[i], kWidth * sizeof(double));
    }
}

TTAMER_CLONES void add_scaled_loop(double scale, const double *values, std::size_t width, double *out) {
    for (std::size_t k = 0; k < width; ++k) {
        out[k] += scale * values[k];
    }
}

} // namespace

void add_scaled(double scale, const double *values, std::size_t width, double *out) {
    add_scaled_loop(scale, values, width, out);
}

void multiply(const double *left, std::size_t rows, std::size_t inner, const double *right, std::size_t width,
              double *out) {
    // Rows are padded to a multiple of kRows and columns to a multiple of kWidth, so that one kernel serves all.
    const std::size_t padded = (rows + kRows - 1) / kRows * kRows;
    std::vector<double> tail;
    const std::size_t whole = rows / kRows * kRows;
    if (whole < rows) {
        tail.assign(kRows * inner, 0.0);
        std::copy(left + whole * inner, left + rows * inner, tail.begin());
    }
    std::vector<double> panel(inner * kWidth);
    double block[kRows * kWidth];
    for (std::size_t begin = 0; begin < width; begin += kWidth) {
        const std::size_t count = std::min(kWidth, width - begin);
        for (std::size_t k = 0; k < inner; ++k) {
            std::memcpy(panel.data() + k * kWidth, right + k * width + begin, count * sizeof(double));
            std::fill(panel.begin() + static_cast<std::ptrdiff_t>(k * kWidth + count),
                      panel.begin() + static_cast<std::ptrdiff_t>((k + 1) * kWidth), 0.0);
        }
        for (std::size_t row = 0; row < padded; row += kRows) {
            const double *source = row < whole ? left + row * inner : tail.data();
            multiply_panel(source, inner, inner, panel.data(), block, kWidth);
            for (std::size_t i = 0; i < std::min(kRows, rows - row); ++i) {
                std::memcpy(out + (row + i) * width + begin, block + i * kWidth, count * sizeof(double));
            }
        }
    }
}

} // namespace ttamer
