// Logits as arrays and tensors: the element types that are taken, and what is said of others.
#pragma once

#include "ttamer/signals/softmax.hpp"

#include "tensors.hpp"

namespace ttamer::bindings {

inline constexpr const char *kDecideLogitsDoc =
    R"(Compute the policy's signal from logits, then do what `decide` does.

The signal is the one that the policy's traces were made with (`Policy.signal`): the largest probability of
softmax(logits), the largest less the second largest, the negative entropy, or the largest logit less the second
largest, as in `ttamer.traces.signals`. A policy that decides on scores and answers gets that score, and the most
probable class for the answer, of equal ones the first.

Parameters
----------
node : int or (B,) int32
    As for `decide`.
logits : (B, C) float32, float16, uint16 or bfloat16
    What the node showed, C-contiguous, C >= 2. bfloat16 is that of a tensor or of ml_dtypes; uint16 holds its bits.
    -inf is a probability of 0. Logarithms of probabilities are logits too: ``np.log(probs)``.
rows : (B,) int32 or int64, optional
    As for `decide`. Each array may be a tensor here too.

Returns
-------
(B,) int32
    As for `decide`.

Raises
------
TypeError
    Wrong dtype or byte order.
ValueError
    Wrong shape, a policy whose signals were stated by the user, a node that shows several scores (a context) or none,
    or anything `decide` raises it for. A row of logits with a NaN or +inf, or with nothing but -inf, has no softmax: it
    counts as a NaN signal.
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

inline Logits logits_in(const Argument &argument, const py::array &array) {
    const auto complain = [&] {
        return std::string(argument.name) + ": expected " + argument.expected + ", got " + describe(array);
    };
    check_unmasked(array, argument.name);
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
    if (!is_aligned(array)) {
        throw py::value_error(complain() + " that is not aligned in memory");
    }
    return {array.data(), type, static_cast<std::size_t>(array.shape(0)), static_cast<std::size_t>(array.shape(1))};
}

inline Logits logits_in(const Argument &argument, const dlpack::Tensor &tensor) {
    LogitType type = LogitType::float32;
    if (tensor.dtype == dlpack::DataType{dlpack::kFloat, 16, 1}) {
        type = LogitType::float16;
    } else if (tensor.dtype == dlpack::DataType{dlpack::kBfloat, 16, 1} || has_dtype<std::uint16_t>(tensor)) {
        type = LogitType::bfloat16;
    } else if (!has_dtype<float>(tensor)) {
        throw py::type_error(complaint(argument, tensor));
    }
    const void *data = checked_data(argument, tensor, 2);
    return {data, type, static_cast<std::size_t>(tensor.shape[0]), static_cast<std::size_t>(tensor.shape[1])};
}

// The caller's reference keeps the array or tensor alive for the call.
inline Logits logits_of(py::handle value) {
    const Argument argument{value, "logits", "(B, C) float32, float16 or bfloat16 (as uint16)"};
    if (py::isinstance<py::array>(value)) {
        return logits_in(argument, py::reinterpret_borrow<py::array>(value));
    }
    return logits_in(argument, values_of(argument));
}

} // namespace ttamer::bindings
