"""The picture of `ttamer.plots.front`; cost against error; matplotlib is imported only when it is drawn."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ttamer import compare
from ttamer._base import checks
from ttamer._base.numbers import are_rates, loss_word, number, with_unit
from ttamer._base.types import Floats
from ttamer.compare import Curve
from ttamer.plots.figure import caption, figure_class, literal, plain_ticks, saved
from ttamer.policy import Front

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours can be told apart with any colour vision; markers and dashes tell them apart in grey.
_STYLES: tuple[tuple[str, str, Any], ...] = (
    ("#0072B2", "o", "-"),
    ("#D55E00", "s", "--"),
    ("#009E73", "^", "-."),
    ("#CC79A7", "D", ":"),
    ("#56B4E9", "v", (0, (5, 1))),
    ("#E69F00", "P", (0, (3, 1, 1, 1))),
)

_FILL = 16
"""Points drawn for each segment of a line."""

_RESAMPLES = 500


@dataclass(frozen=True)
class _Line:
    """What is drawn of a method: its points, and the interval of the error at each *filled* point, if wanted."""

    name: str
    cost: Floats
    error: Floats
    interval: tuple[Floats, Floats] | None = None


def front(
    curves: Front | Sequence[Curve],
    path: str | os.PathLike[str] | None = None,
    *,
    title: str | None = None,
    coverage: float | None = None,
    seed: int = 0,
    rows: str = "test rows",
) -> Figure:
    """Cost against error: one line a method, one point where a method has one setting.

    Where one curve is called "ttamer" and one other has a single setting, as the full model has, the picture says what
    ttamer costs at the error of that one.

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
    rows : str
        What the test points of the curves were measured on, for the axes.

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
    words = caption(title), checks.text("rows", rows)
    return saved(_picture(figure_class(), curves, words, coverage, seed), path)


def _picture(
    new_figure: type[Figure],
    curves: Front | Sequence[Curve],
    words: tuple[str, str],
    coverage: float | None,
    seed: int,
) -> Figure:
    title, rows = words
    lines, unit, rates = _lines(curves, coverage, seed)
    if isinstance(curves, Front):
        rows = "calibration rows"
    figure = new_figure(figsize=(8, 5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    _draw(axes, lines, 100.0 if rates else 1.0)
    axes.set_xlabel(f"mean cost of a request, {rows}" + (f" ({literal(unit)})" if unit else ""))
    axes.set_ylabel(f"error rate, {rows} (%)" if rates else f"mean loss of the answers, {rows}")
    note = None if coverage is None else f"with {100 * coverage:g}% bootstrap intervals"
    axes.legend(frameon=False, title=note, title_fontsize="small", alignment="left")
    saving = "" if isinstance(curves, Front) else _saving(curves, rates)
    if title or saving:
        axes.set_title("\n".join(filter(None, (title, saving))), fontsize=11, loc="left")
    return figure


def _saving(curves: Sequence[Curve], rates: bool) -> str:
    """What ttamer costs at the error of the only method that has one setting; nothing where there are no such two."""
    alone = [curve for curve in curves if len(curve.settings) == 1]
    ours = [curve for curve in curves if curve.name == compare.OURS and len(curve.settings) > 1]
    if len(alone) != 1 or len(ours) != 1:
        return ""
    (full,), (cost_alone,), (error,) = alone, *alone[0].test_points
    whose = f"the {loss_word(rates)} of {'the ' if full.name in (compare.FULL, compare.BEST) else ''}{full.name}"
    cost = compare.cost_at_error(ours[0], float(error))
    if cost is None:
        here, least = (_loss(float(each), rates) for each in (error, ours[0].test_points[1].min()))
        return literal(f"ttamer does not come down to {whose}, {here}: its least is {least}")
    if cost_alone == 0:
        return ""
    share, less = abs(1 - cost / cost_alone), "less" if cost <= cost_alone else "more"
    costs = f"{number(cost, 3)} in place of {with_unit(number(float(cost_alone), 3), full.unit)}"
    return literal(f"At {whose} ttamer costs {share:.0%} {less}: {costs} a request")


def _loss(loss: float, rates: bool) -> str:
    return f"{loss:.2%}" if rates else number(loss)


def _lines(curves: Front | Sequence[Curve], coverage: float | None, seed: int) -> tuple[list[_Line], str, bool]:
    """What to draw, the unit of cost, and whether the losses are 0/1 errors."""
    if coverage is not None and not 0.0 < checks.real("coverage", coverage) < 1.0:
        raise ValueError(f"coverage: expected a number in (0, 1), got {coverage}")
    if isinstance(curves, Front):
        if coverage is not None:
            raise ValueError("coverage: a front has no intervals; expected curves, as compare.curve_of_front makes")
        cost = np.array([point.cost for point in curves.points])
        error = np.array([point.error for point in curves.points])
        return [_Line(compare.OURS, cost, error)], curves.unit, False
    if isinstance(curves, (list, tuple)) and any(isinstance(curve, Front) for curve in curves):
        raise TypeError("curves: expected a Front or Curves, got several Fronts; compare.curve_of_front makes Curves")
    curves = checks.instances("curves", curves, Curve)
    if len(curves) == 0:
        raise ValueError("curves: expected at least one, got none")
    units = sorted({curve.unit for curve in curves})
    if len(units) > 1:
        raise ValueError(f"curves: expected costs in one unit, got {', '.join(map(repr, units))}")
    rates = all(are_rates(curve.test_loss) for curve in curves)
    intervals: list[tuple[Floats, Floats] | None] = [None] * len(curves)
    if coverage is not None:
        intervals = list(_intervals(curves, coverage, seed))
    lines = [_Line(curve.name, *curve.test_points, interval) for curve, interval in zip(curves, intervals, strict=True)]
    return lines, units[0], rates


def _intervals(curves: Sequence[Curve], coverage: float, seed: int) -> list[tuple[Floats, Floats]]:
    """Percentile bootstrap intervals of the error at every filled point of each curve."""
    samples: dict[int, Floats] = {}
    tails = [(1 - coverage) / 2, (1 + coverage) / 2]
    intervals = []
    for curve in curves:
        rows = curve.test_cost.shape[1]
        if rows not in samples:
            samples[rows] = compare.resample(rows, _RESAMPLES, seed)
        errors = np.apply_along_axis(_filled, 1, curve.resampled_points(samples[rows])[1])
        low, high = np.quantile(errors, tails, axis=0)
        intervals.append((low, high))
    return intervals


def _draw(axes: Axes, lines: Sequence[_Line], scale: float) -> None:
    styles = iter(_STYLES * (len(lines) // len(_STYLES) + 1))
    for order, line in enumerate(lines):
        # The first named lies on top of those it covers.
        above = 2 + (len(lines) - order) / len(lines)
        if len(line.cost) == 1:
            _draw_point(axes, line, scale, above)
            continue
        colour, marker, dashes = next(styles)
        cost, error = _filled(line.cost), _filled(line.error)
        if line.interval is not None:
            low, high = (end * scale for end in line.interval)
            axes.fill_between(cost, low, high, color=colour, alpha=0.15, linewidth=0, zorder=above - 1)
        axes.plot(
            cost,
            error * scale,
            color=colour,
            marker=marker,
            markevery=_FILL,
            linestyle=dashes,
            linewidth=1.8,
            markersize=5,
            label=literal(line.name),
            zorder=above,
        )
    if all((line.cost > 0).all() for line in lines):
        # Fronts fall steeply at first and are flat later; a logarithm gives both parts room.
        axes.set_xscale("log")
        plain_ticks(axes, np.concatenate([line.cost for line in lines]))
    axes.grid(which="both", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_point(axes: Axes, line: _Line, scale: float, above: float) -> None:
    if line.interval is not None:
        low, high = (float(end[0]) * scale for end in line.interval)
        axes.vlines(line.cost[0], low, high, color="black", linewidth=1.2, zorder=above)
    axes.plot(line.cost, line.error * scale, "*", color="black", markersize=14, label=literal(line.name), zorder=above)


def _filled(values: Floats) -> Floats:
    """Points between neighbours: mixtures of two settings lie on a line in cost, which a log axis bends."""
    steps = np.arange((len(values) - 1) * _FILL + 1) / _FILL
    return np.interp(steps, np.arange(len(values)), values)
