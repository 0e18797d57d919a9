// What module.cpp lists: one bind_x a file.
#pragma once

#include <pybind11/pybind11.h>

namespace ttamer::bindings {

namespace py = pybind11;

void bind_topology(py::module_ &m);
void bind_model(py::module_ &m);
void bind_policy(py::module_ &m);
void bind_estimator(py::module_ &m);
void bind_signals(py::module_ &m);
void bind_batch(py::module_ &m);

} // namespace ttamer::bindings
