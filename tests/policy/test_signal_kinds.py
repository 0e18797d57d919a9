"""The kind of signal that is served is the one that was fitted, or the call is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from evidence_cases import independent, nested
from helpers import serve

import ttamer
from ttamer import Traces, compare
from ttamer._base import files

TRADEOFFS = [0.5, 0.9, 0.95, 0.99]
REFUSED = "^decide: this policy decides on 'logit_margin', its traces recorded 'margin': call decide_logits, or"


@pytest.fixture(scope="module")
def traces() -> Traces:
    """They record the margin, and that of the logits is chosen."""
    return nested(400).with_signal("margin")


@pytest.fixture(scope="module")
def policy(traces: Traces) -> ttamer.Policy:
    return ttamer.frontier(traces, TRADEOFFS)[-1].policy


def own(traces: Traces, kind: str = "") -> Traces:
    """The signals and losses alone."""
    return Traces(traces.signals, traces.losses, traces.costs, traces.topology, unit=traces.unit, signal=kind)


class TestDeciding:
    def test_a_policy_knows_both_kinds(self, traces: Traces, policy: ttamer.Policy) -> None:
        assert (policy.signal, policy.recorded_signal) == ("logit_margin", "margin")
        plain = ttamer.solve(ttamer.fit(traces, 8))
        assert (plain.signal, plain.recorded_signal) == ("margin", "margin")
        tuned = ttamer.tune(nested(1200), max_error=0.45, tradeoffs=TRADEOFFS)
        assert (tuned.signal, tuned.recorded_signal) == ("logit_margin", "max_prob")

    def test_the_recorded_kind_is_not_taken_for_another(self, traces: Traces, policy: ttamer.Policy) -> None:
        with pytest.raises(ValueError, match=REFUSED):
            serve(policy, traces.signals)
        batch = policy.start(3)
        with pytest.raises(
            ValueError, match=r"say so, start\(signal='logit_margin'\), or fit on traces.with_signal\('logit_margin'\)$"
        ):
            batch.decide(0, traces.signals[:3, 0].copy())
        assert batch.answer_node.tolist() == [-1, -1, -1]

    def test_of_signals_of_the_user_s_own(self, traces: Traces) -> None:
        stated = Traces(
            traces.signals, traces.losses, traces.costs, unit="ms", labels=traces.labels, evidence=traces.evidence
        )
        policy = ttamer.frontier(stated, TRADEOFFS)[-1].policy
        assert policy.signal != "" == policy.recorded_signal
        with pytest.raises(ValueError, match="its traces recorded signals of the user's own: call decide_logits"):
            policy.start(3).decide(0, traces.signals[:3, 0].copy())

    def test_the_right_kind_is_the_replay(self, traces: Traces, policy: ttamer.Policy) -> None:
        expected = policy.replay(traces)
        assert len(set(expected.last_node.tolist())) > 1
        found = serve(policy, traces.with_signal("logit_margin").signals, "logit_margin")
        logits = np.zeros((400, 3, 3), np.float32)
        np.put_along_axis(logits, traces.evidence.classes.astype(np.int64), traces.evidence.log_probs, axis=2)
        for served in (found, serve(policy, logits)):
            np.testing.assert_array_equal(served["last_node"], expected.last_node)
            np.testing.assert_array_equal(served["answer_node"], expected.answer_node)

    def test_logarithms_of_probabilities_are_logits(self, traces: Traces, policy: ttamer.Policy) -> None:
        probs = np.random.default_rng(0).dirichlet(np.ones(3), 400)
        batches = [policy.start(400), policy.start(400, signal="logit_margin")]
        found = batches[0].decide_logits(0, np.log(probs).astype(np.float32))
        second, first = np.sort(np.log(probs).astype(np.float32), axis=1)[:, 1:].T
        np.testing.assert_array_equal(found, batches[1].decide(0, first - second))

    def test_another_kind_is_named_in_vain(self, policy: ttamer.Policy) -> None:
        with pytest.raises(
            ValueError, match="^signal: expected 'logit_margin', which the policy decides on, got 'margin'$"
        ):
            policy.start(signal="margin")
        with pytest.raises(TypeError, match="^signal: expected a str, got int$"):
            policy.start(signal=1)  # type: ignore[arg-type]
        bare = ttamer.solve(ttamer.fit(own(nested(100)), 4))
        with pytest.raises(ValueError, match="^signal: expected None, for its signals are your own, got 'margin'$"):
            bare.start(signal="margin")
        assert len(bare.start(2, signal="")) == 2

    def test_traces_with_the_kind_record_it(self, traces: Traces) -> None:
        policy = ttamer.frontier(traces.with_signal("logit_margin"), TRADEOFFS)[-1].policy
        assert policy.signal == policy.recorded_signal
        assert len(policy.start(3).decide(0, traces.signals[:3, 0].copy())) == 3

    def test_policies_that_estimate_take_logits_alone(self) -> None:
        policy = ttamer.solve(ttamer.fit(independent(200), 8, "posterior"))
        with pytest.raises(
            ValueError, match="^decide: this policy estimates from what nodes show; call decide_logits$"
        ):
            policy.start(3).decide(0, np.zeros(3, np.float32))
        with pytest.raises(ValueError, match="^signal: expected None, for this policy decides on logits, got"):
            policy.start(signal="logit_margin")


class TestFiles:
    def test_both_kinds_are_kept(self, traces: Traces, policy: ttamer.Policy, tmp_path: Path) -> None:
        model = ttamer.frontier(traces, TRADEOFFS).model
        model.save(tmp_path / "m.st")
        policy.save(tmp_path / "p.st")
        for kept in (
            ttamer.CascadeModel.load(tmp_path / "m.st"),
            ttamer.Policy.load(tmp_path / "p.st"),
            pickle.loads(pickle.dumps(model)),
            pickle.loads(pickle.dumps(policy)),
        ):
            assert (kept.signal, kept.recorded_signal) == ("logit_margin", "margin")
        with pytest.raises(ValueError, match=REFUSED):
            serve(ttamer.Policy.load(tmp_path / "p.st"), traces.signals)

    def test_without_it_both_are_the_same(self, policy: ttamer.Policy) -> None:
        fields, arrays = files.from_bytes(policy._to_bytes(), "policy", 2, "p")
        assert fields.pop("recorded_signal") == "margin"
        kept = ttamer.Policy._from_bytes(files.to_bytes("policy", 1, fields, arrays), "p")
        assert kept.signal == kept.recorded_signal == "logit_margin"
        fields["recorded_signal"] = "best"
        with pytest.raises(ValueError, match="signal: expected max_prob, margin, entropy or logit_margin, got 'best'"):
            ttamer.Policy._from_bytes(files.to_bytes("policy", 1, fields, arrays), "p")

    def test_stated_models_record_what_they_decide_on(self) -> None:
        model = ttamer.CascadeModel(ttamer.Topology.line(1), [[0.5]], [[[1.0]]], [1.0], signal="entropy")
        assert model.recorded_signal == ttamer.solve(model).recorded_signal == "entropy"


class TestModels:
    def test_of_other_recorded_kinds_do_not_add(self, traces: Traces) -> None:
        model = ttamer.frontier(traces, TRADEOFFS).model
        shard = ttamer.fit(nested(100, seed=1), like=model)
        assert (shard.signal, shard.recorded_signal, (shard + model).recorded_signal) == (
            "logit_margin",
            "margin",
            "margin",
        )
        fields, arrays = files.from_bytes(model._to_bytes(), "model", 2, "m")
        del fields["recorded_signal"]
        with pytest.raises(ValueError, match="models add only with the same costs, unit, signal"):
            model + ttamer.CascadeModel._from_bytes(files.to_bytes("model", 1, fields, arrays), "m")


class TestReplays:
    def test_of_signals_that_are_not_the_policy_s(self, traces: Traces, policy: ttamer.Policy) -> None:
        named = own(traces.with_signal("logit_margin"), "logit_margin")
        np.testing.assert_array_equal(policy.replay(named).last_node, policy.replay(traces).last_node)
        bare = own(traces.with_signal("logit_margin"))
        for replay in (policy.replay, lambda other: ttamer.evaluate(policy, other)):
            with pytest.raises(
                ValueError, match="^traces: expected signal='logit_margin' or evidence to make it from, got"
            ):
                replay(bare)
        on_own = ttamer.solve(ttamer.fit(bare, 8))
        expected = ttamer.solve(ttamer.fit(named, 8)).replay(named)
        np.testing.assert_array_equal(on_own.replay(bare).last_node, expected.last_node)
        for other in (named, traces):
            with pytest.raises(
                ValueError, match=f"^traces: expected the user's own signals, signal='', got signal='{other.signal}'"
            ):
                on_own.replay(other)

    def test_fit_like(self, traces: Traces) -> None:
        model = ttamer.fit(traces, 8)
        with pytest.raises(ValueError, match="^traces: expected signal='margin' or evidence to make it from"):
            ttamer.fit(own(traces), like=model)

    def test_thresholds_are_compared_with_signals_of_their_kind(self, traces: Traces) -> None:
        test = nested(200, seed=1)
        settings = ttamer.baselines.threshold_curve(traces)
        found = compare.curve_of_settings("one", settings, traces, test)
        expected = compare.curve_of_settings("one", settings, traces, test.with_signal("margin"))
        np.testing.assert_array_equal(found.test_cost, expected.test_cost)
        with pytest.raises(ValueError, match="^traces: expected signal='margin' or evidence"):
            compare.curve_of_settings("one", settings, traces, own(test))


def in_unit(traces: Traces, unit: str) -> Traces:
    return traces._with(unit_costs={unit: traces.costs})


class TestUnits:
    """Costs in one unit are not taken for those in another."""

    def test_replay(self, traces: Traces, policy: ttamer.Policy) -> None:
        other = in_unit(traces, "us")
        for replay in (policy.replay, lambda others: ttamer.evaluate(policy, others)):
            with pytest.raises(ValueError, match="^traces: expected costs in 'ms', got 'us'$"):
                replay(other)
        expected = policy.replay(traces)
        np.testing.assert_array_equal(policy.replay(in_unit(traces, "")).cost, expected.cost)
        without = ttamer.solve(ttamer.fit(in_unit(traces, ""), 8))
        assert len(without.replay(other).cost) == 400

    def test_of_policies_that_estimate(self) -> None:
        traces = independent(200)
        policy = ttamer.solve(ttamer.fit(traces, 8, "posterior"))
        with pytest.raises(ValueError, match="^traces: expected costs in 'ms', got 'us'$"):
            policy.replay(in_unit(traces, "us"))

    def test_fit_like(self, traces: Traces) -> None:
        model = ttamer.fit(traces, 8)
        with pytest.raises(ValueError, match="^like: expected costs in 'us', got 'ms'$"):
            ttamer.fit(in_unit(traces, "us"), like=model)

    def test_front(self, traces: Traces) -> None:
        points = ttamer.frontier(traces, TRADEOFFS).points
        with pytest.raises(ValueError, match=r"^points\[0\]: expected costs in 'us', got 'ms'$"):
            ttamer.Front(points, "us")
        assert ttamer.Front(points).unit == ""
