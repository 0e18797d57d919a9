// The signals of a batch whose caller has logits: checks, scratch memory, and NaN.
#pragma once

#include "ttamer/decide/batch.hpp"
#include "ttamer/signals/softmax.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace ttamer {

// Belongs to one loop, like the batch. Calls go check, compute, finish; only `compute` takes long, and it touches
// nothing but the logits and the scratch.
class LogitSignals {
  public:
    // classes: how many the logits have to have; 0: any number.
    LogitSignals(SignalKind kind, std::size_t capacity, NanSignal nan, std::size_t classes = 0)
        : kind_(kind), nan_(nan), classes_(classes), signals_(capacity) {}

    // Throws invalid_argument unless signals can be made of these logits.
    void check(const Logits &logits, const Rows &rows) const;
    void compute(const Logits &logits) { signals_from_logits(kind_, logits, signals_.data()); }
    // The signals, valid until the next call. Where NaN is an error, throws if a row has no softmax and names it.
    std::span<const float> finish(const Logits &logits, const Rows &rows) const;

  private:
    SignalKind kind_;
    NanSignal nan_;
    std::size_t classes_;
    std::vector<float> signals_; // one a row of the batch
};

} // namespace ttamer
