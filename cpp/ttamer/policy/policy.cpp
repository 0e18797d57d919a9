#include "ttamer/policy/policy.hpp"

#include "ttamer/base/signal_nodes.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace ttamer {

namespace {

// The message is put together only where it is needed: a file's policy is checked state by state.
template <typename... Parts> void require(bool holds, const Parts &...parts) {
    if (!holds) {
        std::ostringstream message;
        message << "policy: ";
        (message << ... << parts);
        throw std::invalid_argument(message.str());
    }
}

template <typename T> bool strictly_increasing(std::span<const T> values) {
    return std::adjacent_find(values.begin(), values.end(), [](T a, T b) { return !(a < b); }) == values.end();
}

template <typename T> bool all_finite(const std::vector<T> &values) {
    return std::all_of(values.begin(), values.end(), [](T value) { return std::isfinite(value); });
}

// Offsets into an array of `total` entries, for `count` parts each of which has at least one.
bool are_offsets(const std::vector<std::int32_t> &offsets, std::size_t count, std::size_t total) {
    return offsets.size() == count + 1 && offsets.front() == 0 &&
           strictly_increasing(std::span<const std::int32_t>(offsets)) &&
           static_cast<std::size_t>(offsets.back()) == total;
}

} // namespace

Policy::Policy(PolicyTables tables) : tables_(std::move(tables)) {
    check();
    std::vector<std::span<const float>> edges;
    for (std::int32_t j = 0; j < nodes(); ++j) {
        edges.push_back(edges_of(j));
    }
    quantisers_ = std::make_shared<const Quantisers>(edges);
    build();
    check_answers();
}

Policy::Policy(PolicyTables tables, std::shared_ptr<const Quantisers> quantisers)
    : tables_(std::move(tables)), quantisers_(std::move(quantisers)) {
    check_numbers();
    build();
    check_answers();
}

void Policy::check_numbers() const {
    const auto &t = tables_;
    require(t.tradeoff > 0 && t.tradeoff <= 1, "tradeoff: expected a number in (0, 1]");
    require(std::isfinite(t.value) && t.value >= 0, "value: expected a finite number >= 0");
    require(std::isfinite(t.cost_scale) && t.cost_scale > 0, "cost_scale: expected a finite number > 0");
}

void Policy::check() const {
    const auto &t = tables_;
    check_numbers();
    require(t.costs.size() == t.topology.edges().size(), "costs: expected one for each edge");
    require(all_finite(t.costs) && std::all_of(t.costs.begin(), t.costs.end(), [](double c) { return c >= 0; }),
            "costs: expected finite values >= 0");
    require(!t.levels.empty() && std::isfinite(t.levels.front()) && t.levels.front() >= 0 &&
                strictly_increasing(std::span<const double>(t.levels)),
            "levels: expected finite, strictly increasing values >= 0, or inf as the last");
    check_states();
    check_signal_nodes(t.topology, t.signal_nodes, t.observed, [this](std::int32_t node) { return edges_of(node); });
    is_forest() ? check_index() : check_intervals();
}

void Policy::check_states() const {
    const auto &t = tables_;
    const auto nodes = static_cast<std::size_t>(t.topology.nodes());
    require(are_offsets(t.state_offsets, nodes, t.ranks.size()), "state_offsets: expected ", nodes + 1,
            " increasing offsets into ranks");
    require(t.bin_edges.size() + nodes == t.ranks.size(), "bin_edges: expected one less than states for each node");
    for (std::int32_t j = 0; j < t.topology.nodes(); ++j) {
        const auto edges = edges_of(j);
        require(strictly_increasing(edges) &&
                    std::all_of(edges.begin(), edges.end(), [](float edge) { return std::isfinite(edge); }),
                "bin_edges: expected finite, strictly increasing values at node ", j);
    }
    const auto levels = static_cast<std::int32_t>(t.levels.size());
    require(std::all_of(t.ranks.begin(), t.ranks.end(), [=](auto rank) { return rank >= 0 && rank < levels; }),
            "ranks: expected positions in levels");
    const auto is_infinite = [&](std::int32_t rank) { return std::isinf(t.levels[static_cast<std::size_t>(rank)]); };
    for (std::int32_t j = 0; j < t.topology.nodes(); ++j) {
        const auto begin = t.ranks.begin() + t.state_offsets[static_cast<std::size_t>(j)];
        const auto end = t.ranks.begin() + t.state_offsets[static_cast<std::size_t>(j) + 1];
        require(std::all_of(begin, end, [&](auto rank) { return is_infinite(rank) == is_infinite(*begin); }),
                "ranks: expected a loss of inf in every state or none at node ", j);
    }
    const auto first = t.topology.successors(kRoot);
    require(std::any_of(first.begin(), first.end(), [&](const auto &next) { return next.node == t.first_node; }),
            "first_node: ", t.first_node, " does not follow the root");
}

void Policy::check_intervals() const {
    const auto &t = tables_;
    require(t.interval_upper.size() == t.interval_next.size(), "interval_next: expected one for each interval_upper");
    require(are_offsets(t.interval_offsets, t.ranks.size(), t.interval_upper.size()),
            "interval_offsets: expected increasing offsets into interval_upper, one more than states");
    for (std::int32_t j = 0; j < t.topology.nodes(); ++j) {
        const auto open = t.topology.successors(j);
        for (auto s = t.state_offsets[static_cast<std::size_t>(j)];
             s < t.state_offsets[static_cast<std::size_t>(j) + 1]; ++s) {
            const auto begin = static_cast<std::size_t>(t.interval_offsets[static_cast<std::size_t>(s)]);
            const auto end = static_cast<std::size_t>(t.interval_offsets[static_cast<std::size_t>(s) + 1]);
            const std::span<const std::int32_t> uppers(t.interval_upper.data() + begin, end - begin);
            require(uppers.front() >= 0 && strictly_increasing(uppers) &&
                        uppers.back() >= t.ranks[static_cast<std::size_t>(s)] &&
                        uppers.back() < static_cast<std::int32_t>(t.levels.size()),
                    "interval_upper: expected increasing ranks that cover the state at node ", j);
            for (auto k = begin; k < end; ++k) {
                const auto next = t.interval_next[k];
                require(next == kStop ||
                            std::any_of(open.begin(), open.end(), [=](const auto &one) { return one.node == next; }),
                        "interval_next: ", next, " does not follow at node ", j);
            }
        }
    }
}

void Policy::check_index() const {
    const auto &t = tables_;
    const auto nodes = t.topology.nodes();
    require(t.recall, "recall: a forest needs it");
    require(are_offsets(t.index_offsets, static_cast<std::size_t>(nodes), t.index_ranks.size()),
            "index_offsets: expected increasing offsets into index_ranks");
    const auto levels = static_cast<std::int32_t>(t.levels.size());
    require(
        std::all_of(t.index_ranks.begin(), t.index_ranks.end(), [=](auto rank) { return rank >= 0 && rank < levels; }),
        "index_ranks: expected positions in levels");
    for (std::int32_t j = 0; j < nodes; ++j) {
        const auto at = static_cast<std::size_t>(j);
        const auto parent = t.topology.edges()[at].from;
        const auto rows = t.index_offsets[at + 1] - t.index_offsets[at];
        require(rows == 1 || (parent != kRoot && rows == states(parent)),
                "index_offsets: expected one rank for each state of the parent of node ", j);
    }
}

// Whether requests always end with an answer. As long as they have none they pass probes alone; without recall, where
// an answer is that of the node consulted last, any node may come before.
void Policy::check_answers() const {
    if (!std::isinf(tables_.levels.back())) {
        return;
    }
    std::vector<bool> without(static_cast<std::size_t>(nodes()));
    without[static_cast<std::size_t>(tables_.first_node)] = true;
    bool can_answer = false;
    for (const auto node : topology().order()) {
        can_answer = can_answer || !is_probe(node);
        if (is_forest() || !without[static_cast<std::size_t>(node)] || (tables_.recall && !is_probe(node))) {
            continue;
        }
        for (std::int32_t state = 0; state < states(node); ++state) {
            const std::int32_t onward = next(node, state, rank(node, state));
            require(onward != kStop || !is_probe(node), "node ", node, " cannot answer, and requests end there");
            if (onward != kStop) {
                without[static_cast<std::size_t>(onward)] = true;
            }
        }
    }
    require(can_answer, "no node can answer, node ", tables_.first_node, " as little as all others");
}

void Policy::build() {
    node_tables_.reserve(quantisers_->size());
    for (std::size_t j = 0; j < quantisers_->size(); ++j) {
        const auto first = static_cast<std::uint32_t>(tables_.state_offsets[j]);
        node_tables_.push_back({quantisers_->lookup(j), quantisers_->first_cell(j), first, 0, kStop, kSeveral});
        build_node(j);
        several_ = several_ || node_tables_[j].only_next == kSeveral;
        carries_signals_ = carries_signals_ || tables_.signal_nodes[j] != static_cast<std::int32_t>(j);
    }
    answering_states_ = static_cast<std::uint32_t>(tables_.ranks.size());
    if (const auto last = static_cast<std::int32_t>(tables_.levels.size()) - 1; std::isinf(tables_.levels.back())) {
        answering_states_ -= static_cast<std::uint32_t>(std::count(tables_.ranks.begin(), tables_.ranks.end(), last));
    }
    next_nodes_.resize(node_tables_.size());
    build_edges();
    build_columns();
    constexpr std::size_t most = 0xFFFE; // the next number is that of a fresh row
    if (!is_forest() && !compares_signals() && tables_.ranks.size() + node_tables_.size() <= most) {
        standing_entries_.resize(tables_.ranks.size());
        standings_.resize(tables_.ranks.size() + node_tables_.size());
        for (std::int32_t node = 0; node < nodes(); ++node) {
            const auto state = at(node).first_entry + static_cast<std::uint32_t>(worst_state(node));
            standings_[provisional(node)] = {static_cast<std::int16_t>(node), static_cast<std::uint16_t>(state)};
        }
        tables_.recall ? number_best_first() : number_last_first();
        build_next_nodes();
        return;
    }
    rank_entries_.reserve(tables_.ranks.size());
    for (std::int32_t node = 0; node < nodes(); ++node) {
        const bool probe = is_probe(node);
        for (std::int32_t state = 0; state < states(node); ++state) {
            const std::int32_t rank = tables_.ranks[rank_entries_.size()];
            rank_entries_.push_back(rank_entry(probe ? kNoRank : rank, stop_upper(node, state)));
        }
    }
}

void Policy::build_node(std::size_t node) {
    const auto begin = static_cast<std::size_t>(tables_.state_offsets[node]);
    const auto end = static_cast<std::size_t>(tables_.state_offsets[node + 1]);
    const auto worst = std::max_element(tables_.ranks.begin() + tables_.state_offsets[node],
                                        tables_.ranks.begin() + tables_.state_offsets[node + 1]);
    const auto worst_state = static_cast<std::size_t>(worst - tables_.ranks.begin()) - begin;
    const auto edges = edges_of(static_cast<std::int32_t>(node));
    node_tables_[node].worst_key = worst_state == 0 ? 0 : order_key(edges[worst_state - 1]);
    node_tables_[node].only_next = is_forest() ? kStop : next_of_all(begin, end);
}

// Where those of the states `begin` to `end` that go on go to.
std::int32_t Policy::next_of_all(std::size_t begin, std::size_t end) const {
    const std::int32_t *offsets = tables_.interval_offsets.data();
    const std::int32_t *nexts = tables_.interval_next.data();
    std::int32_t only = kStop;
    for (auto s = begin; s < end; ++s) {
        // After the first interval a stop is not told by an entry: only the intervals know.
        for (auto k = offsets[s] + (nexts[offsets[s]] == kStop ? 1 : 0); k < offsets[s + 1]; ++k) {
            if (nexts[k] == kStop || (only != kStop && only != nexts[k])) {
                return kSeveral;
            }
            only = nexts[k];
        }
    }
    return only;
}

void Policy::number_state(std::uint32_t standing, std::uint32_t bound, std::int32_t node, std::size_t state) {
    standing_entries_[state] = standing << 16 | bound;
    standings_[standing] = {static_cast<std::int16_t>(node), static_cast<std::uint16_t>(state)};
}

// Without recall: the later node first. Nothing but the state says whether to stop.
void Policy::number_last_first() {
    std::uint32_t left = answering_states_;
    std::uint32_t probes_left = all_standings();
    for (const auto node : topology().order()) { // in which they are consulted
        const auto first = static_cast<std::size_t>(at(node).first_entry);
        const bool probe = is_probe(node);
        for (std::int32_t s = 0; s < states(node); ++s) {
            const std::size_t state = first + static_cast<std::size_t>(s);
            // A solver's states have one interval each, which needs no search: a front makes a hundred policies.
            const auto interval = static_cast<std::size_t>(tables_.interval_offsets[state]);
            const bool only = tables_.interval_offsets[state + 1] - tables_.interval_offsets[state] == 1;
            const bool stops = (only ? tables_.interval_next[interval] : next(node, s, tables_.ranks[state])) == kStop;
            number_state(probe ? --probes_left : --left, stops ? all_standings() : 0, probe ? -1 : node, state);
        }
    }
}

// How many states have ranks below each.
std::vector<std::uint32_t> Policy::count_below() const {
    std::vector<std::uint32_t> below(tables_.levels.size() + 1);
    for (const auto rank : tables_.ranks) {
        ++below[static_cast<std::size_t>(rank) + 1];
    }
    std::partial_sum(below.begin(), below.end(), below.begin());
    return below;
}

// The bound of a state is the number of states whose ranks are at most its stop upper, or that of all standings.
void Policy::number_best_first() {
    const std::vector<std::uint32_t> below = count_below();
    std::vector<std::uint32_t> numbers = below;
    for (const auto node : topology().order()) {
        const auto first = static_cast<std::size_t>(at(node).first_entry);
        // Those of probes come last, behind the provisional ones.
        const bool probe = is_probe(node);
        const std::uint32_t before = probe ? static_cast<std::uint32_t>(nodes()) : 0;
        for (std::int32_t s = 0; s < states(node); ++s) {
            const std::size_t state = first + static_cast<std::size_t>(s);
            const auto above = static_cast<std::size_t>(std::int64_t{stop_upper(node, s)} + 1);
            number_state(before + numbers[static_cast<std::size_t>(tables_.ranks[state])]++,
                         above < below.size() ? below[above] : all_standings(), probe ? -1 : node, state);
        }
    }
}

void Policy::build_next_nodes() {
    if (several_) {
        const std::vector<std::uint32_t> below = count_below();
        for (std::int32_t node = 0; node < nodes(); ++node) {
            next_nodes_[static_cast<std::size_t>(node)] = next_nodes_of(node, below);
        }
    }
}

std::optional<NextNodes> Policy::next_nodes_of(std::int32_t node, const std::vector<std::uint32_t> &below) const {
    std::size_t width = 0;
    each_tier([&](const Policy &tier) { width = std::max(width, tier.most_bounds(node)); });
    if (only_next(node) != kSeveral || width > NextNodes::kMostBounds) {
        return std::nullopt;
    }
    std::vector<std::uint16_t> bounds;
    std::vector<std::int16_t> nexts;
    each_tier([&](const Policy &tier) { tier.append_nexts(node, width, below, bounds, nexts); });
    return NextNodes(width, std::move(bounds), std::move(nexts));
}

// Of a state. Without recall the best is the state's own, which alone says where to go.
std::size_t Policy::most_bounds(std::int32_t node) const {
    const auto *offsets = tables_.interval_offsets.data() + at(node).first_entry;
    std::size_t most = 0;
    for (std::int32_t s = 0; s < states(node) && tables_.recall; ++s) {
        most = std::max(most, static_cast<std::size_t>(offsets[s + 1] - offsets[s]) - 1);
    }
    return most;
}

// The bound of an interval is the number of states whose ranks are at most its upper rank.
void Policy::append_nexts(std::int32_t node, std::size_t width, const std::vector<std::uint32_t> &below,
                          std::vector<std::uint16_t> &bounds, std::vector<std::int16_t> &nexts) const {
    const auto *offsets = tables_.interval_offsets.data() + at(node).first_entry;
    for (std::int32_t s = 0; s < states(node); ++s) {
        if (!tables_.recall) {
            nexts.push_back(static_cast<std::int16_t>(next(node, s, rank(node, s))));
            continue;
        }
        for (std::size_t k = 0; k <= width; ++k) {
            // Those that are left over repeat the last, which reaches up to every rank.
            const auto interval =
                static_cast<std::size_t>(std::min(offsets[s] + static_cast<std::int32_t>(k), offsets[s + 1] - 1));
            nexts.push_back(static_cast<std::int16_t>(tables_.interval_next[interval]));
            if (k < width) {
                const auto above = static_cast<std::size_t>(tables_.interval_upper[interval]) + 1;
                bounds.push_back(static_cast<std::uint16_t>(below[above]));
            }
        }
    }
}

void Policy::build_edges() {
    const auto nodes = static_cast<std::size_t>(tables_.topology.nodes());
    edge_of_.assign((nodes + 1) * nodes, -1);
    std::vector<std::int32_t> incoming(nodes, 0);
    const auto &edges = tables_.topology.edges();
    for (std::size_t e = 0; e < edges.size(); ++e) {
        const auto to = static_cast<std::size_t>(edges[e].to);
        edge_of_[static_cast<std::size_t>(edges[e].from + 1) * nodes + to] = static_cast<std::int32_t>(e);
        node_tables_[to].only_previous = ++incoming[to] == 1 ? edges[e].from : kSeveral;
        is_tree_ = is_tree_ && incoming[to] == 1;
    }
}

void Policy::build_columns() {
    if (node_tables_.size() > NodeColumns::kMostNodes) {
        return;
    }
    node_columns_.nodes = node_tables_.size();
    for (std::size_t j = 0; j < node_tables_.size(); ++j) {
        const NodeTables &node = node_tables_[j];
        node_columns_.fields.set(j, node);
        node_columns_.position_before[j] = static_cast<std::uint32_t>(node.only_previous + 1);
    }
}

std::int32_t Policy::stop_upper(std::int32_t node, std::int32_t state) const {
    if (is_forest()) {
        return -1;
    }
    const std::size_t at = this->at(node).first_entry + static_cast<std::size_t>(state);
    const auto first = static_cast<std::size_t>(tables_.interval_offsets[at]);
    if (tables_.interval_next[first] != kStop) {
        return -1;
    }
    const auto last = static_cast<std::size_t>(tables_.interval_offsets[at + 1]) - 1;
    return first == last ? kNoRank : tables_.interval_upper[first];
}

std::int32_t Policy::next(std::int32_t node, std::int32_t state, std::int32_t rank) const {
    const std::size_t at = this->at(node).first_entry + static_cast<std::size_t>(state);
    const auto begin = tables_.interval_upper.begin() + tables_.interval_offsets[at];
    // The last interval reaches up to every rank: the best rank is at most the state's own.
    const auto end = tables_.interval_upper.begin() + tables_.interval_offsets[at + 1] - 1;
    return tables_
        .interval_next[static_cast<std::size_t>(std::lower_bound(begin, end, rank) - tables_.interval_upper.begin())];
}

float Policy::worst_signal(std::int32_t node) const {
    const std::int32_t state = worst_state(node);
    return state == 0 ? -std::numeric_limits<float>::infinity() : edges_of(node)[static_cast<std::size_t>(state) - 1];
}

std::int32_t Policy::next_without_answer(std::int32_t node) const {
    const auto open = topology().successors(node);
    std::int32_t onward = open.empty() ? kStop : open.front().node;
    std::int32_t worst = -1;
    for (std::int32_t state = 0; state < states(node); ++state) {
        const std::int32_t of_state = next(node, state, rank(node, state));
        if (of_state != kStop && rank(node, state) > worst) {
            worst = rank(node, state);
            onward = of_state;
        }
    }
    return onward;
}

} // namespace ttamer
