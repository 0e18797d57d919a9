// States by table look-up are the numbers of edges that are not above the signal.
#include "ttamer/base/quantiser.hpp"

#include "ttamer/decide/lookup.hpp"
#include "ttamer/decide/node_fields.hpp"

#include "check.hpp"
#include "models.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>
#include <vector>

using namespace ttamer;

namespace {

using Floats = std::vector<float>;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::int32_t counted(const Floats &edges, float signal) {
    return static_cast<std::int32_t>(
        std::count_if(edges.begin(), edges.end(), [=](float edge) { return edge <= signal; }));
}

// The loops over blocks of signals, with entries that are the numbers of their states: all at one node, and at one of
// three, two of which have the edges and a third others. NaN counts as the first state.
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
    const JointTables tables{nodes.data(), nullptr, quantisers.cells(), quantisers.parts(), quantisers.without_steps()};
    signals.insert(signals.end(), {std::nanf(""), -std::nanf("")});
    bool same = true;
    for (std::size_t begin = 0; begin < signals.size(); begin += kBlock) {
        const std::size_t count = std::min(kBlock, signals.size() - begin);
        std::vector<Entry> found(count);
        std::vector<std::int32_t> at(count);
        BlockFields fields;
        find_entries(quantisers.lookup(0), entries.data(), signals.data() + begin, count, 0, found.data());
        for (std::size_t k = 0; k < count; ++k) {
            const float signal = signals[begin + k];
            same = same && found[k] == static_cast<Entry>(std::isnan(signal) ? 0 : counted(edges, signal));
            at[k] = static_cast<std::int32_t>((begin + k) % lists.size());
        }
        node_field_kernels(tables).front().take(tables, at.data(), count, fields);
        find_entries(tables, entries.data(), at.data(), fields, signals.data() + begin, count, found.data());
        for (std::size_t k = 0; k < count; ++k) {
            const float signal = signals[begin + k];
            const std::int32_t state = std::isnan(signal) ? 0 : counted(at[k] == 1 ? few : edges, signal);
            same = same && found[k] == static_cast<Entry>(100000 * at[k] + state) &&
                   fields.only_next[k] == static_cast<std::uint32_t>(at[k]);
        }
    }
    CHECK(same);
}

void agrees(const Floats &edges, std::mt19937 &random) {
    const Quantiser quantiser(edges);
    Floats signals{-kInfinity,
                   kInfinity,
                   0.0F,
                   -0.0F,
                   1.0F,
                   std::numeric_limits<float>::denorm_min(),
                   std::numeric_limits<float>::max(),
                   std::numeric_limits<float>::lowest()};
    for (const float edge : edges) {
        signals.insert(signals.end(), {edge, std::nextafter(edge, kInfinity), std::nextafter(edge, -kInfinity)});
    }
    for (int k = 0; k < 200; ++k) {
        const auto any = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
        signals.push_back(std::isnan(any) ? 0.5F : any);
    }
    bool same = true;
    for (const float signal : signals) {
        same = same && quantiser.state(order_key(signal)) == counted(edges, signal);
    }
    CHECK(same);
    in_blocks<StandingEntry>(edges, signals);
    in_blocks<RankEntry>(edges, signals);
    CHECK(states_of(edges, signals, 1, 0).size() == signals.size());
}

// `count` floats next to each other.
Floats neighbours(float first, std::size_t count) {
    Floats edges{first};
    while (edges.size() < count) {
        edges.push_back(std::nextafter(edges.back(), kInfinity));
    }
    return edges;
}

void crowded() {
    std::mt19937 random(3);
    agrees({}, random);
    for (const std::size_t count :
         {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{17}, std::size_t{600}}) {
        agrees(neighbours(1.0F, count), random);
        agrees(neighbours(0.0F, count), random);
        agrees(neighbours(-1.0F, count), random);
        Floats spread;
        Floats orders;
        Floats clusters;
        for (std::size_t k = 0; k < count; ++k) {
            const auto place = static_cast<float>(k);
            spread.push_back(place - static_cast<float>(count) / 2);
            orders.push_back(std::pow(10.0F, -40.0F + 78.0F * place / static_cast<float>(count)));
        }
        for (const float at : {-2.0F, -1e-30F, 1e-30F, 1.0F, 1e30F}) {
            const auto part = neighbours(at, count);
            clusters.insert(clusters.end(), part.begin(), part.end());
        }
        agrees(spread, random);
        agrees(orders, random);
        agrees(clusters, random);
    }
    agrees({std::numeric_limits<float>::lowest(), std::numeric_limits<float>::max()}, random);
}

void keys() {
    const Floats ordered{-kInfinity, -2.0F, -1e-45F, 0.0F, 1e-45F, 2.0F, kInfinity};
    for (std::size_t k = 1; k < ordered.size(); ++k) {
        CHECK(order_key(ordered[k - 1]) < order_key(ordered[k]));
    }
    CHECK(order_key(-0.0F) == order_key(0.0F));
}

void columns() {
    const Floats edges{1.0F, 2.0F};
    const Floats signals{0.0F, 1.0F, 2.0F, 1.5F, 3.0F, 0.5F};
    CHECK(states_of(edges, signals, 2, 0) == std::vector<std::int32_t>{0, 2, 2});
    CHECK(states_of(edges, signals, 2, 1) == std::vector<std::int32_t>{1, 1, 0});
    CHECK(states_of(edges, {}, 2, 1).empty());
}

void too_many() {
    CHECK_THROWS(Quantiser(neighbours(1.0F, Quantiser::kMaxEdges + 1)), std::invalid_argument,
                 "bin_edges: expected at most 65534, got 65535");
    const auto most = neighbours(1.0F, Quantiser::kMaxEdges);
    in_blocks<StandingEntry>(most, {most.front(), most[40000], most.back(), 0.5F, 2.0F});
    const Quantiser quantiser(most);
    CHECK(quantiser.state(order_key(most.back())) == 65534);
    CHECK(quantiser.state(order_key(most[30000])) == 30001);
    CHECK(quantiser.state(order_key(0.5F)) == 0);
}

} // namespace

int main() {
    crowded();
    keys();
    columns();
    too_many();
    return test::result();
}
