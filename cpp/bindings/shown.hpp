// Scores and answers as arrays and tensors.
#pragma once

#include "ttamer/decide/answer_batch.hpp"

#include "tensors.hpp"

#include <optional>

namespace ttamer::bindings {

inline constexpr const char *kDecideAnswersDoc =
    R"(Keep what nodes showed, scores and answers, and say which node each row consults next.

Parameters
----------
node : int or (B,) int32
    As for `decide`. One a row: of nodes with one input, or none, whose score only says whether they failed.
scores : (B,) or (B, w) float32, or None
    Scores of the node's inputs, C-contiguous: (B,) of a node with one, (B, w) of a node with w. Of a node without, None
    or (B,) of which only NaN is read. A score that is missing is -inf. A row with a NaN showed nothing, see `nan` of `Policy.start`.
answers : (B,) int32, optional
    The class that the node answers, -1 for none. Needed where estimates look at the node's answers.
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
    Wrong shape, answers that are needed and missing, a policy that does not decide on answers, a NaN score under
    nan="error", or anything else `decide` raises it for.
IndexError
    A node or row out of range.

Notes
-----
Nothing is changed when it raises. Calls of 512 rows and more release the GIL.)";

inline constexpr const char *kScoresExpected = "(B,) or (B, w) float32";

// (B,) or (B, w) values; the caller's reference keeps them alive for the call.
inline void read_scores(py::handle value, Shown &shown) {
    const Argument argument{value, "scores", kScoresExpected};
    const auto take = [&shown](const void *data, auto size, auto width) {
        shown.rows = static_cast<std::size_t>(size);
        shown.width = static_cast<std::size_t>(width);
        shown.scores = {static_cast<const float *>(data), shown.rows * shown.width};
    };
    if (py::isinstance<py::array>(value)) {
        const auto array = py::reinterpret_borrow<py::array>(value);
        const bool table = array.ndim() == 2;
        check_array<float>(array, argument.name, argument.expected, table ? 2 : 1);
        take(array.data(), array.shape(0), table ? array.shape(1) : 1);
        return;
    }
    const TensorView tensor = values_of(argument);
    const bool table = tensor.rank == 2;
    if (!has_dtype<float>(tensor)) {
        throw py::type_error(complaint(argument, tensor));
    }
    const void *data = checked_data(argument, tensor, table ? 2 : 1);
    take(data, tensor.shape[0], table ? tensor.shape[1] : 1);
}

// nodes: how many are named, if not one for all; they and rows tell how many there are where nothing else does.
inline Shown shown_of(py::handle scores, py::handle answers, const Rows &rows, std::optional<std::size_t> nodes) {
    Shown shown{};
    shown.has_answers = !answers.is_none();
    if (shown.has_answers) {
        shown.answers = span_of<std::int32_t>(Argument{answers, "answers", "(B,) int32"});
    }
    if (!scores.is_none()) {
        read_scores(scores, shown);
    } else if (shown.has_answers) {
        shown.rows = shown.answers.size();
    } else if (rows.given || nodes) {
        shown.rows = rows.given ? rows.size() : *nodes;
    } else {
        throw py::value_error(std::string("scores: expected ") + kScoresExpected +
                              ", or answers or rows that tell how many requests there are, got None");
    }
    return shown;
}

} // namespace ttamer::bindings
