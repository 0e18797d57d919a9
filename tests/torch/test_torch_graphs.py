"""When graphs are captured, and how: with stand-ins for CUDA, whose graphs run what was captured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")
pytest.importorskip("triton", minversion="3.7", reason="needs Triton 3.7")

from torch_models import CLASSES, WIDTH, inputs, network, recorded, some_policy  # noqa: E402

from ttamer.torch import EarlyExit  # noqa: E402
from ttamer.torch.serve.captured import CapturedLine  # noqa: E402

SIZES = [1, 16, 64, 200]

pytestmark = [
    pytest.mark.usefixtures("with_kernels"),
    pytest.mark.skipif(
        torch.cuda.is_available(), reason="kernels are compiled here; test_torch_captured.py captures graphs themselves"
    ),
]


@pytest.fixture
def model() -> EarlyExit:
    model = network()
    policy = some_policy(recorded(model, inputs()), "observed", 2)
    return model.attach(policy, bucket=SIZES, capture=True)


def captured(model: EarlyExit, x: Any, **keywords: Any) -> CapturedLine | None:
    return model._serving._captured(model._parts(), x, keywords, x.device)


class TestWhen:
    def test_once_a_kind(self, model: EarlyExit) -> None:
        line = captured(model, inputs(3))
        assert captured(model, inputs(200)) is line
        assert captured(model, inputs(3), scale=1.0) is not line
        assert captured(model, inputs(3)) is line

    def test_anew_where_parameters_are_others(self, model: EarlyExit) -> None:
        line = captured(model, inputs(3))
        model.exits[2].weight.data = torch.zeros(CLASSES, WIDTH)
        anew = captured(model, inputs(3))
        assert anew is not line
        assert captured(model, inputs(3)) is anew
        assert len(model._serving._lines) == 1

    def test_for_no_more_kinds_than_there_may_be(self, model: EarlyExit, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ttamer.torch.serve.serving._MOST_KINDS", 2)
        assert captured(model, inputs(3))
        assert captured(model, inputs(3), scale=1.0)
        with pytest.warns(UserWarning, match="capture: inputs of more than 2 kinds; .* Pad what varies in length"):
            assert captured(model, inputs(3), scale=2.0) is None
        assert captured(model, inputs(3))


class StandIn:
    """Of a stream or an event: writes down what is asked of it."""

    log: list[str]

    def __init__(self, *arguments: Any) -> None:
        pass

    def wait_stream(self, other: Any) -> None:
        self.log.append("wait for a stream")

    def wait(self) -> None:
        self.log.append("wait")

    def record(self) -> None:
        self.log.append("record")


class TestHow:
    @pytest.fixture(autouse=True)
    def cuda(self, monkeypatch: pytest.MonkeyPatch) -> None:
        @contextmanager
        def graph(*arguments: Any, **named: Any) -> Iterator[None]:
            yield

        StandIn.log = []
        for name in ("Stream", "Event", "CUDAGraph"):
            monkeypatch.setattr(torch.cuda, name, StandIn)
        monkeypatch.setattr(torch.cuda, "current_stream", StandIn)
        monkeypatch.setattr(torch.cuda, "stream", nullcontext)
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
        monkeypatch.setattr(torch.cuda, "graph", graph)

    def line(self, model: EarlyExit, x: Any) -> CapturedLine:
        """A line whose graphs run the ramp that was captured."""
        line = captured(model, x)
        assert line is not None
        capture = line._graph_of

        def graph_of(node: int, size: int, *rest: Any) -> Any:
            graph: Any = capture(node, size, *rest)
            graph.replay = lambda: line._ramp(node, size)
            return graph

        line._graph_of = graph_of  # type: ignore[method-assign]
        line._finish = torch.cuda.Event()
        with line._as_captured():
            line._capture(x, {})
        return line

    def test_every_exit_and_size(self, model: EarlyExit) -> None:
        line = self.line(model, inputs(3))
        assert sorted(line._graphs) == [(node, size) for node in range(5) for size in SIZES]
        assert StandIn.log == ["wait for a stream"] * 2
        for rows in (200, 1, 40):
            StandIn.log.clear()
            logits, answer, last, *_ = line.serve(inputs()[:rows], {}, rows)
            expected = model(inputs()[:rows])
            assert torch.equal(answer, expected.answer_node)
            assert torch.equal(last, expected.last_node)
            torch.testing.assert_close(logits, expected.logits)
            assert StandIn.log == ["wait", "record"]

    def test_a_call_that_is_refused_is_waited_for(self, model: EarlyExit) -> None:
        line = self.line(model, inputs(3))
        StandIn.log.clear()
        with pytest.raises(ValueError, match="exit 0: logits: NaN"):
            line.serve(torch.full((2, WIDTH), torch.nan), {}, 2)
        assert StandIn.log == ["wait", "record"]

    def test_what_cannot_be_captured_is_named(self, model: EarlyExit, monkeypatch: pytest.MonkeyPatch) -> None:
        @contextmanager
        def invalid(*arguments: Any, **named: Any) -> Iterator[None]:
            yield
            raise RuntimeError("operation failed due to a previous error during capture")

        monkeypatch.setattr(torch.cuda, "graph", invalid)
        with pytest.raises(RuntimeError, match=r"capture: stage or exit 0 cannot be captured .* attach with capture=F"):
            self.line(model, inputs(3))
        assert StandIn.log == ["wait for a stream"] * 2
