"""What a learned baseline may look at: confidences and agreements of the nodes consulted."""

from __future__ import annotations

import numpy as np

from baselines.scores import class_logits, evidence_of, top_log_odds
from ttamer._base.types import Floats
from ttamer.traces import Traces

LARGEST_LOG_ODDS = 16.0
"""Of a probability at the floor of 1e-7."""


def log_odds(traces: Traces, who: str) -> Floats:
    """(N, n) float64: log-odds of each node's answer, clipped to what the floor of probabilities allows."""
    logits, weight = class_logits(evidence_of(traces, who))
    return np.clip(top_log_odds(logits, weight), -LARGEST_LOG_ODDS, LARGEST_LOG_ODDS)


def exit_features(traces: Traces, who: str) -> list[Floats]:
    """Features of a line's nodes: for node j > 0 (N, j + 4) float64, for node 0 (N, 3).

    Negative entropy (nats), the largest probability, from node 1 on the share of nodes up to j that answer as node j
    does, and the log-odds of the answers of nodes 0..j.
    """
    odds = log_odds(traces, who)
    entropy = traces.with_signal("entropy").signals
    largest = traces.with_signal("max_prob").signals
    answers = evidence_of(traces, who).classes[:, :, 0]
    features = []
    for j in range(traces.topology.nodes):
        alike = (answers[:, : j + 1] == answers[:, j, None]).mean(axis=1)
        own = np.stack([entropy[:, j], largest[:, j], alike], axis=1)
        features.append(np.concatenate([own[:, : 3 if j > 0 else 2], odds[:, : j + 1]], axis=1))
    return features
