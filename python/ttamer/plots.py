"""Pictures, drawn with matplotlib's objects alone: no display, and no state of pyplot is touched."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ttamer import _exits_picture, _front_picture, _index_picture, _reliability_picture, _topology_picture, files
from ttamer._core import Topology
from ttamer.compare import Curve
from ttamer.evaluate import Evaluation, Replay
from ttamer.frontier import Front
from ttamer.policy import Policy
from ttamer.traces import Traces

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["exits", "front", "index", "reliability", "topology"]


def front(
    curves: Front | Sequence[Curve],
    path: str | os.PathLike[str] | None = None,
    *,
    title: str | None = None,
    coverage: float | None = None,
    seed: int = 0,
) -> Figure:
    """Cost against error: one line a method, one point where a method has one setting.

    Parameters
    ----------
    curves : Front or sequence of Curve
        Of curves the *test* points of the usable settings are drawn. A front is drawn as it is: its points were
        measured on the rows it was made from.
    path : path, optional
        Write the picture there, whole or not at all; the suffix says the format (png, svg, pdf).
    title : str, optional
    coverage : float, optional
        Also draw, as a band, the percentile bootstrap interval of the test error of every setting and mixture at its
        mean cost; for 0.9 an interval of 90%. The bands of two methods may overlap and the methods still differ: a
        paired comparison (`ttamer.compare`) is finer, for what is common to both cancels.
    seed : int
        Of the bootstrap.

    Returns
    -------
    matplotlib.figure.Figure
        1200 x 750 pixels as png.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If there is nothing to draw, units differ, `coverage` is not in (0, 1) or asked for of a front, or matplotlib
        does not know the format.
    """
    return _saved(_front_picture.draw(_figure_class(), curves, title, coverage, seed), path)


def reliability(
    traces: Traces,
    path: str | os.PathLike[str] | None = None,
    *,
    bins: int = 10,
    title: str | None = None,
) -> Figure:
    """Is a node as often right as it is confident? A reliability diagram and a histogram for each.

    Requests are put into bins of equal width by their confidence. A dot is the accuracy of a bin at its mean
    confidence with a 90% interval (Wilson), the thick line its distance from the diagonal; ECE, the expected
    calibration error, is the mean of these distances over requests.

    Parameters
    ----------
    traces : Traces
        Their signals are the confidences if they are the largest probability, or the user's own and in [0, 1]. Of other
        signals the largest probability is taken from the evidence. Losses lie in [0, 1]: accuracy is 1 - loss.
    path, title
        As for `front`.
    bins : int
        At least 1.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is missing.
    TypeError
        If `traces` are not `Traces` or `bins` is not an int.
    ValueError
        If the traces have no confidences or their losses are observed or above 1, there are more than 40 nodes, `bins`
        is less than 1, or matplotlib does not know the format.
    """
    return _saved(_reliability_picture.draw(_figure_class(), traces, bins, title), path)


def index(policy: Policy, path: str | os.PathLike[str] | None = None, *, title: str | None = None) -> Figure:
    """What a policy does in each state.

    With recall on a line or forest: the dynamic index as a heat map, a row a node, a column a state of the node before.
    A request whose best loss so far is at most the index does not consult the node. Where that holds for the loss of
    the state alone no request ever does: hatched.

    On other walks: a panel a node and a bar a state, as high as the state's expected loss, coloured by what comes next.
    With recall that depends on the best loss so far, so that a bar may have several colours.

    Parameters
    ----------
    policy : Policy
    path, title
        As for `front`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is missing.
    TypeError
        If `policy` is not a `Policy`.
    ValueError
        If there are more than 40 nodes, or matplotlib does not know the format.
    """
    return _saved(_index_picture.draw(_figure_class(), policy, title), path)


def exits(
    outcome: Evaluation | Replay | Mapping[str, Evaluation | Replay],
    path: str | os.PathLike[str] | None = None,
    *,
    title: str | None = None,
) -> Figure:
    """Where requests stop and which node answers, as stacked bars, with the mean cost and loss beside them.

    Parameters
    ----------
    outcome : Evaluation, Replay or mapping of str to either
        What `ttamer.evaluate`, `Policy.replay` or a baseline found; of a mapping one group of bars a name. Where every
        request is answered by the node it stops at, one bar says both.
    path, title
        As for `front`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is missing.
    TypeError
        If something in `outcome` is neither an `Evaluation` nor a `Replay`.
    ValueError
        If there is nothing to draw, or matplotlib does not know the format.
    """
    return _saved(_exits_picture.draw(_figure_class(), outcome, title), path)


def topology(
    shape: Policy | Topology, path: str | os.PathLike[str] | None = None, *, title: str | None = None
) -> Figure:
    """Nodes and edges from the root on the left; of a policy also where requests go and stop.

    Parameters
    ----------
    shape : Policy or Topology
        Of a policy, a node's area is the share of requests expected to consult it, its colour the share expected to
        stop there, and edges that the policy never takes are pale. Edges carry their costs. Of a bare topology only
        nodes and edges are drawn. Meant for about 12 nodes.
    path : path, optional
        Write the picture there, whole or not at all; the suffix says the format (png, svg, pdf).
    title : str, optional

    Returns
    -------
    matplotlib.figure.Figure
        As large as the shape needs, 150 pixels an inch as png.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    TypeError
        If `shape` is neither a policy nor a topology.
    ValueError
        If there are more than 40 nodes, or matplotlib does not know the format.
    """
    return _saved(_topology_picture.draw(_figure_class(), shape, title), path)


def _figure_class() -> type[Figure]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib: pip install ttamer[cli]") from None
    return Figure


def _saved(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    if path is not None:
        _save(figure, Path(path))
    return figure


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    try:
        figure.savefig(buffer, format=path.suffix.lstrip(".") or "png")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    files.write(path, buffer.getvalue())
