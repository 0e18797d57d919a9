#include "ttamer/signals/set_estimator.hpp"

#include "ttamer/signals/tables.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

namespace ttamer {

namespace {

// Losses of so many targets are summed side by side: a sum alone would wait for each of its additions. The weights of a
// block of targets lie column by column.
constexpr std::size_t kLanes = 4;

std::size_t blocks_of(std::size_t targets) {
    return (targets + kLanes - 1) / kLanes;
}

// How many of the rising values are at most `most`, without a branch that data could mispredict.
template <typename T> std::size_t count_up_to(const T *values, std::size_t count, T most) {
    if (count == 0) {
        return 0;
    }
    const T *base = values;
    while (count > 1) {
        const std::size_t half = count / 2;
        base += base[half - 1] <= most ? half : 0;
        count -= half;
    }
    return static_cast<std::size_t>(base - values) + (*base <= most ? 1 : 0);
}

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
        values += (as_size(t.knot_offsets[i + 1] - t.knot_offsets[i]) + 2) * as_size(t.columns[i]);
    }
    for (std::size_t node = 0; node < as_size(t.nodes); ++node) {
        const auto columns = part(t.columns, t.input_offsets, node);
        std::size_t sum = 0;
        for (const std::int32_t each : columns) {
            sum += as_size(each);
        }
        shapes_.push_back({as_size(t.input_offsets[node]), columns.size(),
                           as_size(t.class_offsets[node + 1] - t.class_offsets[node]), sum, t.agreeing[node] != 0});
    }
    std::vector<std::size_t> weight_offsets;
    const double *coefficients = t.coefficients.data();
    std::size_t left = t.coefficients.size();
    for (std::size_t cell = 0; cell < t.answering.size(); ++cell) {
        const auto targets = part(t.targets, t.target_offsets, cell);
        const auto nodes = part(t.cell_nodes, t.cell_offsets, cell);
        const std::size_t width = 1 + columns_of(nodes);
        require(targets.size() <= left / width,
                "coefficients: expected an intercept and one weight a column for each cell and target");
        left -= targets.size() * width;
        weight_offsets.push_back(weights_.size());
        weights_.resize(weights_.size() + blocks_of(targets.size()) * kLanes * width);
        for (std::size_t k = 0; k < targets.size(); ++k) {
            double *block = weights_.data() + weight_offsets.back() + k / kLanes * kLanes * width + k % kLanes;
            for (std::size_t column = 0; column < width; ++column) {
                block[column * kLanes] = *coefficients++;
            }
        }
        cells_.push_back({nodes, targets, as_size(t.answering[cell]), width - 1, nullptr, nullptr, check_tree(cell)});
        std::size_t terms = nodes.size() * (nodes.size() - 1) / 2 + 2 * nodes.size();
        for (const std::int32_t node : nodes) {
            terms += shapes_[as_size(node)].columns;
        }
        most_terms_ = std::max(most_terms_, terms + 2); // terms that do not count are written too
        most_losses_ = std::max(most_losses_, blocks_of(targets.size()) * kLanes);
    }
    require(left == 0, "coefficients: expected an intercept and one weight a column for each cell and target");
    for (std::size_t k = 0; k < t.tree_variables.size(); ++k) {
        tree_.push_back({t.tree_thresholds[k], t.tree_variables[k], t.tree_left[k], t.tree_right[k]});
    }
    for (std::size_t cell = 0; cell < cells_.size(); ++cell) {
        cells_[cell].weights = weights_.data() + weight_offsets[cell];
        cells_[cell].tree = tree_.data() + t.tree_offsets[cell];
    }
}

bool SetEstimator::may_answer(std::size_t step, std::int32_t node) const {
    const Cell &at = cells_[cell(step)];
    const auto end = at.targets.begin() + static_cast<std::ptrdiff_t>(at.answering);
    return std::find(at.targets.begin(), end, node) != end;
}

Reply SetEstimator::read(std::int32_t node, const float *scores, std::int32_t answer, std::int32_t *bins) const {
    const Shape &shape = shapes_[as_size(node)];
    for (std::size_t k = 0; k < shape.inputs; ++k) {
        const std::size_t input = shape.input + k;
        const std::int32_t begin = tables_.knot_offsets[input];
        const std::int32_t count = tables_.knot_offsets[input + 1] - begin;
        const auto bin =
            static_cast<std::int32_t>(count_up_to(tables_.knots.data() + begin, as_size(count), scores[k]));
        const bool missing = !(scores[k] > -std::numeric_limits<float>::max());
        bins[input] = missing ? count + 1 : bin;
    }
    Reply reply{answer, -1, false};
    if (shape.classes > 0) {
        const std::int32_t *classes = tables_.classes.data() + tables_.class_offsets[as_size(node)];
        const std::size_t count = count_up_to(classes, shape.classes, answer);
        const std::size_t at = count - (count > 0 ? 1 : 0);
        reply.place = classes[at] == answer ? static_cast<std::int32_t>(at) : -1;
    }
    return reply;
}

Reply SetEstimator::read_failed(std::int32_t node, std::int32_t *bins) const {
    const Shape &shape = shapes_[as_size(node)];
    for (std::size_t input = shape.input; input < shape.input + shape.inputs; ++input) {
        bins[input] = tables_.knot_offsets[input + 1] - tables_.knot_offsets[input] + 1;
    }
    return {-1, -1, true};
}

// The columns that are not zero, in order.
std::size_t SetEstimator::list_terms(const Cell &cell, const std::int32_t *bins, const Reply *replies,
                                     Term *terms) const {
    std::size_t count = 0;
    std::size_t column = 0;
    for (const std::int32_t node : cell.nodes) {
        const Shape &shape = shapes_[as_size(node)];
        const std::size_t first = count;
        for (std::size_t input = shape.input; input < shape.input + shape.inputs; ++input) {
            const auto columns = as_size(tables_.columns[input]);
            const double *values = values_[input] + as_size(bins[input]) * columns;
            for (std::size_t k = 0; k < columns; ++k) {
                terms[count++] = {column++, values[k]};
            }
        }
        if (shape.classes > 0) {
            const std::int32_t place = replies[as_size(node)].place;
            const std::size_t at = column + as_size(std::max(place, 0));
            terms[count] = {at, 1.0};
            terms[count + 1] = {at + shape.classes, terms[first].value};
            const std::size_t own = shape.columns > 0 ? 2 : 1;
            count += place >= 0 ? own : 0;
            column += own * shape.classes;
        }
    }
    for (std::size_t a = 0; a < cell.nodes.size(); ++a) {
        if (!shapes_[as_size(cell.nodes[a])].agreeing) {
            continue;
        }
        const std::int32_t answer = replies[as_size(cell.nodes[a])].answer;
        for (std::size_t b = a + 1; b < cell.nodes.size(); ++b) {
            if (shapes_[as_size(cell.nodes[b])].agreeing) {
                terms[count] = {column++, 1.0};
                count += answer >= 0 && replies[as_size(cell.nodes[b])].answer == answer ? 1 : 0;
            }
        }
    }
    return count;
}

SetEstimator::Estimate SetEstimator::estimate(std::size_t cell, const std::int32_t *bins, const Reply *replies,
                                              Scratch &scratch) const {
    const Cell &at = cells_[cell];
    const Term *const terms = scratch.terms.data();
    const Term *const end = terms + list_terms(at, bins, replies, scratch.terms.data());
    const double *weights = at.weights;
    double *const losses = scratch.losses.data();
    const std::size_t count = at.targets.size();
    for (std::size_t block = 0; block < count; block += kLanes) {
        std::array<double, kLanes> sums{};
        std::copy_n(weights, kLanes, sums.begin());
        weights += kLanes;
        for (const Term *term = terms; term != end; ++term) {
            for (std::size_t lane = 0; lane < kLanes; ++lane) {
                sums[lane] += weights[term->column * kLanes + lane] * term->value;
            }
        }
        std::copy_n(sums.begin(), kLanes, losses + block);
        weights += at.columns * kLanes;
    }
    std::int32_t answer = -1;
    double best = std::numeric_limits<double>::infinity();
    for (std::size_t k = 0; k < at.answering; ++k) { // equal ones: the first
        const std::int32_t node = at.targets[k];
        if (!replies[as_size(node)].failed && (answer < 0 || losses[k] < best)) {
            best = losses[k];
            answer = node;
        }
    }
    const double *variables = losses;
    if (at.answering > 0) {
        if (answer < 0) {
            return {std::numeric_limits<float>::quiet_NaN(), -1};
        }
        double *out = scratch.variables.data();
        variables = out;
        *out++ = best;
        out = std::copy(losses + at.answering, losses + count, out);
        std::transform(losses + at.answering, losses + count, out,
                       [best](double loss) { return std::min(loss, best); });
    }
    std::int32_t k = 0;
    while (at.tree[k].variable >= 0) {
        const Split &split = at.tree[k];
        k = variables[split.variable] <= split.threshold ? split.left : split.right;
    }
    return {static_cast<float>(at.tree[k].left), answer};
}

void estimate_rows(const SetEstimator &estimator, std::span<const float> scores, std::span<const std::int32_t> replies,
                   std::span<float> signals, std::span<std::int32_t> answers) {
    const auto nodes = as_size(estimator.nodes());
    std::vector<std::int32_t> bins(estimator.inputs());
    std::vector<Reply> shown(nodes);
    std::vector<SetEstimator::Estimate> estimates(estimator.cells());
    auto scratch = estimator.scratch();
    for (std::size_t row = 0; row < replies.size() / nodes; ++row) {
        const float *own = scores.data() + row * estimator.inputs();
        for (std::size_t node = 0; node < nodes; ++node) {
            const auto number = static_cast<std::int32_t>(node);
            shown[node] = estimator.read(number, own, replies[row * nodes + node], bins.data());
            own += estimator.inputs(number);
        }
        for (std::size_t cell = 0; cell < estimator.cells(); ++cell) {
            estimates[cell] = estimator.estimate(cell, bins.data(), shown.data(), scratch);
        }
        for (std::size_t step = 0; step < estimator.steps(); ++step) {
            const auto &estimate = estimates[estimator.cell(step)];
            signals[row * estimator.steps() + step] = estimate.signal;
            answers[row * estimator.steps() + step] = estimate.answer;
        }
    }
}

} // namespace ttamer
