"""Compares the figures in README.md and docs with bench/results; with --write the pages take those of the results.

The passages that quote results are those of bench/figures.txt. Here is what tables of several results need.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from quoting import Quote, compare, digits, quotes_of, row, rows

WORKLOADS = ("fashion-vgg", "agnews-minilm", "sst2-minilm", "chargpt", "fashion-cascade", "agnews-cascade")


def quotes() -> list[Quote]:
    """All of them."""
    methods, beaten = _methods()
    tables = {
        "WORKLOADS": WORKLOADS,
        "aggregations": _aggregations(),
        "beaten": beaten,
        "gains": _gains(),
        "limits": _limits(),
        "losses": _losses(),
        "methods": methods,
        "sizes": {each["set"]: (each["models"], each["calibration"]) for each in rows("models", "sets")},
        "ways": {(way["set"], way["way"]): way for way in rows("models", "ways")},
    }
    cells = (broken_shares, difference, forest, interval, milliseconds, spread, test_error)
    return quotes_of("figures.txt", **tables, **{cell.__name__: cell for cell in cells})


# ---------------------------------------------------------------- cells


def interval(saved: dict[str, Any]) -> str:
    return f"{saved['saved']:.2f} [{saved['low']:.2f}, {saved['high']:.2f}]"


def difference(each: dict[str, Any], name: str = "difference") -> str:
    return f"{each[name]:+.0f} ({each['low']:+.0f} to {each['high']:+.0f})"


def milliseconds(cost: float | None) -> str:
    return "not reached" if cost is None else f"{cost:.3f} ms"


def spread(values: Sequence[float] | None, form: str) -> str | None:
    """A mean and a deviation, or the mean alone."""
    return values and " ± ".join(format(value, form) for value in values)


def test_error(workload: str, method: str) -> str:
    return f"{row('quality', 'mean error', workload=workload, method=method)['test']:.0f}"


def broken_shares(workload: str, drawn: str, column: str) -> list[float]:
    """How often limits were broken, in percent, where the method says anything."""
    levels = rows("guarantee", workload=workload, drawn=drawn)
    return [100 * level[column] / level["draws"] for level in levels if level[column] is not None]


def forest(workload: str, method: str) -> tuple[str, str | None]:
    """The error of a method, with the path of a line, and the forest's minus it; see which are ties."""
    each = row("tree", "mean error", workload=workload, method=method)
    path = f" ({method.removeprefix('line ').replace('-', ', ')})" if method.startswith("line") else ""
    minus = None if each["low"] is None else difference(each, "forest minus it")
    return f"{each['mean error 1e-4']:.0f}{path}", minus and minus + ": a tie" * (each["better"] == "tie")


def sign(interval: Sequence[float] | None) -> str:
    """Which side of 0 a paired interval of ttamer's error minus the other's lies on: + is better than the other."""
    if interval is None:
        return ""
    _, low, high = interval
    return " +" if high < 0 else " −" if low > 0 else ""


# ---------------------------------------------------------------- tables


def _methods() -> tuple[dict[str, tuple[str, ...]], Counter[str]]:
    """Errors of each method on the workloads, of baselines first; and how many of these lose to ttamer on each."""
    ours = ["ttamer", "ttamer, signal", "ttamer, posterior", "ttamer, sets", "no recall", "recall, proxy"]
    ours.append("recall, calibrated")
    cells: dict[str, list[str]] = {}
    beaten: Counter[str] = Counter()
    for workload in WORKLOADS:
        for each in rows("quality", "mean error", workload=workload):
            name, star = each["method"].removesuffix(" *"), "*" if each["method"].endswith("*") else ""
            error, mark = f"{each['test']:.0f}", sign(each["ttamer minus it"])
            cell = f"**{error}**" if name == "ttamer" else f"{error}{star}{mark}"
            cells.setdefault(name, ["–"] * len(WORKLOADS))[WORKLOADS.index(workload)] = cell
            beaten[workload] += name not in ours and mark == " +"
    baselines = [name for name in cells if name not in (*ours, "cascade routing")]
    return {name: tuple(cells[name]) for name in ("ttamer", *baselines, "cascade routing", *ours[1:])}, beaten


def _gains() -> dict[str, str]:
    """How much ttamer gains over one threshold on each workload, and the interval."""
    gains = {}
    for workload in WORKLOADS:
        values = row("quality", "mean error", workload=workload, method="ttamer")["minus one threshold"]
        mean, low, high = (f"{value:.0f}".replace("-0", "0") for value in values)
        gains[workload] = f"{mean} [{low}, {high}]"
    return gains


def _losses() -> dict[str, tuple[str, ...]]:
    """Of each set of models: ttamer's loss and choice, and those of other ways."""
    ways = {(way["set"], way["way"]): way for way in rows("models", "ways")}
    lines = {}
    for name in (each["set"] for each in rows("models", "sets")):
        line = [f"{10000 * ways[name, 'ttamer']['loss']:.0f} ({ways[name, 'ttamer']['choice']})"]
        for other in ("fixed", "thresholds", "two calls", "routing", "cascade routing"):
            way = ways.get((name, other))
            line.append("–" if way is None else f"{10000 * way['loss']:.0f}{sign(way['ttamer minus it'])}")
        lines[name] = tuple(line)
    return lines


def _limits() -> list[tuple[str, str, dict[str, Any]]]:
    """Limits on the error, of each workload the first two of which most draws certify something, and the sixth."""
    lines = []
    for workload in ("fashion-vgg", "agnews-minilm", "sst2-minilm", "fashion-cascade"):
        levels = rows("guarantee", workload=workload, drawn="split")
        first = 1 if workload == "fashion-vgg" else 2
        for name, level in zip((workload, "", ""), (levels[first], levels[first + 1], levels[5]), strict=True):
            limit = level["limits"].removeprefix("error ").replace("to last", "to the last node")
            lines.append((name, limit, level))
    return lines


def _aggregations() -> list[tuple[str, float, tuple[str, ...]]]:
    """Of each shape the time of an exact solve, and the error and the gain in time of each coarser one."""
    lines = []
    for shape in ("line", "skip", "tree"):
        steps = rows("synthetic", "aggregation", shape=shape)
        errors = (f"{step['largest |error|']:.1e}".replace("e-0", "e-") for step in steps)
        cells = [f"{error}, {digits(step['exact/aggregate'], 2)}x" for error, step in zip(errors, steps, strict=True)]
        cells[0] += " faster" if shape == "line" else ""
        lines.append((shape, steps[0]["exact ms"], tuple(cells)))
    return lines


if __name__ == "__main__":
    raise SystemExit(compare(__doc__ or "", quotes()))
