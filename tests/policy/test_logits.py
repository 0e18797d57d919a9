"""Signals computed in the core from logits are the reference's, and decide as if they had been handed over."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logits import KINDS, policy_for, tied_rows

import ttamer
from ttamer import reference
from ttamer._base import files

SIZES = [2, 3, 10, 31, 32, 33, 63, 64, 65, 100, 1000, 1024, 1025, 1100, 2048, 5000, 100_000]
Floats32 = npt.NDArray[np.float32]


def computed(logits: npt.NDArray[Any], kind: str, nan: str = "worst") -> Floats32:
    return policy_for(kind).start(len(logits), nan)._logit_signals(logits)


def assert_close(logits: npt.NDArray[Any], kind: str, exact: npt.NDArray[Any] | None = None) -> None:
    """Within 1e-6 of the probability; sums of p ln p lose a little more, in proportion to what is summed."""
    values = logits.astype(np.float64) if exact is None else exact
    expected = reference.signals_from_logits(values, kind)
    found = computed(logits, kind)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    tolerance: dict[str, Any] = {
        "max_prob": {"rtol": 1e-6, "atol": 1e-38},
        "margin": {"rtol": 1e-6, "atol": 1e-12},
        "entropy": {"rtol": 2e-6, "atol": 1e-12},
        "logit_margin": {"rtol": 0, "atol": 0},
    }
    np.testing.assert_allclose(found, expected, **tolerance[kind])


def bfloat16(logits: Floats32) -> npt.NDArray[np.uint16]:
    """The upper halves of float32."""
    return (logits.view(np.uint32) >> 16).astype(np.uint16)


def from_bfloat16(bits: npt.NDArray[np.uint16]) -> Floats32:
    return (bits.astype(np.uint32) << 16).view(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", SIZES)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 4.0, 30.0, 1e4, 1e30])
def test_random_logits(classes: int, scale: float, kind: str) -> None:
    rng = np.random.default_rng(classes)
    assert_close((scale * rng.normal(size=(5, classes))).astype(np.float32), kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", SIZES)
def test_ties_and_peaks(classes: int, kind: str) -> None:
    """All equal, some equal, rising and falling rows, and one class above a flat rest by ever more."""
    rng = np.random.default_rng(classes)
    rows = [np.zeros(classes), np.full(classes, -3e38), np.full(classes, 3e38), rng.integers(0, 3, classes)]
    ramp = np.linspace(-40, 0, classes)
    rows += [ramp, ramp[::-1], ramp - 1000, np.where(ramp < -20, -np.inf, ramp), np.where(ramp > -20, -np.inf, ramp)]
    for gap in (0.5, 5, 10, 12, 16.6, 17.5, 20, 40, 86, 88, 200):
        for place in (0, classes // 2, classes - 1):
            row = np.full(classes, -float(gap))
            row[place] = 0
            rows.append(row)
    assert_close(np.array(rows, np.float32), kind)


@settings(max_examples=200)
@given(tied_rows(st.sampled_from([1025, 1500, 2048, 2049, 3000, 5000, 9000, 32_000])))
def test_ties_and_near_ties_anywhere(row: Floats32) -> None:
    """Types of 16 bits make ties of near-ties; each is compared with what it holds exactly."""
    bits = bfloat16(row)
    for kind in KINDS:
        assert_close(row, kind)
        assert_close(row.astype(np.float16), kind)
        assert_close(bits, kind, from_bfloat16(bits))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=5)
@given(tied_rows(st.just(200_000)))
def test_ties_among_many_classes(kind: str, row: Floats32) -> None:
    assert_close(row, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_confident_maximum_that_stands_again_blocks_later(kind: str) -> None:
    """Blocks of 1024 logits are summed apart. Two or three places share the probability, also below a later maximum."""
    rows = np.zeros((5, 4096), np.float32)
    rows[0, [0, 1500]] = 20
    rows[1, [1023, 1024, 4095]] = 20
    rows[2, [0, 1500, 4095]] = 20, 20, 21
    rows[3, [0, 1500, 4095]] = 21, 20, 20
    rows[4, [0, 1500, 4095]] = 20, np.nextafter(np.float32(20), np.float32(21)), 20
    assert_close(rows, kind)
    if kind == "max_prob":
        np.testing.assert_allclose(computed(rows, kind)[:2], [0.4999979, 1 / 3], rtol=3e-6)
        assert abs(computed(rows[:1, :2048], kind)[0] - 0.49999896) < 1e-7


@pytest.mark.parametrize("classes", [2, 33, 2000])
def test_confident_rows_keep_their_last_digits(classes: int) -> None:
    """Near 1 the probability is within two units of float32 in the last place."""
    gaps = np.linspace(8, 30, 200, dtype=np.float32)
    logits = np.zeros((200, classes), np.float32)
    logits[:, classes // 2] = gaps
    expected = reference.signals_from_logits(logits, "max_prob")
    near = expected > 0.95
    assert near.sum() > 50
    np.testing.assert_array_max_ulp(computed(logits, "max_prob")[near], expected[near], maxulp=2)


def test_logit_margins_need_no_softmax() -> None:
    """Differences of logits, whatever their level; infinite where every other class is impossible."""
    logits = np.array([[1e8, 1e8 - 64, 0], [-7, -7, -7.5], [0, -np.inf, -np.inf], [3e38, -3e38, 0]], np.float32)
    np.testing.assert_array_equal(computed(logits, "logit_margin"), np.float32([64, 0, np.inf, 3e38]))


def test_recorded_and_served_logit_margins_share_their_state() -> None:
    """Logits beyond the floor of recorded probabilities are in the state of the floor."""
    logits = np.array([[20.0, 0, 0, 0], [16.5, 0, 0, 0], [40.0, 0, 0, 0]])
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    recorded = ttamer.Traces.from_probs(probs[:, None], [0, 0, 0], [1.0], signal="logit_margin").signals[:, 0]
    served = computed(logits.astype(np.float32), "logit_margin")
    np.testing.assert_allclose(recorded, -np.log(1e-7), rtol=1e-6)
    assert (served > recorded).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 10, 32, 33, 1000, 3000])
def test_half_precision(classes: int, kind: str) -> None:
    rng = np.random.default_rng(classes)
    logits = (rng.normal(size=(40, classes)) * 5).astype(np.float32)
    logits[0, 0], logits[1, 0] = 6e-8, -np.inf
    half = logits.astype(np.float16)
    assert_close(half, kind)
    bits = bfloat16(logits)
    assert_close(bits, kind, from_bfloat16(bits))


def test_every_half() -> None:
    """Each of the 65536 float16 values next to a 0: subnormal, infinite and NaN ones too."""
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    assert_close(np.stack([halves, np.zeros_like(halves)], axis=1), "max_prob")
    wide = np.full((65536, 33), -np.inf, np.float16)
    wide[:, 5], wide[:, 32] = halves, 0
    assert_close(wide, "max_prob")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [2, 32, 33, 2100])
def test_rows_without_softmax_are_nan(classes: int, kind: str) -> None:
    rows = []
    for bad in (np.nan, -np.nan, np.inf):
        for place in (0, classes // 2, classes - 1):
            row = np.linspace(-2, 2, classes, dtype=np.float32)
            row[place] = bad
            rows.append(row)
    rows.append(np.full(classes, -np.inf, np.float32))
    payload = np.zeros(classes, np.float32)
    payload[1] = np.array([0x7FFFFFFF], np.uint32).view(np.float32)[0]
    rows.append(payload)
    assert np.isnan(computed(np.array(rows), kind)).all()
    assert np.isfinite(computed(np.zeros((3, classes), np.float32), kind)).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("recall", ["observed", "none"])
@pytest.mark.parametrize("classes", [4, 50])
def test_decides_as_with_its_signals(kind: str, recall: str, classes: int) -> None:
    rng = np.random.default_rng(5)
    policy = policy_for(kind, recall)
    one, other = policy.start(200), policy.start(200)
    moving, nodes = rng.permutation(200).astype(np.int64), np.full(200, policy.first_node, np.int32)
    consulted = 0
    while len(moving):
        logits = (rng.normal(size=(len(moving), classes)) * 4).astype(np.float32)
        signals = one._logit_signals(logits)
        found = one.decide_logits(nodes, logits, moving).copy()
        np.testing.assert_array_equal(found, other.decide(nodes, signals, moving))
        np.testing.assert_array_equal(one.answer_node, other.answer_node)
        np.testing.assert_array_equal(one.answer_loss, other.answer_loss)
        consulted += 1
        moving, nodes = moving[found != ttamer.STOP], found[found != ttamer.STOP]
    assert consulted > 1


def test_one_node_without_rows_and_large_calls() -> None:
    policy = policy_for("max_prob")
    logits = np.random.default_rng(6).normal(size=(700, 100)).astype(np.float32) * 8
    logits[0, 0] = 200
    one, other = policy.start(1000), policy.start(1000)
    found = one.decide_logits(policy.first_node, logits)
    assert found.shape == (700,)
    np.testing.assert_array_equal(found, other.decide(policy.first_node, other._logit_signals(logits)))
    assert len(np.unique(found)) == 2
    assert one.decide_logits(0, np.empty((0, 5), np.float32)).shape == (0,)


def test_wrong_arguments_change_nothing() -> None:
    batch = policy_for("max_prob").start(4)
    good = np.zeros((2, 3), np.float32)
    broken = good.copy()
    broken[1, 2] = np.nan
    cases: list[tuple[type[Exception], str, tuple[Any, ...]]] = [
        (TypeError, r"logits: expected \(B, C\) float32, float16 or bfloat16 \(as uint16\), got \(2, 3\) float64",
         (0, good.astype(np.float64))),
        (TypeError, "logits: .*got list", (0, [[0.0, 1.0]])),
        (TypeError, "logits: .*>f4", (0, good.astype(">f4"))),
        (TypeError, "logits: .*>f2", (0, good.astype(">f2"))),
        (TypeError, "logits: .*int16", (0, good.astype(np.int16))),
        (ValueError, r"logits: .*got \(3,\) float32", (0, good[0])),
        (ValueError, "logits: .*not C-contiguous", (0, np.zeros((3, 2), np.float32).T)),
        (ValueError, "logits: .*not aligned in memory", (0, np.frombuffer(bytes(17), "f4", 4, 1).reshape(2, 2))),
        (ValueError, "logits: .*C >= 2, got C = 1", (0, good[:, :1].copy())),
        (ValueError, "logits: 5 rows exceed the batch's capacity of 4", (0, np.zeros((5, 3), np.float32))),
        (ValueError, "logits: NaN.* at position 1 \\(row 1\\).*nan=\"worst\"", (0, broken)),
        (ValueError, "logits: NaN.* at position 1 \\(row 3\\)", (0, broken, np.array([0, 3]))),
        (ValueError, "logits: NaN.* at position 1 \\(row 3\\)", (0, broken, np.array([0, 3], np.int32))),
        (ValueError, "rows: expected one for each of the 2 rows of logits, got 1", (0, good, np.array([0]))),
        (ValueError, "rows: .*", (0, good, np.array([1, 1]))),
        (IndexError, "rows: .*", (0, good, np.array([0, 4]))),
        (IndexError, "node: expected 0 to 2, got 3", (3, good)),
        (ValueError, "node: expected one for each", (np.zeros(3, np.int32), good)),
        (ValueError, "node: 1 is not open to row 0", (1, good)),
        (TypeError, "node: expected an int", ("0", good)),
    ]  # fmt: skip
    for kind, message, arguments in cases:
        with pytest.raises(kind, match=message):
            batch.decide_logits(*arguments)
        assert (batch.answer_node == -1).all()
        assert np.isinf(batch.answer_loss).all()
    assert batch.decide_logits(0, good).shape == (2,)


def test_nan_as_the_worst_state() -> None:
    policy = policy_for("max_prob")
    one, other = policy.start(2, "worst"), policy.start(2, "worst")
    logits = np.array([[np.nan, 0.0], [9.0, 0.0]], np.float32)
    found = one.decide_logits(0, logits)
    np.testing.assert_array_equal(found, other.decide(0, reference.signals_from_logits(logits, "max_prob")))
    np.testing.assert_array_equal(one.answer_loss, other.answer_loss)


def test_stated_signals_name_what_to_do() -> None:
    traces = ttamer.Traces(np.zeros((4, 1), np.float32), np.zeros((4, 1), np.float32), [1.0])
    policy = ttamer.solve(ttamer.fit(traces))
    assert policy.signal == ""
    with pytest.raises(ValueError, match=r"call decide with your own signals, or fit on .*Traces\.from_probs"):
        policy.start().decide_logits(0, np.zeros((1, 2), np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_the_signal_is_kept(kind: str, tmp_path: Path) -> None:
    traces = ttamer.Traces.from_probs([[[0.5, 0.5]], [[0.1, 0.9]]], [0, 1], [1.0], signal=kind)
    model = ttamer.fit(traces)
    model.save(tmp_path / "m")
    policy = ttamer.solve(model)
    policy.save(tmp_path / "p")
    assert model.signal == (model + model).signal == ttamer.CascadeModel.load(tmp_path / "m").signal == kind
    assert policy.signal == ttamer.Policy.load(tmp_path / "p").signal == pickle.loads(pickle.dumps(policy)).signal
    assert policy.signal == kind
    assert policy != ttamer.solve(ttamer.fit(ttamer.Traces(traces.signals, traces.losses, traces.costs)))
    with pytest.raises(ValueError, match="signal"):
        model + ttamer.fit(ttamer.Traces(traces.signals, traces.losses, traces.costs), like=model)


def test_a_stated_model_names_its_signal() -> None:
    tables: tuple[Any, ...] = (ttamer.Topology.line(1), [[0.5, 0.1]], [[[0.5, 0.5]]], [1.0])
    model = ttamer.CascadeModel(*tables, bin_edges=[[0.7]], signal="max_prob")
    assert ttamer.solve(model).start().decide_logits(0, np.zeros((1, 2), np.float32)).tolist() == [ttamer.STOP]
    with pytest.raises(ValueError, match="signal: expected max_prob, margin, entropy or logit_margin, got 'best'"):
        ttamer.CascadeModel(*tables, signal="best")
    with pytest.raises(TypeError, match="signal: expected a str, got int"):
        ttamer.CascadeModel(*tables, signal=3)  # type: ignore[arg-type]


def test_files_with_a_signal_that_is_none(tmp_path: Path) -> None:
    """A damaged name is refused; files written before the name was kept have none."""
    fields, arrays = files.from_bytes(policy_for("margin")._to_bytes(), "policy", 1, "f")
    kept = {name: value for name, value in fields.items() if name not in ("kind", "version", "signal")}
    for bad in ("best", 3, None, ["margin"]):
        (tmp_path / "p").write_bytes(files.to_bytes("policy", 1, {**kept, "signal": bad}, arrays))
        with pytest.raises(ValueError, match="not a valid policy .*signal: expected"):
            ttamer.Policy.load(tmp_path / "p")
    (tmp_path / "p").write_bytes(files.to_bytes("policy", 1, kept, arrays))
    assert ttamer.Policy.load(tmp_path / "p").signal == ""


class TestProbabilities:
    """Handed over for logits they would all look unsure, and every request would go to the end."""

    MESSAGE = r"^logits: every row lies in \[0, 1\] and sums to 1, as probabilities do; pass their logarithms$"

    @pytest.mark.parametrize(("rows", "classes"), [(1, 3), (5, 10), (8, 2), (64, 1000)])
    def test_are_refused(self, rows: int, classes: int) -> None:
        probs = np.random.default_rng(0).dirichlet(np.ones(classes), rows).astype(np.float32)
        with pytest.raises(ValueError, match=self.MESSAGE):
            computed(probs, "max_prob")
        np.testing.assert_allclose(computed(np.log(probs), "max_prob"), probs.max(axis=1), rtol=1e-5)

    def test_logits_are_not(self) -> None:
        """Also such as lie in [0, 1] in some rows, or sum to 1 by chance where two logits easily do."""
        rng = np.random.default_rng(1)
        for logits in (rng.random((20, 3)), rng.dirichlet(np.ones(4), 6) * 0.99, [[0.25, 0.75]], [[0.5, 0.5]] * 7):
            computed(np.array(logits, np.float32), "margin")
        mixed = rng.dirichlet(np.ones(5), 4).astype(np.float32)
        mixed[3] *= 4
        computed(mixed, "entropy")
