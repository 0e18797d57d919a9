"""Short runs of the fuzzers, and that they see what is a fault."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from paths import BENCH, REPOSITORY
from studies import load

pytestmark = pytest.mark.slow

FUZZ = load("fuzz")
RUNNER = load("fuzzers.runner")


@pytest.fixture(autouse=True)
def _children_import_fuzzers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    pytest.importorskip("sklearn", reason="models with estimates need the fit extra")


@pytest.mark.parametrize(("name", "cases"), [("files", 300), ("calls", 500), ("logits", 400), ("solves", 150)])
def test_a_short_run_finds_nothing(name: str, cases: int) -> None:
    result = RUNNER.run(FUZZ.FUZZERS[name], seed=0, seconds=300.0, cases=cases)
    assert [str(fault) for fault in result.faults.values()] == []
    assert result.cases == cases
    assert {"ValueError", "returned"} <= set(result.kinds)


def faults(name: str, cases: int) -> list[str]:
    """What is said of the first cases of a fuzzer that are at fault, run in this process."""
    fuzzer = FUZZ.FUZZERS[name]
    make = fuzzer.start()
    outcomes = (RUNNER.outcome(fuzzer, make(np.random.default_rng([0, k])), k)[1] for k in range(cases))
    return [fault.text for fault in outcomes if fault is not None]


def test_a_wrong_signal_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("fuzzers.logits")
    right = module.logit_signals
    assert faults("logits", 40) == []
    monkeypatch.setattr(module, "logit_signals", lambda logits, kind: right(logits, kind) * np.float32(1 + 4e-6))
    assert len(faults("logits", 40)) > 10
    assert all("\n  expected [" in text for text in faults("logits", 40))
    monkeypatch.setattr(module, "logit_signals", lambda logits, kind: np.zeros(len(logits), np.float32))
    assert any("to be refused, got [" in text for text in faults("logits", 40))


def test_a_wrong_policy_is_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = load("fuzzers.solves")
    folder = SimpleNamespace(TemporaryDirectory=lambda prefix: SimpleNamespace(name=str(tmp_path)))
    monkeypatch.setattr(module, "tempfile", folder)
    assert faults("solves", 20) == []
    right = module.reference.solve
    with monkeypatch.context() as patch:
        patch.setattr(module.reference, "solve", lambda *tables: dataclasses.replace(right(*tables), value=-1.0))
        assert len(faults("solves", 20)) > 10
        assert all("\n  value: expected -1.0, got " in text for text in faults("solves", 20))
    with monkeypatch.context() as patch:
        patch.setattr(module, "_signal", lambda edges, state: 0.0)  # what is played is not what was solved
        assert any("\n  value, played: expected " in text for text in faults("solves", 20))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is bounded on Linux")
def test_every_kind_of_fault_is_seen() -> None:
    import faulty

    result = RUNNER.run(faulty.FUZZER, seed=0, seconds=300.0, cases=12, patience=3.0)  # each kind is among these
    assert result.cases == 12
    assert {fault.text.partition("\n")[0]: fault.kind for fault in result.faults.values()} == {
        "undone": "AttributeError",
        "bound": "TypeError, in the words of pybind11",
        "long": "ValueError, more than 100 characters",
        "escaping": "ValueError, with control characters",
        "warning": "RuntimeWarning",
        "large": "MemoryError" if "MemoryError" in result.kinds else "_ArrayMemoryError",
        "crash": "crash",
        "silent": "silence",
    }
    number = next(fault.number for fault in result.faults.values() if fault.kind == "AttributeError")
    assert RUNNER.case_of(faulty.FUZZER, 0, number).text == "undone"


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, str(BENCH / "fuzz.py"), "files", "--seconds", "0.3", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "files   all" in done.stdout
    assert "faults: 0" in done.stdout
    monkeypatch.setattr(sys, "argv", ["fuzz.py", "logits", "--case", "7"])
    assert FUZZ.main() == 0
    assert capsys.readouterr().out.startswith("logits, case 7: ")
    monkeypatch.setattr(sys, "argv", ["fuzz.py", "nothing"])
    with pytest.raises(SystemExit):
        FUZZ.main()
    assert "expected one of files, calls, logits, solves, got nothing" in capsys.readouterr().err
