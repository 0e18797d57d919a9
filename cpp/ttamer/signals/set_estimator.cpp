#include "ttamer/signals/set_estimator.hpp"

#include "ttamer/base/dispatch.hpp"
#include "ttamer/base/masks.hpp"
#include "ttamer/signals/tables.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <utility>

namespace ttamer {

namespace {

// Of classes below this, a table tells where among the node's each stands; others are searched for.
constexpr std::size_t kMostPlaces = 4096;

// The losses of so many targets are added up side by side.
constexpr std::size_t kLanes = 4;

// As a type: of a loop over lanes GCC makes one over the columns that are added, and sums get slower.
#ifdef TTAMER_VECTORS
using Lanes = double __attribute__((vector_size(kLanes * sizeof(double))));
#else
struct Lanes {
    std::array<double, kLanes> each;

    Lanes operator*(double value) const {
        Lanes product = *this;
        std::for_each(product.each.begin(), product.each.end(), [value](double &one) { one *= value; });
        return product;
    }
    void operator+=(const Lanes &other) {
        std::transform(each.begin(), each.end(), other.each.begin(), each.begin(), std::plus<>());
    }
};
#endif

} // namespace

SetEstimator::SetEstimator(SetTables tables) : tables_(std::move(tables)) {
    check(tables_);
    lay_out_inputs();
    lay_out_cells();
}

std::size_t SetEstimator::columns_of(std::span<const std::int32_t> nodes) const {
    std::size_t columns = 0;
    std::size_t agreeing = 0;
    for (const std::int32_t node : nodes) {
        const Shape &shape = shapes_[as_size(node)];
        columns += shape.columns + shape.classes * (shape.columns > 0 ? 2 : 1);
        columns += shape.agreeing ? agreeing++ : 0;
    }
    return columns;
}

void SetEstimator::lay_out_inputs() {
    const auto &t = tables_;
    std::size_t values = 0;
    for (std::size_t i = 0; i < inputs(); ++i) {
        const auto knots =
            std::span(t.knots).subspan(as_size(t.knot_offsets[i]), as_size(t.knot_offsets[i + 1] - t.knot_offsets[i]));
        const std::size_t missing = values + (knots.size() + 1) * as_size(t.columns[i]);
        inputs_.push_back({Quantiser(knots), static_cast<std::uint32_t>(t.columns[i]),
                           static_cast<std::uint32_t>(values), static_cast<std::uint32_t>(missing)});
        values = missing + as_size(t.columns[i]);
    }
    for (std::size_t node = 0; node < as_size(t.nodes); ++node) {
        const auto columns = part(t.columns, t.input_offsets, node);
        std::size_t sum = 0;
        std::for_each(columns.begin(), columns.end(), [&sum](std::int32_t each) { sum += as_size(each); });
        const auto telling = std::find_if(columns.begin(), columns.end(), [](auto each) { return each > 0; });
        const std::size_t input = as_size(t.input_offsets[node]);
        const auto classes = part(t.classes, t.class_offsets, node);
        const bool has_places = !classes.empty() && as_size(classes.back() + 1) < kMostPlaces;
        const std::size_t places = has_places ? as_size(classes.back()) + 2 : 0; // from -1, no answer, on
        shapes_.push_back({input, columns.size(), classes.size(), sum,
                           input + static_cast<std::size_t>(telling - columns.begin()), places_.size(), places,
                           t.agreeing[node] != 0});
        places_.resize(places_.size() + places, 0);
        for (std::size_t k = 0; has_places && k < classes.size(); ++k) {
            places_[shapes_.back().first_place + as_size(classes[k] + 1)] = static_cast<std::int32_t>(k + 1);
        }
    }
}

// From tables that are fine one by one.
void SetEstimator::lay_out_cells() {
    const auto &t = tables_;
    const double *coefficients = t.coefficients.data();
    std::size_t left = t.coefficients.size();
    for (std::size_t number = 0; number < t.answering.size(); ++number) {
        Cell cell{};
        cell.nodes = part(t.cell_nodes, t.cell_offsets, number);
        cell.targets = part(t.targets, t.target_offsets, number);
        cell.answering = as_size(t.answering[number]);
        cell.best = (cell.targets.size() + kLanes - 1) / kLanes * kLanes;
        const std::size_t width = 1 + columns_of(cell.nodes);
        require(cell.targets.size() <= left / width,
                "coefficients: expected an intercept and one weight a column for each cell and target");
        lay_out_weights(cell, coefficients, width);
        left -= cell.targets.size() * width;
        coefficients += cell.targets.size() * width;
        cell.root = t.tree_offsets[number];
        cell.leaves = (t.tree_offsets[number + 1] - cell.root + 1) / 2;
        cell.depth = lay_out_tree(number, cell);
        stride_ = std::max(stride_, cell.best + 1 + cell.targets.size() - cell.answering);
        cells_.push_back(std::move(cell));
    }
    require(left == 0, "coefficients: expected an intercept and one weight a column for each cell and target");
}

// Rows of kLanes targets, in the order of columns. Of indicators one row at most is added: one of zeros, which stands
// before them, where none is 1, so that no branch depends on a request.
void SetEstimator::lay_out_weights(Cell &cell, const double *coefficients, std::size_t width) const {
    for (std::size_t first = 0; first < cell.targets.size(); first += kLanes) {
        const std::size_t lanes = std::min(kLanes, cell.targets.size() - first);
        std::size_t column = 0;
        const auto add = [&](std::size_t zeros, std::size_t count) {
            cell.weights.resize(cell.weights.size() + zeros * kLanes, 0.0);
            for (const std::size_t end = column + count; column < end; ++column) {
                for (std::size_t lane = 0; lane < kLanes; ++lane) {
                    const bool is_target = lane < lanes;
                    cell.weights.push_back(is_target ? coefficients[(first + lane) * width + column] : 0.0);
                }
            }
        };
        add(0, 1);
        for (const std::int32_t node : cell.nodes) {
            const Shape &shape = shapes_[as_size(node)];
            add(0, shape.columns);
            for (int k = 0; k < (shape.columns > 0 ? 2 : 1) && shape.classes > 0; ++k) {
                add(1, shape.classes);
            }
        }
        while (column < width) {
            add(1, 1);
        }
    }
    std::vector<std::size_t> compared;
    for (const std::int32_t node : cell.nodes) {
        if (shapes_[as_size(node)].agreeing) {
            compared.push_back(as_size(node));
        }
    }
    for (std::size_t a = 0; a < compared.size(); ++a) {
        for (std::size_t b = a + 1; b < compared.size(); ++b) {
            cell.pairs.push_back({compared[a], compared[b]});
        }
    }
}

// The tree's depth.
std::size_t SetEstimator::lay_out_tree(std::size_t number, const Cell &cell) {
    const auto &t = tables_;
    const std::int32_t root = t.tree_offsets[number];
    const std::size_t others = cell.targets.size() - cell.answering;
    std::vector<std::size_t> depths(as_size(t.tree_offsets[number + 1] - root), 0);
    for (std::size_t k = 0; k < depths.size(); ++k) {
        const std::size_t at = as_size(root) + k;
        const auto own = static_cast<std::int32_t>(at);
        const std::int32_t left = t.tree_left[at];
        const std::int32_t right = t.tree_right[at];
        if (t.tree_variables[at] < 0) {
            splits_.push_back({0.0, 0, {own, own}, static_cast<float>(left)});
            continue;
        }
        const std::size_t variable = as_size(t.tree_variables[at]); // of which the least loss, if any, comes first
        const std::size_t place = cell.answering == 0  ? variable
                                  : variable == 0      ? cell.best
                                  : variable <= others ? cell.answering + variable - 1
                                                       : cell.best + variable - others;
        splits_.push_back(
            {t.tree_thresholds[at], static_cast<std::uint32_t>(place), {root + left, root + right}, 0.0F});
        depths[as_size(left)] = depths[as_size(right)] = depths[k] + 1;
    }
    return *std::max_element(depths.begin(), depths.end());
}

bool SetEstimator::may_answer(std::size_t step, std::int32_t node) const {
    const Cell &at = cells_[cell(step)];
    const auto end = at.targets.begin() + static_cast<std::ptrdiff_t>(at.answering);
    return std::find(at.targets.begin(), end, node) != end;
}

void SetEstimator::read(std::int32_t node, const float *scores, const std::int32_t *answers,
                        std::span<const Request> requests) const {
    const Shape &shape = shapes_[as_size(node)];
    for (std::size_t i = 0; i < shape.inputs; ++i) {
        const Input &input = inputs_[shape.input + i];
        const StateLookup lookup = input.quantiser.lookup();
        const std::uint32_t first = input.values; // these stores might change, were they not copies
        const std::uint32_t columns = input.columns;
        const std::uint32_t missing = input.missing;
        for (std::size_t k = 0; k < requests.size(); ++k) {
            const float score = scores[k * shape.inputs + i];
            const auto bin = static_cast<std::uint32_t>(lookup.state(order_key(score)));
            const bool is_missing = !(score > -std::numeric_limits<float>::max());
            requests[k].values[shape.input + i] =
                choose(mask_of<std::uint32_t>(is_missing), missing, first + bin * columns);
        }
    }
    for (std::size_t k = 0; k < requests.size(); ++k) {
        const std::int32_t answer = answers != nullptr ? std::max(answers[k], -1) : -1;
        requests[k].replies[node] = {answer, shape.classes > 0 ? place_of(as_size(node), answer) : 0};
    }
}

std::int32_t SetEstimator::place_of(std::size_t node, std::int32_t answer) const {
    const Shape &shape = shapes_[node];
    if (shape.places > 0) {
        const std::size_t place = as_size(answer) + 1;
        return place < shape.places ? places_[shape.first_place + place] : 0;
    }
    const auto classes = part(tables_.classes, tables_.class_offsets, node);
    const auto found = std::lower_bound(classes.begin(), classes.end(), answer);
    const bool is_listed = found != classes.end() && *found == answer;
    return is_listed ? static_cast<std::int32_t>(found - classes.begin()) + 1 : 0;
}

void SetEstimator::read_failed(std::int32_t node, const Request &request) const {
    const Shape &shape = shapes_[as_size(node)];
    for (std::size_t input = shape.input; input < shape.input + shape.inputs; ++input) {
        request.values[input] = inputs_[input].missing;
    }
    request.replies[node] = {Reply::kFailed, shape.classes > 0 ? place_of(as_size(node), -1) : 0};
}

// Of requests in the same cell. Columns are added one after the other, as rounding depends on the order; those that are
// zero may be left out.
template <std::size_t Count>
TTAMER_INLINE void SetEstimator::add_up(const Cell &cell, const Request *requests, double *variables) const {
    const double *weights = cell.weights.data();
    for (std::size_t first = 0; first < cell.targets.size(); first += kLanes) {
        Lanes row;
        std::array<Lanes, Count> sums;
        std::memcpy(&row, weights, sizeof(row));
        weights += kLanes;
        sums.fill(row);
        for (const std::int32_t node : cell.nodes) {
            const Shape &shape = shapes_[as_size(node)];
            for (std::size_t input = shape.input; input < shape.input + shape.inputs; ++input) {
                std::array<const double *, Count> values;
                for (std::size_t k = 0; k < Count; ++k) {
                    values[k] = tables_.values.data() + requests[k].values[input];
                }
                for (std::size_t column = 0; column < inputs_[input].columns; ++column) {
                    std::memcpy(&row, weights, sizeof(row));
                    weights += kLanes;
                    TTAMER_UNROLL
                    for (std::size_t k = 0; k < Count; ++k) {
                        sums[k] += row * values[k][column];
                    }
                }
            }
            if (shape.classes == 0) {
                continue;
            }
            for (std::size_t k = 0; k < Count; ++k) {
                const double *place = weights + kLanes * as_size(requests[k].replies[node].place);
                std::memcpy(&row, place, sizeof(row));
                sums[k] += row;
                if (shape.columns > 0) {
                    std::memcpy(&row, place + kLanes * (shape.classes + 1), sizeof(row));
                    sums[k] += row * tables_.values[requests[k].values[shape.telling]];
                }
            }
            weights += kLanes * (shape.classes + 1) * (shape.columns > 0 ? 2 : 1);
        }
        for (const auto &[one, other] : cell.pairs) {
            TTAMER_UNROLL
            for (std::size_t k = 0; k < Count; ++k) {
                const std::int32_t answer = requests[k].replies[one].answer;
                const bool agree = (answer >= 0) & (requests[k].replies[other].answer == answer);
                std::memcpy(&row, weights + kLanes * static_cast<std::size_t>(agree), sizeof(row));
                sums[k] += row;
            }
            weights += 2 * kLanes;
        }
        for (std::size_t k = 0; k < Count; ++k) {
            std::memcpy(variables + k * stride_ + first, &sums[k], sizeof(row));
        }
    }
}

// Neighbours in the same cell, as on a line, have their weights loaded once.
TTAMER_CLONES void SetEstimator::add_up(std::span<const Request> requests, double *variables) const {
    constexpr std::size_t kTogether = 4;
    for (std::size_t k = 0; k < requests.size();) {
        const std::size_t cell = requests[k].cell;
        const auto is_in = [cell](const Request &request) { return request.cell == cell; };
        if (k + kTogether <= requests.size() && std::all_of(&requests[k], &requests[k] + kTogether, is_in)) {
            add_up<kTogether>(cells_[cell], &requests[k], variables + k * stride_);
            k += kTogether;
        } else {
            add_up<1>(cells_[cell], &requests[k], variables + k * stride_);
            ++k;
        }
    }
}

// The answering target with the least loss, -1 where none may answer. Adds what follows losses among variables.
TTAMER_INLINE std::int32_t SetEstimator::choose_answer(const Cell &cell, const Reply *replies, double *variables) {
    const auto has_failed = [&](std::size_t k) { return replies[cell.targets[k]].answer == Reply::kFailed; };
    std::size_t least = 0;
    while (least < cell.answering && has_failed(least)) {
        ++least;
    }
    const bool has_answer = least < cell.answering;
    double best = has_answer ? variables[least] : std::numeric_limits<double>::infinity();
    for (std::size_t k = least + 1; k < cell.answering; ++k) {
        if (!has_failed(k)) { // of equal ones the first
            least = choose(mask_of<std::size_t>(variables[k] < best), k, least);
            best = std::min(best, variables[k]);
        }
    }
    variables[cell.best] = best;
    for (std::size_t k = cell.answering; k < cell.targets.size(); ++k) {
        variables[cell.best + 1 + k - cell.answering] = std::min(variables[k], best);
    }
    return has_answer ? cell.targets[least] : -1;
}

void SetEstimator::estimate(std::span<const Request> requests, float *signals, std::int32_t *answers,
                            std::vector<double> &scratch) const {
    double *variables = scratch.data();
    add_up(requests, variables);
    std::array<std::int32_t, kBlock> at;
    std::size_t deepest = 0;
    for (std::size_t k = 0; k < requests.size(); ++k) {
        const Cell &cell = cells_[requests[k].cell];
        answers[k] = choose_answer(cell, requests[k].replies, variables + k * stride_);
        at[k] = cell.root;
        deepest = std::max(deepest, cell.depth);
    }
    for (std::size_t depth = deepest; depth > 0; --depth) { // side by side, as each step waits for the one before
        const double *own = variables;
        for (std::size_t k = 0; k < requests.size(); ++k, own += stride_) {
            const Split &split = splits_[as_size(at[k])];
            at[k] = split.children[!(own[split.variable] <= split.threshold) ? 1 : 0];
        }
    }
    for (std::size_t k = 0; k < requests.size(); ++k) {
        const bool all_failed = answers[k] < 0 && cells_[requests[k].cell].answering > 0;
        signals[k] = all_failed ? std::numeric_limits<float>::quiet_NaN() : splits_[as_size(at[k])].leaf;
    }
}

void estimate_rows(const SetEstimator &estimator, std::span<const float> scores, std::span<const std::int32_t> replies,
                   std::span<float> signals, std::span<std::int32_t> answers) {
    constexpr std::size_t kBlock = SetEstimator::kBlock;
    const auto nodes = as_size(estimator.nodes());
    const std::size_t inputs = estimator.inputs();
    const std::size_t rows = replies.size() / nodes;
    std::vector<std::uint32_t> values(kBlock * inputs);
    std::vector<Reply> shown(kBlock * nodes);
    std::array<SetEstimator::Request, kBlock> requests{};
    for (std::size_t k = 0; k < kBlock; ++k) {
        requests[k] = {0, values.data() + k * inputs, shown.data() + k * nodes};
    }
    std::vector<float> cell_signals(estimator.cells() * kBlock);
    std::vector<std::int32_t> cell_answers(estimator.cells() * kBlock);
    auto scratch = estimator.scratch();
    for (std::size_t begin = 0; begin < rows; begin += kBlock) {
        const std::size_t count = std::min(kBlock, rows - begin);
        for (std::size_t k = 0; k < count; ++k) {
            const float *own = scores.data() + (begin + k) * inputs;
            for (std::size_t node = 0; node < nodes; ++node) {
                const auto number = static_cast<std::int32_t>(node);
                estimator.read(number, own, &replies[(begin + k) * nodes + node], {&requests[k], 1});
                own += estimator.inputs(number);
            }
        }
        for (std::size_t cell = 0; cell < estimator.cells(); ++cell) {
            std::for_each(requests.begin(), requests.end(), [cell](auto &request) { request.cell = cell; });
            estimator.estimate({requests.data(), count}, cell_signals.data() + cell * kBlock,
                               cell_answers.data() + cell * kBlock, scratch);
        }
        for (std::size_t k = 0; k < count; ++k) {
            for (std::size_t step = 0; step < estimator.steps(); ++step) {
                const std::size_t from = estimator.cell(step) * kBlock + k;
                signals[(begin + k) * estimator.steps() + step] = cell_signals[from];
                answers[(begin + k) * estimator.steps() + step] = cell_answers[from];
            }
        }
    }
}

} // namespace ttamer
