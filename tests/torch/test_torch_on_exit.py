"""Rows that are told as they leave: each once, with what the call gives at its end."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the torch extra")

from torch import Tensor  # noqa: E402
from torch_models import SHAPES, inputs, network, recorded, some_policy  # noqa: E402

from ttamer.torch import EarlyExit, ExitOutput  # noqa: E402


def served(shape: str, recall: str, **options: Any) -> EarlyExit:
    model = network()
    return model.attach(some_policy(recorded(model, inputs(), SHAPES[shape]), recall, 1), **options)


@pytest.mark.parametrize("options", [{}, {"compact": "never"}, {"compact": 0.5}, {"bucket": [50, 200, 300]}])
@pytest.mark.parametrize("recall", ["observed", "none"])
@pytest.mark.parametrize("shape", SHAPES)
def test_each_row_is_told_once_what_it_gets(shape: str, recall: str, options: dict[str, Any]) -> None:
    model, told = served(shape, recall, **options), list[tuple[Tensor, ExitOutput]]()
    expected = model(inputs(250), on_exit=lambda rows, output: told.append((rows, output)))
    assert isinstance(expected, ExitOutput)
    assert len(told) > 1
    assert sorted(torch.cat([rows for rows, _ in told]).tolist()) == list(range(250))
    nodes = []
    for rows, output in told:
        assert rows.dtype == torch.int64
        assert len(output.last_node.unique()) == 1
        nodes.append(int(output.last_node[0]))
        for field, whole in zip(output, expected, strict=True):
            assert field.dtype == whole.dtype
            torch.testing.assert_close(field, whole[rows], rtol=0, atol=0)
    assert nodes == sorted(set(nodes))  # as soon as it is known


def test_outputs_are_the_caller_s() -> None:
    """What was told stays as it was while the call goes on."""
    model, told = served("line", "observed"), list[tuple[ExitOutput, ExitOutput]]()
    model(inputs(100), on_exit=lambda rows, out: told.append((out, ExitOutput(*(field.clone() for field in out)))))
    for output, copy in told:
        for field, was in zip(output, copy, strict=True):
            torch.testing.assert_close(field, was, rtol=0, atol=0)


def test_no_rows() -> None:
    told: list[Any] = []
    served("line", "none")(inputs(0), on_exit=lambda *arguments: told.append(arguments))
    assert told == []


def test_what_it_raises_ends_the_call() -> None:
    def fail(rows: Tensor, output: ExitOutput) -> None:
        raise OSError("the caller is gone")

    with pytest.raises(OSError, match=r"^the caller is gone$"):
        served("line", "none")(inputs(10), on_exit=fail)


def test_where_nobody_leaves() -> None:
    message = r"^on_exit: expected a model in evaluation mode with a policy, where rows leave$"
    with pytest.raises(RuntimeError, match=message):
        network()(inputs(2), on_exit=print)
    with pytest.raises(RuntimeError, match=message):
        served("line", "none").train()(inputs(2), on_exit=print)
