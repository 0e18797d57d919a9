// The inner loops of the solvers, dispatched at run time to the widest vectors the processor has.
#pragma once

#include <cstddef>
#include <span>

namespace ttamer {

// Consecutive columns of a matrix.
struct Columns {
    std::size_t begin;
    std::size_t end;

    std::size_t count() const { return end - begin; }
};

// Columns of a panel.
inline constexpr std::size_t kPanelWidth = 16;
// Rows that fill whole groups of every processor's product.
inline constexpr std::size_t kPanelRows = 24;

// Columns that add_rows sums at the least.
inline constexpr std::size_t kRowGroup = 16;

struct Sums {
    double mass;
    double value;
};

// Each product is added by a fused operation, which rounds once, in the order stated here. So every processor finds the
// same numbers, whatever the width of its vectors.
struct ProductKernels {
    const char *name;
    // out (count x kPanelWidth) = the `count` rows, each of `inner` numbers, times panel (inner x kPanelWidth): sums
    // over the inner numbers in their order.
    void (*multiply_panel)(const double *const *rows, std::size_t count, std::size_t inner, const double *panel,
                           double *out);
    // out (width, a multiple of kRowGroup) = the sum of weights[k] times rows[k], which are as long, in their order.
    void (*add_rows)(std::span<const double *const> rows, const double *weights, std::size_t width, double *out);
    // out[k]: the sums of p, and of p times values, over the first k + 1 pieces. Eight sums run side by side, over
    // every eighth number of a piece; those that a piece has left over go to the first.
    void (*running_sums)(const double *p, const double *values, std::span<const Columns> pieces, Sums *out);
    // out[i], of `count`: row i of a row-major matrix of `inner` columns times `values`, in eight sums side by side
    // like the last but for the numbers left over, which are added to the total one by one.
    void (*multiply_vector)(const double *matrix, std::size_t count, std::size_t inner, const double *values,
                            double *out);
};

// Those that this processor can run, the fastest first: which is what solvers take.
std::span<const ProductKernels> all_product_kernels();
const ProductKernels &product_kernels();

// out (rows x width) = left (rows x inner) times right (inner x width), row-major. out does not overlap the inputs.
void multiply(const double *left, std::size_t rows, std::size_t inner, const double *right, std::size_t width,
              double *out);

// out += scale * values
void add_scaled(double scale, const double *values, std::size_t width, double *out);

} // namespace ttamer
