"""The benchmarks of whole networks: arms answer alike, policies spread requests, and reports hold what they say."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import BENCH

torch = pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")

from torch import nn  # noqa: E402
from torch_models import CLASSES, EXITS, WIDTH, inputs, network  # noqa: E402

from ttamer.torch import EarlyExit  # noqa: E402


@pytest.fixture(scope="module")
def bench() -> Any:
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        yield importlib.import_module("torch_serve")
    torch.set_num_threads(threads)


def served(bench: Any, rows: int) -> tuple[EarlyExit, list[float], Any]:
    model, x = network(), inputs(rows)
    bench.spread(model, x)
    loader = [(x, torch.zeros(rows, dtype=torch.long))]
    policy = bench.leaving_everywhere(model.record(loader, repeats=2, progress=False))
    return model.attach(policy), [float(policy.bin_edges(node)[0]) for node in range(EXITS - 1)], x


def test_the_same_share_leaves_at_every_exit(bench: Any) -> None:
    model, _, x = served(bench, 200)
    counts = np.bincount(model(x).last_node.numpy(), minlength=EXITS)
    assert np.abs(counts - 200 / EXITS).max() <= 2


def test_eager_thresholds_give_the_same_answers(bench: Any) -> None:
    model, values, x = served(bench, 200)
    with torch.inference_mode():
        found = model(x).logits
        torch.testing.assert_close(bench.eager_thresholds(model, values, x), found, rtol=1e-5, atol=1e-5)
        assert not torch.equal(found, model.all_logits(x)[-1])


def test_networks(bench: Any) -> None:
    assert [tuple(one.shape) for one in bench.vgg().eval().all_logits(torch.zeros(2, 1, 28, 28))] == [(2, 10)] * 8
    small = bench.encoder(layers=2, width=64).eval()
    assert [tuple(one.shape) for one in small.all_logits(torch.zeros(2, 5, 64))] == [(2, 10)] * 2


def test_report(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def tiny() -> EarlyExit:
        stages = [nn.Sequential(nn.Flatten(), nn.Linear(784, WIDTH)), nn.Linear(WIDTH, WIDTH)]
        return EarlyExit(stages, [nn.Linear(WIDTH, CLASSES) for _ in stages])

    monkeypatch.setattr(bench, "vgg", tiny)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["torch_serve.py", "--quick", "--output", str(tmp_path)])
    monkeypatch.setattr(bench, "CLASSES", CLASSES)
    bench.main()
    printed = capsys.readouterr().out
    read = json.loads((tmp_path / "torch_serve.json").read_text())
    assert [row["B"] for row in read["rows"]] == [1, 8, 64]
    for row in read["rows"]:
        assert row["of promised"] == pytest.approx(row["x full"] / row["promised"])
        assert row["x full"] == pytest.approx(row["policy req/s"] / row["full req/s"])
    assert len(read["aims"]) == 2
    assert all(line in printed for line in read["aims"])


def test_engine(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All arms answer all requests; the report has its rows and ratios."""
    script = importlib.import_module("torch_engine")
    model, _, x = served(bench, 60)
    for arm in script.ARMS.values():
        with arm(model, 8) as submit:
            assert (script.waits(submit, script.split(x, {}, 1), [0.0] * 60) > 0).all()
    times = script.arrivals(1000, 50.0, 4, seed=0)
    assert times == sorted(times)
    assert times[3] == times[0] < times[4]
    assert 10 < times[-1] < 30
    names = [name for name, *_ in script.networks(4, 2)]
    assert names == ["vgg", "encoder", "launched", "half launched"]
    monkeypatch.setattr(script, "networks", lambda rows, size: [("small", EarlyExit(model.stages, model.exits), x, {})])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert script.main(["--quick", "--output", str(tmp_path)]) == 0
    read = json.loads((tmp_path / "torch_engine.json").read_text())
    (saturated,) = read["saturated"]
    assert saturated["map / model(x)"] == pytest.approx(saturated["engine.map req/s"] / saturated["model(x) req/s"])
    assert [row["arrivals"] for row in read["latency"]] == ["Poisson", "bursts of 32"]
    assert all(row["calls p99 ms"] >= row["calls p50 ms"] > 0 for row in read["latency"])
    assert "engine p99" in capsys.readouterr().out
