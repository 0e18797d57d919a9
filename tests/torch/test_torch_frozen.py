"""Exits that train alone: frozen stages take no gradients and keep their statistics; what is shared stays as it is."""

from __future__ import annotations

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")

from torch import nn  # noqa: E402
from torch_models import CLASSES, WIDTH, inputs  # noqa: E402

from ttamer.torch import EarlyExit, joint_loss  # noqa: E402


def normed() -> EarlyExit:
    """Stages whose modes matter."""
    torch.manual_seed(0)
    stages = [nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.Dropout(0.5)) for _ in range(3)]
    exits = [nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, CLASSES)) for _ in range(3)]
    return EarlyExit(stages, exits)


def step(model: EarlyExit, optimiser: Any) -> None:
    x = inputs(64)
    joint_loss(model.train()(x), torch.arange(64) % CLASSES).backward()
    optimiser.step()
    optimiser.zero_grad()


def optimiser_of(model: EarlyExit) -> Any:
    """One that would move parameters without gradients too, by momentum and decay, if they had any."""
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)


def changed(model: EarlyExit, before: dict[str, Any]) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def state(model: EarlyExit) -> dict[str, Any]:
    return copy.deepcopy(model.state_dict())


def test_exits_alone_train() -> None:
    model = normed()
    optimiser = optimiser_of(model)
    step(model, optimiser)
    joint_loss(model(inputs(64)), torch.arange(64) % CLASSES).backward()  # gradients that are not used any more
    before = state(model)
    assert model.freeze_backbone() is model
    for _ in range(3):
        step(model, optimiser)
    assert changed(model, before) == {name for name in before if name.startswith("exits")}
    assert all(parameter.grad is None for parameter in model.stages.parameters())


@pytest.mark.parametrize("moment", ["before train", "in training"])
def test_frozen_stages_stay_in_evaluation_mode(moment: str) -> None:
    model = normed()
    model.freeze_backbone().train() if moment == "before train" else model.train().freeze_backbone()
    assert model.training
    assert not any(module.training for module in model.stages.modules())
    assert all(module.training for module in model.exits.modules())
    first, second = (model.stages[0](inputs(8)) for _ in range(2))
    assert torch.equal(first, second)  # no dropout
    model.eval()
    assert not any(module.training for module in model.modules())


def test_what_exits_get_does_not_drift() -> None:
    """As it would with batch norms that are in training mode, whose parameters alone are frozen."""
    model, drifting = normed().freeze_backbone(), normed()
    drifting.stages.requires_grad_(False)
    for one, stays in ((model, True), (drifting, False)):
        before = one.eval().stages[0](inputs(8)).clone()
        step(one, optimiser_of(one))
        assert torch.equal(one.eval().stages[0](inputs(8)), before) == stays


def test_unfrozen_as_before() -> None:
    model = normed().train()
    fixed = model.stages[0][0].bias.requires_grad_(False)
    model.freeze_backbone().freeze_backbone()  # twice is as good as once
    assert not any(parameter.requires_grad for parameter in model.stages.parameters())
    model.freeze_backbone(False)
    assert [name for name, one in model.named_parameters() if not one.requires_grad] == ["stages.0.0.bias"]
    assert all(module.training for module in model.modules())
    before = state(model)
    step(model, optimiser_of(model))
    assert changed(model, before) == set(before) - {"stages.0.0.bias"}
    assert not fixed.requires_grad
    model.stages[1].eval()
    model.freeze_backbone(False)  # not frozen: nothing to do
    assert not model.stages[1].training


def test_stages_may_be_compiled_meanwhile() -> None:
    model = normed().freeze_backbone()
    model.stages[0] = torch.compile(model.stages[0], backend="eager")
    model.train()
    assert not model.stages[0].training
    assert not any(module.training for module in model.stages[0].modules())
    model.freeze_backbone(False)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.stages[0].training


def test_what_a_stage_and_an_exit_share_is_the_stage_s() -> None:
    torch.manual_seed(0)
    shared = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH))
    tied = nn.Linear(WIDTH, WIDTH)
    tied.weight = shared[0].weight
    exits = [nn.Sequential(shared, nn.Linear(WIDTH, CLASSES)), nn.Sequential(tied, nn.Linear(WIDTH, CLASSES))]
    model = EarlyExit([shared, nn.Identity()], exits).freeze_backbone().train()
    assert not shared.training
    assert not shared[1].training
    assert not tied.weight.requires_grad
    before = state(model)
    step(model, optimiser_of(model))
    expected = {f"exits.{name}" for name in ("0.1.weight", "0.1.bias", "1.0.bias", "1.1.weight", "1.1.bias")}
    assert changed(model, before) == expected


def test_the_state_is_the_same() -> None:
    model, frozen = normed(), normed().freeze_backbone()
    assert list(frozen.state_dict()) == list(model.state_dict())
    model.load_state_dict(frozen.state_dict())
    thawed = copy.deepcopy(frozen).freeze_backbone(False)
    assert all(parameter.requires_grad for parameter in thawed.parameters())
    assert not any(parameter.requires_grad for parameter in frozen.stages.parameters())


def test_recording_leaves_it_frozen() -> None:
    model = normed().freeze_backbone().train()
    model.record([(inputs(8), torch.zeros(8, dtype=torch.long))], costs=[1, 1, 1], unit="s", progress=False)
    assert model.exits[0].training
    assert not model.stages[0][1].training


def test_exported_stages() -> None:
    stage = torch.export.export(nn.Linear(WIDTH, WIDTH), (inputs(8),)).module()
    model = EarlyExit([stage], [nn.Linear(WIDTH, CLASSES)]).freeze_backbone().train()
    assert not any(parameter.requires_grad for parameter in model.stages.parameters())
    assert model.exits[0].training


def test_errors() -> None:
    with pytest.raises(TypeError, match="frozen: expected a bool, got str"):
        normed().freeze_backbone("all")
