#include "ttamer/batch.hpp"

#include "ttamer/kernels.hpp"
#include "ttamer/open_nodes.hpp"
#include "ttamer/row_block.hpp"
#include "ttamer/text.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace ttamer {

namespace {

// Rows are int32 on accelerators; this also keeps the columns of one batch within a few gigabytes.
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
    rows_.assign(rows, kFreshRow);
    signal_.assign(policy_->tables().observed ? rows : 0, std::numeric_limits<float>::infinity());
    next_.assign(rows, kStop);
    places_.assign(rows, 0);
    taken_.assign(rows, kFreshRow);
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
    const bool distinct = !rows.given || take(rows);
    const Call call{nodes, signals, rows.given ? taken_.data() : rows_.data(), rows.given};
    if (!distinct || !is_legal(call)) {
        give_back(rows.size());
        if (!distinct) {
            complain_repeated();
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

// Brings the states of rows that lie anywhere together, and marks the rows, so that a row named twice is found: false.
// Every row is visited twice this way, here and when its state is put back; keeping marks apart from the states made
// it five times, on two arrays.
bool Batch::take(const Rows &rows) {
    check_rows(rows);
    if (rows.size() > capacity()) {
        throw std::invalid_argument("rows: " + text(rows.size()) + " exceed the batch's capacity of " +
                                    text(capacity()));
    }
    return take_each(rows.narrow) && take_each(rows.wide);
}

void Batch::check_rows(const Rows &rows) const {
    if (!are_inside(rows.narrow) || !are_inside(rows.wide)) {
        complain_range(rows);
    }
}

template <typename Row> bool Batch::are_inside(std::span<const Row> rows) const {
    using Unsigned = std::make_unsigned_t<Row>;
    const auto end = static_cast<Unsigned>(capacity());
    bool inside = true;
    for (const Row row : rows) { // a negative row is a large unsigned one
        inside &= static_cast<Unsigned>(row) < end;
    }
    return inside;
}

template <typename Row> bool Batch::take_each(std::span<const Row> rows) {
    RowState *states = rows_.data();
    RowState *taken = taken_.data();
    std::int32_t *places = places_.data();
    bool distinct = true;
    for (std::size_t k = 0; k < rows.size(); ++k) {
        const auto at = static_cast<std::int32_t>(rows[k]);
        const RowState row = states[at];
        distinct &= position_of(row) != kTakenPosition;
        states[at] = with_position(row, kTakenPosition);
        taken[k] = row;
        places[k] = at;
    }
    return distinct;
}

// Rows as they were before they were taken; backwards, since a row named twice was taken unmarked the first time.
void Batch::give_back(std::size_t count) {
    for (std::size_t k = count; k-- > 0;) {
        rows_[static_cast<std::size_t>(places_[k])] = taken_[k];
    }
}

void Batch::put_back(std::size_t count) {
    RowState *states = rows_.data();
    for (std::size_t k = 0; k < count; ++k) {
        states[places_[k]] = taken_[k];
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
            return all_at(call.rows, count, previous + 1);
        }
    }
    if (!policy_->is_forest() && policy_->is_tree()) {
        std::int64_t closed = 0;
        for (std::size_t k = 0; k < count; ++k) {
            closed |= position_of(call.rows[k]) ^ (policy_->only_previous(call.nodes.at(k)) + 1);
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
    const std::int64_t position = position_of(call.rows[k]);
    if (policy_->is_forest()) {
        return position != kStoppedPosition && open_of(place(call, k))[node] != kClosed;
    }
    // A stopped row is looked up as a fresh one, to stay within the table without a branch.
    const std::int64_t stopped = mask(position == kStoppedPosition);
    const auto last = static_cast<std::int32_t>(choose(stopped, 0, position) - 1);
    return (stopped | mask(policy_->edge_between(last, node) < 0)) == 0;
}

void Batch::consult(const Call &call) {
    const std::size_t count = call.signals.size();
    if (!policy_->is_forest() && count >= kFewRows) {
        for (std::size_t begin = 0; begin < count; begin += kBlock) {
            consult_some(call, begin, std::min(kBlock, count - begin));
        }
    } else {
        for (std::size_t k = 0; k < count; ++k) {
            consult_single(call, k);
        }
    }
    if (call.taken) {
        put_back(count);
    }
}

void Batch::consult_single(const Call &call, std::size_t k) {
    const std::int32_t node = call.nodes.at(k);
    const float signal = call.signals[k];
    const std::int32_t state = state_of(*policy_, node, signal);
    const std::size_t at = place(call, k);
    float unused = 0;
    float &best_signal = signal_.empty() ? unused : signal_[at];
    RowState &row = call.rows[k];
    next_[k] = policy_->is_forest() ? consult_branch(*policy_, node, state, signal, row, best_signal, open_of(at))
                                    : consult_one(*policy_, node, state, signal, row, best_signal);
}

// At most kBlock rows of a walk.
void Batch::consult_some(const Call &call, std::size_t begin, std::size_t count) {
    std::array<float, kBlock> gathered;
    const bool scattered = call.taken && !signal_.empty();
    float *best = scattered ? gathered.data() : signal_.empty() ? nullptr : signal_.data() + begin;
    for (std::size_t k = 0; k < count && scattered; ++k) {
        best[k] = signal_[place(call, begin + k)];
    }
    const auto signals = call.signals.subspan(begin, count);
    if (call.nodes.each.empty()) {
        consult_block(*policy_, call.nodes.one, call.rows + begin, best, signals, next_.data() + begin);
    } else {
        consult_block(*policy_, call.nodes.each.data() + begin, call.rows + begin, best, signals, next_.data() + begin);
    }
    for (std::size_t k = 0; k < count && scattered; ++k) {
        signal_[place(call, begin + k)] = best[k];
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
        give_back(rows.size());
        complain_repeated();
    }
    for (std::size_t k = 0; k < rows.size(); ++k) {
        clear(static_cast<std::size_t>(places_[k]));
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
