"""Small pictures inside HTML pages: SVG in the colours of the page, whatever these are."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from ttamer.plots.figure import figure_class, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK = "#010203"
"""Stands for the colour of the page's text; no line has it."""
COLOURS = ("#4477aa", "#cc7733", "#228866")
"""Of what is compared: apart for the colour-blind, and readable on white and on black."""


def bars(names: Sequence[str], shares: Mapping[str, Sequence[float]], label: str) -> str:
    """Shares of requests by node, a bar a kind."""
    figure, axes = _new(0.9 + 0.2 * (len(shares) + 0.6) * len(names))
    height = 0.85 / len(shares)
    for k, (kind, values) in enumerate(shares.items()):
        places = np.arange(len(names)) + (k - (len(shares) - 1) / 2) * height
        drawn = axes.barh(places, values, height * 0.9, color=COLOURS[k], label=kind)
        axes.bar_label(drawn, [f"{value:.0%}" for value in values], padding=3, color=_INK, fontsize=8)
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.1)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper left", ncols=len(shares), frameon=False, labelcolor=_INK, fontsize=8)
    return _svg(figure, label, "bars")


def histogram(edges: Sequence[float], counts: Sequence[int], axis: str, label: str) -> str:
    """How many requests lie between each two edges."""
    figure, axes = _new(1.9)
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=COLOURS[0])
    axes.set_xlabel(axis, color=_INK)
    axes.set_ylabel("requests", color=_INK)
    return _svg(figure, label, "histogram")


def evidence(history: Mapping[str, Sequence[float]], requests: int, label: str) -> str:
    """What tests have collected over requests, and the line at which they give an alarm."""
    figure, axes = _new(2.2)
    for k, (test, values) in enumerate(history.items()):
        places = requests * (np.arange(len(values)) + 1) / max(len(values), 1)
        axes.plot(places, np.maximum(values, 1e-6), color=COLOURS[k], label=test, linewidth=1.4)
    axes.axhline(1, color=_INK, linewidth=0.8, linestyle="--")
    axes.annotate("alarm", (0, 1), (2, 2), xycoords=("axes fraction", "data"), textcoords="offset points", color=_INK)
    axes.set_yscale("log")
    axes.set_ylim(top=max(3.0, 2 * max((max(values, default=0) for values in history.values()), default=0)))
    axes.set_xlabel("requests", color=_INK)
    axes.set_ylabel("evidence", color=_INK)
    figure.legend(loc="outside upper left", ncols=len(history), frameon=False, labelcolor=_INK, fontsize=8)
    return _svg(figure, label, "evidence")


def _new(height: float) -> tuple[Figure, Axes]:
    figure = figure_class()(figsize=(5.6, height), layout="constrained")
    axes = figure.add_subplot(facecolor="none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_INK)
    axes.tick_params(colors=_INK, which="both", labelsize=8)
    return figure, axes


def _svg(figure: Figure, label: str, name: str) -> str:
    """The picture with a label for who cannot see it, and ids that no other picture of the page has."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text[: text.index(">")]) + text[text.index(">") :]
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)
