"""Estimating a model from recorded traces."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from ttamer._base import checks
from ttamer._base.progress import reporting
from ttamer._base.threads import one_thread
from ttamer.fitting.budgets import loss_scale
from ttamer.fitting.chains import fit_chains, has_scores
from ttamer.fitting.choosing import Candidate, choose
from ttamer.fitting.crossfit import CrossFit
from ttamer.fitting.posterior import fit_posterior
from ttamer.fitting.sets import check_shown, fit_sets, promising
from ttamer.fitting.signals import AUTO_STRENGTH, fit_like, fit_signals, states_of
from ttamer.model import CascadeModel
from ttamer.model.set_estimators import SET_KINDS
from ttamer.policy import solve
from ttamer.traces import Traces

ESTIMATES = ("auto", "signal", "posterior", *SET_KINDS)
DEFAULT_BINS = 64
FORGOTTEN = 0.1
"""Share of a loss by which it may depend on what is not kept without a warning."""
FAR = 0.25
"""Share of a loss by which promise and replay may differ without a warning."""


def fit(
    traces: Traces,
    bins: int | str | None = None,
    estimate: str = "signal",
    *,
    order: Sequence[int] | None = None,
    like: CascadeModel | None = None,
    smoothing: str = "auto",
    loss_strength: float | None = None,
    transition_strength: float | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> CascadeModel:
    """Estimate a model from recorded traces.

    Signals are cut into quantile bins, one state a bin; at most `bins` different values keep a state each. The loss of
    a state is a logistic curve of the signal or the mean loss in its bin, and the transitions are counts shrunk to the
    node's marginal. T-Tamer (arXiv 2509.22992) leaves the estimation open; `ttamer.reference` has the equations. Where
    the costs of each request were recorded, an edge costs, in each state of the node that it leaves, their mean there,
    shrunk to that of the edge. Of a node whose signal is a category each of the `bins` most frequent ones is a state,
    and all others share one more; their losses are means.

    With ``estimate="posterior"`` the signals are log-odds that an answer is right, estimated from all that was seen of
    a request so far, and the nodes of the model are the steps of a walk: see ``docs/estimates.md``. Of graded losses,
    an answer with half of the largest loss counts as half wrong. ``"sets"`` and ``"chains"`` are the same for several
    models on the same requests, `Traces.from_models`, which may be asked in any order.

    Parameters
    ----------
    traces : Traces
        Calibration requests, each as much as its weight says (`Traces.weighted`).
    bins : int or "auto", optional
        Most states a node may have, 1 to 65535, by default 64; equal quantiles are merged. "auto": 24 from 1,000
        requests on, else 16. Solving with recall takes memory for about states x (states of all nodes) numbers. "sets"
        and "chains" make states of their own: with them a number is refused, and where ``estimate="auto"`` chooses
        them it plays no part.
    estimate : {"signal", "posterior", "sets", "chains", "auto"}
        What the state of a node is made of. "signal": the node's own recorded signal. "posterior": how likely the best
        answer seen is right, given everything consulted; it is the answer. Of several models, "sets": the losses of all
        of them, given everything that those asked have shown; the best answer seen is given. "chains": the score, along
        a few chains of models with a common threshold. "auto": what does best on these traces in cross-validation (of
        classifiers the logit margin, `Policy.signal`, or the posterior; of several models "sets" or "chains"; of other
        traces without evidence the recorded signal or "sets"), and on forests of classifiers the posterior; the
        recorded signal where nothing else can be fitted. `CascadeModel.choice` has what was compared.
    order : sequence of int, optional
        Of "posterior" on a forest: the nodes to consult, in this order, each after its parent. By default the order, of
        any subset, that does best on these traces.
    like : CascadeModel, optional
        Use the bin edges, smoothing and strengths of this model, so that the two can be added:
        ``fit(shard, like=model) + model``. Only of models of plain signals, whose kind is made from the shard's
        evidence if it recorded another one; `recorded_signal` is that of `like`.
    smoothing : {"auto", "platt", "mean"}
        "platt": the logistic curve, from 0 to the largest loss. "mean": the mean loss of the bin, shrunk to the node's
        mean. "auto": at each node the curve where it explains the bins' means (`ttamer.reference.curve_fits`), else the
        mean; always the mean where losses are observed or other than 0 and 1. Only for plain signals: estimates are
        expected losses already, and the loss of a state is their mean. ``estimate="auto"`` chooses it too.
    loss_strength, transition_strength : float
        How many requests the node's mean loss and its marginal weigh, >= 0. By default 4 and 16, and 8 with
        ``bins="auto"`` and with estimates; a loss that is observed is not shrunk, nor is one that is estimated.
    seed : int
        Of the folds of cross-fitting and cross-validation.
    progress : callable, optional
        Called with a few words whenever a part of the work begins. By default these are shown on standard error where
        that is a terminal, or in a notebook; pass ``progress=lambda words: None`` to keep it quiet.

    Returns
    -------
    CascadeModel

    Raises
    ------
    TypeError
        If `traces` are not `Traces`, or `bins` is neither an int nor "auto".
    ValueError
        If a parameter is out of range or not for this estimate, `like` is a model of another topology, unit or kind of
        signal, or estimates are asked for and the traces have observed losses or weights, or, for "posterior", no
        evidence (`Traces.from_probs` records it).
    ImportError
        If estimates are asked for and scikit-learn is missing.

    Notes
    -----
    Estimates of the rows that a model was fitted on are out-of-fold: `Policy.replay` of these very `Traces` uses the
    estimates of regressions that did not see the row. They stay with the traces as long as the model, or a policy of
    it, is in use.
    """
    checks.instance("traces", traces, Traces)
    if traces.weights is not None and not traces.weights.all():  # a request of weight 0 is as if it was not recorded
        if not traces.weights.any():
            raise ValueError("traces: expected a request of a weight above 0, got none")
        traces = traces[traces.weights > 0]
    if estimate not in ESTIMATES:
        raise ValueError(f"estimate: expected one of {ESTIMATES}, got {estimate!r}")
    if order is not None and estimate != "posterior":
        raise ValueError(f"order: expected None with estimate={estimate!r}; 'posterior' on a forest takes one")
    if estimate in SET_KINDS and bins is not None and not isinstance(bins, str):
        states_of(bins, len(traces))
        raise ValueError(f"bins: expected none with estimate={estimate!r}, which makes states of its own, got {bins}")
    most = states_of(DEFAULT_BINS if bins is None else bins, len(traces))
    for name, strength in (("loss_strength", loss_strength), ("transition_strength", transition_strength)):
        if strength is not None and not 0 <= checks.real(name, strength) < np.inf:
            raise ValueError(f"{name}: expected a finite number >= 0, got {strength}")
    checks.whole("seed", seed, least=0)
    if like is not None:
        if estimate != "signal":
            raise ValueError("like: expected estimate='signal', models with an estimator do not add")
        return fit_like(traces, like)
    recorded_signal = traces.signal
    choice: tuple[Candidate, ...] = ()
    # What is chosen brings its smoothing; the loss of a state of estimates is their mean.
    smoothings = ("auto",) if estimate == "auto" else ("auto", "mean")
    if estimate != "signal" and (smoothing not in smoothings or loss_strength is not None):
        raise ValueError("smoothing, loss_strength: expected none with estimates, which are expected losses already")
    if estimate == "auto":
        with reporting(progress) as begin, one_thread():
            (estimate, kind, smoothing), choice = choose(traces, DEFAULT_BINS if bins is None else bins, seed, begin)
        if traces.independent and estimate == "signal":
            _warn_of_signals(traces)
        traces = traces.with_signal(kind) if kind else traces
    if transition_strength is None and (bins == "auto" or estimate != "signal"):
        transition_strength = AUTO_STRENGTH
    if estimate in SET_KINDS:
        assert transition_strength is not None
        if estimate == "chains" and not traces.independent:
            raise ValueError("estimate: expected traces of independent models (Traces.from_models), got others")
        check_shown(traces)
        if estimate == "chains" and not has_scores(traces):
            raise ValueError("estimate: expected scores, which chains are cut at, got none")
        with reporting(progress) as begin, one_thread():
            if estimate == "sets":
                model = fit_sets(traces, seed, begin, transition_strength)
            else:
                model = fit_chains(traces, transition_strength)
        _warn_of_many(traces)
    elif estimate == "signal":
        model = fit_signals(
            traces, most, smoothing, loss_strength, transition_strength, recorded_signal=recorded_signal
        )
        _warn_of_forgotten(model, traces)
        _warn_of_promise(model, traces)
    else:
        assert transition_strength is not None
        model = fit_posterior(CrossFit(traces, seed), most, order, transition_strength)
    model.choice = choice
    return model


def _warn_of_signals(traces: Traces) -> None:
    """Say so where nothing but their signals can be made of independent models, and why."""
    try:
        check_shown(traces)
    except ValueError as error:
        reason = str(error).removeprefix("estimate: ").removesuffix("; use 'signal'").partition(". ")[0]
        warnings.warn(f"fit: states are made of the signals alone, not of everything seen: {reason}", stacklevel=3)


def _warn_of_many(traces: Traces) -> None:
    """Say so where there are more models than policies ask."""
    count, asked = len(traces._answering), list(promising(traces))
    if traces.independent and len(asked) < count:
        nodes = ", ".join(map(traces._node_text, asked))
        warnings.warn(
            f"fit: policies ask {len(asked)} of the {count} models, nodes [{nodes}]; the others are not worth it "
            "alone, and asking all pairs would take too many steps",
            stacklevel=3,
        )


def _warn_of_forgotten(model: CascadeModel, traces: Traces) -> None:
    """Say so where the loss of a node that says nothing depends on what was told before it, and that is not kept."""
    if traces.observed:
        return
    scale = loss_scale(traces.losses)
    for before, node in model.topology.edges.tolist():
        if before < 0 or len(model.bin_edges[before]) == 0 or len(model.bin_edges[node]) > 0:
            continue
        losses = traces.losses[:, node].astype(np.float64)
        known = np.isfinite(losses) & ~np.isnan(traces.signals[:, before])
        states = np.searchsorted(model.bin_edges[before], traces.signals[known, before], side="right")
        rows = np.bincount(states)
        means = np.bincount(states, losses[known]) / np.maximum(rows, 1)
        far = np.abs(means - losses[known].mean()) if known.any() else np.zeros(0)
        errors = losses[known].std() / np.sqrt(np.maximum(rows, 1)) if known.any() else far
        if (far > np.maximum(FORGOTTEN * scale, 4 * errors))[rows > 0].any():
            warnings.warn(
                f"fit: the signal of node {traces._node_text(node)} tells nothing, and what node "
                f"{traces._node_text(before)} told before it, on which its loss depends, is not kept, as other paths "
                "lead there too; estimate='sets' decides on everything seen",
                stacklevel=3,
            )
            return


def _warn_of_promise(model: CascadeModel, traces: Traces) -> None:
    """Say so where what the model promises is far from what the same rows give."""
    scale = loss_scale(traces.losses)
    weight = 0.25 * scale
    # What is promised of losses hardly hangs on the prices of several units.
    prices = dict.fromkeys(traces.unit_costs, 1.0) if len(traces.unit_costs) > 1 else None
    rows = traces.complete if traces.weights is None else traces.complete & (traces.weights > 0)
    if traces.observed or not rows.any() or np.isinf(weight / model._at_prices(prices)[2]):
        return  # costs so small weigh infinitely much
    traces = traces if rows.all() else traces[rows]
    counts = np.ones(len(traces)) if traces.weights is None else traces.weights
    policy = solve(model, 1 / (1 + weight), prices=prices)
    promise, mean = policy.expected_loss, float(np.average(policy.replay(traces).loss, weights=counts))
    larger = max(promise, mean)
    error = (larger * scale * np.sum(counts**2)) ** 0.5 / counts.sum()
    if abs(promise - mean) > max(FAR * larger, 4 * error):
        warnings.warn(
            f"fit: at trade-off {policy.tradeoff:.4g} the model promises a loss of {promise:.4g} where these rows give "
            f"{mean:.4g}: what a node's own signal and the state before it tell is not enough; judge policies by "
            "replay or evaluate, or fit estimates",
            stacklevel=3,
        )
