"""The dashboard and the alerts show all metrics that there are, and none that there is not."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import pytest
from helpers import random_traces
from paths import REPOSITORY

import ttamer
from ttamer import STOP, Topology
from ttamer.serve import Dispatcher, Drift, Metrics

DASHBOARD = json.loads((REPOSITORY / "docs/assets/grafana.json").read_text(encoding="utf-8"))
QUERIES = [(panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]]
PAGE = (REPOSITORY / "docs/operations.md").read_text(encoding="utf-8")
ALERTS = re.findall(r"^      - alert: (\w+)\n        expr: (.+)$", PAGE, flags=re.MULTILINE)
NAME = r"\bttamer_\w+"


@pytest.fixture(scope="module")
def samples() -> dict[str, set[str]]:
    """Names of what is exported once a request was served, answered, failed and shadowed; and their labels."""
    prometheus = pytest.importorskip("prometheus_client", reason="needs the serve extra")
    traces = random_traces(Topology.line(3), 400, 0)
    policy = ttamer.solve(ttamer.fit(traces[:200], 6), 0.99)
    metrics = Metrics(registry := prometheus.CollectorRegistry(), Drift(policy, traces[200:]))
    for fails in (True, False):
        flight = Dispatcher(policy).enter()
        while flight.node != STOP:
            flight.failed("no") if fails else flight.consulted("a", 1.0)
        flight.is_shadowed = True
        for node in range(len(flight.visits), 3):
            flight.shadowed(node, "b", 0.5)
        metrics.saw(flight)
    found: dict[str, set[str]] = {}
    for sample in (sample for family in registry.collect() for sample in family.samples):
        if not sample.name.endswith("_created"):  # when a counter began
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize(("title", "query"), QUERIES + ALERTS)
def test_queries_name_what_is_exported(title: str, query: str, samples: dict[str, set[str]]) -> None:
    names = re.findall(NAME, query)
    assert names
    assert set(names) <= set(samples)
    labels = set().union(*(samples[name] for name in names))
    used = re.findall(r"(\w+)(?:=~|!=|=)\"", query) + [
        label for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(", ")
    ]
    assert set(used) <= labels
    assert query.count("(") == query.count(")")


def test_all_that_is_exported_is_shown(samples: dict[str, set[str]]) -> None:
    def family(name: str) -> str:
        return re.sub("_(bucket|count|sum)$", "", name)

    shown = {family(name) for _, query in QUERIES for name in re.findall(NAME, query)}
    assert shown == {family(name) for name in samples}
    documented = set(re.findall(r"^(ttamer_\w+)", inspect.getdoc(Metrics) or "", flags=re.MULTILINE))
    assert shown == documented


def test_the_page_explains_every_panel_and_every_alert() -> None:
    def first_cells(section: str) -> list[str]:
        text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
        return re.findall(r"^\| ([^|]+) \|", text, flags=re.MULTILINE)[1:]

    assert first_cells("The dashboard") == [panel["title"] for panel in DASHBOARD["panels"]]
    alerts = [name for cell in first_cells("Alerts") for name in cell.split(", ")]
    assert alerts == [name for name, _ in ALERTS] == re.findall(r"alert: (\w+)", PAGE)
    assert first_cells("Drift") == ['"cost"', '"promise"', '"loss"']


@pytest.mark.parametrize(("name", "query"), ALERTS)
def test_alerts_ask_for_values_that_labels_have(name: str, query: str) -> None:
    """A name of a reason or an outcome that does not exist would match nothing for ever."""
    values = {"node": {""}, "outcome": {"failure", "shadow"}, "reason": {"policy"}}
    for label, value in re.findall(r"(\w+)!?=\"(.*?)\"", query):
        assert value in values[label]


def test_it_is_a_dashboard_of_any_data_source() -> None:
    assert DASHBOARD["schemaVersion"] >= 39
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    sources = re.findall(r'"uid": "(\$.*?)"', json.dumps(DASHBOARD))
    assert set(sources) == {"${datasource}"}
    assert len(sources) == 1 + len(DASHBOARD["panels"]) + len(QUERIES)
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    places = {(x, y) for panel in panels for x, y in cells(panel["gridPos"])}
    assert len(places) == sum(panel["gridPos"]["w"] * panel["gridPos"]["h"] for panel in panels)  # none on another


def cells(place: dict[str, int]) -> list[tuple[int, int]]:
    return [(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])]


@pytest.mark.parametrize(("title", "limit"), [("Evidence of drift", 1), ("Stability index", 0.25)])
def test_limits_are_drawn(title: str, limit: float) -> None:
    (panel,) = [panel for panel in DASHBOARD["panels"] if panel["title"] == title]
    defaults: dict[str, Any] = panel["fieldConfig"]["defaults"]
    assert defaults["custom"]["thresholdsStyle"]["mode"] == "line"
    assert [step["value"] for step in defaults["thresholds"]["steps"]] == [None, limit]
