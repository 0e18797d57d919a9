#include "ttamer/model/transition.hpp"

#include "ttamer/base/product.hpp"

#include <numeric>
#include <utility>

namespace ttamer {

namespace {

// Share of non-zeros up to which a product goes over them alone: each of them costs as much as several entries of the
// dense product. A rough choice, but safe at both ends: where few are non-zero this is far quicker, where most are, far
// slower.
constexpr double kSparseUpTo = 0.15;

} // namespace

Transition Transition::dense(std::size_t rows, std::size_t columns, std::vector<double> values) {
    Transition transition(rows, columns);
    transition.dense_ = std::move(values);
    return transition;
}

Transition Transition::counted(const Counts &counts, std::span<const double> marginal, double strength) {
    Transition transition(static_cast<std::size_t>(counts.rows), static_cast<std::size_t>(counts.columns));
    transition.offsets_ = counts.offsets;
    transition.indices_ = counts.indices;
    transition.weights_.resize(counts.values.size());
    transition.rest_.resize(transition.rows_);
    for (std::size_t row = 0; row < transition.rows_; ++row) {
        const auto begin = static_cast<std::size_t>(counts.offsets[row]);
        const auto end = static_cast<std::size_t>(counts.offsets[row + 1]);
        double total = 0;
        for (auto k = begin; k < end; ++k) {
            total += counts.values[k];
        }
        const double kept = total > 0 ? total / (total + strength) : 0.0;
        transition.rest_[row] = 1 - kept;
        for (auto k = begin; k < end; ++k) {
            transition.weights_[k] = kept * (counts.values[k] / total);
        }
    }
    const double sum = std::accumulate(marginal.begin(), marginal.end(), 0.0);
    for (const auto count : marginal) {
        transition.marginal_.push_back(count / sum);
    }
    const auto cells = static_cast<double>(transition.rows_ * transition.columns_);
    if (static_cast<double>(transition.weights_.size()) > kSparseUpTo * cells) {
        return dense(transition.rows_, transition.columns_, transition.to_dense().values);
    }
    return transition;
}

Matrix Transition::times(const Matrix &ahead) const {
    if (meta_) {
        return spread(meta_->times(ahead));
    }
    Matrix out(rows_, ahead.columns);
    if (is_dense()) {
        multiply(dense_.data(), rows_, columns_, ahead.values.data(), ahead.columns, out.values.data());
        return out;
    }
    Matrix shared(1, ahead.columns);
    multiply(marginal_.data(), 1, columns_, ahead.values.data(), ahead.columns, shared.values.data());
    for (std::size_t row = 0; row < rows_; ++row) {
        if (rest_[row] > 0) {
            add_scaled(rest_[row], shared.row(0), ahead.columns, out.row(row));
        }
        for (auto k = offsets_[row]; k < offsets_[row + 1]; ++k) {
            const auto at = static_cast<std::size_t>(k);
            add_scaled(weights_[at], ahead.row(static_cast<std::size_t>(indices_[at])), ahead.columns, out.row(row));
        }
    }
    return out;
}

std::vector<double> Transition::times(const std::vector<double> &ahead) const {
    std::vector<double> out(rows_);
    times(ahead, out);
    return out;
}

void Transition::times(std::span<const double> ahead, std::span<double> out) const {
    if (meta_) {
        Matrix column(meta_->rows(), 1);
        meta_->times(ahead, column.values);
        const Matrix all = spread(column);
        std::copy(all.values.begin(), all.values.end(), out.begin());
        return;
    }
    if (is_dense()) {
        product_kernels().multiply_vector(dense_.data(), rows_, columns_, ahead.data(), out.data());
        return;
    }
    double shared = 0;
    product_kernels().multiply_vector(marginal_.data(), 1, columns_, ahead.data(), &shared);
    for (std::size_t row = 0; row < rows_; ++row) {
        const auto entries = counted_row(row);
        double sum = entries.rest * shared;
        for (std::size_t k = 0; k < entries.indices.size(); ++k) {
            sum += entries.weights[k] * ahead[static_cast<std::size_t>(entries.indices[k])];
        }
        out[row] = sum;
    }
}

// From a row a meta-state to a row a state.
Matrix Transition::spread(const Matrix &meta) const {
    Matrix out(rows_, meta.columns);
    for (std::size_t row = 0; row < rows_; ++row) {
        const auto &[group, share] = memberships_[row];
        add_scaled(1 - share, meta.row(group), meta.columns, out.row(row));
        if (share > 0) {
            add_scaled(share, meta.row(group + 1), meta.columns, out.row(row));
        }
    }
    return out;
}

void Transition::add_row(std::size_t row, double scale, double *out) const {
    if (is_dense()) {
        add_scaled(scale, dense_row(row), columns_, out);
        return;
    }
    const auto entries = counted_row(row);
    add_scaled(scale * entries.rest, marginal_.data(), columns_, out);
    for (std::size_t k = 0; k < entries.indices.size(); ++k) {
        out[entries.indices[k]] += scale * entries.weights[k];
    }
}

Matrix Transition::transposed_times(const Matrix &mass) const {
    Matrix out(columns_, mass.columns);
    Matrix shared(1, mass.columns);
    for (std::size_t s = 0; s < mass.rows; ++s) {
        const double *row_mass = mass.row(s);
        // Most of a row is 0: a state holds mass only up to its own rank, and above where it stops.
        std::size_t begin = 0;
        std::size_t end = mass.columns;
        while (begin < end && row_mass[begin] == 0) {
            ++begin;
        }
        while (end > begin && row_mass[end - 1] == 0) {
            --end;
        }
        const auto add = [&](double weight, double *to) {
            add_scaled(weight, row_mass + begin, end - begin, to + begin);
        };
        const std::size_t row = rows_ == 1 ? 0 : s;
        if (is_dense()) {
            for (std::size_t column = 0; column < columns_; ++column) {
                add(dense_[row * columns_ + column], out.row(column));
            }
            continue;
        }
        add(rest_[row], shared.row(0));
        for (auto k = offsets_[row]; k < offsets_[row + 1]; ++k) {
            const auto at = static_cast<std::size_t>(k);
            add(weights_[at], out.row(static_cast<std::size_t>(indices_[at])));
        }
    }
    for (std::size_t column = 0; column < marginal_.size(); ++column) {
        add_scaled(marginal_[column], shared.row(0), mass.columns, out.row(column));
    }
    return out;
}

std::size_t Transition::state_at(std::size_t row, double point) const {
    const auto find = [&](std::span<const double> weights) {
        std::size_t last = 0; // rounding may leave the sum short of the point
        for (std::size_t k = 0; k < weights.size(); ++k) {
            if (weights[k] > 0) {
                last = k;
                if (point < weights[k]) {
                    return k;
                }
                point -= weights[k];
            }
        }
        return last;
    };
    if (is_dense()) {
        return find({dense_row(row), columns_});
    }
    const auto entries = counted_row(row);
    if (point < entries.rest) {
        point /= entries.rest;
        return find(marginal_);
    }
    point -= entries.rest;
    return static_cast<std::size_t>(entries.indices[find(entries.weights)]);
}

Matrix Transition::to_dense() const {
    Matrix out(rows_, columns_);
    if (is_dense()) {
        out.values = dense_;
        return out;
    }
    for (std::size_t row = 0; row < rows_; ++row) {
        for (std::size_t column = 0; column < columns_; ++column) {
            out.row(row)[column] = rest_[row] * marginal_[column];
        }
        for (auto k = offsets_[row]; k < offsets_[row + 1]; ++k) {
            const auto at = static_cast<std::size_t>(k);
            out.row(row)[indices_[at]] += weights_[at];
        }
    }
    return out;
}

} // namespace ttamer
