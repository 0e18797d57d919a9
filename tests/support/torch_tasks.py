"""Small networks for other tasks than classes, each with its loss and its signal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch_models import CLASSES, EXITS, WIDTH

from ttamer.torch import EarlyExit

ROWS, TOKENS = 200, 7


@dataclass(frozen=True)
class Task:
    """A task: what its exits are, what is right, how an exit's output is judged and how sure it is."""

    exit: Callable[[], nn.Module]
    target: Callable[[Tensor], Any]
    loss: Callable[[Tensor, Any], Tensor] | None
    signal: Callable[[Tensor], Tensor]

    def model(self, signal: Any = "max_prob") -> EarlyExit:
        """A network; always the same."""
        torch.manual_seed(0)
        stages = [nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()) for _ in range(EXITS)]
        return EarlyExit(stages, [self.exit() for _ in range(EXITS)], signal).eval()

    def batch(self, rows: int = ROWS) -> tuple[Any, dict[str, Any], Any]:
        """Inputs, keywords and targets."""
        generator = torch.Generator().manual_seed(5)
        if self is not TASKS["tokens"]:
            x = torch.randn(rows, WIDTH, generator=generator)
            return x, {}, self.target(x)
        x = torch.randn(rows, TOKENS, WIDTH, generator=generator)
        mask = torch.arange(TOKENS) < torch.randint(1, TOKENS + 1, (rows, 1), generator=generator)
        return x, {"mask": mask}, {"labels": self.target(x), "mask": mask}

    def batches(self, size: int = 64) -> list[Any]:
        """The same in batches for a loader."""
        x, keywords, target = self.batch()

        def part(value: Any, i: int) -> Any:
            return {k: v[i : i + size] for k, v in value.items()} if isinstance(value, dict) else value[i : i + size]

        return [(part(x, i), part(keywords, i), part(target, i)) for i in range(0, ROWS, size)]


class Tokens(nn.Linear):
    """Logits of each token; of padding, certainty that it is class 0."""

    def forward(self, x: Any, mask: Any) -> Any:
        certain = nn.functional.one_hot(torch.zeros((), dtype=torch.int64), self.out_features) * 99.0
        return torch.where(mask[..., None], super().forward(x), certain.to(x.device))


def squared(output: Tensor, target: Tensor) -> Tensor:
    return (output[:, 0] - target) ** 2


def certainty(output: Tensor) -> Tensor:
    """Of an exit that gives a mean and the logarithm of a variance."""
    return -output[:, 1]


def binary_error(output: Tensor, target: Tensor) -> Tensor:
    return ((output.flatten() > 0) != target).float()


def distance(output: Tensor) -> Tensor:
    return output.flatten().abs()


def hamming(output: Tensor, target: Tensor) -> Tensor:
    return ((output > 0) != target).float().mean(dim=1)


def least_sure(output: Tensor) -> Tensor:
    return output.abs().amin(dim=1)


def rank_loss(output: Tensor, target: Tensor) -> Tensor:
    """1 less the reciprocal rank of the right item."""
    return 1 - 1 / (output >= output.gather(1, target[:, None])).sum(dim=1)


def lead(output: Tensor) -> Tensor:
    best = output.topk(2, dim=1).values
    return best[:, 0] - best[:, 1]


def token_errors(output: Tensor, target: dict[str, Tensor]) -> Tensor:
    wrong = (output.argmax(dim=2) != target["labels"]) & target["mask"]
    return wrong.sum(dim=1) / target["mask"].sum(dim=1)


def least_sure_token(output: Tensor) -> Tensor:
    return output.softmax(dim=2).amax(dim=2).amin(dim=1)


def class_error(output: Tensor, target: Tensor) -> Tensor:
    """Of an exit that gives how sure it is behind its logits."""
    return (output[:, :-1].argmax(dim=1) != target).float()


def last_column(output: Tensor) -> Tensor:
    return output[:, -1]


def negative_entropy(output: Tensor) -> Tensor:
    return -torch.distributions.Categorical(logits=output).entropy()


def verifier() -> nn.Module:
    """A network that looks at an answer and says how good it is."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(CLASSES, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 1), nn.Flatten(0)).eval()


def classes(x: Tensor) -> Tensor:
    return (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()


TASKS = {
    "regression": Task(lambda: nn.Linear(WIDTH, 2), lambda x: x.sum(dim=1), squared, certainty),
    "one logit (B, 1)": Task(lambda: nn.Linear(WIDTH, 1), lambda x: x[:, 0] > 0, binary_error, distance),
    "one logit (B,)": Task(
        lambda: nn.Sequential(nn.Linear(WIDTH, 1), nn.Flatten(0)), lambda x: x[:, 0] > 0, binary_error, distance
    ),
    "labels": Task(lambda: nn.Linear(WIDTH, 3), lambda x: x[:, :3] > 0, hamming, least_sure),
    "ranking": Task(lambda: nn.Linear(WIDTH, 9), lambda x: x.argmax(dim=1), rank_loss, lead),
    "tokens": Task(lambda: Tokens(WIDTH, CLASSES), lambda x: x[:, :, 0].gt(0).long(), token_errors, least_sure_token),
    "learned exit": Task(lambda: nn.Linear(WIDTH, CLASSES + 1), classes, class_error, last_column),
    "entropy": Task(lambda: nn.Linear(WIDTH, CLASSES), classes, None, negative_entropy),
    "verifier": Task(lambda: nn.Linear(WIDTH, CLASSES), classes, None, verifier()),
}
