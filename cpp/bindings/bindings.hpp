// What module.cpp lists: one bind_x a file.
#pragma once

#include <pybind11/pybind11.h>

namespace ttamer::bindings {

namespace py = pybind11;

// Objects are whole from the start: `__new__` of pybind11's alone would give one without a value, which the first call
// reads. Calling the class calls its static `_make`, and is a TypeError where there is none.
void make_whole(py::handle type);

// Has every function in a module or class say in one line which arguments it expected, if their number or names are
// wrong.
void name_wrong_calls(py::handle scope);

void bind_topology(py::module_ &m);
void bind_model(py::module_ &m);
void bind_policy(py::module_ &m);
void bind_estimator(py::module_ &m);
void bind_set_estimator(py::module_ &m);
void bind_signals(py::module_ &m);
void bind_batch(py::module_ &m);

} // namespace ttamer::bindings
