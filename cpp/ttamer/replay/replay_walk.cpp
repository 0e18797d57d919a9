#include "ttamer/replay/replay_walk.hpp"

#include "ttamer/base/dispatch.hpp"
#include "ttamer/decide/lookup.hpp"
#include "ttamer/decide/row_block.hpp"
#include "ttamer/replay/passing.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

namespace ttamer {

namespace {

// How many requests move together, by the signals they have. The more there are, the fewer times the tables of all
// nodes come into the first-level cache; the signals should stay in the second.
constexpr std::size_t kSignals = std::size_t{1} << 15;
constexpr std::size_t kFewestRequests = 1024;
constexpr std::size_t kMostRequests = 2048;

// Rows say which request they are in place of where they stand: all rows that wait for a node stand there.
static_assert(kMostRequests <= kPositionBits + 1);

template <AnyRow Row> std::size_t request_of(Row row) {
    return static_cast<std::size_t>(row & Row{kPositionBits});
}

// Of each of the rows, what stands at `first` for its request: requests follow each other `stride` apart.
template <AnyRow Row>
void gather(const float *first, std::size_t stride, std::span<const Row> rows, float *TTAMER_RESTRICT out) {
    const Row *at = rows.data();
    const std::size_t count = rows.size();
    TTAMER_UNROLL
    for (std::size_t k = 0; k < count; ++k) {
        out[k] = first[request_of(at[k]) * stride];
    }
}

// How a request ended, in 4 bytes: who answers, in the upper half as rows have it, and the node consulted last.
using End = std::uint32_t;

std::int32_t last_node(End end) {
    return static_cast<std::int32_t>(end & kPositionBits);
}

// A node of a policy without recall: signals whose keys are below the first of `keys` stop or go on, as `lowest` says,
// those from there to the second do the other, and so on.
struct Switches {
    std::vector<std::uint32_t> keys;
    StandingEntry lowest;
};

// As many comparisons as cost less than looking a state up; mostly there is one.
constexpr std::size_t kMostSwitches = 16;

Switches switches_of(const Policy &policy, std::int32_t node) {
    const auto *entries = policy.entries<StandingEntry>(node);
    const auto edges = policy.edges_of(node);
    const auto action = [&](std::size_t state) {
        return (entries[state] >> 16) < (entries[state] & 0xFFFF) ? kStops : kGoesOn;
    };
    Switches switches{{}, action(0)};
    for (std::size_t state = 1; state <= edges.size() && switches.keys.size() <= kMostSwitches; ++state) {
        if (action(state) != action(state - 1)) {
            switches.keys.push_back(order_key(edges[state - 1]));
        }
    }
    return switches;
}

// The cost of the path to each node, where no node can be reached by two; else nothing. Nodes no policy reaches cost 0.
std::vector<double> costs_of_paths(const Policy &policy, std::span<const double> costs) {
    std::vector<double> paid(static_cast<std::size_t>(policy.nodes()));
    for (const auto node : policy.topology().order()) {
        const std::int32_t previous = policy.only_previous(node);
        if (previous == Policy::kSeveral) {
            return {};
        }
        const double before = previous == kRoot ? 0.0 : paid[static_cast<std::size_t>(previous)];
        paid[static_cast<std::size_t>(node)] =
            before + costs[static_cast<std::size_t>(policy.edge_between(previous, node))];
    }
    return paid;
}

// Some thousand requests move through the nodes together, so that those at one node are consulted together. Each node
// but the first, where all are, has a queue of the rows that wait for it, which lie side by side when they are
// consulted. Where all that go on from a node go to one that nothing else leads to, the two have one queue: rows that
// stop leave it, and the others close up.
template <AnyRow Row> class WalkRunner {
  public:
    WalkRunner(const Policy &policy, const Recorded &recorded, const Replayed &result)
        : policy_(policy), recorded_(recorded), result_(result), nodes_(static_cast<std::size_t>(policy.nodes())),
          most_(std::clamp(kSignals / nodes_, kFewestRequests, kMostRequests)), stopped_(most_), ends_(most_),
          edges_(policy.topology().edges().size()), stride_(recorded.costs.size() == edges_ ? 0 : edges_),
          path_costs_(stride_ == 0 ? costs_of_paths(policy, recorded.costs) : std::vector<double>()),
          cost_(path_costs_.empty() ? most_ : 0), best_signals_(policy.compares_signals() ? most_ : 0) {
        lay_out_queues();
        for (std::size_t k = 0; k < most_; ++k) {
            fresh_.push_back(kFresh<Row> | static_cast<Row>(k));
        }
        for (std::int32_t node = 0; node < policy.nodes() && policy.has_standings() && !policy.tables().recall;
             ++node) {
            switches_.push_back(switches_of(policy, node));
        }
    }

    // The most requests of a run.
    std::size_t most() const { return most_; }

    void run(std::size_t begin, std::size_t count) {
        const std::int32_t first = policy_.tables().first_node;
        tails_ = heads_;
        paid_ = heads_;
        std::fill(best_signals_.begin(), best_signals_.end(), kNoSignal);
        std::fill(cost_.begin(), cost_.end(), 0.0);
        signals_ = recorded_.signals.data() + begin * nodes_;
        costs_ = recorded_.costs.data() + begin * stride_;
        const std::span<const Row> all(fresh_.data(), count);
        pay(all, policy_.edge_between(kRoot, first));
        for (const auto node : policy_.topology().order()) {
            const std::span<const Row> rows =
                node == first ? all : std::span<const Row>{heads_[place(node)], tail(node)};
            if (!rows.empty()) {
                consult_all(node, rows);
            }
        }
        write(begin, count);
    }

  private:
    // Places of heads_ and tails_: kStop has the first, the nodes have the others.
    static std::size_t place(std::int32_t next) {
        static_assert(kStop == -1);
        return static_cast<std::size_t>(next + 1);
    }
    Row *&tail(std::int32_t next) { return tails_[place(next)]; }

    void lay_out_queues() {
        std::vector<std::size_t> queues(nodes_);
        std::size_t count = 0;
        for (const auto node : policy_.topology().order()) {
            const std::int32_t previous = policy_.only_previous(node);
            const bool shares = previous >= 0 && policy_.only_next(previous) == node;
            queues[static_cast<std::size_t>(node)] = shares ? queues[static_cast<std::size_t>(previous)] : count++;
        }
        rows_.resize(count * most_);
        heads_.push_back(stopped_.data());
        for (const std::size_t queue : queues) {
            heads_.push_back(rows_.data() + queue * most_);
        }
    }

    // Where each has costs of its own.
    void pay(std::span<const Row> rows, std::int32_t edge) {
        if (cost_.empty()) {
            return;
        }
        const double *costs = costs_ + edge;
        for (const Row row : rows) {
            cost_[request_of(row)] += costs[request_of(row) * stride_];
        }
    }

    void consult_all(std::int32_t node, std::span<const Row> rows) {
        const float *column = signals_ + policy_.signal_node(node);
        tail(kStop) = stopped_.data();
        stopped_begin_ = stopped_.data() + stopped_.size();
        for (std::size_t begin = 0; begin < rows.size(); begin += kBlock) {
            const auto some = rows.subspan(begin, std::min(kBlock, rows.size() - begin));
            std::array<float, kBlock> gathered;
            gather(column, nodes_, some, gathered.data());
            consult(node, some, {gathered.data(), some.size()});
        }
        finish(node, {stopped_.data(), tail(kStop)});
        finish(node, {stopped_begin_, stopped_.data() + stopped_.size()});
        for (const auto &[next, edge] : policy_.topology().successors(node)) {
            pay({paid_[place(next)], tail(next)}, edge);
            paid_[place(next)] = tail(next);
        }
    }

    void consult(std::int32_t node, std::span<const Row> rows, std::span<const float> signals) {
        if constexpr (std::same_as<Row, StandingRow>) {
            if (policy_.only_next(node) != Policy::kSeveral) {
                consult_and_part(node, rows.data(), signals);
                return;
            }
        }
        consult_each(node, rows.data(), signals);
    }

    // All that go on go to one node.
    void consult_and_part(std::int32_t node, const Row *rows, std::span<const float> signals) {
        std::array<StandingEntry, kBlock> found;
        std::array<Row, kBlock> unused;
        find(node, signals, found.data());
        const std::int32_t next = policy_.only_next(node);
        Row *queue = next == kStop ? unused.data() : tail(next);
        const std::size_t going = pass_(rows, found.data(), signals.size(), queue, stopped_begin_);
        stopped_begin_ -= signals.size() - going;
        tail(next) += next == kStop ? 0 : going;
    }

    void find(std::int32_t node, std::span<const float> signals, StandingEntry *found) const {
        if (!switches_.empty()) {
            const auto &[keys, lowest] = switches_[static_cast<std::size_t>(node)];
            if (keys.size() <= kMostSwitches) {
                find_switches(keys, lowest, signals.data(), signals.size(), policy_.worst_key(node), found);
                return;
            }
        }
        find_entries(policy_.at(node).lookup, policy_.entries<StandingEntry>(node), {}, signals.data(), signals.size(),
                     policy_.worst_key(node), found);
    }

    void consult_each(std::int32_t node, const Row *rows, std::span<const float> signals) {
        std::array<Row, kBlock> consulted;
        std::array<float, kBlock> best;
        std::array<std::int32_t, kBlock> next;
        const std::size_t count = signals.size();
        std::copy_n(rows, count, consulted.begin());
        if (!best_signals_.empty()) {
            gather(best_signals_.data(), 1, std::span(rows, count), best.data());
        }
        consult_block(policy_, node, consulted.data(), best.data(), nullptr, signals, next.data());
        for (std::size_t k = 0; k < count; ++k) {
            consulted[k] = choose(Row{kPositionBits}, rows[k], consulted[k]);
        }
        for (std::size_t k = 0; k < count && !best_signals_.empty(); ++k) {
            best_signals_[request_of(consulted[k])] = best[k];
        }
        // Without a branch on what a row does, which data would mispredict.
        Row **tails = tails_.data();
        for (std::size_t k = 0; k < count; ++k) {
            *tails[place(next[k])]++ = consulted[k];
        }
    }

    // Those that stopped at the node.
    void finish(std::int32_t node, std::span<const Row> rows) {
        End *ends = ends_.data();
        for (const Row row : rows) {
            ends[request_of(row)] = static_cast<End>(with_position(row, node));
        }
    }

    // Without recall the last node answers.
    std::int32_t answer(End end) const {
        if (!policy_.tables().recall) {
            return last_node(end);
        }
        if constexpr (std::same_as<Row, StandingRow>) {
            return policy_.standing(end >> 16).node;
        }
        return static_cast<std::int32_t>(end >> 16) - 1;
    }

    // Requests stop out of order. In order, results and losses stream to and from memory.
    void write(std::size_t begin, std::size_t count) {
        for (std::size_t k = 0; k < count; ++k) {
            const End end = ends_[k];
            const auto last = static_cast<std::size_t>(last_node(end));
            result_.last_node[begin + k] = last_node(end);
            result_.answer_node[begin + k] = answer(end);
            result_.cost[begin + k] = path_costs_.empty() ? cost_[k] : path_costs_[last];
        }
    }

    const Policy &policy_;
    const Recorded &recorded_;
    const Replayed &result_;
    const Pass pass_ = all_passes().front();
    std::size_t nodes_;
    std::size_t most_;
    const float *signals_ = nullptr; // of the requests that move together: (requests, nodes)
    std::vector<Row> fresh_;         // of each request, before the first node
    std::vector<Row> rows_;          // (queues, requests): who waits in each
    std::vector<Row> stopped_;       // at the node that is consulted
    std::vector<Row *> heads_;       // of stopped_, and of each node's queue
    std::vector<Row *> tails_;       // behind the last in each
    std::vector<Row *> paid_;        // behind the last that has paid the way there
    Row *stopped_begin_ = nullptr;   // of those that are put down from the end of stopped_ on
    std::vector<End> ends_;          // of each request
    std::size_t edges_;
    std::size_t stride_;              // from the costs of one request to those of the next; 0 where all have the same
    const double *costs_ = nullptr;   // of the requests that move together
    std::vector<double> path_costs_;  // by the node consulted last, where only one path leads to each; else empty
    std::vector<double> cost_;        // of each request; empty where paths have costs
    std::vector<float> best_signals_; // empty unless answers are compared by their signals
    std::vector<Switches> switches_;  // of each node; empty with recall, and where states have no standings
};

template <AnyRow Row> void run_all(const Policy &policy, const Recorded &recorded, const Replayed &result) {
    const std::size_t rows = recorded.signals.size() / static_cast<std::size_t>(policy.nodes());
    WalkRunner<Row> runner(policy, recorded, result);
    for (std::size_t begin = 0; begin < rows; begin += runner.most()) {
        runner.run(begin, std::min(runner.most(), rows - begin));
    }
}

} // namespace

void replay_walk(const Policy &policy, const Recorded &recorded, const Replayed &result) {
    policy.has_standings() ? run_all<StandingRow>(policy, recorded, result)
                           : run_all<RankRow>(policy, recorded, result);
}

} // namespace ttamer
