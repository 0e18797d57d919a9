"""Traces from tables with a row a request and model."""

from __future__ import annotations

import csv
import json
import re
import sys
from datetime import date, datetime, time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ttamer
from ttamer import Topology, Traces
from ttamer.traces import tables

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

NAN = np.nan
ROWS: list[dict[str, Any]] = [
    {
        "request": "q1",
        "model": "large",
        "loss": 0.0,
        "cost_usd": 3.0,
        "cost_ms": 40,
        "score": 0.9,
        "topic": "law",
        "size": 7,
    },
    {
        "request": "q1",
        "model": "small",
        "loss": 1.0,
        "cost_usd": 0.5,
        "cost_ms": 90,
        "score": 0.2,
        "topic": "law",
        "size": 7,
    },
    {
        "request": "q0",
        "model": "small",
        "loss": 0.5,
        "cost_usd": 0.7,
        "cost_ms": 80,
        "score": None,
        "topic": None,
        "size": 2,
    },
    {
        "request": "q2",
        "model": "large",
        "loss": None,
        "cost_usd": 4.0,
        "cost_ms": 45,
        "score": 0.8,
        "topic": "art",
        "size": 5,
    },
    {
        "request": "q2",
        "model": "small",
        "loss": 0.0,
        "cost_usd": 0.6,
        "cost_ms": 70,
        "score": 0.6,
        "topic": "art",
        "size": 5,
    },
]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows in the format that the suffix says."""
    if path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([list(rows[0]), *([row.get(name) for name in rows[0]] for row in rows)])
    elif path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


BASE: dict[str, Any] = {"request": 1, "model": "a", "loss": 0, "cost": 1}


@pytest.fixture(params=["csv", "jsonl", "ndjson", "json", "parquet"])
def suffix(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


class TestFormats:
    def test_every_column_where_it_belongs(self, suffix: str, tmp_path: Path) -> None:
        traces = Traces.read(written(tmp_path / f"data.{suffix}", ROWS))
        assert traces.nodes == ("topic", "small", "large")
        assert traces.topology == Topology.dag(3, [(-1, 0), (0, 1), (0, 2), (1, 2)])
        np.testing.assert_array_equal(traces.losses[:, 1:], [[1, 0], [0.5, NAN], [0, NAN]])
        np.testing.assert_array_equal(traces.unit_costs["usd"][:, 1:3], [[0.5, 3], [0.7, NAN], [0.6, 4]])
        np.testing.assert_array_equal(traces.unit_costs["ms"][:, 1:3], [[90, 40], [80, NAN], [70, 45]])
        lowest = ttamer.traces.signals.NOTHING
        np.testing.assert_array_equal(
            traces.signals[:, 1:], np.array([[0.2, 0.9], [lowest, NAN], [0.6, 0.8]], np.float32)
        )
        assert traces.categories == {0: ("art", "law")}
        assert traces.context["topic"].tolist() == ["law", "", "art"]
        assert traces.context["size"].tolist() == [7, 2, 5]
        assert traces.predictions is None

    def test_labels_and_answers(self, suffix: str, tmp_path: Path) -> None:
        rows = [
            {"request": 1, "model": "a", "label": "B", "answer": "B", "cost": 1},
            {"request": 1, "model": "b", "label": "B", "answer": "C", "cost": 2},
            {"request": 2, "model": "a", "label": "C", "answer": None, "cost": 1},
            {"request": 2, "model": "b", "label": "C", "answer": "C", "cost": 2},
            {"request": 3, "model": "a", "label": None, "answer": "A", "cost": 1},
        ]
        traces = Traces.read(written(tmp_path / f"data.{suffix}", rows))
        np.testing.assert_array_equal(traces.losses, [[0, 1], [1, 0], [NAN, NAN]])
        assert traces.predictions is not None
        assert traces.predictions.tolist() == [[0, 1], [-1, 1], [2, -1]]
        assert traces.costs.tolist() == [1, 2, 2]  # the same for all requests
        assert traces.unit == ""
        assert traces.topology == Topology.skip(2)

    def test_numbers_are_equal_answers_in_whatever_type(self, suffix: str, tmp_path: Path) -> None:
        """A column of integers with gaps is written as one of floats."""
        rows = [{"request": k, "model": "a", "label": k, "answer": float(k), "cost": 1} for k in range(3)]
        rows.append({"request": 3, "model": "a", "label": 3, "answer": None, "cost": 1})
        traces = Traces.read(written(tmp_path / f"data.{suffix}", rows))
        assert traces.losses[:, 0].tolist() == [0, 0, 0, 1]


def test_texts_of_csv_stay_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("request,model,loss,cost,version\n01,m,0,1,1.10\n1,m,1,1,1.1\n", encoding="utf-8-sig")
    traces = Traces.read(path)
    assert len(traces) == 2
    path.write_text('request,model,label,answer,cost\n1,m,1.10,1.1,1\n2,m,"a, b","a, b",1\n')
    assert Traces.read(path).losses[:, 0].tolist() == [1, 0]


def test_categories_of_jsonl_may_look_like_numbers(tmp_path: Path) -> None:
    rows = [{"request": k, "model": "m", "loss": 0, "cost": 1, "zone": "07"} for k in range(2)]
    assert Traces.read(written(tmp_path / "a.jsonl", rows)).categories == {0: ("07",)}
    assert Traces.read(written(tmp_path / "a.csv", rows)).categories == {}


DATES = ["2026-01-03", "2026-01-03 10:00:00", "2026-01-03T10:00:00Z", "10:00", "10:00:00", "1 day"]
NUMBERS = ["007", "7", "1_000", "1.10", "1e3", "inf", "nan", " 7", "\u0663"]
WORDS = [
    "true",
    "True",
    "FALSE",
    "NA",
    "N/A",
    "#NA",
    "null",
    "None",
    "-",
    "",
    "a, b",
    'a "b"',
    "\u00e4\u4e16\U0001f600",
]
TEXTS = st.sampled_from([*DATES, *NUMBERS, *WORDS])
NAMES = TEXTS.filter(bool) | st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1)


class TestReadingsAgree:
    """The same table in another format is read as the same table."""

    @given(st.data())
    @settings(max_examples=100)
    def test_texts_stay_as_they_stand(self, data: st.DataObject) -> None:
        requests = data.draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
        answers = TEXTS | st.sampled_from(["a\nb", "a\r\nb"])
        rows = []
        for request in requests:
            known = {"request": f"q{request}", "label": data.draw(answers), "zone": data.draw(NAMES)}
            rows += [{**known, "model": model, "answer": data.draw(answers), "cost": "1"} for model in ("a", "b")]
        with TemporaryDirectory() as folder:
            paths = [written(Path(folder) / f"data.{suffix}", rows) for suffix in ("csv", "jsonl", "parquet")]
            cells = [tables._cells(str(path), []) for path in paths]
            readings = [Traces.read(path, categories=["zone"]) for path in paths]
        for table in cells:
            assert table == {name: [row[name] for row in rows] for name in rows[0]}
        for traces in readings:
            assert traces.context["zone"].tolist() == [row["zone"] for row in rows[::2]]
            assert traces.categories == readings[0].categories
            np.testing.assert_array_equal(traces.signals, readings[0].signals)
            np.testing.assert_array_equal(traces.losses, readings[0].losses)
            np.testing.assert_array_equal(traces.predictions, readings[0].predictions)
        wrong = [[float(row["answer"] != row["label"]) if row["label"] else NAN for row in rows[k::2]] for k in (0, 1)]
        np.testing.assert_array_equal(readings[0].losses[:, 1:], np.transpose(wrong))

    @given(
        st.lists(
            st.tuples(
                st.none() | st.booleans(),
                st.none() | st.floats(-1e30, 1e30) | st.integers(-(10**6), 10**6).map(float),
                st.none() | st.booleans(),
                st.dates(),
            ),
            min_size=1,
            max_size=5,
        )
    )
    @settings(max_examples=100)
    def test_numbers_truths_and_dates(self, facts: list[tuple[bool | None, float | None, bool | None, date]]) -> None:
        rows = [
            {"request": k, "model": "m", "loss": loss, "cost": 1, "score": 0.5, "size": size, "good": good, "day": day}
            for k, (loss, size, good, day) in enumerate([(True, 1.0, True, date(2026, 1, 3)), *facts])
        ]
        texts = [{**row, "day": row["day"].isoformat()} for row in rows]
        with TemporaryDirectory() as folder:
            readings = [
                Traces.read(written(Path(folder) / f"data.{suffix}", texts if suffix == "jsonl" else rows))
                for suffix in ("csv", "jsonl", "parquet")
            ]
        for traces in readings:
            np.testing.assert_array_equal(
                traces.losses[:, 1], [NAN if row["loss"] is None else row["loss"] for row in rows]
            )
            for name in ("size", "good"):
                expected = [NAN if row[name] is None else float(row[name]) for row in rows]
                np.testing.assert_array_equal(traces.context[name], expected)
            assert traces.context["day"].tolist() == [row["day"] for row in texts]


def test_labels_that_look_like_dates_are_the_answers_that_they_are(suffix: str, tmp_path: Path) -> None:
    rows = [
        {"request": "q", "model": "a", "label": "2026-01-03", "answer": "2026-01-03", "cost": 1, "day": "2026-01-01"},
        {"request": "q", "model": "b", "label": "2026-01-03", "answer": "3 January", "cost": 2, "day": "2026-01-01"},
    ]
    traces = Traces.read(written(tmp_path / f"data.{suffix}", rows))
    assert traces.losses[0, 1:].tolist() == [0, 1]
    assert traces.categories == {0: ("2026-01-01",)}


def test_timestamps_of_parquet_are_iso_texts(tmp_path: Path) -> None:
    rows = [{**BASE, "at": datetime(2026, 1, 3, 10, 30), "daily": time(9, 15)}]
    traces = Traces.read(written(tmp_path / "a.parquet", rows))
    assert traces.context["at"].tolist() == ["2026-01-03T10:30:00"]
    assert traces.context["daily"].tolist() == ["09:15:00"]


def test_columns_left_out_are_not_read(tmp_path: Path) -> None:
    """Without pandas, Python cannot hold nanoseconds."""
    path = tmp_path / "a.parquet"
    at = pyarrow.array([1], pyarrow.timestamp("ns"))
    parquet.write_table(pyarrow.Table.from_pylist([BASE]).append_column("at", at), path)
    assert len(Traces.read(path, ignore=["at"])) == 1
    with pytest.raises(ValueError, match=re.escape(f"{path}: column 'at': not readable (")):
        Traces.read(path)


def test_numbers_that_json_may_not_say_as_before(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"request": 1, "model": "a", "loss": NaN, "cost": 1}\n{"request": 2, "model": "a", "loss": 0, "cost": 1}'
    )
    np.testing.assert_array_equal(Traces.read(path).losses, [[NAN], [0]])
    path.write_text('{"request": 1, "model": "a", "loss": Infinity, "cost": 1}\n')
    with pytest.raises(ValueError, match="column 'loss', row 1: expected a number >= 0, got inf"):
        Traces.read(path)
    path.write_text('{"request": 1, "model": "a", "loss": 1' + "0" * 400 + ', "cost": 1}\n')
    with pytest.raises(ValueError, match="column 'loss', row 1: expected a number >= 0, got 1000"):
        Traces.read(path)


def test_categories_that_look_like_numbers(suffix: str, tmp_path: Path) -> None:
    rows = [{"request": k, "model": "m", "loss": 0, "cost": 1, "tenant": tenant} for k, tenant in enumerate("778")]
    if suffix == "csv":
        rows[0]["tenant"] = "007"
    path = written(tmp_path / f"a.{suffix}", rows)
    names = Traces.read(path, categories=["tenant"]).categories[0]
    assert names == (("007", "7", "8") if suffix == "csv" else ("7", "8"))
    numbers = written(path, [{**row, "tenant": int(row["tenant"])} for row in rows])
    assert Traces.read(numbers).categories == {}
    assert Traces.read(numbers, categories=["tenant"]).categories == {0: ("7", "8")}


def test_a_category_is_no_other_number(suffix: str, tmp_path: Path) -> None:
    """Texts such as versions are served as they stand in the table."""
    rows = [{**BASE, "request": k, "version": version} for k, version in enumerate(["1.0", "2.0", "v3"])]
    traces = Traces.read(written(tmp_path / f"a.{suffix}", rows))
    assert traces.categories == {0: ("1.0", "2.0", "v3")}


def test_truths_are_losses(suffix: str, tmp_path: Path) -> None:
    rows = [{**BASE, "request": k, "loss": loss} for k, loss in enumerate([True, False, None])]
    traces = Traces.read(written(tmp_path / f"a.{suffix}", rows))
    np.testing.assert_array_equal(traces.losses, [[1], [0], [NAN]])


def test_correct_is_the_opposite_of_a_loss(suffix: str, tmp_path: Path) -> None:
    base = {name: value for name, value in BASE.items() if name != "loss"} | {"label": "x", "answer": "y"}
    rows = [{**base, "request": k, "is right": right} for k, right in enumerate([True, False, None, 1, 0.25])]
    if suffix == "parquet":
        rows = [{**row, "is right": None if row["is right"] is None else float(row["is right"])} for row in rows]
    traces = Traces.read(written(tmp_path / f"a.{suffix}", rows), columns={"correct": "is right"})
    np.testing.assert_array_equal(traces.losses, [[0], [1], [NAN], [0], [0.75]])
    assert traces.context == {}


def test_a_loss_goes_before_a_label(tmp_path: Path) -> None:
    rows = [{**BASE, "loss": 0.25, "label": "x", "answer": "y"}]
    traces = Traces.read(written(tmp_path / "a.jsonl", rows))
    assert traces.losses.tolist() == [[0.25]]
    assert traces.context == {}
    assert traces.predictions is not None


def test_nodes_of_traces_with_a_context(suffix: str, tmp_path: Path) -> None:
    """The second file has the models in the order of the first, and the same column of the context."""
    path = written(tmp_path / f"a.{suffix}", ROWS)
    first = Traces.read(path, nodes=["large", "small"])
    assert first.nodes == ("topic", "large", "small")
    assert Traces.read(path, nodes=first.nodes).nodes == first.nodes
    other = first.with_context("size")
    again = Traces.read(path, nodes=other.nodes)
    assert again.nodes == ("size", "large", "small")
    np.testing.assert_array_equal(again.signals, other.signals)
    assert again.categories == other.categories == {}


def test_other_names_of_columns_and_columns_left_out(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "model": "a", "wrong": 1, "price": 1.0, "score_judge": 0.3, "score_own": 1, "took": 5, "prompt": "x"},
        {"id": 1, "model": "b", "wrong": 0, "price": 2.0, "score_judge": 0.4, "score_own": 2, "took": 6, "prompt": "x"},
    ]
    traces = Traces.read(
        written(tmp_path / "data.jsonl", rows),
        columns={"request": "id", "loss": "wrong", "cost_usd": "price", "score": "score_judge"},
        ignore=["score_own", "took", "prompt"],
    )
    assert traces.unit == "usd"
    assert traces.signals.tolist() == [[np.float32(0.3), np.float32(0.4)]]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([BASE, BASE], {}, "row 2: request 1 and model a have a row already"),
        (
            [{"request": 1, "loss": 0}],
            {},
            "expected columns model, cost (or cost_usd and the like), got ['request', 'loss']",
        ),
        (
            [{"request": 1, "model": 2, "answer": 1, "cost": 1}],
            {},
            "expected columns loss (or correct, or label and answer), got ",
        ),
        ([{**BASE, "loss": "bad"}], {}, "column 'loss', row 1: expected a number >= 0, got 'bad'"),
        ([{**BASE, "loss": -1}], {}, "column 'loss', row 1: expected a number >= 0, got -1"),
        ([BASE, {**BASE, "model": "b", "cost": -2}], {}, "column 'cost', row 2: expected a number >= 0, got -2"),
        ([{**BASE, "score": [1, 2]}], {}, "column 'score', row 1: expected a number, got [1, 2]"),
        ([{**BASE, "score_a": 1, "score_b": 1}], {}, "columns ['score_a', 'score_b']: expected one score"),
        ([{**BASE, "cost_usd": 1}], {}, "columns ['cost', 'cost_usd']: expected units of all costs, or one cost"),
        ([BASE, {**BASE, "request": None}], {}, "column 'request', row 2: expected a request, got none"),
        ([BASE, {**BASE, "model": ""}], {}, "column 'model', row 2: expected a model, got none"),
        (
            [{**BASE, "took": 5}, {**BASE, "model": "b", "took": 6}],
            {},
            "column 'took', row 2: expected one value a request; if it says how sure a model was pass "
            "columns={'score': 'took'}, else ignore=['took'], got '6' after '5'",
        ),
        (
            [{**BASE, "score": 1, "took": 5}, {**BASE, "model": "b", "score": 1, "took": 6}],
            {},
            "column 'took', row 2: expected one value a request, else leave it out with ignore=['took'], got '6' after",
        ),
        (
            [{**BASE, "note": "x"}, {**BASE, "model": "b", "note": "y"}],
            {},
            "column 'note', row 2: expected one value a request, else leave it out with ignore=['note'], got 'y' after",
        ),
        (
            [{**BASE, "label": 5, "answer": 5}, {**BASE, "model": "b", "label": 6, "answer": 5}],
            {"ignore": ["loss"]},
            "column 'label', row 2: expected one label a request, got '6' after '5'",
        ),
        (
            [{**BASE, "prompt": "x" * 300}],
            {},
            "column 'prompt', row 1: expected at most 200 characters, got 300; leave it out with ignore=['prompt']",
        ),
        ([{**BASE, "note": None}], {}, "column 'note': expected a value, got none; leave it out with ignore=['note']"),
        ([{**BASE, "tags": {"a": 1}}], {}, "column 'tags', row 1: expected a text or number, got a dict"),
        (
            [BASE],
            {"columns": {"price": "cost"}},
            "columns: expected names of request, model, loss, correct, label, cost, score, ",
        ),
        (
            [BASE],
            {"columns": {"loss": "wrong"}},
            "columns: expected columns of the file, ['request', 'model', 'loss', ",
        ),
        (
            [BASE],
            {"ignore": ["x"]},
            "ignore: expected columns of the file, ['request', 'model', 'loss', 'cost'], got 'x'",
        ),
        ([{**BASE, "model": k} for k in range(101)], {}, "column 'model': expected at most 100 models, got 101"),
        ([{**BASE, "a": 1}], {}, "context: expected names that no model has, got 'a'"),
        (
            [{**BASE, "zone": "x"}],
            {"categories": ["loss"]},
            "categories: expected columns of the context, ['zone'], got 'loss'",
        ),
        (
            [BASE],
            {"nodes": ["a", "c"]},
            "nodes: expected the models of the file, ['a'], got ['a', 'c']: 'c' is not in the",
        ),
        (
            [BASE, {**BASE, "model": "b"}],
            {"nodes": ["b"]},
            "nodes: expected the models of the file, ['a', 'b'], got ['b']: 'a' is not in nodes",
        ),
        (
            [{**BASE, "zone": 1}],
            {"nodes": ["size", "a"]},
            "nodes: expected the models of the file, ['a'], got ['size', 'a']: 'size' is not in the file",
        ),
        ([{**BASE, "cost": "yes"}], {}, "column 'cost', row 1: expected a number >= 0, got 'yes'"),
        (
            [{**BASE, "correct": 1}],
            {},
            "columns ['loss', 'correct']: expected one of them; leave out the other with ignore=['correct']",
        ),
        (
            [{**BASE, "right": 1}],
            {"columns": {"correct": "right"}},
            "columns ['loss', 'right']: expected one of them; leave out the other with ignore=['loss']",
        ),
        (
            [{"request": 1, "model": "a", "cost": 1, "correct": "B"}],
            {},
            "column 'correct', row 1: expected a number >= 0 and <= 1, got 'B'; if these are the right answers pass "
            "columns={'label': 'correct'}",
        ),
        (
            [{"request": 1, "model": "a", "cost": 1, "correct": 2}],
            {},
            "column 'correct', row 1: expected a number >= 0 and <= 1, got 2",
        ),
    ],
)
def test_what_is_refused(rows: list[dict[str, Any]], options: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "data.jsonl", rows)
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")):
        Traces.read(path, **options)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "not readable (Empty CSV file)"),
        ("a.csv", "request,model,loss,cost\n", "expected at least one row, got none"),
        ("a.csv", "request,model,loss,cost\n1,a,0\n", "not readable (CSV parse error: "),
        ("a.csv", "request,request\n1,1\n", "column 'request': stands there twice"),
        ("a.csv", b"request,model,loss,cost\n\xff,a,0,1\n", "not readable ("),
        ("a.jsonl", "", "expected at least one row, got none"),
        ("a.jsonl", "\n[1]\n", "line 2: expected an object, a row of the table, got list"),
        ("a.jsonl", '{"a": 1}\n{"a": 1, "a": 2}\n', "line 2: not JSON ('a' stands there twice)"),
        ("a.jsonl", b'{"a": "\xff"}\n', "expected UTF-8 ("),
        ("a.jsonl", "{}\n{}\n", "expected columns request, model, loss (or correct, or label and answer), cost (or "),
        ("a.jsonl", "{\n", "line 1: not JSON (Expecting property name enclosed in double quotes, column 2)"),
        ("a.parquet", "PAR1", "not readable ("),
        ("a.xlsx", "", "expected a name that ends in .csv, .jsonl, .ndjson, .json or .parquet, got '.xlsx'"),
    ],
)
def test_files_that_are_no_tables(name: str, text: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=re.escape(f"{path}: {message}")):
        Traces.read(path)


def test_arguments_of_another_kind(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [BASE])
    with pytest.raises(TypeError, match="columns: expected a mapping of names to columns, got list"):
        Traces.read(path, columns=["loss"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="columns: expected a str, got int"):
        Traces.read(path, columns={0: "loss"})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=re.escape("nodes: expected the models of the file, ['a'], got ['b']")):
        Traces.read(path, nodes=["b"])
    with pytest.raises(TypeError, match="ignore: expected a sequence of columns, got a str"):
        Traces.read(path, ignore="loss")
    with pytest.raises(TypeError, match="categories: expected a sequence of columns, got a str"):
        Traces.read(path, categories="loss")
    with pytest.raises(TypeError, match="nodes: expected a sequence of names, got a str"):
        Traces.read(path, nodes="a")
    with pytest.raises(FileNotFoundError):
        Traces.read(tmp_path / "none.csv")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_without_pyarrow_the_extra_is_named(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / f"a{suffix}", [BASE])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    message = f'reading {suffix} files needs pyarrow: pip install "ttamer[tables]"'
    with pytest.raises(ImportError, match=re.escape(message)):
        Traces.read(path)


def test_json_lines_need_no_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert len(Traces.read(written(tmp_path / "a.jsonl", [BASE]))) == 1


def test_answers_are_no_classes(tmp_path: Path) -> None:
    """Their numbers are those of this file."""
    rows = [
        {"request": str(k), "model": model, "label": "x", "answer": answer, "cost": "1"}
        for k, answers in enumerate([("x", "y"), ("y", "y")])
        for model, answer in zip(("a", "b"), answers, strict=True)
    ]
    first = Traces.read(written(tmp_path / "first.csv", rows))
    second = Traces.read(written(tmp_path / "second.csv", rows[::-1]), nodes=["a", "b"])
    assert not first.answer_classes
    assert first.predictions is not None
    assert second.predictions is not None
    assert first.predictions.tolist() != second.predictions[::-1].tolist()
    np.testing.assert_array_equal(first.losses, second.losses[::-1])
