// Passing rows on, as every kind of processor does it: what consult_row says of each, going in order, no stop lost.
#include "ttamer/passing.hpp"

#include "check.hpp"
#include "models.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

using namespace ttamer;

namespace {

using Rows = std::vector<RowState>;

// Ranks few enough to tie; stops never, always and at some rank; any position, as replays put the request there.
StateEntry random_entry(std::mt19937 &random) {
    const std::int32_t uppers[]{-1, 0, 1, 2, kNoRank};
    return state_entry(test::below(random, 4), uppers[test::below(random, 5)]);
}

RowState random_row(std::mt19937 &random) {
    const std::int64_t rank = test::below(random, 5) == 4 ? kNoRank : test::below(random, 4);
    return rank << 32 | static_cast<std::int64_t>(test::below(random, 0x7FFF)) << 16 | test::below(random, 0x10000);
}

void agrees(Pass pass, std::size_t count, bool recall, std::mt19937 &random) {
    constexpr std::int32_t node = 6;
    constexpr RowState untouched = -7;
    Rows rows(count);
    std::vector<StateEntry> found(count);
    std::generate(rows.begin(), rows.end(), [&] { return random_row(random); });
    std::generate(found.begin(), found.end(), [&] { return random_entry(random); });
    Rows going(count + 1, untouched);
    Rows stopped(count + 1, untouched);
    const std::size_t end =
        pass(rows.data(), found.data(), count, node, recall, going.data(), stopped.data() + stopped.size());
    Rows expected_going;
    Rows expected_stopped;
    for (std::size_t k = 0; k < count; ++k) {
        const Step step = consult_row(rows[k], found[k], recall ? 0 : -1, node, 0);
        const RowState row = choose(kPositionBits, rows[k], step.row);
        (step.next == kStop ? expected_stopped : expected_going).push_back(row);
    }
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
