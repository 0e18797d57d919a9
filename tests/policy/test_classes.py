"""Policies say how many classes they were made for, and refuse logits of another number."""

from __future__ import annotations

import pickle
from copy import copy
from pathlib import Path

import numpy as np
import pytest

import ttamer
import ttamer.serve
from ttamer._core import start


def recorded(classes: int, seed: int = 0) -> ttamer.Traces:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(classes), (300, 3))
    return ttamer.Traces.from_probs(probs, rng.integers(0, classes, 300), [1.0, 1.0, 1.0])


@pytest.mark.parametrize("estimate", ["signal", "posterior", "sets"])
def test_files_keep_them(estimate: str, tmp_path: Path) -> None:
    model = ttamer.fit(recorded(5), "auto", estimate)
    policy = ttamer.solve(model)
    assert policy.classes == 5
    model.save(tmp_path / "model.safetensors")
    policy.save(tmp_path / "policy.safetensors")
    loaded = ttamer.Policy.load(tmp_path / "policy.safetensors")
    again = ttamer.solve(ttamer.CascadeModel.load(tmp_path / "model.safetensors"))
    for each in (loaded, again, pickle.loads(pickle.dumps(policy))):
        assert each.classes == 5
        assert each == policy
        with pytest.raises(ValueError, match=r"^logits: expected \(B, 5\), the classes that .*, got C = 4"):
            each.start(2).decide_logits(0, np.zeros((2, 4), np.float32))
        assert len(each.start(2).decide_logits(0, np.zeros((2, 5), np.float32))) == 2


def test_signals_alone_do_not_say() -> None:
    traces = recorded(5)
    plain = ttamer.Traces(traces.signals, traces.losses, traces.costs, signal="max_prob")
    policy = ttamer.solve(ttamer.fit(plain))
    assert policy.classes is None
    assert len(policy.start(2).decide_logits(0, np.zeros((2, 9), np.float32))) == 2


def test_shards_agree() -> None:
    model = ttamer.fit(recorded(5))
    assert (model + ttamer.fit(recorded(5, 1), like=model)).classes == 5
    with pytest.raises(ValueError, match="^like: expected 6 classes, got 5"):
        ttamer.fit(recorded(6, 1), like=model)
    other = recorded(6, 1)
    plain = ttamer.fit(ttamer.Traces(other.signals, other.losses, other.costs, signal="max_prob"), like=model)
    assert (model + plain).classes == (plain + model).classes == 5
    alone = copy(plain)
    alone.classes = 6
    with pytest.raises(ValueError, match="^model: expected 5 classes, got 6"):
        model + alone


def test_policies_that_decide_alike_are_equal() -> None:
    """Of files of before, and of traces without evidence, nothing is known of classes."""
    traces = recorded(5)
    policy = ttamer.solve(ttamer.fit(traces))
    plain = ttamer.solve(ttamer.fit(ttamer.Traces(traces.signals, traces.losses, traces.costs, signal="max_prob")))
    assert plain.classes is None
    assert plain == policy
    assert hash(plain) == hash(policy)


@pytest.mark.parametrize("estimate", ["signal", "posterior", "sets"])
def test_flights_refuse_too(estimate: str) -> None:
    policy = ttamer.solve(ttamer.fit(recorded(5), "auto", estimate))
    flight = ttamer.serve.Dispatcher(policy).enter()
    with pytest.raises(ValueError, match="^logits: expected 5 classes, as of the policy, got 4"):
        flight.consulted("a", logits=np.zeros(4))


@pytest.mark.parametrize(
    ("classes", "message"),
    [(1, "classes: expected at least 2, got 1"), ("5", "classes: expected an int, got str")],
)
def test_files_that_are_wrong(classes: object, message: str) -> None:
    from ttamer._base import files

    policy = ttamer.solve(ttamer.fit(recorded(5)))
    fields, arrays = files.from_bytes(policy._to_bytes(), "policy", 5, "here")
    data = files.to_bytes("policy", 1, {**fields, "classes": classes}, arrays)
    with pytest.raises(ValueError, match=message):
        ttamer.Policy._from_bytes(data, "here")
    with pytest.raises(ValueError, match="classes: expected 0 or more, got -1"):
        start(policy._core, 1, "error", "max_prob", "max_prob", -1)
