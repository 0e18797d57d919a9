// Signals of a run, taken node by node: turned or where they were recorded, they are the same bits.
#include "ttamer/replay/run_signals.hpp"

#include "check.hpp"
#include "models.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

using namespace ttamer;

namespace {

// Each with bits of its own, some of them NaN.
std::vector<float> numbered(std::size_t count) {
    std::vector<float> signals;
    for (std::size_t k = 0; k < count; ++k) {
        const std::uint32_t kind = k % 7 == 0 ? 0x7FC00000U : k % 5 == 0 ? 0xFF900000U : 0x3F000000U;
        signals.push_back(std::bit_cast<float>(kind + static_cast<std::uint32_t>(k)));
    }
    return signals;
}

template <AnyRow Row>
bool takes(const SignalColumn &column, const std::vector<std::uint16_t> &requests, const float *first,
           std::size_t stride) {
    std::vector<Row> rows;
    for (const auto request : requests) {
        rows.push_back(Row{0x12340000} | request);
    }
    std::vector<float> taken(rows.size());
    column.take(rows.data(), rows.size(), taken.data());
    bool same = true;
    for (std::size_t k = 0; k < rows.size(); ++k) {
        const float expected = first[requests[k] * stride];
        same = same && std::bit_cast<std::uint32_t>(taken[k]) == std::bit_cast<std::uint32_t>(expected);
    }
    return same;
}

// Two runs after each other, of `count` requests and of one less, the last of which ends where the signals do.
void agrees(std::size_t nodes, std::size_t count) {
    const auto signals = numbered((2 * count - 1) * nodes);
    RunSignals run(signals, nodes, count);
    for (const std::size_t begin : {std::size_t{0}, count}) {
        const std::size_t requests = begin == 0 ? count : count - 1;
        run.start(begin, requests);
        // From the last request to the first, and the first again: in no order that a column has.
        std::vector<std::uint16_t> some;
        for (std::size_t k = requests; k-- > 0;) {
            some.push_back(static_cast<std::uint16_t>(k));
        }
        some.insert(some.end(), requests > 0 ? 1 : 0, 0);
        for (std::size_t node = 0; node < nodes; ++node) {
            for (const std::size_t waiting : {std::size_t{1}, requests}) {
                run.fetch_ahead();
                const SignalColumn column = run.column(node, waiting);
                const float *first = signals.data() + begin * nodes + node;
                CHECK((takes<StandingRow>(column, some, first, nodes)));
                CHECK((takes<RankRow>(column, some, first, nodes)));
            }
        }
    }
}

} // namespace

int main() {
    for (std::size_t nodes = 1; nodes < 12; ++nodes) {
        for (const std::size_t count : {1, 2, 3, 7, 8, 9, 16, 31, 300}) {
            agrees(nodes, count);
        }
    }
    // Three nodes are no tile, four are one.
    const auto signals = numbered(std::size_t{30} * 12);
    RunSignals three(signals, 3, 30);
    three.start(0, 30);
    CHECK(three.column(1, 30).stride == 3);
    RunSignals four(signals, 4, 30);
    four.start(0, 30);
    CHECK(four.column(1, 30).stride == 1);
    // Turned where a third wait, all of a tile together; the last two tiles stay until the run ends.
    RunSignals run(signals, 12, 30);
    run.start(0, 30);
    CHECK(run.column(1, 9).stride == 12);
    CHECK(run.column(1, 10).stride == 1);
    CHECK(run.column(3, 1).stride == 1);
    CHECK(run.column(4, 9).stride == 12);
    CHECK(run.column(4, 30).stride == 1);
    CHECK(run.column(0, 1).stride == 1);
    CHECK(run.column(11, 30).stride == 1);
    CHECK(run.column(0, 1).stride == 1);
    CHECK(run.column(4, 1).stride == 12);
    run.start(0, 30);
    CHECK(run.column(0, 1).stride == 12);
    CHECK(run.column(11, 1).stride == 12);
    return test::result();
}
