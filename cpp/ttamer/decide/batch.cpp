#include "ttamer/decide/batch.hpp"

#include "ttamer/base/text.hpp"
#include "ttamer/decide/kernels.hpp"
#include "ttamer/decide/row_block.hpp"
#include "ttamer/policy/open_nodes.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

namespace ttamer {

namespace {

// Rows are int32 on accelerators. On a line this also keeps the columns of one batch below ten gigabytes.
constexpr std::int64_t kMaxCapacity = std::int64_t{1} << 28;

} // namespace

Batch::Batch(std::shared_ptr<const Policy> policy, std::int64_t capacity, NanSignal nan)
    : policy_(std::move(policy)), nan_(nan) {
    if (capacity < 0 || capacity > kMaxCapacity) {
        throw std::invalid_argument("capacity: expected 0 to " + text(kMaxCapacity) + ", got " + text(capacity));
    }
    const auto rows = static_cast<std::size_t>(capacity);
    const std::size_t compared = policy_->compares_signals() ? rows : 0;
    signal_.assign(compared, kNoSignal);
    next_.assign(rows, kStop);
    tiers_.assign(has_tiers() ? rows : 0, kNoTier);
    with_states([&]<AnyRow Row>(States<Row> &states) {
        states.rows.assign(rows, vacant_row<Row>());
        states.before.assign(policy_->is_forest() ? 0 : rows, kFresh<Row>);
    });
    if (policy_->carries_signals()) {
        carried_.resize(rows * static_cast<std::size_t>(policy_->nodes()));
        telling_.resize(rows);
        new_carried_.resize(rows);
    }
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
    const bool carries = policy_->carries_signals();
    const Call call{nodes, carries ? carry({nodes, signals, rows}) : signals, rows};
    if (!(policy_->is_forest() ? consult_branches(call)
                               : with_states([&](auto &states) { return consult(states, call); }))) {
        refuse(call);
    }
    if (carries) {
        keep_carried(signals.size());
    }
    return {next_.data(), signals.size()};
}

// The signals that tell the states of a call's nodes: their own, or what another node showed before. A NaN stays one.
std::span<const float> Batch::carry(const Call &call) {
    check_rows(call.rows);
    for (std::size_t k = 0; k < call.signals.size(); ++k) {
        const std::int32_t node = call.nodes.at(k);
        const std::int32_t source = policy_->signal_node(node);
        const float signal = call.signals[k];
        const std::size_t place =
            call.rows.at(k) * static_cast<std::size_t>(policy_->nodes()) + static_cast<std::size_t>(source);
        const float shown = source != node       ? carried_[place]
                            : std::isnan(signal) ? policy_of(call.rows.at(k)).worst_signal(node)
                                                 : signal;
        telling_[k] = std::isnan(signal) ? signal : shown;
        new_carried_[k] = {place, shown}; // of a node that says nothing: what is there already
    }
    return {telling_.data(), call.signals.size()};
}

void Batch::keep_carried(std::size_t count) {
    for (std::size_t k = 0; k < count; ++k) {
        carried_[new_carried_[k].place] = new_carried_[k].signal;
    }
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
template <AnyRow Row> bool Batch::mark(std::vector<Row> &states, const Rows &rows) {
    Row marks = 0;
    for (std::size_t k = 0; k < rows.size(); ++k) {
        Row &row = states[rows.at(k)];
        marks |= row;
        row |= Row{kMark};
    }
    return (marks & Row{kMark}) == 0;
}

bool Batch::mark(const Rows &rows) {
    return with_states([&](auto &states) { return mark(states.rows, rows); });
}

void Batch::give_back(const Rows &rows) {
    with_states([&]<AnyRow Row>(States<Row> &states) {
        for (std::size_t k = 0; k < rows.size(); ++k) {
            states.rows[rows.at(k)] &= ~Row{kMark};
        }
    });
}

bool Batch::has_answer(std::size_t row) const {
    return with_states([&](const auto &states) { return ttamer::has_answer(*policy_, states.rows[row]); });
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
    bool legal = mark(call.rows) && !has_nan(call.signals);
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
        const Policy &policy = policy_of(at);
        RankRow &row = states<RankRow>().rows[at];
        const std::int32_t state = state_of(policy, node, signal);
        if (std::isnan(signal)) {
            miss(policy, node, nan_ == NanSignal::worst, row);
        } else {
            consult_one(policy, node, state, signal, row, signal_.empty() ? unused : signal_[at]);
        }
        const bool goes_by_known = !std::isnan(signal) || policy.is_probe(node);
        const std::int32_t best = goes_by_known ? known_rank(policy, row) : best_rank(policy, row);
        next_[k] = next_branch(policy, node, state, best, row, open_of(at));
    }
    return true;
}

void Batch::enter(std::span<const std::int64_t> tiers, const Rows &rows, std::span<std::int32_t> first_nodes) {
    if (!has_tiers()) {
        throw std::invalid_argument("enter: the rows of this batch have one policy; Front.start opens one whose rows "
                                    "have policies of their own");
    }
    if (rows.given && rows.size() != tiers.size()) {
        throw std::invalid_argument("rows: expected one for each of the " + text(tiers.size()) + " places, got " +
                                    text(rows.size()));
    }
    if (tiers.size() > capacity()) {
        throw std::invalid_argument("places: " + text(tiers.size()) + " exceed the batch's capacity of " +
                                    text(capacity()));
    }
    if (!all_inside(tiers.data(), tiers.size(), policy_->tiers())) {
        complain_tiers(tiers);
    }
    check_distinct(rows);
    for (std::size_t k = 0; k < tiers.size(); ++k) {
        clear(rows.at(k), static_cast<std::int32_t>(tiers[k]));
        first_nodes[k] = policy_of(rows.at(k)).tables().first_node;
    }
}

void Batch::clear(std::size_t row, std::int32_t tier) {
    if (!tiers_.empty()) {
        tiers_[row] = tier;
    }
    with_states(
        [&]<AnyRow Row>(States<Row> &states) { states.rows[row] = tier == kNoTier ? vacant_row<Row>() : kFresh<Row>; });
    if (!signal_.empty()) {
        signal_[row] = kNoSignal;
    }
    if (policy_->is_forest()) {
        open_roots(policy_of(row), open_of(row));
    }
}

void Batch::reset(const Rows &rows) {
    if (!rows.given && policy_->is_forest()) {
        for (std::size_t row = 0; row < capacity(); ++row) {
            clear(row, kNoTier);
        }
        return;
    }
    if (!rows.given) {
        with_states([this]<AnyRow Row>(States<Row> &states) {
            std::fill(states.rows.begin(), states.rows.end(), vacant_row<Row>());
        });
        std::fill(tiers_.begin(), tiers_.end(), kNoTier);
        std::fill(signal_.begin(), signal_.end(), kNoSignal);
        return;
    }
    check_distinct(rows);
    for (std::size_t k = 0; k < rows.size(); ++k) {
        clear(rows.at(k), kNoTier);
    }
}

// Whether rows that are to be cleared are there, once each. Leaves their marks, unless it throws.
void Batch::check_distinct(const Rows &rows) {
    check_rows(rows);
    if (!mark(rows)) {
        give_back(rows);
        complain_repeated(rows);
    }
}

void Batch::resume(std::int64_t node, const Rows &rows) {
    if (node < 0 || node >= policy_->nodes()) {
        throw std::out_of_range("node: expected 0 to " + text(policy_->nodes() - 1) + ", got " + text(node));
    }
    check_rows(rows);
    const std::size_t count = rows.given ? rows.size() : capacity();
    for (std::size_t k = 0; k < count; ++k) {
        check_entered(rows.at(k));
        if (!has_stopped(rows.at(k))) {
            complain_resumed(rows);
        }
    }
    with_states([&](auto &states) {
        for (std::size_t k = 0; k < count; ++k) {
            auto &row = states.rows[rows.at(k)];
            row = with_position(row, static_cast<std::int32_t>(node) + 1);
        }
    });
}

void Batch::answer_node(std::span<std::int32_t> out) const {
    with_states([&](const auto &states) {
        std::transform(states.rows.begin(), states.rows.end(), out.begin(),
                       [&](auto row) { return answer_of(*policy_, row); });
    });
}

void Batch::answer_loss(std::span<double> out) const {
    with_states([&](const auto &states) {
        for (std::size_t row = 0; row < states.rows.size(); ++row) {
            const Policy &policy = policy_of(row); // whose ranks on forests are its own
            const std::int32_t rank = best_rank(policy, states.rows[row]);
            out[row] = rank == kNoRank ? std::numeric_limits<double>::infinity()
                                       : policy.tables().levels[static_cast<std::size_t>(rank)];
        }
    });
}

} // namespace ttamer
