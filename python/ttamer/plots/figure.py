"""Figures of matplotlib without pyplot: no display is needed, and no global state is touched."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ttamer._base import files

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure_class() -> type[Figure]:
    """Matplotlib's class of figures; ImportError with what to install where it is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need matplotlib: pip install ttamer[cli]") from None
    return Figure


def saved(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    """The figure, also written to the path if there is one."""
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
