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

// Rows are int32 on accelerators; this also keeps the columns of one batch below ten gigabytes.
constexpr std::int64_t kMaxCapacity = std::int64_t{1} << 28;

// Below this many rows the loops over columns cost more than they save.
constexpr std::size_t kFewRows = 32;

} // namespace

Batch::Batch(std::shared_ptr<const Policy> policy, std::int64_t capacity, NanSignal nan)
    : policy_(std::move(policy)), nan_(nan) {
    if (capacity < 0 || capacity > kMaxCapacity) {
        throw std::invalid_argument("capacity: expected 0 to " + text(kMaxCapacity) + ", got " + text(capacity));
    }
    const auto rows = static_cast<std::size_t>(capacity);
    const std::size_t observed = policy_->tables().observed ? rows : 0;
    rows_.assign(rows, kFreshRow);
    signal_.assign(observed, std::numeric_limits<float>::infinity());
    next_.assign(rows, kStop);
    if (!policy_->is_forest()) {
        before_.assign(rows, kFreshRow);
        signal_before_.assign(observed, 0.0F);
        pending_.assign(rows, kStop);
    } else {
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
    if (!all_inside(nodes.data(), nodes.size(), static_cast<std::size_t>(policy_->nodes()))) {
        complain_nodes(nodes);
    }
    return decide(Nodes{nodes, 0}, signals, rows);
}

std::span<const std::int32_t> Batch::decide(const Nodes &nodes, std::span<const float> signals, const Rows &rows) {
    check_sizes(signals.size(), rows);
    const Call call{nodes, signals, rows};
    if (!(policy_->is_forest()  ? consult_branches(call)
          : !rows.given         ? consult_first(call)
          : rows.narrow.empty() ? consult_named(call, rows.wide)
                                : consult_named(call, rows.narrow))) {
        refuse(call);
    }
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

void Batch::check_rows(const Rows &rows) const {
    if (!all_inside(rows.narrow.data(), rows.narrow.size(), capacity()) ||
        !all_inside(rows.wide.data(), rows.wide.size(), capacity())) {
        complain_range(rows);
    }
}

bool Batch::has_nan(std::span<const float> signals) const {
    return nan_ == NanSignal::error && any_nan(signals.data(), signals.size());
}

// Marks the rows that are named, so that one named twice is found: false.
bool Batch::take(const Rows &rows) {
    RowState taken = 0;
    for (std::size_t k = 0; k < rows.size(); ++k) {
        RowState &row = rows_[rows.at(k)];
        taken |= row;
        row |= kTaken;
    }
    return (taken & kTaken) == 0;
}

void Batch::give_back(const Rows &rows) {
    for (std::size_t k = 0; k < rows.size(); ++k) {
        rows_[rows.at(k)] &= ~kTaken;
    }
}

// Whether each of the rows, which stand at a call's positions from `begin` on, may consult its node. All are looked at:
// nearly always the answer is yes, and a loop that never leaves early is faster. No row that is taken may.
bool Batch::all_open(const Call &call, std::size_t begin, std::span<const RowState> rows) const {
    if (call.nodes.each.empty()) {
        const std::int32_t previous = policy_->only_previous(call.nodes.one);
        if (previous != Policy::kSeveral) {
            return all_at(rows.data(), rows.size(), previous + 1);
        }
    }
    if (policy_->is_tree() && !call.nodes.each.empty()) {
        const NodeTables *tables = policy_->joint_tables().nodes;
        const std::int32_t *nodes = call.nodes.each.data() + begin;
        RowState closed = 0;
        TTAMER_UNROLL
        for (std::size_t k = 0; k < rows.size(); ++k) {
            closed |= rows[k] ^ (tables[nodes[k]].only_previous + 1);
        }
        return (closed & kPositionBits) == 0;
    }
    bool open = true;
    for (std::size_t k = 0; k < rows.size(); ++k) {
        open &= (rows[k] & kTaken) == 0 && may_follow(rows[k], call.nodes.at(begin + k));
    }
    return open;
}

bool Batch::may_follow(RowState row, std::int32_t node) const {
    // A stopped row is looked up as a fresh one, to stay within the table without a branch.
    const std::int64_t before = position_of(row);
    const std::int64_t stopped = mask(before == kStoppedPosition);
    const auto last = static_cast<std::int32_t>(choose(stopped, 0, before) - 1);
    return (stopped | mask(policy_->edge_between(last, node) < 0)) == 0;
}

bool Batch::is_open(std::size_t row, std::int32_t node) const {
    return policy_->is_forest() ? !has_stopped(row) && open_of(row)[node] != kClosed : may_follow(rows_[row], node);
}

// On a forest, one row after the other.
bool Batch::consult_branches(const Call &call) {
    check_rows(call.rows);
    bool legal = take(call.rows) && !has_nan(call.signals);
    for (std::size_t k = 0; k < call.signals.size(); ++k) {
        legal = legal && is_open(call.rows.at(k), call.nodes.at(k));
    }
    if (!legal) {
        give_back(call.rows);
        return false;
    }
    float unused = 0;
    for (std::size_t k = 0; k < call.signals.size(); ++k) {
        const std::int32_t node = call.nodes.at(k);
        const float signal = call.signals[k];
        const std::size_t at = call.rows.at(k);
        next_[k] = consult_branch(*policy_, node, state_of(*policy_, node, signal), signal, rows_[at],
                                  signal_.empty() ? unused : signal_[at], open_of(at));
    }
    return true;
}

// On a walk, rows 0, 1, and so on.
bool Batch::consult_first(const Call &call) {
    const std::size_t count = call.signals.size();
    if (has_nan(call.signals) || !all_open(call, 0, {rows_.data(), count})) {
        return false;
    }
    for (std::size_t begin = 0; begin < count; begin += kBlock) {
        consult_rows(call, begin, std::min(kBlock, count - begin), rows_.data() + begin,
                     signal_.empty() ? nullptr : signal_.data() + begin, next_.data() + begin);
    }
    return true;
}

// On a walk, rows that lie anywhere, so that each visit to one costs: all that is done with it is done at once, and
// undone if a later one is refused. Until all have been consulted, the result stays as it is: rows and nodes may be the
// result of the last call, which the caller keeps if this one is refused.
template <typename Row> bool Batch::consult_named(const Call &call, std::span<const Row> rows) {
    for (std::size_t begin = 0; begin < rows.size(); begin += kBlock) {
        const auto some = rows.subspan(begin, std::min(kBlock, rows.size() - begin));
        if (!all_inside(some.data(), some.size(), capacity()) || has_nan(call.signals.subspan(begin, some.size()))) {
            undo(call, begin);
            return false;
        }
        bring(begin, some);
        if (!all_open(call, begin, {before_.data() + begin, some.size()})) {
            undo(call, begin + some.size());
            return false;
        }
        consult_taken(call, begin, some);
    }
    for (std::size_t k = 0; k < rows.size() && !call.nodes.each.empty(); ++k) {
        rows_[static_cast<std::size_t>(rows[k])] &= ~kTaken;
    }
    std::copy_n(pending_.begin(), rows.size(), next_.begin());
    return true;
}

// Brings at most kBlock of them together and marks them. A row that is named twice is found by its mark or, once it has
// been put back without one, by where it stands: no node follows itself. Where rows consult different nodes, one may
// follow the other, and marks stay until the end of the call.
template <typename Row> void Batch::bring(std::size_t begin, std::span<const Row> rows) {
    const Row *places = rows.data();
    const std::size_t count = rows.size();
    RowState *states = rows_.data();
    RowState *before = before_.data() + begin;
    TTAMER_UNROLL
    for (std::size_t k = 0; k < count; ++k) {
        before[k] = states[places[k]];
        states[places[k]] = before[k] | kTaken;
    }
    for (std::size_t k = 0; k < count && !signal_.empty(); ++k) {
        signal_before_[begin + k] = signal_.data()[places[k]];
    }
}

// Consults them and puts them back.
template <typename Row> void Batch::consult_taken(const Call &call, std::size_t begin, std::span<const Row> rows) {
    const Row *places = rows.data();
    const std::size_t count = rows.size();
    RowState *states = rows_.data();
    std::array<RowState, kBlock> taken;
    std::array<float, kBlock> best_signals;
    std::copy_n(before_.data() + begin, count, taken.begin());
    for (std::size_t k = 0; k < count && !signal_.empty(); ++k) {
        best_signals[k] = signal_before_[begin + k];
    }
    consult_rows(call, begin, count, taken.data(), best_signals.data(), pending_.data() + begin);
    for (std::size_t k = 0; k < count && !signal_.empty(); ++k) {
        signal_.data()[places[k]] = best_signals[k];
    }
    const RowState marked = call.nodes.each.empty() ? 0 : kTaken;
    TTAMER_UNROLL
    for (std::size_t k = 0; k < count; ++k) {
        states[places[k]] = taken[k] | marked;
    }
}

// The last first: of a row that is named twice, the first has what it was.
void Batch::undo(const Call &call, std::size_t end) {
    while (end-- > 0) {
        const std::size_t row = call.rows.at(end);
        rows_[row] = before_[end] & ~kTaken;
        if (!signal_.empty()) {
            signal_[row] = signal_before_[end];
        }
    }
}

// At most kBlock rows of a walk, side by side.
void Batch::consult_rows(const Call &call, std::size_t begin, std::size_t count, RowState *rows, float *best_signals,
                         std::int32_t *next) {
    const auto signals = call.signals.subspan(begin, count);
    if (count < kFewRows) {
        float unused = 0;
        for (std::size_t k = 0; k < count; ++k) {
            const std::int32_t node = call.nodes.at(begin + k);
            next[k] = consult_one(*policy_, node, state_of(*policy_, node, signals[k]), signals[k], rows[k],
                                  signal_.empty() ? unused : best_signals[k]);
        }
    } else if (call.nodes.each.empty()) {
        consult_block(*policy_, call.nodes.one, rows, best_signals, signals, next);
    } else {
        consult_block(*policy_, call.nodes.each.data() + begin, rows, best_signals, signals, next);
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
    check_rows(rows);
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
