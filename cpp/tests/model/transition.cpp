// Counted transitions do what the dense matrix of the same numbers does.
#include "ttamer/model/transition.hpp"

#include "check.hpp"
#include "random.hpp"

#include <cmath>
#include <cstddef>
#include <vector>

using namespace ttamer;

namespace {

bool near(const std::vector<double> &a, const std::vector<double> &b, double tolerance = 1e-14) {
    bool close = a.size() == b.size();
    for (std::size_t k = 0; close && k < a.size(); ++k) {
        close = std::abs(a[k] - b[k]) <= tolerance;
    }
    return close;
}

Matrix random_matrix(std::mt19937 &random, std::size_t rows, std::size_t columns) {
    Matrix matrix(rows, columns);
    for (auto &value : matrix.values) {
        value = test::below(random, 1000) / 1000.0;
    }
    return matrix;
}

Transition random_counted(std::mt19937 &random, std::int32_t rows, std::int32_t columns, int requests,
                          double strength) {
    std::vector<std::int32_t> from;
    std::vector<std::int32_t> to;
    std::vector<double> marginal(static_cast<std::size_t>(columns), 1);
    for (int k = 0; k < requests; ++k) {
        from.push_back(test::below(random, rows));
        to.push_back(test::below(random, columns));
        ++marginal[static_cast<std::size_t>(to.back())];
    }
    return Transition::counted(count_transitions(from, to, rows, columns), marginal, strength);
}

// Sizes around those at which the products' blocks begin and end.
void as_dense() {
    std::mt19937 random(2);
    for (const std::int32_t rows : {1, 3, 4, 5, 9}) {
        for (const std::int32_t columns : {1, 2, 7}) {
            for (const std::size_t width : {std::size_t{1}, std::size_t{31}, std::size_t{32}, std::size_t{65}}) {
                const auto counted = random_counted(random, rows, columns, 6, width % 2 == 0 ? 0.0 : 3.0);
                const Matrix table = counted.to_dense();
                const auto dense = Transition::dense(table.rows, table.columns, table.values);
                const Matrix ahead = random_matrix(random, static_cast<std::size_t>(columns), width);
                CHECK(near(counted.times(ahead).values, dense.times(ahead).values));
                const Matrix mass = random_matrix(random, rows == 1 ? 4 : static_cast<std::size_t>(rows), width);
                CHECK(near(counted.transposed_times(mass).values, dense.transposed_times(mass).values, 1e-13));
            }
        }
    }
}

void by_hand() {
    const auto dense = Transition::dense(2, 3, {0.5, 0.25, 0.25, 0.0, 0.0, 1.0});
    Matrix ahead(3, 1);
    ahead.values = {1.0, 2.0, 4.0};
    CHECK(dense.times(ahead).values == std::vector<double>{2.0, 4.0});
    Matrix mass(2, 1);
    mass.values = {1.0, 2.0};
    CHECK(dense.transposed_times(mass).values == std::vector<double>{0.5, 0.25, 2.25});
    CHECK(dense.to_dense().values == std::vector<double>{0.5, 0.25, 0.25, 0.0, 0.0, 1.0});
}

void shrinkage() {
    const std::vector<std::int32_t> from{0, 0, 0};
    const std::vector<std::int32_t> to{1, 1, 0};
    const std::vector<double> marginal{1, 3};
    const auto counts = count_transitions(from, to, 2, 2);
    // Three requests against a strength of one: three quarters of the row's own frequencies.
    const auto shrunk = Transition::counted(counts, marginal, 1.0).to_dense();
    CHECK(near(shrunk.values, {0.75 / 3 + 0.25 * 0.25, 0.75 * 2 / 3 + 0.25 * 0.75, 0.25, 0.75}));
    // A row without requests is the marginal, whatever the strength.
    const auto kept = Transition::counted(counts, marginal, 0.0).to_dense();
    CHECK(near(kept.values, {1.0 / 3, 2.0 / 3, 0.25, 0.75}));
}

} // namespace

int main() {
    as_dense();
    by_hand();
    shrinkage();
    return test::result();
}
