// The inner loops of the solvers, dispatched at run time to the widest vectors the processor has.
#pragma once

#include <cstddef>

namespace ttamer {

// Columns that a panel has: sums of a few rows by this many fit into registers.
inline constexpr std::size_t kPanelWidth = 32;

// out (count x kPanelWidth) = the `count` rows, each of `inner` numbers, times panel (inner x kPanelWidth).
void multiply_panel(const double *const *rows, std::size_t count, std::size_t inner, const double *panel, double *out);

// out (rows x width) = left (rows x inner) times right (inner x width), row-major. out does not overlap the inputs.
void multiply(const double *left, std::size_t rows, std::size_t inner, const double *right, std::size_t width,
              double *out);

double dot(const double *a, const double *b, std::size_t count);

// out += scale * values
void add_scaled(double scale, const double *values, std::size_t width, double *out);

} // namespace ttamer
