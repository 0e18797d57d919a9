"""Ramps in CUDA graphs: the same answers as without. On the CPU the same ramps run without graphs."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")

from torch import nn  # noqa: E402
from torch_models import (  # noqa: E402
    CLASSES,
    EXITS,
    WIDTH,
    assert_served,
    inputs,
    network,
    recorded,
    replayed,
    some_policy,
)

from ttamer.torch import Decider, EarlyExit  # noqa: E402
from ttamer.torch._held import Compaction  # noqa: E402
from ttamer.torch.captured import CapturedLine, kind_of  # noqa: E402

SIZES = [1, 16, 64, 200]


@pytest.fixture
def with_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Decider.start
    monkeypatch.setattr(Decider, "start", lambda self, capacity, nan: start(self, capacity, nan, kernels=True))


def line_of(model: EarlyExit, policy: Any, x: Any, nan: str = "error", **keywords: Any) -> CapturedLine:
    decider = Decider(policy).to(next(model.parameters()).device)
    parts = list(zip(model.stages, model.exits, strict=True))
    return CapturedLine(parts, decider, Compaction(1.0, tuple(SIZES)), nan, x, keywords)


def assert_same(line: CapturedLine, model: EarlyExit, x: Any, rows: int, **keywords: Any) -> None:
    logits, answer, last = line.serve(x, keywords, rows)
    expected = model(x, **keywords)
    assert torch.equal(answer, expected.answer_node)
    assert torch.equal(last, expected.last_node)
    torch.testing.assert_close(logits, expected.logits, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("with_kernels")
@pytest.mark.parametrize("recall", ["none", "observed"])
def test_as_without_graphs(recall: str, device: str) -> None:
    """Batches of any size, one after the other in the same buffers."""
    model, x = network().to(device), inputs().to(device)
    policy = some_policy(recorded(model, x), recall, 2)
    line = line_of(model, policy, x[:3])
    model.attach(policy, bucket=SIZES)
    for begin, rows in ((0, 200), (0, 1), (5, 16), (30, 37), (100, 64), (0, 65)):
        assert_same(line, model, x[begin : begin + rows], rows)
    assert len(set(model(x).last_node.tolist())) > 2


class Twice(nn.Module):
    """Carries a list in a mapping, part of which passes through, and reads a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, hidden: Any, mask: Any, scale: float = 1.0) -> Any:
        first, (second, number) = (
            (hidden["x"], hidden["rest"]) if isinstance(hidden, dict) else (hidden, (hidden, hidden[:, :1]))
        )
        return {"x": torch.tanh(self.linear(first) * mask * scale), "rest": [second, number], "name": "any"}


class Read(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, CLASSES)
        nn.init.normal_(self.linear.weight, std=3.0)

    def forward(self, hidden: Any, mask: Any) -> Any:
        x, (second, number) = hidden["x"], hidden["rest"]
        return self.linear(x + 0.1 * mask * second) + number


@pytest.mark.usefixtures("with_kernels")
def test_nested_states_and_keywords_travel_with_their_rows(device: str) -> None:
    torch.manual_seed(0)
    model = EarlyExit([Twice() for _ in range(EXITS)], [Read() for _ in range(EXITS)]).eval().to(device)
    x, mask = inputs().to(device), (torch.rand(200, WIDTH) > 0.3).float().to(device)
    policy = some_policy(recorded(model, x, mask=mask), "observed", 2)
    model.attach(policy, bucket=SIZES)
    line = line_of(model, policy, x, mask=mask, scale=0.7)
    for rows in (200, 90):
        assert_same(line, model, x[:rows], rows, mask=mask[:rows], scale=0.7)
    assert len(set(model(x, mask=mask).last_node.tolist())) > 2


@pytest.mark.usefixtures("with_kernels")
def test_nan_is_refused_and_the_next_call_is_not(device: str) -> None:
    model, x = network().to(device), inputs(20).to(device)
    policy = some_policy(recorded(model, inputs().to(device)), "none", 2)
    bad = x.clone()
    bad[5], bad[7] = torch.nan, torch.nan
    line = line_of(model, policy, bad)
    with pytest.raises(ValueError, match=r"^exit 0: logits: NaN.*rows 5, 7.*; attach the policy with nan=\"worst\""):
        line.serve(bad, {}, 20)
    assert_same(line, model.attach(policy, bucket=SIZES), x, 20)
    logits, _, _ = line_of(model, policy, bad, "worst").serve(bad, {}, 20)
    assert logits.isnan().any(dim=1).nonzero().flatten().tolist() == [5, 7]


@pytest.mark.usefixtures("with_kernels")
def test_numbers_in_tensors_are_refused(device: str) -> None:
    class Counted(nn.Module):
        def forward(self, x: Any) -> Any:
            x = x[0] if isinstance(x, tuple) else x
            return x, x.sum()

    model = network().to(device)
    policy = some_policy(recorded(model, inputs().to(device)), "none", 2)
    counted = EarlyExit([Counted() for _ in range(EXITS)], [nn.Linear(WIDTH, CLASSES) for _ in range(EXITS)])
    counted.exits = nn.ModuleList(nn.Sequential(First(), head) for head in counted.exits)
    message = "capture: expected tensors with rows from the caller and from stages, got one without dimensions"
    with pytest.raises(TypeError, match=message):
        line_of(counted.eval().to(device), policy, inputs(3).to(device)).serve(inputs(3).to(device), {}, 3)


class First(nn.Module):
    def forward(self, hidden: Any) -> Any:
        return hidden[0]


def test_kinds_of_inputs() -> None:
    x = torch.zeros(3, 4)
    assert kind_of(x) == kind_of(torch.ones(5, 4))
    assert kind_of({"a": [x, 1]}) == kind_of({"a": [torch.zeros(1, 4), 1]})
    others = [x[:, :3], x.half(), (x,), [x], {"a": x}, {"b": x}, {"a": [x, 2]}, {"a": [x, None]}, 1.0, None]
    assert len({kind_of(other) for other in [x, *others]}) == len(others) + 1
    with pytest.raises(TypeError, match="capture: expected tensors with rows .* got one without dimensions"):
        kind_of({"a": torch.tensor(1.0)})


def test_on_the_cpu_nothing_changes() -> None:
    model, x = network(), inputs()
    policy = some_policy(recorded(model, x), "observed", 2)
    logits = [one.detach() for one in model.all_logits(x)]
    assert_served(model.attach(policy, bucket=SIZES, capture=True), x, replayed(policy, recorded(model, x)), logits)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
class TestCuda:
    @pytest.mark.parametrize("recall", ["none", "observed"])
    def test_serving_is_the_replay(self, recall: str) -> None:
        model, x = network().to("cuda"), inputs().to("cuda")
        traces = recorded(model, x)
        policy = some_policy(traces, recall, 2)
        logits = [one.detach() for one in model.all_logits(x)]
        model.attach(policy, bucket=SIZES, capture=True)
        for mode in (torch.inference_mode, torch.no_grad, torch.enable_grad, torch.inference_mode):
            with mode():
                assert_served(model, x, replayed(policy, traces), logits)
        assert len(model._serving._lines) == 1
        assert len(model(x[:0]).logits) == 0
        assert_served(copy.deepcopy(model), x, replayed(policy, traces), logits)

    def test_parameters_change_and_move(self) -> None:
        model, x = network().to("cuda"), inputs().to("cuda")
        policy = some_policy(recorded(model, x), "observed", 2)
        model.attach(policy, bucket=SIZES, capture=True)(x)
        with torch.no_grad():
            for stage in model.stages:
                stage[0].weight.mul_(0.9)  # in place: the graphs read it
        plain = EarlyExit(list(model.stages), list(model.exits)).eval().attach(policy, bucket=SIZES)
        assert torch.equal(model(x).last_node, plain(x).last_node)
        assert model.to("cpu")(x.cpu()).logits.device.type == "cpu"
        assert torch.equal(model.to("cuda")(x).last_node, plain.to("cuda")(x).last_node)

    def test_autocast_is_another_kind(self) -> None:
        model, x = network().to("cuda"), inputs().to("cuda")
        policy = some_policy(recorded(model, x), "none", 2)
        plain = EarlyExit(list(model.stages), list(model.exits)).eval().attach(policy, bucket=SIZES)
        model.attach(policy, bucket=SIZES, capture=True)
        for dtype in (torch.bfloat16, torch.float16):
            for _ in range(2):
                with torch.autocast("cuda", dtype):
                    found, expected = model(x), plain(x)
                assert found.logits.dtype == expected.logits.dtype == dtype
                assert torch.equal(found.last_node, expected.last_node)
                torch.testing.assert_close(found.logits, expected.logits)
        assert torch.equal(model(x).last_node, plain(x).last_node)
        assert len(model._serving._lines) == 3

    def test_calls_from_several_threads(self) -> None:
        model = network().to("cuda")
        policy = some_policy(recorded(model, inputs().to("cuda")), "observed", 2)
        batches = [inputs(200, seed).to("cuda") for seed in range(4)]
        expected = [model.attach(policy, bucket=SIZES)(x) for x in batches]
        model.attach(policy, bucket=SIZES, capture=True)(batches[0])
        wrong = []

        def serve(k: int) -> None:
            with torch.cuda.stream(torch.cuda.Stream()):
                for _ in range(20):
                    found = model(batches[k])
                    same = [torch.equal(a, b) for a, b in zip(found[1:], expected[k][1:], strict=True)]
                    if not all(same) or not torch.allclose(found.logits, expected[k].logits, rtol=1e-5, atol=1e-5):
                        wrong.append(k)

        torch.cuda.synchronize()
        threads = [threading.Thread(target=serve, args=(k,)) for k in range(len(batches))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
