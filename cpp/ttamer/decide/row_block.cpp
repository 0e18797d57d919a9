#include "ttamer/decide/row_block.hpp"

#include "ttamer/decide/kernels.hpp"
#include "ttamer/decide/lookup.hpp"
#include "ttamer/decide/node_fields.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace ttamer {

std::int32_t state_of(const Policy &policy, std::int32_t node, float signal) {
    const NodeTables &tables = policy.at(node);
    return tables.lookup.state(std::isnan(signal) ? tables.worst_key : order_key(signal));
}

namespace {

// `nodes` and `onward` are one number for all rows or a pointer to one each.
template <typename Node>
void consult_found(const Policy & /*policy*/, Node nodes, Node onward, const StandingEntry *found, StandingRow *rows,
                   float * /*best_signals*/, std::span<const float> signals, std::int32_t *next) {
    update(rows, found, signals.size(), nodes, onward, next);
}

template <typename Node>
void consult_found(const Policy &policy, Node nodes, Node onward, const RankEntry *found, RankRow *rows,
                   float *best_signals, std::span<const float> signals, std::int32_t *next) {
    if (policy.compares_signals()) {
        update_observed(rows, best_signals, found, signals.data(), signals.size(), nodes, onward, next);
    } else {
        update(rows, found, signals.size(), nodes, policy.tables().recall, onward, next);
    }
}

// The state that was found for a row.
std::int32_t state_found(const Policy &policy, std::int32_t node, StandingEntry found, float /*signal*/) {
    return policy.state_of_standing(node, found >> 16);
}
std::int32_t state_found(const Policy &policy, std::int32_t node, RankEntry /*found*/, float signal) {
    return state_of(policy, node, signal);
}

// What `settle` does, without a branch on what a row does.
template <bool kTiers>
void settle_all(const Policy &policy, std::int32_t node, const NextNodes &next_nodes, const std::int32_t *tiers,
                const StandingEntry *found, StandingRow *rows, std::size_t count, std::int32_t *next) {
    const std::int32_t states = policy.states(node);
    for (std::size_t k = 0; k < count; ++k) {
        const std::int32_t before = kTiers ? tiers[k] * states : 0;
        const auto state = static_cast<std::size_t>(before + policy.state_of_standing(node, found[k] >> 16));
        const auto goes_on = mask_of<std::int32_t>(next[k] == Policy::kSeveral);
        next[k] = choose(goes_on, next_nodes.next(state, rows[k] >> 16), kStop);
        const auto stops = mask_of<std::int32_t>(next[k] == kStop);
        rows[k] = with_position(rows[k], choose(stops, kStoppedPosition, node + 1));
    }
}

} // namespace

template <AnyRow Row>
void consult_block(const Policy &policy, std::int32_t node, Row *rows, float *best_signals, const std::int32_t *tiers,
                   std::span<const float> signals, std::int32_t *next) {
    std::array<Row, kBlock> found; // entries are of the type of the rows
    const std::size_t count = signals.size();
    find_entries(policy.at(node).lookup, policy.entries<Row>(node), {tiers, policy.tier_entries()}, signals.data(),
                 count, policy.worst_key(node), found.data());
    const std::int32_t onward = policy.only_next(node);
    consult_found(policy, node, onward, found.data(), rows, best_signals, signals, next);
    if (onward != Policy::kSeveral) {
        return;
    }
    if constexpr (std::same_as<Row, StandingRow>) {
        if (const NextNodes *next_nodes = policy.next_nodes(node)) {
            const auto settle_each = tiers == nullptr ? settle_all<false> : settle_all<true>;
            settle_each(policy, node, *next_nodes, tiers, found.data(), rows, count, next);
            return;
        }
    }
    for (std::size_t k = 0; k < count; ++k) {
        if (next[k] == Policy::kSeveral) {
            next[k] = settle(policy.of_row(tiers, k), node, state_found(policy, node, found[k], signals[k]), rows[k]);
        }
    }
}

template <AnyRow Row>
void consult_block(const Policy &policy, const std::int32_t *nodes, Row *rows, float *best_signals,
                   const std::int32_t *tiers, std::span<const float> signals, std::int32_t *next) {
    std::array<Row, kBlock> found;
    std::array<std::int32_t, kBlock> at{}; // a copy: `nodes` may be what `next` overwrites
    BlockFields fields;
    const std::size_t count = signals.size();
    const JointTables tables = policy.joint_tables();
    std::copy_n(nodes, count, at.begin());
    node_field_kernels(tables).front().read(tables, at.data(), count, fields);
    find_entries(tables, policy.all_entries<Row>().data(), {tiers, policy.tier_entries()}, at.data(), fields,
                 signals.data(), count, found.data());
    const auto *onward = reinterpret_cast<const std::int32_t *>(fields.only_next.data());
    consult_found(policy, static_cast<const std::int32_t *>(at.data()), onward, found.data(), rows, best_signals,
                  signals, next);
    for (std::size_t k = 0; k < count && policy.any_several(); ++k) {
        if (next[k] == Policy::kSeveral) {
            next[k] = settle(policy.of_row(tiers, k), at[k], state_found(policy, at[k], found[k], signals[k]), rows[k]);
        }
    }
}

template void consult_block(const Policy &, std::int32_t, StandingRow *, float *, const std::int32_t *,
                            std::span<const float>, std::int32_t *);
template void consult_block(const Policy &, std::int32_t, RankRow *, float *, const std::int32_t *,
                            std::span<const float>, std::int32_t *);
template void consult_block(const Policy &, const std::int32_t *, StandingRow *, float *, const std::int32_t *,
                            std::span<const float>, std::int32_t *);
template void consult_block(const Policy &, const std::int32_t *, RankRow *, float *, const std::int32_t *,
                            std::span<const float>, std::int32_t *);

} // namespace ttamer
