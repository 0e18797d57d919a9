"""Fronts in files, and the point for a trade-off."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evidence_cases import independent
from helpers import random_model, random_traces
from set_traces import recorded

import ttamer
from ttamer import Front, FrontPoint, Topology
from ttamer._base import files


@pytest.mark.parametrize(
    "traces",
    [random_traces(Topology.line(3), 200, 0), independent(300), recorded(rows=150)],
    ids=["signal", "auto", "sets"],
)
def test_a_front_comes_back(tmp_path: Path, traces: ttamer.Traces) -> None:
    front = ttamer.frontier(traces)
    front.save(tmp_path / "front.safetensors")
    found = Front.load(tmp_path / "front.safetensors")
    assert [(p.cost, p.error, p.policy) for p in found] == [(p.cost, p.error, p.policy) for p in front]
    assert (found.unit, found.estimate, repr(found)) == (front.unit, front.estimate, repr(front))
    assert found.model is not None
    assert front.model is not None
    assert ttamer.solve(found.model, 0.9) == ttamer.solve(front.model, 0.9)
    # Policies share an estimator in memory, and in the file.
    assert len({id(point.policy.estimator) for point in found}) == 1


def test_policies_of_several_kinds(tmp_path: Path) -> None:
    traces = independent(120)
    policies = [ttamer.solve(ttamer.fit(traces, 4, kind), 0.9) for kind in ("posterior", "signal", "posterior")]
    front = Front([FrontPoint(float(k), 1.0 - k / 9, policy) for k, policy in enumerate(policies)], "ms")
    front.save(tmp_path / "front")
    found = Front.load(tmp_path / "front")
    assert [point.policy for point in found] == policies
    assert found.model is None


def test_a_point_is_found_by_its_own_trade_off() -> None:
    """Also where trade-offs do not rise with the measured cost."""
    for seed in range(4):
        front = ttamer.frontier(recorded(4, 300, seed), estimate="sets")
        assert [front.at(point.policy.tradeoff) for point in front] == list(front)
    policies = [ttamer.solve(random_model(Topology.line(2), 3, 0), tradeoff) for tradeoff in (0.9, 0.1, 0.5)]
    front = Front([FrontPoint(float(k), 1.0 - k / 9, policy) for k, policy in enumerate(policies)])
    assert [front.at(policy.tradeoff).policy for policy in policies] == policies


def test_points_and_model_are_of_one_cascade() -> None:
    one, other = (ttamer.solve(random_model(Topology.line(n), 3, 0), 0.9) for n in (2, 3))
    with pytest.raises(ValueError, match=r"^points\[1\]: expected a policy of Topology.line\(2\), as the"):
        Front([FrontPoint(1.0, 0.5, one), FrontPoint(2.0, 0.4, other)])
    with pytest.raises(ValueError, match=r"^model: expected the one that the policies were solved for, got"):
        Front([FrontPoint(1.0, 0.5, one)], model=random_model(Topology.line(3), 3, 0))
    with pytest.raises(TypeError, match=r"^model: expected a CascadeModel, got int$"):
        Front([FrontPoint(1.0, 0.5, one)], model=3)  # type: ignore[arg-type]


def test_the_point_for_a_trade_off() -> None:
    """The nearest by the ratio of prices; costs that weigh nothing are for those alone who say so, or nearly."""
    solved = (0.1, 0.5, 0.9)
    policies = [ttamer.solve(random_model(Topology.line(2), 3, 0), tradeoff) for tradeoff in (*solved, 1.0)]
    front = Front([FrontPoint(float(k), 1.0 - k / 9, policy) for k, policy in enumerate(policies)])
    prices = [math.log((1 - tradeoff) / tradeoff) for tradeoff in solved]
    for tradeoff in np.linspace(0.01, 0.99, 97):
        price = math.log((1 - tradeoff) / tradeoff)
        assert front.at(tradeoff) is front[int(np.argmin([abs(each - price) for each in prices]))]
    assert front.at(1.0) is front[3]
    assert front.at(1) is front[3]
    for tradeoff, message in ((0, "got 0"), (1.5, "got 1.5")):
        with pytest.raises(ValueError, match=rf"^tradeoff: expected a number in \(0, 1\], {message}$"):
            front.at(tradeoff)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, a: a.pop("policy.1"), "'policy.1'"),
        (lambda f, a: a.update({"policy.1": np.zeros(3)}), r"policy.1: expected \(\*,\) uint8, got \(3,\) float64"),
        (lambda f, a: a.update({"policy.1": a["policy.1"][:50].copy()}), "policy.1: not a readable safetensors file"),
        (lambda f, a: a.update({"policy.1": a["model"]}), "policy.1: expected a policy file, got a model file"),
        (
            lambda f, a: a.update({"points": np.zeros((2, 3))}),
            r"points: expected at most 4096 of \(cost, error\) float64",
        ),
        (lambda f, a: a.update({"points": np.full((2, 2), np.nan)}), "points: expected finite numbers"),
        (lambda f, a: a.update({"points": np.zeros((0, 2))}), "points: expected at least one, got none"),
        (lambda f, a: f.update(unit=3), "unit: expected str, got int"),
        (lambda f, a: f.update(unit="s"), "points.0.: expected costs in 's'"),
        (lambda f, a: f.update(shared=None), "shared: expected list, got NoneType"),
        (lambda f, a: a.update({"model": a["policy.0"]}), "model: expected a model file, got a policy file"),
    ],
)
def test_hostile_files(change: Any, message: str, tmp_path: Path) -> None:
    model = ttamer.fit(random_traces(Topology.line(2), 100, 0), 4)
    points = [FrontPoint(float(k), 1.0 - k / 9, ttamer.solve(model, tradeoff)) for k, tradeoff in enumerate((0.5, 0.9))]
    Front(points, "ms", model).save(tmp_path / "front")
    fields, arrays = files.from_bytes((tmp_path / "front").read_bytes(), "front", 1, "")
    arrays = {name: array.copy() for name, array in arrays.items()}
    change(fields, arrays)
    (tmp_path / "front").write_bytes(files.to_bytes("front", 1, fields, arrays))
    with pytest.raises(ValueError, match=rf"front: not a valid front \({message}"):
        Front.load(tmp_path / "front")
