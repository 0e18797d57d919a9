"""A network with four exits on scikit-learn's digits: train all exits, record, solve, serve.

Needs scikit-learn and PyTorch (pip install "ttamer[fit,torch]"); half a minute on a CPU. Prints, for the whole network
and for two policies chosen on calibration digits, what serving the test digits gave: accuracy, the cost that was
recorded, latency one digit at a time and in batches of 64, and how often the answer was recalled from an earlier exit
than the last one consulted.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

import ttamer
from ttamer.torch import EarlyExit, ExitOutput, joint_loss

WIDTHS = (16, 32, 64, 128)
SLACK = 0.01  # how much more error than the whole network's a policy may have on the calibration digits


def digits() -> list[tuple[Tensor, Tensor]]:
    """Training, calibration and test digits: images (N, 1, 8, 8) and labels."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    x = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8)[order] / 16
    y = torch.tensor(labels)[order]
    return [(x[part], y[part]) for part in (slice(0, 900), slice(900, 1400), slice(1400, None))]


def network() -> EarlyExit:
    """Four convolutions of rising width, an exit after each."""
    stages, exits, channels = [], [], 1
    for width in WIDTHS:
        stages.append(nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()))
        exits.append(nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 10)))
        channels = width
    return EarlyExit(stages, exits)


def train(model: EarlyExit, x: Tensor, y: Tensor, epochs: int) -> None:
    """All exits together."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            loss = joint_loss(model(x[rows]), y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    model.eval()


def cheapest(traces: ttamer.Traces, recall: str) -> ttamer.Policy:
    """The cheapest policy whose error on the traces is close to the last exit's; the most accurate one if none's is."""
    model = ttamer.fit(traces, bins=8)
    policies = [ttamer.solve(model, tradeoff, recall) for tradeoff in torch.linspace(0.5, 1, 60).tolist()]
    replays = [policy.replay(traces) for policy in policies]
    limit = max(float(traces.losses[:, -1].mean()) + SLACK, min(replay.error for replay in replays))
    good = [k for k, replay in enumerate(replays) if replay.error <= limit]
    return policies[min(good, key=lambda k: replays[k].mean_cost)]


def milliseconds(model: EarlyExit, batches: Sequence[Tensor]) -> float:
    """Median time of a call, divided by the requests in it."""
    times = []
    for x in batches:
        start = time.perf_counter()
        model(x)
        times.append((time.perf_counter() - start) * 1e3 / len(x))
    return statistics.median(times)


def line(name: str, model: EarlyExit, x: Tensor, y: Tensor, full_cost: float) -> str:
    """A row of the table: what serving the digits gave."""
    found: ExitOutput = model(x)
    right = (found.logits.argmax(dim=1) == y).float().mean()
    cost = float(found.cost.mean()) if model.policy else full_cost
    recalled = (found.answer_node != found.last_node).float().mean()
    alone, together = milliseconds(model, x[:200].split(1)), milliseconds(model, x.split(64))
    return f"{name:<16}{right:>9.2%}{cost:>11.3f} ms{alone:>11.3f} ms{together:>11.4f} ms{recalled:>15.1%}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Early exit on scikit-learn's digits.")
    parser.add_argument("--epochs", type=int, default=15)
    epochs = parser.parse_args(arguments).epochs
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the network is too small for more to help
    (x, y), (x_cal, y_cal), (x_test, y_test) = digits()
    model = network()
    train(model, x, y, epochs)

    loader = list(zip(x_cal.split(50), y_cal.split(50), strict=True))
    traces = model.record(loader, batch_size=1, progress=False)
    print(f"recorded {traces}")
    print("exits are right on " + ", ".join(f"{1 - loss:.1%}" for loss in traces.losses.mean(axis=0)))

    print(f"\n{'':<16}{'accuracy':>9}{'cost':>14}{'one by one':>14}{'batches of 64':>14}{'recall used':>15}")
    with torch.inference_mode():
        full_cost = float(traces.costs.sum())
        print(line("whole network", model, x_test, y_test, full_cost))
        for name, recall in (("without recall", "none"), ("with recall", "observed")):
            model.attach(cheapest(traces, recall))
            print(line(name, model, x_test, y_test, full_cost))
    print("\ncost: as recorded at batch size 1; the other times are of serving the test digits, a digit")


if __name__ == "__main__":
    main()
