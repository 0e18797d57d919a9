// Tables are the same on every processor, to the last bit: their digests are those frozen here.
//
// A change of formulas, or of the order of operations, changes them on purpose: the new ones are printed.
#include "ttamer/solve/expect.hpp"
#include "ttamer/solve/solve.hpp"

#include "check.hpp"
#include "models.hpp"

#include <bit>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <random>
#include <utility>
#include <vector>

using namespace ttamer;

namespace {

// FNV-1a over numbers, not over memory: the order of bytes does not matter.
class Digest {
  public:
    void add(std::uint64_t value) {
        for (int shift = 0; shift < 64; shift += 8) {
            sum_ = (sum_ ^ (value >> shift & 0xFF)) * 0x100000001B3;
        }
    }
    void add(double value) { add(std::bit_cast<std::uint64_t>(value)); }
    void add(float value) { add(std::uint64_t{std::bit_cast<std::uint32_t>(value)}); }
    void add(std::int32_t value) { add(std::uint64_t{static_cast<std::uint32_t>(value)}); }
    template <typename T> void add(const std::vector<T> &values) {
        add(std::uint64_t{values.size()});
        for (const T value : values) {
            add(value);
        }
    }
    std::uint64_t sum() const { return sum_; }

  private:
    std::uint64_t sum_ = 0xCBF29CE484222325;
};

// Numbers with all their bits, unlike those of random_model: sums round.
Model rough_model(const Topology &topology, std::size_t states, std::uint32_t seed, bool observed) {
    std::mt19937 random(seed);
    const auto number = [&random] { return static_cast<double>(random()) / 4294967296.0; };
    Model model = test::model_with_probes(topology, states, seed, observed);
    for (auto &losses : model.losses) {
        for (auto &loss : losses) {
            loss = loss == std::numeric_limits<double>::infinity() ? loss : number();
        }
    }
    model.transitions.clear();
    for (const auto &edge : topology.edges()) {
        const std::size_t rows = edge.from == kRoot ? 1 : states;
        std::vector<double> values;
        for (std::size_t row = 0; row < rows; ++row) {
            std::vector<double> weights(states);
            double sum = 0;
            for (auto &weight : weights) {
                weight = number();
                sum += weight;
            }
            for (const double weight : weights) {
                values.push_back(weight / sum);
            }
        }
        model.transitions.push_back(Transition::dense(rows, states, std::move(values)));
    }
    for (auto &cost : model.costs) {
        cost = number() / 8;
    }
    model.state_costs.clear();
    prepare(model);
    return model;
}

void add_policy(Digest &digest, const Model &model, const Policy &policy) {
    const auto &tables = policy.tables();
    digest.add(tables.value);
    digest.add(tables.first_node);
    digest.add(tables.levels);
    digest.add(tables.bin_edges);
    digest.add(tables.ranks);
    digest.add(tables.interval_offsets);
    digest.add(tables.interval_upper);
    digest.add(tables.interval_next);
    digest.add(tables.index_offsets);
    digest.add(tables.index_ranks);
    const auto expected = expect(model, policy);
    digest.add(expected.visits);
    digest.add(expected.stops);
    digest.add(expected.cost);
    digest.add(expected.loss);
}

void check_topology(const char *name, const Topology &topology, std::uint64_t frozen) {
    Digest digest;
    for (const std::size_t states : {3, 17, 70}) {
        for (const bool observed : {false, true}) {
            const Model model = rough_model(topology, states, static_cast<std::uint32_t>(states), observed);
            for (const double tradeoff : {0.7, 0.95}) {
                add_policy(digest, model, solve(model, tradeoff, true));
            }
            if (topology.shape() != Shape::forest) {
                add_policy(digest, model, solve(model, 0.9, false));
                add_policy(digest, model, solve(aggregate(model, 3), 0.9, true));
            }
        }
    }
    if (digest.sum() != frozen) {
        std::fprintf(stderr, "%s: the digest is 0x%016" PRIX64 "\n", name, digest.sum());
    }
    CHECK(digest.sum() == frozen);
}

} // namespace

int main() {
    check_topology("line", Topology::line(5), 0x22A546398BDC8F5D);
    check_topology("skip", Topology::skip(4), 0xF6A9D655A5A43B55);
    check_topology("dag", test::joining_dag(), 0x7B48161FC958E5B9);
    check_topology("forest", Topology::forest(std::vector<std::int64_t>{-1, 0, 0, -1, 3}), 0xC51916EF092F36C1);
    return test::result();
}
