// From a solved walk to the tables of a policy.
#include "ttamer/solve.hpp"

#include <cmath>
#include <cstddef>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace ttamer {

std::vector<double> weigh_costs(const Model &model, double tradeoff) {
    if (!(tradeoff > 0 && tradeoff <= 1)) {
        std::ostringstream text; // shorter than to_string: 1.5, not 1.500000
        text << "tradeoff: expected a number in (0, 1], got " << tradeoff;
        throw std::invalid_argument(text.str());
    }
    const double weight = (1 - tradeoff) / tradeoff / model.cost_scale;
    std::vector<double> weighted = model.costs;
    for (auto &cost : weighted) {
        cost *= weight;
        if (!std::isfinite(cost)) {
            std::ostringstream text;
            text << "tradeoff: " << tradeoff << " with costs divided by " << model.cost_scale
                 << " weighs costs infinitely more than losses";
            throw std::invalid_argument(text.str());
        }
    }
    return weighted;
}

Policy solve(const Model &model, double tradeoff, bool recall) {
    auto solved = solve_walk(model, weigh_costs(model, tradeoff), recall);
    PolicyTables tables{.topology = model.topology,
                        .recall = recall,
                        .observed = model.observed,
                        .tradeoff = tradeoff,
                        .value = tradeoff * solved.value,
                        .cost_scale = model.cost_scale,
                        .first_node = solved.first_node,
                        .costs = model.costs,
                        .levels = model.levels,
                        .state_offsets = {0},
                        .bin_edges = {},
                        .ranks = {},
                        .interval_offsets = {0},
                        .interval_upper = {},
                        .interval_next = {}};
    for (std::size_t j = 0; j < model.losses.size(); ++j) {
        tables.bin_edges.insert(tables.bin_edges.end(), model.bin_edges[j].begin(), model.bin_edges[j].end());
        tables.ranks.insert(tables.ranks.end(), model.ranks[j].begin(), model.ranks[j].end());
        tables.state_offsets.push_back(static_cast<std::int32_t>(tables.ranks.size()));
        const auto before = static_cast<std::int32_t>(tables.interval_upper.size());
        for (const auto &interval : solved.intervals[j].intervals) {
            tables.interval_upper.push_back(interval.upper);
            tables.interval_next.push_back(interval.next);
        }
        for (const auto end : solved.intervals[j].ends) {
            tables.interval_offsets.push_back(before + static_cast<std::int32_t>(end));
        }
    }
    return Policy(std::move(tables), model.quantisers);
}

} // namespace ttamer
