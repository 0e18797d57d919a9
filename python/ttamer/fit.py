"""Estimating a model from recorded traces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ttamer import reference
from ttamer._checks import real, whole
from ttamer.model import CascadeModel
from ttamer.statistics import SMOOTHINGS, Statistics
from ttamer.traces import Traces

MOST_STATES = 65_535


def fit(
    traces: Traces,
    bins: int = 64,
    estimate: str = "signal",
    *,
    like: CascadeModel | None = None,
    smoothing: str = "auto",
    loss_strength: float | None = None,
    transition_strength: float = 16.0,
) -> CascadeModel:
    """Estimate a model from recorded traces.

    Signals are cut into quantile bins, one state a bin. The loss of a state is a logistic curve of the signal or the
    mean loss in its bin, and the transitions are counts shrunk to the node's marginal. T-Tamer (arXiv 2509.22992)
    leaves the estimation open; `ttamer.reference` has the equations.

    Parameters
    ----------
    traces : Traces
        Calibration requests.
    bins : int
        Most states a node may have, 1 to 65535; equal quantiles are merged. Solving with recall takes memory for about
        states x (states of all nodes) numbers.
    estimate : {"signal"}
        What the state of a node is made of.
    like : CascadeModel, optional
        Use the bin edges, smoothing and strengths of this model, so that the two can be added:
        ``fit(shard, like=model) + model``.
    smoothing : {"auto", "platt", "mean"}
        "platt": the logistic curve, for losses in [0, 1]. "mean": the mean loss of the bin, shrunk to the node's mean.
        "auto": at each node the curve where it explains the bins' means (`ttamer.reference.curve_fits`), else the
        mean; always the mean where losses are observed or exceed 1.
    loss_strength, transition_strength : float
        How many requests the node's mean loss and its marginal weigh, >= 0. By default 4 and 16; a loss that is
        observed is not shrunk.

    Returns
    -------
    CascadeModel

    Raises
    ------
    TypeError
        If `traces` are not `Traces` or `bins` is not an int.
    ValueError
        If a parameter is out of range, or `like` is a model of another topology.
    """
    if not isinstance(traces, Traces):
        raise TypeError(f"traces: expected Traces, got {type(traces).__name__}")
    bins = whole("bins", bins, least=1)
    if bins > MOST_STATES:
        raise ValueError(f"bins: expected at most {MOST_STATES}, got {bins}")
    if estimate != "signal":
        raise ValueError(f"estimate: expected 'signal', got {estimate!r}")
    if like is not None:
        return _fit_like(traces, like)
    if loss_strength is None:
        loss_strength = 0.0 if traces.observed else 4.0
    for name, strength in (("loss_strength", loss_strength), ("transition_strength", transition_strength)):
        if not 0 <= real(name, strength) < np.inf:
            raise ValueError(f"{name}: expected a finite number >= 0, got {strength}")
    edges = tuple(reference.quantile_edges(traces.signals[:, j], bins) for j in range(traces.topology.nodes))
    chosen = _choose_smoothing(traces, smoothing)
    statistics = Statistics.count(traces, edges, chosen, float(loss_strength), float(transition_strength))
    return _model(traces, statistics, edges, None)


def _fit_like(traces: Traces, like: CascadeModel) -> CascadeModel:
    if not isinstance(like, CascadeModel):
        raise TypeError(f"like: expected a CascadeModel, got {type(like).__name__}")
    known = like._statistics
    if known is None:
        raise ValueError("like: expected a fitted model, got one whose tables were stated")
    if like.topology != traces.topology:
        raise ValueError(f"like: expected a model of {traces.topology!r}, got one of {like.topology!r}")
    smoothing = _choose_smoothing(traces, known.smoothing)
    statistics = Statistics.count(traces, like.bin_edges, smoothing, known.loss_strength, known.transition_strength)
    return _model(traces, statistics, like.bin_edges, like.cost_scale)


def _choose_smoothing(traces: Traces, smoothing: str) -> str:
    if smoothing not in SMOOTHINGS:
        raise ValueError(f"smoothing: expected one of {SMOOTHINGS}, got {smoothing!r}")
    largest = float(traces.losses.max())
    if smoothing == "platt" and largest > 1:
        raise ValueError(f"smoothing: 'platt' needs losses in [0, 1], the largest is {largest:g}")
    return "mean" if smoothing == "auto" and (traces.observed or largest > 1) else smoothing


def _model(
    traces: Traces,
    statistics: Statistics,
    edges: Sequence[npt.NDArray[np.float32]],
    cost_scale: float | None,
) -> CascadeModel:
    return CascadeModel._from_statistics(
        traces.topology, statistics, traces.costs, edges, cost_scale, traces.observed, traces.unit, traces.signal
    )
