#include "bindings.hpp"

PYBIND11_MODULE(_core, m) {
    using namespace ttamer::bindings;
    m.doc() = "The compiled core of ttamer: topologies, solvers, policies and batches.";
    m.attr("__version__") = TTAMER_VERSION;
    bind_topology(m);
    bind_model(m);
    bind_policy(m);
    bind_estimator(m);
    bind_signals(m);
    bind_batch(m);
}
