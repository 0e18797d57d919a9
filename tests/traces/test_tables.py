"""Traces from tables with a row a request and model."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ttamer
from ttamer import Topology, Traces

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
        lines = [",".join("" if value is None else str(value) for value in row.values()) for row in rows]
        path.write_text("\n".join([",".join(rows[0]), *lines]) + "\n", encoding="utf-8")
    elif path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


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


BASE = {"request": 1, "model": "a", "loss": 0, "cost": 1}


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([BASE, BASE], {}, "row 2: request 1 and model a have a row already"),
        (
            [{"request": 1, "loss": 0}],
            {},
            "expected columns model, cost (or cost_usd and the like), got ['request', 'loss']",
        ),
        ([{"request": 1, "model": 2, "answer": 1, "cost": 1}], {}, "expected columns loss (or label and answer), got "),
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
            "column 'took', row 2: expected one value a request, else name it in ignore=['took'], got '6' after '5'",
        ),
        (
            [{**BASE, "label": 5, "answer": 5}, {**BASE, "model": "b", "label": 6, "answer": 5}],
            {"ignore": ["loss"]},
            "column 'label', row 2: expected one label a request, got '6' after '5'",
        ),
        (
            [{**BASE, "prompt": "x" * 300}],
            {},
            "column 'prompt', row 1: expected at most 200 characters, got 300; name it in",
        ),
        ([{**BASE, "note": None}], {}, "column 'note': expected a value, got none; name it in ignore=['note']"),
        ([{**BASE, "tags": {"a": 1}}], {}, "column 'tags', row 1: expected a text or number, got a dict"),
        (
            [BASE],
            {"columns": {"price": "cost"}},
            "columns: expected names of request, model, loss, label, cost, score, ",
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
        ("a.jsonl", "", "not readable (Empty JSON file)"),
        ("a.jsonl", "{}\n{}\n", "expected columns request, model, loss (or label and answer), cost (or "),
        ("a.jsonl", "{\n", "not readable (JSON parse error: "),
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
    with pytest.raises(FileNotFoundError):
        Traces.read(tmp_path / "none.csv")


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=re.escape("reading tables needs pyarrow: pip install 'ttamer[tables]'")):
        Traces.read(written(tmp_path / "a.jsonl", [BASE]))
