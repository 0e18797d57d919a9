"""A whole network served with early exit: throughput and latency next to the full network and to eager thresholds.

On the CPU an 8-exit VGG for 28 x 28 images, at 1, 8 and 64 rows; with CUDA a transformer encoder of 24 layers and
width 1024 over 128 tokens in bfloat16, at 64 rows, with every ramp captured in a CUDA graph too, to which the ratios
then belong. Weights are random, and the policy's bins are set so that the same share of requests leaves at every exit.
Costs are recorded at the batch size that is served: the whole cascade's over the mean of a request is what early exit
promises, and "of promised" is the ratio of throughputs next to it. Arms take turns batch by batch.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import ttamer
from ttamer.bench.harness import is_kept, machine, parser, print_rows, write
from ttamer.torch import Decider, EarlyExit

WIDTHS = (16, 32, 64, 64, 128, 128, 160, 160)
POOLS = (0, 2, 5)
CLASSES = 10


def vgg() -> EarlyExit:
    """Eight blocks of convolution, norm and ReLU, an exit after each."""
    stages, exits, channels = [], [], 1
    for k, width in enumerate(WIDTHS):
        block = [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        stages.append(nn.Sequential(*block, *([nn.MaxPool2d(2)] if k in POOLS else [])))
        side = 2 if k < POOLS[-1] else 1
        exits.append(nn.Sequential(nn.AdaptiveAvgPool2d(side), nn.Flatten(), nn.Linear(width * side**2, CLASSES)))
        channels = width
    return EarlyExit(stages, exits)


class TokenMean(nn.Module):
    """An exit of the encoder."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.linear(self.norm(hidden.mean(dim=1))).float()


def encoder(layers: int = 24, width: int = 1024) -> EarlyExit:
    """Transformer layers, an exit after each."""
    stages = [
        nn.TransformerEncoderLayer(width, width // 64, 4 * width, batch_first=True, norm_first=True, dropout=0.0)
        for _ in range(layers)
    ]
    return EarlyExit(stages, [TokenMean(width) for _ in range(layers)])


def spread(model: EarlyExit, x: Tensor, **keywords: Tensor) -> None:
    """Scale the exits so that their confidences differ from request to request."""
    with torch.inference_mode():
        for head, logits in zip(model.exits, model.all_logits(x, **keywords), strict=True):
            linear = [module for module in head.modules() if isinstance(module, nn.Linear)][-1]
            deviations = logits.float() - logits.float().mean(dim=0)
            linear.bias.sub_(logits.float().mean(dim=0).to(linear.bias.dtype))
            scale = 3.0 / deviations.std()
            linear.weight.mul_(scale)
            linear.bias.mul_(scale)


def leaving_everywhere(traces: ttamer.Traces) -> ttamer.Policy:
    """A policy under which the same share of these requests leaves at every node.

    Two states a node: confident ones have no loss, so the request stops; others have, and go on.
    """
    count = traces.topology.nodes
    live, edges = np.ones(len(traces), bool), []
    for node in range(count - 1):
        edges.append([float(np.quantile(traces.signals[live, node], 1 - 1 / (count - node)))])
        live &= traces.signals[:, node] < np.float32(edges[-1][0])
    losses = [[1.0, 0.0]] * (count - 1) + [[0.0]]
    transitions = [np.full((1 if node == 0 else 2, len(losses[node])), 1 / len(losses[node])) for node in range(count)]
    model = ttamer.CascadeModel(
        traces.topology, losses, transitions, traces.costs, bin_edges=[*edges, []], signal=traces.signal
    )
    return ttamer.solve(model, 0.95, "none")


def eager_thresholds(model: EarlyExit, values: list[float], x: Tensor) -> Tensor:
    """Early exit as it is mostly written: softmax, max, compare, nonzero, index."""
    rows = torch.arange(len(x), device=x.device)
    answers: Tensor | None = None
    for stage, head, value in zip(model.stages, model.exits, [*values, -1.0], strict=True):
        x = stage(x)
        logits = head(x)
        if answers is None:
            answers = torch.empty_like(logits)
        stop = logits.softmax(dim=1).max(dim=1).values >= value
        answers[rows[stop]] = logits[stop]
        survivors = (~stop).nonzero().flatten()
        if len(survivors) == 0:
            break
        x, rows = x[survivors], rows[survivors]
    assert answers is not None
    return answers


def sampled(arms: dict[str, Callable[[Tensor], Any]], batches: list[Tensor], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of every call, (rounds, batches) an arm; arms take turns with every batch."""
    wait = torch.cuda.synchronize if batches[0].is_cuda else lambda: None
    seconds = {name: np.empty((rounds, len(batches))) for name in arms}
    names = list(arms)
    for run in range(-1, rounds):  # the first one warms up
        for k, batch in enumerate(batches):
            # Whose turn comes first goes round too: each leaves the caches to the next.
            for turn in range(len(names)):
                name = names[(run + k + turn) % len(names)]
                wait()
                start = time.perf_counter()
                arms[name](batch)
                wait()
                if run >= 0:
                    seconds[name][run, k] = time.perf_counter() - start
    return seconds


def decision_microseconds(policy: ttamer.Policy, rows: int, device: torch.device, repeats: int) -> float:
    """Median time of what a ramp adds to stages and exits: deciding, and the read of how many go on."""
    decider = Decider(policy).to(device)
    flight, logits, places = decider.start(rows), torch.randn(rows, CLASSES, device=device), torch.arange(rows)
    places, times = places.to(device), []
    for _ in range(repeats):
        flight.reset()
        start = time.perf_counter()
        flight.survivors(decider(flight, policy.first_node, logits, places))
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times)


def row_for(model: EarlyExit, x: Tensor, rows: int, rounds: int, repeats: int) -> dict[str, Any]:
    """One line of the table."""
    batches = list(x.split(rows))
    labels = torch.zeros(len(x), dtype=torch.long)
    loader = list(zip(batches, labels.split(rows), strict=True))
    traces = model.detach().record(loader, batch_size=rows, repeats=repeats, progress=False)
    policy = leaving_everywhere(traces)
    values = [float(policy.bin_edges(node)[0]) for node in range(len(model.exits) - 1)]
    server = EarlyExit(list(model.stages), list(model.exits)).eval().attach(policy)
    arms = {"full": model, "policy": server, "eager": lambda batch: eager_thresholds(model, values, batch)}
    if x.is_cuda:
        graphs = EarlyExit(list(model.stages), list(model.exits)).eval()
        arms["captured"] = graphs.attach(policy, bucket=range(4, rows + 1, 4), capture=True)
    with torch.inference_mode():
        ends = torch.cat([server(batch).last_node for batch in batches]).cpu().numpy()
        cost = float(torch.cat([server(batch).cost for batch in batches]).mean())
        seconds = sampled(arms, batches, rounds)
        decision = decision_microseconds(policy, rows, x.device, 20 * repeats)
    shares = np.bincount(ends, minlength=len(model.exits)) / len(ends)
    total = {name: statistics.median(times.sum(axis=1)) for name, times in seconds.items()}
    promise = float(traces.costs.sum()) / cost
    row: dict[str, Any] = {"device": x.device.type, "B": rows, "exits": len(model.exits)}
    row["leave at an exit"] = f"{shares.min():.0%} to {shares.max():.0%}"
    row |= {f"{name} req/s": len(x) / total[name] for name in seconds}
    best = "captured" if "captured" in arms else "policy"
    row |= {"x full": total["full"] / total[best], "promised": promise}
    row["of promised"] = row["x full"] / promise
    row["x eager"] = total["eager"] / total[best]
    for name in ("full", best):
        p50, p95, p99 = np.quantile(1e3 * seconds[name], [0.5, 0.95, 0.99])
        row[f"{name} ms p50/p95/p99"] = f"{p50:.3g}/{p95:.3g}/{p99:.3g}"
    row["decision us"] = decision
    row["of cheapest stage"] = decision * 1e-3 / (float(traces.costs.min()) * rows)
    return row


def cpu_rows(quick: bool) -> list[dict[str, Any]]:
    """The VGG at three batch sizes."""
    torch.manual_seed(0)
    model = vgg().eval()
    x = torch.randn(128 if quick else 512, 1, 28, 28)
    spread(model, x)
    rounds, repeats = (1, 2) if quick else (7, 30)
    sizes = ((1, x[:64]), (8, x[:256]), (64, x))
    return [row_for(model, some, rows, rounds, repeats) for rows, some in sizes]


def cuda_rows(quick: bool) -> list[dict[str, Any]]:
    """The encoder at 64 rows."""
    torch.manual_seed(0)
    width = 256 if quick else 1024
    model = encoder(width=width).eval().to("cuda", torch.bfloat16)
    x = torch.randn(512, 128, width, device="cuda", dtype=torch.bfloat16)
    spread(model, x[:128])
    return [row_for(model, x, 64, 2 if quick else 10, 10 if quick else 50)]


def aims(rows: list[dict[str, Any]]) -> list[str]:
    """What is aimed at, and whether it was reached."""
    lines = []
    for row in rows:
        if row["B"] != 64:
            continue
        share = 0.8 if row["device"] == "cpu" else 0.7
        verdict = "reached" if row["of promised"] >= share else "missed"
        lines.append(f"{row['device']}: {row['of promised']:.2f} of the promised throughput, aim {share}: {verdict}")
        if row["device"] == "cpu":
            verdict = "reached" if row["of cheapest stage"] < 0.02 else "missed"
            lines.append(f"cpu: a decision is {row['of cheapest stage']:.2%} of the cheapest stage, aim 2%: {verdict}")
    return lines


def report(name: str, rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Print rows of one device and what became of the aims, and write them."""
    print_rows(rows)
    print("\n" + "\n".join(aims(rows)))
    facts = machine() | {"torch": torch.__version__}
    if rows[0]["device"] == "cuda":
        facts["gpu"] = torch.cuda.get_device_name()
    if is_kept(options):
        content = {"title": "Early exit end to end", "machine": facts, "aims": aims(rows), "rows": rows}
        write(name, content, options.output)


def main() -> None:
    options = parser(__doc__ or "", Path(__file__).parent / "results").parse_args()
    torch.set_num_threads(1)
    report("torch_serve", cpu_rows(options.quick), options)
    if torch.cuda.is_available():
        report("torch_serve_cuda", cuda_rows(options.quick), options)


if __name__ == "__main__":
    main()
