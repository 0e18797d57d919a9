// Soft state aggregation of a transition.
#include "ttamer/model/transition.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace ttamer {

namespace {

std::vector<std::size_t> in_order_of(const std::vector<double> &values) {
    std::vector<std::size_t> order(values.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return values[a] < values[b]; });
    return order;
}

} // namespace

Transition Transition::aggregated(const Transition &exact, const std::vector<double> &losses, std::size_t states) {
    if (states >= exact.rows()) {
        return exact;
    }
    const auto ahead = exact.times(losses);
    const auto order = in_order_of(ahead);
    std::vector<double> rows(states * exact.columns());
    std::vector<double> centres(states);
    for (std::size_t z = 0; z < states; ++z) {
        const std::size_t begin = z * exact.rows() / states;
        const std::size_t end = (z + 1) * exact.rows() / states;
        const double part = 1.0 / static_cast<double>(end - begin);
        for (std::size_t k = begin; k < end; ++k) {
            exact.add_row(order[k], part, rows.data() + z * exact.columns());
            centres[z] += part * ahead[order[k]];
        }
    }
    Transition made(exact.rows(), exact.columns());
    made.meta_ = std::make_shared<const Transition>(dense(states, exact.columns(), std::move(rows)));
    for (std::size_t s = 0; s < exact.rows(); ++s) {
        const auto above =
            static_cast<std::size_t>(std::upper_bound(centres.begin(), centres.end(), ahead[s]) - centres.begin());
        if (above == 0 || above == states) {
            made.memberships_.push_back({above == 0 ? 0 : above - 1, 0.0});
        } else {
            const double width = centres[above] - centres[above - 1];
            made.memberships_.push_back({above - 1, (ahead[s] - centres[above - 1]) / width});
        }
    }
    return made;
}

} // namespace ttamer
