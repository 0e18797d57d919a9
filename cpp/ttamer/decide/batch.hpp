// Running state of the requests in flight: one row each.
#pragma once

#include "ttamer/policy/policy.hpp"
#include "ttamer/policy/row_state.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <tuple>
#include <vector>

namespace ttamer {

// What a NaN signal means: the call is refused; the node's worst state, whose answer is given while there is no other;
// or a node that failed, which was consulted and has no answer.
enum class NanSignal { error, worst, failed };

// Optional rows of either integer width, as flatnonzero and the batch's own output give them.
struct Rows {
    std::span<const std::int32_t> narrow;
    std::span<const std::int64_t> wide;
    bool given = false;

    std::size_t size() const { return narrow.size() + wide.size(); }
    // The row that position k of a call is about.
    std::size_t at(std::size_t k) const {
        return !given ? k : static_cast<std::size_t>(narrow.empty() ? wide[k] : narrow[k]);
    }
};

// Belongs to one loop: not safe to share between threads without a lock.
class Batch {
  public:
    Batch(std::shared_ptr<const Policy> policy, std::int64_t capacity, NanSignal nan);

    // Consult `nodes` (one for all, or one a signal) for `rows` (default 0..B-1) and say what to consult next. Does
    // all of its work or throws before anything changes. The result is valid until the next call, whose arguments it
    // may be among.
    std::span<const std::int32_t> decide(std::int64_t node, std::span<const float> signals, const Rows &rows);
    std::span<const std::int32_t> decide(std::span<const std::int32_t> nodes, std::span<const float> signals,
                                         const Rows &rows);

    // Rows taken over by new requests, the first ones without rows, each of a tier of the policy's, which has some.
    // Until then, and after a reset, rows of such a policy consult nothing. Says where each begins.
    void enter(std::span<const std::int64_t> tiers, const Rows &rows, std::span<std::int32_t> first_nodes);
    // Rows taken over by new requests; without rows, all.
    void reset(const Rows &rows);
    // Rows that have stopped, after `node` was consulted last, go on: the nodes that may follow it are open again.
    void resume(std::int64_t node, const Rows &rows);

    // Throws std::out_of_range unless the rows are there.
    void check_rows(const Rows &rows) const;
    // Throws std::invalid_argument if the row has no tier yet of a policy that has some.
    void check_entered(std::size_t row) const;
    // The node consulted last, kRoot before the first; meaningless once the row has stopped.
    std::int32_t last_node(std::size_t row) const { return position(row) - 1; }
    // Whether a node answers that gave a signal.
    bool has_answer(std::size_t row) const;
    bool has_stopped(std::size_t row) const { return position(row) == kStoppedPosition; }
    // Whether each row has a policy of its own.
    bool has_tiers() const { return policy_->tiers() > 0; }

    std::size_t capacity() const { return next_.size(); }
    // The node that answers each row, -1 while none does.
    void answer_node(std::span<std::int32_t> out) const;
    // Loss of each row's answer, in units of loss; infinity while there is none.
    void answer_loss(std::span<double> out) const;

  private:
    // The node each signal of a call belongs to: one for all, or one each.
    struct Nodes {
        std::span<const std::int32_t> each;
        std::int32_t one = 0;

        std::int32_t at(std::size_t k) const { return each.empty() ? one : each[k]; }
    };
    struct Call {
        Nodes nodes;
        std::span<const float> signals;
        const Rows &rows;
    };

    // Rows of the policy's kind; the other's are none.
    template <AnyRow Row> struct States {
        std::vector<Row> rows;
        // Of a call that names rows of a walk, by its positions: what they were.
        std::vector<Row> before;
    };
    template <AnyRow Row> States<Row> &states() { return std::get<States<Row>>(states_); }
    template <AnyRow Row> const States<Row> &states() const { return std::get<States<Row>>(states_); }
    // Calls visit(states) for the kind that the policy has.
    template <typename Visit> auto with_states(const Visit &visit) {
        return policy_->has_standings() ? visit(states<StandingRow>()) : visit(states<RankRow>());
    }
    template <typename Visit> auto with_states(const Visit &visit) const {
        return policy_->has_standings() ? visit(states<StandingRow>()) : visit(states<RankRow>());
    }
    std::int32_t position(std::size_t row) const {
        return with_states([row](const auto &states) { return position_of(states.rows[row]); });
    }

    // What decides on the row, if it has been entered.
    const Policy &policy_of(std::size_t row) const {
        return tiers_.empty() || tiers_[row] == kNoTier ? *policy_ : policy_->tier(tiers_[row]);
    }

    std::span<const std::int32_t> decide(const Nodes &nodes, std::span<const float> signals, const Rows &rows);
    std::span<const float> carry(const Call &call);
    void keep_carried(std::size_t count);
    void check_sizes(std::size_t signals, const Rows &rows) const;
    void check_distinct(const Rows &rows);
    bool has_nan(std::span<const float> signals) const;
    bool may_follow(std::int32_t position, std::int32_t node) const;
    bool is_open(std::size_t row, std::int32_t node) const;
    template <AnyRow Row> bool mark(std::vector<Row> &states, const Rows &rows);
    bool mark(const Rows &rows);
    void give_back(const Rows &rows);

    // Each consults all of a call's rows, or none and says false; on forests, and on walks.
    bool consult_branches(const Call &call);
    template <AnyRow Row> bool consult(States<Row> &states, const Call &call);

    // Of walks, defined in batch_walk.cpp.
    template <AnyRow Row> bool all_open(const Call &call, std::size_t begin, std::span<const Row> rows) const;
    template <AnyRow Row> bool consult_first(States<Row> &states, const Call &call);
    bool overwrites(const Call &call) const;
    template <AnyRow Row> bool consult_apart(States<Row> &states, const Call &call);
    template <AnyRow Row> void consult_copies(States<Row> &states, const Call &call);
    template <AnyRow Row, typename Place>
    bool consult_named(States<Row> &states, const Call &call, std::span<const Place> places);

    template <AnyRow Row, typename Place>
    void bring(States<Row> &states, std::size_t begin, std::span<const Place> places);
    template <AnyRow Row, typename Place>
    void bring_and_mark(States<Row> &states, std::size_t begin, std::span<const Place> places);
    template <AnyRow Row, typename Place>
    void consult_gathered(States<Row> &states, const Call &call, std::size_t begin, std::span<const Place> places,
                          Row marks);
    template <AnyRow Row> void undo(States<Row> &states, const Call &call, std::size_t end);
    template <AnyRow Row>
    void consult_rows(const Call &call, std::size_t begin, std::size_t count, Row *rows, float *best_signals,
                      const std::int32_t *tiers, std::int32_t *next);

    std::int32_t *open_of(std::size_t row) { return open_.data() + row * static_cast<std::size_t>(policy_->nodes()); }
    const std::int32_t *open_of(std::size_t row) const {
        return open_.data() + row * static_cast<std::size_t>(policy_->nodes());
    }
    // Of a row without a tier: fresh, and of a policy that has some stopped, so that it may not consult anything.
    template <AnyRow Row> Row vacant_row() const {
        return has_tiers() ? with_position(kFresh<Row>, kStoppedPosition) : kFresh<Row>;
    }
    void clear(std::size_t row, std::int32_t tier);

    // Defined in batch_complain.cpp.
    [[noreturn]] void refuse(const Call &call);
    [[noreturn]] void complain_nodes(std::span<const std::int32_t> nodes) const;
    [[noreturn]] void complain_tiers(std::span<const std::int64_t> tiers) const;
    [[noreturn]] void complain_range(const Rows &rows) const;
    [[noreturn]] void complain_repeated(const Rows &rows) const;
    [[noreturn]] void complain_closed(const Call &call, std::size_t k) const;
    [[noreturn]] void complain_resumed(const Rows &rows) const;

    std::shared_ptr<const Policy> policy_;
    NanSignal nan_;
    std::tuple<States<StandingRow>, States<RankRow>> states_;
    static constexpr std::int32_t kNoTier = -1;
    std::vector<std::int32_t> tiers_; // of each row; empty where the policy has none
    std::vector<float> signal_;       // of each row's answer; empty unless answers are compared by it
    std::vector<std::int32_t> open_;  // forests: (capacity, nodes), see open_nodes.hpp
    std::vector<std::int32_t> next_;  // the last result
    // Of a call that names rows of a walk, by its positions: what comes next, which then changes places with the last
    // result, and the signals that were. Both empty on forests, and the signals as signal_.
    std::vector<std::int32_t> pending_;
    std::vector<float> signal_before_;
    // Where signals of nodes tell the states of others: of each row and node what it showed, and of a call, by
    // position, the signals that tell the states, and what is kept of it once it is done. Empty elsewhere.
    struct Carried {
        std::size_t place;
        float signal;
    };
    std::vector<float> carried_;
    std::vector<float> telling_;
    std::vector<Carried> new_carried_;
};

} // namespace ttamer
