// Passing rows on, as every kind of processor does it: what consult_row says of each, going in order, no stop lost.
#include "ttamer/replay/passing.hpp"

#include "check.hpp"
#include "models.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

using namespace ttamer;

namespace {

using Rows = std::vector<StandingRow>;

// Standings and bounds that meet often; stops never, always and below some standing.
StandingEntry random_entry(std::mt19937 &random) {
    const std::int32_t bounds[]{0, 1, 2, 3, 0xFFFE};
    return static_cast<StandingEntry>(test::below(random, 4)) << 16 |
           static_cast<StandingEntry>(bounds[test::below(random, 5)]);
}

// Fresh, or with a low or a very high standing; any position, as replays put the request there.
StandingRow random_row(std::mt19937 &random) {
    const std::int32_t standings[]{0, 1, 2, 3, 0xFFFD, 0xFFFF};
    return static_cast<StandingRow>(standings[test::below(random, 6)]) << 16 |
           static_cast<StandingRow>(test::below(random, 0x10000));
}

// What going on and stopping leave, by consult_row; `in_place`: those that go on take the places of all.
void agrees(Pass pass, std::size_t count, bool in_place, std::mt19937 &random) {
    constexpr StandingRow untouched = 0xFFF7FFFF;
    Rows rows(count + 1, untouched);
    std::vector<StandingEntry> found(count);
    std::generate(rows.begin(), rows.end() - 1, [&] { return random_row(random); });
    std::generate(found.begin(), found.end(), [&] { return random_entry(random); });
    Rows expected_going;
    Rows expected_stopped;
    for (std::size_t k = 0; k < count; ++k) {
        const auto outcome = consult_row(rows[k], found[k], 6, 0);
        const StandingRow row = choose(StandingRow{kPositionBits}, rows[k], outcome.row);
        (outcome.next == kStop ? expected_stopped : expected_going).push_back(row);
    }
    Rows apart(count + 1, untouched);
    Rows &going = in_place ? rows : apart;
    Rows stopped(count + 1, untouched);
    const std::size_t end = pass(rows.data(), found.data(), count, going.data(), stopped.data() + stopped.size());
    CHECK(end == expected_going.size());
    CHECK(std::equal(expected_going.begin(), expected_going.end(), going.begin()));
    Rows last(stopped.end() - static_cast<std::ptrdiff_t>(expected_stopped.size()), stopped.end());
    std::sort(last.begin(), last.end());
    std::sort(expected_stopped.begin(), expected_stopped.end());
    CHECK(last == expected_stopped);
    CHECK(going.back() == untouched && stopped.front() == untouched);
}

} // namespace

int main() {
    CHECK(!all_passes().empty());
    for (const Pass pass : all_passes()) {
        std::mt19937 random(5);
        for (std::size_t count = 0; count < 40; ++count) {
            for (int time = 0; time < 20; ++time) {
                agrees(pass, count, true, random);
                agrees(pass, count, false, random);
            }
        }
    }
    return test::result();
}
