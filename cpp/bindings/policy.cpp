#include "ttamer/policy/policy.hpp"

#include "arguments.hpp"
#include "bindings.hpp"

#include "ttamer/replay/replay.hpp"
#include "ttamer/solve/expect.hpp"
#include "ttamer/solve/solve.hpp"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

namespace ttamer::bindings {

namespace {

std::shared_ptr<Policy> policy_from_tables(py::handle topology, py::handle recall, py::handle observed,
                                           py::handle tradeoff, py::handle value, py::handle cost_scale,
                                           py::handle first_node, py::handle tables) {
    if (!py::isinstance<py::dict>(tables)) {
        refuse_type(tables, "arrays", "a dict");
    }
    const auto arrays = py::reinterpret_borrow<py::dict>(tables);
    const auto doubles = [&](const char *name) { return vector_of<double>(arrays[name], name, "(*,) float64"); };
    const auto integers = [&](const char *name) { return vector_of<std::int32_t>(arrays[name], name, "(*,) int32"); };
    // Anything outside int32 follows the root as little as what it is clamped to; the core says so.
    const auto narrowed =
        static_cast<std::int32_t>(std::clamp<std::int64_t>(integer_of(first_node, "first_node"), INT32_MIN, INT32_MAX));
    const auto &shape = instance_of<Topology>(topology, "topology", "a Topology");
    std::vector<std::int32_t> signal_nodes(static_cast<std::size_t>(shape.nodes()));
    std::iota(signal_nodes.begin(), signal_nodes.end(), 0);
    if (arrays.contains("signal_nodes")) { // files have it where they need it
        signal_nodes = integers("signal_nodes");
    }
    return std::make_shared<Policy>(PolicyTables{
        shape, flag_of(recall, "recall"), flag_of(observed, "observed"), number_of(tradeoff, "tradeoff"),
        number_of(value, "value"), number_of(cost_scale, "cost_scale"), narrowed, doubles("costs"), doubles("levels"),
        integers("state_offsets"), vector_of<float>(arrays["bin_edges"], "bin_edges", "(*,) float32"),
        integers("ranks"), integers("interval_offsets"), integers("interval_upper"), integers("interval_next"),
        integers("index_offsets"), integers("index_ranks"), std::move(signal_nodes)});
}

py::dict arrays_of(const Policy &policy) {
    const auto &t = policy.tables();
    py::dict arrays;
    arrays["costs"] = to_array(t.costs);
    arrays["levels"] = to_array(t.levels);
    arrays["state_offsets"] = to_array(t.state_offsets);
    arrays["bin_edges"] = to_array(t.bin_edges);
    arrays["ranks"] = to_array(t.ranks);
    arrays["interval_offsets"] = to_array(t.interval_offsets);
    arrays["interval_upper"] = to_array(t.interval_upper);
    arrays["interval_next"] = to_array(t.interval_next);
    arrays["index_offsets"] = to_array(t.index_offsets);
    arrays["index_ranks"] = to_array(t.index_ranks);
    if (policy.carries_signals()) {
        arrays["signal_nodes"] = to_array(t.signal_nodes);
    }
    return arrays;
}

// What the policy works out of its tables when it is made, for other programs that decide.
py::dict derived_of(const Policy &policy) {
    const auto nodes = policy.nodes();
    std::vector<std::int32_t> stop_upper;
    std::vector<std::int32_t> only_next;
    std::vector<std::int32_t> only_previous;
    std::vector<std::int32_t> worst_state;
    for (std::int32_t node = 0; node < nodes; ++node) {
        for (std::int32_t state = 0; state < policy.states(node); ++state) {
            stop_upper.push_back(policy.stop_upper(node, state));
        }
        only_next.push_back(policy.only_next(node));
        only_previous.push_back(policy.only_previous(node));
        worst_state.push_back(policy.worst_state(node));
    }
    py::dict arrays;
    arrays["stop_upper"] = to_array(stop_upper);
    arrays["only_next"] = to_array(only_next);
    arrays["only_previous"] = to_array(only_previous);
    arrays["worst_state"] = to_array(worst_state);
    return arrays;
}

std::shared_ptr<Model> model_of(py::handle value) {
    return shared_of<Model>(value, "model", "a Model");
}

// How many meta-states to aggregate to; 0 for none.
std::size_t states_of(py::handle value) {
    const auto states = integer_of(value, "aggregate");
    if (states < 0) {
        throw std::invalid_argument("aggregate: expected at least 0, got " + std::to_string(states));
    }
    return static_cast<std::size_t>(states);
}

py::tuple replay_arrays(const Policy &policy, py::handle signals, py::handle costs, py::handle losses) {
    const auto array = checked_array<float>(signals, "signals", "(N, n) float32", 2);
    const bool by_request = py::isinstance<py::array>(costs) && py::reinterpret_borrow<py::array>(costs).ndim() == 2;
    const auto cost_array = checked_array<double>(costs, "costs", "(E,) or (N, E) float64", by_request ? 2 : 1);
    const auto edge_costs = as_span<double>(cost_array);
    const auto edges = policy.topology().edges().size();
    if (array.shape(1) != policy.nodes()) {
        throw std::invalid_argument("signals: expected (N, " + std::to_string(policy.nodes()) + ") float32, got " +
                                    describe(signals));
    }
    const py::ssize_t rows = array.shape(0);
    if (edge_costs.size() != edges * (by_request ? static_cast<std::size_t>(rows) : 1) ||
        (by_request && cost_array.shape(0) != rows)) {
        throw std::invalid_argument("costs: expected (" + std::to_string(edges) +
                                    ",), one an edge, or a row of these for each of the " + std::to_string(rows) +
                                    " requests, got " + describe(costs));
    }
    Recorded recorded{as_span<float>(array), edge_costs, {}};
    py::array recorded_losses;
    if (!losses.is_none()) {
        recorded_losses = checked_array<float>(losses, "losses", "(N, n) float32 like signals", 2);
        if (recorded_losses.shape(0) != rows || recorded_losses.shape(1) != policy.nodes()) {
            throw std::invalid_argument("losses: expected (N, n) float32 like signals, got " + describe(losses));
        }
        recorded.losses = as_span<float>(recorded_losses);
    }
    py::array_t<std::int32_t> last_node(rows);
    py::array_t<std::int32_t> answer_node(rows);
    py::array_t<double> cost(rows);
    py::array_t<double> loss(losses.is_none() ? 0 : rows);
    const auto count = static_cast<std::size_t>(rows);
    const Replayed result{{last_node.mutable_data(), count},
                          {answer_node.mutable_data(), count},
                          {cost.mutable_data(), count},
                          {loss.mutable_data(), static_cast<std::size_t>(loss.size())}};
    {
        py::gil_scoped_release release;
        replay(policy, recorded, result);
    }
    return py::make_tuple(last_node, answer_node, cost, loss);
}

} // namespace

void bind_policy(py::module_ &m) {
    py::class_<Policy, std::shared_ptr<Policy>>(m, "Policy", "Immutable tables of a policy.")
        .def_static("_make", &policy_from_tables, py::arg("topology"), py::arg("recall"), py::arg("observed"),
                    py::arg("tradeoff"), py::arg("value"), py::arg("cost_scale"), py::arg("first_node"),
                    py::arg("arrays"))
        .def("arrays", &arrays_of, "dict of all tables, copied.")
        .def("derived", &derived_of,
             "dict of what follows from the tables: stop_upper, one a state (stop while the best rank is at most this; "
             "-1: never), and one a node only_next (-1: every state stops) and only_previous (-1: the root), both -2 "
             "where there are several, and worst_state, which NaN counts as.")
        .def_property_readonly("topology", [](const Policy &p) { return p.tables().topology; })
        .def_property_readonly("recall", [](const Policy &p) { return p.tables().recall; })
        .def_property_readonly("observed", [](const Policy &p) { return p.tables().observed; })
        .def_property_readonly("tradeoff", [](const Policy &p) { return p.tables().tradeoff; })
        .def_property_readonly("value", [](const Policy &p) { return p.tables().value; })
        .def_property_readonly("cost_scale", [](const Policy &p) { return p.tables().cost_scale; })
        .def_property_readonly("first_node", [](const Policy &p) { return p.tables().first_node; })
        .def_property_readonly("signal_nodes", [](const Policy &p) { return to_array(p.tables().signal_nodes); })
        .def("replay", &replay_arrays, py::arg("signals"), py::arg("costs"), py::arg("losses") = py::none(),
             "(last_node, answer_node, cost, loss) over (N, n) float32 signals; loss is empty without (N, n) losses.");
    make_whole(py::type::of<Policy>());
    m.def(
        "solve",
        [](py::handle problem, py::handle weight, py::handle has_recall, py::handle most) {
            const auto model = model_of(problem);
            const auto tradeoff = number_of(weight, "tradeoff");
            const auto recall = flag_of(has_recall, "recall");
            const auto states = states_of(most);
            py::gil_scoped_release release;
            // Not one call with a conditional argument: that would copy the model where nothing is aggregated.
            return std::make_shared<Policy>(states == 0 ? solve(*model, tradeoff, recall)
                                                        : solve(aggregate(*model, states), tradeoff, recall));
        },
        py::arg("model"), py::arg("tradeoff"), py::arg("recall"), py::arg("aggregate") = 0,
        "The optimal policy; with aggregate > 0, after soft aggregation to that many meta-states.");
    m.def(
        "surrogates",
        [](py::handle problem, py::handle weight, py::handle loss, py::handle most) {
            const auto model = model_of(problem);
            const auto tradeoff = number_of(weight, "tradeoff");
            const auto outside = number_of(loss, "outside");
            const auto states = states_of(most);
            if (!model->topology.has_index()) {
                throw std::invalid_argument("topology: an index is defined on lines and forests, got a " +
                                            std::string(shape_name(model->topology.shape())));
            }
            Surrogates result;
            {
                py::gil_scoped_release release;
                const auto weighted = weigh_costs(*model, tradeoff);
                result = states == 0 ? solve_forest(*model, weighted, outside)
                                     : solve_forest(aggregate(*model, states), weighted, outside);
            }
            py::list index;
            for (const auto &row : result.index) {
                index.append(to_array(row));
            }
            return py::make_tuple(index, result.value);
        },
        py::arg("model"), py::arg("tradeoff"), py::arg("outside"), py::arg("aggregate") = 0,
        "(index, value) in units of loss: the dynamic index of each node, and E[min(outside, min of kappa)].");
    m.def(
        "expect",
        [](py::handle problem, py::handle tables) {
            const auto model = model_of(problem);
            const auto policy = shared_of<Policy>(tables, "policy", "a Policy");
            Expectation result;
            {
                py::gil_scoped_release release;
                result = expect(*model, *policy);
            }
            return py::make_tuple(to_array(result.visits), to_array(result.stops), result.cost, result.loss);
        },
        py::arg("model"), py::arg("policy"),
        "(visits, stops, cost, loss): probability of each state to be visited and stopped in; expected cost and loss.");
}

} // namespace ttamer::bindings
