"""Pictures, drawn with matplotlib's objects alone: no display, and no state of pyplot is touched."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ttamer import _topology_picture, files
from ttamer._core import Topology
from ttamer.compare import Curve
from ttamer.frontier import Front
from ttamer.policy import Policy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours can be told apart with any colour vision; markers and dashes tell them apart in grey.
_STYLES = (
    ("#0072B2", "o", "-"),
    ("#D55E00", "s", "--"),
    ("#009E73", "^", "-."),
    ("#CC79A7", "D", ":"),
    ("#56B4E9", "v", (0, (5, 1))),
    ("#E69F00", "P", (0, (3, 1, 1, 1))),
)

_FILL = 16
"""Points drawn for each segment of a line."""


@dataclass(frozen=True)
class _Line:
    name: str
    cost: npt.NDArray[np.float64]
    error: npt.NDArray[np.float64]


def front(
    curves: Front | Sequence[Curve], path: str | os.PathLike[str] | None = None, *, title: str | None = None
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

    Returns
    -------
    matplotlib.figure.Figure
        1200 x 750 pixels as png.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    ValueError
        If there is nothing to draw, units differ, or matplotlib does not know the format.
    """
    new_figure = _figure_class()
    lines, unit, rates, rows = _lines(curves)
    figure = new_figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    _draw(axes, lines, percent=rates)
    axes.set_xlabel(f"mean cost of a request, {rows}" + (f" ({unit})" if unit else ""))
    axes.set_ylabel(f"error rate, {rows} (%)" if rates else f"mean loss of the answers, {rows}")
    if title:
        axes.set_title(title, fontsize=11, loc="left")
    if path is not None:
        _save(figure, Path(path))
    return figure


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
    figure = _topology_picture.draw(_figure_class(), shape, title)
    if path is not None:
        _save(figure, Path(path))
    return figure


def _figure_class() -> type[Figure]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib: pip install ttamer[cli]") from None
    return Figure


def _lines(curves: Front | Sequence[Curve]) -> tuple[list[_Line], str, bool, str]:
    """What to draw, the unit of cost, whether the losses are 0/1 errors, and of which rows the points are."""
    if isinstance(curves, Front):
        cost = np.array([point.cost for point in curves.points])
        error = np.array([point.error for point in curves.points])
        return [_Line("ttamer", cost, error)], curves.unit, False, "calibration rows"
    if len(curves) == 0:
        raise ValueError("curves: expected at least one, got none")
    units = sorted({curve.unit for curve in curves})
    if len(units) > 1:
        raise ValueError(f"curves: expected costs in one unit, got {', '.join(map(repr, units))}")
    rates = all(bool(np.isin(curve.test_loss, (0.0, 1.0)).all()) for curve in curves)
    return [_Line(curve.name, *curve.test_points) for curve in curves], units[0], rates, "test rows"


def _draw(axes: Axes, lines: Sequence[_Line], percent: bool) -> None:
    scale = 100.0 if percent else 1.0
    styles = iter(_STYLES * (len(lines) // len(_STYLES) + 1))
    for order, line in enumerate(lines):
        # The first named lies on top of those it covers.
        above = 2 + (len(lines) - order) / len(lines)
        if len(line.cost) == 1:
            axes.plot(line.cost, line.error * scale, "*", color="black", markersize=14, label=line.name, zorder=above)
            continue
        colour, marker, dashes = next(styles)
        cost, error = _filled(line.cost), _filled(line.error)
        axes.plot(
            cost,
            error * scale,
            color=colour,
            marker=marker,
            markevery=_FILL,
            linestyle=dashes,
            linewidth=1.8,
            markersize=5,
            label=line.name,
            zorder=above,
        )
    if all((line.cost > 0).all() for line in lines):
        # Fronts fall steeply at first and are flat later; a logarithm gives both parts room.
        axes.set_xscale("log")
        _plain_ticks(axes)
    axes.grid(which="both", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def _filled(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Points between neighbours: mixtures of two settings lie on a line in cost, which a log axis bends."""
    steps = np.arange((len(values) - 1) * _FILL + 1) / _FILL
    return np.interp(steps, np.arange(len(values)), values)


def _plain_ticks(axes: Axes) -> None:
    """Label 1, 2 and 5 times the powers of ten as plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    try:
        figure.savefig(buffer, format=path.suffix.lstrip(".") or "png")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    files.write(path, buffer.getvalue())
