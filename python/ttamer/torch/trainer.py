"""A network with exits as the `Trainer` of transformers wants a model; nothing of transformers is imported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from ttamer.torch.early_exit import EarlyExit
from ttamer.torch.loss import joint_loss

Loss = Callable[[Sequence[Tensor], Tensor], Tensor]


class ForTrainer(nn.Module):
    """A network with exits as the `Trainer` of transformers wants a model: it takes labels and gives a loss.

    Train it with ``TrainingArguments(remove_unused_columns=False)``: which columns the stages take is not seen in the
    signature here. The network is trained in place. What asks for a model of transformers, `gradient_checkpointing` and
    `label_smoothing_factor`, is not for it.

    Parameters
    ----------
    model : EarlyExit
        Called with what a batch holds beside `labels`: `input_ids` or `pixel_values`, and keywords.
    loss : callable
        ``loss(logits, labels)`` with the logits of all exits gives what is minimised, and reported in evaluation.

    Raises
    ------
    TypeError
        If the model is no `EarlyExit`, or the loss no callable.

    Notes
    -----
    In evaluation mode the logits are those that a call of the network gives: the last exit's, or with a policy attached
    those of the exits that answer, which takes a second pass.

    Checkpoints hold each tensor that several modules share once, under its first name, as safetensors demands. They
    load into a `ForTrainer` of the same modules; the weights of the network alone are ``model.state_dict()``.
    """

    accepts_loss_kwargs = False
    """The mean over a batch is not told how many batches make a step, so `Trainer` divides by their number."""

    def __init__(self, model: EarlyExit, loss: Loss = joint_loss) -> None:
        super().__init__()
        if not isinstance(model, EarlyExit):
            raise TypeError(f"model: expected an EarlyExit, got {type(model).__name__}")
        if not callable(loss):
            raise TypeError(f"loss: expected a callable, got {type(loss).__name__}")
        self.model = model
        self.loss = loss
        self.register_state_dict_post_hook(_drop_repeated)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_repeat)  # type: ignore[no-untyped-call]

    def forward(self, labels: Tensor | None = None, **batch: Any) -> dict[str, Any]:
        """Loss, if there are labels, and logits.

        Parameters
        ----------
        labels : Tensor, optional
            Whatever `loss` takes; for `joint_loss` (B,) integers.
        **batch
            As for a call of the network.

        Returns
        -------
        dict
            `loss`, and `logits`: of all exits in training mode, else of the answers, (B, C).

        Raises
        ------
        TypeError
            If there is no input, or a keyword is taken by no stage and no exit.
        """
        logits = self.model.all_logits(**batch)
        output = {} if labels is None else {"loss": self.loss(logits, labels)}
        if self.training:
            return {**output, "logits": logits}
        answers = logits[-1] if self.model.policy is None else self.model(**batch).logits
        return {**output, "logits": answers}


def _repeated(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of tensors that have an earlier name too, and that one."""
    first: dict[int, str] = {}
    for tensors in (module.named_parameters, module.named_buffers):
        for name, tensor in tensors(remove_duplicate=False):
            if first.setdefault(id(tensor), name) != name:
                yield name, first[id(tensor)]


def _drop_repeated(module: nn.Module, state: dict[str, Any], prefix: str, metadata: dict[str, Any]) -> None:
    for name, _ in _repeated(module):
        state.pop(prefix + name, None)


def _repeat(module: nn.Module, state: dict[str, Any], prefix: str, *others: Any) -> None:
    for name, first in _repeated(module):
        if prefix + first in state:
            state.setdefault(prefix + name, state[prefix + first])
