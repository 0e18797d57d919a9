// Signals of logits without a batch: what recording keeps is bit for bit what serving decides by.
#include "bindings.hpp"

#include "arguments.hpp"
#include "logits.hpp"

#include <pybind11/numpy.h>

#include "ttamer/decide/logit_signals.hpp"

#include <string>

namespace ttamer::bindings {

namespace {

// Of logits that a call has `taken` already there is nothing to refuse: NaN is a NaN signal.
py::array_t<float> logit_signals(py::handle logits, py::handle name, bool taken) {
    const auto kind = signal_kind(string_of(name, "kind"));
    const Logits values = logits_of(logits);
    LogitSignals signals(kind, values.rows, taken ? NanSignal::worst : NanSignal::error);
    const Rows every_row{};
    if (!taken) {
        signals.check(values, every_row);
    }
    {
        const py::gil_scoped_release release;
        signals.compute(values);
    }
    const auto result = signals.finish(values, every_row);
    return py::array_t<float>(static_cast<py::ssize_t>(result.size()), result.data());
}

} // namespace

void bind_signals(py::module_ &m) {
    m.def("logit_signals", &logit_signals, py::arg("logits"), py::arg("kind"), py::arg("taken") = false,
          "The (B,) float32 signals of a kind that Batch.decide_logits makes of (B, C) logits. Of those that it has "
          "taken already, NaN gives NaN.");
}

} // namespace ttamer::bindings
