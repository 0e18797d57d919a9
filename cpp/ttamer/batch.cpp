#include "ttamer/batch.hpp"

#include "ttamer/kernels.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <string>
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
    position_.assign(rows, 0);
    rank_.assign(rows, kNoRank);
    answer_.assign(rows, -1);
    signal_.assign(policy_->tables().observed ? rows : 0, std::numeric_limits<float>::infinity());
    next_.assign(rows, kStop);
    seen_.assign(rows, 0);
}

std::span<const std::int32_t> Batch::decide(std::int32_t node, std::span<const float> signals, const Rows &rows) {
    if (node < 0 || node >= policy_->nodes()) {
        throw std::out_of_range("node: expected 0 to " + text(policy_->nodes() - 1) + ", got " + text(node));
    }
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
    return previous != Policy::kSeveral && all_equal(position_.data(), signals.size(), previous + 1) &&
           (nan_ == NanSignal::worst || !any_nan(signals.data(), signals.size()));
}

template <typename NodeOf>
std::span<const std::int32_t> Batch::decide_rows(NodeOf node_of, std::span<const float> signals, const Rows &rows) {
    check_sizes(signals.size(), rows);
    const auto run = [&](auto row_of) {
        check(node_of, row_of, signals);
        for (std::size_t k = 0; k < signals.size(); ++k) {
            next_[k] = consult(node_of(k), row_of(k), signals[k]);
        }
    };
    if (!rows.given) {
        run([](std::size_t k) { return k; });
    } else if (!rows.narrow.empty()) {
        check_rows([&](std::size_t k) -> std::int64_t { return rows.narrow[k]; }, rows.size());
        run([&](std::size_t k) { return static_cast<std::size_t>(rows.narrow[k]); });
    } else {
        check_rows([&](std::size_t k) { return rows.wide[k]; }, rows.size());
        run([&](std::size_t k) { return static_cast<std::size_t>(rows.wide[k]); });
    }
    return {next_.data(), signals.size()};
}

template <typename RowOf> void Batch::check_rows(RowOf row_of, std::size_t count) {
    if (++call_ == 0) { // after 2^32 calls old marks could look new
        std::fill(seen_.begin(), seen_.end(), 0);
        call_ = 1;
    }
    for (std::size_t k = 0; k < count; ++k) {
        const std::int64_t row = row_of(k);
        if (row < 0 || row >= static_cast<std::int64_t>(capacity())) {
            throw std::out_of_range("rows: expected 0 to " + text(static_cast<std::int64_t>(capacity()) - 1) +
                                    ", got " + text(row) + " at position " + text(k));
        }
        if (std::exchange(seen_[static_cast<std::size_t>(row)], call_) == call_) {
            throw std::invalid_argument("rows: row " + text(row) + " is repeated at position " + text(k));
        }
    }
}

template <typename NodeOf, typename RowOf>
void Batch::check(NodeOf node_of, RowOf row_of, std::span<const float> signals) {
    for (std::size_t k = 0; k < signals.size(); ++k) {
        const std::size_t row = row_of(k);
        if (position_[row] == kStopped || policy_->edge_between(position_[row] - 1, node_of(k)) < 0) {
            complain(row, node_of(k));
        }
        if (nan_ == NanSignal::error && std::isnan(signals[k])) {
            throw std::invalid_argument("signals: NaN at position " + text(k) + " (row " + text(row) +
                                        "); start the batch with nan=\"worst\" to count it as the worst state");
        }
    }
}

void Batch::complain(std::size_t row, std::int32_t node) const {
    const auto which = "row " + text(row);
    if (position_[row] == kStopped) {
        throw std::invalid_argument("rows: " + which + " has stopped; reset it before it takes a new request");
    }
    const std::int32_t last = position_[row] - 1;
    std::string open;
    for (const auto &next : policy_->topology().successors(last)) {
        open += (open.empty() ? "" : ", ") + text(next.node);
    }
    throw std::invalid_argument("node: " + text(node) + " is not open to " + which + ", which consulted " +
                                (last == kRoot ? "nothing" : "node " + text(last)) +
                                " last; open: " + (open.empty() ? "none" : open));
}

std::int32_t Batch::state_of(std::int32_t node, float signal) const {
    const std::uint32_t key = std::isnan(signal) ? policy_->worst_key(node) : order_key(signal);
    return policy_->quantiser(node).state(key);
}

std::int32_t Batch::consult(std::int32_t node, std::size_t row, float signal) {
    const std::int32_t state = state_of(node, signal);
    const StateEntry entry = policy_->entries(node)[state];
    Answer answer{rank_[row], answer_[row], signal_.empty() ? 0 : signal_[row]};
    // No information loses every comparison of signals.
    const float compared = std::isnan(signal) ? std::numeric_limits<float>::infinity() : signal;
    take_answer(policy_->tables(), answer, node, entry.rank, compared);
    rank_[row] = answer.rank;
    answer_[row] = answer.node;
    if (!signal_.empty()) {
        signal_[row] = answer.signal;
    }
    const std::int32_t next = policy_->next(node, state, entry, answer.rank);
    position_[row] = next == kStop ? kStopped : node + 1;
    return next;
}

void Batch::consult_in_order(std::int32_t node, std::span<const float> signals) {
    if (signals.size() < kFewRows) {
        for (std::size_t row = 0; row < signals.size(); ++row) {
            next_[row] = consult(node, row, signals[row]);
        }
        return;
    }
    for (std::size_t begin = 0; begin < signals.size(); begin += kBlock) {
        consult_block(node, begin, signals.subspan(begin, std::min(kBlock, signals.size() - begin)));
    }
}

void Batch::consult_block(std::int32_t node, std::size_t begin, std::span<const float> signals) {
    std::array<StateEntry, kBlock> found;
    const Policy &policy = *policy_;
    const std::size_t count = signals.size();
    find_entries(policy.quantiser(node).lookup(), policy.entries(node), signals.data(), count, policy.worst_key(node),
                 found.data());
    const Columns columns{rank_.data() + begin, answer_.data() + begin, position_.data() + begin,
                          signal_.empty() ? nullptr : signal_.data() + begin};
    const std::int32_t onward = policy.only_next(node);
    std::int32_t *next = next_.data() + begin;
    if (policy.tables().recall && policy.tables().observed) {
        update_observed(columns, found.data(), signals.data(), count, node, onward, kStopped, next);
    } else {
        update(columns, found.data(), count, node, policy.tables().recall, onward, kStopped, next);
    }
    if (onward == Policy::kSeveral) {
        for (std::size_t k = 0; k < count; ++k) {
            if (next[k] == Policy::kSeveral) {
                next[k] = policy.look_up(node, state_of(node, signals[k]), columns.rank[k]);
                columns.position[k] = next[k] == kStop ? kStopped : node + 1;
            }
        }
    }
}

void Batch::clear(std::size_t row) {
    position_[row] = 0;
    rank_[row] = kNoRank;
    answer_[row] = -1;
    if (!signal_.empty()) {
        signal_[row] = std::numeric_limits<float>::infinity();
    }
}

void Batch::reset(const Rows &rows) {
    if (!rows.given) {
        std::fill(position_.begin(), position_.end(), 0);
        std::fill(rank_.begin(), rank_.end(), kNoRank);
        std::fill(answer_.begin(), answer_.end(), -1);
        std::fill(signal_.begin(), signal_.end(), std::numeric_limits<float>::infinity());
        return;
    }
    const auto row_at = [&](std::size_t k) -> std::int64_t {
        return rows.narrow.empty() ? rows.wide[k] : rows.narrow[k];
    };
    check_rows(row_at, rows.size());
    for (std::size_t k = 0; k < rows.size(); ++k) {
        clear(static_cast<std::size_t>(row_at(k)));
    }
}

void Batch::answer_loss(std::span<double> out) const {
    const auto &levels = policy_->tables().levels;
    for (std::size_t row = 0; row < out.size(); ++row) {
        out[row] = rank_[row] == kNoRank ? std::numeric_limits<double>::infinity()
                                         : levels[static_cast<std::size_t>(rank_[row])];
    }
}

} // namespace ttamer
