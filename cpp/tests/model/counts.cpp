// Transition counts: they add, and what does not fit together is refused.
#include "ttamer/model/counts.hpp"

#include "check.hpp"
#include "random.hpp"

#include <cstddef>
#include <limits>
#include <stdexcept>
#include <vector>

using namespace ttamer;

namespace {

using Longs = std::vector<std::int64_t>;
using Doubles = std::vector<double>;
using Ints = std::vector<std::int32_t>;

bool same(const Counts &a, const Counts &b) {
    return a.rows == b.rows && a.columns == b.columns && a.offsets == b.offsets && a.indices == b.indices &&
           a.values == b.values;
}

void counting() {
    const Ints from{1, 0, 1, 1};
    const Ints to{2, 0, 0, 2};
    const auto counts = count_transitions(from, to, 3, 3);
    CHECK(counts.offsets == Longs{0, 1, 3, 3});
    CHECK(counts.indices == Ints{0, 0, 2});
    CHECK(counts.values == Doubles{1, 1, 2});
    check(counts);
    const auto none = count_transitions({}, {}, 2, 5);
    CHECK(none.offsets == Longs{0, 0, 0} && none.indices.empty());
    check(none);
    const auto weighted = count_transitions(from, to, 3, 3, Doubles{0.5, 2, 1, 0.25});
    CHECK(weighted.indices == counts.indices);
    CHECK(weighted.values == Doubles{2, 1, 0.75});
}

void adding() {
    std::mt19937 random(1);
    for (int round = 0; round < 20; ++round) {
        Ints from;
        Ints to;
        for (int k = 0; k < 60; ++k) {
            from.push_back(test::below(random, 4));
            to.push_back(test::below(random, 7));
        }
        const std::span<const std::int32_t> a(from);
        const std::span<const std::int32_t> b(to);
        const auto cut = static_cast<std::size_t>(test::below(random, 61));
        const auto first = count_transitions(a.first(cut), b.first(cut), 4, 7);
        const auto second = count_transitions(a.subspan(cut), b.subspan(cut), 4, 7);
        CHECK(same(add(first, second), count_transitions(a, b, 4, 7)));
        CHECK(same(add(first, second), add(second, first)));
        check(add(first, second));
        CHECK(same(subtract(add(first, second), second), first));
    }
    const auto small = count_transitions({}, {}, 2, 2);
    CHECK_THROWS(add(small, count_transitions({}, {}, 2, 3)), std::invalid_argument, "shapes differ");
    CHECK_THROWS(add(small, count_transitions({}, {}, 3, 2)), std::invalid_argument, "shapes differ");
}

void subtracting() {
    const Counts whole{2, 3, {0, 2, 3}, {0, 2, 1}, {1.5, 1, 4}};
    CHECK(same(subtract(whole, whole), count_transitions({}, {}, 2, 3)));
    const Counts nearly{2, 3, {0, 1, 2}, {0, 1}, {1.5 - 1e-12, 1}}; // but for rounding all of an entry
    CHECK(same(subtract(whole, nearly), Counts{2, 3, {0, 1, 2}, {2, 1}, {1, 3}}));
    const Counts above{2, 3, {0, 1, 1}, {0}, {1.5 + 1e-12}};
    CHECK(same(subtract(whole, above), Counts{2, 3, {0, 1, 2}, {2, 1}, {1, 4}}));
    const double many = 1 << 30; // a single request of very many is no rounding
    CHECK(subtract(Counts{1, 1, {0, 1}, {0}, {many + 1}}, Counts{1, 1, {0, 1}, {0}, {many}}).values == Doubles{1});
    const auto refuses = [&](const Counts &part, const char *message) {
        CHECK_THROWS(subtract(whole, part), std::invalid_argument, message);
    };
    refuses({2, 3, {0, 0, 1}, {1}, {4.5}}, "expected those of a part, got larger ones");
    refuses({2, 3, {0, 1, 1}, {0}, {1.6}}, "expected those of a part");
    refuses({2, 3, {0, 1, 1}, {1}, {0.5}}, "expected those of a part"); // there is no such entry
    refuses({2, 3, {0, 0, 1}, {2}, {0.5}}, "expected those of a part");
    refuses(count_transitions({}, {}, 2, 2), "shapes differ");
}

void refused() {
    const Counts good{2, 3, {0, 2, 3}, {0, 2, 1}, {1, 1, 4}};
    check(good);
    const auto with = [&](auto change) {
        Counts counts = good;
        change(counts);
        return counts;
    };
    const auto refuses = [&](auto change, const char *part) {
        CHECK_THROWS(check(with(change)), std::invalid_argument, part);
    };
    refuses([](Counts &c) { c.columns = 0; }, "offsets");
    refuses([](Counts &c) { c.offsets = {}; }, "offsets");
    refuses([](Counts &c) { c.offsets = {0}; }, "offsets");
    refuses([](Counts &c) { c.offsets = {1, 2, 3}; }, "offsets must start at 0");
    refuses([](Counts &c) { c.offsets = {0, 4, 3}; }, "offsets must start at 0 and not decrease");
    refuses([](Counts &c) { c.offsets = {0, 2, 4}; }, "differ in length");
    refuses([](Counts &c) { c.values.pop_back(); }, "differ in length");
    refuses([](Counts &c) { c.indices = {0, 3, 1}; }, "indices must be columns");
    refuses([](Counts &c) { c.indices = {-1, 2, 1}; }, "indices must be columns");
    refuses([](Counts &c) { c.indices = {2, 0, 1}; }, "increasing order");
    refuses([](Counts &c) { c.indices = {2, 2, 1}; }, "increasing order");
    refuses([](Counts &c) { c.values = {1, 0, 4}; }, "values must be positive");
    refuses([](Counts &c) { c.values = {1, 1, -4}; }, "values must be positive");
    refuses([](Counts &c) { c.values = {1, 1, std::numeric_limits<double>::infinity()}; }, "values must be positive");
    refuses([](Counts &c) { c.values = {1, 1, std::numeric_limits<double>::quiet_NaN()}; }, "values must be positive");
}

} // namespace

int main() {
    counting();
    adding();
    subtracting();
    refused();
    return test::result();
}
