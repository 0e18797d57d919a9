"""Serving policies that decide on scores and answers: batches against replays, and nodes that fail."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from set_traces import recorded, same_as_replay, sets_of

import ttamer
from ttamer import STOP, Traces, reference
from ttamer._base.types import ROOT
from ttamer._core import start
from ttamer.fitting.chains import has_scores

CASES: dict[str, dict[str, Any]] = {
    "all": {},
    "without context": {"context": False},
    "without answers": {"answers": False},
    "without scores": {"scores": False},
    "missing scores": {"missing": 0.3},
    "four": {"models": 4},
    "seven": {"models": 7, "rows": 200},
    "answers of one request": {"classes": False},
    "graded": {"graded": True},
}
TRADEOFFS = (0.5, 0.9, 0.97, 0.999)


def policies(kind: str, traces: Traces) -> list[ttamer.Policy]:
    model = ttamer.fit(traces, estimate=kind)
    return [ttamer.solve(model, tradeoff) for tradeoff in TRADEOFFS]


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(
    ("kind", "case"), [("sets", case) for case in CASES] + [("chains", case) for case in CASES if case[-6:] != "scores"]
)
def test_batches_serve_what_replays_have(kind: str, case: str, mixed: bool) -> None:
    """In any order, several nodes in a call, with the same answer, end and cost."""
    held = recorded(seed=1, **{**CASES[case], "rows": 150})
    for seed, policy in enumerate(policies(kind, recorded(**CASES[case]))):
        same_as_replay(policy, held, seed, mixed)


@pytest.mark.parametrize("kind", ["sets", "chains"])
def test_costs_of_each_request_and_prices_of_units(kind: str) -> None:
    paid = np.random.default_rng(5).random((400, 3)) * [1, 3, 9]
    policy = ttamer.solve(ttamer.fit(recorded(costs=paid, unit="ms"), estimate=kind), 0.95)
    same_as_replay(policy, recorded(seed=1, costs=paid[::-1].copy(), unit="ms"))
    several = {"usd": [1, 2, 4], "ms": paid}
    prices = {"usd": 1.0, "ms": 0.5}
    if kind == "sets":
        policy = ttamer.solve(ttamer.fit(recorded(costs=several), estimate=kind), 0.95, prices=prices)
        same = ttamer.solve(ttamer.fit(recorded(costs=several).priced(prices), estimate=kind), 0.95)
        assert policy.actions(0) == same.actions(0)
    else:
        policy = ttamer.solve(ttamer.fit(recorded(costs=several).priced(prices), estimate=kind), 0.95)
    held = recorded(seed=1, costs=several)
    same_as_replay(policy, held)
    result = policy.replay(held)
    np.testing.assert_allclose(result.unit_costs["usd"] + 0.5 * result.unit_costs["ms"], result.cost)


def test_answers_and_categories_that_were_never_recorded() -> None:
    """Unseen classes and names, and contexts and scores without a value, are served as replays have them."""
    held = recorded(rows=200, seed=2)
    rng = np.random.default_rng(0)
    said = held.predictions.copy()
    said[:, 1:] = rng.choice([-1, 3, 99, 2**31 - 1], (200, 3))
    topics = np.where(rng.random(200) < 0.5, "unseen", np.where(rng.random(200) < 0.5, "", held.context["topic"]))
    lengths = np.where(rng.random(200) < 0.3, np.nan, held.context["length"] * 100 - 50)
    odd = Traces.from_models(
        held.losses[:, 1:],
        [1, 2, 4],
        scores=np.where(rng.random((200, 3)) < 0.3, np.nan, held.signals[:, 1:]),
        answers=said[:, 1:],
        context={"length": lengths, "topic": topics},  # in another order
    ).with_context("topic")
    for kind in ("sets", "chains"):
        for policy in policies(kind, recorded()):
            same_as_replay(policy, odd, mixed=True)


class Walk:
    """A policy played by the specification: estimates of the reference, decisions of a batch over steps."""

    def __init__(self, policy: ttamer.Policy, nan: str) -> None:
        self.policy, self.nan, self.estimator = policy, nan, sets_of(policy)
        self.plain = start(policy._core, 1, nan, "", "")
        self.after = {
            (before, int(self.estimator.walk.last[step])): step for before, step in policy.steps.edges.tolist()
        }
        self.step, self.answer, self.failed = ROOT, -1, set[int]()
        self.is_shown = False  # whether the answer is of a node that did not fail

    def tables(self) -> dict[str, Any]:
        """Those of the estimator, where nodes that failed are worse than all others."""
        tables = {"last": self.estimator.walk.last, **self.estimator.tables}
        coefficients = tables["coefficients"].copy()
        sizes = np.diff(tables["target_offsets"])
        widths = self.widths()
        place = 0
        for cell, (count, width) in enumerate(zip(sizes, widths, strict=True)):
            targets = tables["targets"][tables["target_offsets"][cell] :][:count]
            for k, target in enumerate(targets.tolist()):
                if target in self.failed and k < tables["answering"][cell]:
                    coefficients[place : place + width] = 0
                    coefficients[place] = 1e300
                place += width
        return {**tables, "coefficients": coefficients}

    def widths(self) -> list[int]:
        tables = self.estimator.tables
        widths = []
        inputs, classes, agreeing = (tables[name] for name in ("input_offsets", "class_offsets", "agreeing"))
        for begin, end in zip(tables["cell_offsets"][:-1], tables["cell_offsets"][1:], strict=True):
            width = 1
            nodes = tables["cell_nodes"][begin:end]
            for node in nodes.tolist():
                own = int(tables["columns"][inputs[node] : inputs[node + 1]].sum())
                width += own + int(classes[node + 1] - classes[node]) * (2 if own else 1)
            pairs = int(agreeing[nodes].sum())
            widths.append(width + pairs * (pairs - 1) // 2)
        return widths

    def consult(self, node: int, scores: npt.NDArray[np.float32], answers: npt.NDArray[np.int32], fails: bool) -> int:
        """The next node, given all that was shown so far."""
        self.step = self.after[self.step, node]
        cell = int(self.estimator.tables["cells"][self.step])
        begin = self.estimator.tables["target_offsets"][cell]
        answering = self.estimator.tables["targets"][begin : begin + self.estimator.tables["answering"][cell]].tolist()
        if fails:
            self.failed.add(node)
            signal = np.float32(np.nan)
            if self.nan == "worst" and node in answering and not self.is_shown:
                self.answer = node
        else:
            signals, chosen = reference.estimate_sets(self.tables(), scores[None], answers[None])
            signal = signals[0, self.step]
            if answering and self.failed >= set(answering):
                signal = np.float32(np.nan)
            else:
                self.answer = int(chosen[0, self.step])
                self.is_shown = self.answer != -1
        (ahead,) = self.plain.decide(self.step, np.array([signal], np.float32)).tolist()
        return STOP if ahead == STOP else int(self.estimator.walk.last[ahead])


@pytest.mark.parametrize("nan", ["worst", "failed"])
@pytest.mark.parametrize("kind", ["sets", "chains"])
def test_nodes_that_fail(kind: str, nan: str) -> None:
    """A node that failed counts as one without a score and an answer, and answers only where no other one can."""
    held = recorded(rows=60, seed=1)
    rng = np.random.default_rng(3)
    outcomes = set()
    for policy in policies(kind, recorded()):
        estimator = sets_of(policy)
        offsets = estimator.tables["input_offsets"]
        batch = policy.start(1, nan)
        for row, (scores, answers) in enumerate(zip(estimator.scores(held), estimator.answers(held), strict=True)):
            batch.reset()
            walk = Walk(policy, nan)
            scores, answers = scores.copy(), answers.copy()
            node = policy.first_node
            while node != STOP:
                own = slice(offsets[node], offsets[node + 1])
                fails = bool(rng.random() < 0.4) and own.start < own.stop
                shown = scores[own].copy()
                if fails:
                    shown[0] = scores[own] = np.nan
                    answers[node] = -1
                expected = walk.consult(node, scores, answers, fails)
                said = held.predictions[[row], node].copy()
                table = None if not shown.size else shown if shown.size == 1 else shown[None]
                (found,) = batch.decide_answers(node, table, said, np.array([0])).tolist()
                assert found == expected
                assert batch.answer_node[0] == walk.answer
                node = found
            outcomes.add((len(walk.failed), walk.answer == -1))
    assert {count for count, _ in outcomes} >= {0, 1, 2}


@pytest.fixture(scope="module")
def policy() -> ttamer.Policy:
    return ttamer.solve(ttamer.fit(recorded(), estimate="sets"), 0.999)


class TestRefused:
    def test_calls_change_nothing(self, policy: ttamer.Policy) -> None:
        batch = policy.start(4)
        shown, said = np.zeros((4, 2), np.float32), np.full(4, -1, np.int32)
        first = batch.decide_answers(0, shown, said).copy()
        before = batch.answer_node, batch.answer_loss
        node = int(first[0])
        one = np.array([0.5, 0.5, np.nan, 0.5], np.float32)
        calls: list[tuple[Any, type[Exception], str]] = [
            (
                lambda: batch.decide(node, one),
                ValueError,
                "decide: this policy decides on scores and answers; call dec",
            ),
            (
                lambda: batch.decide_logits(node, shown),
                ValueError,
                "decide_logits: the policy's scores are not of a kind that logits give; call decide_answers",
            ),
            (
                lambda: batch.decide_answers(node, one),
                ValueError,
                "answers: expected (B,) int32, one a row, -1 for none",
            ),
            (lambda: batch.decide_answers(node, one, said), ValueError, "scores: NaN at position 2 (row 2)"),
            (
                lambda: batch.decide_answers(node, shown, said),
                ValueError,
                "scores: expected (B,) float32, one an input",
            ),
            (lambda: batch.decide_answers(node, None, said), ValueError, "scores: expected (B,) float32, one an input"),
            (
                lambda: batch.decide_answers(node, one, said[:2]),
                ValueError,
                "answers: expected one for each of the 4 ro",
            ),
            (
                lambda: batch.decide_answers(node, one.astype(np.float64), said),
                TypeError,
                "scores: expected (B,) or (B",
            ),
            (lambda: batch.decide_answers(node, one, said.astype(np.int64)), TypeError, "answers: expected (B,) int32"),
            (lambda: batch.decide_answers(9, one, said), IndexError, "node: expected 0 to 3, got 9"),
            (
                lambda: batch.decide_answers(0, shown, said),
                ValueError,
                "node: 0 is not open to row 0, which consulted ",
            ),
            (
                lambda: batch.decide_answers(node, one[:2], said[:2], np.array([1, 1])),
                ValueError,
                "rows: row 1 is repe",
            ),
            (
                lambda: batch.decide_answers(np.zeros(4, np.int32), one, said),
                ValueError,
                "node: 0 has 2 inputs; consult it in a call of its own",
            ),
        ]
        for call, error, message in calls:
            with pytest.raises(error, match=f"^{re.escape(message)}"):
                call()
        np.testing.assert_array_equal(batch.answer_node, before[0])
        np.testing.assert_array_equal(batch.answer_loss, before[1])
        # And what was shown is as it was.
        fresh = policy.start(4)
        fresh.decide_answers(0, shown, said)
        one[2] = 0.1
        np.testing.assert_array_equal(batch.decide_answers(node, one, said), fresh.decide_answers(node, one, said))

    def test_batches_of_other_policies(self) -> None:
        plain = ttamer.solve(ttamer.fit(recorded()), 0.9)
        with pytest.raises(ValueError, match="^decide_answers: this policy decides on signals; call decide$"):
            plain.start(2).decide_answers(0, np.zeros(2, np.float32))

    def test_a_kind_of_signal(self, policy: ttamer.Policy) -> None:
        with pytest.raises(ValueError, match="^signal: expected None, for this policy decides on scores and answers"):
            policy.start(2, signal="max_prob")

    def test_rows_are_new_after_a_reset(self, policy: ttamer.Policy) -> None:
        """Nothing is left of the request that had the row before."""
        held = recorded(rows=40, seed=4)
        estimator = sets_of(policy)
        batch = policy.start(1)
        expected = policy.replay(held)
        for row, scores in enumerate(estimator.scores(held)):
            batch.reset(np.array([0]))
            node = policy.first_node
            offsets = estimator.tables["input_offsets"]
            while node != STOP:
                own = scores[offsets[node] : offsets[node + 1]]
                shown = own if len(own) == 1 else own[None]
                last = node
                node = int(batch.decide_answers(node, shown.copy(), held.predictions[[row], node].copy())[0])
            assert (last, batch.answer_node[0]) == (expected.last_node[row], expected.answer_node[row])


@given(st.integers(0, 2**32 - 1), st.sampled_from(["sets", "chains"]))
@settings(max_examples=20)
def test_any_models(seed: int, kind: str) -> None:
    """Few or many different scores, missing ones, answers of any meaning, costs of 0, contexts with gaps."""
    rng = np.random.default_rng(seed)
    models, levels, missing = int(rng.integers(1, 5)), int(rng.choice([1, 2, 5, 1000])), rng.choice([0, 0.3, 1])
    right, price = rng.random(models), rng.choice([0, 1, 2, 5, 30], models)
    graded, has_answers, classes, has_context, by_request = rng.integers(0, 2, 5).astype(bool).tolist()

    def requests(rows: int) -> Traces:
        losses = (rng.random((rows, models)) > right) * (rng.choice([0.25, 1, 3], (rows, models)) if graded else 1.0)
        scores = rng.integers(0, levels, (rows, models)) / levels - 0.5 * losses
        scores[rng.random((rows, models)) < missing] = np.nan
        lengths = np.where(rng.random(rows) < 0.2, np.nan, rng.integers(0, 9, rows))
        lengths[0] = 1
        topics = ["a", *rng.choice(["a", "b", "c", ""], rows - 1)]
        return Traces.from_models(
            losses,
            rng.random((rows, models)) if by_request else price,
            scores=scores,
            answers=rng.integers(-1, 3, (rows, models)) if has_answers else None,
            classes=classes,
            context={"length": lengths, "topic": topics} if has_context else None,
        )

    traces, held = requests(80), requests(60)
    if kind == "chains" and not has_scores(traces):
        return
    model = ttamer.fit(traces, estimate=kind)
    for tradeoff in (0.3, 0.95, 1.0):
        same_as_replay(ttamer.solve(model, tradeoff), held, seed % 1000, mixed=bool(seed % 2))
