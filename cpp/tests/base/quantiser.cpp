// States by table look-up are the numbers of edges that are not above the signal.
#include "ttamer/base/quantiser.hpp"

#include "check.hpp"
#include "edges.hpp"

#include <random>
#include <stdexcept>
#include <vector>

using namespace ttamer;
using test::Floats;
using test::kInfinity;

namespace {

void agrees() {
    std::mt19937 random(3);
    for (const auto &edges : test::crowded_edges()) {
        const Quantiser quantiser(edges);
        const Floats signals = test::signals_around(edges, random);
        bool same = true;
        for (const float signal : signals) {
            same = same && quantiser.state(order_key(signal)) == test::count_edges(edges, signal);
        }
        CHECK(same);
        CHECK(states_of(edges, signals, 1, 0).size() == signals.size());
    }
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
    CHECK_THROWS(Quantiser(test::neighbours(1.0F, Quantiser::kMaxEdges + 1)), std::invalid_argument,
                 "bin_edges: expected at most 65534, got 65535");
    const auto most = test::neighbours(1.0F, Quantiser::kMaxEdges);
    const Quantiser quantiser(most);
    CHECK(quantiser.state(order_key(most.back())) == 65534);
    CHECK(quantiser.state(order_key(most[30000])) == 30001);
    CHECK(quantiser.state(order_key(0.5F)) == 0);
}

} // namespace

int main() {
    agrees();
    keys();
    columns();
    too_many();
    return test::result();
}
