"""Stages and exits that are exported one by one, and the loop of docs/export.md, answer as the model does."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import REPOSITORY

import ttamer

torch = pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")

from torch import nn  # noqa: E402
from torch_models import CLASSES, EXITS, SHAPES, WIDTH, inputs, network, recorded, some_policy  # noqa: E402

from ttamer.torch import EarlyExit  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.:FutureWarning")

Function = Callable[[Any], Any]


def loop() -> Callable[..., Any]:
    """The function of the page."""
    page = (REPOSITORY / "docs" / "export.md").read_text(encoding="utf-8")
    block = ast.parse(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0])
    (function,) = [node for node in block.body if isinstance(node, ast.FunctionDef) and node.name == "answers"]
    names: dict[str, Any] = {"np": np, "ttamer": ttamer}
    exec(compile(ast.Module([function], []), "docs/export.md", "exec"), names)
    return names["answers"]


def exported(part: nn.Module) -> Any:
    rows = torch.export.Dim("rows")
    return torch.export.export(part, (torch.randn(2, WIDTH),), dynamic_shapes=({0: rows},))


def program(part: nn.Module, _: Path) -> Function:
    module = exported(part).module()
    return lambda hidden: module(torch.from_numpy(hidden)).detach().numpy()


def session(part: nn.Module, folder: Path) -> Function:
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name, reason="torch.onnx.export needs onnx and onnxscript")
    runtime = pytest.importorskip("onnxruntime", reason="runs what is exported to ONNX")
    file = folder / f"{id(part)}.onnx"
    rows = torch.export.Dim("rows")
    example = (torch.randn(2, WIDTH),)
    torch.onnx.export(part, example, file, dynamo=True, dynamic_shapes=({0: rows},), verbose=False)
    run = runtime.InferenceSession(file)
    return lambda hidden: run.run(None, {run.get_inputs()[0].name: hidden})[0]


@pytest.mark.parametrize("make", [program, session])
def test_the_loop_answers_as_the_model(make: Callable[[nn.Module, Path], Function], tmp_path: Path) -> None:
    model, x = network(), inputs()
    parts = [(make(stage, tmp_path), make(leave, tmp_path)) for stage, leave in model._parts()]
    for shape, recall in [("line", "observed"), ("line", "none"), ("skip", "observed"), ("dag", "none")]:
        traces = recorded(model, x, SHAPES[shape])
        policy = some_policy(traces, recall, 2)
        expected = model.attach(policy)(x)
        logits, answer_node = loop()(parts, policy, x.numpy(), CLASSES)
        np.testing.assert_array_equal(answer_node, expected.answer_node.numpy())
        np.testing.assert_allclose(logits, expected.logits.numpy(), rtol=1e-5, atol=1e-5)
        assert len(set(answer_node.tolist())) > 2
        for one in (x[:1], x[:0]):
            found, _ = loop()(parts, policy, one.numpy(), CLASSES)
            np.testing.assert_allclose(found, expected.logits[: len(one)].numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", ["line", "skip"])
def test_programs_are_stages_and_exits(shape: str) -> None:
    model, x = network(), inputs()
    parts = [[exported(part).module() for part in kind] for kind in (model.stages, model.exits)]
    served = EarlyExit(*parts).eval()
    policy = some_policy(recorded(model, x, SHAPES[shape]), "observed", 2)
    for found, expected in zip(served.attach(policy)(x), model.attach(policy)(x), strict=True):
        torch.testing.assert_close(found, expected)
    assert len(set(expected.tolist())) > 2  # costs


class Part(nn.Module):
    """As on the page: a function of arrays is a stage or an exit."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, hidden: Any) -> Any:
        return torch.from_numpy(self.function(hidden.numpy()))


def test_recorded_with_what_serves() -> None:
    """Functions whose logits are far from those of the model that they were made of: traces are of what serves."""

    def coarse(part: nn.Module) -> Function:
        return lambda hidden: np.round(part(torch.from_numpy(hidden)).detach().numpy(), 1)

    parts = [(coarse(stage), coarse(leave)) for stage, leave in network()._parts()]
    model = EarlyExit([Part(stage) for stage, _ in parts], [Part(leave) for _, leave in parts]).eval()
    x = inputs()
    traces = model.record([(x, torch.arange(200) % CLASSES)], costs=[1.0] * EXITS, unit="s", progress=False)
    policy = some_policy(traces, "none", 2)
    _, answer_node = loop()(parts, policy, x.numpy(), CLASSES)
    np.testing.assert_array_equal(answer_node, policy.replay(traces).answer_node)
