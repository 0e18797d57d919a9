// A policy: immutable integer tables, shared between threads without locks.
#pragma once

#include "ttamer/quantiser.hpp"
#include "ttamer/topology.hpp"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
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
    std::vector<double> levels;                 // increasing; a rank is a position here
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
};

// What deciding reads of a state, in 8 bytes that are loaded together: its rank in the upper half and, in the lower,
// its *stop upper*: stop while the best rank is at most this; -1: never. One number, as a row is: ranks are then
// compared where they stand, and a loop over many need not take them apart.
using StateEntry = std::int64_t;

inline StateEntry state_entry(std::int32_t rank, std::int32_t stop_upper) {
    return static_cast<std::int64_t>(rank) << 32 | static_cast<std::uint32_t>(stop_upper);
}
inline std::int32_t rank_of(std::int64_t entry_or_row) {
    return static_cast<std::int32_t>(entry_or_row >> 32);
}
inline std::int32_t stop_upper_of(StateEntry entry) {
    return static_cast<std::int32_t>(entry);
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

// The same for rows that consult different nodes: tables of all nodes, behind each other.
struct JointTables {
    const NodeTables *nodes;
    const std::uint32_t *cells;
    const std::uint32_t *parts;
    const StateEntry *entries;
    bool without_steps;
};

class Policy {
  public:
    // Of tables from anywhere: throws std::invalid_argument that names the table if anything does not fit together.
    explicit Policy(PolicyTables tables);
    // Of tables that a solver has made for a model, whose quantisers (not null) its policies share: only its
    // numbers are checked, which may overflow.
    Policy(PolicyTables tables, std::shared_ptr<const Quantisers> quantisers);

    const PolicyTables &tables() const { return tables_; }
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
        return {node_tables_.data(), quantisers_->cells(), quantisers_->parts(), entries_.data(),
                quantisers_->without_steps()};
    }
    std::span<const StateEntry> all_entries() const { return entries_; }

    // Of the node's worst state: largest loss, the lowest state among equals.
    std::uint32_t worst_key(std::int32_t node) const { return at(node).worst_key; }

    const StateEntry *entries(std::int32_t node) const { return entries_.data() + at(node).first_entry; }

    // The node to consult next, or kStop, with the best loss so far at `rank` and `node` found in `state`.
    std::int32_t next(std::int32_t node, std::int32_t state, StateEntry entry, std::int32_t rank) const {
        if (rank <= stop_upper_of(entry)) {
            return kStop;
        }
        const std::int32_t only = only_next(node);
        return only != kSeveral ? only : look_up(node, state, rank);
    }

    static constexpr std::int32_t kSeveral = -2;

    // Where every state of the node that goes on goes to, or kSeveral: then look_up tells.
    std::int32_t only_next(std::int32_t node) const { return at(node).only_next; }
    std::int32_t look_up(std::int32_t node, std::int32_t state, std::int32_t rank) const;

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
    void build();
    void build_node(std::size_t node);
    void build_edges();

    PolicyTables tables_;
    std::vector<StateEntry> entries_;
    std::shared_ptr<const Quantisers> quantisers_;
    std::vector<NodeTables> node_tables_;
    bool is_tree_ = true;
    std::vector<std::int32_t> edge_of_; // (nodes + 1) x nodes
};

} // namespace ttamer
