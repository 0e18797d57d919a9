"""Ramps in CUDA graphs: the same answers as without. On the CPU the same ramps run without graphs."""

from __future__ import annotations

import copy
import threading
from typing import Any

import numpy as np
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
from ttamer.torch.serve.captured import CapturedLine  # noqa: E402
from ttamer.torch.serve.graph_inputs import Places, kind_of  # noqa: E402
from ttamer.torch.serve.rows import Compaction  # noqa: E402

SIZES = [1, 16, 64, 200]


def line_of(model: EarlyExit, policy: Any, x: Any, nan: str = "error", **keywords: Any) -> CapturedLine:
    decider = Decider(policy).to(next(model.parameters()).device)
    parts = list(zip(model.stages, model.exits, strict=True))
    return CapturedLine(parts, decider, Compaction(1.0, tuple(SIZES)), nan, x, keywords)


def assert_same(line: CapturedLine, model: EarlyExit, x: Any, rows: int, **keywords: Any) -> None:
    logits, answer, last, *_ = line.serve(x, keywords, rows)
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
    first = line.serve(x, {}, 200)
    before = [one.clone() for one in first]
    for begin, rows in ((0, 200), (0, 1), (5, 16), (30, 37), (100, 64), (0, 65)):
        assert_same(line, model, x[begin : begin + rows], rows)
    assert all(map(torch.equal, first, before))  # the caller's own
    assert len(set(model(x).last_node.tolist())) > 2


@pytest.mark.usefixtures("with_kernels")
def test_padding_is_a_row_like_others(device: str) -> None:
    """An embedding could not take what is left in a buffer."""

    class Embedded(nn.Embedding):
        def forward(self, x: Any) -> Any:
            assert ((x >= 0) & (x < 7)).all() if device == "cpu" else True
            return super().forward(x)

    model = network().to(device)
    policy = some_policy(recorded(model, inputs().to(device)), "observed", 2)
    words = EarlyExit([Embedded(7, WIDTH), *list(model.stages)[1:]], list(model.exits)).eval().to(device)
    x = torch.arange(20, device=device) % 7
    line = line_of(words, policy, x)
    for buffer in line._buffers.values():
        buffer.fill_(9)
    assert_same(line, words.attach(policy, bucket=SIZES), x, 20)


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
    logits, *_ = line_of(model, policy, bad, "worst").serve(bad, {}, 20)
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
    message = "capture: expected tensors with rows, .* from stages, got a tensor without dimensions"
    with pytest.raises(TypeError, match=message):
        line_of(counted.eval().to(device), policy, inputs(3).to(device)).serve(inputs(3).to(device), {}, 3)


class First(nn.Module):
    def forward(self, hidden: Any) -> Any:
        return hidden[0]


def test_kinds_of_inputs() -> None:
    x = torch.zeros(3, 4)
    assert kind_of(x) == kind_of(torch.ones(5, 4))
    assert kind_of({"a": [x, 1]}) == kind_of({"a": [torch.zeros(1, 4), 1]})
    others = [x[:, :3], x.half(), (x,), [x], {"a": x}, {"b": x}, {"a": [x, 2]}, {"a": [x, None]}]
    plain = [None, 1, 1.0, True, "1", torch.half]
    assert len({kind_of(other) for other in [x, *others, *plain]}) == 1 + len(others) + len(plain)
    for value, got in (
        (torch.tensor(1.0), "a tensor without dimensions"),
        (np.zeros(3), "ndarray"),
        ({1}, "set"),
        (object(), "object"),
    ):
        with pytest.raises(TypeError, match=f"capture: expected tensors with rows, plain values, .* got {got}"):
            kind_of({"a": [x, value]})


def test_what_graphs_read_is_looked_at() -> None:
    """Parameters that change in place are the same; whatever comes in place of another is not."""
    model = network()
    model.stages[1].register_buffer("scale", torch.ones(1))

    def parts() -> Any:
        return list(zip(model.stages, model.exits, strict=True))

    places = Places(parts())
    with torch.no_grad():
        model.stages[0][0].weight.mul_(2)
    model.load_state_dict(model.state_dict())
    assert not places.are_left(parts())

    def replaced_parameter() -> None:
        model.stages[2][0].weight = nn.Parameter(torch.zeros(WIDTH, WIDTH))

    def replaced_data() -> None:
        model.exits[0].weight.data = torch.zeros(CLASSES, WIDTH)

    def replaced_buffer() -> None:
        model.stages[1].scale = torch.zeros(1)

    def replaced_stage() -> None:
        model.stages[3] = nn.Sequential(model.stages[3])

    def removed() -> None:
        del model.stages[1].scale

    for change in (replaced_parameter, replaced_data, replaced_buffer, replaced_stage, removed):
        places = Places(parts())
        change()
        assert places.are_left(parts()), change.__name__
        assert not Places(parts()).are_left(parts())


def test_graphs_stay_with_their_model() -> None:
    model = network()
    policy = some_policy(recorded(model, inputs()), "none", 2)
    lines = model.attach(policy, bucket=SIZES, capture=True)._serving._lines
    lines["kind"] = "graphs"
    assert not copy.deepcopy(model)._serving._lines
    assert lines
    model.double()
    assert not lines


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
        model.exits[0].weight.data = model.exits[0].weight.data * 0.5  # elsewhere: captured anew
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
        model.attach(policy, bucket=SIZES, capture=True)
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
        assert len(model._serving._lines) == 1

    def test_stages_that_read_values_are_named(self) -> None:
        class Reads(nn.Module):
            def forward(self, x: Any) -> Any:
                return x * float(x.sum().item() > 0)

        model, x = network().to("cuda"), inputs().to("cuda")
        policy = some_policy(recorded(model, x), "none", 2)
        model.stages[1] = Reads()
        with pytest.raises(RuntimeError, match="capture: stage or exit 1 cannot be captured .* attach with capture=F"):
            model.attach(policy, bucket=SIZES, capture=True)(x)
        assert len(model.attach(policy, bucket=SIZES)(x).logits) == len(x)

    def test_too_many_kinds_are_served_without_graphs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ttamer.torch._serve._MOST_KINDS", 1)
        model, x = network().to("cuda"), inputs().to("cuda")
        policy = some_policy(recorded(model, x), "none", 2)
        plain = EarlyExit(list(model.stages), list(model.exits)).eval().attach(policy, bucket=SIZES)
        model.attach(policy, bucket=SIZES, capture=True)(x)
        with (
            torch.autocast("cuda", torch.bfloat16),
            pytest.warns(UserWarning, match="capture: inputs of more than 1 kinds; .* Pad what varies"),
        ):
            found = model(x)
        with torch.autocast("cuda", torch.bfloat16):
            assert torch.equal(found.last_node, plain(x).last_node)
