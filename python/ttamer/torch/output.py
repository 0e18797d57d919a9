"""What a model gives back in serving."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class ExitOutput(NamedTuple):
    """Answers of a batch, in the order of the input; all fields are on the device of the model.

    Attributes
    ----------
    logits : (B, C) Tensor
        Logits of the exit that answers, row by row; its output, (B, ...), if that has another form.
    answer_node : (B,) int32 Tensor
        Which exit that is. With recall it may be an earlier one than `last_node`.
    last_node : (B,) int32 Tensor
        The exit that the row consulted last: how far it went.
    cost : (B,) float64 Tensor
        Sum of the costs of the edges that the row used, in the unit of the policy; NaN without a policy.
    signal : (B,) float32 Tensor
        How confident the answering exit is, as `record` writes it down, or the exit whose signal tells its state
        (`Policy.signal_nodes`). Of a policy that estimates: the last estimate of the answer. NaN without a policy, and
        where logits of the answer are NaN.
    state : (B,) int32 Tensor
        The state that this signal is in, of `answer_node`, or of a policy that estimates of the step at which it did;
        -1 without a policy.
    expected_loss : (B,) float64 Tensor
        What the policy expects the answer to lose, given its state; NaN without a policy.
    """

    logits: Tensor
    answer_node: Tensor
    last_node: Tensor
    cost: Tensor
    signal: Tensor
    state: Tensor
    expected_loss: Tensor
