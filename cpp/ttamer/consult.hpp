// What consulting the next node is worth: one transition applied to the values of a solved node.
#pragma once

#include "ttamer/transition.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace ttamer {

// Values by state (row) and rank of X (column). Not initialised: most of it is never touched, and clearing it would
// cost as much as the work.
class Table {
  public:
    Table() = default;
    Table(std::size_t rows, std::size_t columns)
        : rows_(rows), columns_(columns), values_(std::make_unique_for_overwrite<double[]>(rows * columns)) {}

    std::size_t size() const { return rows_ * columns_; }
    // One that was moved from fits nothing.
    bool fits(std::size_t rows, std::size_t columns) const {
        return values_ != nullptr && rows_ >= rows && columns_ == columns;
    }
    double *row(std::size_t s) { return values_.get() + s * columns_; }
    const double *row(std::size_t s) const { return values_.get() + s * columns_; }

  private:
    std::size_t rows_ = 0;
    std::size_t columns_ = 0;
    std::unique_ptr<double[]> values_;
};

// A solved node: the value Phi(X) of going on optimally from each of its states, X the best loss before it. With
// ranks of X: X itself before `first` (the request stops), values up to `own`, the rank of the state's own loss, and
// value_at_own from there on, since what came before then no longer matters.
struct Solved {
    std::vector<std::int32_t> own;
    std::vector<std::int32_t> first;
    std::vector<double> value_at_own;
    Table values; // for ranks [first, own)

    std::size_t states() const { return own.size(); }
};

// cost + P times the values of `next`, for X up to each state's own rank: sets values for ranks [from[s], own[s]].
// Below `from` the request is better off stopping: X - Phi(X) never falls as X grows, so the first rank at which it
// is 0 ends the work on a row.
void consult_by_rank(const Transition &transition, double cost, const Solved &next, const std::vector<double> &levels,
                     const std::vector<std::int32_t> &own, std::vector<std::int32_t> &from, Table &values);

// The same where X does not matter (before the first node, or without recall): cost + P value_at_own, one a state.
std::vector<double> consult_afresh(const Transition &transition, double cost, const Solved &next);

} // namespace ttamer
