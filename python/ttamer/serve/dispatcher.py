"""Lets requests in: which policy decides on each, which nodes are up, and what follows when policies are exchanged."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ttamer._base import checks
from ttamer.model import CascadeModel
from ttamer.policy import Front, Policy
from ttamer.serve.flight import Flight
from ttamer.serve.plan import Plan
from ttamer.serve.watching import Watch

DEFAULT = "default"


class Dispatcher:
    """Decides on requests that come one by one, in any server: asyncio, threads, Ray Serve.

    Does no input or output. `enter` opens a `Flight` for each request, which is told what nodes answered and says which
    one to consult next, exactly as `Policy.replay` would.

    Parameters
    ----------
    policy : Policy, Front or mapping of str to Policy
        A policy; or all trade-offs of a front, of which each request gets the one for its weight; or a policy a tier.
    tradeoff : float, optional
        Of a front: the trade-off of a request of weight 1.
    model : CascadeModel, optional
        That a policy was solved for. With it, or a front that has one, what to do after a failure is optimal on lines.
    seconds : mapping of str or int to float, optional
        What each node is expected to take, by name or number: needed for deadlines.
    signal : str, optional
        The kind of signals that will be told, as for `Policy.start`.

    Raises
    ------
    TypeError, ValueError
        If these are no policies, they are of other nodes, or a trade-off is stated without a front, or lacks.

    Notes
    -----
    All methods may be called from any thread. A flight keeps the policy that it entered with.
    """

    def __init__(
        self,
        policy: Policy | Front | Mapping[str, Policy],
        *,
        tradeoff: float | None = None,
        model: CascadeModel | None = None,
        seconds: Mapping[str | int, float] | None = None,
        signal: str | None = None,
    ) -> None:
        self._signal = signal
        self._down: set[int] = set()
        self._service = _service_of(policy, tradeoff, model, signal)
        if seconds is not None and not isinstance(seconds, Mapping):
            raise TypeError(f"seconds: expected a mapping of nodes to seconds, got {type(seconds).__name__}")
        self._seconds = {
            self.number("seconds", node): _seconds(f"seconds[{node!r}]", each) for node, each in (seconds or {}).items()
        }

    def enter(
        self,
        tier: str = DEFAULT,
        weight: float = 1.0,
        deadline: float | None = None,
        context: Mapping[str, Any] | None = None,
        request: str | None = None,
    ) -> Flight:
        """Open a flight for a request.

        Parameters
        ----------
        tier : str
            Whose policy decides, where there are several; else it need not be named.
        weight : float
            Of a front: how many times as much as on average its costs matter, as ``tokens / mean_tokens``, or more
            while servers are busy. Its policy is the one for costs that weigh so many times as much.
        deadline : float, optional
            Seconds from now. A node that is expected to end after it is not begun while there is an answer.
        context : mapping of str to value, optional
            What is known before anything is consulted, where the policy decides on it.
        request : str, optional
            What the request is called in a log, so that its losses can be added when they are known.

        Raises
        ------
        ValueError
            If there is no such tier (those that there are are named), the weight is not above 0 or there is no front to
            choose from, the deadline is no time, or the context lacks.
        """
        weight = weight if type(weight) is float else checks.real("weight", weight)
        service = self._service
        tier = service.tier(tier)
        plan = service.plan(tier, weight)
        if deadline is not None:
            deadline = _seconds("deadline", deadline)
        if request is not None:
            checks.text("request", request)
        return Flight(plan, tier, weight, deadline, self._seconds, self._down, context, request)

    def swap(
        self,
        policy: Policy | Front | Mapping[str, Policy],
        *,
        tradeoff: float | None = None,
        model: CascadeModel | None = None,
    ) -> None:
        """Let requests that enter from now on be decided by other policies; flights under way keep theirs.

        Parameters are those of the dispatcher. A policy without its model goes by worst states after failures.

        Raises
        ------
        ValueError
            If the policies are of other nodes or costs, or not a front or the same tiers as before; then nothing is
            changed.
        """
        service, own = _service_of(policy, tradeoff, model, self._signal), self._service
        for what, found, expected in (
            ("the nodes", _listed(service.names), _listed(own.names)),
            ("costs in", service.plans[0].policy.unit, own.plans[0].policy.unit),
            ("a front or the tiers", service.form, own.form),
        ):
            if found != expected:
                raise ValueError(f"policy: expected {what} {expected}, got {found}")
        self._service = service

    def watch(
        self,
        path: str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]],
        *,
        every: float = 10.0,
        on_swap: Callable[[Any], object] | None = None,
    ) -> Watch:
        """Exchange policies now, and from now on whenever their file is written again.

        Parameters
        ----------
        path : str, os.PathLike or mapping of str to these
            Of a policy, or a front where one serves: what a loss is worth to a request of weight 1 stays. Of several
            tiers a file each. A policy's file has no model, so that after failures it goes by worst states; a front's
            has.
        every : float
            Seconds between looks, by a thread in the background.
        on_swap : callable, optional
            Called with what was loaded, a Policy, a Front, or a Policy a tier, each time that it serves from then on,
            such as `Drift.swap` where a policy serves; what it raises is logged.

        Returns
        -------
        Watch
            Which `stop` ends, or a ``with`` block. A file that is damaged, or does not fit, changes nothing: the
            policies of before serve on, the error is logged ("ttamer.serve") and stands in `Watch.error`.

        Raises
        ------
        OSError, ValueError
            If the files cannot be used now.
        """
        if _seconds("every", every) == 0:
            raise ValueError("every: expected more than 0 seconds, got 0")
        if isinstance(path, Mapping) and self._service.front is not None:
            raise ValueError(f"path: expected one, as a front serves, got {_listed(tuple(path))}")
        tiers = path if isinstance(path, Mapping) else {DEFAULT: path}
        paths = {tier: checks.path("path", each) for tier, each in tiers.items()}

        def load() -> object:
            loaded: Front | Policy | dict[str, Policy]
            if self._service.front is not None:
                loaded = Front.load(paths[DEFAULT])
                # Trade-offs are stated in scales of costs: what a loss is worth in costs is what stays.
                price = self._service.price * loaded[0].policy.cost_scale / self._service.front[0].policy.cost_scale
                self.swap(loaded, tradeoff=1 / (1 + price))
            elif isinstance(path, Mapping):
                loaded = {tier: Policy.load(each) for tier, each in paths.items()}
                self.swap(loaded)
            else:
                loaded = Policy.load(paths[DEFAULT])
                self.swap(loaded)
            return loaded

        return Watch(tuple(paths.values()), load, every, on_swap)

    def down(self, node: str | int) -> None:
        """Take a node out: flights that would consult it, those under way too, go on as if it had failed."""
        number = self.number("node", node)
        if number in self.context_nodes:
            raise ValueError(f"node: expected one that is asked, got the context, {self.nodes[number]}")
        self._down.add(number)

    def up(self, node: str | int) -> None:
        """Take a node in again."""
        self._down.discard(self.number("node", node))

    def is_down(self, node: str | int) -> bool:
        """Whether a node was taken out."""
        return self.number("node", node) in self._down

    @property
    def nodes(self) -> tuple[str, ...]:
        """Tuple of str : names of the nodes, or their numbers where they have none."""
        return self._service.names

    @property
    def context_nodes(self) -> tuple[int, ...]:
        """Tuple of int : nodes that stand for the context, which `enter` shows: nobody is asked."""
        return (0,) if self._service.plans[0].has_front else ()

    @property
    def policies(self) -> tuple[Policy, ...]:
        """Tuple of Policy : those that requests enter with now."""
        return tuple(plan.policy for plan in self._service.plans)

    def policy_of(self, tier: str = DEFAULT, weight: float = 1.0) -> Policy:
        """The policy that such a request enters with now; errors as of `enter`."""
        service = self._service
        return service.plan(service.tier(tier), checks.real("weight", weight)).policy

    def __repr__(self) -> str:
        down = f", {_listed(tuple(self.nodes[node] for node in sorted(self._down)))} down" if self._down else ""
        return f"Dispatcher({len(self._service.plans)} policies, nodes {_listed(self.nodes)}{down})"

    def number(self, argument: str, node: str | int) -> int:
        """The number of a node that is called by its name or number; `argument` names it in errors."""
        return self._service.plans[0].number(argument, node)


class _Service(NamedTuple):
    """The policies of one moment."""

    tiers: dict[str, Plan]
    front: Front | None
    plans: tuple[Plan, ...]
    price: float

    @property
    def names(self) -> tuple[str, ...]:
        return self.plans[0].names

    @property
    def form(self) -> str:
        return "of a front" if self.front is not None else _listed(tuple(sorted(self.tiers)))

    def tier(self, name: str) -> str:
        """A tier by its name; the only one needs none."""
        return next(iter(self.tiers)) if name == DEFAULT and len(self.tiers) == 1 else name

    def plan(self, tier: str, weight: float) -> Plan:
        """The one that decides on a request."""
        if self.front is None and weight == 1.0 and tier in self.tiers:
            return self.tiers[tier]
        if self.front is not None and tier == DEFAULT:
            if not 0 < weight < math.inf:
                raise ValueError(f"weight: expected a number above 0, got {weight}")
            return self.plans[self.front.place(self.price * weight)]
        if self.front is None and tier in self.tiers:
            raise ValueError(f"weight: expected 1, as there is no front to choose a trade-off from, got {weight}")
        raise ValueError(f"tier: expected {_listed(tuple(self.tiers))}, got {checks.quoted(repr(tier))}")


def _service_of(policy: object, tradeoff: float | None, model: CascadeModel | None, signal: str | None) -> _Service:
    if isinstance(policy, Front):
        if tradeoff is None:
            raise ValueError(
                "tradeoff: expected that of a request of weight 1, as front.best(...).policy.tradeoff, got None"
            )
        if not 0 < checks.number("tradeoff", tradeoff) <= 1:
            raise ValueError(f"tradeoff: expected a number in (0, 1], got {tradeoff}")
        plans = tuple(Plan(point.policy, model or policy.model, signal) for point in policy)
        return _Service({DEFAULT: plans[0]}, policy, plans, (1 - tradeoff) / tradeoff)
    if tradeoff is not None:
        raise ValueError("tradeoff: expected None without a front, of which it is")
    tiers: Mapping[str, Any] = policy if isinstance(policy, Mapping) else {DEFAULT: policy}
    if not tiers:
        raise ValueError("policy: expected at least one tier, got none")
    for tier, each in tiers.items():
        checks.instance(f"policy[{tier!r}]" if isinstance(policy, Mapping) else "policy", each, Policy)
    named = {checks.text("tier", tier): Plan(each, model, signal) for tier, each in tiers.items()}
    plans = tuple(named.values())
    for tier, plan in named.items():
        if plan.names != plans[0].names:
            raise ValueError(
                f"policy[{tier!r}]: expected the nodes {_listed(plans[0].names)}, as the first, "
                f"got {_listed(plan.names)}"
            )
        if plan.policy.unit != plans[0].policy.unit:
            raise ValueError(
                f"policy[{tier!r}]: expected costs in {plans[0].policy.unit!r}, as the first, got {plan.policy.unit!r}"
            )
    return _Service(named, None, plans, 0.0)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names)


def _seconds(name: str, value: object) -> float:
    seconds = checks.real(name, value)
    if seconds < 0:
        raise ValueError(f"{name}: expected seconds >= 0, got {seconds:g}")
    return seconds
