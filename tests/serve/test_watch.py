"""Policies that are exchanged when their files change."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
from helpers import random_model, random_traces

import ttamer
from ttamer import STOP, Policy, Topology
from ttamer.serve import Dispatcher, Drift

LINE = random_traces(Topology.line(3), 60, 0)
MODEL = ttamer.fit(LINE, 6)
CHEAP, GOOD = (ttamer.solve(MODEL, tradeoff) for tradeoff in (0.1, 0.999))
NEVER = 3600.0


def stops_at_once(dispatcher: Dispatcher, tier: str = "default") -> bool:
    return dispatcher.enter(tier).consulted("a", 0.0) == STOP


def test_a_file_that_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "policy.st"
    CHEAP.save(path)
    dispatcher = Dispatcher(GOOD)
    with dispatcher.watch(path, every=NEVER) as watch:
        assert stops_at_once(dispatcher)  # at once, before the first look
        assert not watch.check()
        under_way = dispatcher.enter()
        GOOD.save(path)
        assert watch.check()
        assert (watch.swaps, watch.error) == (1, None)
        assert not stops_at_once(dispatcher)
        assert under_way.consulted("a", 0.0) == STOP  # it keeps the policy it entered with


def test_the_thread_looks(tmp_path: Path) -> None:
    path = tmp_path / "policy.st"
    GOOD.save(path)
    dispatcher = Dispatcher(GOOD)
    with dispatcher.watch(path, every=0.01) as watch:
        CHEAP.save(path)
        deadline = time.monotonic() + 60
        while watch.swaps == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert stops_at_once(dispatcher)
    GOOD.save(path)
    assert watch.swaps == 1  # it looks no more
    assert stops_at_once(dispatcher)


def test_tiers_and_fronts(tmp_path: Path) -> None:
    dispatcher = Dispatcher({"free": CHEAP, "paid": CHEAP})
    for name, policy in (("free", CHEAP), ("paid", GOOD)):
        policy.save(tmp_path / name)
    with dispatcher.watch({name: tmp_path / name for name in ("free", "paid")}, every=NEVER):
        assert stops_at_once(dispatcher, "free")
        assert not stops_at_once(dispatcher, "paid")
    front = ttamer.frontier(LINE, estimate="signal")
    front.save(tmp_path / "front")
    base = front[len(front) // 2].policy
    dispatcher = Dispatcher(front, tradeoff=base.tradeoff)
    with dispatcher.watch(tmp_path / "front", every=NEVER) as watch:
        assert dispatcher.enter().record()["policy"] == Dispatcher(base).enter().record()["policy"]
        ttamer.frontier(LINE, [0.01], estimate="signal").save(tmp_path / "front")
        assert watch.check()
        assert len(dispatcher.policies) == 1


@pytest.mark.parametrize("damage", ["cut", "gone", "other"])
def test_a_file_that_cannot_be_used_changes_nothing(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "policy.st"
    CHEAP.save(path)
    dispatcher = Dispatcher(GOOD)
    with dispatcher.watch(path, every=NEVER) as watch:
        if damage == "cut":
            path.write_bytes(path.read_bytes()[:-100])
        elif damage == "gone":
            path.unlink()
        else:
            ttamer.solve(random_model(Topology.line(2), 3, 0)).save(path)
        with caplog.at_level(logging.ERROR, "ttamer.serve"):
            assert not watch.check()
            assert not watch.check()
        messages = {"cut": "not a readable safetensors", "gone": "No such file", "other": "policy: expected the nodes"}
        assert messages[damage] in str(watch.error)
        assert [record.message.startswith("the policies of before serve on: ") for record in caplog.records] == [True]
        assert stops_at_once(dispatcher)
        GOOD.save(path)
        assert watch.check()
        assert watch.error is None
        assert not stops_at_once(dispatcher)


def test_a_file_that_was_away_and_is_back(tmp_path: Path) -> None:
    path = tmp_path / "policy.st"
    CHEAP.save(path)
    dispatcher = Dispatcher(GOOD)
    with dispatcher.watch(path, every=NEVER) as watch:
        path.rename(tmp_path / "away")
        assert not watch.check()
        assert isinstance(watch.error, FileNotFoundError)
        (tmp_path / "away").rename(path)
        assert not watch.check()
        assert watch.error is None
        path.write_bytes(b"damaged")
        assert not watch.check()
        damage = watch.error
        path.rename(tmp_path / "away")
        assert not watch.check()
        assert isinstance(watch.error, FileNotFoundError)
        (tmp_path / "away").rename(path)
        assert not watch.check()
        assert watch.error is damage


def test_a_file_that_goes_between_look_and_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again as soon as it is back."""
    path = tmp_path / "policy.st"
    CHEAP.save(path)
    dispatcher = Dispatcher(GOOD)
    with dispatcher.watch(path, every=NEVER) as watch:
        GOOD.save(path)
        load = Policy.load

        def gone(path: object) -> Policy:
            raise FileNotFoundError("gone")

        monkeypatch.setattr(Policy, "load", gone)
        assert not watch.check()
        assert str(watch.error) == "gone"
        monkeypatch.setattr(Policy, "load", load)
        assert watch.check()
        assert watch.error is None
        assert not stops_at_once(dispatcher)


def test_who_wants_to_know_of_exchanges(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A policy, a front or tiers, from the first one on; what fails then changes nothing of what serves."""
    path, told = tmp_path / "policy.st", list[object]()
    CHEAP.save(path)
    drift = Drift(GOOD, random_traces(Topology.line(3), 200, 1))
    dispatcher = Dispatcher(GOOD)
    with dispatcher.watch(path, every=NEVER, on_swap=drift.swap) as watch:
        assert drift.policy == CHEAP
        fly(dispatcher, drift)
        assert (drift.seen, drift.passed_over) == (1, 0)
        GOOD.save(path)
        under_way = dispatcher.enter()
        assert watch.check()
        while under_way.node != STOP:
            under_way.consulted("a", 0.0)
        drift.saw(under_way)
        fly(dispatcher, drift)
        assert (drift.policy, drift.seen, drift.passed_over) == (GOOD, 1, 1)
        assert repr(drift).startswith("Drift(1 requests, 0 labels, 1 of other policies, alarm None")

    def fail(loaded: object) -> None:
        told.append(loaded)
        raise OSError("no disk")

    CHEAP.save(path)
    with caplog.at_level(logging.ERROR, "ttamer.serve"), dispatcher.watch(path, every=NEVER, on_swap=fail) as watch:
        GOOD.save(path)
        assert watch.check()
        assert (watch.swaps, str(watch.error)) == (1, "no disk")
        assert not stops_at_once(dispatcher)
    assert told == [CHEAP, GOOD]
    assert [record.message for record in caplog.records] == ["after an exchange of policies"] * 2
    tiers = Dispatcher({"free": CHEAP})
    with tiers.watch({"free": path}, every=NEVER, on_swap=told.append):
        assert told[-1] == {"free": GOOD}


def fly(dispatcher: Dispatcher, drift: Drift) -> None:
    flight = dispatcher.enter()
    while flight.node != STOP:
        flight.consulted("a", 0.0)
    drift.saw(flight)


def test_refusals(tmp_path: Path) -> None:
    dispatcher = Dispatcher(CHEAP)
    with pytest.raises(FileNotFoundError):
        dispatcher.watch(tmp_path / "nowhere")
    ttamer.frontier(LINE, estimate="signal").save(tmp_path / "front")
    with pytest.raises(ValueError, match=r"front: expected a policy file, got a front file$"):
        dispatcher.watch(tmp_path / "front")
    GOOD.save(tmp_path / "policy")
    with pytest.raises(ValueError, match=r"^every: expected more than 0 seconds, got 0$"):
        dispatcher.watch(tmp_path / "policy", every=0)
    with pytest.raises(ValueError, match=r"^policy: expected a front or the tiers default, got paid$"):
        dispatcher.watch({"paid": tmp_path / "policy"})
    serving = Dispatcher(ttamer.frontier(LINE, estimate="signal"), tradeoff=0.9)
    with pytest.raises(ValueError, match=r"^path: expected one, as a front serves, got paid$"):
        serving.watch({"paid": tmp_path / "policy"})
    with pytest.raises(TypeError, match=r"^path: "):
        dispatcher.watch(3)  # type: ignore[arg-type]
    assert stops_at_once(dispatcher)
    assert Policy.load(tmp_path / "policy") == GOOD
