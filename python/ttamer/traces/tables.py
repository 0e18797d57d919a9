"""Reading tables with a row a request and model: CSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Collection, Mapping, Sequence
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

if TYPE_CHECKING:
    import pyarrow

COLUMNS = ("request", "model", "loss", "label", "cost", "score", "answer")
"""What a table may say; ``cost`` also by unit, as ``cost_usd``, and ``score`` by who gave it, as ``score_judge``."""
MOST_MODELS = 100
"""A table that seems to have more holds something else in the column of models."""
_WHOLE = re.compile(r"(-?\d+)\.0+")

T = TypeVar("T")


def read_table(
    path: str | PathLike[str],
    columns: Mapping[str, str] | None,
    ignore: Collection[str],
    nodes: Sequence[str] | None,
    build: Callable[..., T],
) -> tuple[T, dict[str, list[str]]]:
    """What `build` makes of the arguments of `Traces.from_models`; and which columns were taken as what.

    Parameters and errors are those of `Traces.read`.
    """
    name = checks.path("path", path)
    if columns is not None and not isinstance(columns, Mapping):
        raise TypeError(f"columns: expected a mapping of names to columns, got {type(columns).__name__}")
    if isinstance(ignore, str):
        raise TypeError("ignore: expected a sequence of columns, got a str")
    try:
        reader = _Reader(_arrow_table(name), columns or {}, ignore, Path(name).suffix.lower() == ".csv")
        return build(**reader.arguments(nodes)), reader.roles()
    except ValueError as error:
        raise ValueError(f"{checks.printable(name)}: {error}") from None


def _arrow_table(name: str) -> pyarrow.Table:
    try:
        import pyarrow
        import pyarrow.csv
        import pyarrow.json
        import pyarrow.parquet
    except ImportError:
        raise ImportError("reading tables needs pyarrow: pip install 'ttamer[tables]'") from None
    suffix = Path(name).suffix.lower()
    if suffix not in (".csv", ".jsonl", ".ndjson", ".json", ".parquet"):
        raise ValueError(f"expected a name that ends in .csv, .jsonl, .ndjson, .json or .parquet, got {suffix!r}")
    with open(name, "rb") as file:
        try:
            if suffix == ".parquet":
                return pyarrow.parquet.read_table(file)
            if suffix == ".csv":
                # Texts as they stand: "01" is another request than "1".
                options = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(_header(name), pyarrow.string()))
                return pyarrow.csv.read_csv(file, convert_options=options)
            return pyarrow.json.read_json(file)
        except (pyarrow.ArrowException, csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"not readable ({checks.quoted(error)})") from None


def _header(name: str) -> list[str]:
    with open(name, encoding="utf-8-sig", newline="") as file:
        return next(csv.reader(file), [])


class _Reader:
    """Columns of a table by what they say."""

    def __init__(
        self, table: pyarrow.Table, columns: Mapping[str, str], ignore: Collection[str], is_text: bool
    ) -> None:
        names = table.column_names
        if len(set(names)) < len(names):
            raise ValueError(f"column {next(n for n in names if names.count(n) > 1)!r}: stands there twice")
        self.table = table
        self.is_text = is_text  # nothing but texts, of which some are numbers
        others = [name for name in names if name not in ignore]
        for column in ignore:
            if column not in names:
                raise ValueError(
                    f"ignore: expected columns of the file, {checks.quoted(names)}, got {checks.quoted(repr(column))}"
                )
        self.by_role: dict[str, str] = {}
        for role, column in columns.items():
            if not _is_role(checks.text("columns", role)):
                raise ValueError(f"columns: expected names of {', '.join(COLUMNS)} or cost_UNIT, got {role!r}")
            if column not in others:
                raise ValueError(
                    f"columns: expected columns of the file, {checks.quoted(others)}, got {checks.quoted(repr(column))}"
                )
            others.remove(column)
            self.by_role[role] = column
        for column in list(others):
            if _is_role(column) and column not in self.by_role:
                self.by_role[column] = column
                others.remove(column)
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
        if "loss" not in by_role and not {"label", "answer"} <= by_role.keys():
            missing.append("loss (or label and answer)")
        if not costs:
            missing.append("cost (or cost_usd and the like)")
        if missing:
            raise ValueError(
                f"expected columns {', '.join(missing)}, got {checks.quoted(self.table.column_names)}; "
                "columns={'request': ...} says which is which"
            )
        if len(self.table) == 0:
            raise ValueError("expected at least one row, got none")
        if "cost" in costs and len(costs) > 1:
            raise ValueError(f"columns {[by_role[role] for role in costs]}: expected units of all costs, or one cost")
        if len(scores) > 1:
            raise ValueError(
                f"columns {[by_role[role] for role in scores]}: expected one score, name the others in ignore"
            )
        self._place_rows()
        if "loss" in by_role:
            losses = self._numbers(by_role["loss"], 0.0)
        else:
            losses = self._errors(by_role["label"], by_role["answer"])
        by_unit = {role[5:]: self._spread(self._numbers(by_role[role], 0.0)) for role in costs}
        order = self._order(next(iter(by_unit.values())), nodes)
        tables = {unit: _constant(values[:, order]) for unit, values in by_unit.items()}
        arguments: dict[str, Any] = {
            "losses": self._spread(losses)[:, order],
            "costs": tables[""] if "cost" in costs else tables,
            "scores": self._spread(self._numbers(by_role[scores[0]]))[:, order] if scores else None,
            "answers": None,
            "context": {name: self._of_requests(name) for name in self.others} or None,
            "nodes": [self.models[k] for k in order],
        }
        if "answer" in by_role:
            codes, _ = _codes(self._texts(by_role["answer"]))
            arguments["answers"] = self._spread(codes, -1)[:, order].astype(np.int64)
        return arguments

    def _order(self, costs: Floats, nodes: Sequence[str] | None) -> list[int]:
        """The models in the order asked for, or from the cheapest to the dearest; those without any cost last."""
        if nodes is None:
            order: list[int] = np.argsort(recorded_mean(costs), kind="stable").tolist()
            return order
        names = names_of(nodes, len(self.models)) or ()
        if set(names) != set(self.models):
            raise ValueError(f"nodes: expected the models of the file, {self.models}, got {list(names)}")
        return [self.models.index(name) for name in names]

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

    def _numbers(self, name: str, least: float = -np.inf) -> Floats:
        """(rows,) numbers, NaN where there are none."""
        values = self.table.column(name).to_pylist()
        numbers = np.full(len(values), np.nan)
        for row, value in enumerate(values):
            if value is None or value == "":
                continue
            try:
                numbers[row] = float(value)
            except (TypeError, ValueError, OverflowError):
                numbers[row] = np.inf
            if not np.isnan(numbers[row]) and not (least <= numbers[row] < np.inf and abs(numbers[row]) < 3e38):
                expected = "a number" if least < 0 else f"a number >= {least:g}"
                raise ValueError(
                    f"column {name!r}, row {row + 1}: expected {expected}, got {checks.quoted(repr(value))}"
                )
        return numbers

    def _texts(self, name: str) -> list[str]:
        """A text for each row; whole numbers alike in whatever type they stand, "" for none."""
        return [self._text(name, row, value) for row, value in enumerate(self.table.column(name).to_pylist())]

    def _text(self, name: str, row: int, value: object) -> str:
        if value is None or value != value:
            return ""
        if isinstance(value, (list, dict, bytes)):
            raise ValueError(f"column {name!r}, row {row + 1}: expected a text or number, got a {type(value).__name__}")
        text = str(value)
        whole = _WHOLE.fullmatch(text)
        return whole[1] if whole else text

    def _errors(self, label: str, answer: str) -> Floats:
        """1 where the answer is not the label, NaN where there is no label."""
        labels, answers = self._texts(label), self._texts(answer)
        self._check_constant(label, labels, "expected one label a request")
        pairs = zip(labels, answers, strict=True)
        return np.array([np.nan if right == "" else float(said != right) for right, said in pairs])

    def _of_requests(self, name: str) -> list[Any]:
        """What a column of the context says of each request."""
        values = self.table.column(name).to_pylist()
        texts = [self._text(name, row, value) for row, value in enumerate(values)]
        self._check_constant(name, texts, f"expected one value a request, else name it in ignore=[{name!r}]")
        long = [row for row, text in enumerate(texts) if isinstance(values[row], str) and len(text) > checks.MOST_TEXT]
        if long:
            raise ValueError(
                f"column {name!r}, row {long[0] + 1}: expected at most {checks.MOST_TEXT} characters, got "
                f"{len(texts[long[0]])}; name it in ignore=[{name!r}]"
            )
        chosen = [values[row] for row in self.first_row]
        known = [value for value in chosen if value is not None and value != "" and value == value]
        if not known:
            raise ValueError(f"column {name!r}: expected a value, got none; name it in ignore=[{name!r}]")
        if all(self._is_number(value) for value in known):
            return [np.nan if value is None or value == "" else float(value) for value in chosen]
        return [texts[row] for row in self.first_row]

    def _is_number(self, value: Any) -> bool:
        if not self.is_text:
            return isinstance(value, (bool, int, float, Decimal))
        try:
            return bool(np.isfinite(float(value)))
        except ValueError:
            return False

    def _check_constant(self, name: str, texts: list[str], expected: str) -> None:
        for row, (request, text) in enumerate(zip(self.request.tolist(), texts, strict=True)):
            if text != texts[self.first_row[request]]:
                other = texts[self.first_row[request]]
                raise ValueError(
                    f"column {name!r}, row {row + 1}: {expected}, got {checks.quoted(repr(text))} "
                    f"after {checks.quoted(repr(other))}"
                )


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
