"""An 8-exit VGG on Fashion-MNIST: train, record with measured costs, solve, serve.

Give the folder with the four idx files, plain or gzipped, e.g. that of Debian's package dataset-fashion-mnist:

    python examples/fashion.py /usr/share/datasets/fashion-mnist --epochs 3 --output fashion

An epoch takes one to three minutes on a CPU. With --output, the weights, the traces and the policy are kept; recording
can be interrupted and is then taken up again by the same command, as training is skipped where weights are kept.
"""

from __future__ import annotations

import argparse
import gzip
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import ttamer
from ttamer.torch import EarlyExit, joint_loss

WIDTHS = (16, 32, 64, 64, 128, 128, 160, 160)
POOLED = (0, 2, 5)  # blocks that end with max-pooling
CALIBRATION = 10_000  # of the 60,000 training images, kept out of training
SPLITS = {"train": "train", "test": "t10k"}


def read_idx(path: Path) -> Tensor:
    """An idx file of bytes: two zeros, the type, the number of dimensions, their sizes, the values."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if len(data) < 4 or data[:3] != b"\0\0\x08":
        raise SystemExit(f"{path}: not an idx file of bytes")
    end = 4 + 4 * data[3]
    shape = np.frombuffer(data, ">i4", data[3], 4).tolist()
    if len(data) - end != np.prod(shape):
        raise SystemExit(f"{path}: expected {np.prod(shape)} values for {shape}, got {len(data) - end}")
    return torch.from_numpy(np.frombuffer(data, np.uint8, offset=end).reshape(shape).copy())


def load(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) of mean 0 or so, and labels."""
    found = []
    for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
        name = f"{SPLITS[split]}-{kind}"
        paths = [path for path in (folder / name, folder / f"{name}.gz") if path.exists()]
        if not paths:
            raise SystemExit(f"{folder}: no {name} or {name}.gz here (Debian: apt install dataset-fashion-mnist)")
        found.append(read_idx(paths[0]))
    return found[0][:, None].float() / 127.5 - 1, found[1].long()


def network() -> EarlyExit:
    """Eight blocks of convolution, norm and ReLU, an exit after each."""
    stages, exits, channels = [], [], 1
    for k, width in enumerate(WIDTHS):
        block = [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        stages.append(nn.Sequential(*block, *([nn.MaxPool2d(2)] if k in POOLED else [])))
        side = 2 if k < POOLED[-1] else 1
        exits.append(nn.Sequential(nn.AdaptiveAvgPool2d(side), nn.Flatten(), nn.Linear(width * side**2, 10)))
        channels = width
    return EarlyExit(stages, exits)


def train(model: EarlyExit, x: Tensor, y: Tensor, epochs: int) -> None:
    """All exits together, the learning rate rising and falling once."""
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.0)
    steps = epochs * -(-len(x) // 128)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    model.train()
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        for rows in torch.randperm(len(x)).split(128):
            with torch.autocast(x.device.type, dtype=torch.bfloat16):
                logits = model(x[rows])
            loss = joint_loss(logits, y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(rows)
        seconds = time.perf_counter() - start
        print(f"epoch {epoch + 1}: mean loss of the exits {total / len(x):.4f}, {seconds:.0f} s", flush=True)
    model.eval()


def serve(model: EarlyExit, x: Tensor, y: Tensor) -> tuple[float, float, float]:
    """Accuracy, mean depth, and images a second in batches of 64."""
    right, depth = 0, 0
    start = time.perf_counter()
    for images, labels in zip(x.split(64), y.split(64), strict=True):
        found = model(images)
        right += int((found.logits.argmax(dim=1) == labels).sum())
        depth += int((found.last_node + 1).sum())
    return right / len(x), depth / len(x), len(x) / (time.perf_counter() - start)


def arguments_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="An 8-exit VGG on Fashion-MNIST.")
    parser.add_argument("folder", type=Path, help="where the idx files are")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rows", type=int, help="use only so many images of each split")
    parser.add_argument("--slack", type=float, default=0.003, help="error that a policy may have over the last exit's")
    parser.add_argument("--output", type=Path, help="folder for weights, traces and policy")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = arguments_of(arguments)
    torch.manual_seed(0)
    images, labels = (part.to(options.device) for part in load(options.folder, "train"))
    x_test, y_test = (part[: options.rows].to(options.device) for part in load(options.folder, "test"))
    order = torch.randperm(len(images))[: options.rows]
    held = min(CALIBRATION, len(order) // 3)
    x_cal, y_cal = images[order[:held]], labels[order[:held]]
    x, y = images[order[held:]], labels[order[held:]]

    model = network().to(options.device)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
    weights = options.output / "weights.pt" if options.output else None
    if weights and weights.exists():
        model.load_state_dict(torch.load(weights, map_location=options.device))
        model.eval()
    else:
        train(model, x, y, options.epochs)
        if weights:
            torch.save(model.state_dict(), weights)

    loader = list(zip(x_cal.split(64), y_cal.split(64), strict=True))
    resume = options.output / "calibration.npz" if options.output else None
    traces = model.record(loader, resume=resume)  # costs at a batch size of 64, as it is served below
    print(f"recorded {traces}")
    for node, (loss, cost) in enumerate(zip(traces.losses.mean(axis=0), traces.costs, strict=True)):
        print(f"  exit {node}: error {loss:.4f}, {cost * 1e3:.1f} us an image")
    front = ttamer.frontier(traces, estimate="signal")
    point = front.cheapest(max(front[-1].error, float(traces.losses[:, -1].mean()) + options.slack))
    if options.output:
        point.policy.save(options.output / "policy.safetensors")

    with torch.inference_mode():
        full = serve(model, x_test, y_test)
        early = serve(model.attach(point.policy), x_test, y_test)
    print(f"\n{'':<16}{'accuracy':>9}{'exits run':>11}{'images/s':>11}")
    for name, (accuracy, depth, rate) in (("whole network", full), ("policy", early)):
        print(f"{name:<16}{accuracy:>9.4f}{depth:>11.2f}{rate:>11.0f}")
    ratio = float(traces.costs.sum()) / point.cost
    print(
        f"\n{early[2] / full[2]:.2f} times the throughput; recorded costs promise {ratio:.2f} on the calibration rows"
    )


if __name__ == "__main__":
    main()
