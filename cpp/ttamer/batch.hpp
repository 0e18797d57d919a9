// Running state of the requests in flight: one row each.
#pragma once

#include "ttamer/policy.hpp"
#include "ttamer/row_state.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace ttamer {

enum class NanSignal { error, worst };

// Optional rows of either integer width, as flatnonzero and the batch's own output give them.
struct Rows {
    std::span<const std::int32_t> narrow;
    std::span<const std::int64_t> wide;
    bool given = false;

    std::size_t size() const { return narrow.size() + wide.size(); }
};

// Belongs to one loop: not safe to share between threads without a lock.
class Batch {
  public:
    Batch(std::shared_ptr<const Policy> policy, std::int64_t capacity, NanSignal nan);

    // Consult `nodes` (one for all, or one a signal) for `rows` (default 0..B-1) and say what to consult next. Does
    // all of its work or throws before anything changes. The result is valid until the next call; `nodes` may be it.
    std::span<const std::int32_t> decide(std::int64_t node, std::span<const float> signals, const Rows &rows);
    std::span<const std::int32_t> decide(std::span<const std::int32_t> nodes, std::span<const float> signals,
                                         const Rows &rows);

    // Rows taken over by new requests; without rows, all.
    void reset(const Rows &rows);

    std::size_t capacity() const { return rows_.size(); }
    // The node that answers each row, -1 before anything is consulted.
    void answer_node(std::span<std::int32_t> out) const;
    // Loss of each row's answer, in units of loss; infinity before anything is consulted.
    void answer_loss(std::span<double> out) const;

  private:
    // Signals, the node each belongs to and the row: one argument of all that run over a call.
    template <typename NodeOf, typename RowOf> struct Call {
        NodeOf node;
        RowOf row;
        std::span<const float> signals;
    };
    // Clang before 17 deduces nothing for aggregates.
    template <typename NodeOf, typename RowOf> Call(NodeOf, RowOf, std::span<const float>) -> Call<NodeOf, RowOf>;

    template <typename NodeOf>
    std::span<const std::int32_t> decide_rows(NodeOf node_of, std::span<const float> signals, const Rows &rows);
    template <typename NodeOf, typename RowOf> void run(const Call<NodeOf, RowOf> &call);
    template <typename NodeOf, typename RowOf> bool is_open(const Call<NodeOf, RowOf> &call) const;
    template <typename NodeOf, typename RowOf> [[noreturn]] void complain(const Call<NodeOf, RowOf> &call) const;
    template <typename NodeOf, typename RowOf>
    void consult_scattered(std::int32_t node, const Call<NodeOf, RowOf> &call, std::size_t begin, std::size_t count);
    template <typename Row> void check_rows(std::span<const Row> rows);
    template <typename Row> [[noreturn]] void complain_rows(std::span<const Row> rows) const;
    void check_sizes(std::size_t signals, const Rows &rows) const;
    std::int32_t *open_of(std::size_t row) { return open_.data() + row * static_cast<std::size_t>(policy_->nodes()); }
    const std::int32_t *open_of(std::size_t row) const {
        return open_.data() + row * static_cast<std::size_t>(policy_->nodes());
    }
    bool is_open(std::size_t row, std::int32_t node) const;
    std::string open_to(std::size_t row) const;
    bool all_open(std::int32_t node, std::span<const float> signals) const;
    std::int32_t consult(std::int32_t node, std::size_t row, float signal);
    void consult_in_order(std::int32_t node, std::span<const float> signals);
    void clear(std::size_t row);
    [[noreturn]] void complain_closed(std::size_t row, std::int32_t node) const;

    std::shared_ptr<const Policy> policy_;
    NanSignal nan_;
    std::vector<RowState> rows_;
    std::vector<float> signal_;      // of each row's answer; empty unless losses are observed
    std::vector<std::int32_t> open_; // forests: (capacity, nodes), see open_nodes.hpp
    std::vector<std::int32_t> next_;
    std::vector<std::uint32_t> seen_; // the call that named a row last, to find repeated rows
    std::uint32_t call_ = 0;
};

} // namespace ttamer
