// After start, deciding allocates nothing: every way of calling, on walks and forests. A large policy is small.
#include "check.hpp"
#include "models.hpp"
#include "sets.hpp"

#include "ttamer/base/dispatch.hpp"
#include "ttamer/decide/answer_batch.hpp"
#include "ttamer/decide/batch.hpp"
#include "ttamer/decide/logit_signals.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <numeric>
#include <vector>

namespace {

std::size_t allocations = 0;
std::size_t live_bytes = 0;
// Before each piece of memory: where the memory that holds it begins, and its size.
struct Header {
    void *whole;
    std::size_t size;
};

// Neither is inlined: GCC would warn that what `new` gave is given to `free`.
TTAMER_NOINLINE void *allocate(std::size_t size, std::size_t alignment) {
    ++allocations;
    live_bytes += size;
    void *whole = std::malloc(sizeof(Header) + alignment + size);
    if (whole == nullptr) {
        return nullptr;
    }
    void *memory = static_cast<std::byte *>(whole) + sizeof(Header);
    std::size_t space = alignment + size;
    memory = std::align(alignment, size, memory, space);
    const Header header{whole, size};
    std::memcpy(static_cast<std::byte *>(memory) - sizeof(Header), &header, sizeof(header));
    return memory;
}

TTAMER_NOINLINE void release(void *memory) {
    if (memory == nullptr) {
        return;
    }
    Header header{};
    std::memcpy(&header, static_cast<std::byte *>(memory) - sizeof(Header), sizeof(header));
    live_bytes -= header.size;
    std::free(header.whole);
}

} // namespace

// Replaced for the whole program: what counts is that none of these is reached.
void *operator new(std::size_t size) {
    return operator new(size, std::align_val_t{alignof(std::max_align_t)});
}
void *operator new(std::size_t size, std::align_val_t alignment) {
    if (void *memory = allocate(size, static_cast<std::size_t>(alignment))) {
        return memory;
    }
    throw std::bad_alloc();
}
void *operator new(std::size_t size, const std::nothrow_t &) noexcept {
    return allocate(size, alignof(std::max_align_t));
}
void operator delete(void *memory) noexcept {
    release(memory);
}
void operator delete(void *memory, std::size_t) noexcept {
    release(memory);
}
void operator delete(void *memory, std::align_val_t) noexcept {
    release(memory);
}
void operator delete(void *memory, std::size_t, std::align_val_t) noexcept {
    release(memory);
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
    const auto at = static_cast<std::size_t>(policy->nodes());
    std::vector<std::int32_t> all_roots; // of forests and dags several nodes may come first, and rows differ
    for (const auto &root : topology.successors(kRoot)) {
        all_roots.push_back(root.node);
    }
    std::vector<std::int32_t> mixed(kRequests);
    for (std::size_t row = 0; row < kRequests; ++row) {
        mixed[row] = all_roots[row % all_roots.size()];
    }
    const std::vector<float> logits(kRequests * at, 1.0F);
    LogitSignals logit_signals(SignalKind::max_prob, kRequests, NanSignal::worst);
    const Logits given{logits.data(), LogitType::float32, kRequests, at};
    const std::array<Rows, 3> ways = {Rows{}, Rows{.narrow = narrow, .wide = {}, .given = true},
                                      Rows{.narrow = {}, .wide = wide, .given = true}};
    const std::size_t before = allocations;
    for (const Rows &rows : ways) {
        batch.decide(first, signals, rows);
        batch.reset(rows);
        batch.decide(std::span<const std::int32_t>(nodes), signals, rows);
        batch.reset({});
        batch.decide(std::span<const std::int32_t>(mixed), signals, rows);
        batch.reset({});
        logit_signals.check(given, rows);
        logit_signals.compute(given);
        batch.decide(first, logit_signals.finish(given, rows), rows);
        batch.reset({});
    }
    CHECK(allocations == before);
}

void answers_are_decided_without_allocating() {
    const auto policy = test::small_set_policy(1);
    AnswerBatch batch(test::small_set_estimator(), policy, kRequests, NanSignal::worst, SignalKind::margin);
    const std::vector<float> scores = test::random_signals(kRequests, 5, 3);
    const std::vector<std::int32_t> answers(kRequests, 2);
    const std::vector<std::int32_t> nodes(kRequests, 0);
    std::vector<std::int32_t> narrow(kRequests);
    std::iota(narrow.rbegin(), narrow.rend(), 0);
    const Shown shown{kRequests, 1, scores, answers, true};
    const std::vector<float> numbers(kRequests * 3, 2.0F);
    const Logits logits{numbers.data(), LogitType::float32, kRequests, 3};
    const std::size_t before = allocations;
    for (const Rows &rows : {Rows{}, Rows{.narrow = narrow, .wide = {}, .given = true}}) {
        batch.decide(0, shown, rows);
        batch.reset(rows);
        batch.decide(std::span<const std::int32_t>(nodes), shown, rows);
        batch.reset({});
        batch.decide(0, logits, rows);
        batch.reset({});
    }
    CHECK(allocations == before);
}

void a_large_policy_is_small() {
    const std::size_t before = live_bytes;
    const Policy policy(test::large_tables(12, 1024));
    CHECK(policy.states(0) == 1024);
    CHECK(live_bytes - before < std::size_t{1000} * 1000);
}

} // namespace

int main() {
    a_large_policy_is_small();
    answers_are_decided_without_allocating();
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
