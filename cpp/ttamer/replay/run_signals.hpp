// The signals of requests that move through a policy's nodes together, a node at a time.
#pragma once

#include "ttamer/policy/row_state.hpp"

#include <array>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

namespace ttamer {

// The signals of one node: that of request k of the run stands at k * stride.
struct SignalColumn {
    const float *first;
    std::size_t stride;

    // taken[k] is that of the request that rows[k] names in its kPositionBits.
    void take(const StandingRow *rows, std::size_t count, float *taken) const;
    void take(const RankRow *rows, std::size_t count, float *taken) const;
};

// Recorded signals lie request by request. Requests that wait for one node would each bring a cache line for a single
// number, and again for the next node. So columns of some nodes side by side, a tile, are turned to lie node by node,
// unless few wait; then, and where there are fewer nodes than a tile has, signals are taken from where they lie.
class RunSignals {
  public:
    // signals: (requests, nodes); at most `most` requests a run.
    RunSignals(std::span<const float> signals, std::size_t nodes, std::size_t most);

    // The run has the requests from `begin` on.
    void start(std::size_t begin, std::size_t count);

    // Of a node that so many of the run's requests wait for. Holds until the next call of this or of `start`.
    SignalColumn column(std::size_t node, std::size_t waiting);

    // Asks for some of the signals of the next run: by the time of their turn they are in the second-level cache.
    void fetch_ahead();

    static constexpr std::size_t kTile = 4; // nodes: one load for each request

  private:
    static constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

    struct Turned {
        std::size_t tile = kNone;   // its first node
        std::vector<float> columns; // (kTile, most)
    };

    std::span<const float> signals_;
    std::span<const float> ahead_; // of the next run, and not yet asked for
    std::size_t nodes_;
    std::size_t most_;
    std::size_t begin_ = 0;
    std::size_t count_ = 0;
    std::array<Turned, 2> turned_; // two, as where paths part their nodes mostly take turns
    std::size_t last_ = 0;         // of those, the one used last
};

} // namespace ttamer
