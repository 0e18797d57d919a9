"""Look at the built pages: links inside of them lead somewhere, and the search knows what is asked for.

python docs/check.py build/docs
"""

from __future__ import annotations

import json
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

TERMS = ["threshold", "tune", "frontier", "certifi", "drift", "fastapi", "bert"]
"""Stems that the search has to know."""


class Page(HTMLParser):
    """Where a page leads to, and what can be led to on it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what the attributes of an element say."""
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name == "id" and value:
                self.names.add(value)


def broken(folder: Path) -> list[str]:
    """Links of the pages of a folder that lead to no file, or to no place in one."""
    pages = {path.resolve(): Page(path) for path in folder.rglob("*.html") if "_static" not in path.parts}
    found = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            names = pages[target].names | {""} if target in pages else {parts.fragment}
            if not target.exists() or unquote(parts.fragment) not in names:
                found.append(f"{path.relative_to(folder.resolve())}: {link}")
    return found


def unknown(folder: Path) -> list[str]:
    """Terms that the search does not know."""
    index = (folder / "searchindex.js").read_text(encoding="utf-8")
    terms = json.loads(index[index.index("(") + 1 : index.rindex(")")])["terms"]
    return [term for term in TERMS if term not in terms]


def main(folder: Path) -> int:
    """Print what is wrong, and say by the exit status whether anything is."""
    complaints = [f"broken link in {link}" for link in broken(folder)]
    complaints += [f"the search does not know {term!r}" for term in unknown(folder)]
    print(*complaints, sep="\n", end="\n" if complaints else "")
    return int(bool(complaints))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
