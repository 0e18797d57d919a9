"""Features of all requests at once are those that the reference makes of one request after the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttamer import reference
from ttamer.model.features import assemble, doubts, odds
from ttamer.traces.evidence import LOG_FLOOR


@pytest.mark.parametrize("top", [1, 2, 4])
@given(seed=st.integers(0, 10_000), consulted=st.integers(1, 3), sharpness=st.sampled_from([0.1, 1.0, 30.0]))
def test_features(top: int, seed: int, consulted: int, sharpness: float) -> None:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(4, 1 / sharpness), (6, 3)) + 1e-12
    order = np.argsort(-probs, axis=-1, kind="stable")[..., :top]
    logs = np.maximum(np.log(np.take_along_axis(probs, order, axis=-1)).astype(np.float32), LOG_FLOOR)
    classes = order.astype(np.int32)
    nodes, last, candidate = np.arange(consulted, dtype=np.int32), consulted - 1, int(rng.integers(consulted))
    answers = classes[:, candidate, 0]
    according = np.stack([odds(logs[:, i], classes[:, i], 4, answers) for i in nodes], axis=1)
    made = assemble(according, classes[:, nodes, 0] == answers[:, None], doubts(logs[:, last], 4))
    expected = reference.features(logs, classes, 4, nodes, last, "posterior", candidate)
    np.testing.assert_allclose(made, expected, rtol=1e-9, atol=1e-9)
