// Bin edges that are hard to look signals up among, and the signals around them.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace ttamer::test {

using Floats = std::vector<float>;
inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The state of a signal by its definition. Not by std::count_if, of which compilers make vectors: those of 32-bit ARM
// take denormals for 0.
inline std::int32_t count_edges(const Floats &edges, float signal) {
    return static_cast<std::int32_t>(std::upper_bound(edges.begin(), edges.end(), signal) - edges.begin());
}

// `count` floats next to each other.
inline Floats neighbours(float first, std::size_t count) {
    Floats edges{first};
    while (edges.size() < count) {
        edges.push_back(std::nextafter(edges.back(), kInfinity));
    }
    return edges;
}

// None, next to each other, far apart, of all orders of magnitude, in clusters.
inline std::vector<Floats> crowded_edges() {
    std::vector<Floats> lists{{}, {std::numeric_limits<float>::lowest(), std::numeric_limits<float>::max()}};
    for (const std::size_t count :
         {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{17}, std::size_t{600}}) {
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
        lists.insert(lists.end(), {neighbours(1.0F, count), neighbours(0.0F, count), neighbours(-1.0F, count), spread,
                                   orders, clusters});
    }
    return lists;
}

// Both ends of the floats, the edges and what lies next to them, and any others.
inline Floats signals_around(const Floats &edges, std::mt19937 &random) {
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
    return signals;
}

} // namespace ttamer::test
