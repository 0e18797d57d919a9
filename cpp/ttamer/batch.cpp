#include "ttamer/batch.hpp"

#include "ttamer/dispatch.hpp"
#include "ttamer/kernels.hpp"
#include "ttamer/open_nodes.hpp"
#include "ttamer/row_block.hpp"
#include "ttamer/text.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <stdexcept>
#include <utility>

namespace ttamer {

namespace {

// Rows are int32 on accelerators; this also keeps the columns of one batch within a few gigabytes.
constexpr std::int64_t kMaxCapacity = std::int64_t{1} << 28;

// Below this many rows the loops over columns cost more than they save.
constexpr std::size_t kFewRows = 32;

using Places = std::array<std::int32_t, kBlock>;

// Copies the rows from `begin` on, at most kBlock, and returns their number: of one width, and out of the result's way.
// Rows may lie in the result, which the last call gave. A call writes position k of it after having read row k, and no
// row lies further in front.
std::size_t copy_places(const Rows &rows, std::size_t begin, Places &places) {
    const std::size_t count = std::min(kBlock, rows.size() - begin);
    if (rows.narrow.empty()) {
        narrow(rows.wide.data() + begin, count, places.data());
    } else {
        std::copy_n(rows.narrow.data() + begin, count, places.data());
    }
    return count;
}

} // namespace

Batch::Batch(std::shared_ptr<const Policy> policy, std::int64_t capacity, NanSignal nan)
    : policy_(std::move(policy)), nan_(nan) {
    if (capacity < 0 || capacity > kMaxCapacity) {
        throw std::invalid_argument("capacity: expected 0 to " + text(kMaxCapacity) + ", got " + text(capacity));
    }
    const auto rows = static_cast<std::size_t>(capacity);
    rows_.assign(rows, kFreshRow);
    signal_.assign(policy_->tables().observed ? rows : 0, std::numeric_limits<float>::infinity());
    next_.assign(rows, kStop);
    positions_.assign(rows, 0);
    if (policy_->is_forest()) {
        open_.resize(rows * static_cast<std::size_t>(policy_->nodes()));
        for (std::size_t row = 0; row < rows; ++row) {
            open_roots(*policy_, open_of(row));
        }
    }
}

std::span<const std::int32_t> Batch::decide(std::int64_t node, std::span<const float> signals, const Rows &rows) {
    if (node < 0 || node >= policy_->nodes()) {
        throw std::out_of_range("node: expected 0 to " + text(policy_->nodes() - 1) + ", got " + text(node));
    }
    return decide(Nodes{{}, static_cast<std::int32_t>(node)}, signals, rows);
}

std::span<const std::int32_t> Batch::decide(std::span<const std::int32_t> nodes, std::span<const float> signals,
                                            const Rows &rows) {
    if (nodes.size() != signals.size()) {
        throw std::invalid_argument("node: expected one for each of the " + text(signals.size()) + " signals, got " +
                                    text(nodes.size()));
    }
    // Rows that move together, as on a line, have one node: then what follows need not look at each.
    if (!nodes.empty() && nodes[0] >= 0 && nodes[0] < policy_->nodes() &&
        all_equal(nodes.data(), nodes.size(), nodes[0])) {
        return decide(Nodes{{}, nodes[0]}, signals, rows);
    }
    for (std::size_t k = 0; k < nodes.size(); ++k) {
        if (nodes[k] < 0 || nodes[k] >= policy_->nodes()) {
            throw std::out_of_range("node: expected 0 to " + text(policy_->nodes() - 1) + ", got " + text(nodes[k]) +
                                    " at position " + text(k));
        }
    }
    return decide(Nodes{nodes, 0}, signals, rows);
}

std::span<const std::int32_t> Batch::decide(const Nodes &nodes, std::span<const float> signals, const Rows &rows) {
    check_sizes(signals.size(), rows);
    const Call call{nodes, signals, rows};
    const bool distinct = !rows.given || take(rows);
    if (!distinct || !is_legal(call)) {
        give_back(rows);
        if (!distinct) {
            complain_repeated(rows);
        }
        complain(call);
    }
    consult(call);
    return {next_.data(), signals.size()};
}

void Batch::check_sizes(std::size_t signals, const Rows &rows) const {
    if (rows.given && rows.size() != signals) {
        throw std::invalid_argument("rows: expected one for each of the " + text(signals) + " signals, got " +
                                    text(rows.size()));
    }
    if (signals > capacity()) {
        throw std::invalid_argument("signals: " + text(signals) + " exceed the batch's capacity of " +
                                    text(capacity()));
    }
}

// Marks the rows that are named, so that one named twice is found: false. Each is visited twice, wherever it lies:
// here, which brings together what the checks need, and when it is consulted, which takes the mark away. Most of what
// `rows` adds to a call is these visits, not their misses: prefetching made them slower.
bool Batch::take(const Rows &rows) {
    check_rows(rows);
    if (rows.size() > capacity()) {
        throw std::invalid_argument("rows: " + text(rows.size()) + " exceed the batch's capacity of " +
                                    text(capacity()));
    }
    return take_each(rows.narrow) && take_each(rows.wide);
}

template <typename Row> bool Batch::take_each(std::span<const Row> rows) {
    const Row *places = rows.data();
    const std::size_t count = rows.size();
    RowState *states = rows_.data();
    std::uint16_t *positions = positions_.data();
    RowState taken = 0;
    TTAMER_UNROLL
    for (std::size_t k = 0; k < count; ++k) {
        const RowState row = states[places[k]];
        states[places[k]] = row | kTaken;
        taken |= row;
        positions[k] = static_cast<std::uint16_t>(position_of(row));
    }
    return (taken & kTaken) == 0;
}

void Batch::check_rows(const Rows &rows) const {
    if (!all_inside(rows.narrow.data(), rows.narrow.size(), capacity()) ||
        !all_inside(rows.wide.data(), rows.wide.size(), capacity())) {
        complain_range(rows);
    }
}

// Takes the marks away where nothing was consulted.
void Batch::give_back(const Rows &rows) {
    for (std::size_t k = 0; k < rows.size(); ++k) {
        rows_[rows.at(k)] &= ~kTaken;
    }
}

bool Batch::is_legal(const Call &call) const {
    return all_open(call) && (nan_ == NanSignal::worst || !any_nan(call.signals.data(), call.signals.size()));
}

// Whether each row may consult its node. All rows are looked at: nearly always the answer is yes, and a loop that
// never leaves early is faster.
bool Batch::all_open(const Call &call) const {
    const std::size_t count = call.signals.size();
    if (!policy_->is_forest() && call.nodes.each.empty()) {
        const std::int32_t previous = policy_->only_previous(call.nodes.one);
        if (previous != Policy::kSeveral) {
            return call.rows.given ? all_equal(positions_.data(), count, static_cast<std::uint16_t>(previous + 1))
                                   : all_at(rows_.data(), count, previous + 1);
        }
    }
    if (!policy_->is_forest() && policy_->is_tree()) {
        std::int64_t closed = 0;
        for (std::size_t k = 0; k < count; ++k) {
            closed |= position(call, k) ^ (policy_->only_previous(call.nodes.at(k)) + 1);
        }
        return closed == 0;
    }
    bool open = true;
    for (std::size_t k = 0; k < count; ++k) {
        open &= is_open(call, k, call.nodes.at(k));
    }
    return open;
}

bool Batch::is_open(const Call &call, std::size_t k, std::int32_t node) const {
    const std::int64_t before = position(call, k);
    if (policy_->is_forest()) {
        return before != kStoppedPosition && open_of(call.rows.at(k))[node] != kClosed;
    }
    // A stopped row is looked up as a fresh one, to stay within the table without a branch.
    const std::int64_t stopped = mask(before == kStoppedPosition);
    const auto last = static_cast<std::int32_t>(choose(stopped, 0, before) - 1);
    return (stopped | mask(policy_->edge_between(last, node) < 0)) == 0;
}

void Batch::consult(const Call &call) {
    const std::size_t count = call.signals.size();
    if (policy_->is_forest() || count < kFewRows) {
        for (std::size_t k = 0; k < count; ++k) {
            consult_single(call, k);
        }
        return;
    }
    for (std::size_t begin = 0; begin < count; begin += kBlock) {
        const std::size_t some = std::min(kBlock, count - begin);
        if (call.rows.given) {
            consult_taken(call, begin, some);
        } else {
            consult_rows(call, begin, some, rows_.data() + begin, signal_.empty() ? nullptr : signal_.data() + begin);
        }
    }
}

void Batch::consult_single(const Call &call, std::size_t k) {
    const std::int32_t node = call.nodes.at(k);
    const float signal = call.signals[k];
    const std::int32_t state = state_of(*policy_, node, signal);
    const std::size_t at = call.rows.at(k);
    float unused = 0;
    float &best_signal = signal_.empty() ? unused : signal_[at];
    RowState &row = rows_[at];
    next_[k] = policy_->is_forest() ? consult_branch(*policy_, node, state, signal, row, best_signal, open_of(at))
                                    : consult_one(*policy_, node, state, signal, row, best_signal);
}

// At most kBlock rows of a walk that lie anywhere: brought together, consulted, and put back.
void Batch::consult_taken(const Call &call, std::size_t begin, std::size_t count) {
    Places places;
    std::array<RowState, kBlock> rows;
    std::array<float, kBlock> best_signals;
    copy_places(call.rows, begin, places);
    TTAMER_UNROLL
    for (std::size_t k = 0; k < count; ++k) {
        rows[k] = rows_.data()[places[k]];
    }
    for (std::size_t k = 0; k < count && !signal_.empty(); ++k) {
        best_signals[k] = signal_.data()[places[k]];
    }
    consult_rows(call, begin, count, rows.data(), best_signals.data());
    for (std::size_t k = 0; k < count && !signal_.empty(); ++k) {
        signal_.data()[places[k]] = best_signals[k];
    }
    TTAMER_UNROLL
    for (std::size_t k = 0; k < count; ++k) {
        rows_.data()[places[k]] = rows[k];
    }
}

// At most kBlock rows of a walk.
void Batch::consult_rows(const Call &call, std::size_t begin, std::size_t count, RowState *rows, float *best_signals) {
    const auto signals = call.signals.subspan(begin, count);
    if (call.nodes.each.empty()) {
        consult_block(*policy_, call.nodes.one, rows, best_signals, signals, 0, next_.data() + begin);
    } else {
        consult_block(*policy_, call.nodes.each.data() + begin, rows, best_signals, signals, next_.data() + begin);
    }
}

void Batch::clear(std::size_t row) {
    rows_[row] = kFreshRow;
    if (!signal_.empty()) {
        signal_[row] = std::numeric_limits<float>::infinity();
    }
    if (policy_->is_forest()) {
        open_roots(*policy_, open_of(row));
    }
}

void Batch::reset(const Rows &rows) {
    if (!rows.given && policy_->is_forest()) {
        for (std::size_t row = 0; row < capacity(); ++row) {
            clear(row);
        }
        return;
    }
    if (!rows.given) {
        std::fill(rows_.begin(), rows_.end(), kFreshRow);
        std::fill(signal_.begin(), signal_.end(), std::numeric_limits<float>::infinity());
        return;
    }
    if (!take(rows)) {
        give_back(rows);
        complain_repeated(rows);
    }
    for (std::size_t k = 0; k < rows.size(); ++k) {
        clear(rows.at(k));
    }
}

void Batch::answer_node(std::span<std::int32_t> out) const {
    std::transform(rows_.begin(), rows_.end(), out.begin(), answer_of);
}

void Batch::answer_loss(std::span<double> out) const {
    const auto &levels = policy_->tables().levels;
    std::transform(rows_.begin(), rows_.end(), out.begin(), [&](RowState row) {
        const std::int32_t rank = rank_of(row);
        return rank == kNoRank ? std::numeric_limits<double>::infinity() : levels[static_cast<std::size_t>(rank)];
    });
}

} // namespace ttamer
