#include "ttamer/replay_walk.hpp"

#include "ttamer/dispatch.hpp"
#include "ttamer/lookup.hpp"
#include "ttamer/passing.hpp"
#include "ttamer/row_block.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>

namespace ttamer {

namespace {

// How many requests move together, by the signals they have. The more there are, the fewer times the tables of all
// nodes come into the first-level cache; the signals should stay in the second.
constexpr std::size_t kSignals = std::size_t{1} << 15;
constexpr std::size_t kFewestRequests = 1024;
constexpr std::size_t kMostRequests = 4096;

// Asked for with each block that is consulted; signals of a cache line.
constexpr std::size_t kLinesAhead = 16;
constexpr std::size_t kLine = 64 / sizeof(float);

// Rows say which request they are in place of where they stand: all rows that wait for a node stand there.
static_assert(kMostRequests <= kPositionBits + 1);

template <AnyRow Row> std::size_t request_of(Row row) {
    return static_cast<std::size_t>(row & Row{kPositionBits});
}

// A node of a policy without recall: signals whose keys are below the first of `keys` stop or go on, as `lowest` says,
// those from there to the second do the other, and so on.
struct Turns {
    std::vector<std::uint32_t> keys;
    StandingEntry lowest;
};

// As many comparisons as cost less than looking a state up; mostly there is one.
constexpr std::size_t kMostTurns = 16;

Turns turns_of(const Policy &policy, std::int32_t node) {
    const auto *entries = policy.entries<StandingEntry>(node);
    const auto edges = policy.edges_of(node);
    const auto action = [&](std::size_t state) {
        return (entries[state] >> 16) < (entries[state] & 0xFFFF) ? kStops : kGoesOn;
    };
    Turns turns{{}, action(0)};
    for (std::size_t state = 1; state <= edges.size() && turns.keys.size() <= kMostTurns; ++state) {
        if (action(state) != action(state - 1)) {
            turns.keys.push_back(order_key(edges[state - 1]));
        }
    }
    return turns;
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
// has a queue of the rows that wait for it, which lie side by side when they are consulted. Where all that go on from a
// node go to one that nothing else leads to, the two have one queue: rows that stop leave it, and the others close up.
template <AnyRow Row> class WalkRunner {
  public:
    WalkRunner(const Policy &policy, const Recorded &recorded, const Replayed &result)
        : policy_(policy), recorded_(recorded), result_(result), nodes_(static_cast<std::size_t>(policy.nodes())),
          counts_(nodes_), stopped_(requests()), path_costs_(costs_of_paths(policy, recorded.costs)),
          cost_(path_costs_.empty() ? requests() : 0), best_signals_(policy.compares_signals() ? requests() : 0) {
        lay_out_queues();
        for (std::int32_t node = 0; node < policy.nodes() && policy.has_standings() && !policy.tables().recall;
             ++node) {
            turns_.push_back(turns_of(policy, node));
        }
    }

    // Of one run, at most.
    std::size_t requests() const { return std::clamp(kSignals / nodes_, kFewestRequests, kMostRequests); }

    void run(std::size_t begin, std::size_t count) {
        const std::int32_t first = policy_.tables().first_node;
        std::fill(counts_.begin(), counts_.end(), std::size_t{0});
        std::fill(best_signals_.begin(), best_signals_.end(), std::numeric_limits<float>::infinity());
        std::fill(cost_.begin(), cost_.end(), 0.0);
        for (std::size_t k = 0; k < count; ++k) {
            queue_of(first)[k] = kFresh<Row> | static_cast<Row>(k);
        }
        count_of(first) = count;
        const auto ahead = recorded_.signals.subspan((begin + count) * nodes_);
        ahead_ = ahead.first(std::min(requests() * nodes_, ahead.size()));
        pay({queue_of(first), count}, kRoot, first);
        for (const auto node : policy_.topology().order()) {
            for (std::size_t k = 0; k < count_of(node); k += kBlock) {
                consult(node, begin, queue_of(node) + k, std::min(kBlock, count_of(node) - k));
            }
        }
        write(begin, count);
    }

  private:
    void lay_out_queues() {
        queues_.resize(nodes_);
        std::size_t queues = 0;
        for (const auto node : policy_.topology().order()) {
            const std::int32_t previous = policy_.only_previous(node);
            const bool shares = previous >= 0 && policy_.only_next(previous) == node;
            queues_[static_cast<std::size_t>(node)] = shares ? queues_[static_cast<std::size_t>(previous)] : queues++;
        }
        rows_.resize(queues * requests());
    }

    Row *queue_of(std::int32_t node) { return rows_.data() + queues_[static_cast<std::size_t>(node)] * requests(); }
    std::size_t &count_of(std::int32_t node) { return counts_[static_cast<std::size_t>(node)]; }

    // Where each has costs of its own.
    void pay(std::span<const Row> rows, std::int32_t node, std::int32_t next) {
        if (cost_.empty()) {
            return;
        }
        const double cost = recorded_.costs[static_cast<std::size_t>(policy_.edge_between(node, next))];
        for (const Row row : rows) {
            cost_[request_of(row)] += cost;
        }
    }

    // Some of the signals of the next requests: by the time of their turn they are in the second-level cache.
    void fetch_ahead() {
        for (std::size_t k = 0; k < kLinesAhead && !ahead_.empty(); ++k) {
            TTAMER_PREFETCH(ahead_.data());
            ahead_ = ahead_.subspan(std::min(kLine, ahead_.size()));
        }
    }

    void consult(std::int32_t node, std::size_t begin, Row *rows, std::size_t count) {
        fetch_ahead();
        std::array<float, kBlock> taken;
        take_column(recorded_.signals.data() + begin * nodes_ + static_cast<std::size_t>(node), nodes_, rows, count,
                    taken.data());
        const std::span<const float> signals(taken.data(), count);
        if constexpr (std::same_as<Row, StandingRow>) {
            if (policy_.only_next(node) != Policy::kSeveral) {
                consult_and_part(node, rows, signals);
                return;
            }
        }
        consult_each(node, rows, signals);
    }

    // All that go on go to one node.
    void consult_and_part(std::int32_t node, const Row *rows, std::span<const float> signals) {
        std::array<StandingEntry, kBlock> found;
        std::array<Row, kBlock> stopped;
        std::array<Row, kBlock> unused;
        find(node, signals, found.data());
        Row *queue = policy_.only_next(node) == kStop ? unused.data() : end_of_queue(policy_.only_next(node));
        const std::size_t going = pass_(rows, found.data(), signals.size(), queue, stopped.data() + stopped.size());
        finish(node, std::span<const Row>(stopped).last(signals.size() - going));
        wait(node, policy_.only_next(node), going);
    }

    void find(std::int32_t node, std::span<const float> signals, StandingEntry *found) const {
        if (!turns_.empty()) {
            const auto &[keys, lowest] = turns_[static_cast<std::size_t>(node)];
            if (keys.size() <= kMostTurns) {
                find_turns(keys, lowest, signals.data(), signals.size(), policy_.worst_key(node), found);
                return;
            }
        }
        find_entries(policy_.at(node).lookup, policy_.entries<StandingEntry>(node), signals.data(), signals.size(),
                     policy_.worst_key(node), found);
    }

    void consult_each(std::int32_t node, Row *rows, std::span<const float> signals) {
        std::array<Row, kBlock> before;
        std::array<float, kBlock> best;
        std::array<std::int32_t, kBlock> next;
        const std::size_t count = signals.size();
        std::copy_n(rows, count, before.begin());
        if (!best_signals_.empty()) {
            take_column(best_signals_.data(), 1, rows, count, best.data());
        }
        consult_block(policy_, node, rows, best.data(), signals, next.data());
        for (std::size_t k = 0; k < count; ++k) {
            rows[k] = choose(Row{kPositionBits}, before[k], rows[k]);
        }
        for (std::size_t k = 0; k < count && !best_signals_.empty(); ++k) {
            best_signals_[request_of(rows[k])] = best[k];
        }
        policy_.only_next(node) >= 0 ? part(node, rows, next.data(), count) : send_each(node, rows, next.data(), count);
    }

    // Where those that go on go to one node: without a branch on what a row does, which data would mispredict.
    void part(std::int32_t node, const Row *rows, const std::int32_t *next, std::size_t count) {
        std::array<Row, kBlock> stopped;
        Row *queue = end_of_queue(policy_.only_next(node));
        std::size_t going = 0;
        for (std::size_t k = 0; k < count; ++k) {
            const Row row = rows[k];
            queue[going] = row;
            stopped[k - going] = row;
            going += next[k] == kStop ? 0 : 1;
        }
        finish(node, {stopped.data(), count - going});
        wait(node, policy_.only_next(node), going);
    }

    void send_each(std::int32_t node, const Row *rows, const std::int32_t *next, std::size_t count) {
        for (std::size_t k = 0; k < count; ++k) {
            if (next[k] == kStop) {
                finish(node, {rows + k, 1});
            } else {
                *end_of_queue(next[k]) = rows[k];
                wait(node, next[k], 1);
            }
        }
    }

    Row *end_of_queue(std::int32_t node) { return queue_of(node) + count_of(node); }

    // So many more rows, which stand at the end of the queue of `next`, wait there after `node`.
    void wait(std::int32_t node, std::int32_t next, std::size_t count) {
        if (count > 0) {
            pay({end_of_queue(next), count}, node, next);
            count_of(next) += count;
        }
    }

    // A stopped row in 4 bytes: who answers, in the upper half as rows have it, and the node consulted last.
    void finish(std::int32_t node, std::span<const Row> rows) {
        for (const Row row : rows) {
            stopped_[request_of(row)] = static_cast<std::uint32_t>(with_position(row, node));
        }
    }

    std::int32_t answer(std::uint32_t stopped) const {
        if constexpr (std::same_as<Row, StandingRow>) {
            return policy_.standing(stopped >> 16).node;
        }
        return static_cast<std::int32_t>(stopped >> 16) - 1;
    }

    // Requests stop out of order. In order, results and losses stream to and from memory.
    void write(std::size_t begin, std::size_t count) {
        for (std::size_t k = 0; k < count; ++k) {
            result_.last_node[begin + k] = static_cast<std::int32_t>(stopped_[k] & kPositionBits);
        }
        for (std::size_t k = 0; k < count; ++k) { // without recall the last answers
            result_.answer_node[begin + k] =
                policy_.tables().recall ? answer(stopped_[k]) : result_.last_node[begin + k];
        }
        for (std::size_t k = 0; k < count; ++k) {
            result_.cost[begin + k] = path_costs_.empty() ? cost_[k] : path_costs_[stopped_[k] & kPositionBits];
        }
    }

    const Policy &policy_;
    const Recorded &recorded_;
    const Replayed &result_;
    const Pass pass_ = all_passes().front();
    std::span<const float> ahead_; // signals of the next run that are not yet asked for
    std::size_t nodes_;
    std::vector<std::size_t> queues_;    // of each node
    std::vector<Row> rows_;              // (queues, requests): who waits in each
    std::vector<std::size_t> counts_;    // of those who wait for each node
    std::vector<std::uint32_t> stopped_; // of each request
    std::vector<double> path_costs_;     // by the node consulted last, where only one path leads to each; else empty
    std::vector<double> cost_;           // of each request; empty where paths have costs
    std::vector<float> best_signals_;    // empty unless answers are compared by their signals
    std::vector<Turns> turns_;           // of each node; empty with recall, and where states have no standings
};

template <AnyRow Row> void run_all(const Policy &policy, const Recorded &recorded, const Replayed &result) {
    const std::size_t rows = recorded.signals.size() / static_cast<std::size_t>(policy.nodes());
    WalkRunner<Row> runner(policy, recorded, result);
    for (std::size_t begin = 0; begin < rows; begin += runner.requests()) {
        runner.run(begin, std::min(runner.requests(), rows - begin));
    }
}

} // namespace

void replay_walk(const Policy &policy, const Recorded &recorded, const Replayed &result) {
    policy.has_standings() ? run_all<StandingRow>(policy, recorded, result)
                           : run_all<RankRow>(policy, recorded, result);
}

} // namespace ttamer
