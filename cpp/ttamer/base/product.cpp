#include "ttamer/base/product.hpp"

#include "ttamer/base/dispatch.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

namespace ttamer {

void multiply(const double *left, std::size_t rows, std::size_t inner, const double *right, std::size_t width,
              double *out) {
    std::vector<const double *> starts(rows);
    for (std::size_t i = 0; i < rows; ++i) {
        starts[i] = left + i * inner;
    }
    std::vector<double> panel(inner * kPanelWidth);
    std::vector<double> sums(rows * kPanelWidth);
    for (std::size_t begin = 0; begin < width; begin += kPanelWidth) {
        const std::size_t count = std::min(kPanelWidth, width - begin);
        for (std::size_t k = 0; k < inner; ++k) {
            double *row = panel.data() + k * kPanelWidth;
            std::fill(std::copy_n(right + k * width + begin, count, row), row + kPanelWidth, 0.0);
        }
        product_kernels().multiply_panel(starts.data(), rows, inner, panel.data(), sums.data());
        for (std::size_t i = 0; i < rows; ++i) {
            std::memcpy(out + i * width + begin, sums.data() + i * kPanelWidth, count * sizeof(double));
        }
    }
}

TTAMER_CLONES void add_scaled(double scale, const double *values, std::size_t width, double *out) {
    for (std::size_t k = 0; k < width; ++k) {
        out[k] += scale * values[k];
    }
}

} // namespace ttamer
