"""The example that decodes a language model: caches, copies and slots, and a small run."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import EXAMPLES

import ttamer
from ttamer import baselines

torch = pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")

LETTERS, STEPS = 20, 40


@pytest.fixture(scope="module")
def program() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / "language.py"))


@pytest.fixture(scope="module")
def model(program: dict[str, Any]) -> Any:
    """Not trained, with exits whose confidence differs by character."""
    torch.manual_seed(0)
    network = program["network"](LETTERS).eval()
    for leave in network.exits:
        torch.nn.init.normal_(leave[1].weight, std=0.12)
    return network


@pytest.fixture
def passages() -> Any:
    return torch.randint(LETTERS, (5, STEPS), generator=torch.Generator().manual_seed(1))


def decode(program: dict[str, Any], model: Any, passages: Any, value: float | None = None) -> tuple[Any, Any, Any]:
    """A decoder that has read all passages, logits (B, T, C) and last nodes (B, T), with a threshold or without."""
    decoder = program["Decoder"](model.detach(), len(passages))
    if value is not None:
        model.attach(program["threshold_policy"](value, len(model.exits)))
    with torch.no_grad():
        outputs = [decoder.step(passages[:, place]) for place in range(passages.shape[1])]
    model.detach()
    logits, last = (torch.stack([getattr(output, name) for output in outputs], 1) for name in ("logits", "last_node"))
    return decoder, logits, last


def whole(model: Any, passages: Any, **keywords: Any) -> list[Any]:
    with torch.no_grad():
        return list(model.all_logits(passages, **keywords))


def middle(model: Any, passages: Any) -> float:
    """A threshold at which characters leave at every exit."""
    return float(whole(model, passages)[1].softmax(dim=-1).amax(dim=-1).median())


def test_caches_change_nothing(program: dict[str, Any], model: Any, passages: Any) -> None:
    _, logits, last = decode(program, model, passages)
    assert (last == len(model.exits) - 1).all()
    torch.testing.assert_close(logits, whole(model, passages)[-1], rtol=1e-4, atol=1e-4)


def test_a_policy_that_never_leaves_answers_as_the_full_model(
    program: dict[str, Any], model: Any, passages: Any
) -> None:
    _, logits, last = decode(program, model, passages, value=2.0)
    assert (last == len(model.exits) - 1).all()
    assert torch.equal(logits.argmax(dim=2), whole(model, passages)[-1].argmax(dim=2))


def test_whole_passages_are_as_they_are_decoded(program: dict[str, Any], model: Any, passages: Any) -> None:
    """What training sees of characters that left, `left`, is what decoding makes of them."""
    _, logits, last = decode(program, model, passages, middle(model, passages))
    assert set(last.unique().tolist()) == set(range(len(model.exits)))
    every = torch.stack(whole(model, passages, left=last))
    expected = every.gather(0, last.long()[None, :, :, None].expand(1, -1, -1, LETTERS))[0]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(every[-1], whole(model, passages)[-1], rtol=1e-3, atol=1e-3)


def test_skipped_layers_hold_what_the_exit_had(program: dict[str, Any], model: Any, passages: Any) -> None:
    value = middle(model, passages)
    _, _, last = decode(program, model, passages[:, :1], value)
    assert 0 < last.float().mean() < len(model.exits) - 1
    for row, node in enumerate(last[:, 0].tolist()):
        alone = program["Decoder"](model, 1)
        with torch.no_grad():
            x, states = passages[row, :1], []
            for stage in model.stages:
                states.append(x := stage(x, **alone.keywords()))
            caches = [layer.cache for stage in model.stages for layer in stage.layers]
        # The model's layers now hold the caches of `alone`; those of the batch are read again.
        decode(program, model, passages[:, :1], value)
        for skipped, stage in enumerate(model.stages):
            for layer in stage.layers:
                held, own = layer.cache[row, :, 0], caches.pop(0)[0, :, 0]
                expected = layer.told(states[node])[0] if skipped > node else own
                torch.testing.assert_close(held, expected.detach(), rtol=1e-4, atol=1e-5)


def test_passages_do_not_see_each_other(program: dict[str, Any], model: Any, passages: Any) -> None:
    value = middle(model, passages)
    _, logits, last = decode(program, model, passages, value)
    for row in range(len(passages)):
        _, alone, node = decode(program, model, passages[row : row + 1], value)
        assert torch.equal(node[0], last[row])
        torch.testing.assert_close(alone[0], logits[row], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [0.2, 0.55, 2.0])
def test_the_threshold_is_a_policy(program: dict[str, Any], value: float) -> None:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(4), (300, 4))
    traces = ttamer.Traces.from_probs(probs, rng.integers(0, 4, 300), np.ones(4))
    found = program["threshold_policy"](value, 4).replay(traces)
    np.testing.assert_array_equal(found.last_node, baselines.threshold(traces, value).last_node)
    np.testing.assert_array_equal(found.answer_node, found.last_node)


@pytest.mark.slow
def test_small_run(
    program: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    try:
        program["main"](["--quick", "--threads", "1"])
    finally:
        torch.set_num_threads(threads)
    assert list(tmp_path.iterdir()) == []
    text = capsys.readouterr().out
    assert re.search(r"full model +\d+\.\d+ +100\.0%", text)
    intervals = re.findall(r"([-+.\d]+) \[([-+.\d]+), ([-+.\d]+)\]: (.*)", text)
    assert len(intervals) == 9
    for _, low, high, verdict in intervals:
        assert verdict in ("less", "more", "a tie")
        assert float(low) <= float(high)
