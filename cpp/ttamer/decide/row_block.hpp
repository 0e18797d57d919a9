// Many rows consult one node: what batches and replay share.
#pragma once

#include "ttamer/policy/policy.hpp"
#include "ttamer/policy/row_state.hpp"

#include <cstddef>
#include <cstdint>
#include <span>

namespace ttamer {

// The state a signal shows; NaN shows the worst one.
std::int32_t state_of(const Policy &policy, std::int32_t node, float signal);

// Consecutive rows of a walk, at most kBlock, consult `node`. best_signals are those of their answers, used only where
// answers are compared by them; tiers are those of the rows, null where the policy has none. next says what each
// consults then.
template <AnyRow Row>
void consult_block(const Policy &policy, std::int32_t node, Row *rows, float *best_signals, const std::int32_t *tiers,
                   std::span<const float> signals, std::int32_t *next);

// The same where each row consults a node of its own.
template <AnyRow Row>
void consult_block(const Policy &policy, const std::int32_t *nodes, Row *rows, float *best_signals,
                   const std::int32_t *tiers, std::span<const float> signals, std::int32_t *next);

} // namespace ttamer
