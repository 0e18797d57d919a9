// The one signal that takes no softmax: how far the largest logit is above the second largest.
#pragma once

#include "ttamer/signals/softmax.hpp"

namespace ttamer {

// One signal a row, as `signals_from_logits` says: the difference rounded once, the same on every processor.
void logit_margins(const Logits &logits, float *signals);

} // namespace ttamer
