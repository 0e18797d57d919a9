// Arguments that are NumPy arrays or tensors on the CPU: PyTorch's, or of any other type that has DLPack's C exchange
// API. Tensors are read where they lie, without a call through Python and without linking their library; those of a
// PyTorch that is older than the API (2.10) by a call of its own function.
#pragma once

#include "arrays.hpp"
#include "dlpack.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

namespace ttamer::bindings {

bool is_tensor(py::handle value);

// How an argument is named in errors.
struct Argument {
    py::handle value;
    const char *name;
    const char *expected;
};

// A tensor, and what its shape and strides lie in where that is not the tensor itself.
struct TensorView : dlpack::Tensor {
    py::object owner;
};

// What a tensor shows of itself; throws if the argument is none or cannot be read. Its memory is valid for the call:
// the caller holds the tensor, and only code that changes it from another thread could move it.
TensorView tensor_of(const Argument &argument);

// The same for floating-point values: throws if they are the negatives of what lies in memory. PyTorch negates
// `x.conj().imag` only when it is read, and DLPack has no word for that. Integers are no part of a complex number.
TensorView values_of(const Argument &argument);

// "signals: expected (B,) float32, got (3,) float64"
std::string complaint(const Argument &argument, const dlpack::Tensor &tensor);

// The first element of a tensor whose dtype has been checked, null if it has none. Throws unless it is of this rank and
// lies in memory that the processor reads, as a NumPy array has to: C-contiguous and aligned.
const void *checked_data(const Argument &argument, const dlpack::Tensor &tensor, int rank);

template <typename T> bool has_dtype(const dlpack::Tensor &tensor) {
    constexpr std::uint8_t kCode =
        std::is_floating_point_v<T> ? dlpack::kFloat : (std::is_signed_v<T> ? dlpack::kInt : dlpack::kUInt);
    return tensor.dtype == dlpack::DataType{kCode, 8 * sizeof(T), 1};
}

template <typename T> std::span<const T> span_of(const Argument &argument, const dlpack::Tensor &tensor) {
    if (!has_dtype<T>(tensor)) {
        throw py::type_error(complaint(argument, tensor));
    }
    const void *data = checked_data(argument, tensor, 1);
    return {static_cast<const T *>(data), static_cast<std::size_t>(tensor.shape[0])};
}

// A one-dimensional array or tensor as a span; the caller's reference keeps it alive for the call.
template <typename T> std::span<const T> span_of(const Argument &argument) {
    if (py::isinstance<py::array>(argument.value)) {
        const auto array = py::reinterpret_borrow<py::array>(argument.value);
        check_array<T>(array, argument.name, argument.expected, 1);
        return as_span<T>(array);
    }
    return span_of<T>(argument, std::is_floating_point_v<T> ? values_of(argument) : tensor_of(argument));
}

} // namespace ttamer::bindings
