"""A MiniLM-size encoder on sentences: train an exit after the embeddings and each layer, record, solve, serve.

Give a folder with an encoder as `save_pretrained` writes it (configuration, weights, tokenizer; a BERT such as
all-MiniLM-L6-v2, or a DistilBERT), and two tab-separated files of sentence and label, as SST-2 comes:

    python examples/text.py all-MiniLM-L6-v2 train.tsv dev.tsv --epochs 3

Half of the second file is for calibration, the other half for the test. Needs transformers (pip install
"ttamer[encoders,torch]"); nothing is downloaded.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import ttamer
from ttamer.torch import EarlyExit, PooledExit, joint_loss

Batch = tuple[Tensor, dict[str, Tensor], Tensor]
"""Token numbers, keywords (the mask), labels."""


def read_tsv(path: Path) -> tuple[list[str], list[int]]:
    """Sentences and labels; a first line whose label is no number is a header."""
    if not path.is_file():
        raise SystemExit(f"{path}: no such file; expected lines of sentence, tab, label")
    sentences, labels = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        sentence, _, label = line.rpartition("\t")
        if label.strip().isdecimal() and sentence:
            sentences.append(sentence)
            labels.append(int(label))
        elif number > 1:
            raise SystemExit(f"{path}: expected a sentence, a tab and a label in line {number}, got {line[:60]!r}")
    if not sentences:
        raise SystemExit(f"{path}: expected lines of sentence, tab, label, found none")
    return sentences, labels


def load_encoder(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and encoder of a local folder."""
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError:
        raise SystemExit('transformers is missing: pip install "ttamer[encoders]"') from None
    missing = [name for name in ("config.json",) if not (folder / name).is_file()]
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("pytorch_model*.bin")):
        missing.append("model.safetensors or pytorch_model.bin")
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.txt")):
        missing.append("tokenizer.json or vocab.txt")
    if missing:
        raise SystemExit(f"{folder}: not the folder of an encoder, without {', '.join(missing)}")
    return (
        AutoTokenizer.from_pretrained(folder, local_files_only=True),
        AutoModel.from_pretrained(folder, local_files_only=True),
    )


def batches(tokenizer: Any, sentences: list[str], labels: list[int], size: int, tokens: int) -> list[Batch]:
    """Batches in the order of the sentences, each padded to its longest."""
    made = []
    for start in range(0, len(sentences), size):
        part = sentences[start : start + size]
        found = tokenizer(part, padding=True, truncation=True, max_length=tokens, return_tensors="pt")
        mask = {"attention_mask": found["attention_mask"]}
        made.append((found["input_ids"], mask, torch.tensor(labels[start : start + size])))
    return made


def moved(loader: Sequence[Batch], device: str) -> Iterator[Batch]:
    for ids, keywords, labels in loader:
        yield ids.to(device), {name: value.to(device) for name, value in keywords.items()}, labels.to(device)


def train(model: EarlyExit, loader: list[Batch], epochs: int, device: str) -> None:
    """All exits together; the encoder learns more slowly than the exits."""
    optimiser = torch.optim.AdamW(
        [{"params": model.stages.parameters(), "lr": 1e-4}, {"params": model.exits.parameters(), "lr": 1e-3}],
        weight_decay=0.0,
    )
    model.train()
    for epoch in range(epochs):
        total, start = 0.0, time.perf_counter()
        order = [loader[k] for k in torch.randperm(len(loader)).tolist()]
        for ids, keywords, labels in moved(order, device):
            loss = joint_loss(model(ids, **keywords), labels)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            total += float(loss.detach())
        seconds = time.perf_counter() - start
        print(f"epoch {epoch + 1}: mean loss of the exits {total / len(loader):.4f}, {seconds:.0f} s", flush=True)
    model.eval()


def serve(model: EarlyExit, loader: list[Batch], device: str) -> str:
    """Accuracy, exits run and sentences a second."""
    right, depth, count, seconds = 0, 0, 0, 0.0
    for ids, keywords, labels in moved(loader, device):
        start = time.perf_counter()
        found = model(ids, **keywords)
        right += int((found.logits.argmax(dim=1) == labels).sum())
        seconds += time.perf_counter() - start
        depth += int((found.last_node + 1).sum())
        count += len(labels)
    return f"{right / count:>9.4f}{depth / count:>11.2f}{count / seconds:>14.0f}"


def arguments_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Early exit in a sentence encoder.")
    parser.add_argument("encoder", type=Path, help="folder of a BERT, MiniLM or DistilBERT")
    parser.add_argument("train", type=Path, help="sentence, tab, label")
    parser.add_argument("held_out", type=Path, help="the same: one half for calibration, one for the test")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=64, help="longest sentence")
    parser.add_argument("--slack", type=float, default=0.005, help="error that a policy may have over the last exit's")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = arguments_of(arguments)
    torch.manual_seed(0)
    sentences, labels = read_tsv(options.train)
    held, held_labels = read_tsv(options.held_out)
    tokenizer, encoder = load_encoder(options.encoder)
    classes = max(labels + held_labels) + 1
    exits = [PooledExit(encoder.config.hidden_size, classes) for _ in range(encoder.config.num_hidden_layers + 1)]
    model = EarlyExit.from_encoder(encoder, exits).to(options.device)

    order = torch.randperm(len(sentences)).tolist()
    shuffled = [sentences[k] for k in order], [labels[k] for k in order]
    train(model, batches(tokenizer, *shuffled, options.batch, options.tokens), options.epochs, options.device)

    half = len(held) // 2
    calibration = batches(tokenizer, held[:half], held_labels[:half], options.batch, options.tokens)
    test = batches(tokenizer, held[half:], held_labels[half:], options.batch, options.tokens)
    traces = model.record(calibration, progress=False)
    print(f"recorded {traces}")
    front = ttamer.frontier(traces, estimate="signal")
    point = front.cheapest(max(front[-1].error, float(traces.losses[:, -1].mean()) + options.slack))

    print(f"\n{'':<16}{'accuracy':>9}{'exits run':>11}{'sentences/s':>14}")
    with torch.inference_mode():
        print(f"{'whole encoder':<16}{serve(model, test, options.device)}")
        print(f"{'policy':<16}{serve(model.attach(point.policy), test, options.device)}")


if __name__ == "__main__":
    main()
