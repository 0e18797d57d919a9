// The loops over blocks of signals find the entries of the states that the edges by definition give.
#include "ttamer/decide/lookup.hpp"
#include "ttamer/decide/node_fields.hpp"

#include "check.hpp"
#include "edges.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

using namespace ttamer;
using test::Floats;

namespace {

// Entries are the numbers of their states. All rows are at one node, then each at one of three, two of which have the
// edges and a third others. NaN counts as the first state.
template <typename Entry> void in_blocks(const Floats &edges, Floats signals) {
    const Floats few{-1.0F, 0.25F, 0.5F};
    const std::vector<std::span<const float>> lists{edges, few, edges};
    const Quantisers quantisers(lists);
    const std::vector<std::uint32_t> firsts{0, 70000, 80000};
    std::vector<Entry> entries(150000);
    std::vector<NodeTables> nodes;
    for (std::size_t j = 0; j < lists.size(); ++j) {
        nodes.push_back({quantisers.lookup(j), quantisers.first_cell(j), firsts[j], 0, static_cast<std::int32_t>(j),
                         Policy::kSeveral});
        for (std::size_t state = 0; state <= lists[j].size(); ++state) {
            entries[firsts[j] + state] = static_cast<Entry>(100000 * j + state);
        }
    }
    const JointTables tables{nodes.data(), nullptr, quantisers.cells(), quantisers.parts(),
                             quantisers.without_climbs()};
    signals.insert(signals.end(), {std::nanf(""), -std::nanf("")});
    bool same = true;
    for (std::size_t begin = 0; begin < signals.size(); begin += kBlock) {
        const std::size_t count = std::min(kBlock, signals.size() - begin);
        std::vector<Entry> found(count);
        std::vector<std::int32_t> at(count);
        BlockFields fields;
        find_entries(quantisers.lookup(0), entries.data(), {}, signals.data() + begin, count, 0, found.data());
        for (std::size_t k = 0; k < count; ++k) {
            const float signal = signals[begin + k];
            same = same && found[k] == static_cast<Entry>(std::isnan(signal) ? 0 : test::count_edges(edges, signal));
            at[k] = static_cast<std::int32_t>((begin + k) % lists.size());
        }
        node_field_kernels(tables).front().read(tables, at.data(), count, fields);
        find_entries(tables, entries.data(), {}, at.data(), fields, signals.data() + begin, count, found.data());
        for (std::size_t k = 0; k < count; ++k) {
            const float signal = signals[begin + k];
            const std::int32_t state = std::isnan(signal) ? 0 : test::count_edges(at[k] == 1 ? few : edges, signal);
            same = same && found[k] == static_cast<Entry>(100000 * at[k] + state) &&
                   fields.only_next[k] == static_cast<std::uint32_t>(at[k]);
        }
    }
    CHECK(same);
}

} // namespace

int main() {
    std::mt19937 random(3);
    for (const auto &edges : test::crowded_edges()) {
        const Floats signals = test::signals_around(edges, random);
        in_blocks<StandingEntry>(edges, signals);
        in_blocks<RankEntry>(edges, signals);
    }
    const Floats most = test::neighbours(1.0F, Quantiser::kMaxEdges);
    in_blocks<StandingEntry>(most, {most.front(), most[40000], most.back(), 0.5F, 2.0F});
    return test::result();
}
