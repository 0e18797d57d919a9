// Estimates of how likely answers are wrong, from everything a request has seen: plain coefficients, logits in, signal
// and answer out.
#pragma once

#include "ttamer/signals/evidence.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace ttamer {

// What features are made of. signal: the last node's answer according to itself. history: the last node's answer
// according to all nodes consulted. posterior: the answer of each node consulted, according to all.
enum class EstimateKind { signal, history, posterior };

EstimateKind estimate_kind(std::string_view name);

// A policy that estimates decides over the steps of a walk: a step is a set of nodes consulted and the last of them.
struct EstimatorTables {
    std::int32_t nodes;
    EvidenceForm form;
    EstimateKind kind;
    std::vector<std::int32_t> last;              // node consulted last, one a step
    std::vector<std::int32_t> set_offsets;       // steps + 1, into sets
    std::vector<std::int32_t> sets;              // nodes consulted at each step, the last one included
    std::vector<std::int32_t> candidate_offsets; // steps + 1, into candidates
    std::vector<std::int32_t> candidates;        // positions in the step's set: whose answers may be given
    std::vector<double> coefficients;            // of each candidate, an intercept and the weights of its features
};

// The features of the answer of set[candidate]; out has feature_count(kind, set.size()) places. readings: one a node of
// the set. last: position in the set of the node consulted last.
void features_of(EstimateKind kind, const EvidenceForm &form, std::span<const Reading> readings, std::size_t last,
                 std::size_t candidate, double *out);
std::size_t feature_count(EstimateKind kind, std::size_t set_size);

// Immutable, shared between threads.
class Estimator {
  public:
    // Throws std::invalid_argument that names the table if anything does not fit together.
    explicit Estimator(EstimatorTables tables);

    struct Estimate {
        float signal;        // log-odds that the answer is right
        std::int32_t answer; // the node whose answer it is
    };

    std::size_t steps() const { return tables_.last.size(); }
    std::int32_t nodes() const { return tables_.nodes; }
    const EvidenceForm &form() const { return tables_.form; }
    std::int32_t last(std::size_t step) const { return tables_.last[step]; }
    std::span<const std::int32_t> last() const { return tables_.last; }
    std::span<const std::int32_t> set(std::size_t step) const;
    std::size_t largest_set() const { return largest_set_; }

    // readings: one a node of the step's set, in its order. scratch: largest_features() places.
    Estimate estimate(std::size_t step, std::span<const Reading> readings, double *scratch) const;
    std::size_t largest_features() const { return feature_count(tables_.kind, largest_set_); }

  private:
    void check() const;

    EstimatorTables tables_;
    std::size_t largest_set_ = 0;
    std::vector<std::size_t> last_positions_;      // of the last node in each step's set
    std::vector<std::size_t> coefficient_offsets_; // of each candidate
};

// Estimates of recorded requests: signals and answers, (rows, steps) each. log_probs and classes: (rows, nodes, top).
void estimate_rows(const Estimator &estimator, std::span<const float> log_probs, std::span<const std::int32_t> classes,
                   std::span<float> signals, std::span<std::int32_t> answers);

} // namespace ttamer
