// A policy: immutable integer tables, shared between threads without locks.
#pragma once

#include "ttamer/base/quantiser.hpp"
#include "ttamer/base/topology.hpp"
#include "ttamer/policy/next_nodes.hpp"

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace ttamer {

inline constexpr std::int32_t kNoRank = std::numeric_limits<std::int32_t>::max();

// Everything a policy is, as plain arrays: what the solver fills, files hold and validation reads. States of all
// nodes are numbered through: state s of node j is entry state_offsets[j] + s.
struct PolicyTables {
    Topology topology;
    bool recall;   // the answer is the best node consulted (true) or the last (false)
    bool observed; // signals are losses: equal ranks recall the smaller signal
    double tradeoff;
    double value;
    double cost_scale;
    std::int32_t first_node;
    std::vector<double> costs;                  // one an edge, in the user's unit
    std::vector<double> levels;                 // increasing; a rank is a position here; see attainable_levels
    std::vector<std::int32_t> state_offsets;    // nodes + 1
    std::vector<float> bin_edges;               // one less than states for each node, concatenated
    std::vector<std::int32_t> ranks;            // rank of each state's loss
    std::vector<std::int32_t> interval_offsets; // states + 1
    // With X the rank of the best loss so far, the first interval with X <= upper says what to do next.
    std::vector<std::int32_t> interval_upper;
    std::vector<std::int32_t> interval_next;
    // Forests have no intervals but the rank of each node's dynamic index, one for each state of its parent (or one for
    // all): the open node of the smallest rank is next, unless X is at most that.
    std::vector<std::int32_t> index_offsets; // nodes + 1
    std::vector<std::int32_t> index_ranks;
    std::vector<std::int32_t> signal_nodes; // the node whose signal tells each node's state, mostly its own
};

// What deciding reads of a state, loaded together as one number: a loop over many need not take them apart.
//
// *Standings* number the states of all nodes in the order in which they answer: the smaller loss first and, of equal
// losses, that of the node consulted first; without recall, where the last node answers, the later node first. No two
// states stand alike, so that of a row's states the smallest number answers, and it alone says which node that was.
// States of probes stand behind all others, and nobody answers with them.
// An entry has the state's standing in the upper half and a bound in the lower: stop while the best standing is below
// it.
using StandingEntry = std::uint32_t;

// Where standings cannot say who answers (a forest's nodes are consulted in any order, observed losses that are equal
// are told apart by their signals, or there are too many states for 16 bits), the rank of the loss is in the upper half
// and, in the lower, the *stop upper*: stop while the best rank is at most this; -1: never. States of probes have
// kNoRank, which improves on nothing.
using RankEntry = std::int64_t;

inline RankEntry rank_entry(std::int32_t rank, std::int32_t stop_upper) {
    return static_cast<std::int64_t>(rank) << 32 | static_cast<std::uint32_t>(stop_upper);
}
// An entry and a row have the rank in the same place.
inline std::int32_t rank_of(std::int64_t entry_or_row) {
    return static_cast<std::int32_t>(entry_or_row >> 32);
}

// What deciding reads of a node, together: rows of one call may consult different nodes.
struct alignas(64) NodeTables {
    StateLookup lookup;
    std::uint32_t first_cell;   // of the node, in JointTables
    std::uint32_t first_entry;  // of the node's states
    std::uint32_t worst_key;    // falls into the state that NaN counts as
    std::int32_t only_next;     // where every state that goes on goes to, or Policy::kSeveral
    std::int32_t only_previous; // the one node (kRoot included) that this one may follow, or Policy::kSeveral
};

// The same by field, for rows that consult different nodes: of each, one number a node or a row.
template <typename Column> struct NodeFields {
    Column lowest;
    Column range;
    Column cell_shift;
    Column first_cell;
    Column first_entry;
    Column worst_key;
    Column only_next; // as bits

    void set(std::size_t k, const NodeTables &node) {
        lowest[k] = node.lookup.lowest;
        range[k] = node.lookup.range;
        cell_shift[k] = node.lookup.cell_shift;
        first_cell[k] = node.first_cell;
        first_entry[k] = node.first_entry;
        worst_key[k] = node.worst_key;
        only_next[k] = static_cast<std::uint32_t>(node.only_next);
    }
};

// Of few nodes, also the position of the one node that each may follow.
struct NodeColumns {
    static constexpr std::size_t kMostNodes = 16;
    using Column = std::array<std::uint32_t, kMostNodes>;

    std::size_t nodes = 0;
    alignas(32) NodeFields<Column> fields{};
    alignas(32) Column position_before{};
};

// For rows that consult different nodes: tables of all nodes, behind each other.
struct JointTables {
    const NodeTables *nodes;
    const NodeColumns *columns; // null where there are more nodes than that
    const std::uint32_t *cells;
    const std::uint32_t *parts;
    bool without_climbs;
};

class Policy {
  public:
    // Of tables from anywhere: throws std::invalid_argument that names the table if anything does not fit together.
    explicit Policy(PolicyTables tables);
    // Of tables that a solver has made for a model, whose quantisers (not null) its policies share: only its
    // numbers are checked, which may overflow.
    Policy(PolicyTables tables, std::shared_ptr<const Quantisers> quantisers);
    // Of policies that decide on the same states, as those of one front do: *tiers*, of which each row of a batch has
    // one. Throws std::invalid_argument where they do not. Blocks of rows are decided by tables of all tiers; what is
    // said here of single states is the first one's: ask a tier for its own.
    explicit Policy(std::vector<std::shared_ptr<const Policy>> tiers);

    const PolicyTables &tables() const { return tables_; }
    // None of a policy that is not made of some.
    std::size_t tiers() const { return tiers_.size(); }
    const Policy &tier(std::int32_t number) const { return *tiers_[static_cast<std::size_t>(number)]; }
    // What decides on row k of a block, whose tiers are these: null where there are none.
    const Policy &of_row(const std::int32_t *tiers, std::size_t k) const {
        return tiers == nullptr ? *this : tier(tiers[k]);
    }
    // How many entries lie between those of a tier and of the next.
    std::uint32_t tier_entries() const { return static_cast<std::uint32_t>(tables_.ranks.size()); }
    const Topology &topology() const { return tables_.topology; }
    std::int32_t nodes() const { return tables_.topology.nodes(); }
    std::int32_t states(std::int32_t node) const {
        const auto at = static_cast<std::size_t>(node);
        return tables_.state_offsets[at + 1] - tables_.state_offsets[at];
    }

    std::span<const float> edges_of(std::int32_t node) const {
        const auto begin = tables_.state_offsets[static_cast<std::size_t>(node)] - node;
        return {tables_.bin_edges.data() + begin, static_cast<std::size_t>(states(node) - 1)};
    }

    const NodeTables &at(std::int32_t node) const { return node_tables_[static_cast<std::size_t>(node)]; }
    JointTables joint_tables() const {
        return {node_tables_.data(), node_columns_.nodes == 0 ? nullptr : &node_columns_, quantisers_->cells(),
                quantisers_->parts(), quantisers_->without_climbs()};
    }

    // Whether it informs and cannot answer.
    bool is_probe(std::int32_t node) const {
        return std::isinf(tables_.levels[static_cast<std::size_t>(rank(node, 0))]);
    }

    // Of the node's worst state: largest loss, the lowest state among equals.
    std::uint32_t worst_key(std::int32_t node) const { return at(node).worst_key; }
    std::int32_t worst_state(std::int32_t node) const { return at(node).lookup.state(worst_key(node)); }
    // A signal that shows it.
    float worst_signal(std::int32_t node) const;

    // The node whose signal tells the state of `node`; whether that is another one anywhere.
    std::int32_t signal_node(std::int32_t node) const { return tables_.signal_nodes[static_cast<std::size_t>(node)]; }
    bool carries_signals() const { return carries_signals_; }

    // Whether of equal losses the one of the smaller signal answers.
    bool compares_signals() const { return tables_.recall && tables_.observed; }

    // Whether the states have StandingEntry, and else RankEntry.
    bool has_standings() const { return !standing_entries_.empty(); }
    template <typename Entry> std::span<const Entry> all_entries() const;
    template <typename Entry> const Entry *entries(std::int32_t node) const {
        return all_entries<Entry>().data() + at(node).first_entry;
    }

    // Whose it is, -1 where it is a probe's, and the rank of its loss.
    struct Standing {
        std::int32_t node;
        std::int32_t rank;
    };
    Standing standing(std::uint32_t number) const {
        const StateOfNode &found = standings_[number];
        return {found.node, tables_.ranks[found.state]};
    }
    // Standings of states that answer are below this; behind them comes one for each node, of an answer that is only
    // given because there is none: that of a node whose signal was NaN, at the loss of its worst state. Then come those
    // of probes' states.
    std::uint32_t provisional(std::int32_t node) const { return answering_states_ + static_cast<std::uint32_t>(node); }
    // The state of `node` that has it.
    std::int32_t state_of_standing(std::int32_t node, std::uint32_t number) const {
        return static_cast<std::int32_t>(standings_[number].state - at(node).first_entry);
    }

    // As RankEntry has them.
    std::int32_t rank(std::int32_t node, std::int32_t state) const {
        return tables_.ranks[at(node).first_entry + static_cast<std::size_t>(state)];
    }
    std::int32_t stop_upper(std::int32_t node, std::int32_t state) const;

    // The node to consult next, or kStop, with the best loss so far at `rank` and `node` found in `state`.
    std::int32_t next(std::int32_t node, std::int32_t state, std::int32_t rank) const;

    // The same for a request without an answer whose last node failed, not on forests: where the worst of the states
    // that go on goes to, or, where all stop, the lowest successor; kStop if there is none.
    std::int32_t next_without_answer(std::int32_t node) const;

    static constexpr std::int32_t kSeveral = -2;

    // Where every state of the node that goes on goes to, or kSeveral: then `next` tells.
    std::int32_t only_next(std::int32_t node) const { return at(node).only_next; }

    // What `next` tells of a node with kSeveral, by standings. Null for other nodes, where states have no standings,
    // and where one has more intervals than NextNodes takes. Of tiers, those states of the node behind each other.
    const NextNodes *next_nodes(std::int32_t node) const {
        const auto &of_node = next_nodes_[static_cast<std::size_t>(node)];
        return of_node ? &*of_node : nullptr;
    }

    // Whether those of any node go on to several.
    bool any_several() const { return several_; }

    // The one node (kRoot included) that `node` may follow, or kSeveral.
    std::int32_t only_previous(std::int32_t node) const { return at(node).only_previous; }

    // Whether no node may follow two others (as on lines): a row's position then says by which path it came.
    bool is_tree() const { return is_tree_; }

    bool is_forest() const { return tables_.topology.shape() == Shape::forest; }

    // On forests: the rank of a node's index, its parent found in `parent_state` (0 for the root).
    std::int32_t index_rank(std::int32_t node, std::int32_t parent_state) const {
        const auto at = static_cast<std::size_t>(node);
        const std::int32_t begin = tables_.index_offsets[at];
        const bool shared = tables_.index_offsets[at + 1] - begin == 1;
        return tables_.index_ranks[static_cast<std::size_t>(begin + (shared ? 0 : parent_state))];
    }

    // Whether `node` may follow the node `last` (kRoot before the first); the edge's number, or -1.
    std::int32_t edge_between(std::int32_t last, std::int32_t node) const {
        return edge_of_[static_cast<std::size_t>(last + 1) * static_cast<std::size_t>(nodes()) +
                        static_cast<std::size_t>(node)];
    }

  private:
    void check_numbers() const;
    void check() const;
    void check_states() const;
    void check_intervals() const;
    void check_index() const;
    void check_answers() const;
    void build();
    void build_node(std::size_t node);
    std::int32_t next_of_all(std::size_t begin, std::size_t end) const;
    void number_best_first();
    void number_last_first();
    void number_state(std::uint32_t standing, std::uint32_t bound, std::int32_t node, std::size_t state);
    std::uint32_t all_standings() const {
        return static_cast<std::uint32_t>(tables_.ranks.size() + node_tables_.size());
    }
    std::vector<std::uint32_t> count_below() const;
    void build_next_nodes();
    std::optional<NextNodes> next_nodes_of(std::int32_t node, const std::vector<std::uint32_t> &below) const;
    std::size_t most_bounds(std::int32_t node) const;
    void append_nexts(std::int32_t node, std::size_t width, const std::vector<std::uint32_t> &below,
                      std::vector<std::uint16_t> &bounds, std::vector<std::int16_t> &nexts) const;
    void check_tier(std::size_t number) const;
    std::int32_t next_of_tiers(std::int32_t node) const;
    // Calls visit(policy) for each tier, or for this policy where there are none.
    template <typename Visit> void each_tier(const Visit &visit) const {
        if (tiers_.empty()) {
            visit(*this);
        }
        for (const auto &tier : tiers_) {
            visit(*tier);
        }
    }
    void build_edges();
    void build_columns();

    PolicyTables tables_;
    std::vector<std::shared_ptr<const Policy>> tiers_;
    std::vector<StandingEntry> standing_entries_; // exactly one of the two is filled
    std::vector<RankEntry> rank_entries_;
    struct StateOfNode {
        std::int16_t node;
        std::uint16_t state; // numbered through
    };
    std::vector<StateOfNode> standings_;               // by number
    std::vector<std::optional<NextNodes>> next_nodes_; // of each node
    std::shared_ptr<const Quantisers> quantisers_;
    std::vector<NodeTables> node_tables_;
    NodeColumns node_columns_; // of no nodes where there are too many
    std::uint32_t answering_states_ = 0;
    bool several_ = false;
    bool carries_signals_ = false;
    bool is_tree_ = true;
    std::vector<std::int32_t> edge_of_; // (nodes + 1) x nodes
};

template <> inline std::span<const StandingEntry> Policy::all_entries() const {
    return standing_entries_;
}
template <> inline std::span<const RankEntry> Policy::all_entries() const {
    return rank_entries_;
}

} // namespace ttamer
