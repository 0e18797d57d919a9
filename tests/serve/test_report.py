"""What a log says in numbers: hand-made ones with known results, and served ones, which `Drift` sees alike."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evidence_cases import independent, posterior
from helpers import random_traces
from set_traces import recorded

import ttamer
from ttamer import STOP, Policy, Topology, Traces
from ttamer.serve import Dispatcher, Drift, Log, report

POOL = random_traces(Topology.forest([-1, -1, -1]), 3000, 0)._with(nodes=("small", "middle", "large"), unit="ct")
POLICY = ttamer.solve(ttamer.fit(POOL[:1000], 8), 0.9)


def visit(node: str | int, cost: Any = None, seconds: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"node": node, "seconds": seconds, **({} if cost is None else {"cost": cost}), **more}


def line(*visits: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A request that the last node answered, at the sum of the costs."""
    own = [each for each in visits if not each.get("shadow")]
    answered = [each["node"] for each in own if "error" not in each]
    known = {
        "policy": "p0",
        "tier": "default",
        "weight": 1.0,
        "reason": "policy",
        "answer_node": answered[-1] if answered else None,
        "cost": sum(each.get("cost", 0) for each in own) if "cost" not in more else more["cost"],
        "unit": "ct",
        "signal": "",
        "is_shadowed": any(each.get("shadow") for each in visits),
        "seconds": sum(each["seconds"] for each in own),
    }
    return {**known, "visits": list(visits), **more}


def written(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
    return path


class TestCounts:
    def test_requests_and_nodes(self, tmp_path: Path) -> None:
        path = written(
            tmp_path / "log.jsonl",
            line(visit("small", 1.0)),
            line(visit("small", 1.0, 3.0), visit("large", 4.0, 2.0), tier="paid", policy="p1"),
            line(visit("small", seconds=5.0, error="TimeoutError: late"), visit("large", 6.0), reason="failure"),
            line(visit("small", error="NodeDown: small is down"), visit("large", 6.0), reason="failure"),
            line(visit("small", 2.0, error="ValueError: no"), reason="failure"),
        )
        found = report(path)
        assert (found.requests, found.shadowed, found.unit, found.shadow_cost) == (5, 0, "ct", 0)
        assert found.tiers == {"default": {"policy": 1, "failure": 3}, "paid": {"policy": 1}}
        assert (found.cost.mean, found.cost.p50, found.cost.largest) == (4.0, 5.0, 6.0)
        assert (found.seconds.mean, found.seconds.largest) == (3.0, 6.0)
        assert sum(found.costs[1]) == 5
        small, large = found.nodes
        assert (small.node, small.consulted, small.failed, small.down, small.shadowed) == ("small", 4, 2, 1, 0)
        assert (small.stopped, small.answered, large.stopped, large.answered) == (2, 1, 3, 3)
        assert small.cost == pytest.approx(4 / 3)
        assert large.cost == pytest.approx(16 / 3)
        assert small.seconds is not None
        assert (small.seconds.p50, small.seconds.largest) == (2.0, 5.0)
        assert [(each.digest, each.requests, each.first, each.last, each.cost) for each in found.policies] == [
            ("p0", 4, 1, 5, 3.75),
            ("p1", 1, 2, 2, 5.0),
        ]
        assert (found.loss, found.basis, found.savings, found.drift) == (None, None, (), None)
        assert found.drift_needs == "It needs a policy and traces of how requests should be."

    def test_losses(self, tmp_path: Path) -> None:
        """Of answers, of shadowed requests apart, whether they stand in the line, later or in another file."""
        shadowed = visit("large", 4.0, shadow=True)
        path = written(
            tmp_path / "log.jsonl",
            line(visit("small", 1.0), request="a", losses={"small": True}),
            line(visit("small", 1.0), shadowed, request="b"),
            line(visit("small", 1.0), shadowed, request="c"),
            line(visit("small", 1.0), request="d"),
            line(visit("small", 1.0), request="e", losses={"large": 0}),
        )
        later = written(
            tmp_path / "later.jsonl",
            {"request": "b", "losses": {"small": 0, "large": 1}},
            {"request": "c", "losses": {"small": 0.0}},
        )
        found = report([path, later])
        assert found.loss is not None
        assert found.shadowed_loss is not None
        assert (found.loss.requests, found.loss.value) == (3, pytest.approx(1 / 3))
        assert (found.shadowed_loss.requests, found.shadowed_loss.value) == (2, 0)
        # Wilson's interval of 0 of 2: z^2 / (n + z^2).
        assert (found.shadowed_loss.low, found.shadowed_loss.high) == (0, pytest.approx(3.8415 / 5.8415, abs=1e-4))
        assert [node.loss and (node.loss.requests, node.loss.value) for node in found.nodes] == [(2, 0), (1, 1)]

    def test_an_interval_of_graded_losses_is_a_bootstrap(self, tmp_path: Path) -> None:
        losses = np.random.default_rng(0).random(400)
        path = written(tmp_path / "l.jsonl", *(line(visit("a", 1.0), losses={"a": loss}) for loss in losses.tolist()))
        found = report(path).loss
        assert found is not None
        error = 1.96 * losses.std() / 20
        assert (found.low, found.high) == pytest.approx((losses.mean() - error, losses.mean() + error), abs=0.003)

    def test_costs_in_several_units(self, tmp_path: Path) -> None:
        cost = {"usd": 1.0, "ms": 100.0}
        path = written(
            tmp_path / "log.jsonl", line(visit("a", cost), cost=2.0, unit="usd + 0.01 ms"), line(unit="usd + 0.01 ms")
        )
        assert report(path).nodes[0].cost == 2.0

    def test_nodes_without_names(self, tmp_path: Path) -> None:
        found = report(written(tmp_path / "log.jsonl", line(visit(0, 1.0), visit(1, 2.0), losses={"1": 1})))
        assert [node.node for node in found.nodes] == ["0", "1"]
        assert found.loss is not None


class TestSavings:
    def test_of_shadowed_requests(self, tmp_path: Path) -> None:
        """Those of which it is known, against the node that lost least."""
        digest = Dispatcher(POLICY).enter().digest
        extra = [visit("middle", 5.0, shadow=True), visit("large", 10.0, shadow=True)]
        path = written(
            tmp_path / "log.jsonl",
            *(line(visit("small", 1.0), *extra, losses={"small": 1, "middle": 0, "large": k % 2}) for k in range(30)),
            *(line(visit("small", 3.0), *extra) for _ in range(30)),
            *(line(visit("small", 3.0), extra[0], visit("large", error="E: no", shadow=True)) for _ in range(5)),
            *(line(visit("small", 99.0), policy=digest) for _ in range(50)),
        )
        found = report(path, POLICY)
        assert found.basis == "shadowed"
        middle, every = found.savings
        assert (middle.against, middle.cost, middle.share.requests) == ("middle", 5.0, 65)
        assert middle.share.value == pytest.approx(1 - 135 / 65 / 5)
        assert (every.against, every.share.requests) == ("all nodes", 60)
        assert every.share.value == pytest.approx(1 - 2 / 17)
        error = 1.96 / np.sqrt(65) / 5
        expected = middle.share.value - error, middle.share.value + error
        assert (middle.share.low, middle.share.high) == pytest.approx(expected, abs=0.01)
        assert [saving.against for saving in report(path).savings] == ["all nodes"]

    def test_a_line_pays_for_what_comes_before(self, tmp_path: Path) -> None:
        """Whoever always asks the last exit runs all stages."""
        some = random_traces(Topology.line(3), 200, 0)
        traces = Traces(some.signals, some.losses, [1.0, 2.0, 4.0])
        policy = ttamer.solve(ttamer.fit(traces, 4), 0.9)
        losses = {"0": 1, "1": 1, "2": 0}
        told = (visit(0, 1.0), visit(1, 2.0), visit(2, 4.0, shadow=True))
        digest = Dispatcher(policy).enter().digest
        path = written(tmp_path / "log.jsonl", *[line(*told, policy=digest, losses=losses)] * 4)
        last, every = report(path, policy).savings
        assert (last.against, last.cost, last.share.value) == ("2", 7.0, pytest.approx(4 / 7))
        assert every.cost == 7.0
        alone = written(tmp_path / "alone.jsonl", *[line(visit(0, 1.0), policy=digest)] * 4)
        assert [saving.cost for saving in report(alone, policy).savings] == [7.0, 7.0]

    def test_without_labels_against_the_dearest(self, tmp_path: Path) -> None:
        dearest, digest = POOL.nodes[int(POLICY.costs.argmax())], Dispatcher(POLICY).enter().digest
        others = [visit(name, 0.5, shadow=True) for name in POOL.nodes if name not in (dearest, "small")]
        told = (visit("small", 1.0), visit(dearest, 4.0, shadow=True), *others)
        assert dearest != "small"
        path = written(tmp_path / "log.jsonl", *[line(*told, policy=digest)] * 3)
        (saving, every) = report(path, POLICY).savings
        assert (saving.against, saving.share.value) == (dearest, 0.75)
        assert every.share.value == pytest.approx(1 - 1 / 5.5)

    def test_by_what_the_policy_expects(self, tmp_path: Path) -> None:
        digest = Dispatcher(POLICY).enter().record()["policy"]
        path = written(tmp_path / "log.jsonl", *[line(visit("small", 0.5), policy=digest)] * 4, line(visit("small", 9)))
        found = report(path, POLICY)
        dearest, alone, total = POOL.nodes[int(POLICY.costs.argmax())], POLICY.costs.max(), POLICY.costs.sum()
        assert found.basis == "policy"
        assert [(each.against, each.cost) for each in found.savings] == [(dearest, alone), ("all nodes", total)]
        assert found.savings[0].share.requests == 4
        assert found.savings[0].share.value == pytest.approx(1 - 0.5 / alone)
        assert [each.expected_cost for each in found.policies] == [POLICY.expected_cost, None]
        assert [node.consulted for node in found.nodes] == [5, 0, 0]


def serve(path: Path, policy: Policy, traces: Traces, drift: Drift) -> None:
    """Rows as requests, every tenth of them shown to all and labelled, which drift sees."""
    dispatcher = Dispatcher(policy, signal=policy.signal or None if policy.estimator is None else None)
    with Log(path) as log:
        for row in range(len(traces)):
            flight = dispatcher.enter(context={name: cells[row] for name, cells in traces.context.items()} or None)
            while flight.node != STOP:
                node = flight.node
                label = None if traces.predictions is None else int(traces.predictions[row, node])
                answer, label = (None, label) if traces.answer_classes else (f"answer {label}", None)
                flight.consulted(answer, float(traces.signals[row, node]), label=label)
            flight.is_shadowed = row % 10 == 0
            loss = float(traces.losses[row, flight.answer_node])
            log.write(flight, {flight.nodes[flight.answer_node]: loss})
            drift.saw(flight)
            if flight.is_shadowed:
                drift.labelled(loss)


class TestDrift:
    def test_it_sees_what_flights_show(self, tmp_path: Path) -> None:
        path, drift = tmp_path / "log.jsonl", Drift(POLICY, POOL[1000:2000])
        serve(path, POLICY, POOL[2000:], drift)
        watch = report(path, POLICY, POOL[1000:2000]).drift
        assert watch is not None
        assert (watch.requests, watch.labels, watch.alarm, watch.alarm_at) == (1000, 100, None, None)
        assert (watch.evidence, watch.psi) == (drift.evidence, drift.psi)
        assert {len(values) for values in watch.history.values()} == {300}

    @pytest.mark.parametrize("classes", [True, False])
    def test_answers_of_several_models(self, classes: bool, tmp_path: Path) -> None:
        """As numbers of classes, or as texts of which it only counts which are the same."""
        traces, held = (recorded(rows=300, seed=seed, classes=classes) for seed in (0, 1))
        policy = ttamer.solve(ttamer.fit(traces, estimate="sets"), 0.95)
        drift = Drift(policy, traces)
        serve(tmp_path / "log.jsonl", policy, held, drift)
        found = report(tmp_path / "log.jsonl", policy, traces)
        assert found.drift is not None
        assert found.drift.requests == 300
        assert found.drift.evidence == drift.evidence
        assert [node.node for node in found.nodes] == list(policy.nodes or ())[1:]  # nobody asks the context

    def test_an_alarm_and_where(self, tmp_path: Path) -> None:
        """The first 300 requests are as they were, then come those that the first node is least sure of."""
        late = POOL[2000:]
        harder = late[np.argsort(late.signals[:, 0])[:400]]
        path, drift = tmp_path / "log.jsonl", Drift(POLICY, POOL[1000:2000])
        serve(path, POLICY, late[:300], drift)
        serve(path, POLICY, harder, drift)
        watch = report(path, POLICY, POOL[1000:2000]).drift
        assert watch is not None
        assert watch.alarm in ("cost", "promise")
        assert watch.alarm_at is not None
        assert 300 < watch.alarm_at < 700
        assert max(watch.history[watch.alarm]) >= 1

    def test_other_policies_and_reasons_are_passed_over(self, tmp_path: Path) -> None:
        path, drift = tmp_path / "log.jsonl", Drift(POLICY, POOL[1000:2000])
        serve(path, ttamer.solve(ttamer.fit(POOL[:1000], 8), 0.5), POOL[2000:2010], Drift(POLICY, POOL[1000:2000]))
        serve(path, POLICY, POOL[2000:2020], drift)
        with Log(path) as log:
            flight = Dispatcher(POLICY).enter()
            flight.cancel()
            log.write(flight)
        watch = report(path, POLICY, POOL[1000:2000]).drift
        assert watch is not None
        assert (watch.requests, watch.evidence) == (20, drift.evidence)

    def test_logits_are_not_in_a_log(self, tmp_path: Path) -> None:
        traces = independent(60)
        policy = ttamer.solve(posterior(traces), 0.9)
        digest = Dispatcher(policy).enter().record()["policy"]
        found = report(written(tmp_path / "log.jsonl", line(visit(0, 1.0), policy=digest)), policy, traces)
        assert found.drift is None
        assert found.drift_needs is not None
        assert "Of logits logs keep only the largest" in found.drift_needs


def test_a_line_that_was_cut_off_is_left_out_and_said(tmp_path: Path) -> None:
    path = written(tmp_path / "log.jsonl", line(visit("a", 1.0)))
    path.write_text(path.read_text() + '{"policy": "p')
    found = report(path)
    assert found.requests == 1
    assert found.cut == (f"{path}: line 2 was cut off and is left out",)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "expected at least one request, got none"),
        ([{"request": "a", "losses": {}}], "expected at least one request, got none"),
        ([{"visits": [{"node": 0}]}], "line 1: expected a record that ttamer.serve.Log wrote, got one without policy,"),
        ([3], 'line 1: expected {"visits": [...]}, or {"request": ..., "losses": {...}}'),
        ([line(visit("a")), line(visit("a"), unit="ms")], "line 2: unit: expected costs in 'ct' as before, got 'ms';"),
        ([line() | {"visits": [{"nod": 1}]}], 'line 1: visit 0: expected {"node": ...}'),
        ([line(visit(0.5))], "line 1: answer_node: expected an int, got float"),
        ([line(visit("a\x1b", error="E"))], "line 1: visit 0: node: expected characters that can be shown, got"),
        ([line(visit("a"), cost=-1)], "line 1: cost: expected a finite number >= 0, got -1"),
        ([line(visit("a"), cost="1")], "line 1: cost: expected a number, got str"),
        ([line(visit("a", {"ms": 1}), cost=1)], "line 1: visit 0: cost: expected ct, got ['ms']"),
        ([line(visit("a"), losses=[1])], "line 1: losses: expected a loss by node, got list"),
        (
            [line(visit("a")), {"request": "b", "losses": {"a": 1}}],
            "line 2: request: expected losses of requests that were logged, got 'b'",
        ),
    ],
)
def test_refusals(lines: list[Any], message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "log.jsonl", *lines)
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}: {message}')}"):
        report(path)


def test_a_log_of_something_else(tmp_path: Path) -> None:
    digest = Dispatcher(POLICY).enter().record()["policy"]
    path = written(tmp_path / "log.jsonl", line(visit("a", 1.0)))
    with pytest.raises(ValueError, match=rf"policy: expected one that decided requests, p0, got {digest}$"):
        report(path, POLICY)
    path = written(tmp_path / "log.jsonl", line(visit("a", 1.0, signal=0.5), policy=digest))
    message = r"^request 1: node: expected one of small, middle, large, got 'a'$"
    with pytest.raises(ValueError, match=message):
        report(path, POLICY, POOL[1000:2000])
    path = written(tmp_path / "log.jsonl", line(policy=digest))
    with pytest.raises(ValueError, match=r"^request 1: expected one that the policy stopped, got Flight\(at node sm"):
        report(path, POLICY, POOL[1000:2000])
    with pytest.raises(ValueError, match=r"^traces: "):
        report(path, POLICY, random_traces(Topology.line(2), 50, 0))
    with pytest.raises(TypeError, match=r"^policy: expected a Policy, got str$"):
        report(path, "policy")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^path: expected at least one file, got none$"):
        report([])
