"""From logits to decisions: decide_logits against NumPy, PyTorch in eager mode and a pure read of the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ttamer.bench.harness import Arms, Report, Row, Table, median_times, on_one_thread, optional
from ttamer.fitting import fit
from ttamer.policy import Policy
from ttamer.policy import solve as solve_policy
from ttamer.traces import Traces
from ttamer.traces.signals import SIGNALS

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Plan:
    """How much is run.

    Attributes
    ----------
    shapes : tuple of (int, int, int)
        Classes, rows of a call, and buffers that the calls take turns with: those of 32,000 classes come from memory.
    repeats : int
    """

    shapes: tuple[tuple[int, int, int], ...]
    repeats: int


SHAPES = ((10, 65536, 1), (1000, 1024, 1), (32_000, 256, 4))
PLANS = {"full": Plan(SHAPES, 15), "short": Plan(SHAPES, 5), "tiny": Plan(((10, 256, 1), (100, 64, 2)), 2)}


def policies(rng: np.random.Generator) -> dict[str, Policy]:
    """A line of three nodes for each signal, its bins made of the same kind of logits as are served."""
    logits = rng.normal(0, 3, (2000, 3, 10))
    probs = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    labels = logits.sum(axis=1).argmax(axis=-1)
    by_signal = {}
    for kind in SIGNALS:
        traces = Traces.from_probs(probs, labels, np.full(3, 0.1), signal=kind)
        # Without the evidence, which would say how many classes logits have to have.
        plain = Traces(traces.signals, traces.losses, traces.costs, signal=kind)
        by_signal[kind] = solve_policy(fit(plain, bins=64), 0.8, recall="none")
    return by_signal


def numpy_max_prob(logits: Logits, threshold: float) -> npt.NDArray[np.intp]:
    """A softmax, its largest probability, and who goes on below a threshold."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return np.flatnonzero(powers.max(axis=1) < threshold)


def lean_max_prob(logits: Logits, threshold: float) -> npt.NDArray[np.intp]:
    """The same without the softmax: the largest probability is one over the sum of powers."""
    powers = logits - logits.max(axis=1, keepdims=True)
    np.exp(powers, out=powers)
    return np.flatnonzero(1 / powers.sum(axis=1) < threshold)


def torch_max_prob(torch: Any, logits: Any, threshold: float) -> Any:
    """The softmax and its largest probability as they are mostly written in PyTorch."""
    return (torch.softmax(logits, dim=1).max(dim=1).values < threshold).nonzero()


def arms_for(by_signal: dict[str, Policy], buffers: list[Logits], torch: Any) -> Arms:
    """Every arm goes once through all buffers."""
    rows = len(buffers[0])

    def deciding(kind: str) -> Callable[[], None]:
        batch, node = by_signal[kind].start(rows), by_signal[kind].first_node

        def run() -> None:
            for logits in buffers:
                batch.reset()
                batch.decide_logits(node, logits)

        return run

    def loop(body: Callable[[Any], Any], values: list[Any]) -> Callable[[], None]:
        def run() -> None:
            for logits in values:
                body(logits)

        return run

    arms: Arms = {kind: deciding(kind) for kind in SIGNALS}
    arms["numpy"] = loop(lambda logits: numpy_max_prob(logits, 0.5), buffers)
    arms["lean numpy"] = loop(lambda logits: lean_max_prob(logits, 0.5), buffers)
    arms["read (max)"] = loop(np.max, buffers)
    arms["read (sum)"] = loop(np.add.reduce, [logits.ravel() for logits in buffers])
    if torch is not None:
        tensors = [torch.from_numpy(logits) for logits in buffers]
        arms["torch"] = loop(lambda logits: torch_max_prob(torch, logits, 0.5), tensors)
    return arms


def largest_error(policy: Policy, logits: Logits) -> float:
    """Relative error of the largest probability next to float64."""
    tied = logits.copy()
    tied[:, [0, -1]] = 30.0  # a confident maximum that stands twice
    logits = np.concatenate([logits, tied])
    values = logits.astype(np.float64)
    exact = 1 / np.exp(values - values.max(axis=1, keepdims=True)).sum(axis=1)
    signals = policy.start(len(logits))._logit_signals(logits)
    assert np.allclose(signals, exact, rtol=2e-6)
    return float(np.max(np.abs(signals / exact - 1)))


def measure(by_signal: dict[str, Policy], shape: tuple[int, int, int], repeats: int, torch: Any) -> Row:
    """One row of the table."""
    classes, rows, count = shape
    rng = np.random.default_rng(classes)
    buffers = [3 * rng.standard_normal((rows, classes), np.float32) for _ in range(count)]
    seconds = median_times(arms_for(by_signal, buffers, torch), repeats)
    row: Row = {"C": classes, "B": rows, "MB": count * buffers[0].nbytes / 1e6}
    for kind in SIGNALS:
        row[f"{kind} us"] = 1e6 * seconds[kind] / count
    row["ns/logit"] = 1e9 * seconds["max_prob"] / (count * buffers[0].size)
    row["numpy/ours"] = seconds["numpy"] / seconds["max_prob"]
    row["lean numpy/ours"] = seconds["lean numpy"] / seconds["max_prob"]
    row["torch/ours"] = seconds["torch"] / seconds["max_prob"] if torch is not None else None
    row["ours/read (max)"] = seconds["max_prob"] / seconds["read (max)"]
    row["ours/read (sum)"] = seconds["max_prob"] / seconds["read (sum)"]
    row["relative error"] = largest_error(by_signal["max_prob"], buffers[0][:256])
    return row


def run(size: str) -> Report:
    """Run it; `size` is a key of `PLANS`."""
    plan, torch = PLANS[size], optional("torch")
    by_signal = policies(np.random.default_rng(0))
    with on_one_thread(torch):
        rows = [measure(by_signal, shape, plan.repeats, torch) for shape in plan.shapes]
    columns = {
        "C": "C",
        "B": "B",
        "max_prob us": "us a call",
        "logit_margin us": "logit us",
        "numpy/ours": "numpy/ours",
        "lean numpy/ours": "lean/ours",
        "torch/ours": "torch/ours",
        "ours/read (sum)": "ours/read",
    }
    table = Table("rows", "Batch.decide_logits from float32 logits, one thread; medians", rows, columns)
    notes = (
        "us a call: the largest probability; logit: the logit margin, which takes no softmax. numpy: softmax, its "
        "maximum, compare. lean: the least NumPy can do, 1 / sum of powers. torch: softmax and maximum in eager mode. "
        "read: NumPy's sum of the same bytes.",
    )
    return Report((table,), notes)
