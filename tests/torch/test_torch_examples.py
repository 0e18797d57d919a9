"""The examples that need PyTorch: small runs of each, and what they say of files that are not what they expect."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import example_inputs
import pytest
from paths import EXAMPLES

import ttamer

torch = pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")


def program(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


@pytest.fixture(autouse=True)
def keep_threads() -> Any:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
def test_digits(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn", reason="the digits come with the fit extra")
    program("digits")["main"](["--epochs", "6"])
    text = capsys.readouterr().out
    rows = {line[:16].strip(): line[16:].split() for line in text.splitlines()}
    full, without, recall = (rows[name] for name in ("whole network", "without recall", "with recall"))
    assert float(full[0].rstrip("%")) > 90
    assert float(without[0].rstrip("%")) > 88
    assert float(recall[0].rstrip("%")) > 88
    assert float(without[1]) < float(full[1])
    assert full[-1] == without[-1] == "0.0%"
    assert re.fullmatch(r"\d+\.\d%", recall[-1])


class TestFashion:
    def test_keeps_what_it_made(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        example_inputs.fashion(tmp_path)
        arguments = [str(tmp_path), "--epochs", "1", "--output", str(tmp_path / "out"), "--device", "cpu"]
        program("fashion")["main"](arguments)
        first = capfd.readouterr().out
        assert "epoch 1:" in first
        assert "exit 7: error" in first
        assert "times the throughput" in first
        policy = ttamer.Policy.load(tmp_path / "out" / "policy.safetensors")
        assert policy.topology == ttamer.Topology.line(8)
        assert len(ttamer.Traces.load(tmp_path / "out" / "calibration.npz")) == 30
        program("fashion")["main"](arguments)
        again = capfd.readouterr().out
        assert "epoch" not in again
        assert re.findall(r"exit .*", again) == re.findall(r"exit .*", first)

    @pytest.mark.parametrize(
        ("message", "name", "content"),
        [
            ("no train-images-idx3-ubyte or train-images-idx3-ubyte.gz here", None, b""),
            ("not an idx file of bytes", "train-images-idx3-ubyte", b"text"),
            (r"expected 784 values for \[1, 28, 28\], got 1", "train-images-idx3-ubyte",
             b"\0\0\x08\x03\0\0\0\x01\0\0\0\x1c\0\0\0\x1c\0"),
        ],
    )  # fmt: skip
    def test_bad_files(self, message: str, name: str | None, content: bytes, tmp_path: Path) -> None:
        if name:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(SystemExit, match=message):
            program("fashion")["main"]([str(tmp_path)])


class TestText:
    @pytest.fixture
    def files(self, tmp_path: Path) -> list[str]:
        pytest.importorskip("transformers", reason="needs the encoders extra")
        (tmp_path / "encoder").mkdir()
        example_inputs.encoder(tmp_path / "encoder")
        example_inputs.sentences(tmp_path / "train.tsv", 60, header=True)
        example_inputs.sentences(tmp_path / "dev.tsv", 40, header=False)
        return [str(tmp_path / name) for name in ("encoder", "train.tsv", "dev.tsv")]

    def test_runs(self, files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        program("text")["main"]([*files, "--epochs", "1", "--batch", "8", "--device", "cpu"])
        text = capsys.readouterr().out
        assert "recorded Traces(20 rows, Topology.line(3)" in text
        rows = {line[:16].strip(): line[16:].split() for line in text.splitlines()}
        assert float(rows["whole encoder"][1]) == 3
        assert 1 <= float(rows["policy"][1]) <= 3

    def test_says_what_is_missing(self, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        main = program("text")["main"]
        folder, train, dev = files
        (tmp_path / "bad.tsv").write_text("good film\t1\nno label\n")
        (tmp_path / "empty.tsv").write_text("sentence\tlabel\n")
        (tmp_path / "nothing").mkdir()
        for message, arguments in (
            ("nowhere.tsv: no such file", [folder, train, str(tmp_path / "nowhere.tsv")]),
            ("bad.tsv: expected a sentence, a tab and a label in line 2, got 'no label'",
             [folder, str(tmp_path / "bad.tsv"), dev]),
            ("empty.tsv: expected lines of sentence, tab, label, found none",
             [folder, str(tmp_path / "empty.tsv"), dev]),
            ("not the folder of an encoder, without config.json, model.safetensors or .*, tokenizer.json or vocab.txt",
             [str(tmp_path / "nothing"), train, dev]),
        ):  # fmt: skip
            with pytest.raises(SystemExit, match=message):
                main(arguments)
        monkeypatch.setitem(sys.modules, "transformers", None)
        with pytest.raises(SystemExit, match=r'transformers is missing: pip install "ttamer\[encoders\]"'):
            main(files)
