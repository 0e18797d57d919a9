#include "bindings.hpp"

namespace ttamer::bindings {

namespace {

PyObject *new_object(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *make = PyObject_GetAttrString(reinterpret_cast<PyObject *>(type), "_make");
    if (make == nullptr) {
        PyErr_Format(PyExc_TypeError, "%s: made by functions, not by calling the class", type->tp_name);
        return nullptr;
    }
    PyObject *made = PyObject_Call(make, args, kwargs);
    Py_DECREF(make);
    return made;
}

int leave_as_made(PyObject * /*self*/, PyObject * /*args*/, PyObject * /*kwargs*/) {
    return 0;
}

} // namespace

void make_whole(py::handle type) {
    auto *object = reinterpret_cast<PyTypeObject *>(type.ptr());
    object->tp_new = new_object;
    object->tp_init = leave_as_made;
    PyType_Modified(object);
}

} // namespace ttamer::bindings

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
    using namespace ttamer::bindings;
    m.doc() = "The compiled core of ttamer: topologies, solvers, policies and batches.";
    m.attr("__version__") = TTAMER_VERSION;
    bind_topology(m);
    bind_model(m);
    bind_policy(m);
    bind_estimator(m);
    bind_set_estimator(m);
    bind_signals(m);
    bind_batch(m);
    name_wrong_calls(m);
}
