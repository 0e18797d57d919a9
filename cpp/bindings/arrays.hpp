// Checked views of NumPy arrays. pybind11's array_t arguments cost several hundred nanoseconds a call and convert
// silently; here every argument is a plain object whose dtype, byte order, rank and contiguity are checked by hand.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace ttamer::bindings {

namespace py = pybind11;

// "(64,) ": a shape as Python shows it, before a dtype.
template <typename Size> std::string describe(const Size *shape, py::ssize_t rank) {
    std::string text = "(";
    for (py::ssize_t axis = 0; axis < rank; ++axis) {
        text += (axis > 0 ? ", " : "") + std::to_string(shape[axis]);
    }
    return text + (rank == 1 ? ",) " : ") ");
}

inline std::string describe(py::handle value) {
    if (!py::isinstance<py::array>(value)) {
        return py::cast<std::string>(py::type::of(value).attr("__name__"));
    }
    const auto array = py::reinterpret_borrow<py::array>(value);
    return describe(array.shape(), array.ndim()) + py::cast<std::string>(py::str(array.dtype()));
}

template <typename T> constexpr char kind_of() {
    return std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 'i' : 'u';
}

// `>f4` has kind f and size 4 too: without the byte order a foreign array would be read as garbage.
template <typename T> bool has_dtype(const py::array &array) {
    const auto descriptor = array.dtype();
    const char order = descriptor.byteorder();
    return descriptor.kind() == kind_of<T>() && descriptor.itemsize() == static_cast<py::ssize_t>(sizeof(T)) &&
           (order == '=' || order == '|');
}

inline bool is_contiguous(const py::array &array) {
    return (array.flags() & py::array::c_style) != 0;
}

// An array over a buffer with an odd offset; reading it as numbers is undefined.
inline bool is_aligned(const py::array &array) {
    return (array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) != 0;
}

// Throws if an array of a class of its own is one of numpy.ma that hides values: nothing here reads its mask.
void check_mask(const py::array &array, const char *name);

// NumPy's own type is static, and a class that is written in Python is not: one bit tells, without a call.
inline void check_unmasked(const py::array &array, const char *name) {
    if (PyType_HasFeature(Py_TYPE(array.ptr()), Py_TPFLAGS_HEAPTYPE)) {
        check_mask(array, name);
    }
}

template <typename T> void check_array(const py::array &array, const char *name, const char *expected, int rank) {
    const auto complain = [&] { return std::string(name) + ": expected " + expected + ", got " + describe(array); };
    check_unmasked(array, name);
    if (!has_dtype<T>(array)) {
        throw py::type_error(complain());
    }
    if (array.ndim() != rank) {
        throw py::value_error(complain());
    }
    if (!is_contiguous(array)) {
        throw py::value_error(complain() + " that is not C-contiguous");
    }
    if (!is_aligned(array)) {
        throw py::value_error(complain() + " that is not aligned in memory");
    }
}

template <typename T> py::array checked_array(py::handle value, const char *name, const char *expected, int rank) {
    if (!py::isinstance<py::array>(value)) {
        throw py::type_error(std::string(name) + ": expected " + expected + ", got " + describe(value));
    }
    auto array = py::reinterpret_borrow<py::array>(value);
    check_array<T>(array, name, expected, rank);
    return array;
}

template <typename T> std::span<const T> as_span(const py::array &array) {
    return {static_cast<const T *>(array.data()), static_cast<std::size_t>(array.size())};
}

// A one-dimensional argument as a span; the caller's reference keeps it alive for the call.
template <typename T> std::span<const T> span_of(py::handle value, const char *name, const char *expected) {
    return as_span<T>(checked_array<T>(value, name, expected, 1));
}

template <typename T> std::vector<T> vector_of(py::handle value, const char *name, const char *expected) {
    const auto span = span_of<T>(value, name, expected);
    return {span.begin(), span.end()};
}

template <typename T> py::array_t<T> to_array(std::span<const T> values) {
    return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

template <typename T> py::array_t<T> to_array(const std::vector<T> &values) {
    return to_array(std::span<const T>(values));
}

} // namespace ttamer::bindings
