// From a solved walk to the tables of a policy.
#include "ttamer/solve.hpp"

#include "ttamer/levels.hpp"

#include <stdexcept>
#include <string>
#include <utility>

namespace ttamer {

namespace {

PolicyTables start_tables(const Model &model, double tradeoff, bool recall) {
    PolicyTables tables{model.topology,
                        recall,
                        model.observed,
                        tradeoff,
                        0,
                        model.cost_scale,
                        kStop,
                        model.costs,
                        {},
                        {0},
                        {},
                        {},
                        {0},
                        {},
                        {},
                        {},
                        {}};
    for (std::size_t j = 0; j < model.losses.size(); ++j) {
        tables.state_offsets.push_back(tables.state_offsets.back() + static_cast<std::int32_t>(model.losses[j].size()));
        tables.bin_edges.insert(tables.bin_edges.end(), model.bin_edges[j].begin(), model.bin_edges[j].end());
    }
    return tables;
}

void rank_states(const Model &model, PolicyTables &tables) {
    for (const auto &row : model.losses) {
        for (const double loss : row) {
            tables.ranks.push_back(rank_of(tables.levels, loss));
        }
    }
}

void end_state(PolicyTables &tables) {
    tables.interval_offsets.push_back(static_cast<std::int32_t>(tables.interval_upper.size()));
}

void add_interval(PolicyTables &tables, std::int32_t upper, std::int32_t next) {
    tables.interval_upper.push_back(upper);
    tables.interval_next.push_back(next);
}

// Stop up to the rank of the next node's index, then go on. X is at most the state's own rank.
void fill_from_index(const std::vector<std::vector<double>> &index, PolicyTables &tables) {
    const auto nodes = static_cast<std::size_t>(tables.topology.nodes());
    for (std::size_t j = 0; j < nodes; ++j) {
        const auto begin = static_cast<std::size_t>(tables.state_offsets[j]);
        const auto end = static_cast<std::size_t>(tables.state_offsets[j + 1]);
        for (auto s = begin; s < end; ++s) {
            const auto own = tables.ranks[s];
            auto upper = own;
            if (j + 1 < nodes) {
                upper = rank_of(tables.levels, index[j + 1].size() == 1 ? index[j + 1][0] : index[j + 1][s - begin]);
            }
            if (own <= upper) {
                add_interval(tables, own, kStop);
            } else {
                add_interval(tables, upper, kStop);
                add_interval(tables, own, static_cast<std::int32_t>(j) + 1);
            }
            end_state(tables);
        }
    }
}

// The best action by rank of X, from 0 to the state's own rank, equal neighbours merged.
void fill_from_induction(const Induction &solved, PolicyTables &tables) {
    const double tolerance = snap_tolerance(tables.levels);
    for (std::size_t j = 0; j < solved.best.size(); ++j) {
        const auto begin = static_cast<std::size_t>(tables.state_offsets[j]);
        const auto end = static_cast<std::size_t>(tables.state_offsets[j + 1]);
        for (auto s = begin; s < end; ++s) {
            const auto own = tables.ranks[s];
            for (auto rank = tables.recall ? 0 : own; rank <= own; ++rank) {
                const auto column = tables.recall ? static_cast<std::size_t>(rank) : 0;
                const bool stay =
                    tables.levels[static_cast<std::size_t>(rank)] <= solved.best[j].row(s - begin)[column] + tolerance;
                const auto next = stay ? kStop : solved.choice[j][(s - begin) * solved.best[j].columns + column];
                const bool first =
                    tables.interval_offsets.back() == static_cast<std::int32_t>(tables.interval_next.size());
                if (!first && tables.interval_next.back() == next) {
                    tables.interval_upper.back() = rank;
                } else {
                    add_interval(tables, rank, next);
                }
            }
            end_state(tables);
        }
    }
}

} // namespace

Policy solve(const Model &model, double tradeoff, bool recall) {
    if (!(tradeoff > 0 && tradeoff <= 1)) {
        throw std::invalid_argument("tradeoff: expected a number in (0, 1], got " + std::to_string(tradeoff));
    }
    const double weight = (1 - tradeoff) / tradeoff / model.cost_scale;
    std::vector<double> weighted = model.costs;
    for (auto &cost : weighted) {
        cost *= weight;
    }
    auto tables = start_tables(model, tradeoff, recall);
    tables.levels = attainable_levels(model.losses);
    if (recall && model.topology.shape() == Shape::line) {
        auto solved = solve_forest(model, weighted);
        snap(tables.levels, solved.index);
        tables.levels = merge_levels(tables.levels, solved.index);
        tables.value = tradeoff * solved.value;
        tables.first_node = 0;
        rank_states(model, tables);
        fill_from_index(solved.index, tables);
        tables.index_offsets.push_back(0);
        for (const auto &row : solved.index) {
            tables.index.insert(tables.index.end(), row.begin(), row.end());
            tables.index_offsets.push_back(static_cast<std::int32_t>(tables.index.size()));
        }
        return Policy(std::move(tables));
    }
    const auto solved = solve_walk(model, weighted, recall);
    tables.value = tradeoff * solved.value;
    tables.first_node = solved.first_node;
    rank_states(model, tables);
    fill_from_induction(solved, tables);
    return Policy(std::move(tables));
}

} // namespace ttamer
