"""Small networks with exits, and policies under which their requests leave everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from helpers import random_model
from torch import Tensor, nn

import ttamer
from ttamer.torch import EarlyExit

EXITS, WIDTH, CLASSES = 5, 6, 4
SHAPES = {
    "line": ttamer.Topology.line(EXITS),
    "skip": ttamer.Topology.skip(EXITS),
    "dag": ttamer.Topology.dag(EXITS, [(-1, 0), (-1, 1), (0, 2), (0, 3), (1, 3), (2, 4), (3, 4)]),
}


def network(signal: str = "max_prob", exits: int = EXITS) -> EarlyExit:
    torch.manual_seed(0)
    stages = [nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()) for _ in range(exits)]
    heads = [nn.Linear(WIDTH, CLASSES) for _ in range(exits)]
    for head in heads:
        nn.init.normal_(head.weight, std=3.0)  # confident enough for signals to differ
    return EarlyExit(stages, heads, signal).eval()


def inputs(rows: int = 200, seed: int = 5) -> Tensor:
    return torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(seed))


def recorded(model: EarlyExit, x: Any, topology: ttamer.Topology | None = None, **keywords: Any) -> ttamer.Traces:
    """Traces of some inputs, with labels that the last exit mostly gets right and costs of no meaning."""
    topology = topology or ttamer.Topology.line(len(model.exits))
    with torch.no_grad():
        labels = model.all_logits(x, **keywords)[-1].argmax(dim=1)
    labels[::7] = 0
    costs = np.random.default_rng(0).uniform(0.1, 1.0, len(topology.edges))
    batch = (x, keywords, labels)
    return model.record([batch], topology=topology, costs=costs, unit="s", progress=False)


def some_policy(traces: ttamer.Traces, recall: str, seed: int, tradeoff: float = 0.9) -> ttamer.Policy:
    """A policy of random tables with the traces' bins: its requests leave everywhere, and come back for answers."""
    edges = [np.unique(np.quantile(column, [0.2, 0.4, 0.6, 0.8])).astype(np.float32) for column in traces.signals.T]
    assert all(len(one) == 4 for one in edges)
    model = random_model(traces.topology, 5, seed, bin_edges=edges, signal=traces.signal)
    return ttamer.solve(model, tradeoff, recall)


def replayed(policy: ttamer.Policy, traces: ttamer.Traces) -> ttamer.Replay:
    """The policy over the traces, at the policy's costs."""
    return policy.replay(
        ttamer.Traces(traces.signals, traces.losses, policy.costs, traces.topology, signal=traces.signal)
    )


def assert_served(model: EarlyExit, x: Any, expected: ttamer.Replay, logits: list[Tensor], **keywords: Any) -> None:
    """A call does what the replay says, and gives the logits of the exits that answer."""
    found = model(x, **keywords)
    np.testing.assert_array_equal(found.answer_node.cpu().numpy(), expected.answer_node)
    np.testing.assert_array_equal(found.last_node.cpu().numpy(), expected.last_node)
    np.testing.assert_array_equal(found.cost.cpu().numpy(), expected.cost)
    rows = torch.arange(len(expected))
    # Sums over fewer rows may be taken in another order: a last bit.
    torch.testing.assert_close(found.logits, torch.stack(logits)[found.answer_node.long(), rows], rtol=1e-5, atol=1e-5)
