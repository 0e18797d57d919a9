"""Models that may be asked in any order, and answers that mean the same in every request: what keeps it, what not."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from set_traces import recorded

from ttamer import Topology, Traces
from ttamer._base.types import ROOT
from ttamer.traces.arguments import check_independent

FORMS = [
    {},
    {"context": False},
    {"answers": False},
    {"classes": False},
    {"costs": np.arange(1.0, 181.0).reshape(60, 3)},
    {"costs": {"usd": [1, 2, 4], "ms": np.arange(1.0, 181.0).reshape(60, 3)}},
]


def made(**options: Any) -> Traces:
    return recorded(rows=60, **options)


@pytest.mark.parametrize("options", FORMS, ids=str)
def test_what_keeps_it(options: dict[str, Any], tmp_path: Path) -> None:
    traces = made(**options)
    answer_classes = options.get("answers", True) and options.get("classes", True)
    traces.save(tmp_path / "t.npz")
    kept = [
        traces,
        traces[10:20],
        traces[np.arange(60) % 3 == 0],
        traces + traces,
        Traces.load(tmp_path / "t.npz"),
        pickle.loads(pickle.dumps(traces)),
        traces.weighted(2.0),
        traces.priced(dict.fromkeys(traces.unit_costs, 2.0)),
    ]
    if traces.context:
        kept.append(traces.with_context("length"))
    for each in kept:
        assert (each.independent, each.answer_classes) == (True, answer_classes)
    joined = kept[3]
    joined.save(tmp_path / "u.npz")
    kept[4].save(tmp_path / "v.npz")
    assert (tmp_path / "v.npz").read_bytes() == (tmp_path / "t.npz").read_bytes()
    assert len(Traces.load(tmp_path / "u.npz")) == 120


def test_a_path_is_a_line_whose_answers_mean_what_they_meant(tmp_path: Path) -> None:
    line = made(context=False).path([0, 2], [1, 4])
    assert (line.independent, line.answer_classes) == (False, True)
    line.save(tmp_path / "t.npz")
    kept = Traces.load(tmp_path / "t.npz")
    assert (kept.independent, kept.answer_classes) == (False, True)
    assert len(kept + line) == 120


def test_others_are_not_independent(tmp_path: Path) -> None:
    traces = Traces(np.zeros((3, 2), np.float32), np.zeros((3, 2), np.float32), [1, 2], unit="ms")
    assert (traces.independent, traces.answer_classes) == (False, False)
    traces.save(tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz") as arrays:
        assert arrays["ttamer_traces"] == 1
        assert not {"independent", "answer_classes"} & set(arrays)


def test_the_version(tmp_path: Path) -> None:
    made(context=False).save(tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz") as arrays:
        assert arrays["ttamer_traces"] == 4
        assert arrays["independent"]


def test_sums_of_those_that_differ_are_refused() -> None:
    traces = made(context=False)
    for name, other in (
        ("independent", traces._with(independent=False)),
        ("answer_classes", made(context=False, classes=False)),
    ):
        for first, second in ((traces, other), (other, traces)):
            mine, others = getattr(first, name), getattr(second, name)
            with pytest.raises(
                ValueError, match=f"^{name}: expected traces of one cascade, got {mine!r} and {others!r}$"
            ):
                first + second


def rewritten(path: Path, changes: dict[str, Any]) -> None:
    """The file with other arrays; None takes one out."""
    with np.load(path) as arrays:
        members = {**arrays, **changes}
    members = {name: value for name, value in members.items() if value is not None and name != "contents"}
    with path.open("wb") as file:
        np.savez(file, **members, contents=np.array(sorted(members)))


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("by_request", [False, True])
def test_a_file_of_costs_that_depend_on_what_was_asked(context: bool, by_request: bool, tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    traces = made(context=context, costs=np.ones((60, 3)) if by_request else None, unit="ms")
    traces.save(path)
    edges = traces.topology.edges.tolist()
    edge = edges.index([1, 2])
    costs = traces.paid_costs.copy()
    costs[..., edge] *= 1.5
    rewritten(path, {"costs": np.atleast_2d(costs)[None]})
    node = 2
    message = f"independent: expected one cost of node {node} in 'ms', wherever it is asked from"
    with pytest.raises(ValueError, match=re.escape(message)):
        Traces.load(path)
    rewritten(path, {"independent": np.array(False)})
    assert not Traces.load(path).independent


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"independent": None}, "missing: independent"),
        ({"answer_classes": None}, "missing: answer_classes"),
        ({"independent": np.array(1)}, "independent: expected one value, got () int64"),
        ({"answer_classes": np.array([True])}, "answer_classes: expected one value, got (1,) bool"),
        (
            {
                "topology_kind": np.array("line"),
                "topology_edges": np.array([[-1, 0], [0, 1], [1, 2]], np.int32),
                "costs": np.ones((1, 1, 3)),
            },
            "independent: expected models any of which may be asked first, got Topology.line(3)",
        ),
    ],
)
def test_damaged_files(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    made(context=False).save(path)
    rewritten(path, changes)
    with pytest.raises(ValueError, match=re.escape(f"{path}: not readable as traces: {message}")):
        Traces.load(path)


def test_costs_that_were_not_recorded_are_one_cost() -> None:
    costs = {"": np.full((2, 6), np.nan)}
    check_independent(Topology.skip(3), costs)
    costs[""][0, 4] = 1
    with pytest.raises(ValueError, match="^independent: expected one cost of node"):
        check_independent(Topology.skip(3), costs)
    check_independent(Topology.dag(2, [(ROOT, 0), (ROOT, 1), (0, 1)]), {"": np.array([1, 2, 2.0])})
