// Shapes, and what is said of those that are none.
#include "ttamer/base/topology.hpp"

#include "check.hpp"

#include <algorithm>
#include <stdexcept>
#include <vector>

using namespace ttamer;

namespace {

using Edges = std::vector<Edge>;

void shapes() {
    CHECK(Topology::line(3).edges() == Edges{{-1, 0}, {0, 1}, {1, 2}});
    CHECK(Topology::skip(2).edges() == Edges{{-1, 0}, {-1, 1}, {0, 1}});
    const std::vector<std::int64_t> parents{1, -1, 1};
    CHECK(Topology::forest(parents).edges() == Edges{{1, 0}, {-1, 1}, {1, 2}});
    const Edges edges{{1, 0}, {-1, 1}};
    CHECK(Topology::dag(2, edges).edges() == edges);
    CHECK(Topology::skip(1024).edges().size() == 1024U * 1025U / 2U);
    CHECK(Topology::line(1) == Topology::line(1));
    CHECK(!(Topology::line(1) == Topology::skip(1)));
    for (const auto shape : {Shape::line, Shape::skip, Shape::forest, Shape::dag}) {
        CHECK(shape_from_name(shape_name(shape)) == shape);
    }
}

void orders() {
    const Edges edges{{2, 0}, {-1, 2}, {0, 1}, {2, 1}, {-1, 3}};
    const auto dag = Topology::dag(4, edges);
    const auto &order = dag.order();
    const auto place = [&](std::int32_t node) { return std::find(order.begin(), order.end(), node); };
    CHECK(order.size() == 4);
    for (const auto &edge : edges) {
        CHECK(edge.from == kRoot || place(edge.from) < place(edge.to));
    }
    const auto next = dag.successors(2);
    CHECK(next.size() == 2 && next[0].node == 0 && next[1].node == 1 && next[0].edge == 0 && next[1].edge == 3);
    CHECK(dag.successors(kRoot).size() == 2);
    CHECK(dag.successors(3).empty());
    CHECK(Topology::line(3).incoming_edge(2) == 2);
}

void refused() {
    CHECK_THROWS(Topology::line(0), std::invalid_argument, "nodes: expected 1 to 1024, got 0");
    CHECK_THROWS(Topology::line(-1), std::invalid_argument, "got -1");
    CHECK_THROWS(Topology::skip(1025), std::invalid_argument, "nodes: expected 1 to 1024, got 1025");
    const auto forest = [](std::vector<std::int64_t> parents) { return Topology::forest(parents); };
    CHECK_THROWS(forest({}), std::invalid_argument, "nodes");
    CHECK_THROWS(forest({-1, 2}), std::out_of_range, "parents: node 1 has parent 2");
    CHECK_THROWS(forest({-2}), std::out_of_range, "parents: node 0 has parent -2");
    CHECK_THROWS(forest({0}), std::invalid_argument, "edge 0 (0 -> 0) is a self-loop");
    CHECK_THROWS(forest({-1, 2, 1}), std::invalid_argument, "node 1 lies on or behind a cycle");
    const auto dag = [](std::int64_t nodes, const Edges &edges) { return Topology::dag(nodes, edges); };
    CHECK_THROWS(dag(2, {{-1, 0}, {0, 2}}), std::out_of_range, "edge 1 (0 -> 2) leaves the range of 2 nodes");
    CHECK_THROWS(dag(2, {{-1, 0}, {0, -1}}), std::out_of_range, "edge 1 (0 -> -1)");
    CHECK_THROWS(dag(2, {{-2, 0}}), std::out_of_range, "edge 0 (-2 -> 0)");
    CHECK_THROWS(dag(2, {{-1, 0}, {0, 1}, {0, 1}}), std::invalid_argument, "edge 2 (0 -> 1) is a duplicate");
    CHECK_THROWS(dag(2, {{-1, 0}}), std::invalid_argument, "node 1 cannot be reached from the root");
    CHECK_THROWS(dag(2, {}), std::invalid_argument, "node 0 cannot be reached");
    CHECK_THROWS(dag(3, {{-1, 0}, {1, 2}, {2, 1}}), std::invalid_argument, "cycle");
    CHECK_THROWS(shape_from_name("ring"), std::invalid_argument, "kind: expected line, skip, forest or dag, got ring");
    CHECK_THROWS(shape_from_name(""), std::invalid_argument, "kind");
}

void parts() {
    for (const auto &topology : {Topology::line(4), Topology::skip(4)}) {
        CHECK(Topology::from_parts(topology.shape(), 4, topology.edges()) == topology);
        CHECK_THROWS(Topology::from_parts(topology.shape(), 5, topology.edges()), std::invalid_argument, "edges");
    }
    const auto line = Topology::line(3).edges();
    CHECK_THROWS(Topology::from_parts(Shape::skip, 3, line), std::invalid_argument, "not those of a skip of 3 nodes");
    const Edges swapped{{0, 1}, {-1, 0}};
    CHECK_THROWS(Topology::from_parts(Shape::line, 2, swapped), std::invalid_argument, "not those of a line");
    CHECK_THROWS(Topology::from_parts(Shape::forest, 2, swapped), std::invalid_argument,
                 "expected edge 0 of a forest to lead to node 0");
    const Edges twice{{-1, 0}, {-1, 1}, {0, 1}};
    CHECK_THROWS(Topology::from_parts(Shape::forest, 2, twice), std::invalid_argument,
                 "expected edge 2 of a forest to lead to node 2");
    CHECK(Topology::from_parts(Shape::dag, 2, swapped).edges() == swapped);
}

} // namespace

int main() {
    shapes();
    orders();
    refused();
    parts();
    return test::result();
}
