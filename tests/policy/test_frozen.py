"""Files of every format version that ever was load for ever, and decide as they did when they were written."""

from __future__ import annotations

import numpy as np
import pytest
from paths import DATA

import ttamer


def traces() -> ttamer.Traces:
    """Twelve requests at three nodes, written out so that no random generator has to stay the same."""
    rows = np.arange(12)
    signals = np.stack([rows % 4, (rows * 5) % 7, (rows * 3) % 8], axis=1).astype(np.float32) / 8
    losses = ((rows[:, None] * [1, 2, 3]) % 5 > [2, 2, 3]).astype(np.float32)
    topology = ttamer.Topology.dag(3, [(-1, 0), (0, 1), (0, 2), (1, 2)])
    return ttamer.Traces(signals, losses, [1.0, 0.25, 0.5, 0.25], topology, unit="ms")


def fitted() -> ttamer.CascadeModel:
    """What ttamer 0.1.0 saved as model-v1; policy-v1 is its solution below."""
    return ttamer.fit(traces(), bins=4, smoothing="mean", loss_strength=1, transition_strength=1)


LAST = [2, 2, 0, 1, 2, 2, 0, 2, 2, 2, 0, 2]
ANSWER = [2, 2, 0, 1, 2, 2, 0, 2, 1, 2, 0, 1]
NEXT = [1, 2, -1, 1, 1, 2, -1, 1, 1, 2, -1, 1]
BIN_EDGES = [0.0625, 0.3125, 0.5625]
LOSSES = [7 / 18, 7 / 24, 1 / 30, 1 / 24]
TRANSITION = np.array([[14, 3, 3, 28], [2, 3, 27, 16], [2, 27, 15, 4], [14, 15, 3, 16]]) / 48


def test_model_v1() -> None:
    model = ttamer.CascadeModel.load(DATA / "model-v1.safetensors")
    assert (
        repr(model) == "CascadeModel(Topology.dag(3, [(-1, 0), (0, 1), (0, 2), (1, 2)]), states=[4, 4, 4], 12 requests)"
    )
    assert (model.cost_scale, model.unit, model.observed) == (1.5, "ms", False)
    assert model.costs.tolist() == [1.0, 0.25, 0.5, 0.25]
    assert model.bin_edges[1].tolist() == BIN_EDGES
    np.testing.assert_allclose(model.losses[2], LOSSES, rtol=0, atol=1e-15)
    np.testing.assert_allclose(model.transitions[1], TRANSITION, rtol=0, atol=1e-15)
    assert (model + ttamer.fit(traces(), like=model)).requests == 24


def test_model_v3() -> None:
    """Fitted on the same requests, of weights 0, 1/8, 2/8, ..."""
    model = ttamer.CascadeModel.load(DATA / "model-v3.safetensors")
    assert model.requests == 8.25
    np.testing.assert_allclose(model.losses[2], [7 / 12, 13 / 84, 4 / 87, 4 / 75], rtol=0, atol=1e-15)
    np.testing.assert_allclose(model.transitions[1][0], [14 / 330, 38 / 330, 32 / 330, 246 / 330], rtol=0, atol=1e-15)
    assert (model + ttamer.fit(traces(), like=model)).requests == 20.25


def test_policy_v1() -> None:
    policy = ttamer.Policy.load(DATA / "policy-v1.safetensors")
    assert (policy.tradeoff, policy.recall, policy.unit, policy.cost_scale) == (0.7, "observed", "ms", 1.5)
    assert policy.value == pytest.approx(0.345339586548354, rel=0, abs=1e-12)
    result = policy.replay(traces())
    assert result.last_node.tolist() == LAST
    assert result.answer_node.tolist() == ANSWER
    assert policy.expected_cost == pytest.approx(1.3515625, rel=0, abs=1e-12)
    batch = policy.start(12)
    assert batch.decide(0, traces().signals[:, 0].copy()).tolist() == NEXT


def test_the_frozen_policy_is_still_the_solution() -> None:
    policy = ttamer.Policy.load(DATA / "policy-v1.safetensors")
    for model in (fitted(), ttamer.CascadeModel.load(DATA / "model-v1.safetensors")):
        solved = ttamer.solve(model, 0.7, "observed")
        assert abs(solved.value - policy.value) <= 1e-12
        for node in range(3):
            assert [[n for _, n in row] for row in solved.actions(node)] == [
                [n for _, n in row] for row in policy.actions(node)
            ]


def witnessed() -> ttamer.Traces:
    """Twenty-four requests at two exits, probabilities and all."""
    rows = np.arange(24)
    weights = [np.stack([(rows * step + 5 * c) % 11 + 1.0 for c in range(3)], axis=1) for step in (3, 7)]
    for weight, more in zip(weights, (2, 6), strict=True):
        weight[rows, rows % 3] += more
    probs = np.stack([weight / weight.sum(axis=1, keepdims=True) for weight in weights], axis=1)
    return ttamer.Traces.from_probs(probs, rows % 3, [1.0, 0.5], unit="ms")


STEPS_LAST = [1, 0, 0, 1, 0, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 1]
STEPS_ANSWER = [0, 0, 0, 1, 0, 0, 1, 1, 0, 1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 0, 1, 0, 0, 1]


def test_estimates_v1() -> None:
    """What ttamer 0.1.0 saved of ``fit(witnessed(), 3, "posterior")`` and of its solution at 0.7."""
    model = ttamer.CascadeModel.load(DATA / "model-posterior-v1.safetensors")
    policy = ttamer.Policy.load(DATA / "policy-posterior-v1.safetensors")
    assert (policy.estimate, policy.walk, policy.recall, policy.unit) == ("posterior", ((0,), (0, 1)), "none", "ms")
    assert abs(ttamer.solve(model, 0.7).value - policy.value) <= 1e-12
    result = policy.replay(witnessed())
    assert result.last_node.tolist() == STEPS_LAST
    assert result.answer_node.tolist() == STEPS_ANSWER
    evidence = witnessed().evidence
    logits = np.empty((24, 3), np.float32)
    np.put_along_axis(logits, evidence.classes[:, 0], evidence.log_probs[:, 0], axis=1)
    assert policy.start(24).decide_logits(0, logits).tolist() == [1 if last else -1 for last in STEPS_LAST]


def asked() -> ttamer.Traces:
    """Sixty requests of two topics to three models, with scores, answers and costs of their own."""
    rows = np.arange(60)
    models = np.arange(3)
    hard = (rows * 7) % 11
    wrong = (hard[:, None] + 2 * (rows[:, None] % 2 == models % 2) + (rows[:, None] * [3, 5, 2]) % 4 > [4, 7, 10]) * 1.0
    scores = 12 - hard[:, None] + (rows[:, None] * [5, 4, 3]) % [7, 5, 3]
    return ttamer.Traces.from_models(
        wrong,
        {"ms": 4.0**models * (1 + rows[:, None] % 4)},
        scores=np.where(rows[:, None] % 10 == 3 * models, np.nan, scores),
        answers=np.where(wrong == 0, rows[:, None] % 3, (rows[:, None] + models) % 4 - 1),
        context={"topic": np.where(rows % 2, "odd", "even"), "length": np.where(rows % 13, hard, np.nan)},
        nodes=["small", "middle", "large"],
    )


ASKED = {
    "sets": (
        0.6,
        0.3261319570162557,
        "232321332322213323223223232231232233332322332323223323221233",
        "232322332322223323223223232232232233232322332323223323222233",
    ),
    "chains": (
        0.9,
        0.24227777777777776,
        "232333332332333323323223333233333333332332332323333323323233",
        "232333332332333323323223333233333333332332332323333323323233",
    ),
}
"""Trade-off, value, and the last and the answering node of each request."""


def test_traces_v4() -> None:
    kept, traces = ttamer.Traces.load(DATA / "traces-v4.npz"), asked()
    assert (kept.independent, kept.answer_classes, kept.nodes) == (True, True, ("topic", "small", "middle", "large"))
    for name in ("signals", "losses", "predictions"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(traces, name))
    for name, column in traces.context.items():
        np.testing.assert_array_equal(kept.context[name], column)
    np.testing.assert_array_equal(kept.unit_costs["ms"], traces.unit_costs["ms"])


@pytest.mark.parametrize("kind", ASKED)
def test_sets_and_chains_v4(kind: str) -> None:
    tradeoff, value, last, answer = ASKED[kind]
    model = ttamer.CascadeModel.load(DATA / f"model-{kind}-v4.safetensors")
    policy = ttamer.Policy.load(DATA / f"policy-{kind}-v4.safetensors")
    assert (policy.estimate, policy.topology, policy.unit) == (kind, asked().topology, "ms")
    assert policy.value == pytest.approx(value, rel=0, abs=1e-12)
    assert ttamer.solve(model, tradeoff).value == pytest.approx(value, rel=0, abs=1e-12)
    for traces in (asked(), ttamer.Traces.load(DATA / "traces-v4.npz")):
        result = policy.replay(traces)
        assert "".join(map(str, result.last_node)) == last
        assert "".join(map(str, result.answer_node)) == answer
