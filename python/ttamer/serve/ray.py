"""A cascade on Ray Serve: a deployment a node, and one in front of them that runs the policy."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

try:
    from ray import serve
    from ray.exceptions import RayTaskError
    from ray.serve import Application
    from ray.serve import metrics as ray_metrics
    from ray.serve.handle import DeploymentHandle
    from starlette.requests import Request
    from starlette.responses import JSONResponse
except ImportError:
    raise ImportError('ttamer.serve.ray needs Ray Serve: pip install "ttamer[ray]"') from None

from ttamer._base import checks
from ttamer.policy import Front, Policy
from ttamer.serve.cascade import Cascade, Node, Outcome
from ttamer.serve.dispatcher import DEFAULT, Dispatcher
from ttamer.serve.drift import Drift
from ttamer.serve.flight import Flight
from ttamer.serve.log import Log, finite
from ttamer.serve.metrics import Counts
from ttamer.serve.visits import AllFailed

Source = Policy | Front | str | os.PathLike[str]
"""A policy, or a file of one."""


class Reply(NamedTuple):
    """What the application returns: the answer, and the flight's record, `Flight.record`."""

    answer: Any
    record: dict[str, Any]


def app(
    nodes: Mapping[str, Application | DeploymentHandle[Any]],
    policy: Source | Mapping[str, Source],
    *,
    tradeoff: float | None = None,
    seconds: Mapping[str | int, float] | None = None,
    timeouts: Mapping[str, float] | None = None,
    shadow: float = 0.0,
    log: str | os.PathLike[str] | None = None,
    answers: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Application:
    """An application for `serve.run`, whose handle takes what `Cascade` takes and returns a `Reply`.

    Parameters
    ----------
    nodes : mapping of str to Application or DeploymentHandle
        By name of node, a deployment of your own, bound; or a handle of one that runs in another application. Its
        ``__call__`` takes the payload and returns an `Outcome`, or a tuple of the same order.
    policy : Policy, Front, path, or mapping of str to Policy or path
        As for `Dispatcher`, or files, which are read here.
    tradeoff : float, optional
        Of a front. With it files are fronts, without it policies.
    seconds : mapping of str or int to float, optional
        What each node is expected to take, as for `Dispatcher`.
    timeouts : mapping of str to float, optional
        Seconds after which a node counts as failed, the wait for a replica included.
    shadow : float
        Share of requests that are shown to all nodes, as for `Cascade`.
    log : str or os.PathLike, optional
        A file that each replica of the cascade appends records to, on the machine it runs on.
    answers : bool
        Whether the log keeps what nodes answered.
    options : mapping of str to value, optional
        Of the deployment that runs the cascade, as for `Deployment.options`: replicas, autoscaling, resources.

    Returns
    -------
    Application

    Raises
    ------
    TypeError, ValueError, IndexError
        If the policy cannot be read, a node of it is missing or one is unknown, or an argument is out of range: before
        anything is deployed.

    Notes
    -----
    Another policy comes by the deployment's ``user_config``: a mapping of "policy", a path or a path a tier, and
    "tradeoff", by default those stated here. Flights under way keep theirs.
    """
    for name, node in nodes.items():
        if not isinstance(node, Application | DeploymentHandle):
            hint = ": bind it" if isinstance(node, serve.Deployment) else ""
            raise TypeError(
                f"nodes[{name!r}]: expected a bound deployment or a handle, got {type(node).__name__}{hint}"
            )
    choice = _Choice(_read(policy, tradeoff), tradeoff)
    loop = {"seconds": seconds, "timeouts": timeouts, "shadow": shadow}
    _cascade(dict.fromkeys(nodes, _nobody), choice, **loop)  # refuses what does not fit
    records = None if log is None else (checks.path("log", log), checks.flag("answers", answers))
    # Ray's 5 requests at a time are for deployments that compute; this one waits.
    deployment = serve.deployment(name="Cascade", max_ongoing_requests=1000, user_config={})(Ingress)
    return deployment.options(**(options or {})).bind(dict(nodes), choice, loop, records)


def node(handle: DeploymentHandle[Any]) -> Node:
    """A node of `Cascade` that asks a deployment, for deployments that run a cascade of their own.

    What the deployment raised is the failure, and one that is not waited for any longer is cancelled.
    """

    async def call(payload: object, flight: Flight) -> Outcome:
        response: Any = handle.remote(payload)
        try:
            outcome = await response
        except asyncio.CancelledError:
            response.cancel()
            raise
        except RayTaskError as error:
            raise (error.cause or error) from None
        return Outcome(*outcome) if isinstance(outcome, tuple) else outcome

    return call


class Ingress:
    """What `app` deploys in front of the nodes."""

    def __init__(
        self,
        handles: Mapping[str, DeploymentHandle[Any]],
        choice: _Choice,
        loop: Mapping[str, Any],
        records: tuple[str, bool] | None,
    ) -> None:
        log = None if records is None else Log(*records)
        self._choice = choice
        calls = {name: node(handle) for name, handle in handles.items()}
        self._cascade = _cascade(calls, choice, **loop, log=log, metrics=Metrics())

    def reconfigure(self, config: Mapping[str, Any]) -> None:
        """What Ray Serve calls with ``user_config``; one that is refused is logged, and the policy stays."""
        try:
            self.swap(config)
        except Exception:
            # Ray would stop a replica that raises, and start others, which raise as well.
            logging.getLogger("ray.serve").exception("user_config is refused, the policy stays as it was")

    def swap(self, config: Mapping[str, Any]) -> None:
        """Let one replica decide by another policy, until it is configured again or restarted.

        Raises
        ------
        OSError, TypeError, ValueError
            If the policy cannot be read or does not fit; then nothing is changed.
        """
        if not isinstance(config, Mapping):
            raise TypeError(f"user_config: expected a mapping, got {type(config).__name__}")
        unknown = sorted(config.keys() - {"policy", "tradeoff"})
        if unknown:
            raise ValueError(f"user_config: expected policy and tradeoff, got {checks.quoted(', '.join(unknown))}")
        tradeoff = config.get("tradeoff", self._choice.tradeoff)
        policy = _read(config["policy"], tradeoff) if "policy" in config else self._choice.policy
        self._cascade.dispatcher.swap(policy, tradeoff=tradeoff)

    async def __call__(
        self,
        payload: Any,
        *,
        tier: str = DEFAULT,
        weight: float = 1.0,
        deadline: float | None = None,
        context: Mapping[str, Any] | None = None,
        request: str | None = None,
    ) -> Any:
        """Answer a request, by `Cascade`; or one by HTTP, whose JSON is an object of these arguments.

        Raises
        ------
        AllFailed
            If no node answered.
        """
        if isinstance(payload, Request):
            return await self._over_http(payload)
        flight = await self._cascade(
            payload, tier=tier, weight=weight, deadline=deadline, context=context, request=request
        )
        return Reply(flight.answer, flight.record())

    async def _over_http(self, request: Request) -> JSONResponse:
        try:
            reply = await self(**await request.json())
        except AllFailed as error:
            return JSONResponse({"error": str(error)}, 502)
        except (TypeError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"answer": reply.answer, "record": finite(reply.record)})


class Metrics(Counts):
    """Counts flights as `ttamer.serve.Metrics` does, by Ray's metrics: their names begin with ``ray_``.

    Ray Serve adds which application, deployment and replica counted.

    Parameters
    ----------
    drift : Drift, optional
        Shown the same flights; its evidence is then a metric, too.
    """

    def __init__(self, drift: Drift | None = None) -> None:
        super().__init__(_Library, drift)


class _Metric:
    """One of Ray's, called as those of prometheus-client are."""

    def __init__(self, metric: Any, names: Sequence[str], tags: Mapping[str, str]) -> None:
        self._metric, self._names, self._tags = metric, names, tags

    def labels(self, *values: str) -> _Metric:
        return _Metric(self._metric, (), dict(zip(self._names, values, strict=True)))

    def inc(self, value: float = 1.0) -> None:
        if value > 0:  # Ray refuses to add nothing
            self._metric.inc(float(value), dict(self._tags))

    def observe(self, value: float) -> None:
        self._metric.observe(float(value), dict(self._tags))

    def set(self, value: float) -> None:
        self._metric.set(float(value), dict(self._tags))


class _Library:
    """Makes Ray's metrics as prometheus-client makes its own."""

    @staticmethod
    def Counter(name: str, text: str, labels: Any = ()) -> _Metric:
        return _Metric(ray_metrics.Counter(name, text, tuple(labels)), labels, {})

    @staticmethod
    def Gauge(name: str, text: str, labels: Any = ()) -> _Metric:
        return _Metric(ray_metrics.Gauge(name, text, tuple(labels)), labels, {})

    @staticmethod
    def Histogram(name: str, text: str, labels: Any, buckets: Sequence[float]) -> _Metric:
        return _Metric(ray_metrics.Histogram(name, text, list(buckets), tuple(labels)), labels, {})


class _Choice(NamedTuple):
    """What a dispatcher decides by."""

    policy: Policy | Front | dict[str, Policy]
    tradeoff: float | None


def _read(policy: object, tradeoff: float | None) -> Any:
    """Policies, with files read."""
    if isinstance(policy, Mapping):
        return {tier: _read(each, None) for tier, each in policy.items()}
    if isinstance(policy, str | os.PathLike):
        return Policy.load(policy) if tradeoff is None else Front.load(policy)
    return policy


def _cascade(calls: Mapping[str, Node], choice: _Choice, *, seconds: Any, **options: Any) -> Cascade:
    return Cascade(calls, Dispatcher(choice.policy, tradeoff=choice.tradeoff, seconds=seconds), **options)


async def _nobody(payload: object, flight: Flight) -> Outcome:
    """Stands for nodes while arguments are checked: nobody asks it."""
    raise AssertionError("asked before anything is deployed")
