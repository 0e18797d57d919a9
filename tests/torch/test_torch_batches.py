"""Batches that are mappings: of a call's keywords, of a loader's labels too, or the input of the first stage itself."""

from __future__ import annotations

from collections import UserDict
from typing import Any

import numpy as np
import pytest
from samples import same

torch = pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")

from torch import nn  # noqa: E402
from torch_models import CLASSES, EXITS, WIDTH, inputs, network  # noqa: E402

from ttamer.torch import EarlyExit  # noqa: E402

QUIET: dict[str, Any] = {"costs": [1.0], "unit": "s", "progress": False}
Y = torch.arange(8) % CLASSES


class Named(nn.Module):
    """Calls its input by the libraries' name."""

    def forward(self, input_ids: Any, scale: Any = None) -> Any:
        return input_ids if scale is None else input_ids * scale[:, None]


class Whole(nn.Module):
    """Takes the mapping."""

    def forward(self, batch: Any) -> Any:
        return batch["input_ids"] * batch["scale"][:, None]


def model_of(stage: nn.Module) -> EarlyExit:
    torch.manual_seed(0)
    return EarlyExit([stage], [nn.Linear(WIDTH, CLASSES)]).eval()


def batch(**others: Any) -> dict[str, Any]:
    return {"input_ids": inputs(8), "scale": torch.linspace(0.1, 2, 8), **others}


STAGES = {
    "module": Named,
    "compiled": lambda: torch.compile(Named(), backend="eager"),
    "exported": lambda: torch.export.export(Named(), (inputs(8),), {"scale": torch.ones(8)}).module(),
}


@pytest.mark.parametrize("kind", STAGES)
def test_a_stage_that_names_its_input_gets_it(kind: str) -> None:
    model = model_of(STAGES[kind]())
    expected = model_of(Named())(inputs(8), scale=batch()["scale"]).logits
    for found in (model(batch()), model(**batch()), model(UserDict(batch())), model(x=batch())):
        assert torch.equal(found.logits, expected)
    assert torch.equal(model.train()(batch())[0], expected)
    traces = model.record([(inputs(8), {"scale": batch()["scale"]}, Y)], **QUIET)
    for item in ((batch(), Y), batch(labels=Y), UserDict(batch(label=Y))):
        same(model.record([item], **QUIET), traces)


def test_a_stage_that_takes_the_mapping_gets_it() -> None:
    """As ever: what a stage calls its input says what it is."""
    model = model_of(Whole())
    expected = model_of(Named())(batch()).logits
    assert torch.equal(model(batch()).logits, expected)
    traces = model.record([(batch(), Y)], **QUIET)
    same(traces, model_of(Named()).record([batch(labels=Y)], **QUIET))


@pytest.mark.parametrize("name", ["input_ids", "pixel_values"])
def test_keywords_and_loaders_need_no_names(name: str) -> None:
    """A sequential stage, whose input is called something else."""
    model = network()
    quiet = {**QUIET, "costs": [1.0] * EXITS}
    assert torch.equal(model(**{name: inputs(8)}).logits, model(inputs(8)).logits)
    same(model.record([{name: inputs(8), "labels": Y}], **quiet), model.record([(inputs(8), Y)], **quiet))
    with pytest.raises(TypeError, match="must be Tensor, not dict"):  # PyTorch: the stage's own input
        model({name: inputs(8)})


def test_labels_may_be_missing() -> None:
    model = model_of(Named())
    for loader in ([batch()], [batch(labels=None)]):
        assert np.isnan(model.record(loader, **QUIET).losses).all()


def test_labels_of_other_tasks() -> None:
    y = torch.linspace(0, 1, 8)
    traces = model_of(Named()).record(
        [batch(labels=y)],
        loss=lambda output, target: (output[:, 0] - target) ** 2,
        signal=lambda output: output[:, 1],
        **QUIET,
    )
    with torch.no_grad():
        expected = (model_of(Named())(batch()).logits[:, 0] - y) ** 2
    np.testing.assert_allclose(traces.losses[:, 0], expected.numpy(), rtol=1e-6)


def test_costs_are_measured_on_what_is_in_it() -> None:
    traces = model_of(Named()).record([batch(labels=Y)], repeats=1, batch_size=2, progress=False)
    assert (traces.costs > 0).all()


def test_calls_that_are_refused() -> None:
    model = model_of(Named())
    message = "x: expected the input, or one of input_ids and pixel_values as a keyword, got "
    for keywords, names in [
        ({}, "none"),
        ({"scale": batch()["scale"]}, "scale"),
        (batch(pixel_values=inputs(8)), "input_ids, scale, pixel_values"),
    ]:
        for call in (model, model.all_logits):
            with pytest.raises(TypeError, match=f"{message}{names}$"):
                call(**keywords)
    with pytest.raises(TypeError, match="labels: no stage and no exit takes a keyword of this name"):
        model(batch(labels=Y))
    with pytest.raises(TypeError, match="pixel_values: no stage and no exit takes"):
        model(batch(pixel_values=inputs(8)))
    with pytest.raises(TypeError, match="x: expected a mapping without the keywords of the call, got scale in both"):
        model(batch(), scale=batch()["scale"])
    with pytest.raises(ValueError, match=r"scale: expected 8 rows like the first tensor of x, got \(3,\)"):
        model(batch(scale=torch.ones(3)))


def test_loaders_that_are_refused() -> None:
    model = model_of(Named())
    message = r"loader: expected .* or a mapping with input_ids or pixel_values and at most one of labels and label, "
    for item, names in [
        ({"scale": torch.ones(8), "labels": Y}, "dict of scale, labels as batch 1"),
        (UserDict(batch(pixel_values=inputs(8))), "UserDict of input_ids, scale, pixel_values as batch 1"),
        (batch(labels=Y, label=Y), "dict of input_ids, scale, labels, label as batch 1"),
        ({}, "dict of none as batch 1"),
    ]:
        with pytest.raises(TypeError, match=f"{message}got {names}; make one of these"):
            model.record([batch(), item], **QUIET)
    with pytest.raises(TypeError, match="idx: no stage and no exit takes a keyword of this name"):
        model.record([batch(labels=Y, idx=Y)], **QUIET)
    with pytest.raises(TypeError, match=r"labels: expected \(8,\) integers, one a request, got \(8,\) float32"):
        model.record([batch(labels=Y.float())], **QUIET)
