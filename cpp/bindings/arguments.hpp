// Arguments that are no arrays. Functions take them as objects and convert them here: what pybind11 says of an argument
// that it cannot convert names neither the argument nor what was expected. A conversion may run any Python code, as
// `__index__` does, so it comes before arrays are looked at.
#pragma once

#include "arrays.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ttamer::bindings {

[[noreturn]] inline void refuse_type(py::handle value, const std::string &name, const std::string &expected) {
    throw py::type_error(name + ": expected " + expected + ", got " + describe(value));
}

// Whether the pending exception is a TypeError, which is then cleared; throws it if it is another.
inline bool was_wrong_type() {
    if (PyErr_ExceptionMatches(PyExc_TypeError) == 0) {
        throw py::error_already_set();
    }
    PyErr_Clear();
    return true;
}

// Of an int, NumPy's included; what 64 bits cannot hold is clipped, and then out of every range. A bool is none, though
// NumPy 1 takes its own for an index.
inline std::optional<std::int64_t> try_integer(py::handle value) {
    const std::string_view type = Py_TYPE(value.ptr())->tp_name;
    if (PyIndex_Check(value.ptr()) == 0 || PyBool_Check(value.ptr()) || type == "numpy.bool_") {
        return std::nullopt;
    }
    const Py_ssize_t number = PyNumber_AsSsize_t(value.ptr(), nullptr);
    if (number == -1 && PyErr_Occurred() != nullptr && was_wrong_type()) {
        return std::nullopt;
    }
    return number;
}

inline std::int64_t integer_of(py::handle value, const std::string &name, const std::string &expected = "an int") {
    const auto number = try_integer(value);
    if (!number) {
        refuse_type(value, name, expected);
    }
    return *number;
}

inline double number_of(py::handle value, const std::string &name) {
    if (PyBool_Check(value.ptr()) || PyComplex_Check(value.ptr())) {
        refuse_type(value, name, "a number");
    }
    const double number = PyFloat_AsDouble(value.ptr());
    if (number == -1 && PyErr_Occurred() != nullptr) {
        if (PyErr_ExceptionMatches(PyExc_OverflowError) != 0) {
            PyErr_Clear();
            throw py::value_error(name + ": expected a number that a float can hold, got a larger one");
        }
        if (was_wrong_type()) {
            refuse_type(value, name, "a number");
        }
    }
    return number;
}

inline bool flag_of(py::handle value, const std::string &name) {
    if (!PyBool_Check(value.ptr())) {
        refuse_type(value, name, "a bool");
    }
    return value.ptr() == Py_True;
}

// All that is taken are names of things; what is refused may be quoted in the message.
inline constexpr std::size_t kMostText = 200;

inline std::string string_of(py::handle value, const std::string &name) {
    if (PyUnicode_Check(value.ptr()) == 0) {
        refuse_type(value, name, "a str");
    }
    Py_ssize_t size = 0;
    const char *text = PyUnicode_AsUTF8AndSize(value.ptr(), &size);
    if (text == nullptr) { // lone surrogates
        throw py::error_already_set();
    }
    const std::string result(text, static_cast<std::size_t>(size));
    if (result.size() > kMostText ||
        std::any_of(result.begin(), result.end(), [](unsigned char c) { return c < ' '; })) {
        throw py::value_error(name + ": expected a name, got a long text or one that cannot be shown");
    }
    return result;
}

// Of an instance of a bound class; the caller's reference keeps it alive for the call.
template <typename T> T &instance_of(py::handle value, const std::string &name, const std::string &expected) {
    if (!py::isinstance<T>(value)) {
        refuse_type(value, name, expected);
    }
    return value.cast<T &>();
}

template <typename T>
std::shared_ptr<T> shared_of(py::handle value, const std::string &name, const std::string &expected) {
    instance_of<T>(value, name, expected);
    return value.cast<std::shared_ptr<T>>();
}

// What any iterable yields; an endless one is left after `most`.
inline std::vector<py::object> items_of(py::handle value, const std::string &name, const std::string &expected,
                                        std::size_t most) {
    const bool is_text = PyUnicode_Check(value.ptr()) || PyBytes_Check(value.ptr());
    const auto iterator =
        py::reinterpret_steal<py::object>(is_text ? nullptr : PyObject_GetIter(value.ptr())); // NOLINT: null is checked
    if (!iterator && (is_text || was_wrong_type())) {
        refuse_type(value, name, expected);
    }
    std::vector<py::object> items;
    while (PyObject *item = PyIter_Next(iterator.ptr())) {
        items.push_back(py::reinterpret_steal<py::object>(item));
        if (items.size() > most) {
            throw py::value_error(name + ": expected at most " + std::to_string(most) + ", got more");
        }
    }
    if (PyErr_Occurred() != nullptr) {
        throw py::error_already_set();
    }
    return items;
}

} // namespace ttamer::bindings
