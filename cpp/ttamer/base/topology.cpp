#include "ttamer/base/topology.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

namespace ttamer {

namespace {

constexpr std::array<std::string_view, 4> kShapeNames = {"line", "skip", "forest", "dag"};

std::string edge_text(std::size_t number, const Edge &edge) {
    return "edge " + std::to_string(number) + " (" + std::to_string(edge.from) + " -> " + std::to_string(edge.to) + ")";
}

std::int64_t checked_nodes(std::int64_t nodes) {
    if (nodes < 1 || nodes > kMaxNodes) {
        throw std::invalid_argument("nodes: expected 1 to " + std::to_string(kMaxNodes) + ", got " +
                                    std::to_string(nodes));
    }
    return nodes;
}

std::vector<Edge> line_edges(std::int64_t nodes) {
    std::vector<Edge> edges;
    for (std::int32_t j = 0; j < nodes; ++j) {
        edges.push_back({j - 1, j});
    }
    return edges;
}

std::vector<Edge> skip_edges(std::int64_t nodes) {
    std::vector<Edge> edges;
    for (std::int32_t i = -1; i < nodes; ++i) {
        for (std::int32_t j = i + 1; j < nodes; ++j) {
            edges.push_back({i, j});
        }
    }
    return edges;
}

} // namespace

std::string_view shape_name(Shape shape) {
    return kShapeNames[static_cast<std::size_t>(shape)];
}

Shape shape_from_name(std::string_view name) {
    auto found = std::find(kShapeNames.begin(), kShapeNames.end(), name);
    if (found == kShapeNames.end()) {
        throw std::invalid_argument("kind: expected line, skip, forest or dag, got " + std::string(name));
    }
    return static_cast<Shape>(found - kShapeNames.begin());
}

Topology Topology::line(std::int64_t nodes) {
    return {Shape::line, nodes, line_edges(checked_nodes(nodes))};
}

Topology Topology::skip(std::int64_t nodes) {
    return {Shape::skip, nodes, skip_edges(checked_nodes(nodes))};
}

Topology Topology::forest(std::span<const std::int64_t> parents) {
    const auto nodes = checked_nodes(static_cast<std::int64_t>(parents.size()));
    std::vector<Edge> edges;
    for (std::int64_t j = 0; j < nodes; ++j) {
        const auto parent = parents[static_cast<std::size_t>(j)];
        if (parent < kRoot || parent >= nodes) {
            throw std::out_of_range("parents: node " + std::to_string(j) + " has parent " + std::to_string(parent) +
                                    ", expected -1 to " + std::to_string(nodes - 1));
        }
        edges.push_back({static_cast<std::int32_t>(parent), static_cast<std::int32_t>(j)});
    }
    return {Shape::forest, nodes, std::move(edges)};
}

Topology Topology::dag(std::int64_t nodes, std::span<const Edge> edges) {
    return {Shape::dag, checked_nodes(nodes), {edges.begin(), edges.end()}};
}

Topology Topology::from_parts(Shape shape, std::int64_t nodes, std::span<const Edge> edges) {
    if (shape == Shape::forest) {
        for (std::size_t e = 0; e < edges.size(); ++e) {
            if (edges[e].to != static_cast<std::int32_t>(e)) {
                throw std::invalid_argument("edges: expected edge " + std::to_string(e) +
                                            " of a forest to lead to node " + std::to_string(e) + ", got " +
                                            edge_text(e, edges[e]));
            }
        }
    }
    Topology topology(shape, checked_nodes(nodes), {edges.begin(), edges.end()});
    const bool as_declared = [&] {
        switch (shape) {
        case Shape::line:
            return topology.edges() == line_edges(nodes);
        case Shape::skip:
            return topology.edges() == skip_edges(nodes);
        case Shape::forest:
            return static_cast<std::int64_t>(topology.edges().size()) == nodes;
        case Shape::dag:
            return true;
        }
        return false;
    }();
    if (!as_declared) {
        throw std::invalid_argument("edges: not those of a " + std::string(shape_name(shape)) + " of " +
                                    std::to_string(nodes) + " nodes");
    }
    return topology;
}

Topology::Topology(Shape shape, std::int64_t nodes, std::vector<Edge> edges)
    : parts_(std::make_shared<const Parts>(shape, nodes, std::move(edges))) {}

Topology::Parts::Parts(Shape kind, std::int64_t count, std::vector<Edge> all)
    : shape(kind), nodes(static_cast<std::int32_t>(count)), edges(std::move(all)) {
    check_edges();
    link();
    sort_nodes();
}

void Topology::Parts::check_edges() const {
    std::set<std::pair<std::int32_t, std::int32_t>> seen;
    for (std::size_t e = 0; e < edges.size(); ++e) {
        const auto [from, to] = edges[e];
        if (from < kRoot || from >= nodes || to < 0 || to >= nodes) {
            throw std::out_of_range("edges: " + edge_text(e, edges[e]) + " leaves the range of " +
                                    std::to_string(nodes) + " nodes");
        }
        if (from == to) {
            throw std::invalid_argument("edges: " + edge_text(e, edges[e]) + " is a self-loop");
        }
        if (!seen.emplace(from, to).second) {
            throw std::invalid_argument("edges: " + edge_text(e, edges[e]) + " is a duplicate");
        }
    }
}

void Topology::Parts::link() {
    std::vector<std::vector<Successor>> lists(static_cast<std::size_t>(nodes) + 1);
    incoming.assign(static_cast<std::size_t>(nodes), -1);
    for (std::size_t e = 0; e < edges.size(); ++e) {
        const auto number = static_cast<std::int32_t>(e);
        lists[static_cast<std::size_t>(edges[e].from + 1)].push_back({edges[e].to, number});
        incoming[static_cast<std::size_t>(edges[e].to)] = number;
    }
    offsets.assign(1, 0);
    for (auto &list : lists) {
        std::sort(list.begin(), list.end(), [](auto a, auto b) { return a.node < b.node; });
        successors.insert(successors.end(), list.begin(), list.end());
        offsets.push_back(static_cast<std::int32_t>(successors.size()));
    }
}

void Topology::Parts::sort_nodes() {
    std::vector<std::int32_t> waiting(static_cast<std::size_t>(nodes), 0);
    for (const auto &edge : edges) {
        if (edge.from != kRoot) {
            ++waiting[static_cast<std::size_t>(edge.to)];
        }
    }
    // Kahn's algorithm; what never becomes free lies on a cycle or behind one.
    for (std::int32_t j = 0; j < nodes; ++j) {
        if (waiting[static_cast<std::size_t>(j)] == 0) {
            order.push_back(j);
        }
    }
    for (std::size_t done = 0; done < order.size(); ++done) {
        for (const auto &next : successors_of(order[done])) {
            if (--waiting[static_cast<std::size_t>(next.node)] == 0) {
                order.push_back(next.node);
            }
        }
    }
    if (order.size() < static_cast<std::size_t>(nodes)) {
        const auto stuck = std::find_if(waiting.begin(), waiting.end(), [](auto count) { return count > 0; });
        throw std::invalid_argument("edges: node " + std::to_string(stuck - waiting.begin()) +
                                    " lies on or behind a cycle");
    }
    std::vector<char> reached(static_cast<std::size_t>(nodes), 0);
    for (const auto &next : successors_of(kRoot)) {
        reached[static_cast<std::size_t>(next.node)] = 1;
    }
    for (const auto node : order) {
        if (reached[static_cast<std::size_t>(node)] == 0) {
            throw std::invalid_argument("edges: node " + std::to_string(node) +
                                        " cannot be reached from the root (-1)");
        }
        for (const auto &next : successors_of(node)) {
            reached[static_cast<std::size_t>(next.node)] = 1;
        }
    }
}

bool Topology::always_after(std::int32_t node, std::int32_t before) const {
    std::vector<char> reached(static_cast<std::size_t>(nodes()), 0); // on paths that avoid `before`
    const auto reach_from = [&](std::int32_t from) {
        for (const auto &next : successors(from)) {
            reached[static_cast<std::size_t>(next.node)] = next.node == before ? 0 : 1;
        }
    };
    reach_from(kRoot);
    for (const auto other : order()) {
        if (reached[static_cast<std::size_t>(other)] != 0) {
            reach_from(other);
        }
    }
    return reached[static_cast<std::size_t>(node)] == 0;
}

} // namespace ttamer
