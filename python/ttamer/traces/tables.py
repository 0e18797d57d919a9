"""Reading tables with a row a request and model: CSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from ttamer._base import checks
from ttamer._base.types import Floats
from ttamer.traces.arguments import names_of
from ttamer.traces.costs import recorded_mean
from ttamer.traces.lines import json_lines

if TYPE_CHECKING:
    import pyarrow

COLUMNS = ("request", "model", "loss", "correct", "label", "cost", "score", "answer")
"""What a table may say; ``cost`` also by unit, as ``cost_usd``, and ``score`` by who gave it, as ``score_judge``."""
SUFFIXES = (".csv", ".jsonl", ".ndjson", ".json", ".parquet")
MOST_MODELS = 100
"""A table that seems to have more holds something else in the column of models."""
_WHOLE = re.compile(r"(-?\d+)\.0+")
_TRUTHS = {"true": 1.0, "false": 0.0}

T = TypeVar("T")


class Wording:
    """How messages call the arguments of `Traces.read`, and how they write what should be passed."""

    columns, ignore, nodes, categories = "columns", "ignore", "nodes", "categories"

    def of_column(self, role: str, column: str) -> str:
        """What takes a column as something."""
        return f"columns={{{role!r}: {column!r}}}"

    def of_ignore(self, column: str) -> str:
        """What leaves a column out."""
        return f"ignore=[{column!r}]"


class CommandWording(Wording):
    """The same of the options of `ttamer import`."""

    columns, ignore, nodes, categories = "--column", "--ignore", "--like", "--category"

    def of_column(self, role: str, column: str) -> str:
        """The option that takes a column as something."""
        return f"--column {shlex.quote(f'{role}={column}')}"

    def of_ignore(self, column: str) -> str:
        """The option that leaves a column out."""
        return f"--ignore {shlex.quote(column)}"


def read_table(
    path: str | PathLike[str],
    columns: Mapping[str, str] | None,
    ignore: Collection[str],
    nodes: Sequence[str] | None,
    categories: Collection[str],
    build: Callable[..., T],
    wording: Wording,
) -> tuple[T, dict[str, list[str]]]:
    """What `build` makes of the arguments of `Traces.from_models`; and which columns were taken as what.

    Parameters and errors are those of `Traces.read`.
    """
    name = checks.path("path", path)
    if columns is not None and not isinstance(columns, Mapping):
        raise TypeError(f"columns: expected a mapping of names to columns, got {type(columns).__name__}")
    for argument, names in (("ignore", ignore), ("categories", categories)):
        if isinstance(names, str):
            raise TypeError(f"{argument}: expected a sequence of columns, got a str")
    try:
        is_text = Path(name).suffix.lower() == ".csv"
        reader = _Reader(_cells(name, ignore), columns or {}, ignore, categories, is_text, wording)
        return build(**reader.arguments(nodes)), reader.roles()
    except ValueError as error:
        raise ValueError(f"{checks.printable(name)}: {error}") from None


def _cells(name: str, ignore: Collection[str]) -> dict[str, list[Any]]:
    """The cells of each column, texts of a CSV file, else what they are, None where there is none; [] if left out."""
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"expected a name that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, got {suffix!r}")
    if suffix in (".csv", ".parquet"):
        table = _arrow_table(name, suffix)
        names = table.column_names
        if len(set(names)) < len(names):
            raise ValueError(f"column {next(n for n in names if names.count(n) > 1)!r}: stands there twice")
        return {column: [] if column in ignore else _values(table, column) for column in names}
    records = []
    for line, record in json_lines(name):
        if not isinstance(record, dict):
            raise ValueError(f"line {line}: expected an object, a row of the table, got {type(record).__name__}")
        records.append(record)
    if not records:
        raise ValueError("expected at least one row, got none")
    names = list(dict.fromkeys(key for record in records for key in record))
    return {column: [] if column in ignore else [record.get(column) for record in records] for column in names}


def _values(table: pyarrow.Table, column: str) -> list[Any]:
    try:
        values: list[Any] = table.column(column).to_pylist()
    except ValueError as error:  # nanoseconds, which only pandas can hold
        raise ValueError(f"column {column!r}: not readable ({checks.quoted(error)})") from None
    return values


def _arrow_table(name: str, suffix: str) -> pyarrow.Table:
    try:
        import pyarrow
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        raise ImportError(f'reading {suffix} files needs pyarrow: pip install "ttamer[tables]"') from None
    with open(name, "rb") as file:
        try:
            if suffix == ".parquet":
                return pyarrow.parquet.read_table(file)
            # Texts as they stand: "01" is another request than "1".
            options = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(_header(name), pyarrow.string()))
            parsing = pyarrow.csv.ParseOptions(newlines_in_values=True)
            # Its threads may outlive the read, and abort a process that ends soon after.
            reading = pyarrow.csv.ReadOptions(use_threads=False)
            return pyarrow.csv.read_csv(file, reading, parsing, options)
        except (pyarrow.ArrowException, csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"not readable ({checks.quoted(error)})") from None


def _header(name: str) -> list[str]:
    with open(name, encoding="utf-8-sig", newline="") as file:
        return next(csv.reader(file), [])


class _Reader:
    """Columns of a table by what they say."""

    def __init__(
        self,
        cells: Mapping[str, list[Any]],
        columns: Mapping[str, str],
        ignore: Collection[str],
        categories: Collection[str],
        is_text: bool,
        wording: Wording,
    ) -> None:
        self.cells = cells
        self.categories = categories
        self.is_text = is_text  # nothing but texts, of which some are numbers
        self.wording = wording
        names = list(cells)
        others = [name for name in names if name not in ignore]
        for column in ignore:
            _check_known(wording.ignore, column, names, "file")
        self.by_role: dict[str, str] = {}
        for role, column in columns.items():
            if not _is_role(checks.text("columns", role)):
                raise ValueError(
                    f"{wording.columns}: expected names of {', '.join(COLUMNS)} or cost_UNIT, got {role!r}"
                )
            _check_known(wording.columns, column, others, "file")
            others.remove(column)
            self.by_role[role] = column
        for column in list(others):
            if _is_role(column) and column not in self.by_role:
                self.by_role[column] = column
                others.remove(column)
        if "loss" in self.by_role and "correct" in self.by_role:
            both = [self.by_role[role] for role in ("loss", "correct")]
            other = both[0 if "correct" in columns else 1]  # than the one that was named
            raise ValueError(
                f"columns {both}: expected one of them; leave out the other with {wording.of_ignore(other)}"
            )
        if "loss" in self.by_role or "correct" in self.by_role:
            self.by_role.pop("label", None)  # nothing is read of it
        for column in categories:
            _check_known(wording.categories, column, others, "context")
        self.others = others

    def roles(self) -> dict[str, list[str]]:
        """The columns of the file that were taken as each of `COLUMNS`, and those of the context."""
        return {**{role: [column] for role, column in self.by_role.items()}, "context": self.others}

    def arguments(self, nodes: Sequence[str] | None) -> dict[str, Any]:
        """Those of `Traces.from_models`, models in the order of `nodes` if that is given."""
        by_role = self.by_role
        costs = [role for role in by_role if role == "cost" or role.startswith("cost_")]
        scores = [role for role in by_role if role.startswith("score")]
        missing = [role for role in ("request", "model") if role not in by_role]
        if not {"loss", "correct"} & by_role.keys() and not {"label", "answer"} <= by_role.keys():
            missing.append("loss (or correct, or label and answer)")
        if not costs:
            missing.append("cost (or cost_usd and the like)")
        if missing:
            raise ValueError(
                f"expected columns {', '.join(missing)}, got {checks.quoted(list(self.cells))}; "
                f"{self.wording.of_column(missing[0].split()[0], 'NAME')} says which is which"
            )
        if not self.cells[by_role["request"]]:
            raise ValueError("expected at least one row, got none")
        if "cost" in costs and len(costs) > 1:
            raise ValueError(f"columns {[by_role[role] for role in costs]}: expected units of all costs, or one cost")
        if len(scores) > 1:
            raise ValueError(
                f"columns {[by_role[role] for role in scores]}: expected one score; leave out another with "
                f"{self.wording.of_ignore(by_role[scores[-1]])}"
            )
        self._place_rows()
        if "loss" in by_role:
            losses = self._numbers(by_role["loss"], 0.0)
        elif "correct" in by_role:
            losses = 1.0 - self._shares(by_role["correct"])
        else:
            losses = self._errors(by_role["label"], by_role["answer"])
        by_unit = {role[5:]: self._spread(self._numbers(by_role[role], 0.0)) for role in costs}
        order, probe = self._order(next(iter(by_unit.values())), nodes)
        tables = {unit: _constant(values[:, order]) for unit, values in by_unit.items()}
        arguments: dict[str, Any] = {
            "losses": self._spread(losses)[:, order],
            "costs": tables[""] if "cost" in costs else tables,
            "scores": self._spread(self._numbers(by_role[scores[0]]))[:, order] if scores else None,
            "answers": None,
            "classes": False,  # another file may number the same answers otherwise
            "context": {name: self._of_requests(name) for name in self.others} or None,
            "nodes": [*probe, *(self.models[k] for k in order)],
        }
        if "answer" in by_role:
            codes, _ = _codes(self._texts(by_role["answer"]))
            arguments["answers"] = self._spread(codes, -1)[:, order].astype(np.int64)
        return arguments

    def _order(self, costs: Floats, nodes: Sequence[str] | None) -> tuple[list[int], list[str]]:
        """The models in the order asked for, or from the cheapest to the dearest, those without any cost last.

        And the column of the context that the probe shows, if `nodes` begins with it.
        """
        if nodes is None:
            order: list[int] = np.argsort(recorded_mean(costs), kind="stable").tolist()
            return order, []
        names = list(names_of(nodes, len(nodes)) or ())
        probe = [name for name in names[:1] if name in self.others and name not in self.models]
        models = names[len(probe) :]
        if set(models) != set(self.models):
            argument = self.wording.nodes
            reasons = [f"{name!r} is not in the file" for name in models if name not in self.models]
            reasons += [f"{name!r} is not in {argument}" for name in self.models if name not in models]
            raise ValueError(
                f"{argument}: expected the models of the file, {checks.quoted(self.models)}, "
                f"got {checks.quoted(models)}: {checks.quoted(', '.join(reasons))}"
            )
        return [self.models.index(name) for name in models], probe

    def _place_rows(self) -> None:
        """Which request and model each row of the file is about, in the order in which they appear."""
        places, names = [], []
        for role in ("request", "model"):
            texts = self._texts(self.by_role[role])
            if "" in texts:
                raise ValueError(
                    f"column {self.by_role[role]!r}, row {texts.index('') + 1}: expected a {role}, got none"
                )
            codes, known = _codes(texts)
            places.append(codes.astype(np.intp))
            names.append(known)
        self.models = names[1]
        self.shape = len(names[0]), len(names[1])
        if self.shape[1] > MOST_MODELS:
            raise ValueError(
                f"column {self.by_role['model']!r}: expected at most {MOST_MODELS} models, got {self.shape[1]}"
            )
        self.request, self.model = places
        first = np.full(self.shape, -1)
        pairs = self.request * self.shape[1] + self.model
        _, rows = np.unique(pairs, return_index=True)
        if len(rows) < len(pairs):
            row = int(np.setdiff1d(np.arange(len(pairs)), rows)[0])
            request, model = names[0][self.request[row]], names[1][self.model[row]]
            raise ValueError(
                f"row {row + 1}: request {checks.quoted(request)} and model {checks.quoted(model)} have a row already"
            )
        first[self.request, self.model] = np.arange(len(pairs))
        self.first_row = np.where(first < 0, len(pairs), first).min(axis=1)

    def _spread(self, values: npt.NDArray[Any], missing: float = np.nan) -> Floats:
        """A value of each row as a table of requests by models."""
        table = np.full(self.shape, missing, np.float64)
        table[self.request, self.model] = values
        return table

    def _numbers(self, name: str, least: float = -np.inf, most: float = np.inf) -> Floats:
        """(rows,) numbers, NaN where there are none."""
        numbers = np.full(len(self.cells[name]), np.nan)
        for row, value in enumerate(self.cells[name]):
            if value is None or value == "":
                continue
            number = _number(value)
            numbers[row] = np.inf if number is None else number
            if not np.isnan(numbers[row]) and not (least <= numbers[row] <= most and abs(numbers[row]) < 3e38):
                expected = "a number" if least < 0 else f"a number >= {least:g}"
                expected += "" if most == np.inf else f" and <= {most:g}"
                raise ValueError(
                    f"column {name!r}, row {row + 1}: expected {expected}, got {checks.quoted(repr(value))}"
                )
        return numbers

    def _shares(self, name: str) -> Floats:
        """(rows,) numbers from 0 to 1, NaN where there are none."""
        try:
            return self._numbers(name, 0.0, 1.0)
        except ValueError as error:
            label = self.wording.of_column("label", name)
            raise ValueError(f"{error}; if these are the right answers pass {label}") from None

    def _texts(self, name: str) -> list[str]:
        """A text for each row; whole numbers alike in whatever type they stand, "" for none."""
        texts = self._written(name)
        return [match[1] if (match := _WHOLE.fullmatch(text)) else text for text in texts]

    def _written(self, name: str) -> list[str]:
        """A text for each row, one of the file as it stands, "" for none."""
        texts = []
        for row, value in enumerate(self.cells[name]):
            if isinstance(value, (list, dict, bytes)):
                raise ValueError(
                    f"column {name!r}, row {row + 1}: expected a text or number, got a {type(value).__name__}"
                )
            texts.append(_text(value))
        return texts

    def _errors(self, label: str, answer: str) -> Floats:
        """1 where the answer is not the label, NaN where there is no label."""
        labels, answers = self._texts(label), self._texts(answer)
        self._check_constant(label, labels, "expected one label a request")
        pairs = zip(labels, answers, strict=True)
        return np.array([np.nan if right == "" else float(said != right) for right, said in pairs])

    def _of_requests(self, name: str) -> list[Any]:
        """What a column of the context says of each request."""
        cells, texts = self.cells[name], self._written(name)
        ignore = self.wording.of_ignore(name)
        numbers = None if name in self.categories else self._context_numbers(cells)
        expected = f"expected one value a request, else leave it out with {ignore}"
        if numbers is not None and not any(role.startswith("score") for role in self.by_role):
            score = self.wording.of_column("score", name)
            expected = f"expected one value a request; if it says how sure a model was pass {score}, else {ignore}"
        self._check_constant(name, texts, expected, numbers)
        long = [row for row, text in enumerate(texts) if isinstance(cells[row], str) and len(text) > checks.MOST_TEXT]
        if long:
            raise ValueError(
                f"column {name!r}, row {long[0] + 1}: expected at most {checks.MOST_TEXT} characters, got "
                f"{len(texts[long[0]])}; leave it out with {ignore}"
            )
        if not any(texts) or (numbers is not None and np.isnan(numbers).all()):
            raise ValueError(f"column {name!r}: expected a value, got none; leave it out with {ignore}")
        return [(texts if numbers is None else numbers)[row] for row in self.first_row]

    def _context_numbers(self, cells: list[Any]) -> list[float] | None:
        """The cells as numbers, NaN where there is none; None if some are no numbers, and all are texts then."""
        numbers = []
        for cell in cells:
            number = np.nan if cell is None or cell == "" else _number(cell)
            if number is None or (isinstance(cell, str) and (not self.is_text or np.isinf(number))):
                return None
            numbers.append(number)
        return numbers

    def _check_constant(
        self, name: str, texts: list[str], expected: str, numbers: Sequence[float] | None = None
    ) -> None:
        """Raise ValueError where a request has two values: two texts, or two numbers if the column is of these."""
        for row, first in enumerate(self.first_row[self.request].tolist()):
            same = texts[row] == texts[first] or (numbers is not None and numbers[row] == numbers[first])
            if not same:
                raise ValueError(
                    f"column {name!r}, row {row + 1}: {expected}, got {checks.quoted(repr(texts[row]))} "
                    f"after {checks.quoted(repr(texts[first]))}"
                )


def _check_known(argument: str, column: object, names: Collection[str], place: str) -> None:
    if column not in names:
        raise ValueError(
            f"{argument}: expected columns of the {place}, {checks.quoted(list(names))}, "
            f"got {checks.quoted(repr(column))}"
        )


def _text(value: object) -> str:
    """As JSON writes truths, as ISO 8601 writes dates and times; "" for none."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (date, time)):  # a datetime is a date
        return value.isoformat()
    return str(value)


def _number(value: Any) -> float | None:
    """A number, or what a text says; None if that is no number. True is 1, false 0."""
    if not isinstance(value, (str, bool, int, float, Decimal)):
        return None
    if isinstance(value, str) and value.lower() in _TRUTHS:
        return _TRUTHS[value.lower()]
    try:
        return float(value)
    except ValueError:
        return None
    except OverflowError:
        return np.inf


def _is_role(name: str) -> bool:
    return name in COLUMNS or (name.startswith(("cost_", "score_")) and not name.endswith("_"))


def _codes(texts: list[str]) -> tuple[Floats, list[str]]:
    """The number of each text in order of appearance, -1 of none, and the texts."""
    known: dict[str, int] = {}
    codes = [known.setdefault(text, len(known)) if text else -1 for text in texts]
    return np.array(codes, np.float64), list(known)


def _constant(costs: Floats) -> Floats:
    """(n,) where every model costs the same for all requests that recorded it, else the table."""
    unknown = np.isnan(costs)
    first: Floats = np.where(unknown, -1, costs).max(axis=0)
    return first if np.all(first >= 0) and np.all(unknown | (costs == first)) else costs
