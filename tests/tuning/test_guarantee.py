"""What was certified of a policy stays with it: in its file, in tables, in what flights say of themselves."""

from __future__ import annotations

import json
import pickle
import re
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import DATA

import ttamer
from ttamer import Traces, tuning
from ttamer._base import files
from ttamer.cli import main
from ttamer.policy import Guarantee, Policy
from ttamer.serve import Dispatcher


def recorded(rows: int = 2000, seed: int = 0) -> Traces:
    """Two models, the second of which is nearly always right."""
    rng = np.random.default_rng(seed)
    sure = rng.random((rows, 2)).astype(np.float32)
    wrong = (rng.random((rows, 2)) > sure ** [1.0, 0.05]).astype(np.float32)
    return Traces(sure, wrong, [0.1, 0.5], unit="ct", nodes=["small", "large"])


@pytest.fixture(scope="module")
def tuned() -> Policy:
    return ttamer.tune(recorded(), max_error=0.2, max_cost_quantile=(0.9, 0.6), estimate="signal")


def changed(policy: Policy, **changes: Any) -> bytes:
    """The policy's file with another guarantee."""
    fields, arrays = files.from_bytes(policy._to_bytes(), "policy", 5, "file")
    fields["guarantee"] = fields["guarantee"] | changes
    del fields["kind"], fields["version"]
    return files.to_bytes("policy", 5, fields, arrays)


class TestWhatIsKept:
    def test_limits_rows_day_and_traces(self, tuned: Policy) -> None:
        kept = tuned.guarantee
        assert kept is not None
        error, quantile = kept.limits
        assert (error.name, error.bound, error.low, error.high, error.exact) == ("max_error", 0.2, 0.0, 1.0, True)
        assert (quantile.name, quantile.bound, quantile.quantile) == ("max_cost_quantile", 0.6, 0.9)
        assert quantile.unit == "ct"
        assert (kept.confidence, kept.relative_to, kept.fitted_rows, kept.tested_rows) == (0.95, "labels", 1000, 1000)
        assert kept.traces == recorded().digest != recorded(seed=1).digest
        assert abs(date.fromisoformat(kept.date) - date.today()).days <= 1
        assert str(kept) == (
            "an error of at most 0.2 and a cost of at most 0.6 ct in 90% of requests, with confidence 0.95; "
            f"tested on 1,000 rows on {kept.date}, traces {kept.traces[:12]}"
        )

    def test_errors_against_the_last_node_say_so(self) -> None:
        traces = recorded()
        predictions = np.where(traces.losses > 0, 1, 0)
        traces = Traces(traces.signals, traces.losses, traces.costs, predictions=predictions)
        policy = ttamer.tune(traces, max_error=0.2, relative_to="last", estimate="signal")
        assert policy.guarantee is not None
        assert policy.guarantee.relative_to == "last"
        assert "0.2, errors against the last node's answers, with confidence 0.95" in str(policy.guarantee)

    def test_in_files_fronts_and_pickles(self, tuned: Policy, tmp_path: Path) -> None:
        tuned.save(tmp_path / "policy")
        front = ttamer.Front([ttamer.FrontPoint(0.3, 0.1, tuned)], "ct")
        front.save(tmp_path / "front")
        others = (Policy.load(tmp_path / "policy"), pickle.loads(pickle.dumps(tuned)))
        for policy in (*others, ttamer.Front.load(tmp_path / "front")[0].policy):
            assert policy == tuned
            assert policy.guarantee == tuned.guarantee

    def test_the_account_has_the_same(self) -> None:
        account = tuning.certify(recorded(), max_error=0.2, estimate="signal")
        assert account.policy.guarantee == account.guarantee
        assert account.best.policy.guarantee is None  # nothing is said of what else was tested
        assert account.policy == account.best.policy
        assert hash(account.policy) == hash(account.best.policy)

    def test_a_policy_that_was_solved_has_none(self, tmp_path: Path) -> None:
        policy = ttamer.solve(ttamer.fit(recorded()), 0.9)
        policy.save(tmp_path / "policy")
        assert policy.guarantee is None
        assert Policy.load(tmp_path / "policy").guarantee is None

    def test_v5(self) -> None:
        """A frozen file."""
        policy = Policy.load(DATA / "policy-guarantee-v5.safetensors")
        assert str(policy.guarantee) == (
            "an error of at most 0.2 and a cost of at most 0.6 ct in 90% of requests, with confidence 0.95; "
            "tested on 1,000 rows on 2026-11-29, traces 4579ae7c6f9c"
        )


class TestDigest:
    def test_the_same_once_saved_and_loaded(self, tmp_path: Path) -> None:
        for name in ("traces-v1", "traces-v3", "traces-v4"):
            traces = Traces.load(DATA / f"{name}.npz")
            traces.save(tmp_path / "again.npz")
            assert Traces.load(tmp_path / "again.npz").digest == traces.digest
        assert len(traces.digest) == 64

    def test_of_all_that_is_in_them(self) -> None:
        traces = recorded(10)
        others = [
            traces[:9],
            traces[::-1],
            traces._with(losses=1 - traces.losses),
            traces._with(nodes=("small", "huge")),
            traces._with(unit_costs={"usd": traces.costs}),
        ]
        assert len({each.digest for each in (traces, *others)}) == 6
        assert traces[:].digest == traces.digest


class TestServing:
    def test_requests_leave_it(self, tuned: Policy) -> None:
        dispatcher = Dispatcher({"tuned": tuned, "other": ttamer.solve(ttamer.fit(recorded()), 0.9)})
        stopped = dispatcher.enter("tuned")
        assert stopped.guarantee is None  # it is under way
        while stopped.node != ttamer.STOP:
            stopped.consulted(None, 0.99)
        assert stopped.guarantee == tuned.guarantee
        assert stopped.record()["is_certified"] is True
        resumed = stopped.resume() if stopped.open else ttamer.STOP
        assert resumed != ttamer.STOP
        stopped.consulted(None, 0.5)
        assert (stopped.reason, stopped.guarantee) == ("override", None)
        assert stopped.record()["is_certified"] is False
        failed = dispatcher.enter("tuned")
        while failed.node != ttamer.STOP:
            failed.failed("down") if failed.name == "small" else failed.consulted(None, 0.5)
        assert (failed.reason, failed.guarantee) == ("failure", None)
        other = dispatcher.enter("other")
        while other.node != ttamer.STOP:
            other.consulted(None, 0.99)
        assert (other.reason, other.guarantee) == ("policy", None)
        assert "is_certified" not in other.record()


class TestShow:
    def test_tables_and_json(
        self, tuned: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("COLUMNS", "200")
        tuned.save(tmp_path / "policy.st")
        assert main(["show", str(tmp_path / "policy.st")]) == 0
        assert str(tuned.guarantee) in capsys.readouterr().out
        assert main(["show", str(tmp_path / "policy.st"), "--json"]) == 0
        assert tuned.guarantee is not None
        content = json.loads(capsys.readouterr().out)["guarantee"]
        assert Guarantee.from_dict(content) == tuned.guarantee


class TestDamage:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"confidence": 1.5}, "confidence: expected a number in (0, 1), got 1.5"),
            ({"relative_to": "me"}, "relative_to: expected 'labels' or 'last', got 'me'"),
            ({"traces": "abc"}, "traces: expected 64 hexadecimal digits, got 'abc'"),
            ({"date": "yesterday"}, "Invalid isoformat string: 'yesterday'"),
            ({"limits": 3}, "limits: expected list, got int"),
            ({"limits": [3]}, "limits: expected mappings, got int"),
            ({"tested_rows": "many"}, "tested_rows: expected int, got str"),
        ],
    )
    def test_it_is_refused(self, tuned: Policy, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=f"^file: not a valid policy \\({re.escape(message)}\\)$"):
            Policy._from_bytes(changed(tuned, **changes), "file")

    def test_limits_too(self, tuned: Policy) -> None:
        assert tuned.guarantee is not None
        limit = tuned.guarantee.as_dict()["limits"][0]
        for changes, message in (
            ({"name": "max_fun"}, "limits: expected max_error, max_cost, max_cost_quantile, got 'max_fun'"),
            ({"quantile": "a"}, "quantile: expected a number, got str"),
            ({"bound": None}, "bound: expected float, got NoneType"),
        ):
            with pytest.raises(ValueError, match=f"^file: not a valid policy \\({re.escape(message)}\\)$"):
                Policy._from_bytes(changed(tuned, limits=[limit | changes]), "file")
        with pytest.raises(ValueError, match="guarantee: expected a mapping, got list"):
            Guarantee.from_dict([])
