// Replays where the policy walks from node to node.
#pragma once

#include "ttamer/replay/replay.hpp"

namespace ttamer {

// For policies that are no forest; leaves out the losses.
void replay_walk(const Policy &policy, const Recorded &recorded, const Replayed &result);

} // namespace ttamer
