"""Losses of all exits are what their formulas say, in NumPy; requests without a label are left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

torch = pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")

from ttamer.torch import distillation_loss, joint_loss  # noqa: E402

ROWS, CLASSES, EXITS = 7, 3, 3
LABELS = [0, 2, -100, 1, 1, -100, 0]


def drawn(dtype: Any = torch.float64) -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(ROWS, CLASSES, generator=generator, dtype=dtype).requires_grad_() for _ in range(EXITS)]


def log_softmax(z: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def formula(
    logits: list[Any], labels: list[int], weights: list[float], temperature: float = 1.0, share: float = 0.0
) -> float:
    """The formula of the docstring; a share of 0 is the joint loss."""
    z = [one.detach().numpy() for one in logits]
    rows = [row for row, label in enumerate(labels) if label != -100]
    taught = np.exp(log_softmax(z[-1] / temperature))
    total = 0.0
    for j, weight in enumerate(weights):
        if rows:
            total += weight * (1 - share) * np.mean([-log_softmax(z[j])[row, labels[row]] for row in rows])
        if j < len(z) - 1:
            lesson = -(taught * log_softmax(z[j] / temperature)).sum(axis=1).mean()
            total += weight * share * temperature**2 * lesson
    return total / sum(weights)


class TestIgnoredLabels:
    @pytest.mark.parametrize("kind", [torch.int64, torch.int8], ids=str)
    def test_the_mean_is_over_requests_with_a_label(self, kind: Any) -> None:
        logits = drawn()
        labels = torch.tensor(LABELS).to(kind)
        weights = [1.0, 2.0, 0.5]
        assert joint_loss(logits, labels, weights).item() == pytest.approx(formula(logits, LABELS, weights), rel=1e-12)
        known = labels != -100
        alone = joint_loss([one[known] for one in logits], labels[known], weights)
        torch.testing.assert_close(joint_loss(logits, labels, weights), alone)

    def test_no_label_at_all_teaches_nothing(self) -> None:
        logits = drawn()
        loss = joint_loss(logits, torch.full((ROWS,), -100))
        loss.backward()
        assert loss.item() == 0.0
        for one in logits:
            assert torch.equal(one.grad, torch.zeros_like(one))


class TestDistillation:
    @pytest.mark.parametrize("labels", [LABELS, [0, 1, 2, 0, 1, 2, 0], [-100] * ROWS])
    @pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [3.0, 0.0, 0.5]])
    @pytest.mark.parametrize(("temperature", "share"), [(4.0, 0.5), (1.0, 1.0), (0.5, 0.3)])
    def test_formula(self, labels: list[int], weights: list[float], temperature: float, share: float) -> None:
        logits = drawn()
        options = {"temperature": temperature, "share": share}
        loss = distillation_loss(logits, torch.tensor(labels), weights=weights, **options)
        assert loss.item() == pytest.approx(formula(logits, labels, weights, **options), rel=1e-12)

    def test_defaults(self) -> None:
        logits = drawn()
        loss = distillation_loss(logits, torch.tensor(LABELS))
        assert loss.item() == pytest.approx(formula(logits, LABELS, [1.0] * EXITS, 4.0, 0.5), rel=1e-12)
        torch.testing.assert_close(distillation_loss(logits), distillation_loss(logits, torch.full((ROWS,), -100)))

    def test_a_share_of_0_is_the_joint_loss(self) -> None:
        logits, labels = drawn(), torch.tensor(LABELS)
        weights = [1.0, 2.0, 0.5]
        found = distillation_loss(logits, labels, weights=weights, share=0)
        torch.testing.assert_close(found, joint_loss(logits, labels, weights))

    def test_the_last_exit_learns_from_labels_alone(self) -> None:
        logits = drawn()
        distillation_loss(logits).backward()
        assert logits[-1].grad is None
        assert all(one.grad.abs().sum() > 0 for one in logits[:-1])
        # A request without a label teaches the others all the same.
        logits = drawn()
        distillation_loss(logits, torch.tensor(LABELS)).backward()
        assert all((one.grad[2] != 0).all() for one in logits[:-1])
        assert torch.equal(logits[-1].grad[2], torch.zeros(CLASSES, dtype=torch.float64))

    def test_exits_that_say_the_same_have_nothing_to_learn(self) -> None:
        teacher = drawn()[-1]
        student = teacher.detach().clone().requires_grad_()
        distillation_loss([student, teacher], share=1).backward()
        torch.testing.assert_close(student.grad, torch.zeros_like(student), rtol=0, atol=1e-12)

    def test_precision(self) -> None:
        logits, labels = drawn(torch.bfloat16), torch.tensor(LABELS)
        assert distillation_loss(logits, labels).dtype == torch.float32
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert distillation_loss(drawn(torch.float32), labels).dtype == torch.float32

    @pytest.mark.parametrize(
        ("kind", "message", "count", "options"),
        [
            (ValueError, "logits: expected at least two exits, the last of which teaches, got 1", 1, {}),
            (ValueError, r"logits: expected one \(B, C\) tensor an exit, got none", 0, {}),
            (ValueError, "temperature: expected a finite number > 0, got 0", 2, {"temperature": 0}),
            (ValueError, "temperature: expected a finite number > 0, got inf", 2, {"temperature": float("inf")}),
            (TypeError, "temperature: expected a number, got str", 2, {"temperature": "4"}),
            (ValueError, "share: expected a number from 0 to 1, got 1.5", 2, {"share": 1.5}),
            (ValueError, "share: expected a number, got nan", 2, {"share": float("nan")}),
            (ValueError, "weights: expected 2, one an exit, got 1", 2, {"weights": [1.0]}),
            (ValueError, r"labels: expected \(7,\) like logits, got \(2,\)", 2, {"labels": torch.tensor([0, 1])}),
            (TypeError, "labels: expected integers, got float32", 2, {"labels": torch.zeros(ROWS)}),
        ],
    )
    def test_errors(self, kind: type[Exception], message: str, count: int, options: dict[str, Any]) -> None:
        with pytest.raises(kind, match=message):
            distillation_loss(drawn()[:count], **options)

    def test_one_logit_has_no_classes(self) -> None:
        with pytest.raises(ValueError, match=r"logits: expected C >= 2 classes, got \(3, 1\); a binary exit with one"):
            distillation_loss([torch.zeros(3, 1)] * 2)


def test_lessons_of_impossible_classes_and_of_nobody() -> None:
    logits = [torch.tensor([[0.0, 1.0, -torch.inf]], requires_grad=True) for _ in range(2)]
    loss = distillation_loss(logits, torch.tensor([1]))
    assert loss.isfinite()
    loss.backward()
    assert logits[0].grad is not None
    assert logits[0].grad.isfinite().all()
    empty = [torch.zeros(0, 3) for _ in range(2)]
    assert distillation_loss(empty, torch.zeros(0, dtype=torch.long)) == 0
    with pytest.raises(ValueError, match="^share: expected one above 0 without labels, for nothing would be learned"):
        distillation_loss(empty, share=0.0)
