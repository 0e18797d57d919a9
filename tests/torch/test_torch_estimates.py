"""Serving with policies that decide on everything seen: decisions are those of the replay on what was recorded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from set_traces import recorded as recorded_models

import ttamer

torch = pytest.importorskip("torch", reason="needs the torch extra")

from torch_models import CLASSES, SHAPES, WIDTH, assert_served, inputs, network, recorded, some_policy  # noqa: E402
from torch_tasks import certainty  # noqa: E402

from ttamer.torch import Decider, EarlyExit, ExitOutput  # noqa: E402
from ttamer.torch.decide.core_flight import CoreFlight  # noqa: E402

ESTIMATES = ["posterior", "sets"]
OPTIONS = [{}, {"compact": "never"}, {"compact": 0.5, "bucket": [1, 16, 300]}]


def fitted(shape: str, estimate: str, tradeoff: float = 0.9) -> tuple[EarlyExit, ttamer.Policy, ttamer.Traces]:
    model = network()
    traces = recorded(model, inputs(300), SHAPES[shape])
    if estimate == "posterior":
        return model, ttamer.solve(ttamer.fit(traces, "auto", estimate), tradeoff), traces[np.arange(300)]
    # Of what has evidence, everything seen is the posterior.
    parts = (traces.signals, traces.losses, traces.costs, traces.topology)
    plain = ttamer.Traces(*parts, unit="s", signal="max_prob")
    return model, ttamer.solve(ttamer.fit(plain, "auto", estimate), tradeoff), plain[np.arange(300)]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("estimate", ESTIMATES)
@pytest.mark.parametrize("shape", SHAPES)
def test_decisions_are_those_of_the_replay(shape: str, estimate: str, options: dict[str, Any]) -> None:
    model, policy, traces = fitted(shape, estimate)
    expected = policy.replay(traces)
    assert len(np.unique(expected.last_node)) > 1
    with torch.no_grad():
        logits = model.all_logits(inputs(300))
    assert_served(model.attach(policy, **options), inputs(300), expected, list(logits))


@pytest.mark.parametrize("estimate", ESTIMATES)
@pytest.mark.parametrize("shape", ["line", "skip"])
def test_on_another_device_logits_come_to_the_host(shape: str, estimate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of an accelerator, on the CPU."""
    model, policy, traces = fitted(shape, estimate)
    start = Decider.start

    def elsewhere(self: Decider, capacity: int, nan: str) -> CoreFlight:
        flight = start(self, capacity, nan)
        assert isinstance(flight, CoreFlight)
        flight._is_here = False
        return flight

    monkeypatch.setattr(Decider, "start", elsewhere)
    with torch.no_grad():
        logits = model.all_logits(inputs(300))
    assert_served(model.attach(policy), inputs(300), policy.replay(traces), list(logits))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("estimate", ESTIMATES)
@pytest.mark.parametrize("shape", SHAPES)
def test_cuda(shape: str, estimate: str) -> None:
    model, policy, _ = fitted(shape, estimate)
    model.attach(policy).to("cuda")
    found = model(inputs(300).to("cuda"))
    assert found.logits.device.type == found.state.device.type == "cuda"
    here = model.to("cpu")(inputs(300))
    # Logits differ in their last bits, and a row that is that close to an edge may go another way.
    assert (found.answer_node.cpu() == here.answer_node).float().mean() > 0.98


@pytest.mark.parametrize("estimate", ESTIMATES)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_said_of_answers(shape: str, estimate: str) -> None:
    model, policy, _ = fitted(shape, estimate)
    told: list[tuple[Any, ExitOutput]] = []
    # Sums over fewer rows would differ in their last bits, and leaves of trees begin at recorded values.
    model.attach(policy, compact="never")
    found = model(inputs(300), on_exit=lambda rows, output: told.append((rows, output)))
    with torch.no_grad():
        everything = model.all_logits(inputs(300))
    last_steps = []
    for row in range(300):
        batch, node = policy.start(1), policy.first_node
        while node != ttamer.STOP:
            node = int(batch.decide_logits(node, everything[node][row : row + 1])[0])
        step = int(batch._answer_step[0])
        state = int(found.state[row])
        assert state == int((policy.bin_edges(step) <= batch._answer_signal[0]).sum())
        assert found.signal[row] == batch._answer_signal[0]
        assert found.expected_loss[row] == policy.losses(step)[state] == batch.answer_loss[0]
        last_steps.append(step)
    assert len(set(last_steps)) > 1
    for rows, output in told:
        for field, whole in zip(output, found, strict=True):
            torch.testing.assert_close(field, whole[rows], rtol=0, atol=0, equal_nan=True)


def asked_again(rows: int = 1500) -> tuple[EarlyExit, ttamer.Traces, Any]:
    """Three exits that err on their own: an answer is taken up again after another was better meanwhile."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, rows)
    logits = rng.normal(size=(rows, 3, CLASSES)).astype(np.float32)
    logits[np.arange(rows), :, labels] += np.linspace(1, 3, 3, dtype=np.float32)

    class Pick(torch.nn.Module):
        def __init__(self, node: int) -> None:
            super().__init__()
            self.node = node

        def forward(self, x: Any) -> Any:
            return x[:, self.node]

    model = EarlyExit([torch.nn.Identity() for _ in range(3)], [Pick(node) for node in range(3)]).eval()
    x = torch.from_numpy(logits)
    return model, model.record([(x, torch.from_numpy(labels))], costs=[0.1] * 3, unit="s", progress=False), x


@pytest.mark.parametrize("options", [*OPTIONS[:2], {"bucket": [64, 2000]}], ids=str)
@pytest.mark.parametrize("topology", [ttamer.Topology.line(3), ttamer.Topology.skip(3)], ids=repr)
@pytest.mark.parametrize("estimate", ESTIMATES)
def test_an_answer_may_be_taken_up_again(estimate: str, topology: ttamer.Topology, options: dict[str, Any]) -> None:
    model, traces, x = asked_again()
    if estimate == "sets":
        traces = ttamer.Traces(traces.signals, traces.losses, traces.costs, unit="s", signal="max_prob")
    costs = None if topology.kind == "line" else np.full(len(topology.edges), 0.1)
    if costs is not None:
        traces = traces._with(topology=topology, unit_costs={"s": costs})
    policy = ttamer.solve(ttamer.fit(traces, estimate=estimate), 0.9)
    told: list[tuple[Any, ExitOutput]] = []
    found = model.attach(policy, **options)(x, on_exit=lambda rows, output: told.append((rows, output)))
    assert torch.equal(found.logits, x[torch.arange(len(x)), found.answer_node.long()])
    if topology.kind == "line":
        # A way from one exit to another and back, which keeping the last answer alone would lose.
        batch, paths = policy.start(len(x)), []
        for node in range(3):
            live = np.flatnonzero(found.last_node.numpy() >= node)
            batch.decide_logits(node, np.ascontiguousarray(x[live, node].numpy()), live)
            paths.append(batch.answer_node.copy())
        _, second, third = paths
        assert ((third != second) & (third < 2)).any()
    for rows, output in told:
        assert torch.equal(output.logits, found.logits[rows])


@pytest.mark.parametrize("kernels", [False, True])
@pytest.mark.parametrize("recall", ["none", "observed"])
@pytest.mark.parametrize("shape", SHAPES)
def test_exits_that_show_nothing_leave_the_answer(
    shape: str, recall: str, kernels: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernels:
        start = Decider.start
        monkeypatch.setattr(Decider, "start", lambda self, capacity, nan: start(self, capacity, nan, kernels=True))
    where = device if kernels else "cpu"
    model, x = network().to(where), inputs().to(where)
    policy = some_policy(recorded(model, x, SHAPES[shape]), recall, 2)
    with torch.no_grad():
        outputs = torch.stack(model.all_logits(x))
    for exit_ in list(model.exits)[2:]:
        torch.nn.init.constant_(exit_.bias, torch.nan)
        outputs[list(model.exits).index(exit_)] = torch.nan
    batch, node = policy.start(200, "worst"), np.full(200, policy.first_node, np.int32)
    last = node.copy()
    for here in range(len(model.exits)):
        rows = np.flatnonzero(node == here)
        if len(rows):
            last[rows] = here
            node[rows] = batch.decide_logits(here, outputs[here].cpu().numpy()[rows], rows)
    assert (batch.answer_node != last).any()
    captures = [{}, {"bucket": [16, 200], "capture": True}] if shape == "line" else [{}]
    for options in captures:
        found = model.attach(policy, nan="worst", **options)(x)
        np.testing.assert_array_equal(found.answer_node.cpu(), batch.answer_node)
        np.testing.assert_array_equal(found.last_node.cpu(), last)
        expected = outputs[found.answer_node.long(), torch.arange(200)]
        torch.testing.assert_close(found.logits, expected, rtol=1e-5, atol=1e-5, equal_nan=True)
        for row, (at, state) in enumerate(zip(found.answer_node.tolist(), found.state.tolist(), strict=True)):
            assert found.expected_loss[row] == policy.losses(at)[state]


@pytest.mark.parametrize("estimate", ESTIMATES)
def test_state_and_expected_loss_are_of_the_answer_where_exits_show_nothing(estimate: str) -> None:
    model, policy, _ = fitted("line", estimate)
    torch.nn.init.constant_(model.exits[3].bias, torch.nan)
    found = model.attach(policy, nan="worst")(inputs(300))
    assert (found.last_node >= 3).any()
    steps, signals = found.state.tolist(), found.signal.tolist()
    matches = [
        any(loss == policy.losses(step)[state] for step in range(5) if state < len(policy.losses(step)))
        for state, loss in zip(steps, found.expected_loss.tolist(), strict=True)
    ]
    assert all(matches)
    assert np.isfinite(signals).all()


def test_a_row_is_forgotten_with_its_request() -> None:
    _, policy, _ = fitted("line", "posterior")
    batch = policy.start(2)
    batch.decide_logits(0, np.zeros((2, CLASSES), np.float32))
    assert np.isfinite(batch._answer_signal).all()
    batch.reset(np.array([1]))
    assert batch._answer_step.tolist() == [0, -1]
    assert np.isnan(batch._answer_signal).tolist() == [False, True]
    with pytest.raises(ValueError, match="batch: expected one of a policy that estimates"):
        _ = some_policy(recorded(network(), inputs()), "none", 2).start(1)._answer_signal


@pytest.mark.parametrize("recall", ["observed", "none"])
@pytest.mark.parametrize("shape", SHAPES)
def test_of_plain_signals(shape: str, recall: str) -> None:
    model, traces = network(), recorded(network(), inputs(), SHAPES[shape])
    policy = some_policy(traces, recall, 2)
    assert_described(model.attach(policy)(inputs()), policy, traces)


@pytest.mark.usefixtures("with_kernels")
@pytest.mark.parametrize("recall", ["observed", "none"])
@pytest.mark.parametrize("shape", SHAPES)
def test_of_the_kernels(shape: str, recall: str, device: str) -> None:
    model, x = network().to(device), inputs().to(device)
    traces = recorded(model, x, SHAPES[shape])
    policy = some_policy(traces, recall, 2)
    assert_described(model.attach(policy)(x), policy, traces)
    if shape == "line":
        assert_described(model.attach(policy, bucket=[16, 200], capture=True)(x), policy, traces)


def assert_described(found: ExitOutput, policy: ttamer.Policy, traces: ttamer.Traces) -> None:
    """Signals are the recorded ones of the exits that answer, and states and losses what these tell."""
    nodes, states = found.answer_node.tolist(), found.state.tolist()
    signals = traces.signals[np.arange(len(traces)), nodes]
    np.testing.assert_allclose(found.signal.cpu().numpy(), signals, rtol=1e-5)
    assert states == [int((policy.bin_edges(j) <= s).sum()) for j, s in zip(nodes, found.signal.tolist(), strict=True)]
    losses = [policy.losses(node)[state] for node, state in zip(nodes, states, strict=True)]
    assert found.expected_loss.tolist() == losses
    assert (found.signal.dtype, found.state.dtype) == (torch.float32, torch.int32)


@pytest.mark.parametrize("kernels", [False, True])
def test_of_nan(kernels: bool, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kernels:
        start = Decider.start
        monkeypatch.setattr(Decider, "start", lambda self, capacity, nan: start(self, capacity, nan, kernels=True))
    where = device if kernels else "cpu"
    model, x = network().to(where), inputs().to(where)
    policy = some_policy(recorded(model, x), "observed", 2)
    x[5] = torch.nan
    found = model.attach(policy, nan="worst")(x)
    assert found.signal.isnan().nonzero().flatten().tolist() == [5]
    assert int(found.state[5]) == int(policy.losses(int(found.answer_node[5])).argmax())
    assert found.expected_loss.isfinite().all()


def test_of_signals_of_one_s_own() -> None:
    from torch_tasks import TASKS

    task = TASKS["regression"]
    model, (x, _, target) = task.model(), task.batch()
    options = {"loss": task.loss, "signal": certainty, "costs": np.ones(len(model.exits)), "progress": False}
    traces = model.record([(x, target)], **options)
    policy = some_policy(traces, "observed", 2)
    assert_described(model.attach(policy, signal=certainty)(x), policy, traces)


def test_where_another_exit_s_signal_tells_the_state() -> None:
    """Exits that always say the same keep what was known before them, also on an accelerator."""
    model = network()
    model.exits[2] = Certain()
    traces = recorded(model, inputs())
    # Of what it answers its signal tells nothing.
    policy = ttamer.solve(ttamer.fit(traces, 5), 0.9, "observed")
    assert policy.signal_nodes == (0, 1, 1, 3, 4)
    expected = policy.replay(traces)
    assert (expected.answer_node == 2).any()
    found = model.attach(policy)(inputs())
    assert found.answer_node.tolist() == expected.answer_node.tolist()
    sources = np.array(policy.signal_nodes)[expected.answer_node]
    np.testing.assert_allclose(found.signal, traces.signals[np.arange(200), sources], rtol=1e-6)
    with pytest.raises(
        ValueError, match="kernels: the signal of node 1 tells the state of node 2, which only the core"
    ):
        Decider(policy).start(1, kernels=True)
    with pytest.raises(ValueError, match="capture: expected a policy that kernels decide, but the signal of node 1"):
        model.attach(policy, bucket=[200], capture=True)


class Certain(torch.nn.Module):
    """Gives every request the same margin."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.linear = torch.nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Any) -> Any:
        return 5 * torch.nn.functional.one_hot(self.linear(x).argmax(dim=1), CLASSES).float()


def test_without_a_policy_nothing_is_known() -> None:
    found = network()(inputs())
    assert found.signal.isnan().all()
    assert found.expected_loss.isnan().all()
    assert (found.state == -1).all()
    assert (found.signal.dtype, found.state.dtype, found.expected_loss.dtype) == (
        torch.float32,
        torch.int32,
        torch.float64,
    )


class TestErrors:
    def test_other_signals(self) -> None:
        model, policy, _ = fitted("line", "posterior")
        with pytest.raises(ValueError, match="^signal: expected None, this policy estimates from logits, got max_prob"):
            model.attach(policy, signal="max_prob")
        with pytest.raises(ValueError, match=r"^signal: expected None, .* got torch_tasks\.certainty"):
            Decider(policy, certainty)
        decider = Decider(policy)
        with pytest.raises(ValueError, match="^signals: expected logits, this policy estimates from them"):
            decider(decider.start(2), 0, signals=torch.zeros(2))
        # A model with a signal of its own is served by what the policy sees.
        own = EarlyExit(list(model.stages), list(model.exits), certainty).eval()
        expected = model.attach(policy)(inputs()).answer_node
        assert torch.equal(own.attach(policy)(inputs()).answer_node, expected)

    def test_captures_and_kernels(self) -> None:
        model, policy, _ = fitted("line", "posterior")
        with pytest.raises(
            ValueError, match=r"^capture: .* estimates \('posterior'\) are made by the core, on the host"
        ):
            model.attach(policy, bucket=[8], capture=True)
        with pytest.raises(ValueError, match=r"^kernels: estimates \('posterior'\) are made by the core"):
            Decider(policy).start(2, kernels=True)

    def test_what_exits_do_not_show(self) -> None:
        context = ttamer.solve(ttamer.fit(recorded_models(), estimate="sets"), 0.9)
        with pytest.raises(
            ValueError, match="^policy: expected one that decides on logits alone, got one that looks at"
        ):
            Decider(context)
        own = ttamer.solve(ttamer.fit(recorded_models(context=False), estimate="sets"), 0.9)
        with pytest.raises(
            ValueError, match="^policy: expected one whose scores logits give, got one on scores of the"
        ):
            Decider(own)

    @pytest.mark.parametrize("estimate", ["signal", "posterior", "sets"])
    def test_a_policy_for_another_network(self, estimate: str) -> None:
        model = network()
        traces = recorded(model, inputs(300))
        policy = ttamer.solve(ttamer.fit(traces, "auto", estimate), 0.9)
        assert policy.classes == CLASSES
        heads = [torch.nn.Linear(WIDTH, CLASSES + 3) for _ in model.exits]
        other = EarlyExit(list(model.stages), heads).eval().attach(policy)
        with pytest.raises(ValueError, match=r"^exit 0: logits: expected \(B, 4\), the classes that .*, got C = 7"):
            other(inputs())
        fewer = EarlyExit(list(model.stages)[:3], heads[:3]).eval()
        with pytest.raises(ValueError, match=r"^policy: expected 3 nodes, one an exit, got Topology\.line\(5\)"):
            fewer.attach(policy)


@pytest.mark.usefixtures("with_kernels")
def test_kernels_refuse_other_classes(device: str) -> None:
    model = network().to(device)
    policy = ttamer.solve(ttamer.fit(recorded(model, inputs().to(device)), 5), 0.9)
    heads = [torch.nn.Linear(WIDTH, CLASSES + 3, device=device) for _ in model.exits]
    other = EarlyExit(list(model.stages), heads).eval().attach(policy)
    with pytest.raises(ValueError, match=r"^exit 0: logits: expected \(B, 4\), the classes that .*, got C = 7"):
        other(inputs().to(device))


@pytest.mark.parametrize("estimate", ESTIMATES)
def test_state_dicts_of_estimates(estimate: str) -> None:
    model, policy, _ = fitted("skip", estimate)
    _, other, _ = fitted("skip", estimate, 0.6)
    decider = Decider(other)
    decider.load_state_dict(Decider(policy).state_dict())
    assert decider.policy == policy
    with torch.no_grad():
        logits = model.all_logits(inputs(8))[policy.first_node]
    ahead = decider(decider.start(8), policy.first_node, logits).next_node
    assert ahead.tolist() == policy.start(8).decide_logits(policy.first_node, logits).tolist()
