// Policies of one front side by side: one to a batch, each row of which has its own.
#include "ttamer/policy/policy.hpp"

#include "ttamer/base/text.hpp"

#include <stdexcept>
#include <utility>

namespace ttamer {

namespace {

const Policy &first_of(const std::vector<std::shared_ptr<const Policy>> &tiers) {
    if (tiers.empty()) {
        throw std::invalid_argument("points: expected at least one, got none");
    }
    return *tiers.front();
}

template <typename T> void append(std::vector<T> &to, const std::vector<T> &values) {
    to.insert(to.end(), values.begin(), values.end());
}

} // namespace

// Standings go by ranks, which tiers share: only bounds differ between their entries.
Policy::Policy(std::vector<std::shared_ptr<const Policy>> tiers) : Policy(first_of(tiers)) {
    tiers_ = std::move(tiers);
    standing_entries_.clear();
    rank_entries_.clear();
    for (std::size_t number = 0; number < tiers_.size(); ++number) {
        check_tier(number);
        append(standing_entries_, tiers_[number]->standing_entries_);
        append(rank_entries_, tiers_[number]->rank_entries_);
    }
    several_ = false;
    for (std::int32_t node = 0; node < nodes(); ++node) {
        std::int32_t &only = node_tables_[static_cast<std::size_t>(node)].only_next;
        only = next_of_tiers(node);
        several_ = several_ || only == kSeveral;
    }
    build_columns();
    if (has_standings()) {
        build_next_nodes();
    }
}

// Ranks of forests are also those of indices, which are each policy's own: there rows are decided one by one.
void Policy::check_tier(std::size_t number) const {
    const PolicyTables &first = tables_;
    const PolicyTables &own = tiers_[number]->tables_;
    const auto require = [number](bool same, const char *what) {
        if (!same) {
            throw std::invalid_argument("points[" + text(number) +
                                        "]: expected a policy of the first one's model, got another " + what);
        }
    };
    require(own.topology == first.topology, "topology");
    require(own.recall == first.recall, "recall");
    require(own.observed == first.observed, "kind of losses");
    require(own.state_offsets == first.state_offsets && own.bin_edges == first.bin_edges, "list of bin edges");
    require(own.signal_nodes == first.signal_nodes, "list of signal nodes");
    require(is_forest() || (own.levels == first.levels && own.ranks == first.ranks), "list of losses");
}

// Where every state of every tier that goes on goes to.
std::int32_t Policy::next_of_tiers(std::int32_t node) const {
    std::int32_t only = kStop;
    for (const auto &tier : tiers_) {
        const std::int32_t own = tier->only_next(node);
        if (own != kStop && only != kStop && own != only) {
            return kSeveral;
        }
        only = own == kStop ? only : own;
    }
    return only;
}

} // namespace ttamer
