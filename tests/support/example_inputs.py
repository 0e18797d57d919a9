"""Small files of the kinds that the examples read."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np


def fashion(folder: Path, rows: int = 90) -> None:
    """Idx files of images whose brightness tells the class; one of them plain, the others gzipped."""
    rng = np.random.default_rng(0)
    for split, count in (("train", rows), ("t10k", rows // 2)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = np.clip(rng.normal(25 * labels[:, None, None], 10, (count, 28, 28)), 0, 255).astype(np.uint8)
        for kind, values in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
            header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
            data = header + values.tobytes()
            plain = (split, values.ndim) == ("train", 1)
            path = folder / f"{split}-{kind}{'' if plain else '.gz'}"
            path.write_bytes(data if plain else gzip.compress(data))


def encoder(folder: Path) -> None:
    """A BERT of two narrow layers with random weights, and its tokenizer."""
    import torch
    import transformers

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "film", "a", "the", "very"]
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    transformers.BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')


def sentences(path: Path, rows: int, header: bool) -> None:
    """Lines of sentence, tab, label."""
    rng = np.random.default_rng(rows)
    lines = ["sentence\tlabel"] if header else []
    for _ in range(rows):
        label = int(rng.integers(2))
        lines.append(f"{'very ' * int(rng.integers(3))}{('bad', 'good')[label]} film\t{label}")
    path.write_text("\n".join(lines) + "\n")
