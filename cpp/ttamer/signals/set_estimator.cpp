#include "ttamer/signals/set_estimator.hpp"

#include "ttamer/base/dispatch.hpp"
#include "ttamer/base/masks.hpp"
#include "ttamer/signals/tables.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

namespace ttamer {

namespace {

// Of classes below this, a table tells where among the node's each stands; others are searched for.
constexpr std::size_t kMostPlaces = 4096;

template <typename T> bool all_finite(const std::vector<T> &values) {
    return std::all_of(values.begin(), values.end(), [](T value) { return std::isfinite(value); });
}

bool all_from_to(std::span<const std::int32_t> values, std::int32_t least, std::size_t end) {
    return std::all_of(values.begin(), values.end(),
                       [&](std::int32_t value) { return value >= least && (value < 0 || as_size(value) < end); });
}

bool are_different(std::span<const std::int32_t> values) {
    std::vector<std::int32_t> sorted(values.begin(), values.end());
    std::sort(sorted.begin(), sorted.end());
    return std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end();
}

// Whether the values of each part rise.
template <typename T> bool rise(const std::vector<T> &values, const std::vector<std::int32_t> &offsets) {
    for (std::size_t k = 0; k + 1 < offsets.size(); ++k) {
        const auto begin = values.begin() + offsets[k];
        const auto end = values.begin() + offsets[k + 1];
        if (std::adjacent_find(begin, end, std::greater_equal<>()) != end) {
            return false;
        }
    }
    return true;
}

// The losses of a target: each request's terms are added one after the other, as rounding depends on the order, and
// requests stand side by side, as a sum waits for each of its additions.
TTAMER_CLONES void add_terms(const SetEstimator::Term *terms, std::size_t count, const double *weights,
                             double *TTAMER_RESTRICT sums) {
    constexpr std::size_t kLanes = SetEstimator::kBlock;
    std::array<double, kLanes> own{};
    own.fill(*weights++);
    for (std::size_t k = 0; k < count; ++k) {
        const double *column = weights + terms[k].column;
        const double *values = terms[k].values;
        if (const std::int32_t *places = terms[k].places; places != nullptr) {
            for (std::size_t lane = 0; lane < kLanes; ++lane) {
                own[lane] += column[places[lane]] * values[lane];
            }
        } else {
            const double weight = *column;
            for (std::size_t lane = 0; lane < kLanes; ++lane) {
                own[lane] += weight * values[lane];
            }
        }
    }
    std::copy_n(own.begin(), kLanes, sums);
}

} // namespace

SetEstimator::SetEstimator(SetTables tables) : tables_(std::move(tables)) {
    check_inputs();
    lay_out();
}

std::span<const std::int32_t> SetEstimator::part(const std::vector<std::int32_t> &values,
                                                 const std::vector<std::int32_t> &offsets, std::size_t k) const {
    return {values.data() + offsets[k], as_size(offsets[k + 1] - offsets[k])};
}

void SetEstimator::check_inputs() const {
    const auto &t = tables_;
    require(t.nodes >= 1 && !t.last.empty(), "last: expected at least one node and one step");
    const std::size_t nodes = as_size(t.nodes);
    require(all_from_to(t.last, 0, nodes), "last: expected nodes");
    require(are_offsets(t.input_offsets, nodes, inputs(), true),
            "input_offsets: expected offsets into columns, one more than nodes");
    require(are_offsets(t.knot_offsets, inputs(), t.knots.size(), true),
            "knot_offsets: expected offsets into knots, one more than inputs");
    require(all_finite(t.knots) && rise(t.knots, t.knot_offsets),
            "knots: expected finite numbers that rise strictly within an input");
    require(all_from_to(t.columns, 0, t.values.size() + 1), "columns: expected numbers of columns of values");
    for (std::size_t i = 0; i < inputs(); ++i) {
        require(as_size(t.knot_offsets[i + 1] - t.knot_offsets[i]) <= Quantiser::kMaxEdges,
                "knots: expected at most 65534 in an input");
    }
    std::size_t values = 0;
    for (std::size_t i = 0; i < inputs(); ++i) { // a sum that ends before it overflows
        values += (as_size(t.knot_offsets[i + 1] - t.knot_offsets[i]) + 2) * as_size(t.columns[i]);
        require(values <= t.values.size(), "values: expected a row a bin of each input, of as many as it has columns");
    }
    require(values == t.values.size(), "values: expected a row a bin of each input, of as many as it has columns");
    require(all_finite(t.values), "values: expected finite numbers");
    require(are_offsets(t.class_offsets, nodes, t.classes.size(), true),
            "class_offsets: expected offsets into classes, one more than nodes");
    require(all_from_to(t.classes, 0, std::numeric_limits<std::size_t>::max()) && rise(t.classes, t.class_offsets),
            "classes: expected numbers from 0 that rise strictly within a node");
    require(t.agreeing.size() == nodes && all_from_to(t.agreeing, 0, 2), "agreeing: expected 0 or 1 for each node");
    check_cells();
}

void SetEstimator::check_cells() const {
    const auto &t = tables_;
    const std::size_t nodes = as_size(t.nodes);
    const std::size_t cells = t.answering.size();
    require(t.cells.size() == steps() && all_from_to(t.cells, 0, cells), "cells: expected a cell for each step");
    require(are_offsets(t.cell_offsets, cells, t.cell_nodes.size()),
            "cell_offsets: expected increasing offsets into cell_nodes, one more than cells");
    require(are_offsets(t.target_offsets, cells, t.targets.size()),
            "target_offsets: expected increasing offsets into targets, one more than cells");
    require(all_from_to(t.cell_nodes, 0, nodes), "cell_nodes: expected different nodes in each cell");
    require(all_from_to(t.targets, 0, nodes), "targets: expected different nodes in each cell");
    for (std::size_t cell = 0; cell < cells; ++cell) {
        require(are_different(part(t.cell_nodes, t.cell_offsets, cell)),
                "cell_nodes: expected different nodes in each cell");
        const auto targets = part(t.targets, t.target_offsets, cell);
        require(are_different(targets), "targets: expected different nodes in each cell");
        require(t.answering[cell] >= 0 && as_size(t.answering[cell]) <= targets.size(),
                "answering: expected how many of each cell's targets may answer");
    }
    require(all_finite(t.coefficients), "coefficients: expected finite numbers");
    require(are_offsets(t.tree_offsets, cells, t.tree_variables.size()),
            "tree_offsets: expected increasing offsets into tree_variables, one more than cells");
    require(t.tree_thresholds.size() == t.tree_variables.size() && all_finite(t.tree_thresholds),
            "tree_thresholds: expected a finite number for each of tree_variables");
    require(t.tree_left.size() == t.tree_variables.size(), "tree_left: expected one for each of tree_variables");
    require(t.tree_right.size() == t.tree_variables.size(), "tree_right: expected one for each of tree_variables");
}

// The tree's number of leaves. Each node but the root has one parent, which comes before it: descents end.
std::int32_t SetEstimator::check_tree(std::size_t cell) const {
    const auto &t = tables_;
    const auto variables = part(t.tree_variables, t.tree_offsets, cell);
    const auto left = part(t.tree_left, t.tree_offsets, cell);
    const auto right = part(t.tree_right, t.tree_offsets, cell);
    const auto targets = part(t.targets, t.target_offsets, cell).size();
    const auto answering = as_size(t.answering[cell]);
    const std::size_t most = answering > 0 ? 1 + 2 * (targets - answering) : targets;
    require(all_from_to(variables, -1, most), "tree_variables: expected variables of the cell, or -1 for a leaf");
    const std::size_t count = variables.size();
    std::vector<bool> is_child(count, false);
    std::vector<bool> is_leaf(count, false);
    std::size_t leaves = 0;
    for (std::size_t k = 0; k < count; ++k) {
        if (variables[k] < 0) {
            require(left[k] >= 0 && as_size(left[k]) < count && !is_leaf[as_size(left[k])],
                    "tree_left: expected a number of its own for each leaf, from 0 on");
            require(right[k] == 0, "tree_right: expected 0 for each leaf");
            is_leaf[as_size(left[k])] = true;
            ++leaves;
            continue;
        }
        for (const auto &[child, complaint] :
             {std::pair{left[k], "tree_left: expected a later node of the cell's tree, no other's child"},
              std::pair{right[k], "tree_right: expected a later node of the cell's tree, no other's child"}}) {
            require(child >= 0 && as_size(child) > k && as_size(child) < count && !is_child[as_size(child)], complaint);
            is_child[as_size(child)] = true;
        }
    }
    require(static_cast<std::size_t>(std::count(is_child.begin(), is_child.end(), true)) == count - 1,
            "tree_left: expected every node of a tree but the first to be a child");
    require(
        std::all_of(is_leaf.begin(), is_leaf.begin() + static_cast<std::ptrdiff_t>(leaves), [](bool is) { return is; }),
        "tree_left: expected a number of its own for each leaf, from 0 on");
    return static_cast<std::int32_t>(leaves);
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

// What estimates read, from tables that are fine one by one.
void SetEstimator::lay_out() {
    const auto &t = tables_;
    const double *values = t.values.data();
    for (std::size_t i = 0; i < inputs(); ++i) {
        values_.push_back(values);
        quantisers_.emplace_back(
            std::span(t.knots).subspan(as_size(t.knot_offsets[i]), as_size(t.knot_offsets[i + 1] - t.knot_offsets[i])));
        values += (as_size(t.knot_offsets[i + 1] - t.knot_offsets[i]) + 2) * as_size(t.columns[i]);
    }
    for (std::size_t node = 0; node < as_size(t.nodes); ++node) {
        const auto columns = part(t.columns, t.input_offsets, node);
        std::size_t sum = 0;
        for (const std::int32_t each : columns) {
            sum += as_size(each);
        }
        const auto classes = part(t.classes, t.class_offsets, node);
        const bool has_places = !classes.empty() && as_size(classes.back()) < kMostPlaces;
        const std::size_t places = has_places ? as_size(classes.back()) + 1 : 0;
        shapes_.push_back({as_size(t.input_offsets[node]), columns.size(), classes.size(), sum, places_.size(), places,
                           t.agreeing[node] != 0});
        places_.resize(places_.size() + places, -1);
        for (std::size_t k = 0; has_places && k < classes.size(); ++k) {
            places_[shapes_.back().first_place + as_size(classes[k])] = static_cast<std::int32_t>(k);
        }
    }
    const double *coefficients = t.coefficients.data();
    std::size_t left = t.coefficients.size();
    for (std::size_t cell = 0; cell < t.answering.size(); ++cell) {
        const auto targets = part(t.targets, t.target_offsets, cell);
        const auto nodes = part(t.cell_nodes, t.cell_offsets, cell);
        const std::size_t width = 1 + columns_of(nodes);
        require(targets.size() <= left / width,
                "coefficients: expected an intercept and one weight a column for each cell and target");
        left -= targets.size() * width;
        cells_.push_back(
            {nodes, targets, as_size(t.answering[cell]), width, coefficients, nullptr, check_tree(cell), 0});
        coefficients += targets.size() * width;
        std::size_t terms = nodes.size() * (nodes.size() - 1) / 2 + 2 * nodes.size();
        for (const std::int32_t node : nodes) {
            terms += shapes_[as_size(node)].columns;
        }
        most_terms_ = std::max(most_terms_, terms);
        most_losses_ = std::max(most_losses_, targets.size());
        most_variables_ = std::max(most_variables_, 2 * targets.size() + 1);
    }
    require(left == 0, "coefficients: expected an intercept and one weight a column for each cell and target");
    tree_.resize(t.tree_variables.size());
    for (std::size_t cell = 0; cell < cells_.size(); ++cell) {
        cells_[cell].tree = tree_.data() + t.tree_offsets[cell];
        cells_[cell].depth = lay_out_tree(cell);
    }
}

// The tree's depth.
std::size_t SetEstimator::lay_out_tree(std::size_t cell) {
    const auto &t = tables_;
    const std::size_t begin = as_size(t.tree_offsets[cell]);
    const std::size_t count = as_size(t.tree_offsets[cell + 1]) - begin;
    std::vector<std::size_t> depths(count, 0);
    for (std::size_t k = 0; k < count; ++k) {
        Split &split = tree_[begin + k];
        const std::int32_t left = t.tree_left[begin + k];
        if (t.tree_variables[begin + k] < 0) {
            split = {0.0, 0, {0, 0}, static_cast<float>(left)};
            continue;
        }
        const std::int32_t right = t.tree_right[begin + k];
        const auto own = static_cast<std::int32_t>(k);
        split = {t.tree_thresholds[begin + k], t.tree_variables[begin + k], {left - own, right - own}, 0.0F};
        depths[as_size(left)] = depths[as_size(right)] = depths[k] + 1;
    }
    return *std::max_element(depths.begin(), depths.end());
}

bool SetEstimator::may_answer(std::size_t step, std::int32_t node) const {
    const Cell &at = cells_[cell(step)];
    const auto end = at.targets.begin() + static_cast<std::ptrdiff_t>(at.answering);
    return std::find(at.targets.begin(), end, node) != end;
}

void SetEstimator::read(std::int32_t node, const float *scores, std::int32_t answer, std::int32_t *bins,
                        Reply &reply) const {
    const Shape &shape = shapes_[as_size(node)];
    for (std::size_t k = 0; k < shape.inputs; ++k) {
        const std::size_t input = shape.input + k;
        const std::int32_t count = tables_.knot_offsets[input + 1] - tables_.knot_offsets[input];
        const std::int32_t bin = quantisers_[input].state(order_key(scores[k]));
        const bool missing = !(scores[k] > -std::numeric_limits<float>::max());
        bins[input] = choose(mask_of<std::int32_t>(missing), count + 1, bin);
    }
    reply.answer = answer;
    reply.place = -1;
    reply.failed = false;
    if (static_cast<std::uint32_t>(answer) < shape.places) {
        reply.place = places_[shape.first_place + as_size(answer)];
    } else if (shape.places == 0 && shape.classes > 0) {
        const auto classes = part(tables_.classes, tables_.class_offsets, as_size(node));
        const auto found = std::lower_bound(classes.begin(), classes.end(), answer);
        const bool is_listed = found != classes.end() && *found == answer;
        reply.place = is_listed ? static_cast<std::int32_t>(found - classes.begin()) : -1;
    }
}

void SetEstimator::read_failed(std::int32_t node, std::int32_t *bins, Reply &reply) const {
    const Shape &shape = shapes_[as_size(node)];
    for (std::size_t input = shape.input; input < shape.input + shape.inputs; ++input) {
        bins[input] = tables_.knot_offsets[input + 1] - tables_.knot_offsets[input] + 1;
    }
    reply = {-1, -1, true};
}

// The columns that may not be zero, in order: the same of all requests, so that no branch depends on them.
std::size_t SetEstimator::list_terms(const Cell &cell, std::span<const Request> requests, Scratch &scratch) const {
    std::size_t count = 0;
    std::size_t column = 0;
    const auto add = [&](const std::int32_t *places) {
        double *values = scratch.values.data() + count * kBlock;
        scratch.terms[count++] = {column, values, places};
        return values;
    };
    std::array<const double *, kBlock> rows{};
    for (std::size_t a = 0; a < cell.nodes.size(); ++a) {
        const std::size_t node = as_size(cell.nodes[a]);
        const Shape &shape = shapes_[node];
        const double *first = scratch.values.data() + count * kBlock; // column's values
        for (std::size_t input = shape.input; input < shape.input + shape.inputs; ++input) {
            const auto columns = as_size(tables_.columns[input]);
            for (std::size_t k = 0; k < requests.size(); ++k) {
                rows[k] = values_[input] + as_size(requests[k].bins[input]) * columns;
            }
            for (std::size_t c = 0; c < columns; ++c, ++column) {
                double *values = add(nullptr);
                for (std::size_t k = 0; k < requests.size(); ++k) {
                    values[k] = rows[k][c];
                }
            }
        }
        if (shape.classes == 0) {
            continue;
        }
        std::int32_t *places = scratch.places.data() + a * kBlock;
        std::fill_n(places, kBlock, 0);
        double *is_listed = add(places);
        for (std::size_t k = 0; k < requests.size(); ++k) {
            const std::int32_t place = requests[k].replies[node].place;
            places[k] = std::max(place, 0);
            is_listed[k] = place >= 0 ? 1.0 : 0.0;
        }
        column += shape.classes;
        if (shape.columns > 0) {
            double *values = add(places);
            for (std::size_t k = 0; k < requests.size(); ++k) {
                values[k] = is_listed[k] * first[k];
            }
            column += shape.classes;
        }
    }
    for (std::size_t a = 0; a < cell.nodes.size(); ++a) {
        for (std::size_t b = a + 1; b < cell.nodes.size(); ++b) {
            const std::size_t one = as_size(cell.nodes[a]);
            const std::size_t other = as_size(cell.nodes[b]);
            if (!shapes_[one].agreeing || !shapes_[other].agreeing) {
                continue;
            }
            double *values = add(nullptr);
            for (std::size_t k = 0; k < requests.size(); ++k) {
                const std::int32_t answer = requests[k].replies[one].answer;
                values[k] = static_cast<double>((answer >= 0) & (requests[k].replies[other].answer == answer));
            }
            ++column;
        }
    }
    return count;
}

// The answering targets with the least losses, -1 where none may answer, and the variables of the cell's tree.
void SetEstimator::choose_answers(const Cell &cell, std::span<const Request> requests, Scratch &scratch,
                                  Estimate *estimates) const {
    const double *losses = scratch.losses.data();
    double *variables = scratch.variables.data();
    const std::size_t count = cell.targets.size();
    for (std::size_t k = 0; k < requests.size(); ++k) {
        estimates[k].answer = -1;
    }
    if (cell.answering == 0) {
        std::copy_n(losses, count * kBlock, variables);
        return;
    }
    double *best = variables;
    std::fill_n(best, kBlock, std::numeric_limits<double>::infinity());
    for (std::size_t target = 0; target < cell.answering; ++target) { // equal ones: the first
        const std::int32_t node = cell.targets[target];
        for (std::size_t k = 0; k < requests.size(); ++k) {
            std::int32_t &answer = estimates[k].answer;
            const bool failed = requests[k].replies[as_size(node)].failed;
            const double loss = failed ? std::numeric_limits<double>::infinity() : losses[target * kBlock + k];
            const bool is_best = (loss < best[k]) | ((answer < 0) & !failed);
            best[k] = std::min(best[k], loss);
            answer = choose(mask_of<std::int32_t>(is_best), node, answer);
        }
    }
    const std::size_t others = count - cell.answering;
    for (std::size_t other = 0; other < others; ++other) {
        const double *own = losses + (cell.answering + other) * kBlock;
        double *loss = variables + (1 + other) * kBlock;
        double *least = variables + (1 + others + other) * kBlock;
        for (std::size_t k = 0; k < kBlock; ++k) {
            loss[k] = own[k];
            least[k] = std::min(own[k], best[k]);
        }
    }
}

void SetEstimator::estimate(std::size_t number, std::span<const Request> requests, Estimate *estimates,
                            Scratch &scratch) const {
    const Cell &cell = cells_[number];
    const std::size_t terms = list_terms(cell, requests, scratch);
    for (std::size_t target = 0; target < cell.targets.size(); ++target) {
        add_terms(scratch.terms.data(), terms, cell.weights + target * cell.width,
                  scratch.losses.data() + target * kBlock);
    }
    choose_answers(cell, requests, scratch, estimates);
    std::array<const Split *, kBlock> splits{};
    splits.fill(cell.tree);
    for (std::size_t depth = cell.depth; depth > 0; --depth) { // side by side, as each step waits for the one before
        for (std::size_t k = 0; k < requests.size(); ++k) {
            const Split &split = *splits[k];
            const double variable = scratch.variables[as_size(split.variable) * kBlock + k];
            splits[k] += split.steps[!(variable <= split.threshold) ? 1 : 0];
        }
    }
    for (std::size_t k = 0; k < requests.size(); ++k) {
        const bool all_failed = estimates[k].answer < 0 && cell.answering > 0;
        estimates[k].signal = all_failed ? std::numeric_limits<float>::quiet_NaN() : splits[k]->leaf;
    }
}

void estimate_rows(const SetEstimator &estimator, std::span<const float> scores, std::span<const std::int32_t> replies,
                   std::span<float> signals, std::span<std::int32_t> answers) {
    constexpr std::size_t kBlock = SetEstimator::kBlock;
    const auto nodes = as_size(estimator.nodes());
    const std::size_t inputs = estimator.inputs();
    const std::size_t rows = replies.size() / nodes;
    std::vector<std::int32_t> bins(kBlock * inputs);
    std::vector<Reply> shown(kBlock * nodes);
    std::vector<SetEstimator::Request> requests(kBlock);
    for (std::size_t k = 0; k < kBlock; ++k) {
        requests[k] = {bins.data() + k * inputs, shown.data() + k * nodes};
    }
    std::vector<SetEstimator::Estimate> estimates(estimator.cells() * kBlock);
    auto scratch = estimator.scratch();
    for (std::size_t begin = 0; begin < rows; begin += kBlock) {
        const std::size_t count = std::min(kBlock, rows - begin);
        for (std::size_t k = 0; k < count; ++k) {
            const float *own = scores.data() + (begin + k) * inputs;
            for (std::size_t node = 0; node < nodes; ++node) {
                const auto number = static_cast<std::int32_t>(node);
                estimator.read(number, own, replies[(begin + k) * nodes + node], bins.data() + k * inputs,
                               shown[k * nodes + node]);
                own += estimator.inputs(number);
            }
        }
        for (std::size_t cell = 0; cell < estimator.cells(); ++cell) {
            estimator.estimate(cell, {requests.data(), count}, estimates.data() + cell * kBlock, scratch);
        }
        for (std::size_t k = 0; k < count; ++k) {
            for (std::size_t step = 0; step < estimator.steps(); ++step) {
                const auto &estimate = estimates[estimator.cell(step) * kBlock + k];
                signals[(begin + k) * estimator.steps() + step] = estimate.signal;
                answers[(begin + k) * estimator.steps() + step] = estimate.answer;
            }
        }
    }
}

} // namespace ttamer
