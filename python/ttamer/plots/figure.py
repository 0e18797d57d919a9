"""Figures of matplotlib without pyplot: no display is needed, and no global state is touched."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ttamer._base import checks, files
from ttamer._base.topologies import node_text
from ttamer._base.types import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MOST_NODES = 40
"""Nodes that a picture has room for."""
MOST_NAME = 16
"""Characters of the name of a node, so that it stays clear of what stands beside it."""


def figure_class() -> type[Figure]:
    """Matplotlib's class of figures; ImportError with what to install where it is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError('plots need matplotlib: pip install "ttamer[cli]"') from None
    return Figure


def caption(title: str | None) -> str:
    """The title, checked before Matplotlib sees it; empty where there is none."""
    return "" if title is None else checks.text("title", title)


def few_enough(argument: str, nodes: int) -> None:
    """Refuse more nodes than a picture has room for."""
    if nodes > MOST_NODES:
        raise ValueError(f"{argument}: expected at most {MOST_NODES} nodes to draw, got {nodes}")


def titled(figure: Figure, title: str) -> Figure:
    """The figure with a title above all of it, on the left."""
    if title:
        figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure


def literal(text: str) -> str:
    """The text for Matplotlib, which else takes what stands between two dollars for mathematics."""
    return text.replace("$", r"\$")


def short(name: str) -> str:
    """A name of a node for Matplotlib, cut to what there is room for."""
    return literal(name if len(name) <= MOST_NAME else f"{name[: MOST_NAME - 1]}…")


def node_label(node: int, names: Sequence[str] | None) -> str:
    """A node in a picture: its number, and its name if it has one."""
    return node_text(node, None if names is None else short(names[node]))


def plain_ticks(axes: Axes, values: Floats) -> None:
    """Plain numbers on a logarithmic x axis: powers of ten, and 2 and 5 times them where there is room."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    has_room = values.max() < 1000 * values.min()
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if has_room else (1.0,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def saved(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    """The figure, also written to the path if there is one."""
    if path is not None:
        _save(figure, checks.path("path", path))
    return figure


def _save(figure: Figure, path: str) -> None:
    buffer = io.BytesIO()
    try:
        figure.savefig(buffer, format=Path(path).suffix.lstrip(".") or "png")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    files.write(path, buffer.getvalue())
