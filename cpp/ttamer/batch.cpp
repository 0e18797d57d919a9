#include "ttamer/batch.hpp"

#include "ttamer/kernels.hpp"
#include "ttamer/open_nodes.hpp"
#include "ttamer/row_block.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace ttamer {

namespace {

// Rows are int32 on accelerators; this also keeps the columns of one batch within a few gigabytes.
constexpr std::int64_t kMaxCapacity = std::int64_t{1} << 28;

// Below this many rows the loops over columns cost more than they save.
constexpr std::size_t kFewRows = 32;

template <typename Number> std::string text(Number value) {
    return std::to_string(static_cast<std::int64_t>(value));
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
    seen_.assign(rows, 0);
    if (policy_->is_forest()) {
        open_.resize(rows * static_cast<std::size_t>(policy_->nodes()));
        for (std::size_t row = 0; row < rows; ++row) {
            open_roots(*policy_, open_of(row));
        }
    }
}

std::span<const std::int32_t> Batch::decide(std::int64_t any_node, std::span<const float> signals, const Rows &rows) {
    if (any_node < 0 || any_node >= policy_->nodes()) {
        throw std::out_of_range("node: expected 0 to " + text(policy_->nodes() - 1) + ", got " + text(any_node));
    }
    const auto node = static_cast<std::int32_t>(any_node);
    if (!rows.given && signals.size() <= capacity() && all_open(node, signals)) {
        consult_in_order(node, signals);
        return {next_.data(), signals.size()};
    }
    return decide_rows([=](std::size_t) { return node; }, signals, rows);
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
        return decide(std::int64_t{nodes[0]}, signals, rows);
    }
    for (std::size_t k = 0; k < nodes.size(); ++k) {
        if (nodes[k] < 0 || nodes[k] >= policy_->nodes()) {
            throw std::out_of_range("node: expected 0 to " + text(policy_->nodes() - 1) + ", got " + text(nodes[k]) +
                                    " at position " + text(k));
        }
    }
    return decide_rows([=](std::size_t k) { return nodes[k]; }, signals, rows);
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

// Whether rows 0, 1, ... may all consult the node and no signal is refused. False only means: look row by row.
bool Batch::all_open(std::int32_t node, std::span<const float> signals) const {
    const std::int32_t previous = policy_->only_previous(node);
    return !policy_->is_forest() && previous != Policy::kSeveral &&
           all_at(rows_.data(), signals.size(), previous + 1) &&
           (nan_ == NanSignal::worst || !any_nan(signals.data(), signals.size()));
}

template <typename NodeOf>
std::span<const std::int32_t> Batch::decide_rows(NodeOf node_of, std::span<const float> signals, const Rows &rows) {
    check_sizes(signals.size(), rows);
    if (!rows.given) {
        run(Call{node_of, [](std::size_t k) { return k; }, signals});
    } else if (!rows.narrow.empty()) {
        check_rows(rows.narrow);
        run(Call{node_of, [at = rows.narrow.data()](std::size_t k) { return static_cast<std::size_t>(at[k]); },
                 signals});
    } else {
        check_rows(rows.wide);
        run(Call{node_of, [at = rows.wide.data()](std::size_t k) { return static_cast<std::size_t>(at[k]); }, signals});
    }
    return {next_.data(), signals.size()};
}

template <typename NodeOf, typename RowOf> void Batch::run(const Call<NodeOf, RowOf> &call) {
    if (!is_open(call) || (nan_ == NanSignal::error && any_nan(call.signals.data(), call.signals.size()))) {
        complain(call);
    }
    const std::size_t total = call.signals.size();
    for (std::size_t begin = 0; begin < total; begin += kBlock) {
        const std::size_t count = std::min(kBlock, total - begin);
        const std::int32_t node = call.node(begin);
        bool together = count >= kFewRows && !policy_->is_forest();
        for (std::size_t k = begin; k < begin + count; ++k) {
            together &= call.node(k) == node;
        }
        if (together) {
            consult_scattered(node, call, begin, count);
            continue;
        }
        for (std::size_t k = begin; k < begin + count; ++k) {
            next_[k] = consult(call.node(k), call.row(k), call.signals[k]);
        }
    }
}

// Rows that lie anywhere are brought together, consulted as if they were consecutive, and put back.
template <typename NodeOf, typename RowOf>
void Batch::consult_scattered(std::int32_t node, const Call<NodeOf, RowOf> &call, std::size_t begin,
                              std::size_t count) {
    // Copies: the rows may be the batch's own result, which consulting overwrites.
    std::array<std::size_t, kBlock> places;
    std::array<RowState, kBlock> rows;
    std::array<float, kBlock> signals;
    RowState *all = rows_.data(); // of our own: a store could otherwise change where the vector's data are
    for (std::size_t k = 0; k < count; ++k) {
        places[k] = call.row(begin + k);
        rows[k] = all[places[k]];
    }
    for (std::size_t k = 0; k < count && !signal_.empty(); ++k) {
        signals[k] = signal_[places[k]];
    }
    consult_block(*policy_, node, rows.data(), signals.data(), call.signals.subspan(begin, count),
                  next_.data() + begin);
    for (std::size_t k = 0; k < count; ++k) {
        all[places[k]] = rows[k];
    }
    for (std::size_t k = 0; k < count && !signal_.empty(); ++k) {
        signal_[places[k]] = signals[k];
    }
}

template <typename Row> void Batch::check_rows(std::span<const Row> rows) {
    using Unsigned = std::make_unsigned_t<Row>;
    const auto end = static_cast<Unsigned>(capacity());
    bool bad = false;
    for (const Row row : rows) { // a negative row is a large unsigned one
        bad |= static_cast<Unsigned>(row) >= end;
    }
    if (bad) {
        complain_rows(rows);
    }
    if (++call_ == 0) { // after 2^32 calls old marks could look new
        std::fill(seen_.begin(), seen_.end(), 0);
        call_ = 1;
    }
    const std::uint32_t call = call_;
    std::uint32_t *seen = seen_.data();
    for (const Row row : rows) {
        bad |= seen[row] == call;
        seen[row] = call;
    }
    if (bad) {
        complain_rows(rows);
    }
}

// Name the first row that is out of range or repeated.
template <typename Row> void Batch::complain_rows(std::span<const Row> rows) const {
    std::set<Row> before;
    for (std::size_t k = 0;; ++k) {
        if (rows[k] < 0 || static_cast<std::size_t>(rows[k]) >= capacity()) {
            throw std::out_of_range("rows: expected 0 to " + text(static_cast<std::int64_t>(capacity()) - 1) +
                                    ", got " + text(rows[k]) + " at position " + text(k));
        }
        if (!before.insert(rows[k]).second) {
            throw std::invalid_argument("rows: row " + text(rows[k]) + " is repeated at position " + text(k));
        }
    }
}

// Whether each row may consult its node. All rows are looked at: nearly always the answer is yes, and a loop that
// never leaves early is faster.
template <typename NodeOf, typename RowOf> bool Batch::is_open(const Call<NodeOf, RowOf> &call) const {
    if (policy_->is_forest()) {
        for (std::size_t k = 0; k < call.signals.size(); ++k) {
            if (!is_open(call.row(k), call.node(k))) {
                return false;
            }
        }
        return true;
    }
    const RowState *rows = rows_.data();
    const Policy &policy = *policy_;
    std::int64_t closed = 0;
    for (std::size_t k = 0; k < call.signals.size(); ++k) {
        const std::int32_t node = call.node(k);
        const std::int64_t position = position_of(rows[call.row(k)]);
        const std::int32_t previous = policy.only_previous(node);
        if (previous != Policy::kSeveral) {
            closed |= position ^ (previous + 1);
        } else { // a stopped row is looked up as a fresh one, to stay within the table
            const std::int64_t last = choose(mask(position == kStoppedPosition), 0, position) - 1;
            closed |= mask(position == kStoppedPosition) |
                      mask(policy.edge_between(static_cast<std::int32_t>(last), node) < 0);
        }
    }
    return closed == 0;
}

// Name the first row that may not consult its node, or the first NaN.
template <typename NodeOf, typename RowOf> void Batch::complain(const Call<NodeOf, RowOf> &call) const {
    for (std::size_t k = 0;; ++k) {
        const std::size_t row = call.row(k);
        if (!is_open(row, call.node(k))) {
            complain_closed(row, call.node(k));
        }
        if (nan_ == NanSignal::error && std::isnan(call.signals[k])) {
            throw std::invalid_argument("signals: NaN at position " + text(k) + " (row " + text(row) +
                                        "); start the batch with nan=\"worst\" to count it as the worst state");
        }
    }
}

void Batch::complain_closed(std::size_t row, std::int32_t node) const {
    const auto which = "row " + text(row);
    if (position_of(rows_[row]) == kStoppedPosition) {
        throw std::invalid_argument("rows: " + which + " has stopped; reset it before it takes a new request");
    }
    const auto last = static_cast<std::int32_t>(position_of(rows_[row])) - 1;
    const std::string open = open_to(row);
    throw std::invalid_argument("node: " + text(node) + " is not open to " + which + ", which consulted " +
                                (last == kRoot ? "nothing" : "node " + text(last)) +
                                " last; open: " + (open.empty() ? "none" : open));
}

bool Batch::is_open(std::size_t row, std::int32_t node) const {
    const std::int64_t position = position_of(rows_[row]);
    if (position == kStoppedPosition) {
        return false;
    }
    return policy_->is_forest() ? open_of(row)[node] != kClosed
                                : policy_->edge_between(static_cast<std::int32_t>(position) - 1, node) >= 0;
}

std::string Batch::open_to(std::size_t row) const {
    std::string open;
    for (std::int32_t node = 0; node < policy_->nodes(); ++node) {
        if (is_open(row, node)) {
            open += (open.empty() ? "" : ", ") + text(node);
        }
    }
    return open;
}

std::int32_t Batch::consult(std::int32_t node, std::size_t row, float signal) {
    const std::int32_t state = state_of(*policy_, node, signal);
    float unused = 0;
    float &best_signal = signal_.empty() ? unused : signal_[row];
    return policy_->is_forest() ? consult_branch(*policy_, node, state, signal, rows_[row], best_signal, open_of(row))
                                : consult_one(*policy_, node, state, signal, rows_[row], best_signal);
}

void Batch::consult_in_order(std::int32_t node, std::span<const float> signals) {
    if (signals.size() < kFewRows) {
        for (std::size_t row = 0; row < signals.size(); ++row) {
            next_[row] = consult(node, row, signals[row]);
        }
        return;
    }
    for (std::size_t begin = 0; begin < signals.size(); begin += kBlock) {
        float *best = signal_.empty() ? nullptr : signal_.data() + begin;
        consult_block(*policy_, node, rows_.data() + begin, best,
                      signals.subspan(begin, std::min(kBlock, signals.size() - begin)), next_.data() + begin);
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
    check_rows(rows.narrow);
    check_rows(rows.wide);
    for (const auto row : rows.narrow) {
        clear(static_cast<std::size_t>(row));
    }
    for (const auto row : rows.wide) {
        clear(static_cast<std::size_t>(row));
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
