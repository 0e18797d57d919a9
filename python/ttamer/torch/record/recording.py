"""Recording: labelled requests through every exit, batch by batch, to traces; can be stopped and taken up again.

What is recorded so far is kept as ordinary traces, so there is no other file format: how far a run has come is how many
rows they have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ttamer._base import checks
from ttamer._core import Topology, logit_signals
from ttamer.torch.parts import Network, run
from ttamer.torch.record.timing import Sample, measure
from ttamer.torch.serve import nested
from ttamer.torch.serve.attach import check_shape
from ttamer.traces import Evidence, Traces, arguments
from ttamer.traces.traces import concatenated

AGREEMENT = 0.01
"""How far a resumed run's first log-probabilities may lie from the kept ones: further than sums in another order bring
them, less far than another model does."""

Array = npt.NDArray[Any]
LabelledBatch = tuple[Any, dict[str, Any], Array]
"""Input, keywords and labels of a batch."""


@dataclass(frozen=True)
class Settings:
    """What `EarlyExit.record` was asked for; see there."""

    topology: Topology | None
    batch_size: int | None
    repeats: int
    costs: npt.ArrayLike | None
    unit: str
    top: int
    resume: str | PathLike[str] | None
    save_every: int
    progress: bool

    def __post_init__(self) -> None:
        if self.batch_size is not None:
            checks.whole("batch_size", self.batch_size, 1)
        for name in ("repeats", "top", "save_every"):
            checks.whole(name, getattr(self, name), 1)


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
    with _evaluating(model), torch.no_grad(), _progress(settings.progress, loader) as advance:
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
                batch = _unpack(item, number, self._model._device())
                rows, _ = self._model._check(batch[0], batch[1])
                _check_labels(batch[2], rows, number)
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

    def _record(self, batch: LabelledBatch, rows: int, row_count: int) -> None:
        """Record the rows of a batch that are new, and compare those that are not with what is kept."""
        if self._costs is None and rows:
            self._costs = self._measured(batch, rows)
        overlap = 0 if self._earlier_part is None else min(max(len(self._earlier_part) - row_count, 0), rows)
        if overlap:
            self._compare(batch, overlap, row_count)
        if overlap < rows:
            remainder = batch if overlap == 0 else _part_of(batch, np.arange(overlap, rows))
            self._parts.append(self._observed(remainder, row_count + overlap))

    def _observed(self, batch: LabelledBatch, first_row: int) -> Traces:
        """Traces of one batch."""
        x, keywords, labels = batch
        exits = [self._exit_seen(node, logits, labels, first_row) for node, logits in self._logits(x, keywords)]
        signals, nodes = [one[0] for one in exits], [one[1] for one in exits]
        return _stacked(signals, nodes, self._made_costs(), self._topology, self._unit, self._model.signal)

    def _logits(self, x: Any, keywords: dict[str, Any]) -> Iterator[tuple[int, Tensor]]:
        """Logits of one exit after the other, so that those of all exits are never held at once."""
        like = None
        rows, _ = nested.count_rows(x, keywords)
        for node, (stage, leave) in enumerate(self._model._parts()):
            x = run(stage, x, keywords)
            nested.check_hidden(x, rows, node)
            like = nested.check_logits(run(leave, x, keywords), rows, node, like)
            yield node, like

    def _exit_seen(self, node: int, logits: Tensor, labels: Array, first_row: int) -> tuple[Array, Traces]:
        """Signals of one exit, and traces of it alone."""
        values = logits.float().cpu().contiguous()
        # A softmax needs logits without NaN or +inf, not all of them -inf: then, and only then, the largest is finite.
        bad = ~values.amax(dim=1).isfinite()
        if bad.any():
            row = first_row + int(bad.nonzero()[0])
            raise ValueError(
                f"exit {node}: expected logits that have a softmax, got NaN, +inf or only -inf "
                f"for row {row} of the loader"
            )
        probs = values.double().softmax(dim=1).numpy()[:, None]
        return logit_signals(values.numpy(), self._model.signal), Traces.from_probs(
            probs, labels, [0.0], top=self._settings.top
        )

    def _measured(self, batch: LabelledBatch, rows: int) -> Array:
        """Costs of the edges, timed on the requests of the first batch."""
        size = self._settings.batch_size or rows
        count = min(self._settings.repeats, max(1, rows // size))
        samples: list[Sample] = []
        for k in range(count):
            x, keywords, _ = _part_of(batch, (k * size + np.arange(size)) % rows)
            samples.append((x, keywords))
        device = next(nested.tensors_of(samples[0][0])).device
        return measure(self._model, samples, size, self._settings.repeats, device).edge_costs(self._topology)

    def _made_costs(self) -> Array:
        assert self._costs is not None
        return self._costs

    def _save(self) -> None:
        if self._path is not None:
            self._joined().save(self._path)

    def _joined(self) -> Traces:
        if len(self._parts) > 1:
            self._parts[:] = [concatenated(self._parts)]
        return self._parts[0]

    def _check_settings(self, recording: Traces) -> None:
        """Raise unless the file was recorded as this run is."""
        evidence = recording.evidence
        settings = {"topology": self._topology, "signal": self._model.signal, "unit": self._unit}
        contents = {"topology": recording.topology, "signal": recording.signal, "unit": recording.unit}
        if evidence is None or recording.labels is None:
            raise ValueError(f"resume: {self._path} holds no recording: traces without evidence or labels")
        if evidence.top != min(self._settings.top, evidence.class_count):
            settings["top"], contents["top"] = self._settings.top, evidence.top
        for name, value in settings.items():
            if contents[name] != value:
                raise ValueError(f"resume: {self._path} was recorded with {name} {contents[name]!r}, not {value!r}")
        if self._costs is not None and not np.array_equal(recording.costs, self._costs):
            raise ValueError(f"resume: {self._path} was recorded with costs {recording.costs.tolist()}")

    def _compare(self, batch: LabelledBatch, overlap: int, row_count: int) -> None:
        """Raise unless the first rows of a batch are those that are kept."""
        assert self._earlier_part is not None
        assert self._earlier_part.labels is not None
        assert self._earlier_part.evidence is not None
        advice = "give the same loader, without shuffling, and the same model, or another file"
        if not np.array_equal(batch[2][:overlap], self._earlier_part.labels[row_count : row_count + overlap]):
            raise ValueError(f"resume: {self._path} has other labels than rows {row_count} on of the loader; {advice}")
        if row_count > 0:
            return  # one batch tells one model from another; the labels of all are compared
        evidence = self._observed(_part_of(batch, np.arange(overlap)), 0).evidence
        assert evidence is not None
        reference = self._earlier_part.evidence[:overlap]
        if evidence.class_count != reference.class_count:
            raise ValueError(
                f"resume: {self._path} has {reference.class_count} classes, the model {evidence.class_count}"
            )
        gap = float(np.abs(evidence.log_probs - reference.log_probs).max())
        if gap > AGREEMENT:
            raise ValueError(
                f"resume: {self._path} has other probabilities for the first rows, by up to {gap:.2g} in logarithms; "
                f"{advice}"
            )

    def _check_end(self, row_count: int) -> None:
        if row_count == 0:
            raise ValueError("loader: expected at least one batch with rows, got none")
        if self._earlier_part is not None and row_count < len(self._earlier_part):
            raise ValueError(
                f"resume: {self._path} has {len(self._earlier_part)} rows, the loader gave {row_count}; "
                "give the same loader"
            )


def _stacked(
    signals: Sequence[Array], nodes: Sequence[Traces], costs: Array, topology: Topology, unit: str, signal: str
) -> Traces:
    """Traces of all nodes from traces of each."""
    evidence = [node.evidence for node in nodes if node.evidence is not None]
    return Traces(
        np.stack(signals, axis=1),
        np.concatenate([node.losses for node in nodes], axis=1),
        costs,
        topology,
        unit=unit,
        signal=signal,
        labels=nodes[0].labels,
        evidence=Evidence(
            np.concatenate([one.log_probs for one in evidence], axis=1),
            np.concatenate([one.classes for one in evidence], axis=1),
            evidence[0].class_count,
        ),
    )


def _unpack(item: Any, number: int, device: torch.device | None) -> LabelledBatch:
    """A batch of the loader on the device, its labels as a NumPy array."""
    x: Any
    keywords: Any = {}
    if isinstance(item, (tuple, list)) and len(item) == 2:
        x, labels = item
    elif isinstance(item, (tuple, list)) and len(item) == 3 and isinstance(item[1], Mapping):
        x, keywords, labels = item
    else:
        raise TypeError(
            f"loader: expected (inputs, labels) or (inputs, keywords, labels), the keywords a dict, "
            f"got {type(item).__name__} as batch {number}; make such tuples of what it yields"
        )
    if isinstance(labels, Tensor):
        values = labels.detach().cpu().numpy()
    else:
        checks.check_readable("labels", labels)
        values = np.asarray(labels)
    tensors = {name: nested.to_device(value, device) for name, value in keywords.items()}
    return nested.to_device(x, device), tensors, values


def _check_labels(labels: Array, rows: int, number: int) -> None:
    """Raise unless there is one label a request; values are looked at where the number of classes is known."""
    if labels.shape != (rows,) or labels.dtype.kind not in "iu":
        kind = ValueError if labels.dtype.kind in "iu" else TypeError
        raise kind(
            f"labels: expected ({rows},) integers, one a request, got {checks.describe(labels)} as batch {number}"
        )


def _part_of(batch: LabelledBatch, rows: Array) -> LabelledBatch:
    """Some rows of a batch."""
    x, keywords, labels = batch
    index = torch.from_numpy(rows).to(next(nested.tensors_of(x)).device)
    return (
        nested.select(x, index),
        {name: nested.select(value, index) for name, value in keywords.items()},
        labels[rows],
    )


@contextmanager
def _evaluating(model: Network) -> Iterator[None]:
    """Evaluation mode; afterwards every module is in the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
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
