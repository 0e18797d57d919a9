// The transition matrix of one edge: dense, or sparse row frequencies plus a rank-one term.
#pragma once

#include "ttamer/model/counts.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace ttamer {

// A row-major matrix; what solvers compute on.
struct Matrix {
    std::size_t rows = 0;
    std::size_t columns = 0;
    std::vector<double> values;

    Matrix() = default;
    Matrix(std::size_t rows_, std::size_t columns_, double fill = 0.0)
        : rows(rows_), columns(columns_), values(rows_ * columns_, fill) {}

    double *row(std::size_t r) { return values.data() + r * columns; }
    const double *row(std::size_t r) const { return values.data() + r * columns; }
};

class Transition {
  public:
    // values: rows x columns, non-negative, each row summing to 1.
    static Transition dense(std::size_t rows, std::size_t columns, std::vector<double> values);
    // P = D F + (I - D) 1 marginal^T, with F the row frequencies and D = diag(row count / (row count + strength)).
    // Where few of the counts are not 0 it stays in this form: each column of a product then costs an operation for
    // each of those.
    static Transition counted(const Counts &counts, std::span<const double> marginal, double strength);

    // P ~ U W through at most `states` meta-states; see ttamer.reference.aggregate. `losses` are those of the next
    // node.
    static Transition aggregated(const Transition &exact, const std::vector<double> &losses, std::size_t states);

    // A state's place among the meta-states: `share` of the one above `group`, the rest of `group`.
    struct Membership {
        std::size_t group;
        double share;
    };

    // The meta-states' own transition W, or null where there are none.
    const Transition *meta() const { return meta_.get(); }
    const Membership &membership(std::size_t row) const { return memberships_[row]; }

    // One row of a counted matrix: P[s, indices[k]] is weights[k], plus `rest` times the marginal everywhere.
    struct CountedRow {
        std::span<const std::int32_t> indices;
        std::span<const double> weights;
        double rest;
    };

    bool is_dense() const { return !dense_.empty(); }
    const double *dense_row(std::size_t row) const { return dense_.data() + row * columns_; }
    std::span<const double> marginal() const { return marginal_; }
    CountedRow counted_row(std::size_t row) const {
        const auto begin = static_cast<std::size_t>(offsets_[row]);
        const auto count = static_cast<std::size_t>(offsets_[row + 1]) - begin;
        return {{indices_.data() + begin, count}, {weights_.data() + begin, count}, rest_[row]};
    }

    std::size_t rows() const { return rows_; }
    std::size_t columns() const { return columns_; }

    // P times ahead. One row stands for any number of equal ones: the caller broadcasts.
    Matrix times(const Matrix &ahead) const;
    // P times one value a state.
    std::vector<double> times(const std::vector<double> &ahead) const;
    void times(std::span<const double> ahead, std::span<double> out) const;
    // The transpose of P times mass, which may have more rows than a P of one row.
    Matrix transposed_times(const Matrix &mass) const;
    Matrix to_dense() const;
    // out += scale * one row.
    void add_row(std::size_t row, double scale, double *out) const;
    // The state at which the row's probabilities add up to more than `point`, in [0, 1).
    std::size_t state_at(std::size_t row, double point) const;

  private:
    Transition(std::size_t rows, std::size_t columns) : rows_(rows), columns_(columns) {}
    Matrix spread(const Matrix &meta) const;

    std::size_t rows_;
    std::size_t columns_;
    std::shared_ptr<const Transition> meta_;
    std::vector<Membership> memberships_;
    std::vector<double> dense_; // empty for counted ones
    std::vector<std::int64_t> offsets_;
    std::vector<std::int32_t> indices_;
    std::vector<double> weights_; // D F
    std::vector<double> rest_;    // diagonal of I - D
    std::vector<double> marginal_;
};

} // namespace ttamer
