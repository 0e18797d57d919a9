"""The page on error messages quotes those that there are."""

from __future__ import annotations

import ast
import re

import pytest
from paths import REPOSITORY

PAGE = (REPOSITORY / "docs/troubleshooting.md").read_text(encoding="utf-8")
QUOTES = re.findall(r"^\* `(.+)`$", PAGE, flags=re.MULTILINE)


def texts_of_python() -> list[str]:
    """Texts of the package; what an f-string fills in is an ellipsis."""
    texts = []
    for path in (REPOSITORY / "python/ttamer").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


def texts_of_the_core() -> list[str]:
    """A text a statement; what stands between its literals is an ellipsis."""
    texts = []
    for path in (REPOSITORY / "cpp").rglob("*.cpp"):
        for statement in re.split(r";\n", path.read_text(encoding="utf-8")):
            text = re.sub(r'"\s*\n\s*"', "", statement)
            literals = re.findall(r'R"\((.*?)\)"|"((?:[^"\\\n]|\\.)*)"', text)
            texts.append("…".join(raw or plain for raw, plain in literals))
    return texts


TEXTS = "\n".join(texts_of_python() + texts_of_the_core())


def pattern(quote: str) -> str:
    return ".*".join(re.escape(part) for part in quote.split("…"))


def test_the_quotes_are_found() -> None:
    assert len(QUOTES) == PAGE.count("\n* `") >= 40
    assert len(set(QUOTES)) == len(QUOTES)


@pytest.mark.parametrize("quote", QUOTES)
def test_message_is_one_of_the_package(quote: str) -> None:
    """Word by word; the name of the argument, or all but what is expected, may stand elsewhere in the source."""
    name_filled_in = re.sub(r"^\w+:", "…:", quote)
    expected = re.sub(r"^\w+: expected (.*), got ….*$", r"\1", quote)
    assert re.search("|".join(map(pattern, (quote, name_filled_in, expected))), TEXTS), quote
