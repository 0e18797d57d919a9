"""The pictures of `bench/synthetic.py`, drawn from its tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

Row = dict[str, Any]

# Okabe and Ito's colours can be told apart with any colour vision; markers and dashes tell them apart in grey.
STYLES = (
    {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    {"color": "#D55E00", "marker": "s", "linestyle": "--"},
    {"color": "#009E73", "marker": "^", "linestyle": "-."},
    {"color": "#CC79A7", "marker": "D", "linestyle": ":"},
    {"color": "#E69F00", "marker": "P", "linestyle": (0, (3, 1, 1, 1))},
)


def draw(tables: dict[str, list[Row]], methods: Sequence[str], folder: Path) -> list[Path]:
    """Write ``synthetic-*.png`` and return where they are."""
    figures = {
        "ratio": ratios(tables["ratios"], methods),
        "aggregation": aggregation(tables["aggregation"]),
        "time": times(tables["times"], tables["exponents"]),
    }
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, figure in figures.items():
        files.append(folder / f"synthetic-{name}.png")
        figure.savefig(files[-1])
    return files


def ratios(rows: Sequence[Row], methods: Sequence[str]) -> Figure:
    """Ratio to the prophet against n, at the K that most sizes have; bars are standard deviations."""
    sizes = [row["K"] for row in rows]
    states = max(sizes, key=sizes.count)
    shapes = _shapes(rows)
    figure = Figure(figsize=(10.5, 4), dpi=120, layout="constrained")
    panels = figure.subplots(1, len(shapes), sharey=True, squeeze=False)[0]
    for axes, shape in zip(panels, shapes, strict=True):
        shape_rows = sorted(
            (row for row in rows if (row["shape"], row["K"]) == (shape, states)), key=lambda row: row["n"]
        )
        for k, (method, style) in enumerate(zip(methods, STYLES, strict=True)):
            # Side by side, so that no bar hides another.
            shift = 0.12 * (k - (len(methods) - 1) / 2)
            points = [row for row in shape_rows if row[method] is not None]
            if points:
                means, spreads = zip(*(row[method] for row in points), strict=True)
                places = [row["n"] + shift for row in points]
                axes.errorbar(places, means, spreads, label=method, capsize=2, ms=5, **style)
        axes.set_title(shape, loc="left", fontsize=11)
        axes.set_xlabel("nodes n")
        _finish(axes)
    panels[0].set_ylabel(f"objective / prophet's objective, K = {states}")
    panels[0].legend(frameon=False)
    return figure


def aggregation(rows: Sequence[Row]) -> Figure:
    """Error of the value against the number of meta-states."""
    figure = Figure(figsize=(6, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    for shape, style in _styled(rows):
        points = [row for row in rows if row["shape"] == shape]
        axes.plot([row["q"] for row in points], [row["largest |error|"] for row in points], label=shape, ms=5, **style)
    axes.axhline(0.02, color="0.4", linewidth=1)
    axes.annotate(
        "0.02, the paper's for q > 100",
        (1, 0.02),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="bottom",
        color="0.3",
    )
    axes.set_xlabel(f"meta-states q, for K = {rows[0]['K']} states a node")
    axes.set_ylabel("largest error of the value")
    _logarithmic(axes, {row["q"] for row in rows})
    axes.set_yscale("log")
    axes.legend(frameon=False)
    return figure


def times(rows: Sequence[Row], exponents: Sequence[Row]) -> Figure:
    """Time of a solve with recall against n and against K."""
    figure = Figure(figsize=(9, 4), dpi=120, layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, size, other in zip(panels, ("n", "K"), ("K", "n"), strict=True):
        constant = next(row[other] for row in rows if row["swept"] == size)
        for shape, style in _styled(rows):
            points = [row for row in rows if (row["shape"], row["swept"]) == (shape, size)]
            slope = next(row for row in exponents if (row["shape"], row["answer"]) == (shape, "recall"))[f"in {size}"]
            label = f"{shape}: exponent {slope:.2f}"
            axes.plot([row[size] for row in points], [row["recall ms"] for row in points], label=label, ms=5, **style)
        axes.set_xlabel(f"{'nodes n' if size == 'n' else 'states a node K'}, {other} = {constant}")
        axes.set_yscale("log")
        _logarithmic(axes, {row[size] for row in rows if row["swept"] == size})
        axes.legend(frameon=False)
    panels[0].set_ylabel("time of a solve with recall (ms)")
    return figure


def _shapes(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["shape"] for row in rows))


def _styled(rows: Sequence[Row]) -> Iterator[tuple[str, dict[str, Any]]]:
    return zip(_shapes(rows), STYLES, strict=False)


def _logarithmic(axes: Axes, ticks: set[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(sorted(ticks))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
