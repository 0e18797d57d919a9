"""Serving with signals of the user's own: decisions are those of the replay on what was recorded."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import ttamer

torch = pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")

from torch import nn  # noqa: E402
from torch_models import EXITS, SHAPES, assert_served, inputs, network, recorded, replayed, some_policy  # noqa: E402
from torch_tasks import TASKS, certainty, distance, last_column, verifier  # noqa: E402

from ttamer.torch import Decider, EarlyExit  # noqa: E402
from ttamer.torch.serve.captured import CapturedLine  # noqa: E402
from ttamer.torch.serve.rows import Compaction  # noqa: E402

NAN = float("nan")


class Recorded:
    """A task's network, what was recorded of it, a policy, and what that does on the recording."""

    def __init__(self, name: str, shape: str = "line", recall: str = "none", device: str = "cpu") -> None:
        task = TASKS[name]
        self.signal = copy.deepcopy(task.signal)
        self.model = task.model().to(device)
        if isinstance(self.signal, nn.Module):
            self.signal.to(device)
        x, keywords, target = task.batch()
        self.x, self.keywords = x.to(device), {key: value.to(device) for key, value in keywords.items()}
        topology = SHAPES[shape]
        costs = np.random.default_rng(0).uniform(0.1, 1.0, len(topology.edges))
        options = {"topology": topology, "costs": costs, "unit": "s", "progress": False}
        self.traces = self.model.record([(x, keywords, target)], loss=task.loss, signal=self.signal, **options)
        self.policy = some_policy(self.traces, recall, 2)
        with torch.no_grad():
            self.outputs = self.model.all_logits(self.x, **self.keywords)

    def check(self, model: EarlyExit | None = None) -> None:
        expected = replayed(self.policy, self.traces)
        assert len(np.unique(expected.last_node)) > 2
        assert_served(model or self.model, self.x, expected, self.outputs, **self.keywords)


@pytest.mark.parametrize("recall", ["none", "observed"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", TASKS)
def test_decisions_are_those_of_the_replay(name: str, shape: str, recall: str) -> None:
    run = Recorded(name, shape, recall)
    assert run.policy.signal == ""
    run.model.attach(run.policy, signal=run.signal)
    run.check()


@pytest.mark.parametrize("options", [{"compact": "never"}, {"compact": 0.5, "bucket": [1, 16, 200]}])
@pytest.mark.parametrize("name", ["one logit (B,)", "tokens", "verifier"])
def test_rows_that_are_held_or_padded(name: str, options: dict[str, Any]) -> None:
    run = Recorded(name, recall="observed")
    run.model.attach(run.policy, signal=run.signal, **options)
    run.check()


@pytest.mark.usefixtures("with_kernels")
@pytest.mark.parametrize("shape", ["line", "skip"])
@pytest.mark.parametrize("name", ["one logit (B,)", "tokens", "learned exit", "entropy", "verifier"])
def test_kernels(name: str, shape: str, device: str) -> None:
    run = Recorded(name, shape, "observed", device)
    run.model.attach(run.policy, signal=run.signal)
    run.check()


@pytest.mark.usefixtures("with_kernels")
@pytest.mark.parametrize("name", ["one logit (B,)", "tokens", "learned exit", "entropy", "verifier"])
def test_what_is_captured(name: str, device: str) -> None:
    """Signals are made in the graphs; on the CPU the same ramps run without."""
    run = Recorded(name, "line", "observed", device)
    decider = Decider(run.policy, run.signal).to(device)
    parts = list(zip(run.model.stages, run.model.exits, strict=True))
    line = CapturedLine(parts, decider, Compaction(1.0, (1, 16, 64, 200)), "error", run.x, run.keywords)
    run.model.attach(run.policy, signal=run.signal)
    for rows in (200, 1, 37):
        keywords = {key: value[:rows] for key, value in run.keywords.items()}
        outputs, answer, last, *_ = line.serve(run.x[:rows], keywords, rows)
        expected = run.model(run.x[:rows], **keywords)
        assert torch.equal(answer, expected.answer_node)
        assert torch.equal(last, expected.last_node)
        torch.testing.assert_close(outputs, expected.logits, rtol=1e-5, atol=1e-5)
    run.model.attach(run.policy, signal=run.signal, bucket=[16, 200], capture=True)
    run.check()


@pytest.mark.usefixtures("with_kernels")
def test_graphs_of_a_module_whose_weights_are_replaced_are_stale(device: str) -> None:
    run = Recorded("verifier", device=device)
    parts = list(zip(run.model.stages, run.model.exits, strict=True))
    decider = Decider(run.policy, run.signal).to(device)
    line = CapturedLine(parts, decider, Compaction(1.0, (200,)), "error", run.x, {})
    assert not line.is_stale(parts)
    run.signal[0].weight = nn.Parameter(run.signal[0].weight.detach().clone())
    assert line.is_stale(parts)


def test_the_model_s_own_signal() -> None:
    """What `record` and `attach` take where nothing else is said."""
    for name in ("regression", "verifier"):
        run = Recorded(name)
        model = TASKS[name].model(run.signal)
        model.attach(run.policy)
        run.check(model)
        parts = [module for module in model.train().attach(run.policy).modules() if module is not model]
        assert all(module.training for module in parts)
        # A policy on a kind is served by that kind.
    model = network()
    policy = some_policy(recorded(model, inputs()), "none", 2)
    expected = model.attach(policy)(inputs()).answer_node
    own = EarlyExit(list(model.stages), list(model.exits), distance).eval().attach(policy)
    assert torch.equal(own(inputs()).answer_node, expected)


def test_a_module_moves_along_and_evaluates() -> None:
    run = Recorded("verifier")
    run.signal.train()
    run.model.attach(run.policy, signal=run.signal)
    assert not any(module.training for module in run.signal.modules())
    run.check()
    assert not any("signal" in name for name in run.model.state_dict())
    twin = copy.deepcopy(run.model)
    run.check(twin)
    run.model.double()
    assert run.signal[0].weight.dtype == torch.float64
    assert run.model(run.x.double()).answer_node.dtype == torch.int32
    run.check(twin)


def test_signals_that_are_nan() -> None:
    run = Recorded("regression")

    def missing(output: Any) -> Any:
        return certainty(output).where(output[:, 1] != output[3, 1], NAN) if len(output) == 200 else certainty(output)

    run.model.attach(run.policy, signal=missing)
    with pytest.raises(ValueError, match=r"^exit 0: signals: NaN .* \(row 3\); attach the policy with nan=\"worst\""):
        run.model(run.x)
    run.model.attach(run.policy, signal=missing, nan="worst")
    worst = run.model(run.x)
    signals = run.traces.signals.copy()
    signals[3, 0] = signals[:, 0].min()
    expected = run.policy.replay(ttamer.Traces(signals, run.traces.losses, run.policy.costs, unit="s"))
    np.testing.assert_array_equal(worst.answer_node.numpy(), expected.answer_node)


@pytest.mark.parametrize(
    ("kind", "message", "signal"),
    [
        (ValueError, r"^exit 0: signal: {floats}, got \(200, 2\) float32", lambda output: output),
        (TypeError, r"^exit 0: signal: {floats}, got \(200,\) bool", lambda output: output[:, 0] > 0),
        (RuntimeError, r"^signal: \S+ raised at node 0: IndexError: index 7 is out of", lambda output: output[:, 7]),
    ],
)  # fmt: skip
def test_bad_callables(kind: type[Exception], message: str, signal: Any) -> None:
    run = Recorded("regression")
    run.model.attach(run.policy, signal=signal)
    floats = r"expected \(200,\) floats on cpu, one a row, at node 0"
    with pytest.raises(kind, match=message.format(floats=floats)):
        run.model(run.x)


def test_outputs_of_another_form_are_no_logits_for_a_kind() -> None:
    run = Recorded("one logit (B,)")
    run.model.attach(run.policy, signal="max_prob")
    with pytest.raises(
        ValueError, match=r"^exit 0: logits: expected \(B, C\) float32, float16 or bfloat16, got \(200,\)"
    ):
        run.model(run.x)


class TestDecider:
    @pytest.fixture
    def run(self) -> Recorded:
        return Recorded("learned exit")

    def decisions(self, decider: Decider, **what: Any) -> list[int]:
        return decider(decider.start(200), 0, **what).next_node.tolist()

    def test_decisions(self, run: Recorded) -> None:
        decider = Decider(run.policy, last_column)
        expected = self.decisions(decider, signals=run.outputs[0][:, -1])
        assert len(set(expected)) == 2
        assert self.decisions(decider, logits=run.outputs[0]) == expected
        with torch.enable_grad():  # gradients are left behind
            assert self.decisions(decider, logits=run.outputs[0].clone().requires_grad_()) == expected

    def test_padding_and_doubles(self, run: Recorded) -> None:
        decider = Decider(run.policy, last_column)
        output = run.outputs[0].double()
        expected = self.decisions(decider, logits=output)
        output[150:] = NAN
        rows = torch.arange(200).where(torch.arange(200) < 150, -1)
        assert self.decisions(decider, logits=output, rows=rows) == expected[:150] + [-1] * 50

    def test_what_is_no_output(self, run: Recorded) -> None:
        decider = Decider(run.policy, last_column)
        for kind, message, what in [
            (TypeError, "logits: expected a tensor with rows, got list", {"logits": [1.0]}),
            (TypeError, r"logits: expected a tensor with rows, got \(\) float32", {"logits": torch.ones(())}),
            (ValueError, "logits: expected a tensor on cpu, where the flight is",
             {"logits": torch.ones(2, 5, device="meta")}),
            (TypeError, "logits, signals: expected one of the two, got both",
             {"logits": torch.ones(2, 5), "signals": torch.ones(2)}),
            (TypeError, "logits, signals: expected one of the two, got neither", {}),
            (ValueError, "signals: 300 rows exceed the flight's capacity of 200", {"logits": torch.ones(300, 5)}),
        ]:  # fmt: skip
            with pytest.raises(kind, match=message):
                self.decisions(decider, **what)

    def test_policies_on_a_kind_are_refused(self) -> None:
        policy = some_policy(recorded(network(), inputs()), "none", 2)
        message = "^signal: expected max_prob, which the policy's traces were made with, got torch_tasks.last_column"
        with pytest.raises(ValueError, match=message):
            Decider(policy, last_column)
        with pytest.raises(ValueError, match=message):
            network().attach(policy, signal=last_column)
        with pytest.raises(TypeError, match="signal: expected a str, got int"):
            Decider(Recorded("entropy").policy, 3)  # type: ignore[arg-type]

    def test_it_has_to_be_given(self, run: Recorded) -> None:
        with pytest.raises(
            ValueError, match="^policy: it decides on signals of the user's own; .*pass the function that"
        ):
            run.model.attach(run.policy)

    def test_state(self, run: Recorded) -> None:
        other = some_policy(run.traces, "none", 7)
        decider = Decider(other, last_column)
        decider.load_state_dict(Decider(run.policy, last_column).state_dict())
        assert decider.policy == run.policy
        expected = self.decisions(Decider(run.policy, last_column), logits=run.outputs[0])
        assert self.decisions(decider, logits=run.outputs[0]) == expected
        assert repr(decider) == f"Decider({run.policy!r}, signal=torch_tasks.last_column)"
        kind = Decider(some_policy(recorded(network(), inputs()), "none", 2))
        with pytest.raises(
            ValueError, match="state_dict: expected a policy on signals of the user's own, which torch_ta"
        ):
            decider.load_state_dict(kind.state_dict())
        with pytest.raises(ValueError, match="^policy: it decides on signals of the user's own; name what is computed"):
            kind.load_state_dict(decider.state_dict())
        assert decider.policy == run.policy

    def test_state_of_a_module(self) -> None:
        run = Recorded("verifier")
        torch.manual_seed(4)
        decider = Decider(run.policy, nn.Sequential(*verifier(), nn.Identity())).eval()
        decider.signal[0].reset_parameters()
        trained = Decider(run.policy, nn.Sequential(*run.signal, nn.Identity())).eval()
        expected = self.decisions(trained, logits=run.outputs[0])
        assert self.decisions(decider, logits=run.outputs[0]) != expected
        decider.load_state_dict(trained.state_dict())
        assert self.decisions(decider, logits=run.outputs[0]) == expected

    def test_under_compile(self, run: Recorded, device: str) -> None:
        """No break in the graph."""
        decider = Decider(run.policy, last_column).to(device)
        flight, output = decider.start(200, kernels=True), run.outputs[0].to(device)

        def step(output: Any) -> Any:
            flight.reset()
            return decider(flight, 0, output).next_node + 0

        expected = self.decisions(Decider(run.policy, last_column), logits=run.outputs[0])
        assert torch.compile(step, backend="eager", fullgraph=True)(output).tolist() == expected


def test_training_returns_outputs_of_any_form() -> None:
    for name in ("one logit (B,)", "tokens"):
        task = TASKS[name]
        x, keywords, _ = task.batch(8)
        outputs = task.model().train()(x, **keywords)
        assert len(outputs) == EXITS
        sum(output.mean() for output in outputs).backward()  # type: ignore[union-attr]
        whole = task.model()(x, **keywords)
        assert torch.equal(whole.logits, outputs[-1].detach())
        assert whole.last_node.tolist() == [EXITS - 1] * 8
