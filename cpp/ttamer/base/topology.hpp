// Nodes, edges and the virtual root of a cascade.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace ttamer {

inline constexpr std::int32_t kRoot = -1;
inline constexpr std::int32_t kStop = -1;

// A policy keeps a table of (nodes + 1) x nodes, and a row of a batch 15 bits for a position.
inline constexpr std::int64_t kMaxNodes = 1024;

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

// Immutable once built; every constructor validates, so whoever holds a Topology may index without checks. Copies share
// what they hold: every policy has one.
class Topology {
  public:
    static Topology line(std::int64_t nodes);
    static Topology skip(std::int64_t nodes);
    static Topology forest(std::span<const std::int64_t> parents);
    static Topology dag(std::int64_t nodes, std::span<const Edge> edges);
    // What files hold: the shape's name, the number of nodes and the edges, checked to be those of the shape.
    static Topology from_parts(Shape shape, std::int64_t nodes, std::span<const Edge> edges);

    // No moves: they would leave nothing behind, and a copy costs as little.
    Topology(const Topology &) = default;
    Topology &operator=(const Topology &) = default;
    ~Topology() = default;

    Shape shape() const { return parts_->shape; }
    std::int32_t nodes() const { return parts_->nodes; }
    const std::vector<Edge> &edges() const { return parts_->edges; }

    // Successors of `from` (kRoot included), by ascending node: ties go to the lowest node.
    std::span<const Successor> successors(std::int32_t from) const { return parts_->successors_of(from); }

    // Every node after all its predecessors.
    const std::vector<std::int32_t> &order() const { return parts_->order; }

    // On forests and lines: the edge over which the node is reached.
    std::int32_t incoming_edge(std::int32_t node) const { return parts_->incoming[static_cast<std::size_t>(node)]; }

    // Whether every path from the root to `node` passes `before`, another node.
    bool always_after(std::int32_t node, std::int32_t before) const;

    // True where each node has one parent, so that a dynamic index exists.
    bool has_index() const { return shape() == Shape::line || shape() == Shape::forest; }

    bool operator==(const Topology &other) const {
        return parts_ == other.parts_ ||
               (shape() == other.shape() && nodes() == other.nodes() && edges() == other.edges());
    }

  private:
    struct Parts {
        Parts(Shape kind, std::int64_t count, std::vector<Edge> all);

        std::span<const Successor> successors_of(std::int32_t from) const {
            const auto begin = offsets[static_cast<std::size_t>(from + 1)];
            const auto end = offsets[static_cast<std::size_t>(from + 2)];
            return {successors.data() + begin, static_cast<std::size_t>(end - begin)};
        }
        void check_edges() const;
        void link();
        void sort_nodes();

        Shape shape;
        std::int32_t nodes;
        std::vector<Edge> edges;
        std::vector<std::int32_t> offsets;
        std::vector<Successor> successors;
        std::vector<std::int32_t> order;
        std::vector<std::int32_t> incoming;
    };

    Topology(Shape shape, std::int64_t nodes, std::vector<Edge> edges);

    std::shared_ptr<const Parts> parts_;
};

} // namespace ttamer
