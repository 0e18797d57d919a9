// The products of every kind of processor: the same bits as their definition in plain fused operations.
#include "ttamer/base/product.hpp"

#include "check.hpp"
#include "random.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

using namespace ttamer;

namespace {

std::vector<double> random_numbers(std::mt19937 &random, std::size_t count) {
    std::vector<double> numbers(count);
    for (auto &number : numbers) {
        number = test::below(random, 1 << 30) / 1e9;
    }
    return numbers;
}

// Counts of rows around those of a group; the panel's rows are read from the middle of longer ones.
void panels(const ProductKernels &kernels) {
    std::mt19937 random(3);
    for (const std::size_t inner : {0, 1, 2, 17}) {
        const auto panel = random_numbers(random, inner * kPanelWidth);
        const auto left = random_numbers(random, kPanelRows * (inner + 3));
        for (std::size_t count = 1; count <= kPanelRows; ++count) {
            std::vector<const double *> rows;
            for (std::size_t i = 0; i < count; ++i) {
                rows.push_back(left.data() + i * (inner + 3) + 1);
            }
            std::vector<double> out(count * kPanelWidth + 1, -1.0);
            kernels.multiply_panel(rows.data(), count, inner, panel.data(), out.data());
            for (std::size_t i = 0; i < count; ++i) {
                for (std::size_t w = 0; w < kPanelWidth; ++w) {
                    double sum = 0;
                    for (std::size_t k = 0; k < inner; ++k) {
                        sum = std::fma(rows[i][k], panel[k * kPanelWidth + w], sum);
                    }
                    CHECK(out[i * kPanelWidth + w] == sum);
                }
            }
            CHECK(out.back() == -1.0);
        }
    }
}

void weighted_rows(const ProductKernels &kernels) {
    std::mt19937 random(4);
    for (const std::size_t width : {kRowGroup, 2 * kRowGroup, 5 * kRowGroup}) {
        for (const std::size_t count : {0, 1, 5}) {
            const auto values = random_numbers(random, count * width);
            const auto weights = random_numbers(random, count);
            std::vector<const double *> rows;
            for (std::size_t k = 0; k < count; ++k) {
                rows.push_back(values.data() + k * width);
            }
            std::vector<double> out(width, -1.0);
            kernels.add_rows(rows, weights.data(), width, out.data());
            for (std::size_t w = 0; w < width; ++w) {
                double sum = 0;
                for (std::size_t k = 0; k < count; ++k) {
                    sum = std::fma(weights[k], rows[k][w], sum);
                }
                CHECK(out[w] == sum);
            }
        }
    }
}

double total(const double *lanes) {
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

// What each piece adds goes to the eight sums one after the other, what is left of it to the first of them.
void sums_by_piece(const ProductKernels &kernels) {
    std::mt19937 random(5);
    const auto p = random_numbers(random, 80);
    const auto values = random_numbers(random, 80);
    const std::vector<Columns> pieces{{40, 57}, {57, 57}, {24, 40}, {1, 8}, {60, 80}};
    std::vector<Sums> out(pieces.size());
    kernels.running_sums(p.data(), values.data(), pieces, out.data());
    double masses[8] = {};
    double sums[8] = {};
    for (std::size_t piece = 0; piece < pieces.size(); ++piece) {
        const auto &[begin, end] = pieces[piece];
        for (std::size_t k = begin; k < end; ++k) {
            const std::size_t lane = k < end - (end - begin) % 8 ? (k - begin) % 8 : 0;
            masses[lane] += p[k];
            sums[lane] = std::fma(p[k], values[k], sums[lane]);
        }
        CHECK(out[piece].mass == total(masses));
        CHECK(out[piece].value == total(sums));
    }
}

// Rows around the number of those that are taken together, of lengths around that of the lanes.
void rows_by_vector(const ProductKernels &kernels) {
    std::mt19937 random(6);
    for (const std::size_t inner : {0, 1, 7, 8, 9, 64, 67}) {
        for (std::size_t count = 0; count < 10; ++count) {
            const auto matrix = random_numbers(random, count * inner);
            const auto values = random_numbers(random, inner);
            std::vector<double> out(count + 1, -1.0);
            kernels.multiply_vector(matrix.data(), count, inner, values.data(), out.data());
            for (std::size_t i = 0; i < count; ++i) {
                const double *row = matrix.data() + i * inner;
                double lanes[8] = {};
                for (std::size_t k = 0; k < inner - inner % 8; ++k) {
                    lanes[k % 8] = std::fma(row[k], values[k], lanes[k % 8]);
                }
                double sum = total(lanes);
                for (std::size_t k = inner - inner % 8; k < inner; ++k) {
                    sum = std::fma(row[k], values[k], sum);
                }
                CHECK(out[i] == sum);
            }
            CHECK(out.back() == -1.0);
        }
    }
}

} // namespace

int main() {
    CHECK(std::string(all_product_kernels().back().name) == "plain");
    CHECK(&product_kernels() == &all_product_kernels().front());
    for (const auto &kernels : all_product_kernels()) {
        panels(kernels);
        weighted_rows(kernels);
        sums_by_piece(kernels);
        rows_by_vector(kernels);
    }
    return test::result();
}
