// What is kept of a node's distribution: its largest log-probabilities and their classes, and what they tell.
#pragma once

#include "ttamer/signals/softmax.hpp"

#include <cstddef>
#include <cstdint>

namespace ttamer {

// Logarithms of probabilities are floored at ln 1e-7, which is also what evidence on file holds.
inline constexpr float kLogFloor = -16.118095F;

// Of one node and request: `top` log-probabilities, descending, and their classes.
struct Evidence {
    const float *log_probs;
    const std::int32_t *classes;
};

// How evidence is cut: the largest `top` of `classes` classes.
struct EvidenceForm {
    std::size_t classes;
    std::size_t top;
};

// What all features need of a node's evidence. Classes beyond the top share what mass is left evenly.
struct Reading {
    Evidence evidence;
    double second;        // log-probability of the runner-up
    double other;         // of a class beyond the top: at most the last of these
    double entropy;       // nats
    double doubt;         // logarithm of the probability that the first class is wrong, from ln 1e-6 to 0
    bool missing = false; // the node showed nothing, and never answers
};

Reading read(const Evidence &evidence, const EvidenceForm &form);

// Log-odds of a class against its best rival.
double log_odds(const Reading &reading, const EvidenceForm &form, std::int32_t label);

// The evidence of row `row` of logits whose largest probability is known; equal logits keep the order of their classes.
// log_probs and classes have form.top places. A NaN probability is no information: all classes are alike.
void evidence_of_logits(const Logits &logits, std::size_t row, float max_prob, const EvidenceForm &form,
                        float *log_probs, std::int32_t *classes);

} // namespace ttamer
