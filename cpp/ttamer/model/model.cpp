#include "ttamer/model/model.hpp"

#include "ttamer/base/levels.hpp"
#include "ttamer/base/signal_nodes.hpp"
#include "ttamer/base/text.hpp"

#include <cmath>
#include <numeric>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>

namespace ttamer {

namespace {

void require(bool holds, const std::string &message) {
    if (!holds) {
        throw std::invalid_argument(message);
    }
}

std::string shortest(double value) {
    std::ostringstream text; // 0.5, where to_string says 0.500000
    text << value;
    return text.str();
}

bool finite_and_not_negative(const std::vector<double> &values) {
    for (const double value : values) {
        if (!(value >= 0) || std::isinf(value)) {
            return false;
        }
    }
    return true;
}

bool increasing(const std::vector<float> &edges) {
    for (std::size_t k = 0; k < edges.size(); ++k) {
        if (!std::isfinite(edges[k]) || (k > 0 && !(edges[k - 1] < edges[k]))) {
            return false;
        }
    }
    return true;
}

// Of a node: finite, or infinite in every state.
void check_losses(const std::vector<double> &losses, const std::string &name) {
    require(!losses.empty(), name + "expected at least one state");
    for (std::size_t s = 0; s < losses.size(); ++s) {
        const bool is_loss = losses[s] >= 0;
        if (!is_loss || std::isinf(losses[s]) != std::isinf(losses[0])) {
            const auto in_state = [&](std::size_t state) {
                return shortest(losses[state]) + " in state " + text(state);
            };
            throw std::invalid_argument(name + "expected finite values >= 0, or inf in every state (a probe), got " +
                                        (is_loss ? in_state(0) + " and " : "") + in_state(s));
        }
    }
}

// One is enough: every node can be reached, and optimal requests keep away from where none can answer.
void check_answers(const Model &model) {
    bool can_answer = false;
    for (std::int32_t j = 0; j < model.topology.nodes(); ++j) {
        can_answer = can_answer || !model.is_probe(j);
    }
    require(can_answer, "losses: no node can answer, that of node 0 is inf like all others");
}

void validate(const Model &model) {
    const auto nodes = static_cast<std::size_t>(model.topology.nodes());
    const auto &edges = model.topology.edges();
    const auto per = [](std::size_t expected, const char *what, std::size_t got) {
        return "expected one for each of the " + std::to_string(expected) + " " + what + ", got " + std::to_string(got);
    };
    require(model.losses.size() == nodes, "losses: " + per(nodes, "nodes", model.losses.size()));
    require(model.bin_edges.size() == nodes, "bin_edges: " + per(nodes, "nodes", model.bin_edges.size()));
    require(model.costs.size() == edges.size(), "costs: " + per(edges.size(), "edges", model.costs.size()));
    require(model.transitions.size() == edges.size(),
            "transitions: " + per(edges.size(), "edges", model.transitions.size()));
    require(finite_and_not_negative(model.costs), "costs: expected finite values >= 0");
    require(std::isfinite(model.cost_scale) && model.cost_scale > 0,
            "cost_scale: expected a finite number > 0, got " + shortest(model.cost_scale));
    for (std::size_t j = 0; j < nodes; ++j) {
        const auto name = "[" + std::to_string(j) + "]: ";
        check_losses(model.losses[j], "losses" + name);
        require(model.bin_edges[j].size() + 1 == model.losses[j].size(),
                "bin_edges" + name + "expected " + std::to_string(model.losses[j].size() - 1) + " edges for " +
                    std::to_string(model.losses[j].size()) + " states, got " +
                    std::to_string(model.bin_edges[j].size()));
        require(increasing(model.bin_edges[j]), "bin_edges" + name + "expected finite, strictly increasing values");
    }
    check_answers(model);
    check_signal_nodes(model.topology, model.signal_nodes, model.observed, [&](std::int32_t j) {
        return std::span<const float>(model.bin_edges[static_cast<std::size_t>(j)]);
    });
    require(model.state_costs.size() == edges.size(),
            "state_costs: " + per(edges.size(), "edges", model.state_costs.size()));
    for (std::size_t e = 0; e < edges.size(); ++e) {
        const auto rows = edges[e].from == kRoot ? 1 : model.states(edges[e].from);
        const auto &costs = model.state_costs[e];
        require(costs.size() == 1 || costs.size() == rows,
                "costs[" + std::to_string(e) + "]: expected a number, or one for each of the " + std::to_string(rows) +
                    " states of node " + std::to_string(edges[e].from) + ", got " + std::to_string(costs.size()));
        require(finite_and_not_negative(costs), "costs: expected finite values >= 0");
        const auto columns = model.states(edges[e].to);
        const auto &given = model.transitions[e];
        require((given.rows() == rows || given.rows() == 1) && given.columns() == columns,
                "transitions[" + std::to_string(e) + "]: expected (" + std::to_string(rows) + " or 1, " +
                    std::to_string(columns) + ") for edge " + std::to_string(edges[e].from) + " -> " +
                    std::to_string(edges[e].to) + ", got (" + std::to_string(given.rows()) + ", " +
                    std::to_string(given.columns()) + ")");
    }
}

} // namespace

void prepare(Model &model) {
    if (model.signal_nodes.empty()) {
        model.signal_nodes.resize(static_cast<std::size_t>(model.topology.nodes()));
        std::iota(model.signal_nodes.begin(), model.signal_nodes.end(), 0);
    }
    if (model.state_costs.empty()) {
        for (const double cost : model.costs) {
            model.state_costs.push_back({cost});
        }
    }
    validate(model);
    model.levels = attainable_levels(model.losses);
    model.ranks.clear();
    for (const auto &row : model.losses) {
        model.ranks.emplace_back();
        for (const double loss : row) {
            model.ranks.back().push_back(rank_of(model.levels, loss));
        }
    }
    const std::vector<std::span<const float>> edges(model.bin_edges.begin(), model.bin_edges.end());
    model.quantisers = std::make_shared<const Quantisers>(edges);
}

} // namespace ttamer
