#include "ttamer/base/topology.hpp"

#include "arguments.hpp"
#include "bindings.hpp"

#include <pybind11/operators.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>

namespace ttamer::bindings {

namespace {

constexpr const char *kClassDoc = R"(Which node may be consulted after which.

Node -1 is the virtual root: every request starts there. Build one with `line`, `skip`, `forest` or `dag`.
Immutable, hashable and comparable.)";

constexpr const char *kLineDoc = R"(0 -> 1 -> ... -> nodes - 1: the exit ramps of one network.

Parameters
----------
nodes : int
    Number of nodes, at least 1.

Raises
------
ValueError
    If `nodes` is out of range.)";

constexpr const char *kSkipDoc = R"(The transitive closure of a line: after node i any j > i may be consulted.

What is jumped over cannot be consulted later. Edges are in lexicographic order.

Parameters
----------
nodes : int
    Number of nodes, at least 1.)";

constexpr const char *kForestDoc = R"(Each node has one parent or the root; branches once opened stay open.

Parameters
----------
parents : sequence of int
    Parent of each node, -1 for the root. Edge j is (parents[j], j).

Raises
------
IndexError
    If a parent is out of range.
ValueError
    If there is a self-loop or a cycle.)";

constexpr const char *kDagDoc = R"(Any acyclic set of edges; only successors of the node consulted last are open.

Parameters
----------
nodes : int
    Number of nodes, at least 1.
edges : sequence of (int, int)
    Pairs (i, j): j may be consulted after i; i = -1 is the root. Their order is the order of costs.

Raises
------
IndexError
    If an edge is out of range.
ValueError
    If there is a cycle, a self-loop, a duplicate or a node that cannot be reached. The edge or node is named.)";

constexpr const char *kSkipCostsDoc = R"(Costs of a skip whose nodes are exit ramps on one trunk.

What is jumped over still runs its part of the trunk, but not its ramp: edge (i, j) costs
segment[i + 1] + ... + segment[j] + ramp[j].

Parameters
----------
segment : (n,) float
    Cost of the trunk from the node before (or the input) to each node.
ramp : (n,) float
    Cost of each node's ramp.

Returns
-------
(E,) float64
    One cost an edge, in the order of `Topology.skip(n).edges`, in the unit of the arguments.

Raises
------
ValueError
    If the lengths differ, or a value is negative or not finite.)";

constexpr std::size_t kMostNodes = kMaxNodes;
constexpr std::size_t kMostEdges = kMostNodes * (kMostNodes + 1) / 2;

std::vector<std::int64_t> parents_of(py::handle value) {
    const std::string expected = "a sequence of int";
    std::vector<std::int64_t> parents;
    for (const auto &item : items_of(value, "parents", expected, kMostNodes)) {
        parents.push_back(integer_of(item, "parents[" + std::to_string(parents.size()) + "]"));
    }
    return parents;
}

std::vector<double> costs_of(py::handle value, const char *name) {
    std::vector<double> costs;
    for (const auto &item : items_of(value, name, "a sequence of numbers", kMostNodes)) {
        costs.push_back(number_of(item, std::string(name) + "[" + std::to_string(costs.size()) + "]"));
    }
    return costs;
}

py::array_t<double> skip_costs(py::handle segments, py::handle ramps) {
    const auto segment = costs_of(segments, "segment");
    const auto ramp = costs_of(ramps, "ramp");
    if (segment.size() != ramp.size()) {
        throw std::invalid_argument("ramp: expected " + std::to_string(segment.size()) + " costs, one a segment, got " +
                                    std::to_string(ramp.size()));
    }
    const auto bad = [](double cost) { return !(cost >= 0) || std::isinf(cost); };
    for (const auto *costs : {&segment, &ramp}) {
        if (std::any_of(costs->begin(), costs->end(), bad)) {
            throw std::invalid_argument(std::string(costs == &segment ? "segment" : "ramp") +
                                        ": expected finite values >= 0");
        }
    }
    const auto topology = Topology::skip(static_cast<std::int64_t>(segment.size()));
    std::vector<double> costs;
    for (const auto &edge : topology.edges()) {
        double cost = ramp[static_cast<std::size_t>(edge.to)];
        for (auto j = edge.from + 1; j <= edge.to; ++j) {
            cost += segment[static_cast<std::size_t>(j)];
        }
        costs.push_back(cost);
    }
    return to_array(costs);
}

std::pair<std::int64_t, std::int64_t> pair_of(py::handle value, std::size_t number) {
    const auto name = "edges[" + std::to_string(number) + "]";
    const auto ends = items_of(value, name, "a pair of int", 2);
    if (ends.size() != 2) {
        throw py::value_error(name + ": expected a pair of int, got " + std::to_string(ends.size()) + " of them");
    }
    return {integer_of(ends[0], name, "a pair of int"), integer_of(ends[1], name, "a pair of int")};
}

std::vector<Edge> edges_of(py::handle value) {
    const auto pairs = items_of(value, "edges", "a sequence of pairs of int", kMostEdges);
    std::vector<Edge> edges;
    for (std::size_t e = 0; e < pairs.size(); ++e) {
        const auto [from, to] = pair_of(pairs[e], e);
        // Narrowing first would let 2**32 pass as node 0.
        if (from < kRoot || from > INT32_MAX || to < 0 || to > INT32_MAX) {
            throw std::out_of_range("edges: edge " + std::to_string(e) + " (" + std::to_string(from) + " -> " +
                                    std::to_string(to) + ") is out of range");
        }
        edges.push_back({static_cast<std::int32_t>(from), static_cast<std::int32_t>(to)});
    }
    return edges;
}

py::array_t<std::int32_t> edge_array(const Topology &topology) {
    const auto &edges = topology.edges();
    py::array_t<std::int32_t> out({static_cast<py::ssize_t>(edges.size()), py::ssize_t{2}});
    auto view = out.mutable_unchecked<2>();
    for (py::ssize_t e = 0; e < view.shape(0); ++e) {
        view(e, 0) = edges[static_cast<std::size_t>(e)].from;
        view(e, 1) = edges[static_cast<std::size_t>(e)].to;
    }
    return out;
}

std::vector<std::pair<std::int64_t, std::int64_t>> edge_pairs(const Topology &topology) {
    std::vector<std::pair<std::int64_t, std::int64_t>> pairs;
    for (const auto &edge : topology.edges()) {
        pairs.emplace_back(edge.from, edge.to);
    }
    return pairs;
}

std::string represent(const Topology &topology) {
    const std::string kind(shape_name(topology.shape()));
    if (topology.shape() == Shape::line || topology.shape() == Shape::skip) {
        return "Topology." + kind + "(" + std::to_string(topology.nodes()) + ")";
    }
    std::string text = topology.shape() == Shape::forest ? "Topology.forest(["
                                                         : "Topology.dag(" + std::to_string(topology.nodes()) + ", [";
    for (std::size_t e = 0; e < topology.edges().size(); ++e) {
        const auto [from, to] = topology.edges()[e];
        text += e > 0 ? ", " : "";
        text += topology.shape() == Shape::forest ? std::to_string(from)
                                                  : "(" + std::to_string(from) + ", " + std::to_string(to) + ")";
    }
    return text + "])";
}

} // namespace

void bind_topology(py::module_ &m) {
    py::class_<Topology>(m, "Topology", kClassDoc)
        .def_static(
            "line", [](py::handle nodes) { return Topology::line(integer_of(nodes, "nodes")); }, py::arg("nodes"),
            kLineDoc)
        .def_static(
            "skip", [](py::handle nodes) { return Topology::skip(integer_of(nodes, "nodes")); }, py::arg("nodes"),
            kSkipDoc)
        .def_static(
            "forest", [](py::handle parents) { return Topology::forest(parents_of(parents)); }, py::arg("parents"),
            kForestDoc)
        .def_static(
            "dag",
            [](py::handle nodes, py::handle edges) {
                const auto count = integer_of(nodes, "nodes");
                return Topology::dag(count, edges_of(edges));
            },
            py::arg("nodes"), py::arg("edges"), kDagDoc)
        .def_static("skip_costs", &skip_costs, py::arg("segment"), py::arg("ramp"), kSkipCostsDoc)
        .def_static(
            "from_parts",
            [](py::handle kind, py::handle nodes, py::handle edges) {
                const auto shape = shape_from_name(string_of(kind, "kind"));
                const auto count = integer_of(nodes, "nodes");
                return Topology::from_parts(shape, count, edges_of(edges));
            },
            py::arg("kind"), py::arg("nodes"), py::arg("edges"),
            "Rebuild a topology from what a file holds; ValueError if the edges are not those of the kind.")
        .def_property_readonly(
            "kind", [](const Topology &t) { return std::string(shape_name(t.shape())); },
            "str : 'line', 'skip', 'forest' or 'dag'.")
        .def_property_readonly("nodes", &Topology::nodes, "int : number of nodes.")
        .def_property_readonly("edges", &edge_array, "(E, 2) int32 : edges (i, j) in the order of costs, -1 the root.")
        .def(py::self == py::self)
        .def("__hash__",
             [](const Topology &t) {
                 return py::hash(
                     py::make_tuple(std::string(shape_name(t.shape())), t.nodes(), py::tuple(py::cast(edge_pairs(t)))));
             })
        .def("__repr__", &represent)
        .def("__reduce__", [](const Topology &t) {
            // A function of pybind11's does not pickle, its name does.
            const auto make =
                py::module_::import("operator")
                    .attr("methodcaller")("from_parts", std::string(shape_name(t.shape())), t.nodes(), edge_pairs(t));
            return py::make_tuple(make, py::make_tuple(py::type::of<Topology>()));
        });
    make_whole(py::type::of<Topology>());
}

} // namespace ttamer::bindings
