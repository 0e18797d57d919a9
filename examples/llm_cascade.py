"""Route, then escalate: three language models on the same questions, from a table of what they answered.

`data/mmlu-pro.jsonl` has a row a question and model: the subject, the right answer and the model's, and what it took to
write it. `Traces.read` makes traces of it. The subject is known before any model is asked, so that the policy chooses
by it which model is asked first; the answer of a model is kept, or a larger one is asked too. The states of these
policies are the subjects, and then the scores (`estimate="signal"`): these models hardly say how sure they are, and
1,000 questions are too few for estimates to be worth more.

Everything is fitted and chosen on the first rows of the table: for each model the cheapest policy that errs there no
more than the model does alone, or at most one point more. It is judged on the other rows, against asking that model
always. Intervals hold 90% of paired bootstrap resamples of these rows; where one covers 0 the two are called a tie.

Needs pyarrow: pip install "ttamer[tables]".
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

import ttamer
from ttamer import baselines, compare

TABLE = Path(__file__).parent / "data" / "mmlu-pro.jsonl"
CALIBRATION = 1000  # questions; the other 800 are test questions
MARGINS = (0.0, 0.01)  # errors that a policy may make more than the model alone, on calibration questions


def paired(ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> compare.Difference:
    """The difference of two means over the same requests, with its interval."""
    weights = compare.resample(len(ours), seed=0) / len(ours)
    return compare.difference(float(ours.mean()), float(theirs.mean()), weights @ ours, weights @ theirs)


def in_words(difference: compare.Difference, scale: float, unit: str) -> str:
    value, low, high = (scale * (number or 0.0) for number in (difference.value, difference.low, difference.high))
    verdict = "a tie" if difference.is_tie else "less" if value < 0 else "more"
    return f"{value:+.1f}{unit} [{low:+.1f}, {high:+.1f}]: {verdict}"


def routes(policy: ttamer.Policy, traces: ttamer.Traces) -> dict[str, list[str]]:
    """Which subjects are sent to which model first."""
    assert traces.nodes is not None
    subjects = policy.categories[0]
    batch = policy.start(len(subjects))
    first: dict[str, list[str]] = {}
    for subject, node in zip(subjects, batch.decide(0, policy.codes(0, subjects)).tolist(), strict=True):
        first.setdefault(traces.nodes[node], []).append(subject)
    return first


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(arguments)
    traces = ttamer.Traces.read(TABLE)
    assert traces.nodes is not None
    calibration, test = traces[:CALIBRATION], traces[CALIBRATION:]
    front = ttamer.frontier(calibration, estimate="signal")
    print(traces.summary())
    print(f"\n{len(front)} policies fitted on {len(calibration)} questions, judged on {len(test)} others")
    for node in range(1, traces.topology.nodes):
        alone = baselines.fixed_node(test, node)
        print(f"\nalways {traces.nodes[node]}: error {alone.error:.1%}, cost {alone.mean_cost:.0f} {traces.unit}")
        for margin in MARGINS:
            level = baselines.fixed_node(calibration, node).error + margin
            policy = (front.cheapest(level) if front[-1].error <= level else front[-1]).policy
            result = policy.replay(test)
            error, cost = paired(result.loss, alone.loss), paired(result.cost, alone.cost)
            print(f"  chosen for {level:.1%} on the other rows: error {result.error:.1%}, cost {result.mean_cost:.0f}")
            print(f"    error {in_words(error, 100, ' points')}")
            print(f"    cost  {in_words(cost, 100 / alone.mean_cost, '%')}")
    print("\nThe last of these policies:")
    for name, subjects in routes(policy, traces).items():
        print(f"{name} is asked first about {', '.join(subjects)}")


if __name__ == "__main__":
    main()
