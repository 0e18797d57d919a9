#include "tensors.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <mutex>
#include <utility>

namespace ttamer::bindings {

namespace {

// How the tensors of one type are read.
struct TensorType {
    PyTypeObject *type = nullptr;
    dlpack::ViewOf view_of = nullptr;
    bool is_older = false; // PyTorch's, without that function

    bool is_tensor() const { return view_of != nullptr || is_older; }
};

bool is_of_torch(PyTypeObject *type) {
    const py::dict modules = py::module_::import("sys").attr("modules");
    if (!modules.contains("torch")) {
        return false;
    }
    const py::object tensor = py::getattr(modules["torch"], "Tensor", py::none()); // none yet while it is imported
    return PyType_Check(tensor.ptr()) && PyType_IsSubtype(type, reinterpret_cast<PyTypeObject *>(tensor.ptr())) != 0;
}

TensorType look_up(PyTypeObject *type) {
    TensorType found{type};
    const py::object capsule = py::getattr(reinterpret_cast<PyObject *>(type), dlpack::kApiAttribute, py::none());
    if (PyCapsule_IsValid(capsule.ptr(), dlpack::kApiCapsule) == 0) {
        found.is_older = is_of_torch(type);
        return found;
    }
    const auto *api = static_cast<const dlpack::ApiHeader *>(PyCapsule_GetPointer(capsule.ptr(), dlpack::kApiCapsule));
    while (api != nullptr && api->version.major != dlpack::kMajorVersion) {
        api = api->previous;
    }
    if (api != nullptr) {
        found.view_of = reinterpret_cast<const dlpack::ExchangeApi *>(api)->view_of;
    }
    return found;
}

// Where there is a GIL one thread at a time is here anyway, and a lock would make every call with tensors slower.
#ifdef Py_GIL_DISABLED
using Lock = std::mutex;
#else
struct Lock {
    void lock() {}
    void unlock() {}
};
#endif

// A look-up takes longer than all else here, so the types seen last are kept: those that are no tensors too, as nodes
// may be integers of any type. References to them are held, or another type could come to lie where one was. No Python
// code runs under the lock.
TensorType type_of(py::handle value) {
    static Lock lock;
    static std::array<TensorType, 4> kept;
    static std::size_t oldest = 0;
    PyTypeObject *type = Py_TYPE(value.ptr());
    const auto is_type = [type](const TensorType &each) { return each.type == type; };
    {
        const std::lock_guard guard(lock);
        if (const auto *const found = std::find_if(kept.begin(), kept.end(), is_type); found != kept.end()) {
            return *found;
        }
    }
    const TensorType found = look_up(type);
    PyTypeObject *forgotten = type; // where another thread was quicker, and kept this one
    Py_INCREF(reinterpret_cast<PyObject *>(type));
    {
        const std::lock_guard guard(lock);
        if (std::none_of(kept.begin(), kept.end(), is_type)) {
            forgotten = std::exchange(kept[oldest], found).type;
            oldest = (oldest + 1) % kept.size();
        }
    }
    Py_XDECREF(reinterpret_cast<PyObject *>(forgotten)); // last: freeing a type may run any code
    return found;
}

std::string beginning(const Argument &argument) {
    return std::string(argument.name) + ": expected " + argument.expected + ", got ";
}

std::string type_name(py::handle value) {
    return py::cast<std::string>(py::type::of(value).attr("__name__"));
}

// "torch.float32" is float32 here, as it is in NumPy.
std::string last_name(py::handle value, const char *attribute, const std::string &otherwise) {
    const py::object found = py::getattr(value, attribute, py::none());
    if (found.is_none()) {
        return otherwise;
    }
    const auto text = py::cast<std::string>(py::str(found));
    return text.substr(text.rfind('.') + 1); // npos + 1 is 0
}

// The library's own exception as the cause of one that names the argument. What is not a refusal goes on as it is.
[[noreturn]] void raise_refused(const Argument &argument) {
    py::error_already_set error;
    if (!error.matches(PyExc_RuntimeError) && !error.matches(PyExc_BufferError)) {
        throw error;
    }
    const auto reason = py::cast<std::string>(py::str(error.value()));
    const std::string message = beginning(argument) + type_name(argument.value) +
                                " that cannot be read: " + reason.substr(0, reason.find('\n')); // PyTorch adds a trace
    py::raise_from(error, PyExc_ValueError, message.c_str());
    throw py::error_already_set();
}

std::size_t size_of(const dlpack::Tensor &tensor) {
    std::size_t size = 1;
    for (int axis = 0; axis < tensor.rank; ++axis) {
        size *= static_cast<std::size_t>(tensor.shape[axis]);
    }
    return size;
}

// Whether the strides of the axes longer than `shortest` are those of a contiguous tensor.
bool has_packed_strides(const dlpack::Tensor &tensor, std::int64_t shortest) {
    std::uint64_t stride = 1; // unsigned: beside an axis of no elements the others may be of any size
    for (int axis = tensor.rank - 1; tensor.strides != nullptr && axis >= 0; --axis) {
        if (tensor.shape[axis] > shortest && static_cast<std::uint64_t>(tensor.strides[axis]) != stride) {
            return false;
        }
        stride *= static_cast<std::uint64_t>(tensor.shape[axis]);
    }
    return true;
}

// As in NumPy the stride of an axis of one element does not matter, nor does any where there are no elements.
bool is_contiguous(const dlpack::Tensor &tensor) {
    return has_packed_strides(tensor, 1) || size_of(tensor) == 0;
}

bool is_readable(const dlpack::Device &device) {
    return device.type == dlpack::kCpu || device.type == dlpack::kPinnedByCuda || device.type == dlpack::kPinnedByRocm;
}

void check_not_negated(const Argument &argument) {
    const py::object is_neg = py::getattr(py::type::handle_of(argument.value), "is_neg", py::none());
    if (is_neg.is_none()) {
        return;
    }
    const auto answer = py::reinterpret_steal<py::object>(PyObject_CallOneArg(is_neg.ptr(), argument.value.ptr()));
    if (!answer) {
        raise_refused(argument);
    }
    const int negated = PyObject_IsTrue(answer.ptr());
    if (negated < 0) {
        throw py::error_already_set();
    }
    if (negated > 0) {
        throw py::value_error(beginning(argument) + type_name(argument.value) +
                              " that is the negative of its memory; resolve it with .resolve_neg()");
    }
}

} // namespace

void check_mask(const py::array &array, const char *name) {
    const auto masked = py::module_::import("numpy.ma");
    if (!py::isinstance(array, masked.attr("MaskedArray"))) {
        return;
    }
    if (const auto count = masked.attr("count_masked")(array).cast<std::int64_t>(); count > 0) {
        throw py::value_error(std::string(name) + ": expected values everywhere, got a masked array with " +
                              std::to_string(count) + " masked");
    }
}

bool is_tensor(py::handle value) {
    return type_of(value).is_tensor();
}

// Of the tensor's own memory, whatever becomes of the capsule; Python's `__dlpack__` refuses tensors with gradients.
TensorView exported(const Argument &argument) {
    const auto to_dlpack = py::module_::import("torch.utils.dlpack").attr("to_dlpack");
    auto capsule = py::reinterpret_steal<py::object>(PyObject_CallOneArg(to_dlpack.ptr(), argument.value.ptr()));
    if (!capsule) {
        raise_refused(argument);
    }
    const auto *tensor =
        static_cast<const dlpack::Tensor *>(PyCapsule_GetPointer(capsule.ptr(), dlpack::kTensorCapsule));
    if (tensor == nullptr) {
        throw py::error_already_set();
    }
    return {*tensor, std::move(capsule)};
}

TensorView tensor_of(const Argument &argument) {
    const TensorType type = type_of(argument.value);
    if (type.is_older) {
        return exported(argument);
    }
    if (!type.is_tensor()) {
        const bool near =
            py::hasattr(argument.value, "__dlpack__") || py::hasattr(argument.value, dlpack::kApiAttribute);
        throw py::type_error(beginning(argument) + describe(argument.value) +
                             (near ? " without version 1 of DLPack's C exchange API; pass it as a NumPy array" : ""));
    }
    TensorView tensor{};
    if (type.view_of(argument.value.ptr(), &tensor) != 0) {
        raise_refused(argument);
    }
    return tensor;
}

// Asking takes longer than all else here, so only those are asked that could be the imaginary part of a complex tensor:
// it has a stride of two or more, which PyTorch keeps for an axis of one element too. That lets through what was given
// other strides on purpose: by `as_strided`, or by reshaping a negated scalar to one axis.
TensorView values_of(const Argument &argument) {
    TensorView tensor = tensor_of(argument);
    if (has_packed_strides(tensor, 0) && !tensor.owner) { // an older PyTorch exports such strides as 1
        return tensor;
    }
    check_not_negated(argument);
    return tensor_of(argument); // anew: asking may let other threads run
}

std::string complaint(const Argument &argument, const dlpack::Tensor &tensor) {
    const dlpack::DataType &dtype = tensor.dtype;
    std::string number = "DLPack type " + std::to_string(dtype.code) + " of " + std::to_string(dtype.bits) + " bits";
    if (dtype.lanes != 1) {
        number += " and " + std::to_string(dtype.lanes) + " lanes";
    }
    return beginning(argument) + describe(tensor.shape, tensor.rank) + last_name(argument.value, "dtype", number);
}

const void *checked_data(const Argument &argument, const dlpack::Tensor &tensor, int rank) {
    const auto complain = [&] { return complaint(argument, tensor); };
    if (!is_readable(tensor.device)) {
        const std::string number = "DLPack device " + std::to_string(tensor.device.type);
        throw py::value_error(complain() + " on " + last_name(argument.value, "device", number) +
                              "; move it with .cpu()");
    }
    if (tensor.rank != rank) {
        throw py::value_error(complain());
    }
    if (!is_contiguous(tensor)) {
        throw py::value_error(complain() + " that is not C-contiguous");
    }
    if (size_of(tensor) == 0) {
        return nullptr;
    }
    if (tensor.data == nullptr) {
        throw py::value_error(complain() + " " + type_name(argument.value) + " without memory");
    }
    const char *data = static_cast<const char *>(tensor.data) + tensor.byte_offset;
    if (reinterpret_cast<std::uintptr_t>(data) % (tensor.dtype.bits / 8U) != 0) {
        throw py::value_error(complain() + " that is not aligned in memory");
    }
    return data;
}

} // namespace ttamer::bindings
