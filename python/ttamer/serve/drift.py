"""Alarms for traffic that has changed: from what requests look like, and from what their answers lost."""

from __future__ import annotations

import math
import random
from threading import Lock

import numpy as np

from ttamer._base import checks
from ttamer._base.types import ROOT, STOP, Floats
from ttamer._core import start
from ttamer.policy import Policy
from ttamer.serve.flight import Flight
from ttamer.serve.plan import Plan
from ttamer.traces import Traces

POWERS = (0.3, 0.5, 0.8)
"""Bets on small p-values are k p^(k - 1), and the same of 1 - p."""
STAKES = (0.15, 0.3, 0.6)
"""Bets on losses, as shares of the largest one that cannot go below 0."""
SMALLEST = 1e-12
"""A p-value counts as at least this."""
LEAST_SHARE = 1e-4
"""Of requests in the stability index: none at all would make it infinite."""


class Drift:
    """Watches requests under one policy for a change.

    Two tests look at what every request costs and promises, without labels; a third one looks at labelled losses. All
    may be looked at after every request: in traffic like that of the reference there is at most one false alarm in
    ``1 / false_alarms`` requests on average.

    Flights of other policies, such as other tiers and weights, and those that entered before a swap, are passed over.
    Methods may be called from any thread.

    Parameters
    ----------
    policy : Policy
    reference : Traces
        Requests as they should be, complete and not those that the policy was fitted on: estimates of these are a
        little too sure. They are replayed.
    false_alarms : float
        Most false alarms a request, of all tests together.
    seed : int
        Of the order in which equal requests are ranked.

    Attributes
    ----------
    policy : Policy
        Whose requests are watched.
    digest : str
        Of that policy, as `Flight.digest` and "policy" in a log: labels have to be of its requests.
    seen, labels : int
        Requests and losses since the start.
    passed_over : int
        Flights of other policies since the start.

    Raises
    ------
    ValueError
        If the rate is not in (0, 1), or the policy does not fit the traces.

    Notes
    -----
    Each request gets two p-values, the ranks of its cost and of its answer's expected loss among those of the reference
    and of all requests so far. While requests are exchangeable these are independent and uniform (Vovk, Nouretdinov,
    Gammerman, *Testing Exchangeability On-Line*, 2003), and any bet on them is fair: f(p) with a mean of 1. Of a bet,
    R <- (R + 1) f(p) has the mean n after n requests, so that it takes 1 / a requests on average to reach 1 / a (the
    Shiryaev-Roberts procedure). A loss is bet on by 1 + s (loss - m), where m is the mean loss of the reference and two
    standard errors: fair as long as the mean is no larger.
    """

    def __init__(self, policy: Policy, reference: Traces, false_alarms: float = 1e-4, seed: int = 0) -> None:
        self._reference = checks.instance("reference", reference, Traces)
        if not 0 < checks.real("false_alarms", false_alarms) < 1:
            raise ValueError(f"false_alarms: expected a rate between 0 and 1, got {false_alarms}")
        self._random = random.Random(checks.whole("seed", seed, least=0))
        self._false_alarms = false_alarms
        self._lock = Lock()
        self.swap(policy)

    def swap(self, policy: Policy, reference: Traces | None = None) -> None:
        """Watch requests under another policy from now on: the reference is replayed anew, and all evidence is gone.

        ``dispatcher.watch(path, on_swap=drift.swap)`` does so whenever the policy is exchanged.

        Parameters
        ----------
        policy : Policy
        reference : Traces, optional
            Requests as they are now, where that is no longer what they were.

        Raises
        ------
        TypeError, ValueError
            If it is no policy, or does not fit the reference; then nothing is changed.
        """
        reference = self._reference if reference is None else checks.instance("reference", reference, Traces)
        replay = checks.instance("policy", policy, Policy).replay(reference)
        costs, promises = walked(policy, reference)
        error = replay.loss.std() / math.sqrt(len(reference))
        nodes, digest = policy.topology.nodes, Plan(policy).digest
        with self._lock:
            self.policy, self.digest, self._reference = policy, digest, reference
            self._tests = {"cost": _Ranks(costs, self._random), "promise": _Ranks(promises, self._random)}
            self._losses = _Losses(float(replay.loss.mean() + 2 * error))
            self._limit = (len(self._tests) + 1) / self._false_alarms
            self._expected = np.bincount(replay.last_node, minlength=nodes) / len(reference)
            self._stops = np.zeros(nodes)
            self.seen = self.labels = self.passed_over = 0

    def saw(self, flight: Flight) -> None:
        """Look at a request that the policy has stopped; others, that stopped otherwise, are passed over."""
        checks.instance("flight", flight, Flight)
        if flight.digest != self.digest:
            with self._lock:
                self.passed_over += 1
        elif flight.reason == "policy":
            last = next(visit.node for visit in reversed(flight.visits) if not visit.shadow)
            self._look(last, flight.expected_cost, flight.expected_loss, flight.digest)

    def look(self, last_node: int, cost: float, promise: float) -> None:
        """The same for requests that were decided in batches.

        Parameters
        ----------
        last_node : int
            That it consulted last.
        cost : float
            What its path costs, each node at its mean where requests have costs of their own.
        promise : float
            Its answer's expected loss, `Batch.answer_loss`.
        """
        self._look(last_node, checks.real("cost", cost), checks.real("promise", promise), None)

    def _look(self, last_node: int, cost: float, promise: float, digest: str | None) -> None:
        scores = {"cost": cost, "promise": promise}
        place = checks.place("last_node", last_node, len(self._stops))
        with self._lock:
            if digest not in (None, self.digest):  # under the lock: a swap may come between
                self.passed_over += 1
                return
            self._stops[place] += 1
            for name, score in scores.items():
                self._tests[name].add(score)
            self._losses.wait()
            self.seen += 1

    def labelled(self, loss: float) -> None:
        """A loss that became known, of a request taken at random among those that the policy stopped."""
        value = checks.real("loss", loss)
        if not 0 <= value < math.inf:
            raise ValueError(f"loss: expected a finite number >= 0, got {loss}")
        with self._lock:
            self.labels += 1
            self._losses.add(value)

    @property
    def alarm(self) -> str | None:
        """str or None : what has changed, "cost", "promise" or "loss", where the evidence is beyond the limit."""
        return next((name for name, value in self.evidence.items() if value >= 1), None)

    @property
    def evidence(self) -> dict[str, float]:
        """Dict of str to float : of each test, what it has collected as a share of what an alarm takes."""
        tests = {name: test.statistic / self._limit for name, test in self._tests.items()}
        return {**tests, "loss": self._losses.statistic / self._limit}

    @property
    def psi(self) -> float:
        """float : population stability index of the nodes at which requests stop, against the reference.

        The sum of (p - q) log(p / q) over nodes, p the share of requests seen and q that of the reference. A rule of
        thumb calls 0.1 a small change and 0.25 a large one; it is no test.
        """
        shares = np.maximum(self._stops / max(self.seen, 1), LEAST_SHARE)
        expected = np.maximum(self._expected, LEAST_SHARE)
        return float(((shares - expected) * np.log(shares / expected)).sum()) if self.seen else 0.0

    def reset(self) -> None:
        """Begin anew, as after an alarm that was looked into; the reference stays."""
        with self._lock:
            for test in self._tests.values():
                test.reset()
            self._losses.reset()
            self._stops[:] = 0
            self.seen = self.labels = self.passed_over = 0

    def __repr__(self) -> str:
        others = f", {self.passed_over} of other policies" if self.passed_over else ""
        return f"Drift({self.seen} requests, {self.labels} labels{others}, alarm {self.alarm}, psi {self.psi:.3f})"


class _Ranks:
    """Bets on the rank of each score among the reference's and all before it."""

    def __init__(self, reference: Floats, draws: random.Random) -> None:
        self._levels, counts = np.unique(reference, return_counts=True)
        self._counts = counts.astype(np.float64)
        self._draws = draws
        self._start = self._levels, self._counts.copy()
        self._sums = [0.0] * (2 * len(POWERS))

    @property
    def statistic(self) -> float:
        return sum(self._sums) / len(self._sums)

    def add(self, score: float) -> None:
        place = int(np.searchsorted(self._levels, score))
        if place == len(self._levels) or self._levels[place] != score:
            self._levels = np.insert(self._levels, place, score)
            self._counts = np.insert(self._counts, place, 0.0)
        self._counts[place] += 1
        above = float(self._counts[place + 1 :].sum())
        p = (above + self._draws.random() * self._counts[place]) / self._counts.sum()
        for k, power in enumerate(POWERS):
            for side, value in enumerate((p, 1 - p)):
                bet = power * max(value, SMALLEST) ** (power - 1)
                self._sums[2 * k + side] = (self._sums[2 * k + side] + 1) * bet

    def reset(self) -> None:
        self._levels, self._counts = self._start[0], self._start[1].copy()
        self._sums = [0.0] * len(self._sums)


class _Losses:
    """Bets that losses are larger than promised."""

    def __init__(self, promise: float) -> None:
        self._promise = promise
        self._sums = [0.0] * len(STAKES)
        self._waiting = 0  # requests since the last loss

    @property
    def statistic(self) -> float:
        return sum(self._sums) / len(self._sums)

    def wait(self) -> None:
        """A request, whose loss may never be known: a change could begin here."""
        self._waiting += 1

    def add(self, loss: float) -> None:
        for k, stake in enumerate(STAKES):
            # Without a promised loss any loss is more; the stake is then what losses of 1 would double it by.
            bet = 1 + stake * (loss / self._promise - 1) if self._promise > 0 else 1 + stake * loss
            self._sums[k] = (self._sums[k] + max(self._waiting, 1)) * bet
        self._waiting = 0

    def reset(self) -> None:
        self._sums, self._waiting = [0.0] * len(STAKES), 0


def walked(policy: Policy, traces: Traces) -> tuple[Floats, Floats]:
    """Cost of each request's path, each edge at its mean, and its answer's expected loss, (N,) both."""
    count = len(traces)
    if policy.estimator is None:
        signals = traces._read_as(policy.signal, policy.categories).signals
    else:
        signals = policy.estimator.estimate_traces(traces).signals
    costs = {tuple(edge): cost for edge, cost in zip(policy.steps.edges.tolist(), policy.costs.tolist(), strict=True)}
    batch = start(policy._core, count, "failed", "", "")
    rows = np.arange(count)
    step, before = np.full(count, policy._core.first_node, np.int32), np.full(count, ROOT)
    paid = np.zeros(count)
    anywhere = {j: cost for (_, j), cost in costs.items()} if policy.steps.kind == "forest" else {}
    while len(rows):
        pairs = zip(before.tolist(), step.tolist(), strict=True)
        paid[rows] += [anywhere[j] if anywhere else costs[i, j] for i, j in pairs]
        following = batch.decide(step, np.ascontiguousarray(signals[rows, step]), rows).copy()
        goes = following != STOP
        rows, before, step = rows[goes], step[goes], following[goes]
    return paid, batch.answer_loss
