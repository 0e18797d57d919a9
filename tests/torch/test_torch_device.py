"""A network served by the kernels: in Triton's interpreter, and on a GPU where there is one."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")

from torch_models import SHAPES, assert_served, inputs, network, recorded, replayed, some_policy  # noqa: E402

from ttamer.torch import EarlyExit  # noqa: E402


@pytest.mark.usefixtures("with_kernels")
@pytest.mark.parametrize("options", [{}, {"compact": "never"}, {"bucket": [16, 64, 200]}], ids=str)
@pytest.mark.parametrize("recall", ["none", "observed"])
@pytest.mark.parametrize("shape", SHAPES)
def test_serving_is_the_replay(shape: str, recall: str, options: dict[str, Any], device: str) -> None:
    model, x = network().to(device), inputs().to(device)
    traces = recorded(model, x, SHAPES[shape])
    logits = [one.detach() for one in model.all_logits(x)]
    policy = some_policy(traces, recall, 2)
    expected = replayed(policy, traces)
    assert len(set(expected.last_node.tolist())) > 1
    assert_served(model.attach(policy, **options), x, expected, logits)


@pytest.mark.usefixtures("with_kernels")
@pytest.mark.parametrize("shape", ["line", "skip"])
def test_nan_logits_are_refused_with_their_rows(shape: str, device: str) -> None:
    model, x = network().to(device), inputs().to(device)
    policy = some_policy(recorded(model, x, SHAPES[shape]), "none", 2)
    x[5], x[7] = torch.nan, torch.nan
    with pytest.raises(ValueError, match=r"^exit .: logits: NaN.*rows 5, 7.*; attach the policy with nan=\"worst\""):
        model.attach(policy)(x)
    found = model.attach(policy, nan="worst")(x)
    assert found.logits.isnan().any(dim=1).nonzero().flatten().tolist() == [5, 7]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
class TestCuda:
    def test_an_attached_model_moves(self) -> None:
        model, x = network(), inputs()
        policy = some_policy(recorded(model, x), "observed", 2)
        model.attach(policy).to("cuda")
        traces = recorded(model, x.to("cuda"))
        logits = [one.detach() for one in model.all_logits(x.to("cuda"))]
        assert_served(model, x.to("cuda"), replayed(policy, traces), logits)
        with pytest.raises(ValueError, match="x: expected tensors on cuda:0, where the model is, got one on cpu; move"):
            model(x)
        assert model.to("cpu")(x).logits.device.type == "cpu"

    def test_one_read_a_ramp_and_no_other_wait(self) -> None:
        model, x = network().to("cuda"), inputs().to("cuda")
        for topology in SHAPES.values():
            policy = some_policy(recorded(model, x, topology), "observed", 2)
            model.attach(policy)(x)  # compiles, and moves the costs
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                torch.cuda.set_sync_debug_mode("warn")
                try:
                    found = model(x)
                finally:
                    torch.cuda.set_sync_debug_mode("default")
            waits = sum("called a synchronizing" in str(warning.message) for warning in seen)
            assert 1 <= waits <= int(found.last_node.max()) + 1

    def test_costs_are_measured_with_events(self) -> None:
        model, x = network().to("cuda"), inputs()
        traces = model.record([(x, torch.zeros(len(x), dtype=torch.long))], repeats=3, progress=False)
        assert (traces.costs > 0).all()
        cpu = EarlyExit(list(model.stages), list(model.exits)).to("cpu")
        assert len(cpu.record([(x, torch.zeros(len(x), dtype=torch.long))], "cpu", repeats=1, progress=False)) == len(x)
