// What a call says whose arguments are too many, too few or of other names. Functions take theirs as objects (see
// arguments.hpp), so this is all that pybind11 itself can refuse; its text lists C++ types over several lines.
#include "arrays.hpp"
#include "bindings.hpp"

#include <string>

namespace ttamer::bindings {

namespace {

constexpr std::size_t kMostListed = 8;

// pybind11's, the same for every function; set while the module is imported.
_PyCFunctionFastWithKeywords dispatch = nullptr;

// "(self: ttamer._core.Batch, node, rows=None)" of "decide(): ...\n    1. (self: ..., node: object, ...) -> ...\n".
std::string signature_in(const std::string &text) {
    const auto start = text.find("1. ") + 3;
    std::string signature = text.substr(start, text.find(" -> ", start) - start);
    for (const std::string type : {": object = ", ": object"}) {
        for (auto at = signature.find(type); at != std::string::npos; at = signature.find(type)) {
            signature.replace(at, type.size(), type.back() == ' ' ? "=" : "");
        }
    }
    return signature;
}

std::string list_of(PyObject *const *values, std::size_t count, PyObject *names) {
    const auto named = static_cast<std::size_t>(names == nullptr ? 0 : PyTuple_GET_SIZE(names));
    if (count + named > kMostListed) {
        return std::to_string(count + named) + " arguments";
    }
    std::string list;
    for (std::size_t k = 0; k < count + named; ++k) {
        list += k > 0 ? ", " : "";
        if (k >= count) {
            list += std::string(py::str(PyTuple_GET_ITEM(names, static_cast<py::ssize_t>(k - count)))) + "=";
        }
        list += describe(values[k]);
    }
    return "(" + list + ")";
}

PyObject *call(PyObject *self, PyObject *const *values, Py_ssize_t flags, PyObject *names) {
    PyObject *result = dispatch(self, values, flags, names);
    if (result != nullptr || PyErr_ExceptionMatches(PyExc_TypeError) == 0) {
        return result;
    }
    py::error_already_set error;
    const std::string text = py::str(error.value());
    const auto end = text.find("(): incompatible function arguments");
    if (end == std::string::npos) {
        error.restore();
    } else {
        const auto count = static_cast<std::size_t>(PyVectorcall_NARGS(static_cast<std::size_t>(flags)));
        const auto message =
            text.substr(0, end) + ": expected " + signature_in(text) + ", got " + list_of(values, count, names);
        PyErr_SetString(PyExc_TypeError, message.c_str());
    }
    return nullptr;
}

void adopt(py::handle function) {
    if (PyInstanceMethod_Check(function.ptr())) {
        function = PyInstanceMethod_GET_FUNCTION(function.ptr());
    }
    if (!PyCFunction_Check(function.ptr())) {
        return;
    }
    auto *definition = reinterpret_cast<PyCFunctionObject *>(function.ptr())->m_ml;
    auto *const own = reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(call));
    if (definition->ml_flags == (METH_FASTCALL | METH_KEYWORDS) && definition->ml_meth != own) {
        dispatch = reinterpret_cast<_PyCFunctionFastWithKeywords>(reinterpret_cast<void (*)()>(definition->ml_meth));
        definition->ml_meth = own;
    }
}

} // namespace

void name_wrong_calls(py::handle scope) {
    for (const auto &[name, value] : py::dict(scope.attr("__dict__"))) {
        if (PyType_Check(value.ptr())) {
            name_wrong_calls(value);
        } else if (py::isinstance<py::staticmethod>(value)) {
            adopt(value.attr("__func__"));
        } else {
            adopt(value);
        }
    }
}

} // namespace ttamer::bindings
