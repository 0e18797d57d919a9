"""Recall where it shines: losses that are seen. Heuristics of rising cost for the same travelling salesman.

A tour's length is known as soon as the tour is, and an earlier tour is never lost: the loss of every node is observed,
and the answer is the best tour so far. When is the next, dearer heuristic worth its time?

Instances are random cities in the unit square, half of them uniform, half in clusters. Five heuristics know nothing of
each other, so that a later tour may well be the longer one:

  nearest neighbour    always go to the nearest city that is left
  farthest insertion   insert the city farthest from the tour where it costs least
  2-opt                a random tour, and the best reversal of a part of it while one helps
  2-opt and Or-opt     another random tour; parts of up to three cities may also move elsewhere
  four restarts        the best of four such tours

The loss is the length above a lower bound (Held and Karp's one-trees, improved from the first tour's length on), whose
time is part of the first node's. The cost of a node is the time it took here, the mean over all instances, which are
worked on many at a time. Policies are chosen on one half of the instances and judged on the other.

With a policy that stops but may not go back, the tour it ends with is the one it answers with.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

import ttamer
from ttamer import baselines, compare
from ttamer.baselines import Setting
from ttamer.compare import Curve

Floats = npt.NDArray[np.floating]
Tours = npt.NDArray[np.intp]

CITIES = 40
ROWS = 1200
CHUNK = 50  # instances worked on at a time: their distances stay in the cache
BINS = 32
BUDGETS = (0.1, 0.2, 0.3, 0.5, 0.8)  # shares of the time of all heuristics
TRADEOFFS = 1 / (1 + np.geomspace(1e-3, 300, 119))  # the first steps are so cheap that even little weight buys them
NAMES = ("nearest neighbour", "farthest insertion", "2-opt", "2-opt and Or-opt", "four restarts")


# ---------------------------------------------------------------- instances


def draw_cities(rows: int, cities: int, generator: np.random.Generator) -> Floats:
    """(rows, cities, 2) points, every other instance in clusters as wide as a tenth of the square."""
    points = generator.random((rows, cities, 2))
    centres = generator.random((rows, 5, 2))
    chosen = centres[np.arange(rows)[:, None], generator.integers(0, 5, (rows, cities))]
    clustered = np.clip(chosen + generator.normal(0.0, 0.1, points.shape), 0.0, 1.0)
    points[1::2] = clustered[1::2]
    return points


def distances_between(points: Floats) -> Floats:
    """(B, n, n) Euclidean distances, in float32."""
    return np.sqrt(((points[:, :, None] - points[:, None]) ** 2).sum(axis=-1)).astype(np.float32)


def tour_lengths(distances: Floats, tours: Tours) -> Floats:
    """(B,) lengths of closed tours (B, n)."""
    here = np.arange(len(tours))[:, None]
    return distances[here, tours, np.roll(tours, -1, axis=1)].sum(axis=1, dtype=np.float64)


def lower_bounds(distances: Floats, upper: Floats, rounds: int = 40) -> Floats:
    """(B,) lower bounds of the shortest tours, given lengths (B,) of some: Held and Karp's one-trees.

    A tour is a one-tree (a spanning tree of all cities but the first, and two edges of the first) in which every
    city has degree 2. Prices on the cities change all tours alike and push the shortest one-tree towards that; they
    rise in subgradient steps of Polyak's length, damped.
    """
    count, cities, _ = distances.shape
    prices, before = np.zeros((2, count, cities), distances.dtype)
    best = np.full(count, -np.inf)
    for k in range(rounds):
        length, degree = _one_trees(distances + prices[:, :, None] + prices[:, None])
        length -= 2 * prices.sum(axis=1)
        best = np.maximum(best, length)
        excess = degree - 2
        step = 0.95**k * (upper - length) / np.maximum((excess**2).sum(axis=1), 1)
        prices += (step[:, None] * (0.7 * excess + 0.3 * before)).astype(prices.dtype)
        before = excess
    return best


def _one_trees(weights: Floats) -> tuple[Floats, Floats]:
    """Length (B,) of the shortest one-trees, and the degree (B, n) of every city in them (Prim's algorithm)."""
    count, cities, _ = weights.shape
    here = np.arange(count)
    degree = np.zeros((count, cities), weights.dtype)
    inside = np.zeros((count, cities), bool)
    inside[:, :2] = True  # the first city stays out of the tree, which grows from the second
    nearest, link = weights[:, 1].copy(), np.ones((count, cities), np.intp)
    length = np.zeros(count)
    for _ in range(cities - 2):
        added = np.where(inside, np.inf, nearest).argmin(axis=1)
        length += nearest[here, added]
        degree[here, added] += 1
        degree[here, link[here, added]] += 1
        inside[here, added] = True
        closer = weights[here, added] < nearest
        nearest = np.where(closer, weights[here, added], nearest)
        link = np.where(closer, added[:, None], link)
    two = np.argsort(weights[:, 0, 1:], axis=1)[:, :2] + 1
    degree[:, 0] = 2
    for k in range(2):
        length += weights[here, 0, two[:, k]]
        degree[here, two[:, k]] += 1
    return length, degree


# ---------------------------------------------------------------- heuristics: distances (B, n, n) -> tours (B, n)


def nearest_neighbour(distances: Floats) -> Tours:
    count, cities, _ = distances.shape
    here = np.arange(count)
    tours = np.zeros((count, cities), np.intp)
    left = np.ones((count, cities), bool)
    left[:, 0] = False
    for k in range(1, cities):
        tours[:, k] = np.where(left, distances[here, tours[:, k - 1]], np.inf).argmin(axis=1)
        left[here, tours[:, k]] = False
    return tours


def farthest_insertion(distances: Floats) -> Tours:
    count, cities, _ = distances.shape
    here = np.arange(count)
    tours = np.zeros((count, 1), np.intp)
    apart = distances[:, 0].copy()  # of every city from the tour; -1 once it is in
    apart[:, 0] = -1.0
    for k in range(1, cities):
        city = apart.argmax(axis=1)
        after = np.roll(tours, -1, axis=1)
        detour = (
            distances[here[:, None], tours, city[:, None]]
            + distances[here[:, None], city[:, None], after]
            - distances[here[:, None], tours, after]
        )
        place = detour.argmin(axis=1)[:, None] + 1
        ranks = np.arange(k + 1)
        old = np.take_along_axis(tours, np.minimum(ranks - (ranks > place), k - 1), axis=1)
        tours = np.where(ranks == place, city[:, None], old)
        apart = np.where(apart < 0, -1.0, np.minimum(apart, distances[here, city]))
        apart[here, city] = -1.0
    return tours


def local_search(distances: Floats, generator: np.random.Generator, or_opt: bool = False, starts: int = 1) -> Tours:
    """The best of `starts` random tours, each improved by its best move until none helps."""
    count, cities, _ = distances.shape
    best = np.zeros((count, cities), np.intp)
    length = np.full(count, np.inf)
    for _ in range(starts):
        found = generator.permuted(np.tile(np.arange(cities), (count, 1)), axis=1)
        busy = np.arange(count)
        while len(busy):
            found[busy], improved = _best_move(distances[busy], found[busy], or_opt)
            busy = busy[improved]
        own = tour_lengths(distances, found)
        best = np.where((own < length)[:, None], found, best)
        length = np.minimum(own, length)
    return best


def _best_move(distances: Floats, tours: Tours, or_opt: bool) -> tuple[Tours, npt.NDArray[np.bool_]]:
    """Make the best move of each tour; also whether there was one that helps."""
    count, cities = tours.shape
    ranks = np.arange(cities)
    along = distances[np.arange(count)[:, None, None], tours[:, :, None], tours[:, None, :]]  # in the order of the tour
    ahead = np.roll(ranks, -1)
    edges = along[:, ranks, ahead]
    # Reverse what lies after place i up to place j: edges (i, i + 1) and (j, j + 1) become (i, j), (i + 1, j + 1).
    gains = [edges[:, :, None] + edges[:, None] - along - along[:, ahead][:, :, ahead]]
    gains[0][:, ranks[:, None] >= ranks] = 0.0
    for size in (1, 2, 3) if or_opt else ():
        # Move the cities at places i + 1 .. i + size between the places j and j + 1, as they are.
        first, last, beyond = (ranks + 1) % cities, (ranks + size) % cities, (ranks + size + 1) % cities
        freed = along[:, ranks, first] + along[:, last, beyond] - along[:, ranks, beyond]
        paid = along[:, first] + along[:, last][:, :, ahead] - edges[:, None]
        gain = freed[:, :, None] - paid
        gain[:, (ranks - ranks[:, None]) % cities <= size] = 0.0  # places inside the part, or where it is now
        gains.append(gain)
    flat = np.concatenate([gain.reshape(count, -1) for gain in gains], axis=1)
    chosen = flat.argmax(axis=1)
    improved = flat[np.arange(count), chosen] > 1e-6
    kind, place = np.divmod(chosen, cities * cities)
    i, j = (part[:, None] for part in np.divmod(place, cities))
    reversed_ranks = np.where((ranks > i) & (ranks <= j), i + 1 + j - ranks, ranks)
    # The new tour from where the part began: first the cities that lay between it and its new place, then the part.
    size = kind[:, None]
    between = (j - i - size) % cities
    moved = np.where(ranks < between, ranks + size, np.where(ranks < between + size, ranks - between, ranks))
    new_ranks = np.where(size == 0, reversed_ranks, (moved + i + 1) % cities)
    return np.where(improved[:, None], np.take_along_axis(tours, new_ranks, axis=1), tours), improved


# ---------------------------------------------------------------- traces


def heuristics(generator: np.random.Generator) -> list[Callable[[Floats], Tours]]:
    """The nodes, in the order of `NAMES`."""
    return [
        nearest_neighbour,
        farthest_insertion,
        partial(local_search, generator=generator),
        partial(local_search, generator=generator, or_opt=True),
        partial(local_search, generator=generator, or_opt=True, starts=4),
    ]


def record(rows: int = ROWS, cities: int = CITIES, seed: int = 0) -> ttamer.Traces:
    """Run every heuristic on every instance: lengths above the bound, and milliseconds an instance."""
    generator = np.random.default_rng(seed)
    points = draw_cities(rows, cities, generator)
    nodes = heuristics(generator)
    losses, seconds = np.empty((rows, len(nodes)), np.float32), np.zeros(len(nodes))
    for begin in range(0, rows, CHUNK):
        covered = slice(begin, begin + CHUNK)
        distances = distances_between(points[covered])
        for node, heuristic in enumerate(nodes):
            start = time.perf_counter()
            lengths = tour_lengths(distances, heuristic(distances))
            if node == 0:
                bounds = lower_bounds(distances, lengths)
            seconds[node] += time.perf_counter() - start
            # A bound may be the length itself, and then rounding decides the sign.
            losses[covered, node] = np.maximum(lengths / bounds - 1, 0.0)
    return ttamer.Traces(losses, losses, 1e3 * seconds / rows, observed=True, unit="ms")


# ---------------------------------------------------------------- methods


def keep_best(traces: ttamer.Traces, limit: float) -> ttamer.Replay:
    """Stop at the first node after which the best loss is at most the limit, and answer with the best."""
    last = traces.topology.nodes - 1
    best = np.minimum.accumulate(traces.losses, axis=1)
    stops = np.where((best <= limit).any(axis=1), (best <= limit).argmax(axis=1), last)
    rows = np.arange(len(traces))
    answers = np.where(np.arange(last + 1) <= stops[:, None], traces.losses, np.inf).argmin(axis=1)
    cost, loss = traces.reach_costs[stops], best[rows, stops].astype(np.float64)
    return ttamer.Replay(stops.astype(np.int32), answers.astype(np.int32), cost, loss)


def first_nodes(traces: ttamer.Traces, node: int) -> ttamer.Replay:
    """Run all heuristics up to a node, whatever they find, and answer with the best."""
    return keep_best(traces.path(range(node + 1), traces.costs[: node + 1]), -1.0)


def curves_of(calibration: ttamer.Traces, test: ttamer.Traces, tradeoffs: npt.ArrayLike) -> list[Curve]:
    """Every method, fitted and swept on the calibration rows; recall first, then the best that has none."""
    model = ttamer.fit(calibration, bins=BINS)
    # A threshold stops at signals that are large enough, and small losses are good.
    plain = [ttamer.Traces(-part.losses, part.losses, part.costs, unit=part.unit) for part in (calibration, test)]
    limits = np.quantile(calibration.losses, np.linspace(0, 1, 119))
    nodes = range(calibration.topology.nodes)

    def solved(recall: str) -> list[Setting]:
        policies = [ttamer.solve(model, float(tradeoff), recall) for tradeoff in np.asarray(tradeoffs)]
        return [Setting(f"tradeoff {policy.tradeoff:.3g}", {}, policy.replay) for policy in policies]

    def curve(name: str, settings: list[Setting]) -> Curve:
        return compare.curve_of_settings(name, settings, calibration, test)

    return [
        curve("recall, optimal", solved("observed")),
        curve("no recall, optimal", solved("none")),
        compare.curve_of_settings("no recall, one threshold", baselines.threshold_curve(plain[0]), *plain),
        curve("best kept, one threshold", [Setting("", {}, partial(keep_best, limit=float(x))) for x in limits]),
        curve("best kept, first k", [Setting("", {}, partial(first_nodes, node=node)) for node in nodes]),
    ]


# ---------------------------------------------------------------- tables


def print_nodes(traces: ttamer.Traces) -> None:
    best = traces.losses.min(axis=1)
    print(f"{'node':<20}{'ms':>8}{'above bound':>13}{'longer than an earlier tour':>29}")
    for node, name in enumerate(NAMES):
        loss = traces.losses[:, node]
        worse = np.mean(loss > traces.losses[:, :node].min(axis=1)) if node else 0.0
        print(f"{name:<20}{traces.costs[node]:>8.2f}{loss.mean():>13.2%}{worse:>29.0%}")
    print(f"{'best of all':<20}{traces.costs.sum():>8.2f}{best.mean():>13.2%}\n")


def print_budgets(curves: Sequence[Curve], budgets: Floats, resamples: int = 1000) -> None:
    """Mean loss of each method at each budget, and recall minus each other one with its bootstrap interval."""
    weights = compare.resample(curves[0].test_cost.shape[1], resamples)
    values = [[compare.error_at_cost(curve, float(budget)) for budget in budgets] for curve in curves]
    resampled = [compare.resampled_errors(curve, budgets, weights) for curve in curves]
    heads = "".join(f"{f'{budget:.2f} ms':>21}" for budget in budgets)
    print(f"mean length above the bound, by mean time spent\n{'':<25}{heads}")
    for curve, row in zip(curves, values, strict=True):
        print(f"{curve.name:<25}" + "".join(f"{value:>21.2%}" for value in row))
    print("\nrecall minus the others, percentage points with 90% intervals (paired bootstrap)")
    for curve, row, samples in zip(curves[1:], values[1:], resampled[1:], strict=True):
        cells = []
        for k, (ours, theirs) in enumerate(zip(values[0], row, strict=True)):
            gap = compare.difference(ours, theirs, resampled[0][:, k], samples[:, k])
            cells.append(f"{100 * (ours - theirs):+.2f} ({100 * gap.low:+.2f}, {100 * gap.high:+.2f})")
        print(f"{curve.name:<25}" + "".join(f"{cell:>21}" for cell in cells))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Recall with observed losses, on tours of random cities.")
    parser.add_argument("--rows", type=int, default=ROWS, help="instances, half of them to choose policies on")
    parser.add_argument("--cities", type=int, default=CITIES, help="cities of an instance")
    options = parser.parse_args(arguments)
    traces = record(options.rows, options.cities)
    half = len(traces) // 2  # the instances are in random order but for the kinds, which alternate
    calibration, test = traces[:half], traces[half:]
    print(f"{half} instances to choose on, {len(test)} to judge on, {options.cities} cities each\n")
    print_nodes(test)
    budgets = np.maximum(np.array(BUDGETS) * traces.costs.sum(), 1.05 * traces.costs[0])
    print_budgets(curves_of(calibration, test, TRADEOFFS), budgets)


if __name__ == "__main__":
    main()
