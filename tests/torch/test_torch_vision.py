"""Vision networks of timm and torchvision cut into stages compute what the networks do; random weights, no download."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")
from torch import nn  # noqa: E402
from torch_models import assert_served, recorded, replayed, some_policy  # noqa: E402

from ttamer.torch import EarlyExit, PooledExit, joint_loss  # noqa: E402

CLASSES = 4


class ResNet(nn.Module):
    """Runs the parts that torchvision's has, in its order."""

    def __init__(self, widths: tuple[int, ...] = (4, 4, 6, 6)) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.relu, self.maxpool = nn.ReLU(), nn.MaxPool2d(2)
        for k, (before, width) in enumerate(zip((4, *widths), widths, strict=False)):
            setattr(self, f"layer{k + 1}", nn.Sequential(nn.Conv2d(before, width, 3, padding=1), nn.ReLU()))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(6, CLASSES)

    def forward(self, x: Any) -> Any:
        return self._forward_impl(x)

    def _forward_impl(self, x: Any) -> Any:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for k in range(4):
            x = getattr(self, f"layer{k + 1}")(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


ResNet.__module__ = "torchvision.models.resnet"  # what it is recognised by


def stand_in() -> tuple[Any, list[tuple[int, ...]]]:
    return ResNet(), [(4, 7, 7), (4, 7, 7), (4, 7, 7), (6, 7, 7), (6, 7, 7)]


def resnet() -> tuple[Any, list[tuple[int, ...]]]:
    models = pytest.importorskip("torchvision", reason="needs torchvision").models
    model = models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=CLASSES)
    return model, [(64, 8, 8), (64, 8, 8), (128, 4, 4), (256, 2, 2), (512, 1, 1)]


def convnext() -> tuple[Any, list[tuple[int, ...]]]:
    models = pytest.importorskip("torchvision", reason="needs torchvision").models
    block = models.convnext.CNBlockConfig
    model = models.ConvNeXt([block(8, 12, 1), block(12, 16, 2), block(16, None, 1)], num_classes=CLASSES)
    return model, [(8, 8, 8), (8, 8, 8), (12, 4, 4), (16, 2, 2)]


def swin() -> tuple[Any, list[tuple[int, ...]]]:
    models = pytest.importorskip("torchvision", reason="needs torchvision").models
    model = models.SwinTransformer([4, 4], 8, [2, 2, 1], [2, 2, 2], [2, 2], num_classes=CLASSES)
    return model, [(8, 8, 8), (8, 8, 8), (4, 4, 16), (2, 2, 32)]


def timm_convnext(**options: Any) -> tuple[Any, list[tuple[int, ...]]]:
    timm = pytest.importorskip("timm", reason="needs timm")
    model = timm.models.convnext.ConvNeXt(num_classes=CLASSES, depths=(1, 1, 2, 1), dims=(8, 12, 16, 20), **options)
    return model, [(8, 8, 8), (8, 8, 8), (12, 4, 4), (16, 2, 2), (20, 1, 1)]


def timm_vit(tokens: int = 17, **options: Any) -> tuple[Any, list[tuple[int, ...]]]:
    timm = pytest.importorskip("timm", reason="needs timm")
    model = timm.models.vision_transformer.VisionTransformer(
        32, 8, num_classes=CLASSES, embed_dim=12, depth=3, num_heads=2, **options
    )
    return model, [(tokens, 12)] * 4


Maker = Callable[[], tuple[Any, list[tuple[int, ...]]]]
NETWORKS: dict[str, Maker] = {
    "stand-in": stand_in,
    "ResNet": resnet,
    "ConvNeXt": convnext,
    "Swin": swin,
    "timm ConvNeXt": timm_convnext,
    "timm ConvNeXt, norm before the pool": lambda: timm_convnext(head_norm_first=True),
    "timm ViT": timm_vit,
    "timm ViT, mean": lambda: timm_vit(16, class_token=False, global_pool="avg"),
    "timm ViT, registers": lambda: timm_vit(20, reg_tokens=3, no_embed_class=True, pre_norm=True),
    "timm ViT, attention": lambda: timm_vit(16, class_token=False, global_pool="map", dynamic_img_size=True),
}


def build(name: str) -> tuple[Any, list[tuple[int, ...]]]:
    """A network with random weights, and the form of what it gives after its stem and after each stage."""
    torch.manual_seed(1)
    model, forms = NETWORKS[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval(), forms


def exits_for(forms: list[tuple[int, ...]], swin: bool) -> list[Any]:
    torch.manual_seed(2)
    exits: list[Any] = []
    for form in forms:
        if len(form) == 2:
            exits.append(PooledExit(form[1], CLASSES))
        elif swin:
            exits.append(nn.Sequential(nn.Flatten(1, 2), PooledExit(form[2], CLASSES)))
        else:
            exits.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(form[0], CLASSES)))
    return exits


def images(rows: int = 5) -> Any:
    return torch.randn(rows, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def small(name: str, rows: int = 5) -> Any:
    return images(rows)[:, :, :16, :16] if name == "stand-in" else images(rows)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_last_exit_is_the_networks_own_head(name: str) -> None:
    whole, forms = build(name)
    heads = exits_for(forms, name == "Swin")
    last = len(forms) - 1
    x = small(name)
    for model in (
        EarlyExit.from_stages(whole, heads[1:-1]),
        EarlyExit.from_stages(whole, [heads[0], heads[2]], cuts=[0, 2, last]),
        EarlyExit.from_stages(whole, [], cuts=[last]),
    ):
        with torch.no_grad():
            torch.testing.assert_close(model.eval()(x).logits, whole(x), rtol=0, atol=0)
    theirs = {id(parameter) for parameter in whole.parameters()}
    assert {id(parameter) for parameter in model.parameters()} == theirs


@pytest.mark.parametrize("name", NETWORKS)
def test_stages_give_maps_or_tokens(name: str) -> None:
    whole, forms = build(name)
    model = EarlyExit.from_stages(whole, exits_for(forms, name == "Swin")).eval()
    x = small(name)
    found = []
    with torch.no_grad():
        for stage in model.stages:
            x = stage(x)
            found.append(tuple(x.shape[1:]))
    assert found == forms
    if hasattr(whole, "forward_features"):
        torch.testing.assert_close(x, whole.forward_features(images()), rtol=0, atol=0)
    joint_loss(model.train()(small(name)), torch.arange(5) % CLASSES).backward()
    assert all(parameter.grad is not None for stage in model.stages for parameter in stage.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_rows_leave(name: str) -> None:
    whole, forms = build(name)
    model = EarlyExit.from_stages(whole, exits_for(forms[1:-1], name == "Swin"), signal="logit_margin").eval()
    x = small(name, 40)
    traces = recorded(model, x)
    policy = some_policy(traces, "observed", 3)
    expected = replayed(policy, traces)
    assert len(set(expected.last_node.tolist())) > 1
    assert_served(model.attach(policy), x, expected, [one.detach() for one in model.all_logits(x)])


def test_networks_that_run_their_parts_otherwise_are_refused() -> None:
    class Quantised(ResNet):
        def forward(self, x: Any) -> Any:
            return self._forward_impl(x) / 2

    class Other(ResNet):
        def _forward_impl(self, x: Any) -> Any:
            return super()._forward_impl(x) / 2

    class Plain(ResNet):
        pass

    message = (
        "model: expected one of timm's VisionTransformer, timm's ConvNeXt, torchvision's ResNet, torchvision's "
        r"ConvNeXt, torchvision's SwinTransformer, got .*{}; build EarlyExit\(stages, exits\) from its parts yourself"
    )
    for made in (Quantised(), Other(), nn.Sequential()):
        with pytest.raises(TypeError, match=message.format(type(made).__name__)):
            EarlyExit.from_stages(made, [])
    assert len(EarlyExit.from_stages(Plain(), exits_for([(4,), (4,), (6,)], False)).exits) == 4


def test_errors() -> None:
    whole, forms = build("stand-in")
    heads = exits_for(forms, False)
    cases: list[tuple[str, int, list[int] | None]] = [
        (
            "exits: expected 4, one a stage, or 5 with one after the stem, or 3 and the model's own head as the last, "
            "got 2; or say in cuts after how many stages each stands",
            2,
            None,
        ),
        ("cuts: expected 2, one an exit, or 3 and the model's own head as the last, got 1", 2, [4]),
        ("cuts: expected rising numbers of stages from 0 to 4, got \\[3, 5\\]", 2, [3, 5]),
        ("cuts: expected 4 as the last, where the model's own head stands, got 3; or give an exit for each", 1, [2, 3]),
    ]
    for message, count, cuts in cases:
        with pytest.raises(ValueError, match=message):
            EarlyExit.from_stages(whole, heads[:count], cuts)
