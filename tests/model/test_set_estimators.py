"""Estimators of fitted sets and chains: against the specification, in files, pickles and on other traces."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from set_traces import recorded, sets_of

import ttamer
from ttamer import Traces, reference
from ttamer._base import files
from ttamer.model.set_estimators import TABLES

Arrays = dict[str, npt.NDArray[Any]]
KINDS = ("sets", "chains")
HELD = recorded(rows=80, seed=1, missing=0.2)


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest) -> ttamer.CascadeModel:
    return ttamer.fit(recorded(missing=0.1), estimate=request.param)


@pytest.fixture(scope="module")
def policy() -> ttamer.Policy:
    return ttamer.solve(ttamer.fit(recorded(), estimate="sets"), 0.98)


@pytest.fixture(scope="module")
def data() -> bytes:
    return ttamer.solve(ttamer.fit(recorded(rows=100), estimate="sets"), 0.9)._to_bytes()


@pytest.fixture(scope="module")
def arrays(data: bytes) -> Arrays:
    return files.from_bytes(data, "policy", 4, "f")[1]


class TestEstimates:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        "options",
        [{}, {"models": 5}, {"answers": False}, {"context": False}, {"missing": 0.5}, {"graded": True}],
        ids=str,
    )
    def test_the_core_the_specification_and_replays_agree(self, kind: str, options: dict[str, Any]) -> None:
        traces = recorded(rows=200, **options)
        model = ttamer.fit(traces, estimate=kind)
        estimator = sets_of(model)
        held = recorded(seed=1, **{**options, "rows": 60})
        tables = {"last": estimator.walk.last, **estimator.tables}
        expected = reference.estimate_sets(tables, estimator.scores(held), estimator.answers(held))
        estimates = estimator.estimate_traces(held)
        np.testing.assert_array_equal(estimates.signals, expected[0], strict=True)
        np.testing.assert_array_equal(estimates.answers, expected[1], strict=True)
        policy = ttamer.solve(model, 0.98)
        last, _, _, _ = policy._core.replay(expected[0], np.zeros(len(policy.steps.edges)))
        result = policy.replay(held)
        np.testing.assert_array_equal(result.last_node, estimator.walk.last[last])
        np.testing.assert_array_equal(result.answer_node, expected[1][np.arange(len(held)), last])
        np.testing.assert_array_equal(result.loss, held.losses[np.arange(len(held)), result.answer_node])

    @pytest.mark.parametrize("kind", KINDS)
    def test_states_are_leaves_the_worst_first(self, kind: str) -> None:
        traces = recorded(rows=1000)
        model = ttamer.fit(traces, estimate=kind)
        estimator = sets_of(model)
        signals = traces._kept_estimates.get(estimator).signals
        for step, leaves in enumerate(estimator.core.leaves.tolist()):
            assert len(model.losses[step]) == leaves == len(np.unique(signals[:, step]))
            assert model.bin_edges[step].tolist() == [k + 0.5 for k in range(leaves - 1)]

    def test_answers_are_of_nodes_consulted(self, model: ttamer.CascadeModel) -> None:
        estimator = sets_of(model)
        answers = estimator.estimate_traces(HELD).answers
        for step, nodes in enumerate(estimator.walk.sets):
            assert set(answers[:, step].tolist()) <= ({*nodes} - {0} or {-1})

    def test_rows_fitted_on_are_estimated_without_themselves(self) -> None:
        """On the very traces; the same requests in other traces are estimated as any."""
        traces = recorded()
        model = ttamer.fit(traces, estimate="sets")
        estimator = sets_of(model)
        own = estimator.estimate_traces(traces)
        assert (own.signals != traces._kept_estimates.get(estimator).signals).any()
        policy = ttamer.solve(model, 0.97)
        same = traces[:]
        np.testing.assert_array_equal(
            policy.replay(same).answer_node,
            own.answers[np.arange(400), policy._core.replay(own.signals, np.zeros(len(policy.steps.edges)))[0]],
        )
        assert (policy.replay(traces).last_node != policy.replay(same).last_node).any()
        np.testing.assert_array_equal(policy.replay(traces.priced({"": 1})).last_node, policy.replay(traces).last_node)

    def test_states_of_chains_are_the_same_out_of_fold(self) -> None:
        traces = recorded()
        estimator = sets_of(ttamer.fit(traces, estimate="chains"))
        own, kept = estimator.estimate_traces(traces), traces._kept_estimates.get(estimator)
        np.testing.assert_array_equal(own.signals, kept.signals)
        np.testing.assert_array_equal(own.answers, kept.answers)


class TestFiles:
    def test_models_and_policies_are_kept(self, model: ttamer.CascadeModel, tmp_path: Path) -> None:
        policy = ttamer.solve(model, 0.98)
        model.save(tmp_path / "m")
        policy.save(tmp_path / "p")
        kept_model, kept = ttamer.CascadeModel.load(tmp_path / "m"), ttamer.Policy.load(tmp_path / "p")
        assert sets_of(kept_model) == sets_of(kept) == sets_of(policy)
        assert hash(sets_of(kept)) == hash(sets_of(policy))
        assert kept == policy == ttamer.solve(kept_model, 0.98)
        assert hash(kept) == hash(policy)
        assert kept_model.nodes == model.nodes
        for each, name in ((kept_model, "m2"), (kept, "p2")):
            each.save(tmp_path / name)
            assert (tmp_path / name).read_bytes() == (tmp_path / name[0]).read_bytes()
        for other in (kept, pickle.loads(pickle.dumps(policy)), ttamer.solve(pickle.loads(pickle.dumps(model)), 0.98)):
            found, expected = other.replay(HELD), policy.replay(HELD)
            np.testing.assert_array_equal(found.last_node, expected.last_node)
            np.testing.assert_array_equal(found.answer_node, expected.answer_node)

    def test_estimators_pickle(self, model: ttamer.CascadeModel) -> None:
        estimator = sets_of(model)
        kept = pickle.loads(pickle.dumps(estimator))
        assert kept == estimator
        assert kept.core.leaves.tolist() == estimator.core.leaves.tolist()
        with pytest.raises(ValueError, match="read-only"):
            estimator.tables["values"][:] = 0
        with pytest.raises(ValueError, match="read-only"):
            kept.tables["values"][:] = 0

    def test_others_differ(self, model: ttamer.CascadeModel) -> None:
        estimator = sets_of(model)
        weights = {**estimator.tables, "coefficients": estimator.tables["coefficients"] + 1e-9}
        kind = "chains" if estimator.kind == "sets" else "sets"
        for changes in ({"tables": weights}, {"independent": False}, {"signal": "margin"}, {"kind": kind}):
            other = replace(estimator, **changes)
            assert estimator != other
            assert hash(estimator) != hash(other)
        assert estimator != "sets"
        assert estimator == replace(estimator)

    def test_versions(self, model: ttamer.CascadeModel) -> None:
        for data, kind in ((model._to_bytes(), "model"), (ttamer.solve(model, 0.9)._to_bytes(), "policy")):
            assert files.from_bytes(data, kind, 4, "f")[0]["version"] == 4
            with pytest.raises(ValueError, match=f"f: {kind} format version 4, this ttamer reads versions 1 to 3"):
                files.from_bytes(data, kind, 3, "f")

    def test_they_do_not_add(self, model: ttamer.CascadeModel) -> None:
        with pytest.raises(ValueError, match="estimator"):
            model + model


def changed(data: bytes, kind: str, fields: Callable[[dict[str, Any]], None], arrays: Arrays) -> bytes:
    """A file of other contents, with a digest that fits."""
    own, tables = files.from_bytes(data, kind, 4, "f")
    version = own.pop("version")
    own.pop("kind")
    fields(own["set_estimator"])
    return files.to_bytes(kind, version, own, {**tables, **arrays})


def same(fields: dict[str, Any]) -> None:
    pass


class TestDamage:
    def refused(self, data: bytes, message: str) -> None:
        with pytest.raises(ValueError, match=rf"^f: not a valid policy \(.*{re.escape(message)}"):
            ttamer.Policy._from_bytes(data, "f")

    @pytest.mark.parametrize("name", [*TABLES, "last", "sets", "set_offsets", "edges"])
    def test_each_table(self, name: str, data: bytes, arrays: Arrays) -> None:
        key = f"sets.{name}"
        table = arrays[key]
        self.refused(changed(data, "policy", same, {key: table[None]}), name)
        if name != "edges":  # of any integers, as those of all files; without one it is another topology
            self.refused(changed(data, "policy", same, {key: table.astype(np.int16)}), name)
            self.refused(changed(data, "policy", same, {key: table[:-1]}), "")
        self.refused(changed(data, "policy", same, {key: np.concatenate([table, table[-1:]])}), "")
        worst = np.full_like(table, np.nan if table.dtype.kind == "f" else -7)
        self.refused(changed(data, "policy", same, {key: worst}), "")
        own, tables = files.from_bytes(data, "policy", 4, "f")
        tables = {other: value for other, value in tables.items() if other != key}
        del own["version"], own["kind"]
        self.refused(files.to_bytes("policy", 4, own, tables), key)

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("kind", "signal", "estimate: expected one of ('sets', 'chains'), got 'signal'"),
            ("kind", 3, "kind: expected str, got int"),
            ("topology", "ring", "kind: expected"),
            ("nodes", 10**9, ""),
            ("nodes", 2, ""),
            ("context", {}, "context: expected list, got dict"),
            ("context", [["topic", None]], "context: expected [2] columns, got 1"),
            ("context", [[1, None], ["length", None]], "context: expected names of columns and of categories"),
            (
                "context",
                [["topic", ["a", 1]], ["length", None]],
                "context: expected names of columns and of categories",
            ),
            ("context", ["topic", "length"], "context: expected names of columns and of categories"),
        ],
    )
    def test_fields(self, name: str, value: Any, message: str, data: bytes) -> None:
        self.refused(changed(data, "policy", lambda fields: fields.update({name: value}), {}), message)

    def test_no_fields(self, data: bytes) -> None:
        own, tables = files.from_bytes(data, "policy", 4, "f")
        del own["version"], own["kind"]
        own["set_estimator"] = ["kind"]
        self.refused(files.to_bytes("policy", 4, own, tables), "set_estimator: expected fields, got list")

    def test_cells_that_look_at_nodes_not_consulted(self, data: bytes, arrays: Arrays) -> None:
        """What a row showed to an earlier request would decide."""
        message = "sets.cells: expected cells of nodes consulted at their steps"
        cells = arrays["sets.cells"]
        self.refused(changed(data, "policy", same, {"sets.cells": cells[::-1].copy()}), message)
        targets, answering = arrays["sets.targets"].copy(), arrays["sets.answering"]
        offsets = arrays["sets.target_offsets"]
        cell = int(np.flatnonzero((answering == 1) & (np.diff(offsets) > 1))[0])
        begin = offsets[cell]
        targets[[begin, begin + 1]] = targets[[begin + 1, begin]]
        self.refused(changed(data, "policy", same, {"sets.targets": targets}), message)

    def test_steps_that_do_not_follow(self, data: bytes, arrays: Arrays) -> None:
        message = "sets.sets: expected each step to add its last node to those of the step before"
        sets, offsets = arrays["sets.sets"].copy(), arrays["sets.set_offsets"]
        step = int(np.flatnonzero(np.diff(offsets) == 2)[0])
        last, place = arrays["sets.last"].copy(), slice(offsets[step], offsets[step + 1])
        sets[place] = last[step]  # one node twice
        self.refused(changed(data, "policy", same, {"sets.sets": sets}), message)
        last[step] = 0
        self.refused(changed(data, "policy", same, {"sets.last": last}), message)

    def test_a_model(self) -> None:
        data = ttamer.fit(recorded(rows=100), estimate="chains")._to_bytes()
        tables = files.from_bytes(data, "model", 4, "f")[1]
        for name, kind in TABLES.items():
            worst = np.full_like(tables[f"sets.{name}"], 2**30 if kind == np.int32 else np.inf)
            if worst.size:
                with pytest.raises(ValueError, match=r"^f: not a valid model \("):
                    ttamer.CascadeModel._from_bytes(changed(data, "model", same, {f"sets.{name}": worst}), "f")


class TestOtherTraces:
    def build(self, **changes: Any) -> Traces:
        arguments: dict[str, Any] = {
            "scores": HELD.signals[:, 1:],
            "answers": HELD.predictions[:, 1:],
            "context": dict(HELD.context),
            **changes,
        }
        return Traces.from_models(HELD.losses[:, 1:], [1, 2, 4], **arguments)

    def test_columns_in_another_order_and_more_of_them(self, policy: ttamer.Policy) -> None:
        expected = policy.replay(HELD)
        context = {"length": HELD.context["length"], "more": ["x"] * 80, "topic": HELD.context["topic"]}
        shown = self.build(context=context)
        with pytest.raises(
            ValueError, match="^traces: expected the nodes topic, model 0, model 1, model 2, got length"
        ):
            policy.replay(shown)
        result = policy.replay(shown.with_context("topic"))
        np.testing.assert_array_equal(result.last_node, expected.last_node)
        np.testing.assert_array_equal(result.answer_node, expected.answer_node)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"context": {"topic": ["t0"] * 80}}, r"^context: expected a column 'length', got \['topic'\]$"),
            ({"answers": None}, "^traces: expected answers, which the policy decides on, got none$"),
            (
                {"classes": False},
                r"^traces: expected answers that are classes, which the policy decides on \(classes=True\)$",
            ),
            (
                {"context": {"topic": np.arange(80), "length": np.arange(80)}},
                "^context: expected categories in 'topic', got numbers$",
            ),
            (
                {"context": {"topic": ["t0"] * 80, "length": ["long"] * 80}},
                "^context: expected numbers in 'length', got categories$",
            ),
        ],
    )
    def test_what_is_missing_is_named(self, policy: ttamer.Policy, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            policy.replay(self.build(**changes))

    def test_models_that_are_not_independent(self) -> None:
        policy = ttamer.solve(ttamer.fit(recorded(context=False), estimate="sets"), 0.98)
        held = recorded(context=False, seed=1)
        line = Traces(held.signals, held.losses, [1, 2, 4, 8, 4, 4], held.topology, predictions=held.predictions)
        with pytest.raises(ValueError, match="^traces: expected independent models"):
            policy.replay(line)
        with pytest.raises(ValueError, match=r"^traces: expected Topology.skip\(3\), got Topology.line\(3\)"):
            policy.replay(held.path([0, 1, 2], [1, 2, 4]))

    def test_categories_where_scores_are_numbers(self) -> None:
        policy = ttamer.solve(ttamer.fit(recorded(context=False), estimate="sets"), 0.98)
        held = recorded(context=False, seed=1)
        coded = held._with(signals=np.zeros_like(held.signals), categories={1: ("low", "high")})
        with pytest.raises(ValueError, match="^traces: expected numbers as signals of node 1, got categories$"):
            policy.replay(coded)

    @pytest.mark.parametrize("gap", [None, np.nan, ""])
    def test_requests_that_lack_a_column(self, policy: ttamer.Policy, gap: Any) -> None:
        """Alone, a missing value is of no kind."""
        names = dict(sets_of(policy).context)["topic"]
        missing = [len(names), np.finfo(np.float32).min]
        for values in ([gap], np.array([gap])):
            assert policy.context_scores({"length": values, "topic": values}).tolist() == [missing]

    def test_a_context_that_is_served(self, policy: ttamer.Policy) -> None:
        scores = policy.context_scores({"length": [3.0, None], "other": ["", 1], "topic": ["t1", "unseen"]})
        names = dict(sets_of(policy).context)["topic"]
        assert scores.tolist() == [[names.index("t1"), 3.0], [3.0, np.finfo(np.float32).min]]
        chains = ttamer.solve(ttamer.fit(recorded(), estimate="chains"), 0.9)
        assert chains.context_scores({"topic": ["t1"]}).shape == (1, 0)
        for context, message in (
            (
                {"length": [3.0], "topic": ["t1", "t2"]},
                r"context\['topic'\]: expected \(1,\) numbers or texts, one a req",
            ),
            ({"length": 3.0, "topic": "t1"}, r"context\['length'\]: expected \(B,\) numbers or texts, .*, got float$"),
            ({"length": [3.0]}, r"context: expected a column 'topic', got \['length'\]$"),
            ({"length": ["x"], "topic": ["t1"]}, "context: expected numbers in 'length', got categories$"),
        ):
            with pytest.raises(ValueError, match=f"^{message}"):
                policy.context_scores(context)
        with pytest.raises(TypeError, match="^context: expected a mapping of names to columns, got list$"):
            policy.context_scores([3.0])  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="^context: expected at least one column, got none$"):
            chains.context_scores({})
        plain = ttamer.solve(ttamer.fit(recorded(), 4), 0.9)
        with pytest.raises(ValueError, match=r"^context: expected a policy that decides on .*, got estimate='signal'$"):
            plain.context_scores({"topic": ["t1"]})
