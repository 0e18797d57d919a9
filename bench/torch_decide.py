"""Deciding alone, from logits to the rows that go on: `ttamer.torch.Decider` against PyTorch in eager mode.

On the CPU always; on CUDA too where there is a device, launched one by one and captured in a CUDA graph, next to
reading the logits once at the bandwidth of a copy.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ttamer
from ttamer.bench.harness import median_times, parser, publish
from ttamer.torch import Decider
from ttamer.traces.signals import signals_from_probs

SIZES = (1, 8, 64, 512, 4096)
CLASSES = (10, 1000, 32_000)
STATES = 64
CALLS = 16
"""Calls timed together on CUDA, each on a flight of its own: a row is consulted once."""
COPY_BYTES = 2**28
"""Bytes copied to measure the bandwidth."""


def policy_for(logits: torch.Tensor) -> ttamer.Policy:
    """A line of three nodes whose states are equally likely on such logits; about half of the rows go on."""
    probs = torch.softmax(logits[:512].double(), dim=1).cpu().numpy()
    signals = np.sort(signals_from_probs(probs, "max_prob"))
    edges = np.unique(np.quantile(signals, np.arange(1, STATES) / STATES).astype(np.float32))
    losses = np.linspace(0.9, 0.1, len(edges) + 1)
    # Another draw gains 0.1 on average where the loss so far is 0.5: that is what it costs.
    anything = np.full((1, len(losses)), 1 / len(losses))
    tables = (ttamer.Topology.line(3), [losses] * 3, [anything] * 3, [0.1] * 3)
    model = ttamer.CascadeModel(*tables, bin_edges=[edges] * 3, cost_scale=1.0, signal="max_prob")
    return ttamer.solve(model, 0.5, recall="observed")


def eager(logits: torch.Tensor, rows: torch.Tensor, threshold: float) -> torch.Tensor:
    """The rows that go on, as early exit is mostly written."""
    confidence = torch.softmax(logits, dim=1).max(dim=1).values
    return rows.index_select(0, (confidence < threshold).nonzero()[:, 0])


def cpu_row(size: int, classes: int, repeats: int) -> dict[str, Any]:
    """One thread; both arms end with the rows that go on."""
    logits = 3 * torch.randn(size, classes)
    decider = Decider(policy_for(3 * torch.randn(512, classes)))
    flight, rows = decider.start(size), torch.arange(size)

    def ours() -> torch.Tensor:
        flight.reset()
        return rows.index_select(0, flight.survivors(decider(flight, 0, logits)))

    threshold = 0.5
    times = 1 if logits.numel() > 10**6 else 100

    def many(body: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(times):
                body()

        return run

    seconds = median_times({"ours": many(ours), "eager": many(lambda: eager(logits, rows, threshold))}, repeats)
    return {
        "device": "cpu",
        "dtype": "float32",
        "C": classes,
        "B": size,
        "go on": len(ours()) / size,
        "decider us": 1e6 * seconds["ours"] / times,
        "eager us": 1e6 * seconds["eager"] / times,
        "eager/decider": seconds["eager"] / seconds["ours"],
    }


def cuda_medians(arms: dict[str, Callable[[], Any]], before: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Median milliseconds of each arm by CUDA events, the arms taking turns; `before` is not timed."""
    times: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(repeats + 2):
        for name, run in arms.items():
            before()
            torch.cuda.synchronize()
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            run()
            end.record()
            end.synchronize()
            if number >= 2:
                times[name].append(start.elapsed_time(end))
    return {name: statistics.median(values) for name, values in times.items()}


def cuda_row(size: int, classes: int, dtype: torch.dtype, repeats: int) -> dict[str, Any]:
    """`decider` and `eager` end with the rows that go on and read how many; `alone` and `graph` read nothing."""
    logits = (3 * torch.randn(size, classes, device="cuda")).to(dtype)
    decider = Decider(policy_for(3 * torch.randn(512, classes))).to("cuda")
    flights = [decider.start(size) for _ in range(CALLS)]
    rows = torch.arange(size, device="cuda")
    source, target = (torch.empty(COPY_BYTES, dtype=torch.uint8, device="cuda") for _ in range(2))

    def reset() -> None:
        for flight in flights:
            flight.reset()

    def alone() -> None:
        for flight in flights:
            decider(flight, 0, logits)

    def ours() -> None:
        for flight in flights:
            rows.index_select(0, flight.survivors(decider(flight, 0, logits)))

    def theirs() -> None:
        for _ in flights:
            eager(logits, rows, 0.5)

    alone()  # compiles
    reset()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        alone()
    arms = {
        "decider": ours,
        "eager": theirs,
        "alone": alone,
        "graph": graph.replay,
        "copy": lambda: target.copy_(source),
    }
    ms = cuda_medians(arms, reset, repeats)
    bandwidth = 2 * COPY_BYTES / ms["copy"]
    read = logits.numel() * logits.element_size() / bandwidth
    calls = {name: ms[name] / CALLS for name in ("decider", "eager", "alone", "graph")}
    reset()
    return {
        "device": "cuda",
        "dtype": str(dtype).removeprefix("torch."),
        "C": classes,
        "B": size,
        "go on": int(decider(flights[0], 0, logits).count) / size,
        **{f"{name} us": 1e3 * value for name, value in calls.items()},
        "eager/decider": calls["eager"] / calls["decider"],
        "eager/graph (aim 5)": calls["eager"] / calls["graph"],
        "read us": 1e3 * read,
        "graph/read (aim 1.5)": calls["graph"] / read,
        "copy GB/s": bandwidth / 1e6,
    }


def main() -> None:
    options = parser(__doc__ or "", Path(__file__).parent / "results").parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    repeats = 3 if options.quick else 15
    sizes = SIZES[:4] if options.quick else SIZES
    table = [cpu_row(size, classes, repeats) for classes in CLASSES for size in sizes]
    title = f"Deciding from logits: PyTorch {torch.__version__}, one CPU thread; medians"
    publish("torch_decide", title, table, options)
    if not torch.cuda.is_available():
        print("\nno CUDA device: the same command measures it where there is one")
        return
    dtypes = (torch.float32, torch.bfloat16)
    table = [cuda_row(size, classes, dtype, repeats) for dtype in dtypes for classes in CLASSES for size in sizes]
    title = f"Deciding from logits: PyTorch {torch.__version__}, {torch.cuda.get_device_name()}; medians"
    publish("torch_decide_cuda", title, table, options)


if __name__ == "__main__":
    main()
