// Estimates from everything a request has seen: scores and answers of the nodes consulted in, a state and the node
// whose answer is given out. Plain tables.
#pragma once

#include "ttamer/base/quantiser.hpp"
#include "ttamer/signals/set_tables.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace ttamer {

// What a node showed beside its scores.
struct Reply {
    static constexpr std::int32_t kFailed = -2; // the node showed nothing, and answers only if nothing else does

    std::int32_t answer = -1; // or kFailed, or -1 for none
    std::int32_t place = 0;   // of the answer among the node's classes, from 1 on, 0 for none of them
};

// Immutable, shared between threads.
class SetEstimator {
  public:
    // Throws std::invalid_argument that names the table if anything does not fit together.
    explicit SetEstimator(SetTables tables);
    SetEstimator(const SetEstimator &) = delete; // its parts point to its tables
    SetEstimator &operator=(const SetEstimator &) = delete;

    // What an estimate is made of. values: where those of each input's bin begin among all. replies: one a node.
    struct Request {
        std::size_t cell;
        std::uint32_t *values;
        Reply *replies;
    };
    // So many at a time.
    static constexpr std::size_t kBlock = 64;
    // Memory for a block of estimates.
    std::vector<double> scratch() const { return std::vector<double>(kBlock * stride_); }

    std::size_t steps() const { return tables_.last.size(); }
    std::int32_t nodes() const { return tables_.nodes; }
    std::size_t inputs() const { return tables_.columns.size(); }
    std::size_t inputs(std::int32_t node) const { return shapes_[static_cast<std::size_t>(node)].inputs; }
    // Whether anything depends on the node's answer, beside that it may be given.
    bool uses_answer(std::int32_t node) const {
        const Shape &shape = shapes_[static_cast<std::size_t>(node)];
        return shape.classes > 0 || shape.agreeing;
    }
    std::span<const std::int32_t> last() const { return tables_.last; }
    std::size_t cells() const { return cells_.size(); }
    std::size_t cell(std::size_t step) const { return static_cast<std::size_t>(tables_.cells[step]); }
    std::int32_t leaves(std::size_t step) const { return cells_[cell(step)].leaves; }
    // Whether the node's answer may be given at the step.
    bool may_answer(std::size_t step, std::int32_t node) const;

    // Takes what a node showed of each request: scores, one an input of the node, and answers, if any.
    void read(std::int32_t node, const float *scores, const std::int32_t *answers,
              std::span<const Request> requests) const;
    // The same of a node that failed.
    void read_failed(std::int32_t node, const Request &request) const;

    // Of at most kBlock requests. signals: numbers of leaves, NaN if all nodes failed that may answer. answers: the
    // nodes whose answers they are, -1 for none.
    void estimate(std::span<const Request> requests, float *signals, std::int32_t *answers,
                  std::vector<double> &scratch) const;

  private:
    struct Input {
        Quantiser quantiser;
        std::uint32_t columns;
        std::uint32_t values;  // where those of the first bin begin
        std::uint32_t missing; // and those of missing scores
    };
    struct Shape { // of a node
        std::size_t input;
        std::size_t inputs;
        std::size_t classes;
        std::size_t columns; // of its inputs
        std::size_t telling; // the input of the first column
        std::size_t first_place;
        std::size_t places; // none where classes are searched
        bool agreeing;
    };
    struct Pair {
        std::size_t one;
        std::size_t other;
    };
    struct Split {
        double threshold;
        std::uint32_t variable;               // see Cell
        std::array<std::int32_t, 2> children; // among all; of a leaf itself, so that descents may go on
        float leaf;
    };
    // Its variables are the losses of targets, up to a whole number of kLanes; the least of those that answer; and for
    // each other target the smaller of that and its own.
    struct Cell {
        std::span<const std::int32_t> nodes;
        std::span<const std::int32_t> targets;
        std::size_t answering;
        std::size_t best;            // where among variables the least loss of those that answer is
        std::vector<Pair> pairs;     // whose answers are compared
        std::vector<double> weights; // as they are added, see lay_out_weights
        std::int32_t root;
        std::int32_t leaves;
        std::size_t depth; // of the tree
    };

    void lay_out_inputs();
    void lay_out_cells();
    void lay_out_weights(Cell &cell, const double *coefficients, std::size_t width) const;
    std::size_t lay_out_tree(std::size_t number, const Cell &cell);
    std::int32_t place_of(std::size_t node, std::int32_t answer) const;
    std::size_t columns_of(std::span<const std::int32_t> nodes) const;
    void add_up(std::span<const Request> requests, double *variables) const;
    template <std::size_t Count> void add_up(const Cell &cell, const Request *requests, double *variables) const;
    static std::int32_t choose_answer(const Cell &cell, const Reply *replies, double *variables);

    SetTables tables_;
    std::vector<Shape> shapes_;
    std::vector<Input> inputs_;
    std::vector<std::int32_t> places_; // of classes among a node's, see Reply
    std::vector<Split> splits_;
    std::vector<Cell> cells_;
    std::size_t stride_ = 0; // of the variables of requests
};

// Estimates of recorded requests: signals and answers, (rows, steps) each. scores: (rows, inputs), answers: (rows,
// nodes).
void estimate_rows(const SetEstimator &estimator, std::span<const float> scores, std::span<const std::int32_t> replies,
                   std::span<float> signals, std::span<std::int32_t> answers);

} // namespace ttamer
