// The two inner loops of the solvers, dispatched at run time to the widest vectors the processor has.
#pragma once

#include <cstddef>

namespace ttamer {

// out (rows x width) = left (rows x inner) times right (inner x width), row-major. out does not overlap the inputs.
void multiply(const double *left, std::size_t rows, std::size_t inner, const double *right, std::size_t width,
              double *out);

// out += scale * values
void add_scaled(double scale, const double *values, std::size_t width, double *out);

} // namespace ttamer
