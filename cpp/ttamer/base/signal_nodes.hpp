// Whose signals tell the states of nodes: what models and policies check.
#pragma once

#include "ttamer/base/topology.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace ttamer {

// Throws std::invalid_argument unless each node's state is told by its own signal, or by that of a node which every
// path to it passes, whose own signal does, and whose bins it shares. Losses that are seen are signals of their own.
template <typename EdgesOf>
void check_signal_nodes(const Topology &topology, const std::vector<std::int32_t> &signal_nodes, bool observed,
                        const EdgesOf &edges_of) {
    if (signal_nodes.size() != static_cast<std::size_t>(topology.nodes())) {
        throw std::invalid_argument("signal_nodes: expected one for each of the " + std::to_string(topology.nodes()) +
                                    " nodes, got " + std::to_string(signal_nodes.size()));
    }
    for (std::int32_t node = 0; node < topology.nodes(); ++node) {
        const std::int32_t source = signal_nodes[static_cast<std::size_t>(node)];
        const bool inside = source >= 0 && source < topology.nodes();
        if (source != node &&
            (observed || !inside || signal_nodes[static_cast<std::size_t>(source)] != source ||
             !topology.always_after(node, source) || !std::ranges::equal(edges_of(node), edges_of(source)))) {
            throw std::invalid_argument("signal_nodes: the signal of node " + std::to_string(source) +
                                        " cannot tell the state of node " + std::to_string(node));
        }
    }
}

} // namespace ttamer
