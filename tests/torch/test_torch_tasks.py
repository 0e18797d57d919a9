"""Recording other tasks than classes, by losses and signals that are callables, and requests without labels."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import REPOSITORY
from samples import same

import ttamer

torch = pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")

from torch import nn  # noqa: E402
from torch_models import CLASSES, EXITS, WIDTH, inputs, network  # noqa: E402
from torch_tasks import (  # noqa: E402
    TASKS,
    binary_error,
    certainty,
    class_error,
    classes,
    hamming,
    last_column,
    negative_entropy,
    squared,
    verifier,
)

from ttamer.torch import EarlyExit  # noqa: E402

QUIET: dict[str, Any] = {"costs": np.arange(1.0, EXITS + 1), "unit": "s", "progress": False}
REGRESSION = TASKS["regression"]
NAN = float("nan")


@pytest.mark.parametrize("name", TASKS)
def test_traces_are_what_the_callables_say(name: str) -> None:
    task = TASKS[name]
    x, keywords, target = task.batch()
    model = task.model()
    traces = model.record(task.batches(), loss=task.loss, signal=task.signal, **QUIET)
    outputs = [output.detach() for output in model.all_logits(x, **keywords)]
    for node, output in enumerate(outputs):
        with torch.no_grad():
            loss = (output.argmax(dim=1) != target).float() if task.loss is None else task.loss(output, target)
            signal = task.signal(output)
        np.testing.assert_allclose(traces.losses[:, node], loss.numpy(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(traces.signals[:, node], signal.numpy(), rtol=1e-5, atol=1e-6)
    assert (traces.signal, traces.unit) == ("", "s")
    assert len(np.unique(traces.losses)) > 1
    # Logits of classes are known by the default loss: they bring evidence, and what comes with it.
    is_classes = task.loss is None
    assert (traces.evidence is not None) == (traces.predictions is not None) == is_classes
    assert (traces.labels is not None) == is_classes
    if is_classes:
        kinds = model.record(task.batches(), **QUIET)
        np.testing.assert_array_equal(traces.evidence.log_probs, kinds.evidence.log_probs)
        np.testing.assert_array_equal(traces.losses, kinds.losses)
    if name == "entropy":
        np.testing.assert_allclose(traces.signals, traces.with_signal("entropy").signals, rtol=1e-3, atol=1e-5)
    assert ttamer.solve(ttamer.fit(traces, 8), 0.9).signal == ""


def test_a_loss_of_the_user_s_own_on_logits_of_classes() -> None:
    """Evidence, predictions and labels as without it."""

    def cost(output: Any, target: Any) -> Any:
        return 5.0 * (output.argmax(dim=1) != target).float()

    task = TASKS["entropy"]
    model = task.model("margin")
    traces, plain = model.record(task.batches(), loss=cost, **QUIET), model.record(task.batches(), **QUIET)
    same(traces, ttamer.Traces(plain.signals, 5 * plain.losses, plain.costs, unit="s", signal="margin",
                               labels=plain.labels, evidence=plain.evidence))  # fmt: skip
    # Labels that are no classes are the loss's own affair, and no labels of the traces.
    for change in (lambda y: y + 10, lambda y: y.float(), lambda y: nn.functional.one_hot(y, CLASSES)):
        loader = [(x, change(y)) for x, _, y in task.batches()]
        other = model.record(loader, loss=lambda output, y: output.new_ones(len(y)), **QUIET)
        assert other.labels is None
        np.testing.assert_array_equal(other.evidence.log_probs, plain.evidence.log_probs)
        assert (other.losses == 1).all()


def test_signals_in_half_precision_are_widened() -> None:
    x, _, y = REGRESSION.batch()
    model = REGRESSION.model()
    traces = model.record([(x, y)], loss=lambda output, y: squared(output, y).double(),
                          signal=lambda output: certainty(output).bfloat16(), **QUIET)  # fmt: skip
    signal = -model.all_logits(x)[2].detach()[:, 1].bfloat16()
    np.testing.assert_array_equal(traces.signals[:, 2], signal.float().numpy())
    assert traces.losses.dtype == np.float32


def test_callables_that_are_modules_evaluate() -> None:
    """Dropout would give other signals in every call; afterwards modules are in the mode they were in."""
    task, own = TASKS["verifier"], verifier()
    expected = task.model().record(task.batches(), signal=own, **QUIET)
    own.train()
    same(task.model().record(task.batches(), signal=own, **QUIET), expected)
    assert all(module.training for module in own.modules())
    model = task.model(own)
    assert "signal=torch.nn.modules.container.Sequential" in repr(model)
    same(model.record(task.batches(), **QUIET), expected)
    assert "signal.0.weight" in model.state_dict()


class TestMissingLabels:
    """Signals are recorded, losses are unknown."""

    def loaders(self) -> list[tuple[list[Any], Any]]:
        """Loaders, and which rows of theirs have labels."""
        x = inputs(12)
        y = classes(x)
        some = torch.where(torch.arange(12) % 5 == 0, -100, y)
        none = np.zeros(12, bool)
        return [
            ([x[:8], x[8:]], none),
            ([(x[:8],), [x[8:]]], none),
            ([(x, None)], none),
            ([(x, {}, None)], none),
            ([(x, torch.full((12,), -100))], none),
            ([(x[:8], y[:8]), (x[8:], None)], np.arange(12) < 8),
            ([(x[:8], None), (x[8:], y[8:])], np.arange(12) >= 8),
            ([(x, some)], np.arange(12) % 5 != 0),
        ]

    @pytest.mark.parametrize("number", range(8))
    def test_classes(self, number: int, tmp_path: Path) -> None:
        loader, known = self.loaders()[number]
        model = network()
        whole = model.record([(inputs(12), classes(inputs(12)))], **QUIET)
        for _ in range(2):  # the second time nothing is left to do
            traces = model.record(loader, resume=tmp_path / "part.npz", **QUIET)
            np.testing.assert_allclose(traces.signals, whole.signals, rtol=1e-5)
            np.testing.assert_allclose(traces.evidence.log_probs, whole.evidence.log_probs, rtol=1e-4, atol=1e-5)
            assert traces.labels is None
            np.testing.assert_array_equal(traces.losses, np.where(known[:, None], whole.losses, NAN))

    def test_losses_of_the_user_s_own(self) -> None:
        x, _, y = REGRESSION.batch()
        loader, options = [(x[:50], y[:50]), (x[50:], None)], {"loss": squared, "signal": certainty, **QUIET}
        model = REGRESSION.model()
        traces, whole = model.record(loader, **options), model.record([(x, y)], **options)
        np.testing.assert_allclose(traces.signals, whole.signals, rtol=1e-5)
        np.testing.assert_array_equal(np.isnan(traces.losses), np.repeat(np.arange(200)[:, None] >= 50, EXITS, axis=1))

    def test_labels_that_are_no_classes_are_refused_beside_missing_ones(self) -> None:
        with pytest.raises(ValueError, match=r"labels: expected classes 0\.\.3, got 4"):
            network().record([(inputs(3), torch.tensor([-100, 1, 4]))], **QUIET)


class TestBadCallables:
    """Errors name the exit and the batch; what was recorded before is kept."""

    @pytest.mark.parametrize(
        ("kind", "message", "change"),
        [
            (ValueError, r"{floats}, got \(4, 2\) float32", lambda v: torch.stack([v, v], 1)),
            (ValueError, r"{floats}, got \(\) float32", lambda v: v.mean()),
            (ValueError, r"{floats}, got \(4,\) float32 on meta", lambda v: v.to("meta")),
            (TypeError, r"{floats}, got \(4,\) int64", lambda v: v.long()),
            (TypeError, r"{floats}, got \(4,\) bool", lambda v: v > 0),
            (TypeError, "{floats}, got list", lambda v: v.tolist()),
            (ValueError, "{finite}, got nan for row 6 of the loader", lambda v: v.where(torch.arange(4) != 2, NAN)),
            (ValueError, "{finite}, got inf for row 4 of the loader", lambda v: v + torch.inf),
            (RuntimeError, r"\S+ raised at {place}: ZeroDivisionError: division by zero", lambda v: 1 / 0),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("name", ["loss", "signal"])
    def test_what_they_give(self, name: str, kind: type[Exception], message: str, change: Any, tmp_path: Path) -> None:
        calls: list[int] = []

        def wrong(output: Any, *target: Any) -> Any:
            calls.append(len(output))
            value = squared(output, *target) if target else certainty(output)
            return change(value) if len(calls) == EXITS + 3 else value  # at exit 2 of the second batch

        x, _, y = REGRESSION.batch()
        loader = [(x[i : i + 4], y[i : i + 4]) for i in range(0, 12, 4)]
        options = {"loss": squared, "signal": certainty, **QUIET, name: wrong, "resume": tmp_path / "part.npz"}
        model = REGRESSION.model()
        message = message.format(
            place="exit 2, batch 1",
            floats=r"expected \(4,\) floats on cpu, one a row, at exit 2, batch 1",
            finite="expected finite numbers.*, at exit 2, batch 1",
        )
        with pytest.raises(kind, match=f"^{name}: {message}"):
            model.record(loader, **options)
        assert len(ttamer.Traces.load(options["resume"])) == 4
        whole = model.record(loader, loss=squared, signal=certainty, **QUIET)
        same(model.record(loader, **options), whole)  # the second time it does not fail

    def test_negative_losses(self) -> None:
        x, _, y = REGRESSION.batch(4)
        options = {"loss": lambda output, y: output[:, 0] - y - 1e3, "signal": certainty, **QUIET}
        with pytest.raises(ValueError, match=r"^loss: expected finite numbers >= 0, at exit 0, batch 0, got -\d"):
            REGRESSION.model().record([(x, y)], **options)

    def test_gradients_are_not_kept(self) -> None:
        weight = nn.Parameter(torch.ones(()))

        @torch.enable_grad()
        def scaled(output: Any, target: Any) -> Any:
            return weight * squared(output, target)

        x, _, y = REGRESSION.batch()
        traces = REGRESSION.model().record([(x, y)], loss=scaled, signal=certainty, **QUIET)
        same(traces, REGRESSION.model().record([(x, y)], loss=squared, signal=certainty, **QUIET))

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("one logit (B, 1)", {}, r"\(200, 1\) float32 on cpu; for outputs of another form pass loss and signal: "),
            ("one logit (B, 1)", {"loss": binary_error}, r"\(200, 1\) .* pass signal: "),
            ("one logit (B,)", {"signal": "margin", "loss": binary_error}, r"\(200,\) .* pass signal: "),
            ("tokens", {"signal": negative_entropy}, r"\(200, 7, 4\) .* pass loss: record\(loader, loss="),
        ],
    )  # fmt: skip
    def test_outputs_that_are_no_logits_of_classes(self, name: str, options: dict[str, Any], message: str) -> None:
        task = TASKS[name]
        x, keywords, target = task.batch()
        target = target if "loss" in options else None
        message = r"exit 0: expected \(200, C\) logits of C >= 2 classes, got " + message
        with pytest.raises(ValueError, match=message):
            task.model().record([(x, keywords, target)], **options, **QUIET)

    def test_targets_that_are_no_classes(self) -> None:
        """Its two columns could be logits of classes."""
        x, _, y = REGRESSION.batch()
        with pytest.raises(TypeError, match=r"labels: expected \(200,\) integers, one a request, got \(200,\) float32"):
            REGRESSION.model().record([(x, y)], **QUIET)

    def test_no_callables(self) -> None:
        x, _, y = REGRESSION.batch()
        for kind, message, options in [
            (TypeError, "loss: expected a callable, got str", {"loss": "mse"}),
            (TypeError, "signal: expected a str, got int", {"signal": 3}),
            (ValueError, "signal: expected max_prob, margin, entropy or logit_margin, got 'best'", {"signal": "best"}),
        ]:
            with pytest.raises(kind, match=message):
                REGRESSION.model().record([(x, y)], **options, **QUIET)
        with pytest.raises(TypeError, match="signal: expected a str, got int"):
            EarlyExit([nn.Identity()], [nn.Linear(WIDTH, 1)], 3)  # type: ignore[arg-type]

    def test_exits_of_different_forms(self) -> None:
        x = torch.zeros(4, WIDTH)
        deep = nn.Sequential(nn.Linear(WIDTH, 6), nn.Unflatten(1, (2, 3)))
        for exits, message in [
            ([deep, nn.Sequential(nn.Linear(WIDTH, 6), nn.Unflatten(1, (3, 2)))],
             r"exit 1: expected \(4, 2, 3\) like the exits before it, got \(4, 3, 2\); all exits answer the same"),
            ([deep, nn.Linear(WIDTH, 6)], r"exit 1: expected 3 dimensions, the first 4, got \(4, 6\)"),
            ([nn.Linear(WIDTH, 6), deep], r"exit 1: expected \(4, C\) logits, got \(4, 2, 3\)"),
        ]:  # fmt: skip
            with pytest.raises(ValueError, match=message):
                EarlyExit([nn.Identity(), nn.Identity()], exits).all_logits(x)


class TestResume:
    def record(self, model: EarlyExit, loader: Any, **options: Any) -> ttamer.Traces:
        return model.record(loader, **{"loss": squared, "signal": certainty, **QUIET, **options})

    def loader(self, size: int = 64) -> list[Any]:
        return REGRESSION.batches(size)

    def stopped(self, after: int) -> Iterator[Any]:
        yield from self.loader()[:after]
        raise KeyboardInterrupt

    @pytest.mark.parametrize("name", TASKS)
    @pytest.mark.parametrize("after", [1, 3])
    def test_the_same_traces(self, name: str, after: int, tmp_path: Path) -> None:
        task, file = TASKS[name], tmp_path / "part.npz"
        options = {"loss": task.loss, "signal": task.signal, **QUIET}
        whole = task.model().record(task.batches(), **options)
        # Stopped by an input that the model cannot take.
        with pytest.raises(TypeError, match=f"loader: expected .* as batch {after}"):
            task.model().record([*task.batches()[:after], "x"], resume=file, **options)
        assert len(ttamer.Traces.load(file)) == 64 * after
        same(task.model().record(task.batches(), resume=file, **options), whole)
        same(ttamer.Traces.load(file), whole)
        same(task.model().record(task.batches(), resume=file, **options), whole)
        same(task.model().record(task.batches(50), resume=file, **options), whole)  # batches may be cut otherwise

    def test_other_callables_are_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "part.npz"
        with pytest.raises(KeyboardInterrupt):
            self.record(REGRESSION.model(), self.stopped(2), resume=file)
        content = file.read_bytes()

        def other(output: Any, *target: Any) -> Any:
            return output[:, 0].abs()

        x, _, y = REGRESSION.batch()
        integers = [(x, (y > 0).long())]
        for message, loader, options in [
            ("was recorded with loss 'torch_tasks.squared', not .*other'", REGRESSION.batches(), {"loss": other}),
            ("was recorded with signal 'torch_tasks.certainty', not 'margin'", integers, {"signal": "margin"}),
            ("was recorded with signal 'torch_tasks.certainty', not .*other'", REGRESSION.batches(), {"signal": other}),
            ("was recorded with loss 'torch_tasks.squared', not '0/1 error'", integers, {"loss": None}),
        ]:  # fmt: skip
            with pytest.raises(ValueError, match=f"resume: .*part.npz {message}"):
                self.record(REGRESSION.model(), loader, resume=file, **options)
            assert file.read_bytes() == content

    @pytest.mark.parametrize(("field", "option"), [("losses", "loss"), ("signals", "signal")])
    def test_others_of_the_same_name_are_refused(self, field: str, option: str, tmp_path: Path) -> None:
        def scaled(factor: float) -> Any:
            return lambda output, *target: factor * (squared(output, *target) if target else certainty(output))

        file = tmp_path / "part.npz"
        self.record(REGRESSION.model(), self.loader()[:2], resume=file, **{option: scaled(1.0)})
        with pytest.raises(ValueError, match=f"resume: .*part.npz has other {field} for the first rows; give the same"):
            self.record(REGRESSION.model(), self.loader(), resume=file, **{option: scaled(1.1)})
        assert len(self.record(REGRESSION.model(), self.loader(), resume=file, **{option: scaled(1.0)})) == 200

    def test_files_that_say_nothing_of_callables(self, tmp_path: Path) -> None:
        """The names are the archive's comment: the file is one of ordinary traces."""
        file = tmp_path / "part.npz"
        traces = self.record(REGRESSION.model(), self.loader()[:2], resume=file)
        for comment in (b"", b"somebody else's", b"[1]"):
            traces.save(file)
            with zipfile.ZipFile(file, "a") as archive:
                archive.comment = comment
            same(ttamer.Traces.load(file), traces)
            with pytest.raises(ValueError, match="was recorded with loss '0/1 error', not 'torch_tasks.squared'"):
                self.record(REGRESSION.model(), self.loader(), resume=file)

    def test_labels_are_compared(self, tmp_path: Path) -> None:
        task, file = TASKS["entropy"], tmp_path / "part.npz"
        options = {"loss": class_error, "resume": file, **QUIET}
        x, _, y = task.batch()
        task.model().record([(x, y)], **options)
        for other in (torch.where(torch.arange(200) == 9, -100, y), y.float(), (y + 1) % CLASSES):
            with pytest.raises(ValueError, match="resume: .*part.npz has other labels than rows 0 on of the loader"):
                task.model().record([(x, other)], **options)


def test_recipes_of_the_docs() -> None:
    """The lines of the table are the functions that are tested here."""
    page = (REPOSITORY / "docs" / "torch.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .*, \((.+)\) \| `(lambda .+)` \| `(lambda .+)` \|$", page, flags=re.MULTILINE)
    names = {"B, 1": "one logit (B, 1)", "B, L": "labels", "B, items": "ranking", "B, T, C": "tokens",
             "B, C + 1": "learned exit"}  # fmt: skip
    assert [form for form, *_ in rows] == list(names)
    for form, loss, signal in rows:
        task = TASKS[names[form]]
        x, keywords, target = task.batch()
        output = task.model().all_logits(x, **keywords)[1].detach()
        torch.testing.assert_close(eval(loss)(output, target), task.loss(output, target))
        torch.testing.assert_close(eval(signal)(output), task.signal(output))


def test_recipes_of_the_tests() -> None:
    output = torch.tensor([[2.0, -1.0, 0.5], [-1.0, 3.0, 1.0]])
    assert hamming(output, torch.tensor([[True, True, True], [True, False, True]])).tolist() == pytest.approx(
        [1 / 3, 2 / 3]
    )
    assert TASKS["ranking"].loss(output, torch.tensor([2, 0])).tolist() == pytest.approx([0.5, 2 / 3])
    assert TASKS["ranking"].signal(output).tolist() == [1.5, 2.0]
    assert last_column(output).tolist() == [0.5, 1.0]
