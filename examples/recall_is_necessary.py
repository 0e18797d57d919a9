"""Recall is necessary: two nodes for which no policy without recall is within any constant factor of the best.

Node 0 always has loss 1/a^2. Node 1 has loss 0 with probability 1 - 1/a, else 1/a. Consulting is free. Who may return
to node 0 pays 1/a^3, as the prophet does who sees all losses beforehand. Who has to answer with the node consulted last
pays 1/a^2, whatever the policy: stopping at node 0 costs that, and so does node 1 on average. The ratio is a.

T-Tamer, arXiv 2509.22992, states the family; here both sides are solved.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import ttamer

TRADEOFF = 0.8  # any other gives the same ratio: there are no costs to trade
GROWING = (2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)


def family(a: float) -> ttamer.CascadeModel:
    """The two nodes."""
    return ttamer.CascadeModel(
        ttamer.Topology.line(2),
        losses=[[1 / a**2], [0.0, 1 / a]],
        transitions=[[[1.0]], [[1 - 1 / a, 1 / a]]],
        costs=[0.0, 0.0],
    )


def expected_loss(a: float, recall: str) -> float:
    """What the best policy pays; `recall` is "observed" or "none"."""
    return ttamer.solve(family(a), TRADEOFF, recall=recall).value / TRADEOFF


def prophet_loss(a: float) -> float:
    """What someone pays who sees both losses first and takes the smaller."""
    model = family(a)
    first, second = model.losses
    return float(model.transitions[1][0] @ np.minimum(first[0], second))


def ratios(a_values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Value without recall over value with it, for each a."""
    return np.array([ttamer.price_of_no_recall(family(a), TRADEOFF) for a in a_values])


def draw(a_values: Sequence[float], found: npt.NDArray[np.float64], path: Path) -> None:
    """Both ratios to the prophet against a."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    with_recall = [expected_loss(a, "observed") / prophet_loss(a) for a in a_values]
    without = [expected_loss(a, "none") / prophet_loss(a) for a in a_values]
    axes.loglog(a_values, without, "s--", color="#D55E00", label="without recall")
    axes.loglog(a_values, with_recall, "o-", color="#0072B2", label="with recall")
    axes.set_xlabel("a")
    axes.set_ylabel("expected loss / the prophet's")
    axes.set_title(f"no recall costs a factor of {found[-1]:g} at a = {a_values[-1]:g}", fontsize=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9")
    axes.legend(frameon=False)
    figure.savefig(path)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The price of having no recall, on two nodes.")
    parser.add_argument("--output", type=Path, default=Path("recall_is_necessary.png"), help="where the picture goes")
    output = parser.parse_args(arguments).output
    found = ratios(GROWING)
    print(f"{'a':>6}  {'no recall':>10}  {'recall':>10}  {'prophet':>10}  {'no recall / recall':>18}")
    for a, ratio in zip(GROWING, found, strict=True):
        losses = [expected_loss(a, "none"), expected_loss(a, "observed"), prophet_loss(a)]
        print(f"{a:>6}  " + "  ".join(f"{loss:>10.3e}" for loss in losses) + f"  {ratio:>18.6f}")
    try:
        draw(GROWING, found, output)
    except ImportError:
        print("no picture: pip install matplotlib")
    else:
        print(f"drew {output}")


if __name__ == "__main__":
    main()
