"""`ttamer.torch.Decider` as a module: on the CPU it is the core's batch; its state; what it refuses."""

from __future__ import annotations

import copy
import io
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from evidence_cases import nested
from helpers import random_model
from kernel_cases import policy_for

import ttamer
from ttamer.traces.signals import SIGNALS

torch = pytest.importorskip("torch", reason="needs the torch extra")
from ttamer.torch import Decider  # noqa: E402


@pytest.mark.parametrize("kind", SIGNALS)
@pytest.mark.parametrize("recall", ["observed", "none"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_loop_on_the_cpu(kind: str, recall: str, dtype: str) -> None:
    policy = policy_for(kind, recall)
    decider = Decider(policy)
    flight, batch = decider.start(50), policy.start(50)
    torch.manual_seed(0)
    rows, node, seen = torch.arange(50), policy.first_node, 0
    while len(rows):
        logits = (4 * torch.randn(len(rows), 4)).to(getattr(torch, dtype)).requires_grad_()
        decision = decider(flight, node, logits, rows)
        expected = batch.decide_logits(node, logits.detach().float().numpy(), rows.numpy())
        np.testing.assert_array_equal(decision.next_node.numpy(), expected)
        kept = flight.survivors(decision)
        assert kept.tolist() == np.flatnonzero(expected >= 0).tolist()
        assert decision.count.tolist() == [len(kept)]
        np.testing.assert_array_equal(flight.answer_node.numpy(), batch.answer_node)
        np.testing.assert_array_equal(flight.answer_loss.numpy(), batch.answer_loss)
        seen += len(rows)
        rows, node = rows[kept], node + 1
    assert 50 < seen < 150
    flight.check()
    flight.reset(torch.tensor([3]))
    assert flight.answer_node[3] == -1


def test_tensors_that_are_not_contiguous() -> None:
    decider = Decider(policy_for("max_prob"))
    logits = 3 * torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    rows = torch.tensor([5, 0, 3, 1, 4, 2])
    expected = decider(decider.start(6), 0, logits, rows).next_node
    assert 0 < (expected >= 0).sum() < 6
    for other in (logits.T.contiguous().T, torch.stack([logits, -logits], dim=2)[:, :, 0]):
        found = decider(decider.start(6), 0, other, torch.stack([rows, -rows], dim=1)[:, 0])
        assert torch.equal(found.next_node, expected)


def test_results(device: str) -> None:
    """Names, dtypes and shapes are the same on every device."""
    decider = Decider(policy_for("max_prob"))
    for flight in (decider.start(5), decider.to(device).start(5, kernels=True)):
        decision = decider.to(flight.device)(flight, 0, torch.zeros(3, 4, device=flight.device))
        assert (decision.next_node.dtype, decision.next_node.shape) == (torch.int32, (3,))
        assert (decision.kept.dtype, decision.count.dtype, decision.count.shape) == (torch.int64, torch.int32, (1,))
        assert (flight.answer_node.dtype, flight.answer_node.shape) == (torch.int32, (5,))
        assert (flight.answer_loss.dtype, flight.answer_loss.shape) == (torch.float64, (5,))
        assert flight.answer_node.tolist() == [0, 0, 0, -1, -1]
        assert flight.answer_loss.isinf().tolist() == [False, False, False, True, True]
        assert {flight.device, decision.kept.device, flight.answer_loss.device} == {flight.device}
        assert (flight.capacity, flight.policy) == (5, decider.policy)


class TestState:
    policy = policy_for("margin")
    other = ttamer.solve(random_model(ttamer.Topology.forest([-1, 0, 0]), 9, seed=0), 0.7)

    @staticmethod
    def decides(decider: Any, policy: ttamer.Policy) -> bool:
        signals = torch.linspace(-1, 2, 20)
        flight = decider.start(20)
        expected = policy.start(20).decide(policy.first_node, signals.numpy())
        return decider(flight, policy.first_node, signals=signals).next_node.tolist() == expected.tolist()

    def test_state_dict_holds_the_policy(self) -> None:
        file = io.BytesIO()
        torch.save(torch.nn.Sequential(Decider(self.policy)).state_dict(), file)
        file.seek(0)
        module = torch.nn.Sequential(Decider(self.other, "max_prob"))
        flight = module[0].start(2)
        module.load_state_dict(torch.load(file, weights_only=True))
        assert module[0].policy == self.policy
        assert module[0].signal == "margin"
        assert torch.equal(module[0].tables, Decider(self.policy).tables)
        assert self.decides(module[0], self.policy)
        with pytest.raises(ValueError, match="flight: expected one that this decider started with the policy it has"):
            module[0](flight, 0, signals=torch.zeros(1))

    def test_copies(self) -> None:
        decider = copy.deepcopy(Decider(self.policy))
        assert decider.policy == self.policy
        assert self.decides(decider, self.policy)

    def test_casts_leave_the_tables_alone(self) -> None:
        decider = Decider(self.policy)
        before = {name: buffer.clone() for name, buffer in decider.named_buffers()}
        assert set(before) == {"tables", "levels", "fresh"}
        for name, buffer in decider.half().double().bfloat16().named_buffers():
            assert torch.equal(buffer, before[name])
        assert list(decider.parameters()) == []

    def test_it_says_what_it_is(self) -> None:
        assert repr(Decider(self.policy)) == f"Decider({self.policy!r}, signal='margin')"

    def test_signals(self) -> None:
        assert self.policy.signal == Decider(self.policy).signal == Decider(self.policy, "margin").signal == "margin"
        assert self.other.signal == ""
        assert Decider(self.other, "entropy").signal == "entropy"
        with pytest.raises(ValueError, match="^policy: it decides on signals of the user's own; name what is computed"):
            Decider(self.other)

    def test_signals_of_another_kind_than_recorded(self) -> None:
        traces = nested(400).with_signal("margin")
        policy = ttamer.frontier(traces, [0.9])[0].policy
        assert (policy.signal, policy.recorded_signal) == ("logit_margin", "margin")
        decider, named = Decider(policy), Decider(policy, "logit_margin")
        rows = torch.from_numpy(traces.signals[:, 0].copy())
        with pytest.raises(
            ValueError, match="^signals: this policy decides on 'logit_margin', its traces recorded 'margin'"
        ):
            decider(decider.start(400), 0, signals=rows)
        right = traces.with_signal("logit_margin").signals[:, 0].copy()
        expected = policy.start(400, signal="logit_margin").decide(0, right)
        assert named(named.start(400), 0, signals=torch.from_numpy(right)).next_node.tolist() == expected.tolist()
        # What callers hand over does not change with the policy.
        named.load_state_dict(decider.state_dict())
        assert named(named.start(400), 0, signals=torch.from_numpy(right)).next_node.tolist() == expected.tolist()
        model = ttamer.fit(traces.with_signal("max_prob"), 8)
        model.recorded_signal = "margin"  # as where it was chosen
        named.load_state_dict(Decider(ttamer.solve(model)).state_dict())
        assert named.signal == "max_prob"
        with pytest.raises(ValueError, match="^signals: this policy decides on 'max_prob'"):
            named(named.start(400), 0, signals=rows)

    def test_derived_tables(self) -> None:
        """What the core derives and the kernels read."""
        policy = ttamer.solve(random_model(ttamer.Topology.skip(4), 7, seed=2), 0.9, "observed")
        derived = policy._core.derived()
        offsets = policy._core.arrays()["state_offsets"]
        for node in range(4):
            actions, losses = policy.actions(node), policy.losses(node)
            uppers = derived["stop_upper"][offsets[node] : offsets[node + 1]]
            levels = policy._core.arrays()["levels"]
            for upper, row in zip(uppers.tolist(), actions, strict=True):
                stops = row[0][1] == ttamer.STOP
                assert upper == (-1 if not stops else np.iinfo(np.int32).max if len(row) == 1 else upper)
                assert not stops or len(row) == 1 or levels[upper] == row[0][0]
            onward = {follows for row in actions for _, follows in row} - {ttamer.STOP}
            assert derived["only_next"][node] == (onward.pop() if len(onward) == 1 else -2 if onward else -1)
            assert derived["worst_state"][node] == losses.argmax()
        assert derived["only_previous"].tolist() == [-1, -2, -2, -2]


class TestErrors:
    policy = policy_for("max_prob")

    def test_of_the_decider(self) -> None:
        with pytest.raises(TypeError, match="policy: expected a ttamer.Policy, got str"):
            Decider("policy.safetensors")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="signal: expected max_prob, margin, entropy or logit_margin, got 'best'"):
            Decider(self.policy, "best")
        with pytest.raises(ValueError, match="signal: expected max_prob, which the policy's traces .*, got entropy"):
            Decider(self.policy, "entropy")

    def test_of_a_start(self) -> None:
        decider = Decider(self.policy)
        cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
            (TypeError, "capacity: expected an int, got float", {"capacity": 2.0}),
            (ValueError, "capacity: expected 0 to 268435456, got -1", {"capacity": -1}),
            (ValueError, "nan: expected 'error' or 'worst', got 'best'", {"nan": "best"}),
        ]
        for kind, message, arguments in cases:
            with pytest.raises(kind, match=message):
                decider.start(**arguments)
        with pytest.raises(
            ValueError, match="start: expected the decider on a device that holds values, it is on meta"
        ):
            decider.to("meta").start(2)

    @pytest.mark.parametrize("kernels", [False, True])
    def test_of_a_call(self, kernels: bool, device: str) -> None:
        decider = Decider(self.policy).to(device if kernels else "cpu")
        flight = decider.start(4, kernels=kernels)
        here = {"device": flight.device}
        good, rows = torch.zeros(2, 4, **here), torch.tensor([0, 1], **here)
        cases: list[tuple[type[Exception], str, tuple[Any, ...], dict[str, Any]]] = [
            (TypeError, "logits, signals: expected one of the two, got neither", (0,), {}),
            (TypeError, "logits, signals: .* got both", (0, good), {"signals": good[:, 0]}),
            (TypeError, r"logits: expected \(B, C\) float32, .* got \(2, 4\) float64 on", (0, good.double()), {}),
            (TypeError, "logits: expected .*, got ndarray", (0, np.zeros((2, 4), np.float32)), {}),
            (ValueError, r"logits: expected .*, got \(2,\) float32", (0, good[:, 0]), {}),
            (ValueError, r"logits: expected \(B, C\) with C >= 2, got C = 1", (0, good[:, :1]), {}),
            (ValueError, "logits: expected a tensor on .*, got .* on meta", (0, good.to("meta")), {}),
            (ValueError, "logits: 5 rows exceed the flight's capacity of 4", (0, torch.zeros(5, 4, **here)), {}),
            (TypeError, r"signals: expected \(B,\) float32, got", (0,), {"signals": good[:, 0].double()}),
            (ValueError, "signals: 5 rows exceed", (0,), {"signals": torch.zeros(5, **here)}),
            (TypeError, r"rows: expected \(B,\) int32 or int64, got", (0, good, rows.short()), {}),
            (ValueError, "rows: expected a tensor on", (0, good, rows.to("meta")), {}),
            (ValueError, "rows: expected one for each of the 2 rows of logits, got 1", (0, good, rows[:1]), {}),
            (TypeError, "node: expected an int, got str", ("0", good), {}),
            (TypeError, "node: expected an int, got Tensor", (torch.tensor(0), good), {}),
            (IndexError, "node: expected 0 to 2, got 3", (3, good), {}),
            (IndexError, "node: expected 0 to 2, got -1", (-1, good), {}),
        ]  # fmt: skip
        for kind, message, arguments, named in cases:
            with pytest.raises(kind, match=message):
                decider(flight, *arguments, **named)
            assert (flight.answer_node == -1).all()
        with pytest.raises(ValueError, match="flight: expected one that this decider started"):
            decider(Decider(policy_for("margin")).start(4), 0, good)
        for bad in (rows.short(), rows.to("meta")):
            with pytest.raises((TypeError, ValueError), match="rows: expected"):
                flight.reset(bad)
        assert decider(flight, np.int64(0), good, rows).next_node.shape == (2,)

    def test_values_raise_on_the_cpu(self) -> None:
        decider = Decider(self.policy)
        flight = decider.start(4)
        logits = torch.tensor([[0.0, 1.0], [torch.nan, 0.0]])
        with pytest.raises(ValueError, match=r"logits: NaN.* at position 1 \(row 3\).*nan=\"worst\""):
            decider(flight, 0, logits, torch.tensor([0, 3]))
        with pytest.raises(ValueError, match="node: 1 is not open to row 0"):
            decider(flight, 1, logits[:1])
        with pytest.raises(IndexError, match="rows: "):
            decider(flight, 0, logits[:1], torch.tensor([4]))
        assert (flight.answer_node == -1).all()
        decider(decider.start(4, "worst"), 0, logits)


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_torch_is_imported_where_it_is_asked_for() -> None:
    done = run(
        "import sys, ttamer; assert 'torch' not in sys.modules; import ttamer.torch; assert 'triton' not in sys.modules"
    )
    assert done.returncode == 0, done.stderr


def test_without_torch() -> None:
    done = run("import sys; sys.modules['torch'] = None; import ttamer.torch")
    assert done.stderr.splitlines()[-1] == 'ImportError: ttamer.torch needs PyTorch: pip install "ttamer[torch]"'


def test_without_triton() -> None:
    code = (
        "import sys, ttamer; sys.modules['triton'] = None; from ttamer.torch import Decider;"
        "model = ttamer.CascadeModel(ttamer.Topology.line(1), [[0.5]], [[[1.0]]], [1.0]);"
        "Decider(ttamer.solve(model), 'max_prob').start(1, kernels=True)"
    )
    assert (
        run(code).stderr.splitlines()[-1].startswith("ImportError: the kernels need Triton, which comes with PyTorch")
    )
