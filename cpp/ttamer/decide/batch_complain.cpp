// What is wrong with a call to a batch, in words. Its rows are as they were before the call.
#include "ttamer/decide/batch.hpp"

#include "ttamer/base/text.hpp"

#include <cmath>
#include <set>
#include <stdexcept>
#include <string>

namespace ttamer {

void Batch::complain_nodes(std::span<const std::int32_t> nodes) const {
    for (std::size_t k = 0;; ++k) {
        if (nodes[k] < 0 || nodes[k] >= policy_->nodes()) {
            throw std::out_of_range("node: expected 0 to " + text(policy_->nodes() - 1) + ", got " + text(nodes[k]) +
                                    " at position " + text(k));
        }
    }
}

void Batch::complain_tiers(std::span<const std::int64_t> tiers) const {
    for (std::size_t k = 0;; ++k) {
        if (tiers[k] < 0 || static_cast<std::uint64_t>(tiers[k]) >= policy_->tiers()) {
            throw std::out_of_range("places: expected 0 to " + text(policy_->tiers() - 1) + ", got " + text(tiers[k]) +
                                    " at position " + text(k));
        }
    }
}

void Batch::check_entered(std::size_t row) const {
    if (!tiers_.empty() && tiers_[row] == kNoTier) {
        throw std::invalid_argument("rows: row " + text(row) + " has no policy; enter it first");
    }
}

void Batch::complain_range(const Rows &rows) const {
    for (std::size_t k = 0;; ++k) {
        const std::int64_t row = rows.narrow.empty() ? rows.wide[k] : rows.narrow[k];
        if (row < 0 || row >= static_cast<std::int64_t>(capacity())) {
            throw std::out_of_range("rows: expected 0 to " + text(static_cast<std::int64_t>(capacity()) - 1) +
                                    ", got " + text(row) + " at position " + text(k));
        }
    }
}

void Batch::complain_repeated(const Rows &rows) const {
    std::set<std::size_t> before;
    for (std::size_t k = 0;; ++k) {
        if (!before.insert(rows.at(k)).second) {
            throw std::invalid_argument("rows: row " + text(rows.at(k)) + " is repeated at position " + text(k));
        }
    }
}

// A row that is not there, or named twice, or the first that may not consult its node, or the first NaN.
void Batch::refuse(const Call &call) {
    check_rows(call.rows);
    const bool distinct = mark(call.rows);
    give_back(call.rows);
    if (!distinct) {
        complain_repeated(call.rows);
    }
    for (std::size_t k = 0;; ++k) {
        if (!is_open(call.rows.at(k), call.nodes.at(k))) {
            complain_closed(call, k);
        }
        if (nan_ == NanSignal::error && std::isnan(call.signals[k])) {
            throw std::invalid_argument(
                "signals: NaN at position " + text(k) + " (row " + text(call.rows.at(k)) +
                R"(); start the batch with nan="failed" for nodes that may fail, or nan="worst")");
        }
    }
}

void Batch::complain_resumed(const Rows &rows) const {
    for (std::size_t k = 0;; ++k) {
        if (!has_stopped(rows.at(k))) {
            throw std::invalid_argument("rows: row " + text(rows.at(k)) + " has not stopped");
        }
    }
}

void Batch::complain_closed(const Call &call, std::size_t k) const {
    const std::size_t row = call.rows.at(k);
    const auto which = "row " + text(row);
    check_entered(row);
    if (has_stopped(row)) {
        throw std::invalid_argument("rows: " + which +
                                    " has stopped; reset it before it takes a new request, or resume it");
    }
    std::string open;
    for (std::int32_t node = 0; node < policy_->nodes(); ++node) {
        if (is_open(row, node)) {
            open += (open.empty() ? "" : ", ") + text(node);
        }
    }
    const std::int32_t last = last_node(row);
    throw std::invalid_argument("node: " + text(call.nodes.at(k)) + " is not open to " + which + ", which consulted " +
                                (last == kRoot ? "nothing" : "node " + text(last)) +
                                " last; open: " + (open.empty() ? "none" : open));
}

} // namespace ttamer
