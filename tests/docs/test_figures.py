"""README.md and docs quote bench/results: every passage of bench/figures.txt says what the results say."""

from __future__ import annotations

import importlib
import json

import pytest
from paths import BENCH

PASSAGE = "takes {} ns for one request,\nand {} ms"
TEXT = "A call takes 12 ns for\none request, and 1,024.5 ms more."


@pytest.fixture(scope="module")
def scripts():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        yield importlib.import_module("quoting"), list(importlib.import_module("figures").quotes())


def test_pages_say_what_the_results_say(scripts):
    quoting, quotes = scripts
    assert {quote.page for quote in quotes} >= {"README.md", "docs/benchmarks.md", "docs/quality.md", "docs/torch.md"}
    wrong = [line for quote in quotes for line in quote.differences(quoting.text_of(quote.page))]
    assert not wrong, "python bench/figures.py --write rewrites the pages:\n" + "\n".join(wrong)


def test_a_figure_that_differs_is_named_and_rewritten(scripts):
    quoting, _ = scripts
    quote = quoting.Quote("page.md", PASSAGE, ("13", "1,024.5"))
    assert list(quote.differences(TEXT)) == ["page.md: 12 where the result is 13, after 'takes '"]
    assert quote.rewritten(TEXT) == TEXT.replace("12", "13")
    assert not list(quote.differences(quote.rewritten(TEXT)))


@pytest.mark.parametrize(("text", "count"), [("A call takes long.", 0), (TEXT * 2, 2)])
def test_a_passage_stands_once(scripts, text, count):
    quoting, _ = scripts
    (difference,) = quoting.Quote("page.md", PASSAGE, ("12", "1,024.5")).differences(text)
    assert difference == f"page.md: {count} passages like {PASSAGE!r}, expected one"


@pytest.mark.parametrize(
    ("value", "count", "text"),
    [
        (0.19633, 2, "0.20"),
        (83184.9, 3, "83,200"),
        (9.99, 2, "10"),
        (0.0995, 2, "0.10"),
        (4.0, 1, "4"),
        (-0.0123, 1, "-0.01"),
    ],
)
def test_significant_digits(scripts, value, count, text):
    assert scripts[0].digits(value, count) == text


def test_each_result_is_of_a_command_in_the_table_of_proofs():
    page = (BENCH / "README.md").read_text(encoding="utf-8")
    for path in (BENCH / "results").glob("*.json"):
        assert json.loads(path.read_text(encoding="utf-8"))
        assert f"{path.name}`" in page, path.name
    for path in BENCH.glob("*.py"):
        if "__main__" in path.read_text(encoding="utf-8"):
            assert path.name in page, path.name
