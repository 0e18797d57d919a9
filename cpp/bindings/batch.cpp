// The serving loop's calls. Arguments are checked by hand (see arrays.hpp), results are views that are made once.
#include "ttamer/decide/batch.hpp"

#include "arguments.hpp"
#include "bindings.hpp"
#include "logits.hpp"
#include "shown.hpp"
#include "tensors.hpp"

#include "ttamer/base/dispatch.hpp"
#include "ttamer/decide/answer_batch.hpp"
#include "ttamer/decide/estimated_batch.hpp"
#include "ttamer/decide/logit_signals.hpp"

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace ttamer::bindings {

namespace {

constexpr const char *kClassDoc = R"(Requests in flight, one row each; made by `Policy.start`.

A batch belongs to one loop: calls from several threads need a lock. One that comes while another is at work is refused
(ValueError). Policies are shared freely.)";

constexpr const char *kDecideDoc = R"(Consult `node` with `signals` and say which node each row consults next.

Parameters
----------
node : int or (B,) int32
    The node consulted: one for all rows, or one a row. Must be open to each row (a successor of the node the row
    consulted last), recommended or not.
signals : (B,) float32
    What the node showed, C-contiguous, of the kind that the policy decides on (`Policy.signal`).
rows : (B,) int32 or int64, optional
    Rows the signals belong to, without repeats; by default 0 to B - 1.

Each array may be a tensor instead: of PyTorch >= 2.10 or of any type with DLPack's C exchange API, on the CPU. It is
read where it lies, whether it requires gradients or not.

Returns
-------
(B,) int32
    The node to consult next, or STOP (-1). It is the batch's own memory, which later calls overwrite: take a
    `.copy()` of what is kept longer, across an `await` for example. It may be passed back as `node`.

Raises
------
TypeError
    Wrong dtype or byte order.
ValueError
    Wrong shape or device, a tensor that cannot be read as it lies (one without memory, or that PyTorch negates when
    it is read), a NaN signal under nan="error", a repeated row, a row that has stopped, or a node that is not open.
    A policy that estimates, or whose traces recorded another kind of signal than it decides on, unless
    `Policy.start` was told which kind is handed over.
IndexError
    A node or row out of range.

Nothing is changed when it raises. Calls of 4096 signals and more release the GIL; until they return, other threads
must leave the arguments as they are.)";

constexpr const char *kEnterDoc = R"(Hand rows over to new requests, each with a policy of its own.

Of a batch that `Front.start` opened. A row keeps its policy until it is entered again or reset; a row without one
refuses to decide.

Parameters
----------
places : (B,) int32 or int64
    The place in the front of each row's policy, as `Front.places` finds them.
rows : (B,) int32 or int64, optional
    Rows to enter, without repeats, as for `decide`; by default 0 to B - 1.

Returns
-------
(B,) int32
    The node at which each request starts, in memory of its own; fit for `decide` as `node`.

Raises
------
TypeError
    Wrong dtype or byte order.
ValueError
    Wrong shape or device, a repeated row, or a batch of one policy, whose rows need no entering.
IndexError
    A place or row out of range.

Nothing is changed when it raises.)";

constexpr const char *kResetDoc = R"(Hand rows over to new requests.

Where each row has a policy of its own (`Front.start`), it takes that away instead: `enter` gives it the next one.

Parameters
----------
rows : (B,) int32 or int64, optional
    Rows to reset, without repeats, as for `decide`; by default all.)";

constexpr const char *kResumeDoc = R"(Let rows that have stopped go on after all, as when another opinion is wanted.

What was seen and the answer stay. The nodes that may follow `node` are open again; which of them to consult is the
caller's choice, and `decide` then goes on as before.

Parameters
----------
node : int
    The node that the rows consulted last.
rows : (B,) int32 or int64, optional
    As for `decide`; by default all.

Raises
------
ValueError
    If a row has not stopped; then nothing is changed.
IndexError
    A node or row out of range.)";

// Below this, some ten microseconds of work, handing the GIL over and back is not worth its tens of nanoseconds. A
// round number, not a tuned one.
constexpr std::size_t kWorthReleasing = std::size_t{1} << 15;

// Of decide, which takes some 4 us for so many: releasing costs 30 ns of that, and two threads get up to 95% of what
// two processes do (ttamer.bench.threads). A shorter call would let any thread that is busy in Python keep the GIL for
// a whole switch interval, 5 ms.
constexpr std::size_t kRowsWorthReleasing = 4096;

// Of decide_answers, some ten microseconds too.
constexpr std::size_t kAnswersWorthReleasing = 512;

// A call's turn at a batch. A second call before it has ended would write where this one reads: it comes from a thread
// that runs while this one has released the GIL, or at any time where there is no GIL, and is refused.
class Turn {
  public:
    explicit Turn(std::atomic<bool> &taken) : taken_(taken) {
        if (taken_.exchange(true, std::memory_order_acquire)) {
            refuse();
        }
    }
    Turn(const Turn &) = delete;
    Turn &operator=(const Turn &) = delete;
    ~Turn() { taken_.store(false, std::memory_order_release); }

  private:
    [[noreturn]] TTAMER_NOINLINE static void refuse() {
        throw py::value_error("batch: expected one call at a time, got a second before the first returned; threads "
                              "that share a batch need a lock");
    }

    std::atomic<bool> &taken_;
};

class BoundBatch {
  public:
    // `signal` is what the policy decides on, `handed` what callers of `decide` have, as far as is known.
    BoundBatch(std::shared_ptr<const Policy> policy, std::int64_t capacity, const std::string &nan,
               const std::string &signal, const std::string &handed, std::size_t classes)
        : batch_(std::make_shared<Batch>(std::move(policy), capacity, nan_from(nan))),
          logit_signals_(signal_kind(signal), batch_->capacity(), nan_from(nan), classes),
          why_no_signals_(signal == handed ? "" : refusal(signal, handed)) {}

    // Of a policy that estimates: its nodes are what callers speak of, the batch's are steps.
    BoundBatch(std::shared_ptr<const Estimator> estimator, std::shared_ptr<const Policy> policy, std::int64_t capacity,
               const std::string &nan)
        : BoundBatch(nan, "decide: this policy estimates from what nodes show; call decide_logits") {
        const auto made =
            std::make_shared<EstimatedBatch>(std::move(estimator), std::move(policy), capacity, nan_from(nan));
        estimated_ = made.get();
        steps_ = made;
    }
    BoundBatch(std::shared_ptr<const SetEstimator> estimator, std::shared_ptr<const Policy> policy,
               std::int64_t capacity, const std::string &nan, const std::string &signal, std::size_t classes)
        : BoundBatch(nan, "decide: this policy decides on scores and answers; call decide_answers") {
        const auto made = std::make_shared<AnswerBatch>(std::move(estimator), std::move(policy), capacity,
                                                        nan_from(nan), signal_kind(signal), classes);
        answered_ = made.get();
        steps_ = made;
    }

    // A single node is converted before all else: `__index__` may change the other arguments, or call the batch.
    py::object decide(py::handle node, py::handle signals, py::handle rows) {
        if (is_node_array(node)) {
            return decide_with(signals, rows, [node] { return span_of<std::int32_t>(node_array(node)); });
        }
        return decide_with(signals, rows, [single = node_from(node)] { return single; });
    }
    py::object decide_logits(py::handle node, py::handle logits, py::handle rows) {
        if (is_node_array(node)) {
            return decide_logits_with(logits, rows, [node] { return span_of<std::int32_t>(node_array(node)); });
        }
        return decide_logits_with(logits, rows, [single = node_from(node)] { return single; });
    }
    py::object decide_answers(py::handle node, py::handle scores, py::handle answers, py::handle rows) {
        if (is_node_array(node)) {
            return decide_answers_with(scores, answers, rows,
                                       [node] { return span_of<std::int32_t>(node_array(node)); });
        }
        return decide_answers_with(scores, answers, rows, [single = node_from(node)] { return single; });
    }

    // The signals that decide_logits would decide with.
    py::array_t<float> logit_signals(py::handle logits, py::handle rows) {
        const Turn turn(taken_);
        return to_array(signals_from(logits, rows));
    }

    // The same where signals also depend on what the rows have seen.
    py::array_t<float> estimated_signals(py::handle number, py::handle logits, py::handle rows) {
        const auto node = node_from(number);
        const Turn turn(taken_);
        if (estimated_ == nullptr) {
            throw std::invalid_argument("batch: expected one of a policy that estimates");
        }
        return to_array(estimated_->signals_of(node, logits_of(logits), rows_of(rows)));
    }

    // What a call costs before any work is done: the floor that benchmarks compare with.
    void nothing(py::handle /*node*/, py::handle /*signals*/, py::handle /*rows*/) {}

    py::array_t<std::int32_t> enter(py::handle places, py::handle rows) {
        const Turn turn(taken_);
        const Rows tiers = integers_of(places, "places");
        std::vector<std::int64_t> values(tiers.wide.begin(), tiers.wide.end());
        values.insert(values.end(), tiers.narrow.begin(), tiers.narrow.end());
        py::array_t<std::int32_t> first(static_cast<py::ssize_t>(values.size()));
        const std::span<std::int32_t> nodes(first.mutable_data(), values.size());
        steps_ ? steps_->enter(values, rows_of(rows), nodes) : batch_->enter(values, rows_of(rows), nodes);
        return first;
    }

    void reset(py::handle rows) {
        const Turn turn(taken_);
        steps_ ? steps_->reset(rows_of(rows)) : batch_->reset(rows_of(rows));
    }

    void resume(py::handle node, py::handle rows) {
        const std::int64_t last = node_from(node);
        const Turn turn(taken_);
        steps_ ? steps_->resume(last, rows_of(rows)) : batch_->resume(last, rows_of(rows));
    }

    // A copy: a view could come back as `rows` or `node` and change while these are read.
    py::array_t<std::int32_t> answer_node() const {
        py::array_t<std::int32_t> out(static_cast<py::ssize_t>(capacity()));
        const Turn turn(taken_);
        const std::span<std::int32_t> values(out.mutable_data(), capacity());
        steps_ ? steps_->answer_node(values) : batch_->answer_node(values);
        return out;
    }

    py::array_t<double> answer_loss() const {
        py::array_t<double> out(static_cast<py::ssize_t>(capacity()));
        const Turn turn(taken_);
        const std::span<double> values(out.mutable_data(), capacity());
        steps_ ? steps_->answer_loss(values) : batch_->answer_loss(values);
        return out;
    }

    py::array_t<float> answer_signal() const {
        const Turn turn(taken_);
        return to_array(steps().answer_signals());
    }
    py::array_t<std::int32_t> answer_step() const {
        const Turn turn(taken_);
        return to_array(steps().answer_steps());
    }

    std::size_t capacity() const { return steps_ ? steps_->capacity() : batch_->capacity(); }

  private:
    // Of a policy over steps.
    BoundBatch(const std::string &nan, const char *why_no_signals)
        : logit_signals_(SignalKind::stated, 0, nan_from(nan)), why_no_signals_(why_no_signals) {}

    const StepBatch &steps() const {
        if (!steps_) {
            throw std::invalid_argument("batch: expected one of a policy that estimates");
        }
        return *steps_;
    }

    template <typename NodesOf> py::object decide_with(py::handle signals, py::handle rows, NodesOf nodes_of) {
        const Turn turn(taken_);
        if (!why_no_signals_.empty()) {
            throw std::invalid_argument(why_no_signals_);
        }
        const auto values = span_of<float>(Argument{signals, "signals", "(B,) float32"});
        const auto chosen = rows_of(rows);
        return view(decide_values(nodes_of(), values, chosen));
    }

    template <typename NodesOf> py::object decide_logits_with(py::handle logits, py::handle rows, NodesOf nodes_of) {
        const Turn turn(taken_);
        if (steps_) {
            const Logits values = logits_of(logits);
            const auto chosen = rows_of(rows);
            const auto nodes = nodes_of();
            return view(estimated_ != nullptr ? decide_estimates(*estimated_, nodes, values, chosen)
                                              : decide_estimates(*answered_, nodes, values, chosen));
        }
        const auto values = signals_from(logits, rows);
        const auto chosen = rows_of(rows);
        return view(decide_values(nodes_of(), values, chosen));
    }

    template <typename NodesOf>
    py::object decide_answers_with(py::handle scores, py::handle answers, py::handle rows, NodesOf nodes_of) {
        const Turn turn(taken_);
        if (answered_ == nullptr) {
            throw std::invalid_argument(steps_ ? "decide_answers: this policy estimates from what nodes show; call "
                                                 "decide_logits"
                                               : "decide_answers: this policy decides on signals; call decide");
        }
        const auto chosen = rows_of(rows);
        const auto nodes = nodes_of();
        const Shown shown = shown_of(scores, answers, chosen, count_of(nodes));
        return view(decide_shown(nodes, shown, chosen));
    }

    template <typename Nodes>
    std::span<const std::int32_t> decide_values(Nodes nodes, std::span<const float> values, const Rows &rows) {
        return values.size() < kRowsWorthReleasing ? batch_->decide(nodes, values, rows)
                                                   : decide_away(nodes, values, rows);
    }
    // A function of its own: inside the one above it costs calls that keep the GIL 20 ns.
    template <typename Nodes>
    TTAMER_NOINLINE std::span<const std::int32_t> decide_away(Nodes nodes, std::span<const float> values,
                                                              const Rows &rows) {
        const py::gil_scoped_release release;
        return batch_->decide(nodes, values, rows);
    }

    template <typename Steps, typename Nodes>
    std::span<const std::int32_t> decide_estimates(Steps &steps, Nodes nodes, const Logits &logits, const Rows &rows) {
        if (logits.rows * logits.classes < kWorthReleasing) {
            return steps.decide(nodes, logits, rows);
        }
        const py::gil_scoped_release release;
        return steps.decide(nodes, logits, rows);
    }

    template <typename Nodes>
    std::span<const std::int32_t> decide_shown(Nodes nodes, const Shown &shown, const Rows &rows) {
        if (shown.rows < kAnswersWorthReleasing) {
            return answered_->decide(nodes, shown, rows);
        }
        const py::gil_scoped_release release;
        return answered_->decide(nodes, shown, rows);
    }

    static std::optional<std::size_t> count_of(std::int64_t /*node*/) { return std::nullopt; }
    static std::optional<std::size_t> count_of(std::span<const std::int32_t> nodes) { return nodes.size(); }

    // An int is the common case; tensors are asked for last, as even a tensor may pass for an integer.
    static bool is_node_array(py::handle node) {
        return py::isinstance<py::array>(node) || (!PyLong_Check(node.ptr()) && is_tensor(node));
    }
    static Argument node_array(py::handle node) { return {node, "node", "an int or (B,) int32"}; }

    std::span<const float> signals_from(py::handle logits, py::handle rows) {
        const Logits given = logits_of(logits);
        const auto chosen = rows_of(rows);
        logit_signals_.check(given, chosen);
        if (given.rows * given.classes < kWorthReleasing) {
            logit_signals_.compute(given);
        } else {
            const py::gil_scoped_release release;
            logit_signals_.compute(given);
        }
        return logit_signals_.finish(given, chosen);
    }

    static std::string refusal(const std::string &signal, const std::string &handed) {
        const auto recorded = handed.empty() ? "signals of the user's own" : "'" + handed + "'";
        return "decide: this policy decides on '" + signal + "', its traces recorded " + recorded +
               ": call decide_logits, or hand over signals of that kind and say so, start(signal='" + signal +
               "'), or fit on traces.with_signal('" + signal + "')";
    }

    static NanSignal nan_from(const std::string &nan) {
        if (nan == "error") {
            return NanSignal::error;
        }
        if (nan == "worst") {
            return NanSignal::worst;
        }
        if (nan == "failed") {
            return NanSignal::failed;
        }
        throw std::invalid_argument("nan: expected 'error' or 'worst' or 'failed', got '" + nan + "'");
    }

    static std::int64_t node_from(py::handle node) {
        const auto value = try_integer(node);
        if (!value) {
            throw py::type_error("node: expected an int or (B,) int32, got " + describe(node));
        }
        return *value;
    }

    static Rows rows_of(py::handle rows) { return rows.is_none() ? Rows{} : integers_of(rows, "rows"); }

    static Rows integers_of(py::handle rows, const char *name) {
        Rows chosen;
        chosen.given = true;
        const Argument argument{rows, name, "(B,) int32 or int64"};
        if (py::isinstance<py::array>(rows)) {
            if (has_dtype<std::int32_t>(py::reinterpret_borrow<py::array>(rows))) {
                chosen.narrow = span_of<std::int32_t>(argument);
            } else {
                chosen.wide = span_of<std::int64_t>(argument);
            }
        } else if (const TensorView tensor = tensor_of(argument); has_dtype<std::int32_t>(tensor)) {
            chosen.narrow = span_of<std::int32_t>(argument, tensor);
        } else {
            chosen.wide = span_of<std::int64_t>(argument, tensor);
        }
        return chosen;
    }

    // The array's base keeps the core batch alive, not this object: no cycle for the collector to find.
    py::array array_over(std::span<const std::int32_t> values) const {
        auto *owner = new std::shared_ptr<void>(steps_ ? std::shared_ptr<void>(steps_) : batch_);
        const py::capsule base(owner, [](void *held) { delete static_cast<std::shared_ptr<void> *>(held); });
        return py::array_t<std::int32_t>(static_cast<py::ssize_t>(values.size()), values.data(), base);
    }

    // Results lie in two buffers, each of which has its view.
    py::object view(std::span<const std::int32_t> next) {
        const auto *first = views_[0].values;
        View &view = views_[first == nullptr || first == next.data() ? 0 : 1];
        const auto count = static_cast<py::ssize_t>(next.size());
        // A caller may have reshaped, retyped or strided the array it was given; it is then made anew.
        if (!view.array || view.values != next.data() || view.array.ndim() != 1 || view.array.shape(0) != count ||
            !is_contiguous(view.array) || !has_dtype<std::int32_t>(view.array)) {
            view = {next.data(), array_over(next)};
        }
        return view.array;
    }

    struct View {
        const std::int32_t *values = nullptr; // the buffer; null before the first result in it
        py::array array{py::reinterpret_steal<py::array>(py::handle())};
    };

    std::shared_ptr<Batch> batch_;     // null where the policy is over steps
    std::shared_ptr<StepBatch> steps_; // null where it is not, and else one of these
    EstimatedBatch *estimated_ = nullptr;
    AnswerBatch *answered_ = nullptr;
    LogitSignals logit_signals_;
    std::string why_no_signals_; // what `decide` says where it takes none
    mutable std::atomic<bool> taken_ = false;
    std::array<View, 2> views_;
};

std::size_t count_from(py::handle classes) {
    const std::int64_t count = integer_of(classes, "classes");
    if (count < 0) {
        throw std::invalid_argument("classes: expected 0 or more, got " + std::to_string(count));
    }
    return static_cast<std::size_t>(count);
}

// A policy, or several of one front: then each row of the batch has one of them.
std::shared_ptr<const Policy> policy_of(py::handle policy) {
    if (!py::isinstance<py::tuple>(policy)) {
        return shared_of<Policy>(policy, "policy", "a Policy or a tuple of some");
    }
    std::vector<std::shared_ptr<const Policy>> tiers;
    for (const py::handle each : policy) {
        tiers.push_back(shared_of<Policy>(each, "policy", "a tuple of Policy"));
    }
    return std::make_shared<const Policy>(std::move(tiers));
}

} // namespace

void bind_batch(py::module_ &m) {
    py::class_<BoundBatch>(m, "Batch", kClassDoc)
        .def("decide", &BoundBatch::decide, py::arg("node"), py::arg("signals"), py::arg("rows") = py::none(),
             kDecideDoc)
        .def("decide_logits", &BoundBatch::decide_logits, py::arg("node"), py::arg("logits"),
             py::arg("rows") = py::none(), kDecideLogitsDoc)
        .def("decide_answers", &BoundBatch::decide_answers, py::arg("node"), py::arg("scores"),
             py::arg("answers") = py::none(), py::arg("rows") = py::none(), kDecideAnswersDoc)
        .def("_logit_signals", &BoundBatch::logit_signals, py::arg("logits"), py::arg("rows") = py::none(),
             "The (B,) float32 signals that decide_logits decides with.")
        .def("_estimated_signals", &BoundBatch::estimated_signals, py::arg("node"), py::arg("logits"),
             py::arg("rows") = py::none(), "The (B,) float32 signals of a policy that estimates; changes nothing.")
        .def("_nothing", &BoundBatch::nothing, py::arg("node"), py::arg("signals"), py::arg("rows") = py::none(),
             "Take decide's arguments and do nothing: the floor that benchmarks compare with.")
        .def("enter", &BoundBatch::enter, py::arg("places"), py::arg("rows") = py::none(), kEnterDoc)
        .def("reset", &BoundBatch::reset, py::arg("rows") = py::none(), kResetDoc)
        .def("resume", &BoundBatch::resume, py::arg("node"), py::arg("rows") = py::none(), kResumeDoc)
        .def_property_readonly("answer_node", &BoundBatch::answer_node,
                               "(capacity,) int32 : the node that answers, -1 while none does. "
                               "A copy.")
        .def_property_readonly("answer_loss", &BoundBatch::answer_loss,
                               "(capacity,) float64 : the answer's expected loss, inf while there is none.")
        .def_property_readonly("_answer_signal", &BoundBatch::answer_signal,
                               "(capacity,) float32 : the last estimate of each row's answer, NaN before.")
        .def_property_readonly("_answer_step", &BoundBatch::answer_step,
                               "(capacity,) int32 : the step at which that was made, -1 before.")
        .def_property_readonly("capacity", &BoundBatch::capacity, "int : number of rows.")
        .def("__len__", &BoundBatch::capacity);
    make_whole(py::type::of<BoundBatch>());
    // Not a constructor: users start a batch from a policy, which checks the arguments.
    m.def(
        "start",
        [](py::handle policy, py::handle capacity, py::handle nan, py::handle signal, py::handle handed,
           py::handle classes) {
            return std::make_unique<BoundBatch>(policy_of(policy), integer_of(capacity, "capacity"),
                                                string_of(nan, "nan"), string_of(signal, "signal"),
                                                string_of(handed, "handed"), count_from(classes));
        },
        py::arg("policy"), py::arg("capacity"), py::arg("nan"), py::arg("signal"), py::arg("handed"),
        py::arg("classes") = 0,
        "A batch of a policy that decides on `signal`; `decide` is refused if it is handed another kind, and "
        "`decide_logits` with logits of other than so many `classes`, if not 0. Of a tuple of policies each row gets "
        "one by `enter`.");
    m.def(
        "start_estimated",
        [](py::handle estimator, py::handle policy, py::handle capacity, py::handle nan) {
            return std::make_unique<BoundBatch>(shared_of<Estimator>(estimator, "estimator", "an Estimator"),
                                                policy_of(policy), integer_of(capacity, "capacity"),
                                                string_of(nan, "nan"));
        },
        py::arg("estimator"), py::arg("policy"), py::arg("capacity"), py::arg("nan"),
        "A batch of a policy over the steps of an estimator.");
    m.def(
        "start_sets",
        [](py::handle estimator, py::handle policy, py::handle capacity, py::handle nan, py::handle signal,
           py::handle classes) {
            return std::make_unique<BoundBatch>(shared_of<SetEstimator>(estimator, "estimator", "a SetEstimator"),
                                                policy_of(policy), integer_of(capacity, "capacity"),
                                                string_of(nan, "nan"), string_of(signal, "signal"),
                                                count_from(classes));
        },
        py::arg("estimator"), py::arg("policy"), py::arg("capacity"), py::arg("nan"), py::arg("signal"),
        py::arg("classes") = 0,
        "A batch of a policy over the steps of a set estimator, whose scores are `signal`, of logits of so many "
        "`classes`, if not 0.");
}

} // namespace ttamer::bindings
