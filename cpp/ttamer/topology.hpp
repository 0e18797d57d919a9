// Nodes, edges and the virtual root of a cascade.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace ttamer {

inline constexpr std::int32_t kRoot = -1;
inline constexpr std::int32_t kStop = -1;

enum class Shape { line, skip, forest, dag };

std::string_view shape_name(Shape shape);
Shape shape_from_name(std::string_view name);

struct Edge {
    std::int32_t from;
    std::int32_t to;
    bool operator==(const Edge &) const = default;
};

struct Successor {
    std::int32_t node;
    std::int32_t edge;
};

// Immutable once built; every constructor validates, so whoever holds a Topology may index without checks.
class Topology {
  public:
    static Topology line(std::int64_t nodes);
    static Topology skip(std::int64_t nodes);
    static Topology forest(std::span<const std::int64_t> parents);
    static Topology dag(std::int64_t nodes, std::span<const Edge> edges);
    // What files hold: the shape's name, the number of nodes and the edges, checked to be those of the shape.
    static Topology from_parts(Shape shape, std::int64_t nodes, std::span<const Edge> edges);

    Shape shape() const { return shape_; }
    std::int32_t nodes() const { return nodes_; }
    const std::vector<Edge> &edges() const { return edges_; }

    // Successors of `from` (kRoot included), by ascending node: ties go to the lowest node.
    std::span<const Successor> successors(std::int32_t from) const {
        auto begin = offsets_[static_cast<std::size_t>(from + 1)];
        auto end = offsets_[static_cast<std::size_t>(from + 2)];
        return {successors_.data() + begin, static_cast<std::size_t>(end - begin)};
    }

    // Every node after all its predecessors.
    const std::vector<std::int32_t> &order() const { return order_; }

    // On forests and lines: the edge over which the node is reached.
    std::int32_t incoming_edge(std::int32_t node) const { return incoming_[static_cast<std::size_t>(node)]; }

    // True where each node has one parent, so that a dynamic index exists.
    bool has_index() const { return shape_ == Shape::line || shape_ == Shape::forest; }

    bool operator==(const Topology &other) const {
        return shape_ == other.shape_ && nodes_ == other.nodes_ && edges_ == other.edges_;
    }

  private:
    Topology(Shape shape, std::int64_t nodes, std::vector<Edge> edges);
    void check_edges() const;
    void link();
    void sort_nodes();

    Shape shape_;
    std::int32_t nodes_;
    std::vector<Edge> edges_;
    std::vector<std::int32_t> offsets_;
    std::vector<Successor> successors_;
    std::vector<std::int32_t> order_;
    std::vector<std::int32_t> incoming_;
};

} // namespace ttamer
