"""Several models on the same requests: which to ask first, whom to ask next, and whose answer to give.

Four models name the emotion of a face, at prices from nothing to 0.001 USD. A policy that decides on everything seen,
the scores, the classes that were answered and whether two models agree, is chosen on the calibration requests for a
limit on the error. Then requests of the test part are served one by one, as a server would: recorded answers stand in
for the calls. Prints what every model loses and costs alone, what the policy does, and a few requests on their way.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import ttamer
import ttamer.data


def serve(policy: ttamer.Policy, requests: ttamer.Traces, row: int, batch: ttamer.Batch) -> tuple[list[int], int]:
    """The models that one request asks, in order, and the one whose answer it returns."""
    assert requests.predictions is not None
    batch.reset()
    # With a context node 0 shows it: the first call would be decide_answers(0, policy.context_scores(columns)).
    asked, node = [], policy.first_node
    while node != ttamer.STOP:
        asked.append(node)
        score = requests.signals[[row], node]  # here a model is called
        answer = requests.predictions[[row], node]
        node = int(batch.decide_answers(node, score, answer)[0])
    return asked, int(batch.answer_node[0])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=6, help="how many requests to show")
    shown = parser.parse_args(arguments).requests

    workload = ttamer.data.load("ferplus")
    calibration, test = workload.calibration, workload.test
    names = calibration.nodes or ()
    print(calibration.summary())

    front = ttamer.frontier(calibration)
    for candidate in front.choice:
        print(f"compared: {candidate.name}, loss {candidate.loss:.4f}, {candidate.behind:.4f} behind")
    best = int(calibration.losses.mean(axis=0).argmin())
    limit = float(calibration.losses[:, best].mean())
    policy = front.cheapest(limit).policy
    replay = policy.replay(test)
    print(
        f"\nnot worse than {names[best]} on the calibration requests; on {len(test)} test requests:\n"
        f"{names[best]}: error {test.losses[:, best].mean():.4f}, {test.reach_costs[best]:.6f} USD\n"
        f"policy: error {replay.error:.4f}, {replay.mean_cost:.6f} USD a request\n"
    )

    batch = policy.start(capacity=1)
    for row in range(min(shown, len(test))):
        asked, answering = serve(policy, test, row, batch)
        print(f"request {row}: asks {', then '.join(names[node] for node in asked)}; answers {names[answering]}")
    for row in range(len(test)):
        asked, answering = serve(policy, test, row, batch)
        assert (answering, asked[-1]) == (replay.answer_node[row], replay.last_node[row])
    print(f"all {len(test)} requests were served as the replay says")


if __name__ == "__main__":
    main()
