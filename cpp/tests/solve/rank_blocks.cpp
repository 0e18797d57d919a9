// Blocks of ranks: every state is open until its own rank, and columns of a block are neighbours in one table.
#include "ttamer/solve/rank_blocks.hpp"

#include "check.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

using namespace ttamer;

namespace {

void check_blocks(const std::vector<std::int32_t> &own, std::int32_t width) {
    const RankBlocks blocks(own, width);
    CHECK(blocks.states() == own.size() && blocks.width() == width);
    CHECK(blocks.count() == static_cast<std::size_t>(*std::max_element(own.begin(), own.end()) / width) + 1);
    std::set<std::size_t> columns;
    std::set<std::size_t> places;
    for (std::size_t s = 0; s < own.size(); ++s) {
        columns.insert(blocks.column(s));
        CHECK(blocks.order().empty() ? blocks.column(s) == s : blocks.order()[blocks.column(s)] == s);
        bool was_settled = false;
        for (std::size_t block = 0; block <= blocks.count(); ++block) {
            const auto within = [&](const Columns &part) {
                return blocks.column(s) >= part.begin && blocks.column(s) < part.end;
            };
            const bool settled = own[s] <= blocks.begin(block);
            CHECK(within(blocks.open(block)) == !settled);
            CHECK(within(blocks.settling(block)) == (settled && !was_settled));
            was_settled = settled;
            if (!settled) {
                CHECK(blocks.at(block, blocks.column(s)) % static_cast<std::size_t>(width) == 0);
                CHECK(blocks.at(block, blocks.column(s)) < blocks.size());
                places.insert(blocks.at(block, blocks.column(s)));
            }
        }
    }
    CHECK(columns.size() == own.size() && *columns.rbegin() == own.size() - 1);
    CHECK(places.size() * static_cast<std::size_t>(width) == blocks.size()); // no two share one, none is left over
}

} // namespace

int main() {
    for (const std::int32_t width : {1, 4, 16}) {
        check_blocks({0}, width);
        check_blocks({5, 5, 5}, width);
        check_blocks({0, 3, 4, 4, 8, 9, 33}, width); // rising
        check_blocks({33, 9, 8, 4, 4, 3, 0}, width); // falling
        check_blocks({4, 0, 33, 9, 4, 3, 8}, width);
    }
    CHECK(RankBlocks(std::vector<std::int32_t>{1, 2}, 2).order().empty());
    CHECK(RankBlocks(std::vector<std::int32_t>{2, 1}, 2).order().empty());
    return test::result();
}
