"""Look at the built pages: links inside of them lead somewhere, and the search knows what is asked for.

Where there is Chromium, on the PATH or in the variable CHROMIUM, also: texts stand out from what is behind them, in the
light and in the dark theme.

python docs/check.py build/docs
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
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


def hard_to_read(folder: Path) -> list[str]:
    """Texts with a contrast below 4.5, of each kind the first."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        return []
    pages = [path.as_uri() for path in sorted(folder.resolve().rglob("*.html")) if "_static" not in path.parts]
    script = Path(__file__).with_name("contrast.html").read_text(encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as own:
        page = Path(own, "contrast.html")
        page.write_text(script.replace("PAGES", json.dumps(pages)), encoding="utf-8")
        # The clock stands still while pages load: all of them get the time that they need.
        command = [chromium, *flags, f"--user-data-dir={own}/profile", "--virtual-time-budget=1000000", page.as_uri()]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True).stdout
    (texts,) = re.findall(r"<pre>({.*})</pre>", shown)
    return [f"{kind}: {text}" for kind, text in json.loads(html.unescape(texts)).items()]


def main(folder: Path) -> int:
    """Print what is wrong, and say by the exit status whether anything is."""
    complaints = [f"broken link in {link}" for link in broken(folder)]
    complaints += [f"the search does not know {term!r}" for term in unknown(folder)]
    complaints += [f"hard to read: {text}" for text in hard_to_read(folder)]
    print(*complaints, sep="\n", end="\n" if complaints else "")
    return int(bool(complaints))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
