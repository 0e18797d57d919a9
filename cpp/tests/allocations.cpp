// After start, deciding allocates nothing: every way of calling, on walks and forests.
#include "check.hpp"
#include "models.hpp"

#include "ttamer/batch.hpp"

#include <array>
#include <cstdlib>
#include <memory>
#include <new>
#include <numeric>
#include <vector>

namespace {

std::size_t allocations = 0;

} // namespace

// Replaced for the whole program: what counts is that none of these is reached. GCC sees through the pair and warns of
// memory from new given to free.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif
void *operator new(std::size_t size) {
    ++allocations;
    if (void *memory = std::malloc(size == 0 ? 1 : size)) {
        return memory;
    }
    throw std::bad_alloc();
}
void *operator new(std::size_t size, const std::nothrow_t &) noexcept {
    ++allocations;
    return std::malloc(size == 0 ? 1 : size);
}
void operator delete(void *memory) noexcept {
    std::free(memory);
}
void operator delete(void *memory, std::size_t) noexcept {
    std::free(memory);
}

using namespace ttamer;

namespace {

constexpr std::size_t kRequests = 300; // several blocks

void decides_without_allocating(const Topology &topology, bool recall, bool observed) {
    const auto model = test::random_model(topology, 5, 7, observed);
    const auto policy = std::make_shared<const Policy>(solve(model, 0.9, recall));
    Batch batch(policy, kRequests, NanSignal::worst);
    const std::int32_t first = policy->tables().first_node;
    const std::vector<float> signals = test::random_signals(kRequests, 5, 3);
    const std::vector<std::int32_t> nodes(kRequests, first);
    std::vector<std::int32_t> narrow(kRequests);
    std::vector<std::int64_t> wide(kRequests);
    std::iota(narrow.rbegin(), narrow.rend(), 0);
    std::iota(wide.rbegin(), wide.rend(), 0);
    const std::array<Rows, 3> ways = {Rows{}, Rows{.narrow = narrow, .wide = {}, .given = true},
                                      Rows{.narrow = {}, .wide = wide, .given = true}};
    const std::size_t before = allocations;
    for (const Rows &rows : ways) {
        batch.decide(first, signals, rows);
        batch.reset(rows);
        batch.decide(std::span<const std::int32_t>(nodes), signals, rows);
        batch.reset({});
    }
    CHECK(allocations == before);
}

} // namespace

int main() {
    constexpr std::array<std::int64_t, 3> parents = {-1, -1, 0};
    for (const bool observed : {false, true}) {
        for (const bool recall : {false, true}) {
            decides_without_allocating(Topology::line(3), recall, observed);
            decides_without_allocating(Topology::skip(3), recall, observed);
        }
        decides_without_allocating(Topology::forest(parents), true, observed);
    }
    return ttamer::test::result();
}
