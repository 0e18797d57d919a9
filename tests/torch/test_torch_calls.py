"""What calls of a model refuse: inputs, what stages and exits give, logits without a softmax."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

import ttamer

torch = pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")

from torch import nn  # noqa: E402
from torch_models import inputs, network, recorded, some_policy  # noqa: E402

from ttamer.torch import EarlyExit  # noqa: E402

says_that_it_exports = pytest.mark.skipif(
    not hasattr(torch.compiler, "is_exporting"), reason="PyTorch says from 2.7 on that it exports"
)


def never_stopping(exits: int, shape: str = "line") -> ttamer.Policy:
    """Every exit is better than the one before it, and free."""
    topology = getattr(ttamer.Topology, shape)(exits)
    losses = [[1 / (node + 1)] for node in range(exits)]
    costs = [0.0 if j == i + 1 else 1.0 for i, j in topology.edges.tolist()]
    model = ttamer.CascadeModel(topology, losses, [[[1.0]]] * len(costs), costs, signal="max_prob")
    return ttamer.solve(model, 0.9, "none")


class Given(nn.Module):
    """Gives what it is told to, whatever comes."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Any) -> Any:
        return self.value(x) if callable(self.value) else self.value


class TestCalls:
    @pytest.fixture
    def model(self) -> EarlyExit:
        model = network()
        return model.attach(some_policy(recorded(model, inputs()), "none", 2), bucket=[8, 200])

    @pytest.mark.parametrize("attached", [True, False])
    def test_inputs(self, model: EarlyExit, attached: bool) -> None:
        if not attached:
            model.detach()
        with pytest.raises(TypeError, match="x: expected a tensor with rows, .* got str"):
            model("text")
        with pytest.raises(TypeError, match="x: expected a tensor with rows, .* got Tensor"):
            model(torch.tensor(1.0))
        with pytest.raises(ValueError, match=r"x: expected 3 rows like the first tensor of x, got \(2, 6\); .*buffer"):
            model((inputs(3), inputs(2)))
        with pytest.raises(TypeError, match="mask: no stage and no exit takes a keyword of this name"):
            model(inputs(3), mask=inputs(3))
        with pytest.raises(ValueError, match="x: expected tensors on cpu, where the model is, got one on meta; move"):
            model(inputs(3).to("meta"))

    @pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.:FutureWarning")
    @pytest.mark.parametrize(
        "way", [*(pytest.param(way, marks=says_that_it_exports) for way in ("export", "strict")), "onnx", "trace"]
    )
    def test_a_policy_is_not_exported(self, way: str, tmp_path: Path) -> None:
        model = network()
        policy = some_policy(recorded(model, inputs()), "none", 2)
        if way == "onnx":
            for name in ("onnx", "onnxscript"):
                pytest.importorskip(name, reason="torch.onnx.export needs onnx and onnxscript")

        def graph_of(model: EarlyExit) -> Any:
            if way in ("export", "strict"):
                return torch.export.export(model, (inputs(8),), strict=way == "strict")
            if way == "onnx":
                return torch.onnx.export(model, (inputs(8),), tmp_path / "model.onnx", dynamo=True, verbose=False)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of checks that are not traced, and that tracing is deprecated
                return torch.jit.trace(model, inputs(8), strict=False, check_trace=False)

        assert graph_of(model) is not None
        # Two of them tell what they were doing, and then what was raised.
        start = "^" if way in ("export", "trace") else ""
        with pytest.raises(
            RuntimeError, match=f"{start}export: a policy decides outside of graphs; export stages and exits, or"
        ):
            graph_of(model.attach(policy))

    def test_more_rows_than_the_largest_bucket(self, model: EarlyExit) -> None:
        with pytest.raises(
            ValueError, match="x: expected at most 200 rows, the largest bucket, got 201; split the bat"
        ):
            model(inputs(201))

    def test_keywords_of_other_rows(self) -> None:
        class Masked(nn.Module):
            def forward(self, x: Any, mask: Any) -> Any:
                return x * mask

        model = EarlyExit([Masked()], [nn.Linear(6, 4)]).eval()
        with pytest.raises(ValueError, match=r"mask: expected 3 rows like the first tensor of x, got \(2, 6\)"):
            model(inputs(3), mask=inputs(2))
        with pytest.raises(ValueError, match="mask: expected a tensor on cpu like x, got one on meta"):
            model(inputs(3), mask=inputs(3).to("meta"))

    @pytest.mark.parametrize(
        ("kind", "message", "value"),
        [
            (ValueError, r"stage 1: expected 7 rows, one a request, .* got \(6, 7\)", lambda x: x.T),
            (ValueError, r"stage 1: expected 7 rows.*got \(1, 7\)", lambda x: [x, x.new_zeros(1, 7)]),
            (TypeError, "stage 1: expected it to give tensors with rows, got NoneType", None),
        ],
    )
    @pytest.mark.parametrize("mode", ["serving", "whole", "all"])
    def test_stages(self, kind: type[Exception], message: str, value: Any, mode: str) -> None:
        model = EarlyExit([nn.Identity(), Given(value)], [nn.Linear(6, 4), nn.Linear(6, 4)]).eval()
        if mode == "serving":
            model.attach(never_stopping(2))
        with pytest.raises(kind, match=message):
            model.all_logits(inputs(7)) if mode == "all" else model(inputs(7))

    @pytest.mark.parametrize(
        ("kind", "message", "value"),
        [
            (TypeError, r"exit 1: expected a \(7, C\) tensor of logits, got tuple", lambda x: (x,)),
            (ValueError, r"exit 1: expected \(7, C\) logits, got \(7,\)", lambda x: x[:, 0]),
            (ValueError, r"exit 1: expected \(7, C\) logits, got \(6, 4\)", lambda x: x[1:, :4]),
            (ValueError, "exit 1: expected 4 classes like the exits before it, got 6; all exits", lambda x: x),
            (ValueError, "exit 1: expected torch.float32 logits .* got torch.float16; end", lambda x: x[:, :4].half()),
        ],
    )
    def test_exits(self, kind: type[Exception], message: str, value: Any) -> None:
        for shape in ("line", "skip"):
            model = EarlyExit([nn.Identity(), nn.Identity()], [nn.Linear(6, 4), Given(value)]).eval()
            model.attach(never_stopping(2, shape))
            with pytest.raises(kind, match=message):
                model(inputs(7))
            with pytest.raises(kind, match=message):
                model.all_logits(inputs(7))

    def test_nan_logits(self) -> None:
        def broken(x: Any) -> Any:
            # A row is known by its first number, since rows before it may have left.
            return torch.where((x[:, :1] == inputs(9)[5, 0]), torch.nan, x[:, :4])

        model = EarlyExit([nn.Identity(), nn.Identity()], [nn.Linear(6, 4), Given(broken)]).eval()
        model.attach(never_stopping(2))
        with pytest.raises(ValueError, match=r"^exit 1: logits: NaN.*row 5\); attach the policy with nan=\"worst\""):
            model(inputs(9))
        found = model.attach(never_stopping(2), nan="worst")(inputs(9))
        # The answer that it had stands, of the exit before.
        assert (found.answer_node == 0).nonzero().flatten().tolist() == [5]
        assert found.logits.isfinite().all()
        assert (found.last_node == 1).all()
