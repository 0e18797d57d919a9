"""Recording: labelled requests through every exit, batch by batch, to traces; can be stopped and taken up again.

What is recorded so far is kept as ordinary traces, so there is no other file format: how far a run has come is how many
rows they have.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ttamer._base import checks, files
from ttamer._core import Topology, logit_signals
from ttamer.torch.decide.callables import LossFunction, SignalFunction, check_kind, column, name_of
from ttamer.torch.decide.flight import describe
from ttamer.torch.loss import NO_LABEL
from ttamer.torch.parts import INPUTS, Network, listed, run, unpacked
from ttamer.torch.record.timing import PartCosts, Sample, measure, sizes_up_to
from ttamer.torch.serve import nested
from ttamer.torch.serve.attach import check_shape
from ttamer.traces import Evidence, Traces, arguments
from ttamer.traces.traces import concatenated

AGREEMENT = 0.01
"""How far a resumed run's first log-probabilities may lie from the kept ones: further than sums in another order bring
them, less far than another model does."""

LABELS = ("labels", "label")
"""What labels are called in a mapping."""
CLASS_LOSS = "0/1 error"
"""Name of the loss that is no callable."""

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Batch:
    """A batch of the loader, on the device.

    Attributes
    ----------
    x : Any
    keywords : dict
    target : Any
        Its labels, in whichever form; None if there are none.
    number : int
        Of the batch in the loader.
    """

    x: Any
    keywords: dict[str, Any]
    target: Any
    number: int


class Column(NamedTuple):
    """What was recorded of one exit for B requests."""

    signals: Array
    losses: Array
    evidence: Evidence | None


@dataclass(frozen=True)
class Settings:
    """What `EarlyExit.record` was asked for; see there."""

    loss: LossFunction | None
    signal: str | SignalFunction
    topology: Topology | None
    batch_size: int | None
    full_batches: bool
    repeats: int
    costs: npt.ArrayLike | None
    unit: str
    top: int
    resume: str | PathLike[str] | None
    save_every: int
    progress: bool

    def __post_init__(self) -> None:
        if self.loss is not None and not callable(self.loss):
            raise TypeError(f"loss: expected a callable, got {type(self.loss).__name__}")
        check_kind(self.signal)
        if self.batch_size is not None:
            checks.whole("batch_size", self.batch_size, 1)
        checks.flag("full_batches", self.full_batches)
        for name in ("repeats", "top", "save_every"):
            checks.whole(name, getattr(self, name), 1)

    @property
    def has_classes(self) -> bool:
        """Whether outputs have to be logits of classes, and evidence is kept."""
        return self.loss is None or isinstance(self.signal, str)

    @property
    def kind(self) -> str:
        """Kind of the signals, "" for the user's own."""
        return self.signal if isinstance(self.signal, str) else ""

    @property
    def names(self) -> dict[str, str]:
        """Names of the callables."""
        return {name: name_of(value) for name in ("loss", "signal") if callable(value := getattr(self, name))}


def record(model: Network, loader: Iterable[Any], device: torch.device | str | None, settings: Settings) -> Traces:
    """See `EarlyExit.record`."""
    exits = len(model.exits)
    topology = arguments.topology_of(settings.topology, exits)
    check_shape("topology", topology, exits)
    costs = None if settings.costs is None else arguments.edge_costs(settings.costs, topology)
    if device is not None:
        model.to(device)
    recorder = _Recorder(model, topology, costs, settings)
    # Not inference_mode: a loader or a stage may keep tensors that it makes here, and those could not be trained on.
    parts = [part for part in (model, settings.loss, settings.signal) if isinstance(part, nn.Module)]
    with _evaluating(parts), torch.no_grad(), _progress(settings.progress, loader) as advance:
        return recorder.run(loader, advance)


class _Recorder:
    """A run over a loader, and what has been recorded."""

    def __init__(self, model: Network, topology: Topology, costs: Array | None, settings: Settings) -> None:
        self._model, self._topology, self._settings = model, topology, settings
        self._costs = costs
        self._unit = "ms" if costs is None else settings.unit
        self._parts: list[Traces] = []
        self._path = None if settings.resume is None else Path(checks.path("resume", settings.resume))
        self._earlier_part: Traces | None = None
        if self._path is not None and not self._path.parent.is_dir():
            # Raised before anything is recorded, not at the first save.
            raise FileNotFoundError(f"resume: expected a file in a folder that exists, got {self._path}")
        if self._path is not None and self._path.exists():
            self._earlier_part = Traces.load(self._path)
            self._check_settings(self._earlier_part)
            self._costs = self._earlier_part.costs
            self._parts = [self._earlier_part]

    def run(self, loader: Iterable[Any], advance: Callable[[], None]) -> Traces:
        """Record all batches of the loader that are not recorded yet."""
        part_count, row_count = len(self._parts), 0
        try:
            for number, item in enumerate(loader):
                batch = _unpack(item, number, self._model)
                rows, _ = self._model._check(batch.x, batch.keywords)
                if self._settings.loss is None:
                    _labels(batch, rows)  # before anything is measured
                self._record(batch, rows, row_count)
                row_count += rows
                advance()
                if (number + 1) % self._settings.save_every == 0 and len(self._parts) > part_count:
                    self._save()
                    part_count = len(self._parts)
            self._check_end(row_count)
        finally:
            # Also when interrupted: batches are taken whole or not at all.
            if len(self._parts) > part_count:
                self._save()
        return self._joined()

    def _record(self, batch: Batch, rows: int, row_count: int) -> None:
        """Record the rows of a batch that are new, and compare those that are not with what is kept."""
        if self._costs is None and rows:
            self._costs = self._measured(batch, rows)
        overlap = 0 if self._earlier_part is None else min(max(len(self._earlier_part) - row_count, 0), rows)
        if overlap:
            self._compare(batch, rows, overlap, row_count)
        if overlap < rows:
            self._parts.append(self._observed(batch, rows, row_count)[overlap:])

    def _observed(self, batch: Batch, rows: int, first_row: int) -> Traces:
        """Traces of one batch."""
        columns = [self._column(node, output, batch, first_row) for node, output in self._outputs(batch, rows)]
        losses = np.stack([column.losses for column in columns], axis=1)
        evidence = [column.evidence for column in columns if column.evidence is not None]
        return Traces._checked(
            signals=np.stack([column.signals for column in columns], axis=1),
            losses=losses,
            costs=self._made_costs(),
            topology=self._topology,
            unit=self._unit,
            signal=self._settings.kind,
            labels=_class_labels(batch, rows, evidence[0].class_count) if evidence else None,
            evidence=_side_by_side(evidence) if evidence else None,
        )

    def _outputs(self, batch: Batch, rows: int) -> Iterator[tuple[int, Tensor]]:
        """What one exit after the other gives, so that outputs of all exits are never held at once."""
        like, x = None, batch.x
        for node, (stage, leave) in enumerate(self._model._parts()):
            x = run(stage, x, batch.keywords)
            nested.check_hidden(x, rows, node)
            like = nested.check_output(run(leave, x, batch.keywords), rows, node, like)
            yield node, like

    def _column(self, node: int, output: Tensor, batch: Batch, first_row: int) -> Column:
        """What is recorded of one exit."""
        settings, rows = self._settings, output.shape[0]
        signals = losses = evidence = None
        if settings.has_classes:
            values = self._class_logits(node, output, first_row)
            labels = np.full(rows, NO_LABEL) if settings.loss is not None else _labels(batch, rows)
            known = labels != NO_LABEL
            probs = values.double().softmax(dim=1).numpy()[:, None]
            one = Traces.from_probs(probs, np.where(known, labels, 0), [0.0], top=settings.top)
            evidence, losses = one.evidence, np.where(known, one.losses[:, 0], np.float32(np.nan))
            if isinstance(settings.signal, str):
                signals = logit_signals(values.numpy(), settings.signal)
        place = f"exit {node}, batch {batch.number}"
        if not isinstance(settings.signal, str):
            signals = _finite("signal", column("signal", settings.signal, output, place=place), place, first_row)
        if settings.loss is not None and batch.target is None:
            losses = np.full(rows, np.nan, np.float32)
        elif settings.loss is not None:
            values = column("loss", settings.loss, output, batch.target, place=place)
            losses = _finite("loss", values, place, first_row, 0.0)
        assert signals is not None
        assert losses is not None
        return Column(signals, losses, evidence)

    def _class_logits(self, node: int, output: Tensor, first_row: int) -> Tensor:
        """An exit's output on the CPU in float32, if it is logits of classes; else raise."""
        if output.ndim != 2 or output.shape[1] < 2 or not output.is_floating_point():
            missing = [name for name in ("loss", "signal") if name not in self._settings.names]
            raise ValueError(
                f"exit {node}: expected ({output.shape[0]}, C) logits of C >= 2 classes, got {describe(output)}; for "
                f"outputs of another form pass {' and '.join(missing)}: record(loader, loss=..., signal=...)"
            )
        values = output.float().cpu().contiguous()
        # A softmax needs logits without NaN or +inf, not all of them -inf: then, and only then, the largest is finite.
        bad = ~values.amax(dim=1).isfinite()
        if bad.any():
            row = first_row + int(bad.nonzero()[0])
            raise ValueError(
                f"exit {node}: expected logits that have a softmax, got NaN, +inf or only -inf "
                f"for row {row} of the loader"
            )
        return values

    def _measured(self, batch: Batch, rows: int) -> Array:
        """Costs of the edges, timed on the requests of the first batch."""
        size = self._settings.batch_size or rows
        sizes = [size] if self._settings.full_batches else sizes_up_to(size)
        device, repeats = next(nested.tensors_of(batch.x)).device, self._settings.repeats
        times = [measure(self._model, self._samples(batch, rows, size), repeats, device) for size in sizes]
        return PartCosts.of(sizes, np.array(times), self._topology.kind == "line").edge_costs(self._topology)

    def _samples(self, batch: Batch, rows: int, size: int) -> list[Sample]:
        """Inputs of so many rows each from those of a batch."""
        samples: list[Sample] = []
        device = next(nested.tensors_of(batch.x)).device
        for k in range(min(self._settings.repeats, max(1, rows // size))):
            index = torch.from_numpy((k * size + np.arange(size)) % rows).to(device)
            keywords = {name: nested.select(value, index) for name, value in batch.keywords.items()}
            samples.append((nested.select(batch.x, index), keywords))
        return samples

    def _made_costs(self) -> Array:
        assert self._costs is not None
        return self._costs

    def _save(self) -> None:
        if self._path is None:
            return
        if not self._settings.names:
            self._joined().save(self._path)
            return
        with TemporaryDirectory() as folder:
            scratch = Path(folder, "traces.npz")
            self._joined().save(scratch)
            data = scratch.read_bytes()
        # Names of callables are no part of traces: they are the comment of the archive, whose length comes last.
        comment = json.dumps(self._settings.names).encode()
        files.write(self._path, data[:-2] + len(comment).to_bytes(2, "little") + comment)

    def _joined(self) -> Traces:
        if len(self._parts) > 1:
            if any(part.labels is None for part in self._parts):
                self._parts[:] = [part._with(labels=None) for part in self._parts]
            self._parts[:] = [concatenated(self._parts)]
        return self._parts[0]

    def _check_settings(self, recording: Traces) -> None:
        """Raise unless the file was recorded as this run is."""
        evidence = recording.evidence
        kinds = {"loss": CLASS_LOSS, "signal": self._settings.kind} | self._settings.names
        settings = {"topology": self._topology, **kinds, "unit": self._unit}
        kinds = {"loss": CLASS_LOSS, "signal": recording.signal} | _names_in(self._path)
        contents = {"topology": recording.topology, **kinds, "unit": recording.unit}
        if evidence is not None and evidence.top != min(self._settings.top, evidence.class_count):
            settings["top"], contents["top"] = self._settings.top, evidence.top
        for name, value in settings.items():
            if contents[name] != value:
                raise ValueError(f"resume: {self._path} was recorded with {name} {contents[name]!r}, not {value!r}")
        lacks_labels = recording.labels is None and not self._settings.names and not np.isnan(recording.losses).any()
        if self._settings.has_classes and (evidence is None or lacks_labels):
            raise ValueError(f"resume: {self._path} holds no recording: traces without evidence or labels")
        if self._costs is not None and not np.array_equal(recording.costs, self._costs):
            raise ValueError(f"resume: {self._path} was recorded with costs {recording.costs.tolist()}")

    def _compare(self, batch: Batch, rows: int, overlap: int, row_count: int) -> None:
        """Raise unless the first rows of a batch are those that are kept."""
        assert self._earlier_part is not None
        advice = "give the same loader, without shuffling, and the same model, or another file"
        reference = self._earlier_part[row_count : row_count + overlap]
        labels = None if reference.labels is None else _labels_if_any(batch, rows)
        if reference.labels is not None and (labels is None or not np.array_equal(labels[:overlap], reference.labels)):
            raise ValueError(f"resume: {self._path} has other labels than rows {row_count} on of the loader; {advice}")
        if row_count > 0:
            return  # one batch tells one model from another; the labels of all are compared
        found = self._observed(batch, rows, 0)[:overlap]
        if found.evidence is not None and reference.evidence is not None:
            classes, others = reference.evidence.class_count, found.evidence.class_count
            if classes != others:
                raise ValueError(f"resume: {self._path} has {classes} classes, the model {others}")
            gap = float(np.abs(found.evidence.log_probs - reference.evidence.log_probs).max())
            if gap > AGREEMENT:
                raise ValueError(
                    f"resume: {self._path} has other probabilities for the first rows, by up to {gap:.2g} in "
                    f"logarithms; {advice}"
                )
        for name in self._settings.names:
            field = {"loss": "losses", "signal": "signals"}[name]
            mine, kept = getattr(found, field), getattr(reference, field)
            scale = float(np.nanmax(np.abs(kept), initial=0.0))
            if not np.allclose(mine, kept, rtol=0, atol=AGREEMENT * scale, equal_nan=True):
                raise ValueError(f"resume: {self._path} has other {field} for the first rows; {advice}")

    def _check_end(self, row_count: int) -> None:
        if row_count == 0:
            raise ValueError("loader: expected at least one batch with rows, got none")
        if self._earlier_part is not None and row_count < len(self._earlier_part):
            raise ValueError(
                f"resume: {self._path} has {len(self._earlier_part)} rows, the loader gave {row_count}; "
                "give the same loader"
            )


def _side_by_side(evidence: list[Evidence]) -> Evidence:
    """Evidence of all exits from that of each."""
    return Evidence(
        np.concatenate([one.log_probs for one in evidence], axis=1),
        np.concatenate([one.classes for one in evidence], axis=1),
        evidence[0].class_count,
    )


def _names_in(path: Path | None) -> dict[str, str]:
    """Names of the callables that a file was recorded with."""
    assert path is not None
    with zipfile.ZipFile(path) as archive:
        try:
            names = json.loads(archive.comment)
        except ValueError:  # none, or a comment of somebody else's
            return {}
    return names if isinstance(names, dict) else {}


def _unpack(item: Any, number: int, model: Network) -> Batch:
    """A batch of the loader on the device of the model."""
    x: Any = None
    keywords: Mapping[str, Any] = {}
    target: Any = None
    if isinstance(item, Tensor):
        x = item
    elif isinstance(item, (tuple, list)) and len(item) == 1:
        (x,) = item
    elif isinstance(item, (tuple, list)) and len(item) == 2:
        x, target = item
    elif isinstance(item, (tuple, list)) and len(item) == 3 and isinstance(item[1], Mapping):
        x, keywords, target = item
    elif isinstance(item, Mapping) and _count(INPUTS, item) == 1 and _count(LABELS, item) <= 1:
        target = next((item[name] for name in LABELS if name in item), None)
        keywords = {name: value for name, value in item.items() if name not in LABELS}
    else:
        names = f" of {listed(item)}" if isinstance(item, Mapping) else ""
        raise TypeError(
            f"loader: expected (inputs, labels) or (inputs, keywords, labels), the keywords a dict, inputs alone, or a "
            f"mapping with {' or '.join(INPUTS)} and at most one of {' and '.join(LABELS)}, "
            f"got {type(item).__name__}{names} as batch {number}; make one of these of what it yields"
        )
    x, keywords = unpacked(model.stages[0], x, keywords)
    device = model._device()
    tensors = {name: nested.to_device(value, device) for name, value in keywords.items()}
    return Batch(nested.to_device(x, device), tensors, nested.to_device(target, device), number)


def _count(names: Iterable[str], item: Mapping[str, Any]) -> int:
    return sum(name in item for name in names)


def _labels(batch: Batch, rows: int) -> Array:
    """Labels of a batch of classes, `NO_LABEL` where there is none; those that are no classes are refused later."""
    if batch.target is None:
        return np.full(rows, NO_LABEL)
    if isinstance(batch.target, Tensor):
        labels = batch.target.detach().cpu().numpy()
    else:
        checks.check_readable("labels", batch.target)
        labels = np.asarray(batch.target)
    if labels.shape != (rows,) or labels.dtype.kind not in "iu":
        kind = ValueError if labels.dtype.kind in "iu" else TypeError
        raise kind(
            f"labels: expected ({rows},) integers, one a request, got {checks.describe(labels)} as batch {batch.number}"
        )
    return labels


def _labels_if_any(batch: Batch, rows: int) -> Array | None:
    """Labels of a batch of classes; None of what else a loss of the user's own may take."""
    try:
        return _labels(batch, rows)
    except (TypeError, ValueError):
        return None


def _class_labels(batch: Batch, rows: int, classes: int) -> Array | None:
    """Labels of a batch, if every request has one that is a class."""
    labels = _labels_if_any(batch, rows)
    return labels if labels is not None and ((labels >= 0) & (labels < classes)).all() else None


def _finite(name: str, values: Tensor, place: str, first_row: int, least: float = -np.inf) -> Array:
    """The numbers that a callable gave, on the CPU; ValueError unless they are finite and not below the least."""
    array: Array = values.cpu().numpy()
    bad = ~(np.isfinite(array) & (array >= least))
    if bad.any():
        row = int(bad.argmax())
        limit = "" if least == -np.inf else f" >= {least:g}"
        raise ValueError(
            f"{name}: expected finite numbers{limit}, at {place}, got {array[row]} for row {first_row + row} "
            "of the loader"
        )
    return array


@contextmanager
def _evaluating(parts: list[nn.Module]) -> Iterator[None]:
    """Evaluation mode; afterwards every module is in the mode it was in."""
    modes = [(module, module.training) for part in parts for module in part.modules()]
    for part in parts:
        part.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _progress(shown: bool, loader: Iterable[Any]) -> Iterator[Callable[[], None]]:
    """What to call after each batch."""
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        shown = False
    if not shown:
        yield lambda: None
        return
    try:
        total = len(loader)  # type: ignore[arg-type]
    except TypeError:  # no length, or a data loader over an endless set, which says so when asked
        total = None
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("recording", total=total)
        yield lambda: bar.advance(task)
