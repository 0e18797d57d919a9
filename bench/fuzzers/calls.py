"""Calls of everything public with arguments that no caller should give."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import ttamer
from fuzzers.files import with_extremes
from fuzzers.runner import Case, Fuzzer
from ttamer import baselines, compare, plots, serve, tuning
from ttamer._core import logit_signals
from ttamer.model.estimators import Estimator
from ttamer.model.failing import failing
from ttamer.traces import signals

NUMBERS = [0, 1, -1, 2, 5, 2**31, 2**32, 2**40, 2**63, 2**64, 10**400, -(10**400), 10**5000]
FLOATS = [0.5, -0.5, float("nan"), float("inf"), -float("inf"), 1e308, 5e-324, 1e-300]


class OwnError(Exception):
    """What hostile arguments raise: it has to come through as it is."""


class Raises:
    """An object each of whose conversions raises."""

    def _raise(self, *args: object, **options: object) -> Any:
        raise OwnError("from an argument")

    __index__ = __int__ = __float__ = __len__ = __iter__ = __getitem__ = __fspath__ = __array__ = __bool__ = _raise
    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = _raise  # type: ignore[assignment]
    __hash__ = object.__hash__


class Lies(Raises):
    """An object whose conversions return what they should not."""

    def __index__(self) -> Any:
        return "1"

    def __float__(self) -> Any:
        return "1"

    def __array__(self, *args: object, **options: object) -> Any:
        return [1, 2]

    def __len__(self) -> Any:
        return -1

    def __fspath__(self) -> Any:
        return 1

    def __eq__(self, other: object) -> Any:
        return np.ones(3, bool)

    __hash__ = object.__hash__


class Call(NamedTuple):
    """Something public, and arguments that it takes."""

    name: str
    function: Callable[..., object]
    arguments: dict[str, Any]


def start() -> Callable[[np.random.Generator], Case]:
    folder = tempfile.TemporaryDirectory(prefix="ttamer-fuzz-")
    os.chdir(folder.name)  # a path that is a hostile text is a file here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calls = [*_calls(Path(folder.name)), *_serving(Path(folder.name))]
        for call in calls:  # a case tells only something if the arguments that it leaves are right
            call.function(**call.arguments)
    own = {id(value): value for call in calls for value in call.arguments.values()}

    def make(rng: np.random.Generator) -> Case:
        call = calls[rng.integers(len(calls))]
        arguments = dict(call.arguments)
        pool = [*_hostile(), *own.values()]
        for name in rng.choice(list(arguments), size=min(len(arguments), int(rng.integers(1, 3))), replace=False):
            near = _near(rng, call.arguments[str(name)])
            arguments[str(name)] = pool[rng.integers(len(pool))] if near is None else near
        if rng.random() < 0.05:  # one argument too few or too many
            arguments["other"] = arguments.pop(str(rng.choice(list(arguments))))
            if rng.random() < 0.5:
                del arguments["other"]
        changed = {name: value for name, value in arguments.items() if value is not call.arguments.get(name, call)}
        text = ", ".join(f"{name}={_shown(value)}" for name, value in changed.items())

        def run() -> object:
            return folder, call.function(**arguments)  # the folder lives as long as the cases

        return Case(f"{call.name}({text})", run)

    return make


def _near(rng: np.random.Generator, value: object) -> Any:
    """Something of the same kind, half of the time and where there is such, that gets past the first checks."""
    if rng.random() < 0.5 or isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return [*NUMBERS, *FLOATS][rng.integers(len(NUMBERS) + len(FLOATS))]
    if isinstance(value, str):
        return str(rng.choice([*signals.SIGNALS, "sets", "posterior", "auto", "last", "platt", "mean", "observed"]))
    if isinstance(value, np.ndarray) or _is_numeric(value):
        array = np.asarray(value)
        changes = [array[:-1], array[..., None], array[::-1].T, array.astype(">f8"), np.concatenate([array, array])]
        changes += [with_extremes(rng, array), with_extremes(rng, array), with_extremes(rng, array.astype(np.float32))]
        return changes[rng.integers(len(changes))]
    return None


def _is_numeric(value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(item, (int, float)) for item in value)


def _shown(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return f"an int of {value.bit_length()} bits"
    if isinstance(value, np.ndarray):
        return f"{value.dtype} array {value.shape}"
    return f"a {type(value).__name__}" if isinstance(value, (Raises, list)) else repr(value)[:80]


def _hostile() -> list[Any]:
    endless: list[Any] = []
    endless.append(endless)
    scalars = [np.float32(0.5), np.float64("nan"), np.int8(-3), np.uint64(2**64 - 1), np.bool_(True), np.str_("a")]
    texts = ["", "a", "auto", "\x1b[31m", "\ud800", "x" * 10_000, "a\0b", "$x^$", b"a", bytearray(b"ab"), Path("a")]
    objects = [None, object(), Raises(), Lies(), int, len, ..., NotImplemented, Fraction(1, 2), Decimal("0.5"), 1j]
    many = [[], [1], [0.5, 0.25], (0, 0), [[1], [2, 3]], endless, {}, {1, 2}, {"a": 1}, range(3), iter([1]), [None]]
    dtypes = ["f8", "f4", "f2", "i4", "i8", "u8", "?", ">f4", ">i4", "c16", "M8[s]", "S2", "U2", "O", "f4,i4"]
    arrays = [np.zeros(2, dtype) for dtype in dtypes]
    shapes = [(), (0,), (1,), (3,), (40, 3), (40, 3, 5), (2, 3), (3, 3), (0, 3), (3, 0), (1, 1, 1, 1)]
    arrays += [np.full(shape, 0.5, np.float32) for shape in shapes] + [np.ones(shape, np.int32) for shape in shapes]
    arrays += [np.full(3, value) for value in (np.nan, np.inf, -1.0, 1e308, 5e-324)]
    arrays += [np.array([2**62, -(2**62), 2**40]), np.zeros((40, 6), np.float32)[:, ::2], np.ma.masked_array([1.0, 2])]
    arrays += [np.full((40, 3), value, np.float32) for value in (np.nan, np.inf, -1.0, 3e38, 1e-45)]
    arrays += [np.full(3, 1e4000, np.longdouble), np.zeros(1, "f8").view(np.recarray)]
    return [*NUMBERS, *FLOATS, True, *scalars, *texts, *objects, *many, *arrays]


def _calls(folder: Path) -> Iterator[Call]:
    rng = np.random.default_rng(1)
    line, forest, dag = ttamer.Topology.line(3), ttamer.Topology.forest([-1, 0, 0]), [(-1, 0), (0, 1), (0, 2)]
    probs, labels = rng.dirichlet(np.ones(5), (40, 3)), rng.integers(0, 5, 40)
    traces = ttamer.Traces.from_probs(probs, labels, [1, 1, 1], line, unit="ms", top=3)
    branches = ttamer.Traces.from_probs(probs, labels, [1, 1, 1], forest, unit="ms", top=3)
    prices: dict[str, float] = {"usd": 1.0, "ms": 0.5}
    several = ttamer.Traces.from_probs(probs, labels, {"usd": [1, 1, 1], "ms": rng.random((40, 3))}, line, top=3)
    evidence = traces.evidence
    assert evidence is not None
    losses = rng.random((40, 3)).astype(np.float32)
    tables = {
        "topology": ttamer.Topology.line(2),
        "losses": [[0.1, 0.6], [0.0, 0.7]],
        "transitions": [[[0.5, 0.5]], [[0.9, 0.1], [0.7, 0.3]]],
        "costs": [1.0, 3.0],
    }
    stated = ttamer.CascadeModel(**tables)
    fitted = ttamer.fit(traces, 4)
    policy = ttamer.solve(fitted, 0.7)
    estimating = ttamer.solve(ttamer.fit(traces, 4, "posterior"), 0.7)
    front = ttamer.frontier(traces, [0.3, 0.6, 0.9], "signal", bins=4)
    replay = policy.replay(traces)
    curves = (
        compare.curve_of_front(front, traces, traces),
        compare.curve_of_settings("threshold", baselines.threshold_curve(traces, points=5), traces, traces),
    )
    values = np.full(4, 0.5, np.float32)
    rows = np.arange(4, dtype=np.int32)
    logits = np.zeros((4, 5), np.float32)
    picture, table, saved = folder / "a.png", folder / "a.safetensors", folder / "a.npz"
    policy.save(table)
    fitted.save(folder / "model")
    traces.save(saved)

    topology = ttamer.Topology
    yield Call("Topology.line", topology.line, {"nodes": 3})
    yield Call("Topology.skip", topology.skip, {"nodes": 3})
    yield Call("Topology.forest", topology.forest, {"parents": [-1, 0]})
    yield Call("Topology.dag", topology.dag, {"nodes": 3, "edges": dag})
    yield Call("Topology.skip_costs", topology.skip_costs, {"segment": [1.0, 2.0], "ramp": [0.1, 0.2]})
    yield Call("Topology.from_parts", topology.from_parts, {"kind": "dag", "nodes": 3, "edges": dag})
    yield Call("Topology.__eq__", lambda other: line == other, {"other": line})
    plain = {"signals": losses, "losses": losses, "costs": [1, 2, 3], "topology": line, "predictions": None}
    more = {"observed": True, "unit": "ms", "labels": labels, "evidence": None, "signal": ""}
    yield Call("Traces", ttamer.Traces, plain | more)
    seen = {"signals": traces.signals, "observed": False, "evidence": evidence, "signal": "max_prob"}
    yield Call("Traces with evidence", ttamer.Traces, plain | more | seen)
    recorded = {"probs": probs, "labels": labels, "costs": [1, 2, 3], "topology": line, "signal": "margin", "top": 3}
    yield Call("Traces.from_probs", ttamer.Traces.from_probs, {**recorded, "unit": "ms"})
    answered = {"losses": losses, "costs": [1, 2, 3], "scores": losses, "answers": labels[:, None].repeat(3, 1)}
    known = {"context": {"subject": ["a", "b", None, ""] * 10, "size": range(40)}, "nodes": None, "unit": "ms"}
    yield Call("Traces.from_models", ttamer.Traces.from_models, {**answered, **known})
    yield Call("Traces.from_models plain", ttamer.Traces.from_models, {**answered, "context": np.arange(40)})
    routed = ttamer.Traces.from_models(**answered, **known)
    yield Call("Traces.with_context", routed.with_context, {"name": "size"})
    yield Call("Traces.__add__", lambda other: routed + other, {"other": routed})
    yield Call("fit routed", ttamer.fit, {"traces": routed, "bins": 3, "like": ttamer.fit(routed, 3)})
    routing = ttamer.solve(ttamer.fit(routed, 3), 0.7)
    yield Call("Policy.codes", routing.codes, {"node": 0, "names": ["a", None]})
    yield Call("Policy.replay routed", routing.replay, {"traces": routed})
    categories = {"signals": np.zeros((40, 3), np.float32), "losses": losses, "costs": [1, 2, 3]}
    yield Call("Traces of categories", ttamer.Traces, {**categories, "categories": {0: ["a", "b"]}})
    (folder / "log.jsonl").write_text('{"visits": [{"node": 0, "signal": 1, "loss": 0.5, "cost": 1}]}\n')
    served = {"path": folder / "log.jsonl", "topology": line, "unit": "ms", "nodes": ["a", "b", "c"]}
    yield Call("Traces.from_log", ttamer.Traces.from_log, served)
    (folder / "table.jsonl").write_text('{"request": 1, "model": "a", "loss": 0, "cost": 1, "size": 2, "took": 3}\n')
    columns = {"columns": {"loss": "loss"}, "ignore": ["took"], "nodes": ["a"]}
    yield Call("Traces.read", ttamer.Traces.read, {"path": folder / "table.jsonl", **columns})
    yield Call("Traces.__getitem__", traces.__getitem__, {"rows": slice(0, 3)})
    yield Call("Traces.path", traces.path, {"nodes": [0, 2], "costs": [1, 2]})
    yield Call("Traces.priced", several.priced, {"prices": prices})
    yield Call("Traces.weighted", traces.weighted, {"weights": rng.random(40)})
    yield Call("Traces in units", ttamer.Traces, plain | {"costs": {"usd": [1, 2, 2], "ms": rng.random((40, 3))}})
    yield Call("Traces.with_signal", traces.with_signal, {"kind": "margin"})
    yield Call("Traces.save", traces.save, {"path": saved})
    yield Call("Traces.load", ttamer.Traces.load, {"path": saved})
    held = {"log_probs": evidence.log_probs, "classes": evidence.classes, "class_count": 5}
    yield Call("Evidence", ttamer.Evidence, held)
    yield Call("signals_from_evidence", signals.signals_from_evidence, {"evidence": evidence, "kind": "margin"})
    yield Call("signals_from_probs", signals.signals_from_probs, {"probs": probs, "kind": "entropy"})
    options = {"bin_edges": [[0.5], [0.5]], "cost_scale": 4.0, "observed": True, "unit": "ms", "signal": ""}
    yield Call("CascadeModel", ttamer.CascadeModel, tables | options)
    router = {"losses": [[np.inf] * 2, [0.1, 0.7]], "costs": [0.0, [1.0, 2.0]]}
    yield Call("CascadeModel of probes", ttamer.CascadeModel, {**tables, **router})
    yield Call("CascadeModel.__add__", lambda other: fitted + other, {"other": fitted})
    yield Call("CascadeModel.save", stated.save, {"path": table})
    yield Call("CascadeModel.load", ttamer.CascadeModel.load, {"path": folder / "model"})
    made = {"kind": "signal", "topology": line, "order": None, "class_count": 5, "top": 3}
    yield Call("Estimator", Estimator, {**made, "coefficients": np.zeros(6)})
    yield Call("Estimator.estimate", estimating.estimator.estimate, {"evidence": evidence})  # type: ignore[union-attr]
    settings = {"bins": 4, "estimate": "signal", "order": None, "like": None, "smoothing": "auto"}
    strengths = {"loss_strength": 1.0, "transition_strength": 1.0, "seed": 0, "progress": None}
    yield Call("fit", ttamer.fit, {"traces": traces, **settings, **strengths})
    yield Call("fit posterior", ttamer.fit, {"traces": traces, **settings, "estimate": "posterior", "seed": 0})
    yield Call("fit like", ttamer.fit, {"traces": traces, "like": fitted})
    yield Call("fit forest", ttamer.fit, {"traces": branches, "bins": 4, "estimate": "posterior", "order": [0, 2]})
    yield Call("solve", ttamer.solve, {"model": stated, "tradeoff": 0.5, "recall": "none", "aggregate": None})
    worth = {"prices": prices, "error_price": 3.0, "recall": "auto"}
    yield Call("solve at prices", ttamer.solve, {"model": ttamer.fit(several, 4), **worth})
    yield Call("CascadeModel.__sub__", lambda shard: fitted - shard, {"shard": ttamer.fit(traces[:10], like=fitted)})
    yield Call("solve fitted", ttamer.solve, {"model": fitted, "tradeoff": 0.5, "aggregate": 2})
    yield Call("price_of_no_recall", ttamer.price_of_no_recall, {"model": stated, "tradeoff": 0.5})
    yield Call("evaluate", ttamer.evaluate, {"policy": policy, "traces": traces})
    sweep = {"tradeoffs": [0.4, 0.8], "estimate": "signal", "bins": 4, "order": None, "model": None, "seed": 0}
    yield Call("frontier", ttamer.frontier, {"traces": traces, **sweep, "progress": None})
    limits = {"max_error": 0.99, "max_cost": None, "max_cost_quantile": (0.5, 3.0), "relative_to": "labels"}
    trial = {"confidence": 0.9, "estimate": "signal", "bins": 4, "tradeoffs": [0.5], "held_back": 0.5, "max_loss": 1.0}
    yield Call("tune", ttamer.tune, {"traces": traces, **limits, **trial, "seed": 0})
    bounds = {"max_cost": {"usd": 2.9, "ms": 2.0}, "max_cost_of_a_request": {"ms": 3.0}, "prices": prices}
    yield Call("tune in units", ttamer.tune, {"traces": several, **bounds, "estimate": "signal", "confidence": 0.1})
    yield Call("certify", tuning.certify, {"traces": traces, **limits, **trial, "seed": 0})
    yield Call("relative_to_last", tuning.relative_to_last, {"traces": traces})
    for name, each in (("Policy", policy), ("Policy that estimates", estimating)):
        yield Call(f"{name}.start", each.start, {"capacity": 4, "nan": "error"})
        yield Call(f"{name}.replay", each.replay, {"traces": traces})
        for method in (each.losses, each.bin_edges, each.actions):
            yield Call(f"{name}.{method.__name__}", method, {"node": 1})
        yield Call(f"{name}.__eq__", lambda other, each=each: each == other, {"other": each})
    indexed = ttamer.solve(stated, 0.7)
    yield Call("Policy.index", indexed.index, {"node": 1})
    yield Call("Policy.save", policy.save, {"path": table})
    yield Call("Policy.load", ttamer.Policy.load, {"path": table})
    decides = {"node": 0, "signals": values, "rows": rows}
    yield Call("Batch.decide", lambda **given: policy.start(4).decide(**given), decides)
    yield Call("Batch.decide nodes", lambda **given: policy.start(4).decide(**given), {**decides, "node": rows * 0})
    reads = {"node": 0, "logits": logits, "rows": rows}
    yield Call("Batch.decide_logits", lambda **given: policy.start(4).decide_logits(**given), reads)
    yield Call("Batch.decide_logits estimating", lambda **given: estimating.start(4).decide_logits(**given), reads)
    yield Call("Batch.reset", lambda rows: policy.start(4).reset(rows), {"rows": rows})
    yield Call("logit_signals", logit_signals, {"logits": logits, "kind": "margin"})
    yield Call("Front", ttamer.Front, {"points": list(front), "unit": "ms", "model": fitted})
    yield Call("Front.cheapest", front.cheapest, {"max_error": 1.0})
    yield Call("Front.best", front.best, {"max_cost": 3.0})
    mixed = front.mix(3.0)
    yield Call("Front.mix", front.mix, {"max_cost": 3.0})
    yield Call("Front.__getitem__", front.__getitem__, {"item": 0})
    yield Call("Mixture.choose", mixed.choose, {"count": 3, "rng": np.random.default_rng(0)})
    yield Call("Mixture.replay", mixed.replay, {"traces": traces, "seed": 0})
    yield Call("fixed_node", baselines.fixed_node, {"traces": traces, "node": 1})
    yield Call("last_node", baselines.last_node, {"traces": traces})
    yield Call("node_thresholds", baselines.node_thresholds, {"traces": traces, "values": [0.5, 0.5]})
    yield Call("patience", baselines.patience, {"traces": traces, "k": 1})
    yield Call("patience_curve", baselines.patience_curve, {"traces": traces, "most": 2})
    yield Call("prophet", baselines.prophet, {"traces": traces, "tradeoff": 0.5})
    yield Call("search_thresholds", baselines.search_thresholds, {"traces": traces, "levels": 2, "points": 5})
    yield Call("threshold", baselines.threshold, {"traces": traces, "value": 0.5, "signal": "margin"})
    yield Call("threshold_curve", baselines.threshold_curve, {"traces": traces, "signal": "margin", "points": 5})
    yield Call("tune_thresholds", baselines.tune_thresholds, {"traces": traces, "points": 5})
    arms = {"calibration": traces, "test": traces}
    yield Call("curve_of_front", compare.curve_of_front, {"front": front, **arms, "name": "ttamer"})
    settings_of = {"name": "threshold", "settings": baselines.threshold_curve(traces, points=5)}
    yield Call("curve_of_settings", compare.curve_of_settings, {**settings_of, **arms})
    replays = {"name": "a", "setting": "b", "calibration": replay, "test": replay, "unit": "ms"}
    yield Call("curve_of_replays", compare.curve_of_replays, replays)
    yield Call("cost_at_error", compare.cost_at_error, {"curve": curves[0], "level": 0.9})
    yield Call("error_at_cost", compare.error_at_cost, {"curve": curves[0], "budget": 3.0})
    draws = {"seed": 0, "resamples": 9}
    yield Call("matched_levels", compare.matched_levels, {"curves": curves, "margins": (0.0,), **draws})
    yield Call("mean_errors", compare.mean_errors, {"curves": curves, "budgets": [3.0], **draws})
    yield Call("resample", compare.resample, {"rows": 5, "resamples": 3, "seed": 0})
    weights = compare.resample(40, 3, 0)
    yield Call("resampled_costs", compare.resampled_costs, {"curve": curves[0], "levels": [0.9], "weights": weights})
    yield Call("resampled_errors", compare.resampled_errors, {"curve": curves[0], "budgets": [3.0], "weights": weights})
    gaps = {"ours": 1.0, "theirs": 2.0, "our_resamples": np.ones(3), "their_resamples": np.ones(3), "coverage": 0.9}
    yield Call("difference", compare.difference, gaps)
    means = {f"{part}_{what}": np.full((1, 4), 0.5) for part in ("calibration", "test") for what in ("cost", "loss")}
    yield Call("Curve", compare.Curve, {"name": "a", "settings": ("b",), **means, "unit": "ms"})
    yield Call("Trial", tuning.Trial, {"front": front, "fit_part": traces, "test_part": traces})
    yield Call("plots.exits", plots.exits, {"outcome": {"a": replay}, "path": picture, "title": "a"})
    yield Call("plots.front", plots.front, {"curves": curves, "path": None, "title": "a", "coverage": None, "seed": 0})
    yield Call("plots.index", plots.index, {"policy": policy, "path": None, "title": "a"})
    yield Call("plots.reliability", plots.reliability, {"traces": traces, "path": None, "bins": 5, "title": "a"})
    yield Call("plots.topology", plots.topology, {"shape": policy, "path": None, "title": "a"})


def _serving(folder: Path) -> Iterator[Call]:
    """Calls of the room that serves, each on a flight or dispatcher of its own."""
    rng = np.random.default_rng(1)
    losses = (rng.random((200, 3)) < 0.4).astype(np.float32)
    line = ttamer.Traces(rng.random((200, 3)).astype(np.float32), losses, [1, 1, 1], unit="ms")
    context = {"size": rng.random(200)}
    models = ttamer.Traces.from_models(
        losses, [1, 2, 3], scores=rng.random((200, 3)), answers=rng.integers(0, 3, (200, 3)), context=context
    )
    model, sets = ttamer.fit(line, 4), ttamer.fit(models, estimate="sets")
    policy, several = ttamer.solve(model, 0.9), ttamer.solve(sets, 0.9)
    front, hasty = ttamer.frontier(line, [0.3, 0.6, 0.9], "signal", bins=4), ttamer.solve(model, 1e-9)
    dispatcher, asking = serve.Dispatcher(policy, model=model), serve.Dispatcher(several, model=sets)

    def stopped() -> serve.Flight:
        flight = serve.Dispatcher(hasty).enter()
        flight.consulted("a", 0.5)
        flight.is_shadowed = True
        return flight

    def watching() -> serve.Drift:
        return serve.Drift(policy, line)

    yield Call("Dispatcher", serve.Dispatcher, {"policy": policy, "model": model, "seconds": {0: 1.0}, "signal": None})
    yield Call("Dispatcher of a front", serve.Dispatcher, {"policy": front, "tradeoff": 0.5})
    enters = {"tier": "default", "weight": 1.0, "deadline": 9.0, "context": None, "request": "a"}
    yield Call("enter", dispatcher.enter, enters)
    yield Call("enter a front", serve.Dispatcher(front, tradeoff=0.5).enter, enters)
    yield Call("enter with a context", asking.enter, {"context": {"size": 0.5}})
    yield Call("swap", serve.Dispatcher(policy).swap, {"policy": policy, "tradeoff": None, "model": model})
    for name, method in (("down", serve.Dispatcher(policy).down), ("up", serve.Dispatcher(policy).up)):
        yield Call(name, method, {"node": 1})
    tells = {"answer": "a", "signal": 0.5, "logits": None, "label": None, "cost": 1.0, "node": 0}
    yield Call("consulted", lambda **told: dispatcher.enter().consulted(**told), tells)
    said = {"answer": "a", "signal": 0.5, "label": 1, "cost": {"": 1.0}}
    yield Call("consulted of models", lambda **told: asking.enter(context={"size": 1.0}).consulted(**told), said)
    yield Call("failed", lambda **told: dispatcher.enter().failed(**told), {"error": "no", "cost": 1.0})
    yield Call("resume", lambda node: stopped().resume(node), {"node": 1})
    shadow = {"node": 1, "answer": "a", "signal": 0.5, "logits": None, "label": None, "cost": 1.0, "error": None}
    yield Call("shadowed", lambda **told: stopped().shadowed(**told), shadow)
    yield Call("Drift", serve.Drift, {"policy": policy, "reference": line, "false_alarms": 0.01, "seed": 0})
    yield Call("Drift.saw", lambda flight: watching().saw(flight), {"flight": stopped()})
    yield Call("Drift.look", lambda **seen: watching().look(**seen), {"last_node": 0, "cost": 1.0, "promise": 0.1})
    yield Call("Drift.labelled", lambda loss: watching().labelled(loss), {"loss": 1.0})
    yield Call("refit", serve.refit, {"policy": policy, "traces": line, "logged": line, "newer": 0.6, "seed": 0})
    log = serve.Log(folder / "served.jsonl")
    yield Call("Log", serve.Log, {"path": folder / "other.jsonl", "answers": True})
    yield Call("Log.write", log.write, {"flight": stopped(), "losses": {"0": 1.0}})
    yield Call("Log.losses", log.losses, {"request": "a", "losses": {"0": 1.0}})
    logged = {"path": folder / "log.jsonl", "like": line, "shadowed": False}
    yield Call("Traces.from_log like", ttamer.Traces.from_log, logged)
    front.save(folder / "front")
    yield Call("Front.save", front.save, {"path": folder / "front"})
    yield Call("Front.load", ttamer.Front.load, {"path": folder / "front"})
    yield Call("Front.at", front.at, {"tradeoff": 0.5})
    yield Call("Front.place", front.place, {"price": 0.5})
    yield Call("failing", failing, {"model": model, "nodes": [1]})

    def resumed(**told: Any) -> None:
        batch = hasty.start(4)
        batch.decide(0, np.full(4, 0.5, np.float32))
        batch.resume(**told)

    yield Call("Batch.resume", resumed, {"node": 0, "rows": None})


FUZZER = Fuzzer(start, (ValueError, TypeError, IndexError, OSError, OwnError), memory=1 << 30, longest=21_000)
