"""Small models of every shape, stated and fitted: policies against `ttamer.reference`, played out, saved and loaded."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import ttamer
from fuzzers.runner import Case, Fuzzer
from ttamer import reference
from ttamer._base.types import ROOT, STOP

MOST_NODES, MOST_STATES, MOST_ROWS = 5, 4, 60
TRADEOFFS = [1.0, 1.0 - 2**-53, 0.999, 0.9, 0.75, 0.5, 1 / 3, 0.1, 0.01, 1e-6, 1e-12, 1e-300, 5e-324, 0.0]
ORDINARY = 0.005
"""Trade-offs from here on leave losses and costs of sizes that rounding does not mix up."""
TOLERANCE = 1e-9

Floats = npt.NDArray[np.float64]


def start() -> Callable[[np.random.Generator], Case]:
    folder = tempfile.TemporaryDirectory(prefix="ttamer-fuzz-")
    path = Path(folder.name) / "case"

    def make(rng: np.random.Generator) -> Case:
        topology = _topology(rng)
        traces = _traces(rng, topology) if rng.random() < 0.5 else None
        tables = None if traces is not None else _tables(rng, topology)
        options = {"bins": int(rng.integers(1, MOST_STATES + 3)), "smoothing": str(rng.choice(["auto", "mean"]))}
        tradeoff = float(rng.choice(TRADEOFFS)) if rng.random() < 0.7 else float(rng.random())
        recall = str(rng.choice(["auto", "observed", "none"]))
        source = f"fitted to {len(traces)} rows with {options}" if traces is not None else f"stated with {tables}"

        def call() -> object:
            if traces is not None:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)  # of promises that so few rows do not keep
                    model = ttamer.fit(traces, **options)
            else:
                model = ttamer.CascadeModel(topology, **tables)
            policy = ttamer.solve(model, tradeoff, recall)
            try:
                _check(policy, model, traces, path)
            except ValueError as error:  # of what was solved nothing may be refused
                raise AssertionError(str(error)) from error
            return folder, policy  # the folder lives as long as the cases

        return Case(f"{topology!r}, trade-off {tradeoff!r}, recall {recall}, {source}", call)

    return make


def _check(policy: ttamer.Policy, model: ttamer.CascadeModel, traces: ttamer.Traces | None, path: Path) -> None:
    _check_file(path, model)
    _check_file(path, policy)
    expected = _check_value(policy, model)
    if model.signal_nodes == tuple(range(model.topology.nodes)):
        _check_played(policy, model)
    if traces is not None:
        _check_replayed(policy, model, traces, expected)


def _check_file(path: Path, thing: Any) -> None:
    """Raise AssertionError unless what is saved, loaded and saved again is the same bytes."""
    thing.save(path)
    data = path.read_bytes()
    type(thing).load(path).save(path)
    assert path.read_bytes() == data, f"{type(thing).__name__}: saved, loaded and saved is not what was saved"


def _check_value(policy: ttamer.Policy, model: ttamer.CascadeModel) -> reference.Tables:
    """The reference's tables, if its value is the policy's; else AssertionError."""
    tables = (model.losses, model.transitions, model.costs)
    with np.errstate(all="ignore"):
        expected = reference.solve(
            model.topology, *tables, policy.tradeoff, policy.recall == "observed", model.cost_scale
        )
    _check_close("value", policy.value, expected.value, policy.tradeoff * _largest(model))
    return expected


def _check_close(name: str, found: float, expected: float, largest: float) -> None:
    """Raise AssertionError unless two sums are equal, up to rounding of what is as large as the largest loss."""
    bound = TOLERANCE * max(1.0, abs(expected), largest)
    assert abs(found - expected) <= bound, f"{name}: expected {expected!r}, got {found!r}"


def _check_played(policy: ttamer.Policy, model: ttamer.CascadeModel) -> None:
    """Raise AssertionError unless the value is attained over all histories that the model can bring about."""
    edges = {(i, j): e for e, (i, j) in enumerate(model.topology.edges.tolist())}
    parents = model.topology.edges[:, 0].tolist() if model.topology.kind == "forest" else None
    loss = cost = 0.0
    going: list[tuple[float, tuple[tuple[int, int], ...], int]] = [(1.0, (), policy.first_node)]
    while going:
        histories = []
        for mass, past, node in going:
            # On a forest a node follows its parent, wherever the request has been since.
            before = parents[node] if parents is not None else past[-1][0] if past else ROOT
            edge = edges[before, node]
            cost += mass * float(model.costs[edge])
            table = model.transitions[edge]
            row = table[dict(past)[before] if len(table) > 1 else 0]
            histories += [(mass * float(row[s]), (*past, (node, s))) for s in np.flatnonzero(row).tolist()]
        batch = policy.start(len(histories))
        for step in zip(*(past for _, past in histories), strict=True):
            signals = np.array([_signal(model.bin_edges[node], state) for node, state in step], np.float32)
            ahead = batch.decide(np.array([node for node, _ in step], np.int32), signals)
        going = []
        outcomes = zip(histories, ahead.tolist(), batch.answer_node.tolist(), strict=True)
        for (mass, past), following, answer in outcomes:
            if following == STOP:
                assert answer >= 0, "a request ends without an answer"
                loss += mass * float(model.losses[answer][dict(past)[answer]])
            else:
                going.append((mass, past, following))
    tradeoff, largest = policy.tradeoff, _largest(model)
    played = tradeoff * loss + (1 - tradeoff) * cost / model.cost_scale
    _check_close("value, played", played, policy.value, tradeoff * largest)
    if parents is None:  # on a forest it is simulated
        _check_close("expected_loss", policy.expected_loss, loss, largest)


def _largest(model: ttamer.CascadeModel) -> float:
    return max(float(row.max()) for row in model.losses if np.isfinite(row[0]))


def _signal(edges: npt.NDArray[np.float32], state: int) -> float:
    """A signal that tells a state."""
    if state > 0:
        return float(edges[state - 1])
    return float(edges[0]) - 1.0 if len(edges) else 0.0


def _check_replayed(
    policy: ttamer.Policy, model: ttamer.CascadeModel, traces: ttamer.Traces, tables: reference.Tables
) -> None:
    """Raise AssertionError unless a batch answers as the replay does, and the replay is the reference's."""
    replay = policy.replay(traces)
    batch = policy.start(len(traces))
    ahead = np.full(len(traces), policy.first_node, np.int32)
    while (ahead != STOP).any():
        rows = np.flatnonzero(ahead != STOP)
        nodes = ahead[rows]
        ahead[rows] = batch.decide(nodes, traces.signals[rows, nodes], rows)
    assert np.array_equal(batch.answer_node, replay.answer_node), "batch and replay answer with other nodes"
    if policy.tradeoff < ORDINARY:
        return
    expected = reference.replay(tables, model.bin_edges, traces, traces.observed, model.signal_nodes)
    for name, column in expected.items():
        assert np.array_equal(getattr(replay, name), column), f"replay: other values of {name} than the reference's"


def _topology(rng: np.random.Generator) -> ttamer.Topology:
    nodes = int(rng.integers(1, MOST_NODES + 1))
    kind = str(rng.choice(["line", "skip", "dag", "forest"]))
    if kind in ("line", "skip"):
        return getattr(ttamer.Topology, kind)(nodes)
    # Drawn in an order that cannot have cycles, then the nodes are given other numbers.
    names = [ROOT, *rng.permutation(nodes).tolist()]
    most = 1 if kind == "forest" else 3
    edges = [
        (names[i], names[place])
        for place in range(1, nodes + 1)
        for i in rng.choice(place, size=min(place, int(rng.integers(1, most + 1))), replace=False).tolist()
    ]
    if kind == "dag":
        return ttamer.Topology.dag(nodes, [edges[e] for e in rng.permutation(len(edges))])
    return ttamer.Topology.forest([i for i, _ in sorted(edges, key=lambda edge: edge[1])])


def _numbers(rng: np.random.Generator, shape: int | Sequence[int]) -> Floats:
    """Not negative: zeros, ones, few values or many, of one size."""
    how = str(rng.choice(["zeros", "ones", "grid", "grid", "grid", "uniform", "ends"]))
    values = {
        "zeros": lambda: np.zeros(shape),
        "ones": lambda: np.ones(shape),
        "grid": lambda: rng.integers(0, 5, shape) / 4,
        "uniform": lambda: rng.random(shape),
        "ends": lambda: rng.choice([0.0, 5e-324, 1e-12, 1e-6, 1.0, 1e6], shape),
    }[how]()
    return np.asarray(values * float(rng.choice([1.0, 1.0, 1.0, 1e-6, 1e6])))


def _tables(rng: np.random.Generator, topology: ttamer.Topology) -> dict[str, Any]:
    """What `CascadeModel` takes: probabilities with zeros and ones, nodes of one state, edges of one row, probes."""
    sizes = rng.integers(1, MOST_STATES + 1, topology.nodes).tolist()
    transitions = []
    for i, j in topology.edges.tolist():
        rows = 1 if i == ROOT or rng.random() < 0.3 else sizes[i]
        weights = rng.choice([0.0, 0.0, 1.0, 1.0, 2.0, 3.0], (rows, sizes[j]))
        weights[:, 0] += weights.sum(axis=1) == 0
        transitions.append((weights / weights.sum(axis=1, keepdims=True)).tolist())
    scale = None if rng.random() < 0.5 else float(rng.choice([1.0, 0.5, 1e-6, 1e6]))
    share = float(rng.choice([0.0, 0.0, 0.3, 0.6]))  # of nodes that cannot answer
    return {
        "losses": [[np.inf] * size if rng.random() < share else _numbers(rng, size).tolist() for size in sizes],
        "transitions": transitions,
        "costs": _numbers(rng, len(topology.edges)).tolist(),
        "cost_scale": scale,
        "observed": bool(rng.random() < 0.5),
    }


def _traces(rng: np.random.Generator, topology: ttamer.Topology) -> ttamer.Traces:
    """Few rows of few signals; some nodes say the same of every request."""
    shape = (int(rng.integers(1, MOST_ROWS + 1)), topology.nodes)
    signals = (rng.integers(0, int(rng.choice([2, 5, 1000])), shape) / 4).astype(np.float32)
    signals[:, rng.random(topology.nodes) < 0.2] = 0.5
    observed = bool(rng.random() < 0.3)
    losses = signals if observed else _numbers(rng, shape).astype(np.float32)
    return ttamer.Traces(signals, losses, _numbers(rng, len(topology.edges)), topology, observed=observed)


# A case names all its tables.
FUZZER = Fuzzer(start, (ValueError,), memory=1 << 30)
