// Logits as NumPy arrays: the element types that are taken, and what is said of others.
#pragma once

#include "ttamer/softmax.hpp"

#include "arrays.hpp"

namespace ttamer::bindings {

inline constexpr const char *kDecideLogitsDoc =
    R"(Compute the policy's signal from logits, then do what `decide` does.

The signal is the one that the policy's traces were made with (`Policy.signal`): the largest probability of
softmax(logits), the largest less the second largest, or the negative entropy, as in `ttamer.signals`.

Parameters
----------
node : int or (B,) int32
    As for `decide`.
logits : (B, C) float32, float16, uint16 or bfloat16
    What the node showed, C-contiguous, C >= 2. uint16 holds the bits of bfloat16, of a PyTorch tensor
    ``tensor.view(torch.uint16).numpy()``; the bfloat16 of ml_dtypes is taken as it is. -inf is a probability of 0.
rows : (B,) int32 or int64, optional
    As for `decide`.

Returns
-------
(B,) int32
    As for `decide`.

Raises
------
TypeError
    Wrong dtype or byte order.
ValueError
    Wrong shape, a policy whose signals were stated by the user, or anything `decide` raises it for. A row of
    logits with a NaN or +inf, or with nothing but -inf, has no softmax: it counts as a NaN signal.
IndexError
    A node or row out of range.

Notes
-----
Nothing is changed when it raises. The largest probability has a relative error below 1e-6 next to float64; its last
bits differ between processors that round a * b + c once and those that round twice. Large calls release the GIL.)";

inline bool is_bfloat16(const py::array &array) {
    const auto descriptor = array.dtype();
    return descriptor.kind() == 'V' && descriptor.itemsize() == 2 &&
           py::cast<std::string>(py::str(descriptor)) == "bfloat16";
}

// The caller's reference keeps the array alive for the call.
inline Logits logits_of(py::handle value) {
    constexpr const char *kExpected = "(B, C) float32, float16 or bfloat16 (as uint16)";
    const auto complain = [&] { return std::string("logits: expected ") + kExpected + ", got " + describe(value); };
    if (!py::isinstance<py::array>(value)) {
        throw py::type_error(complain());
    }
    const auto array = py::reinterpret_borrow<py::array>(value);
    LogitType type = LogitType::float32;
    if (!has_dtype<float>(array)) {
        const auto descriptor = array.dtype();
        const bool native = descriptor.byteorder() == '=' || descriptor.byteorder() == '|';
        if (native && descriptor.kind() == 'f' && descriptor.itemsize() == 2) {
            type = LogitType::float16;
        } else if (has_dtype<std::uint16_t>(array) || is_bfloat16(array)) {
            type = LogitType::bfloat16;
        } else {
            throw py::type_error(complain());
        }
    }
    if (array.ndim() != 2) {
        throw py::value_error(complain());
    }
    if (!is_contiguous(array)) {
        throw py::value_error(complain() + " that is not C-contiguous");
    }
    return {array.data(), type, static_cast<std::size_t>(array.shape(0)), static_cast<std::size_t>(array.shape(1))};
}

} // namespace ttamer::bindings
