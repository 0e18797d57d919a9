#include "ttamer/batch.hpp"

#include "ttamer/dispatch.hpp"
#include "ttamer/kernels.hpp"
#include "ttamer/lookup.hpp"
#include "ttamer/node_fields.hpp"
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
    const std::size_t compared = policy_->compares_signals() ? rows : 0;
    signal_.assign(compared, std::numeric_limits<float>::infinity());
    next_.assign(rows, kStop);
    with_states([&]<AnyRow Row>(States<Row> &states) {
        states.rows.assign(rows, kFresh<Row>);
        states.before.assign(policy_->is_forest() ? 0 : rows, kFresh<Row>);
    });
    if (!policy_->is_forest()) {
        signal_before_.assign(compared, 0.0F);
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
    if (!(policy_->is_forest() ? consult_branches(call)
                               : with_states([&](auto &states) { return consult(states, call); }))) {
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
template <AnyRow Row> bool Batch::take(std::vector<Row> &states, const Rows &rows) {
    Row taken = 0;
    for (std::size_t k = 0; k < rows.size(); ++k) {
        Row &row = states[rows.at(k)];
        taken |= row;
        row |= Row{kTaken};
    }
    return (taken & Row{kTaken}) == 0;
}

bool Batch::take(const Rows &rows) {
    return with_states([&](auto &states) { return take(states.rows, rows); });
}

void Batch::give_back(const Rows &rows) {
    with_states([&]<AnyRow Row>(States<Row> &states) {
        for (std::size_t k = 0; k < rows.size(); ++k) {
            states.rows[rows.at(k)] &= ~Row{kTaken};
        }
    });
}

// Whether each of the rows, which stand at a call's positions from `begin` on, may consult its node. All are looked at:
// nearly always the answer is yes, and a loop that never leaves early is faster. No row that is taken may.
template <AnyRow Row> bool Batch::all_open(const Call &call, std::size_t begin, std::span<const Row> rows) const {
    if (call.nodes.each.empty()) {
        const std::int32_t previous = policy_->only_previous(call.nodes.one);
        if (previous != Policy::kSeveral) {
            return all_at(rows.data(), rows.size(), previous + 1);
        }
    }
    if constexpr (std::same_as<Row, StandingRow>) {
        if (policy_->is_tree() && !call.nodes.each.empty()) {
            const JointTables tables = policy_->joint_tables();
            return node_field_kernels(tables).front().follow(tables, call.nodes.each.data() + begin, rows.data(),
                                                             rows.size());
        }
    }
    bool open = true;
    for (std::size_t k = 0; k < rows.size(); ++k) {
        open &= (rows[k] & Row{kTaken}) == 0 && may_follow(position_of(rows[k]), call.nodes.at(begin + k));
    }
    return open;
}

bool Batch::may_follow(std::int32_t position, std::int32_t node) const {
    // A stopped row is looked up as a fresh one, to stay within the table without a branch.
    const auto stopped = mask_of<std::int32_t>(position == kStoppedPosition);
    const std::int32_t last = choose(stopped, 0, position) - 1;
    return (stopped | mask_of<std::int32_t>(policy_->edge_between(last, node) < 0)) == 0;
}

bool Batch::is_open(std::size_t row, std::int32_t node) const {
    return policy_->is_forest() ? !has_stopped(row) && open_of(row)[node] != kClosed : may_follow(position(row), node);
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
        next_[k] = consult_branch(*policy_, node, state_of(*policy_, node, signal), signal, states<RankRow>().rows[at],
                                  signal_.empty() ? unused : signal_[at], open_of(at));
    }
    return true;
}

template <AnyRow Row> bool Batch::consult(States<Row> &states, const Call &call) {
    return !call.rows.given           ? consult_first(states, call)
           : call.rows.narrow.empty() ? consult_named(states, call, call.rows.wide)
                                      : consult_named(states, call, call.rows.narrow);
}

// On a walk, rows 0, 1, and so on.
template <AnyRow Row> bool Batch::consult_first(States<Row> &states, const Call &call) {
    const std::size_t count = call.signals.size();
    if (has_nan(call.signals) || !all_open<Row>(call, 0, {states.rows.data(), count})) {
        return false;
    }
    for (std::size_t begin = 0; begin < count; begin += kBlock) {
        consult_rows(call, begin, std::min(kBlock, count - begin), states.rows.data() + begin,
                     signal_.empty() ? nullptr : signal_.data() + begin, next_.data() + begin);
    }
    return true;
}

// On a walk, rows that lie anywhere, so that each visit to one costs: all that is done with it is done at once, and
// undone if a later one is refused. Until all have been consulted, the result stays as it is: rows and nodes may be the
// result of the last call, which the caller keeps if this one is refused.
template <AnyRow Row, typename Place>
bool Batch::consult_named(States<Row> &states, const Call &call, std::span<const Place> places) {
    for (std::size_t begin = 0; begin < places.size(); begin += kBlock) {
        const auto some = places.subspan(begin, std::min(kBlock, places.size() - begin));
        if (!all_inside(some.data(), some.size(), capacity()) || has_nan(call.signals.subspan(begin, some.size()))) {
            undo(states, call, begin);
            return false;
        }
        bring(states, begin, some);
        if (!all_open<Row>(call, begin, {states.before.data() + begin, some.size()})) {
            undo(states, call, begin + some.size());
            return false;
        }
        consult_taken(states, call, begin, some);
    }
    for (std::size_t k = 0; k < places.size() && !call.nodes.each.empty(); ++k) {
        states.rows[static_cast<std::size_t>(places[k])] &= ~Row{kTaken};
    }
    std::copy_n(pending_.begin(), places.size(), next_.begin());
    return true;
}

// Brings at most kBlock of them together and marks them. A row that is named twice is found by its mark or, once it has
// been put back without one, by where it stands: no node follows itself. Where rows consult different nodes, one may
// follow the other, and marks stay until the end of the call.
template <AnyRow Row, typename Place>
void Batch::bring(States<Row> &states, std::size_t begin, std::span<const Place> places) {
    const Place *at = places.data();
    const std::size_t count = places.size();
    Row *rows = states.rows.data();
    Row *before = states.before.data() + begin;
    TTAMER_UNROLL
    for (std::size_t k = 0; k < count; ++k) {
        Row &row = rows[at[k]];
        before[k] = row;
        row |= Row{kTaken};
    }
    for (std::size_t k = 0; k < count && !signal_.empty(); ++k) {
        signal_before_[begin + k] = signal_.data()[at[k]];
    }
}

// Consults them and puts them back.
template <AnyRow Row, typename Place>
void Batch::consult_taken(States<Row> &states, const Call &call, std::size_t begin, std::span<const Place> places) {
    const Place *at = places.data();
    const std::size_t count = places.size();
    Row *rows = states.rows.data();
    std::array<Row, kBlock> taken;
    std::array<float, kBlock> best_signals;
    std::copy_n(states.before.data() + begin, count, taken.begin());
    for (std::size_t k = 0; k < count && !signal_.empty(); ++k) {
        best_signals[k] = signal_before_[begin + k];
    }
    consult_rows(call, begin, count, taken.data(), best_signals.data(), pending_.data() + begin);
    for (std::size_t k = 0; k < count && !signal_.empty(); ++k) {
        signal_.data()[at[k]] = best_signals[k];
    }
    const Row marked = call.nodes.each.empty() ? Row{0} : Row{kTaken};
    TTAMER_UNROLL
    for (std::size_t k = 0; k < count; ++k) {
        rows[at[k]] = taken[k] | marked;
    }
}

// The last first: of a row that is named twice, the first has what it was.
template <AnyRow Row> void Batch::undo(States<Row> &states, const Call &call, std::size_t end) {
    while (end-- > 0) {
        const std::size_t row = call.rows.at(end);
        states.rows[row] = states.before[end] & ~Row{kTaken};
        if (!signal_.empty()) {
            signal_[row] = signal_before_[end];
        }
    }
}

// At most kBlock rows of a walk, side by side.
template <AnyRow Row>
void Batch::consult_rows(const Call &call, std::size_t begin, std::size_t count, Row *rows, float *best_signals,
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
    with_states([row]<AnyRow Row>(States<Row> &states) { states.rows[row] = kFresh<Row>; });
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
        with_states(
            []<AnyRow Row>(States<Row> &states) { std::fill(states.rows.begin(), states.rows.end(), kFresh<Row>); });
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
    with_states([&](const auto &states) {
        std::transform(states.rows.begin(), states.rows.end(), out.begin(),
                       [&](auto row) { return answer_of(*policy_, row); });
    });
}

void Batch::answer_loss(std::span<double> out) const {
    const auto &levels = policy_->tables().levels;
    with_states([&](const auto &states) {
        std::transform(states.rows.begin(), states.rows.end(), out.begin(), [&](auto row) {
            const std::int32_t rank = best_rank(*policy_, row);
            return rank == kNoRank ? std::numeric_limits<double>::infinity() : levels[static_cast<std::size_t>(rank)];
        });
    });
}

} // namespace ttamer
