"""Recording: what the traces hold, what costs mean, and runs that are stopped and taken up again."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import same

import ttamer

torch = pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")

from torch import nn  # noqa: E402
from torch_models import CLASSES, EXITS, SHAPES, WIDTH, inputs, network  # noqa: E402

from ttamer.torch import EarlyExit, joint_loss  # noqa: E402
from ttamer.torch.record import timing  # noqa: E402
from ttamer.torch.record.timing import PartCosts  # noqa: E402

ROWS, BATCH = 50, 8
COSTS = np.arange(1.0, EXITS + 1)
QUIET: dict[str, Any] = {"costs": COSTS, "unit": "s", "progress": False}


def labels(rows: int = ROWS) -> Any:
    return torch.arange(rows) % CLASSES


def batches(rows: int = ROWS, size: int = BATCH, seed: int = 5) -> list[Any]:
    x, y = inputs(rows, seed), labels(rows)
    return [(x[i : i + size], y[i : i + size]) for i in range(0, rows, size)]


@pytest.mark.parametrize("signal", ["max_prob", "margin", "entropy"])
def test_traces_are_those_of_the_probabilities(signal: str) -> None:
    model = network(signal)
    traces = model.record(batches(), top=3, **QUIET)
    logits = torch.stack(model.all_logits(inputs(ROWS)), dim=1).detach()
    expected = ttamer.Traces.from_probs(
        logits.double().softmax(dim=2).numpy(), labels().numpy(), COSTS, signal=signal, top=3, unit="s"
    )
    np.testing.assert_allclose(traces.signals, expected.signals, rtol=2e-6, atol=1e-6)
    assert (traces.topology, traces.signal, traces.unit, traces.observed) == (SHAPES["line"], signal, "s", False)
    for name in ("losses", "costs", "predictions", "labels"):
        np.testing.assert_array_equal(getattr(traces, name), getattr(expected, name))
    np.testing.assert_allclose(traces.evidence.log_probs, expected.evidence.log_probs, rtol=1e-5, atol=1e-5)
    assert traces.evidence.class_count == CLASSES
    # Bit for bit what serving decides by, so that a saturated signal falls into the same bin.
    policy = ttamer.solve(ttamer.fit(traces))
    served = policy.start(ROWS)._logit_signals(logits[:, 0].contiguous().numpy())
    rows = len(batches()[0][0])
    np.testing.assert_array_equal(traces.signals[:rows, 0], served[:rows])


@pytest.mark.parametrize("signal", ["max_prob", "margin", "entropy"])
def test_ties_of_many_classes(signal: str) -> None:
    """The classes that share the largest probability are far apart."""
    logits = torch.zeros(3, 5000)
    logits[0, [0, 1500]] = logits[1, [1023, 1024, 4999]] = 20.0
    logits[2, 7] = 20.0
    model = EarlyExit([nn.Identity()], [nn.Identity()], signal)
    loader = [(logits, torch.zeros(3, dtype=torch.int64))]
    traces = model.record(loader, top=3, costs=[1.0], unit="s", progress=False)
    probs = logits.double().softmax(dim=1).numpy()[:, None]
    expected = ttamer.Traces.from_probs(probs, [0, 0, 0], [1.0], signal=signal, top=3)
    np.testing.assert_allclose(traces.signals, expected.signals, rtol=2e-6, atol=1e-12)
    np.testing.assert_array_equal(traces.evidence.log_probs, expected.evidence.log_probs)


def test_the_topology_and_keywords() -> None:
    class Scaled(nn.Module):
        def forward(self, x: Any, scale: Any) -> Any:
            return x * scale[:, None]

    torch.manual_seed(0)
    model = EarlyExit([Scaled(), nn.Identity()], [nn.Linear(WIDTH, 3), nn.Linear(WIDTH, 3)])
    scale = torch.linspace(0.1, 2, ROWS)
    topology = ttamer.Topology.skip(2)
    loader = [(inputs(ROWS), {"scale": scale}, labels() % 3)]
    traces = model.record(loader, topology=topology, costs=[1, 2, 3], unit="s", progress=False)
    plain = EarlyExit([nn.Identity(), nn.Identity()], list(model.exits))
    expected = plain.record([(inputs(ROWS) * scale[:, None], labels() % 3)], costs=[1, 2], unit="s", progress=False)
    assert traces.topology == topology
    np.testing.assert_array_equal(traces.signals, expected.signals)


def test_modes_are_left_as_they_were() -> None:
    model = network().train()
    model.stages[1].eval()
    modes = [module.training for module in model.modules()]
    model.record(batches(), **QUIET)
    assert [module.training for module in model.modules()] == modes
    assert True in modes[1:]
    assert False in modes


def test_exported_stages_have_no_modes() -> None:
    model = network()
    x = inputs(8)
    expected = model.record([(x, torch.zeros(8, dtype=torch.long))], costs=[1] * EXITS, unit="s", progress=False)
    rows = torch.export.Dim("rows", min=1, max=4096)
    exported = torch.export.export(model.stages[0], (x,), dynamic_shapes=({0: rows},), strict=False).module()
    own = network()
    # Around the export, whose train() raises, there is a stage that has modes.
    around = nn.Sequential(exported, nn.Dropout(0.5))
    served = EarlyExit([around, *own.stages[1:]], list(own.exits), "max_prob").train()
    modes = [module.training for module in served.modules()]
    found = served.record([(x, torch.zeros(8, dtype=torch.long))], costs=[1] * EXITS, unit="s", progress=False)
    np.testing.assert_array_equal(found.signals, expected.signals)
    assert [module.training for module in served.modules()] == modes
    assert around[1].training
    served.eval()
    assert not around[1].training
    assert not served.stages[1].training
    with torch.no_grad():
        torch.testing.assert_close(served(x).logits, model(x).logits)


class Ticking:
    """A clock that a model sets forward: stage i by 10 * (i + 1) ms a row and 1 ms more, exit i by i + 1 ms a row."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0
        self.rows: list[int] = []
        monkeypatch.setattr(timing.time, "perf_counter_ns", lambda: self.now)

    def part(self, cost: int, fixed: int, inner: nn.Module) -> nn.Module:
        clock = self

        class Part(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = inner

            def forward(self, x: Any) -> Any:
                clock.now += 1_000_000 * (cost * len(x) + fixed)
                clock.rows.append(len(x))
                return self.inner(x)

        return Part()

    def model(self) -> EarlyExit:
        plain = network()
        stages = [self.part(10 * (i + 1), 1, stage) for i, stage in enumerate(plain.stages)]
        return EarlyExit(stages, [self.part(i + 1, 0, one) for i, one in enumerate(plain.exits)])


@pytest.mark.parametrize(("asked", "size"), [(None, BATCH), (1, 1), (20, 20)])
def test_measured_costs_are_per_request_at_the_batch_size(
    asked: int | None, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Ticking(monkeypatch)
    traces = clock.model().record(batches(), batch_size=asked, repeats=4, progress=False)
    assert traces.unit == "ms"
    # One row in a batch of its own pays all; of many, what a stage takes anyway is nearly always paid by others too.
    fixed = (EXITS - 1) * ((1 - 0.5**size) / size - 0.5**size)
    expected = [11 * (i + 1) + 2 * 0.5**size for i in range(EXITS)]
    np.testing.assert_allclose(traces.costs, [11 + 1 / size + fixed, *expected[1:]])
    timed, sizes = 2 * EXITS * (timing.WARM_UP + 4), timing.sizes_up_to(size)
    for k, rows in enumerate(sizes):
        assert set(clock.rows[timed * k : timed * (k + 1)]) == {rows}
    assert sum(clock.rows[timed * len(sizes) :]) == 2 * EXITS * ROWS


def test_measured_costs_of_batches_that_stay_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stage takes anyway is on its edge: where rows that leave are replaced, whoever leaves saves it."""
    clock = Ticking(monkeypatch)
    traces = clock.model().record(batches(), batch_size=20, full_batches=True, repeats=4, progress=False)
    np.testing.assert_allclose(traces.costs, [11 * (i + 1) + 1 / 20 for i in range(EXITS)])
    assert set(clock.rows[: 2 * EXITS * (timing.WARM_UP + 4)]) == {20}


@given(
    rows=st.integers(1, 100),
    constants=st.lists(st.floats(0, 10), min_size=6, max_size=6),
    slopes=st.lists(st.floats(0.001, 10), min_size=6, max_size=6),
)
def test_costs_are_those_of_batches_that_get_smaller(rows: int, constants: list[float], slopes: list[float]) -> None:
    """Next to what batches take if every row goes on with probability 1/2, and if all or none do."""
    sizes, a, b = timing.sizes_up_to(rows), np.array(constants), np.array(slopes)
    times = a + np.outer(sizes, b)
    costs = PartCosts.of(sizes, times, True)
    parts = np.stack([costs.stages, costs.exits], axis=1).ravel()
    np.testing.assert_allclose(parts[:2], times[0, :2] / rows)
    reached = [math.comb(rows, r) * 0.5**rows for r in range(rows + 1)]
    halves = sum(p * (a + b * r) for r, p in enumerate(reached) if r) / rows
    found = parts[:2].sum() + costs.fixed + parts[2:].sum() / 2
    np.testing.assert_allclose(found, times[0, :2].sum() / rows + halves[2:].sum(), rtol=1e-9)
    everyone = parts.sum() + costs.fixed
    if rows == 1 or rows >= 16:
        np.testing.assert_allclose(everyone, times[0].sum() / rows, rtol=2e-3)
    # One size alone cannot tell a and b apart.
    if rows == 1:
        np.testing.assert_allclose(parts, times[0])


def test_times_that_no_line_fits() -> None:
    sizes = timing.sizes_up_to(4)
    falling = PartCosts.of(sizes, np.array([[0, 0, 1.0, 1.0], [0, 0, 2.0, 1.0], [0, 0, 3.0, 1.0]]), True)
    np.testing.assert_allclose(falling.stages[1], 2 * 0.5**4)  # all of it is fixed
    steep = PartCosts.of(sizes, np.array([[0, 0, 8.0, 8.0], [0, 0, 0.5, 4.0], [0, 0, 0.1, 2.0]]), True)
    np.testing.assert_allclose([steep.stages[1], steep.exits[1], steep.fixed], [2.0, 2.0, 0.0])


def test_an_exit_that_may_be_passed_costs_what_it_takes() -> None:
    """Where jumps pass exits, what an exit takes anyway is paid by those who consult it alone."""
    sizes = timing.sizes_up_to(64)
    constant = np.tile([3.0, 5.0, 3.0, 5.0], (len(sizes), 1))
    costs = PartCosts.of(sizes, constant, False).edge_costs(ttamer.Topology.skip(2))
    np.testing.assert_allclose(costs, [11 / 64, 11 / 64, 5 / 64], rtol=1e-6)


def test_what_is_jumped_over_costs_its_stage_and_not_its_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    traces = Ticking(monkeypatch).model().record(batches(), topology=SHAPES["skip"], repeats=2, progress=False)
    stage = np.array([10 * (i + 1) + 2 * 0.5**BATCH for i in range(EXITS)])
    stage[0] = 10 + 1 / BATCH
    expected = ttamer.Topology.skip_costs(stage, np.arange(1.0, EXITS + 1))
    from_root = traces.topology.edges[:, 0] < 0
    expected[from_root] += (EXITS - 1) * ((1 - 0.5**BATCH) / BATCH - 0.5**BATCH)
    np.testing.assert_allclose(traces.costs, expected)


def test_real_clocks_tick() -> None:
    traces = network().record(batches(), repeats=2, progress=False)
    assert (traces.costs > 0).all()


class Interrupted(list[Any]):
    """A loader at which someone presses Ctrl-C after some batches."""

    def __init__(self, items: list[Any], after: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        super().__init__(items)
        self.after, self.error = after, error

    def __iter__(self) -> Iterator[Any]:
        for number, item in enumerate(super().__iter__()):
            if number == self.after:
                raise self.error
            yield item


@pytest.mark.parametrize("after", [1, 3, 6])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_resumed_run_gives_the_same_traces(after: int, error: type[BaseException], tmp_path: Path) -> None:
    file = tmp_path / "part.npz"
    whole = network().record(batches(), **QUIET)
    with pytest.raises(error):
        network().record(Interrupted(batches(), after, error), resume=file, **QUIET)
    assert len(ttamer.Traces.load(file)) == after * BATCH
    same(network().record(batches(), resume=file, **QUIET), whole)
    same(ttamer.Traces.load(file), whole)
    same(network().record(batches(), resume=file, **QUIET), whole)  # nothing is left to do


def test_saved_every_so_many_batches_and_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, sizes = tmp_path / "part.npz", []
    save = ttamer.Traces.save
    monkeypatch.setattr(ttamer.Traces, "save", lambda self, path: (sizes.append(len(self)), save(self, path)))
    with pytest.raises(KeyboardInterrupt):
        network().record(Interrupted(batches(), 5), resume=file, save_every=2, repeats=2, progress=False)
    assert sizes == [2 * BATCH, 4 * BATCH, 5 * BATCH]
    before = ttamer.Traces.load(file)
    monkeypatch.setattr("ttamer.torch.record.recording.measure", None)
    after = network().record(batches(), resume=file, progress=False)
    np.testing.assert_array_equal(after.costs, before.costs)
    assert sizes[3:] == [ROWS]


def test_resumed_within_a_batch(tmp_path: Path) -> None:
    file = tmp_path / "part.npz"
    whole = network().record(batches(), **QUIET)
    whole[:11].save(file)
    found = network().record(batches(), resume=file, **QUIET)
    np.testing.assert_array_equal(found.labels, whole.labels)
    np.testing.assert_allclose(found.signals, whole.signals, rtol=1e-6)


def test_resume_refuses_what_is_not_the_same_run(tmp_path: Path) -> None:
    file = tmp_path / "part.npz"
    kept = network().record(batches()[:3], resume=file, **QUIET)
    content = file.read_bytes()
    other = network()
    torch.manual_seed(8)
    nn.init.normal_(other.exits[2].weight)
    wider = EarlyExit(list(network().stages), [nn.Linear(WIDTH, CLASSES + 1) for _ in range(EXITS)])
    shuffled = [(x, (y + 1) % CLASSES) for x, y in batches()]
    other_inputs = [(x + 1, y) for x, y in batches()]
    cases: list[tuple[str, Any, Any, dict[str, Any]]] = [
        ("has other probabilities for the first rows, by up to .*same loader, without shuffling", other, None, {}),
        ("has other probabilities", network(), other_inputs, {}),
        ("has other labels than rows 0 on of the loader", network(), shuffled, {}),
        ("has other labels than rows 8 on of the loader", network(), [batches()[0], *shuffled[1:]], {}),
        ("has 4 classes, the model 5", wider, None, {}),
        ("has 24 rows, the loader gave 16; give the same loader", network(), batches()[:2], {}),
        ("was recorded with signal 'max_prob', not 'margin'", network("margin"), None, {}),
        (r"was recorded with topology Topology\.line\(5\), not Topology\.skip", network(), None, {"costs": None} | {
            "topology": SHAPES["skip"]}),
        ("was recorded with top 4, not 3", network(), None, {"top": 3}),
        ("was recorded with unit 's', not 'FLOPs'", network(), None, {"unit": "FLOPs"}),
        (r"was recorded with costs \[1\.0, 2\.0", network(), None, {"costs": COSTS + 1}),
    ]  # fmt: skip
    for message, model, loader, changes in cases:
        with pytest.raises(ValueError, match=f"resume: .*part.npz {message}"):
            model.record(loader or batches(), resume=file, **{**QUIET, **changes})
        assert file.read_bytes() == content
    ttamer.Traces(kept.signals, kept.losses, kept.costs, signal="max_prob", unit="s").save(file)
    with pytest.raises(ValueError, match="holds no recording: traces without evidence or labels"):
        network().record(batches(), resume=file, **QUIET)
    file.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"part.npz: not readable as traces"):
        network().record(batches(), resume=file, **QUIET)


def test_resume_needs_a_folder_before_it_records(tmp_path: Path) -> None:
    def loader() -> Iterator[Any]:
        raise AssertionError
        yield

    with pytest.raises(FileNotFoundError, match=r"resume: expected a file in a folder that exists, got .*x\.npz"):
        network().record(loader(), resume=tmp_path / "none" / "x.npz", **QUIET)


def test_bad_loaders() -> None:
    x, y = inputs(4), labels(4)
    bad = x.clone()
    bad[2] = torch.nan
    for kind, message, loader in [
        (ValueError, "loader: expected at least one batch with rows, got none", []),
        (ValueError, "loader: expected at least one batch with rows, got none", [(x[:0], y[:0])]),
        (TypeError, r"expected \(inputs, labels\) or \(inputs, keywords, labels\), .*str as batch 1", [(x, y), "x"]),
        (TypeError, "loader: expected .* got tuple as batch 0", [(x, x, y)]),
        (TypeError, "loader: expected .* got dict of x, labels as batch 0; make one of these", [{"x": x, "labels": y}]),
        (ValueError, r"labels: expected \(4,\) integers, one a request, got \(3,\) int64 as batch 0", [(x, y[:3])]),
        (ValueError, r"labels: .* got \(4, 1\) int64 as batch 1", [(x, y), (x, y[:, None])]),
        (TypeError, r"labels: expected \(4,\) integers, one a request, got \(4,\) float32", [(x, y.float())]),
        (ValueError, r"labels: expected classes 0\.\.3, got 4", [(x, y + 1)]),
        (ValueError, "exit 0: expected logits that have a softmax, .* for row 6 of the loader", [(x, y), (bad, y)]),
    ]:  # fmt: skip
        for options in (QUIET, {"progress": False, "repeats": 1}):  # costs are measured before anything is recorded
            with pytest.raises(kind, match=message):
                network().record(loader, **options)


@pytest.mark.parametrize("value", [torch.inf, torch.nan])
def test_logits_without_a_softmax(value: float) -> None:
    model = network()
    with torch.no_grad():
        model.exits[3].bias[0] = value
    with pytest.raises(ValueError, match="exit 3: expected logits that have a softmax, .* for row 0 of the loader"):
        model.record(batches(), **QUIET)
    with torch.no_grad():
        model.exits[3].bias[0] = -torch.inf  # a class that is ruled out
    assert len(model.record(batches(), **QUIET)) == ROWS


def test_what_a_loader_made_can_be_trained_on() -> None:
    kept: list[Any] = []

    class Caching(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            kept.append(torch.ones(4, WIDTH) + 0)
            return iter([(kept[0], labels(4))])

    model = network()
    model.record(Caching(), **QUIET)
    model.train()
    assert joint_loss(model(kept[0]), labels(4)).requires_grad


@pytest.mark.parametrize(
    ("kind", "message", "options"),
    [
        (ValueError, r"topology: expected 5 nodes like signals, got Topology\.line\(3\)", {"topology": "short"}),
        (ValueError, "topology: expected a line, a skip or a dag, got Topology.forest", {"topology": "forest"}),
        (ValueError, "batch_size: expected at least 1, got 0", {"batch_size": 0}),
        (TypeError, "full_batches: expected a bool, got int", {"full_batches": 1}),
        (TypeError, "repeats: expected an int, got float", {"repeats": 2.0}),
        (ValueError, "top: expected at least 1, got 0", {"top": 0}),
        (ValueError, "save_every: expected at least 1, got 0", {"save_every": 0}),
        (ValueError, r"costs: expected \(5,\) numbers, one an edge of the line, got \(2,\)", {"costs": [1, 2]}),
    ],
)
def test_bad_settings(kind: type[Exception], message: str, options: dict[str, Any]) -> None:
    shapes = {"short": ttamer.Topology.line(3), "forest": ttamer.Topology.forest([-1, 0, 0, 1, 1])}
    if "topology" in options:
        options = {"topology": shapes[options["topology"]], "costs": None}
    with pytest.raises(kind, match=message):
        network().record(batches(), **{**QUIET, **options})


class TestProgress:
    def test_a_bar_on_standard_error(self, capfd: pytest.CaptureFixture[str]) -> None:
        pytest.importorskip("rich", reason="the bar needs rich")
        network().record(batches(), **{**QUIET, "progress": True})
        found = capfd.readouterr()
        assert found.out == ""
        assert "recording" in found.err
        assert "100%" in found.err
        network().record(iter(batches()), **{**QUIET, "progress": True})  # no length
        assert "recording" in capfd.readouterr().err

    def test_none_without_rich(self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "rich.progress", None)
        traces = network().record(batches(), **{**QUIET, "progress": True})
        assert len(traces) == ROWS
        assert capfd.readouterr().err == ""
