"""Flights of several models: logits, labels, and answers that are only compared; and of policies in one unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import random_traces
from set_traces import recorded

import ttamer
from ttamer import STOP, Topology, Traces
from ttamer.serve import Dispatcher, Flight

LINE = random_traces(Topology.line(3), 500, 3)


def tell_all(dispatcher: Dispatcher, answers: tuple[Any, ...]) -> Flight:
    """Three answers, in the order in which they are asked for, and the rest for the record."""
    flight = dispatcher.enter()
    for answer in answers:
        if flight.node != STOP:
            flight.consulted(answer, 0.5)
        else:
            flight.is_shadowed = True
            node = next(each for each in range(3) if all(visit.node != each for visit in flight.visits))
            flight.shadowed(node, answer, 0.5)
    return flight


class TestOfSeveralModels:
    def test_logits_are_scores_and_labels(self) -> None:
        """Flights decide as `Batch.decide_logits` does; what is read back is what was told."""
        rng = np.random.default_rng(0)
        labels, hard = rng.integers(0, 4, 900), rng.random(900)
        logits = rng.standard_normal((900, 3, 4)).astype(np.float32)
        logits[np.arange(900), :, labels] += (np.array([1.0, 2.0, 4.0]) * 2 * (1 - hard[:, None])).astype(np.float32)
        probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        traces = Traces.from_probs(probs[:600], labels[:600], [1.0, 3.0, 10.0])
        policy = ttamer.solve(ttamer.fit(traces, estimate="sets"), 0.95)
        dispatcher, asked = Dispatcher(policy), 0
        for row in logits[600:]:
            flight, batch, node = dispatcher.enter(), policy.start(1), policy.first_node
            while flight.node != STOP:
                assert flight.node == node
                flight.consulted("a text", logits=row[node])
                assert flight.visits[-1].label == row[node].argmax()
                node = int(batch.decide_logits(node, row[node][None])[0])
            assert (node, flight.answer_node) == (STOP, batch.answer_node[0])
            asked += len(flight.visits)
        assert asked > 330  # some go on
        flight.is_shadowed = True
        for node in set(range(3)) - {visit.node for visit in flight.visits}:
            flight.shadowed(node, "a text", logits=row[node])
            assert flight.visits[-1].label == row[node].argmax()
            assert flight.visits[-1].signal == pytest.approx(probs[-1, node].max(), rel=1e-6)
        scored = ttamer.solve(ttamer.fit(recorded(context=False), estimate="sets"), 0.9)
        with pytest.raises(ValueError, match=r"^logits: expected None, as they do not give the scores that the policy"):
            Dispatcher(scored).enter().consulted(1, logits=row[0])

    def test_answers_that_are_only_compared(self) -> None:
        """Numbers that cannot be labels are as good as texts, and what one policy does not look at is logged."""
        traces = recorded(classes=False, context=False, scores=False)
        comparing = Dispatcher(ttamer.solve(ttamer.fit(traces, estimate="sets"), 1.0))
        for answers in ((-1, -1, -5), (2**31, 2**31, 7), ("a", "a", None), (True, True, False)):
            flight = tell_all(comparing, answers)
            numbers = [visit.label for visit in flight.visits]
            assert numbers[0] == numbers[1] >= 0
            assert numbers[2] != numbers[0]
            assert (numbers[2] == -1) == (answers[2] is None)
        blind = Dispatcher(ttamer.solve(ttamer.fit(recorded(answers=False, context=False), estimate="sets"), 1.0))
        numbers = [visit.label for visit in tell_all(blind, ("a", "a", ["no hash"])).visits]
        assert numbers[0] == numbers[1] >= 0
        assert numbers[2] == -1
        with pytest.raises(ValueError, match=r"^label: expected at most"):
            comparing.enter().consulted("a", label=2**31)

    def test_tiers_are_in_one_unit(self) -> None:
        policies = {
            unit: ttamer.solve(ttamer.fit(Traces(LINE.signals, LINE.losses, [1, 2, 4], unit=unit), 4), 0.9)
            for unit in ("usd", "ms")
        }
        with pytest.raises(ValueError, match=r"^policy\['b'\]: expected costs in 'usd', as the first, got 'ms'$"):
            Dispatcher({"a": policies["usd"], "b": policies["ms"]})
        only = Dispatcher({"a": policies["usd"]})
        assert only.enter().tier == only.enter("a").tier == "a"
        with pytest.raises(ValueError, match=r"^tier: expected a, got 'b'$"):
            only.enter("b")
