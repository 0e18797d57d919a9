"""Ways to make traces: of classifiers' probabilities, of several models, from tables and from logs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from os import PathLike
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._core import Topology
from ttamer.traces import arguments
from ttamer.traces.evidence import TOP, largest, normalised_chunks, trusted
from ttamer.traces.log import fields_of_log
from ttamer.traces.models import fields_of_models
from ttamer.traces.record import Record
from ttamer.traces.signals import check_signal, signals_from_probs
from ttamer.traces.tables import Wording, read_table

T = TypeVar("T", bound="Constructors")


class Constructors(Record):
    """The class methods of `Traces` that make some."""

    @classmethod
    def _checked(cls: type[T], **given: Any) -> T:
        """As the constructor, but of costs that were recorded before: what these look like is not said again."""
        traces = object.__new__(cls)
        traces._set(**arguments.checked_fields(**given))
        return traces

    @classmethod
    def from_probs(
        cls: type[T],
        probs: npt.ArrayLike,
        labels: npt.ArrayLike,
        costs: npt.ArrayLike | Mapping[str, npt.ArrayLike],
        topology: Topology | None = None,
        signal: str = "max_prob",
        top: int = TOP,
        unit: str = "",
    ) -> T:
        """Traces of classifiers: signals, 0/1 errors, predictions and evidence from recorded probabilities.

        Parameters
        ----------
        probs : (N, n, C) of any float dtype
            Probabilities of C >= 2 classes at every node. They sum to 1 within 1e-3 and are renormalised in
            float64.
        labels : (N,) of any integer dtype
            The right classes, 0..C-1.
        costs : (E,) or (N, E) real numbers, or a mapping of units to these
            Cost of each edge, of all requests or of each, in `unit`: what each node adds, not running sums.
        topology : Topology, optional
            Default: a line of n nodes.
        signal : str
            ``"max_prob"``, ``"margin"`` (largest less second largest), ``"entropy"`` (its negative, in nats)
            or ``"logit_margin"`` (difference of the two largest logits).
        top : int
            How many of the largest log-probabilities to keep, at most C. Logarithms are floored at ln(1e-7).
        unit : str
            Unit of the costs.

        Returns
        -------
        Traces
            The loss is 1 where the most probable class, the lowest one among equals, is not the label, else
            0.

        Raises
        ------
        TypeError, ValueError
            As the constructor does; the first row and node whose probabilities are bad are named.
        """
        array = arguments.probabilities(probs)
        rows, nodes, count = array.shape
        topology = arguments.topology_of(topology, nodes, rows)
        unit_costs = arguments.unit_costs(costs, topology, rows, unit)
        arguments.warn_of_sums(unit_costs, topology)
        answers = arguments.classes_of("labels", labels, rows, count)
        check_signal(signal)
        top = min(checks.whole("top", top, 1), count)
        signals = np.empty((rows, nodes), np.float32)
        log_probs = np.empty((rows, nodes, top), np.float32)
        classes = np.empty((rows, nodes, top), np.int32)
        for part, chunk in normalised_chunks(array):
            signals[part] = signals_from_probs(chunk, signal)
            log_probs[part], classes[part] = largest(chunk, top)
        predictions = classes[:, :, 0].copy()
        traces = object.__new__(cls)
        traces._set(
            signals=signals,
            losses=(predictions != answers[:, None]).astype(np.float32),
            unit_costs=unit_costs,
            topology=topology,
            predictions=predictions,
            observed=False,
            labels=answers,
            evidence=trusted(log_probs, classes, count),
            signal=signal,
            nodes=None,
            categories={},
            context={},
        )
        return traces

    @classmethod
    def from_models(
        cls: type[T],
        losses: npt.ArrayLike,
        costs: npt.ArrayLike | Mapping[str, npt.ArrayLike],
        *,
        scores: npt.ArrayLike | None = None,
        answers: npt.ArrayLike | None = None,
        classes: bool = True,
        context: npt.ArrayLike | Mapping[str, npt.ArrayLike] | None = None,
        nodes: Sequence[str] | None = None,
        unit: str = "",
    ) -> T:
        """Traces of n models on the same requests: any may be asked first, and any later one after it.

        A model was consulted by a request if a loss, score or answer of it is recorded; elsewhere its signal is NaN.

        Parameters
        ----------
        losses : (N, n) numbers or bool
            Loss of each model's answer, from 0 to some largest one; NaN where it is not known. Models stand in the
            order in which they may be asked, the cheapest first as a rule.
        costs : (n,) or (N, n) numbers, or a mapping of units to these
            What it costs to ask each model, whatever was asked before; NaN where it was not recorded.
        scores : (N, n) numbers, optional
            How sure each model was, larger is surer; NaN or -inf, the logarithm of 0, for none. A model without any
            score keeps the state of what was known before it; where some requests lack one, they get one below all
            others: the lowest state.
        answers : (N, n) integers or str, optional
            What each model answered: equal numbers for equal answers, -1 for none. Texts, "" or None for none, where
            they are no classes. Kept as `predictions`, as numbers.
        classes : bool
            Whether a number stands for the same answer in every request, such as a class. False if equal numbers mean
            equal answers within one request only.
        context : (N,) or (N, d), or a mapping of names to (N,), optional
            What is known before any model is asked: numbers, or texts, which are categories. It is shown by a probe of
            cost 0 in front, node 0, so that models are nodes 1 to n: which one to ask first depends on it. The probe
            shows the *first* column; all are kept as `context`, and `with_context` takes another. What is missing (NaN,
            None, "") is below all numbers, and among the other categories.
        nodes : (n,) str, optional
            Names of the models. With a context also (n + 1,), the `nodes` of other traces: the first name then is that
            of the column which the probe shows.
        unit : str
            Unit of the costs, unless they are a mapping.

        Returns
        -------
        Traces
            On ``Topology.skip(n)``, or with a context on a dag of n + 1 nodes.

        Raises
        ------
        TypeError, ValueError
            If a shape, dtype or value is wrong. Row and model are named.
        """
        return cls._checked(**fields_of_models(losses, costs, scores, answers, classes, context, nodes, unit))

    @classmethod
    def read(
        cls: type[T],
        path: str | PathLike[str],
        *,
        columns: Mapping[str, str] | None = None,
        ignore: Collection[str] = (),
        nodes: Sequence[str] | None = None,
        categories: Collection[str] = (),
    ) -> T:
        """Traces of several models from a table with a row a request and model, see `from_models`.

        CSV, JSON lines or Parquet, by the suffix: ``.csv``, ``.jsonl``, ``.ndjson``, ``.json``, ``.parquet``. Columns:

        * ``request`` and ``model``: what the row is about. A pair without a row was not recorded.
        * ``loss``: 0 for a right answer, 1 for a wrong one, or graded. Or ``correct``, the opposite: 1 or ``true`` for
          a right answer. Or ``label`` and ``answer``: the loss then is 1 where the answer is not the label, also where
          there is none, and unknown without a label. Beside the first two nothing is read of a label.
        * ``cost``, or ``cost_usd``, ``cost_ms`` and the like for costs in several units. A unit in which every model
          costs the same for all requests has one cost a model.
        * ``score``, or one such as ``score_judge``: how sure the model was.
        * ``answer``: equal values are equal answers, an empty one is none. They are compared, and no classes: another
          file may number them otherwise.
        * every other column has one value a request and is context, numbers or categories, the first of which the probe
          shows (see `with_context`).

        Texts of JSON lines and Parquet stay texts; dates and times of Parquet are read as ISO 8601 writes them. CSV has
        nothing but texts, and a column of the context all of which are numbers is one of numbers: name it in
        `categories` if "007" is another tenant than "7". ``true`` and ``false`` are 1 and 0 where numbers stand.

        Models are ordered by rising mean cost in the first unit, requests as they first appear. Where calibration and
        test rows come from two files give the second one the `nodes` of the first, or read one and split it.

        Parameters
        ----------
        path : str or os.PathLike
        columns : mapping of str to str, optional
            The file's names of these columns, where they are others: ``{"loss": "wrong", "cost_usd": "price"}``.
        ignore : sequence of str
            Columns that are left out: texts of prompts, or what is known only after a model was asked.
        nodes : sequence of str, optional
            All models in another order, such as that of traces that were read before: a policy knows numbers of nodes,
            no names. Their name of the probe may come first: it shows that column of the context.
        categories : sequence of str
            Columns of the context that are categories, though they look like numbers: their cells are texts as written.

        Returns
        -------
        Traces

        Raises
        ------
        OSError
            If the file cannot be opened.
        ImportError
            If pyarrow is missing, which CSV and Parquet need.
        ValueError
            If it cannot be read, lacks a column, holds something else than expected, or a request and model twice.
            File, column and row are named; rows count from 1.
        """
        return read_table(path, columns, ignore, nodes, categories, cls.from_models, Wording())[0]

    @classmethod
    def from_log(
        cls: type[T],
        path: str | PathLike[str] | Sequence[str | PathLike[str]],
        topology: Topology | None = None,
        *,
        unit: str = "",
        nodes: Sequence[str] | None = None,
        like: Record | None = None,
        shadowed: bool = False,
    ) -> T:
        """Traces of requests that were served, from a log of JSON lines.

        A line is a request: ``{"visits": [{"node": 0, "signal": 0.9, "loss": 0.0, "cost": 0.001}, ...]}``, the nodes
        that it consulted in order. What a visit does not say was not recorded; other keys are ignored. Losses may also
        stand beside the visits, ``"losses": {"large": 0.0}``, or in a later line, with what the request is called:
        ``{"request": "a17", "losses": {"large": 1.0}}``. `ttamer.serve.Log` writes such lines. A cost may be in
        several units, the same ones everywhere: ``"cost": {"usd": 0.001, "ms": 20}``. Signals of a node that are texts
        are categories, see `Traces.categories`. Of logits the largest log-probabilities and their classes,
        ``"log_probs": [-0.1, -2.4], "classes": [3, 0]``, are read as evidence if `like` has some.

        Parameters
        ----------
        path : str or os.PathLike, or a sequence of these
            Several are read as one.
        topology : Topology, optional
            Unless `like` has it.
        unit : str
            Unit of the costs, unless visits name theirs.
        nodes : (n,) str, optional
            Names of the nodes, which visits may use instead of numbers.
        like : Traces, optional
            In place of all these: traces of the same cascade. Of independent models (`Traces.from_models`) it has to be
            stated: their visits may be in any order and have an ``"answer"``, the number of its class or, where answers
            are only compared, a number that equal answers share; and requests a ``"context"`` by column.
        shadowed : bool
            Only requests that were drawn to be shown to all nodes (`ttamer.serve.Cascade`): a random share, which
            policies can be judged on.

        Returns
        -------
        Traces
            With the costs of each request. The cost of a visit is that of the edge from the visit before it, on a
            forest that of the node's only edge. A visit with an ``"error"`` was consulted and paid, and showed nothing.
            A node all of whose losses are ``Infinity`` is one that cannot answer. Evidence is kept of all nodes or
            none: of a log that has some, requests that were not shown to all nodes are left out, which a warning says.

        Raises
        ------
        OSError
            If the file cannot be opened.
        TypeError, ValueError
            If a line is something else, or visits do not follow the topology; the line and visit are named. If no visit
            at all has a signal, or none a cost; the keys that visits have are listed.
        """
        paths = [path] if isinstance(path, (str, PathLike)) else list(path)
        checks.flag("shadowed", shadowed)
        if like is None:
            if topology is None:
                raise TypeError("from_log: expected a topology, or traces of the same cascade, like=traces")
            return cls._checked(**fields_of_log(paths, topology, unit, nodes, shadowed=shadowed))
        if topology is not None or unit or nodes is not None:
            raise ValueError("like: expected no topology, unit or nodes beside it, which these traces have")
        checks.instance("like", like, cls)
        models = (like.answer_classes, tuple(like.context)) if like.independent else None
        units = list(like.unit_costs)
        own = units[0] if len(units) == 1 else ""
        form = None if like.evidence is None else (like.evidence.top, like.evidence.class_count)
        rest = (models, units, like.signal, like.probes, shadowed, form)
        return cls._checked(**fields_of_log(paths, like.topology, own, like.nodes, *rest))
