"""`ttamer report`: its page as a browser shows it, what it prints, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ttamer
from ttamer import Traces
from ttamer.cli import main
from ttamer.serve import Cascade, Dispatcher, Flight, Log, Outcome, report

HOSTILE = "<script>document.title = 'hostile'</script>"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--allow-file-access-from-files",
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log of two policies, some requests labelled, some of them failing, and what its policies knew."""
    folder = tmp_path_factory.mktemp("served")
    rng = np.random.default_rng(0)
    sure = rng.random((2600, 3)).astype(np.float32)
    wrong = (rng.random((2600, 3)) > sure ** [1.0, 0.4, 0.1]).astype(np.float32)
    traces = Traces(sure, wrong, [0.1, 0.3, 2.0], unit="ct", nodes=["small", HOSTILE, "large"])
    front = ttamer.frontier(traces[:1000], estimate="signal")
    good = front.best(max_cost=1.2).policy
    good.save(folder / "policy.st")
    traces[1000:2000].save(folder / "test.npz")

    def node(number: int) -> Any:
        async def call(row: int, flight: Flight) -> Outcome:
            if number == 1 and row % 40 == 0:
                raise TimeoutError("late")
            return Outcome(number, float(sure[row, number]))

        return call

    async def serve() -> None:
        dispatcher = Dispatcher({"free & easy": front.best(max_cost=0.5).policy, "paid": good})
        nodes = {name: node(number) for number, name in enumerate(traces.nodes or ())}
        with Log(folder / "log.jsonl") as log:
            cascade = Cascade(nodes, dispatcher, shadow=0.2, log=log, seed=0)
            for row in range(2000, 2600):
                await cascade(row, tier="paid" if row % 3 else "free & easy", request=str(row))
            await cascade.join()
            for row in range(2000, 2600, 2):
                log.losses(str(row), dict(zip(traces.nodes or (), wrong[row].tolist(), strict=True)))

    asyncio.run(serve())
    return folder


@pytest.fixture
def folder(served: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(served)
    return served


class Cells(HTMLParser):
    """Rows of the tables of a page, as text, and its tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        self._cell = tag in ("td", "th")
        if self._cell:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.rows[-1][-1] += data


def test_the_page_says_what_the_numbers_are(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["report", "log.jsonl", "--policy", "policy.st", "--traces", "test.npz", "--output", "page.html"]
    assert main(command) == 0
    numbers = report("log.jsonl", ttamer.Policy.load("policy.st"), Traces.load("test.npz"))
    out = capsys.readouterr().out.splitlines()
    saved, stopped = numbers.savings[0], sum(each["policy"] for each in numbers.tiers.values())
    assert out == [
        f"600 requests cost {numbers.cost.mean:.4g} ct each on average, {saved.share.value:.1%} less than always "
        f"asking {saved.against}. The policy stopped {stopped / 600:.1%} of them.",
        "wrote the page to page.html",
    ]
    page = Path("page.html").read_text(encoding="utf-8")
    cells = Cells(page)
    counts = numbers.tiers["free & easy"]
    assert ["tier", "failure", "policy", "all"] in cells.rows
    assert ["free & easy", str(counts["failure"]), str(counts["policy"]), "200"] in cells.rows
    hostile = numbers.nodes[1]
    asked = [hostile.consulted, hostile.stopped, hostile.answered, hostile.failed, hostile.down, hostile.shadowed]
    assert [HOSTILE, *map(str, asked)] in cells.rows
    assert hostile.failed > 0
    loss = numbers.shadowed_loss
    assert loss is not None
    texts = [str(loss.requests), f"{loss.value:.3g}", f"{loss.low:.3g} to {loss.high:.3g}"]
    assert ["those shown to all nodes", *texts] in cells.rows
    assert numbers.drift is not None
    assert [["loss", f"{numbers.drift.evidence['loss']:.3g}"]] == [row for row in cells.rows if row[0] == "loss"]
    assert f"{numbers.drift.psi:.3f}" in page
    assert "First and last are numbers of requests in the log; expected is the mean cost" in page


def test_the_page_needs_nothing_and_runs_nothing(folder: Path) -> None:
    assert main(["report", "log.jsonl", "--output", "alone.html"]) == 0
    page = Path("alone.html").read_text(encoding="utf-8")
    cells = Cells(page)
    tags = [tag for tag, _ in cells.tags]
    assert not {"script", "link", "img", "iframe", "object"} & set(tags)
    assert not [attrs for _, attrs in cells.tags if {"src", "onload", "onclick"} & set(attrs)]
    assert not re.findall(r"(?:url\(|href=\")(?!#)", page)
    names = set(re.findall(r"https?://[^\"' <]+", page))
    assert names <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # of languages, not of places
    ids = [attrs["id"] for _, attrs in cells.tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    assert dict(cells.tags)["html"] == {"lang": "en"}
    assert tags.count("h1") == tags.count("title") == 1
    pictures = [attrs for tag, attrs in cells.tags if tag == "svg"]
    assert len(pictures) == 2
    assert all(each["role"] == "img" and each["aria-label"] for each in pictures)
    assert tags.count("caption") == tags.count("table")
    assert "It needs a policy and traces of how requests should be." in page


def test_the_same_log_gives_the_same_page(folder: Path) -> None:
    for name in ("a.html", "b.html"):
        assert main(["report", "log.jsonl", "--output", name]) == 0
    assert Path("a.html").read_bytes() == Path("b.html").read_bytes()


def test_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "log.jsonl", "--policy", "policy.st", "--output", "page.html", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    numbers = report("log.jsonl", ttamer.Policy.load("policy.st"))
    assert figures["page"] == "page.html"
    assert figures["requests"] == 600
    assert figures["cost"]["mean"] == numbers.cost.mean
    assert figures["savings"][0]["share"]["low"] == numbers.savings[0].share.low
    assert figures["nodes"][1]["node"] == HOSTILE
    assert figures["drift"] is None


def test_a_log_that_says_little(tmp_path: Path) -> None:
    """Requests without answers, costs and shadows, one of them cancelled; the page says what would be needed."""
    ones = np.ones((3, 1), np.float32)
    traces = Traces(ones, ones, [0.0])
    policy = ttamer.solve(ttamer.fit(traces))
    path, output = tmp_path / "log.jsonl", tmp_path / "page.html"

    def page(*options: str) -> str:
        assert main(["report", str(path), "--output", str(output), *options]) == 0
        return output.read_text(encoding="utf-8")

    with Log(path) as log:
        flight = Dispatcher(policy).enter()
        flight.cancel()
        flight.is_shadowed = True
        log.write(flight)
        words = ("What other nodes would have cost is not known", "No losses are known", "The policy stopped 0.0%")
        assert all(each in page() for each in words)
        flight = Dispatcher(policy).enter()
        flight.failed("no")
        log.write(flight)
    policy.save(tmp_path / "policy.st")
    traces.save(tmp_path / "traces.npz")
    text = page("--policy", str(tmp_path / "policy.st"), "--traces", str(tmp_path / "traces.npz"))
    assert "Watched 0 requests that the policy stopped, 0 of them labelled." in text
    assert "No alarm." in text


def test_an_alarm_is_said_at_the_top_and_far_evidence_is_not_spelt_out(folder: Path) -> None:
    """The same requests are watched against others that cost and promise much less."""
    traces = Traces.load("test.npz")
    traces._with(signals=np.ones_like(traces.signals)).save("sure.npz")
    assert main(["report", "log.jsonl", "--policy", "policy.st", "--traces", "sure.npz", "--output", "page.html"]) == 0
    page = Path("page.html").read_text(encoding="utf-8")
    top, _, drift = page.partition("<h2>Drift</h2>")
    for part in (top, drift):
        assert re.search(r'<p class="alarm">Alarm: what .* It was noticed at request \d+\.</p>', part)
    assert ["cost", "over 1,000"] in Cells(page).rows


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["log.jsonl", "--traces", "test.npz"], "--traces: expected together with --policy FILE"),
        (["none.jsonl"], "none.jsonl: No such file or directory"),
        (["empty.jsonl"], "empty.jsonl: expected at least one request, got none"),
        (["log.jsonl", "--output", "no/page.html"], "no/page.html: expected a path in an existing folder"),
        (["log.jsonl", "--policy", "other.st"], "log.jsonl: policy: expected one that decided requests, "),
    ],
)
def test_refusals(arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty.jsonl").write_text("")
    ttamer.solve(ttamer.fit(Traces.load("test.npz")), 0.7).save("other.st")
    assert main(["report", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"ttamer: {message}")


def browse(folder: Path, *arguments: str) -> str:
    """What Chromium prints, in a profile of its own."""
    profile = folder / "profile"
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    shutil.rmtree(profile, ignore_errors=True)
    return run.stdout


FRAMES = """<!DOCTYPE html><title>frames</title>
<iframe src="page.html" style="width: 400px; height: 900px; border: 0; color-scheme: light"></iframe>
<iframe src="page.html" style="width: 400px; height: 900px; border: 0; color-scheme: dark"></iframe>
<pre id="out"></pre>
<script>
addEventListener("load", () => {
  const looks = [...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument, style = frame.contentWindow.getComputedStyle(page.body);
    const axis = frame.contentWindow.getComputedStyle(page.querySelector("svg text, svg use, svg path"));
    return {
      width: page.documentElement.scrollWidth,
      title: page.title,
      background: style.backgroundColor,
      colour: style.color,
      heads: [...page.querySelectorAll("h1, h2")].map((each) => each.textContent),
      right: frame.contentWindow.getComputedStyle(page.querySelector("td")).textAlign,
      pictures: [...page.querySelectorAll("svg")].map((each) => each.getBoundingClientRect().width),
    };
  });
  document.getElementById("out").textContent = JSON.stringify(looks);
});
</script>
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH, or its path in CHROMIUM")
class TestBrowser:
    @pytest.fixture
    def page(self, folder: Path) -> Path:
        command = ["report", "log.jsonl", "--policy", "policy.st", "--traces", "test.npz", "--output", "page.html"]
        assert main(command) == 0
        return folder / "page.html"

    def test_it_fits_a_telephone_in_light_and_dark(self, page: Path) -> None:
        frames = page.with_name("frames.html")
        frames.write_text(FRAMES, encoding="utf-8")
        shown = browse(page.parent, "--dump-dom", frames.as_uri())
        found = re.search(r'<pre id="out">(.+)</pre>', shown)
        assert found is not None
        light, dark = json.loads(found.group(1))
        for look in (light, dark):
            assert look["width"] == 400
            assert look["title"] == "Requests that were served"  # the hostile node changed nothing
            assert look["heads"][0] == look["title"]
            assert len(look["heads"]) == 8
            assert look["right"] == "right"
            assert len(look["pictures"]) == 3
            assert all(300 < width <= 400 for width in look["pictures"])
        assert brightness(light["background"]) > 240 > 60 > brightness(light["colour"])
        assert brightness(dark["background"]) < 60 < 200 < brightness(dark["colour"])

    def test_it_is_drawn(self, page: Path) -> None:
        image = pytest.importorskip("matplotlib.image")
        browse(page.parent, "--window-size=900,1600", f"--screenshot={page.with_name('page.png')}", page.as_uri())
        pixels = image.imread(page.with_name("page.png"))[..., :3]
        assert pixels.shape[:2] == (1600, 900)
        drawn = np.abs(pixels - pixels[0, 0]).max(axis=2) > 0.3
        assert 0.01 < drawn.mean() < 0.5
        assert drawn.any(axis=1)[::-1].argmax() < 300  # down to the end of the window
        blue = np.abs(pixels - np.array([0x44, 0x77, 0xAA]) / 255).max(axis=2) < 0.02
        assert blue.mean() > 0.005  # bars


def brightness(colour: str) -> float:
    return float(np.mean([int(part) for part in re.findall(r"\d+", colour)[:3]]))
