#include "ttamer/model/counts.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <stdexcept>
#include <utility>

namespace ttamer {

namespace {

// One number a pair, so that sorting brings equal pairs together in row-major order.
using Key = std::int64_t;
using Entry = std::pair<Key, double>;

// Share of an entry that rounding may have made; less than one request, so that whole numbers stay exact.
constexpr double kRounding = 1e-9;
constexpr double kMostRounding = 0.5;

Counts from_sorted(const std::vector<Entry> &entries, std::int32_t rows, std::int32_t columns) {
    Counts counts{rows, columns, std::vector<std::int64_t>(static_cast<std::size_t>(rows) + 1, 0), {}, {}};
    Key previous = -1;
    for (const auto &[key, value] : entries) {
        if (key == previous) {
            counts.values.back() += value;
            continue;
        }
        previous = key;
        ++counts.offsets[static_cast<std::size_t>(key / columns) + 1];
        counts.indices.push_back(static_cast<std::int32_t>(key % columns));
        counts.values.push_back(value);
    }
    for (std::size_t row = 0; row < static_cast<std::size_t>(rows); ++row) {
        counts.offsets[row + 1] += counts.offsets[row];
    }
    return counts;
}

void append(const Counts &counts, std::vector<Entry> &entries) {
    for (std::size_t row = 0; row < static_cast<std::size_t>(counts.rows); ++row) {
        for (auto k = counts.offsets[row]; k < counts.offsets[row + 1]; ++k) {
            const auto at = static_cast<std::size_t>(k);
            entries.emplace_back(static_cast<Key>(row) * counts.columns + counts.indices[at], counts.values[at]);
        }
    }
}

void check_same_shape(const Counts &a, const Counts &b) {
    if (a.rows != b.rows || a.columns != b.columns) {
        throw std::invalid_argument("counts: shapes differ");
    }
}

} // namespace

Counts count_transitions(std::span<const std::int32_t> from, std::span<const std::int32_t> to, std::int32_t rows,
                         std::int32_t columns, std::span<const double> weights) {
    std::vector<Entry> entries(from.size());
    for (std::size_t k = 0; k < from.size(); ++k) {
        entries[k] = {static_cast<Key>(from[k]) * columns + to[k], weights.empty() ? 1.0 : weights[k]};
    }
    std::sort(entries.begin(), entries.end());
    return from_sorted(entries, rows, columns);
}

void check(const Counts &counts) {
    const auto require = [](bool holds, const char *message) {
        if (!holds) {
            throw std::invalid_argument(message);
        }
    };
    const auto &offsets = counts.offsets;
    require(counts.columns >= 1 && offsets.size() >= 2 && offsets.size() <= INT32_MAX && offsets.front() == 0 &&
                std::is_sorted(offsets.begin(), offsets.end()),
            "counts: offsets must start at 0 and not decrease");
    require(static_cast<std::size_t>(offsets.back()) == counts.indices.size() &&
                counts.indices.size() == counts.values.size(),
            "counts: offsets, indices and values differ in length");
    for (std::size_t row = 0; row + 1 < offsets.size(); ++row) {
        for (auto k = offsets[row]; k < offsets[row + 1]; ++k) {
            const auto at = static_cast<std::size_t>(k);
            require(counts.indices[at] >= 0 && counts.indices[at] < counts.columns &&
                        (k == offsets[row] || counts.indices[at - 1] < counts.indices[at]),
                    "counts: indices must be columns in increasing order");
            require(counts.values[at] > 0 && std::isfinite(counts.values[at]), "counts: values must be positive");
        }
    }
}

Counts add(const Counts &a, const Counts &b) {
    check_same_shape(a, b);
    std::vector<Entry> entries;
    append(a, entries);
    append(b, entries);
    std::sort(entries.begin(), entries.end());
    return from_sorted(entries, a.rows, a.columns);
}

Counts subtract(const Counts &a, const Counts &b) {
    check_same_shape(a, b);
    std::vector<Entry> whole;
    std::vector<Entry> part;
    append(a, whole);
    append(b, part);
    std::vector<Entry> entries;
    auto leaving = part.cbegin();
    bool fits = true;
    for (const auto &[key, value] : whole) {
        double rest = value;
        if (leaving != part.cend() && leaving->first == key) {
            rest -= leaving->second;
            ++leaving;
        }
        const double rounding = std::min(kRounding * value, kMostRounding);
        fits = fits && rest >= -rounding;
        if (rest > rounding) {
            entries.emplace_back(key, rest);
        }
    }
    if (!fits || leaving != part.cend()) { // the latter: an entry that a does not have
        throw std::invalid_argument("counts: expected those of a part, got larger ones");
    }
    return from_sorted(entries, a.rows, a.columns);
}

} // namespace ttamer
