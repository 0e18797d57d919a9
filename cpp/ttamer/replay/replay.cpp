#include "ttamer/replay/replay.hpp"

#include "ttamer/decide/row_block.hpp"
#include "ttamer/policy/open_nodes.hpp"
#include "ttamer/replay/replay_walk.hpp"

#include <cstddef>
#include <vector>

namespace ttamer {

namespace {

// Forests: one request after the other, since each has open nodes of its own.
class ForestRunner {
  public:
    explicit ForestRunner(const Policy &policy) : policy_(policy), open_(static_cast<std::size_t>(policy.nodes())) {}

    // costs: of the edges, for this request.
    void run(const float *signals, const double *costs, std::int32_t &last, std::int32_t &answer, double &cost) {
        open_roots(policy_, open_.data());
        RankRow row = kFresh<RankRow>;
        float best_signal = kNoSignal;
        for (std::int32_t node = policy_.tables().first_node; node != kStop;) {
            cost += costs[policy_.topology().incoming_edge(node)];
            const std::int32_t state = state_of(policy_, node, signals[policy_.signal_node(node)]);
            last = node;
            consult_one(policy_, node, state, signals[node], row, best_signal);
            node = next_branch(policy_, node, state, rank_of(row), row, open_.data());
        }
        answer = answer_of(policy_, row);
    }

  private:
    const Policy &policy_;
    std::vector<std::int32_t> open_;
};

} // namespace

void replay(const Policy &policy, const Recorded &recorded, const Replayed &result) {
    const auto nodes = static_cast<std::size_t>(policy.nodes());
    const std::size_t rows = recorded.signals.size() / nodes;
    if (policy.is_forest()) {
        ForestRunner runner(policy);
        const std::size_t edges = policy.topology().edges().size();
        const std::size_t stride = recorded.costs.size() == edges ? 0 : edges;
        for (std::size_t row = 0; row < rows; ++row) {
            result.cost[row] = 0;
            runner.run(recorded.signals.data() + row * nodes, recorded.costs.data() + row * stride,
                       result.last_node[row], result.answer_node[row], result.cost[row]);
        }
    } else {
        replay_walk(policy, recorded, result);
    }
    for (std::size_t row = 0; row < result.loss.size(); ++row) {
        const auto answer = static_cast<std::size_t>(result.answer_node[row]);
        result.loss[row] = static_cast<double>(recorded.losses[row * nodes + answer]);
    }
}

} // namespace ttamer
