"""Instances whose optimum was found by search over all policies."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from exhaustive import enumerate_policy, optimum
from paths import DATA

import ttamer
from ttamer import reference

BY_STATE = json.loads((DATA / "instances-costs-by-state.json").read_text())
INSTANCES = json.loads((DATA / "instances.json").read_text()) + BY_STATE
KEYS = {"observed": "optimum", "none": "optimum_without_recall"}


def of(*kinds: str) -> Any:
    """Parametrisation over the instances of some kinds."""
    chosen = [(k, instance) for k, instance in enumerate(INSTANCES) if instance["topology"] in kinds]
    return pytest.mark.parametrize(
        "instance", [pytest.param(instance, id=f"{k}-{instance['topology']}") for k, instance in chosen]
    )


def topology_of(instance: dict[str, Any]) -> ttamer.Topology:
    return ttamer.Topology.from_parts(instance["topology"], instance["n"], instance["edges"])


def tables_of(instance: dict[str, Any]) -> tuple[list[Any], list[Any], Any]:
    """Losses, inf of nodes that cannot answer, transitions in edge order, and costs."""
    answers = instance.get("answers", [True] * instance["n"])
    losses = [
        np.array(row) if can else np.full(len(row), np.inf)
        for row, can in zip(instance["losses"], answers, strict=True)
    ]
    transitions = [np.array(instance["transitions"][f"{i}->{j}"]) for i, j in instance["edges"]]
    costs = [np.array(cost) for cost in instance["costs"]]  # numbers, or one for each state
    return losses, transitions, costs


def model_of(instance: dict[str, Any]) -> ttamer.CascadeModel:
    return ttamer.CascadeModel(topology_of(instance), *tables_of(instance), cost_scale=1)


def test_every_kind_is_there() -> None:
    assert {instance["topology"] for instance in INSTANCES} == {"line", "skip", "dag", "forest"}
    assert {instance["topology"] for instance in BY_STATE} == {"line", "skip", "dag", "forest"}
    assert (len(INSTANCES), len(BY_STATE)) == (200, 120)
    assert sum(not all(instance["answers"]) for instance in BY_STATE) == 88


@of("line", "skip", "dag", "forest")
def test_exhaustive_search_agrees(instance: dict[str, Any]) -> None:
    for recall, key in KEYS.items():
        if key in instance:
            found = optimum(topology_of(instance), *tables_of(instance), recall=recall == "observed")
            assert found == pytest.approx(instance[key], rel=0, abs=1e-12)


@pytest.mark.parametrize("recall", KEYS)
@of("line", "skip", "dag")
def test_core_attains_the_optimum(instance: dict[str, Any], recall: str) -> None:
    model = model_of(instance)
    policy = ttamer.solve(model, tradeoff=0.5, recall=recall)
    assert 2 * policy.value == pytest.approx(instance[KEYS[recall]], rel=0, abs=1e-12)
    outcome = enumerate_policy(policy, model)
    assert outcome.loss + outcome.cost == pytest.approx(instance[KEYS[recall]], rel=0, abs=1e-12)


@pytest.mark.parametrize("recall", KEYS)
@of("line", "skip", "dag")
def test_reference_attains_the_optimum(instance: dict[str, Any], recall: str) -> None:
    tables = reference.solve(topology_of(instance), *tables_of(instance), 0.5, recall == "observed", 1.0)
    assert 2 * tables.value == pytest.approx(instance[KEYS[recall]], rel=0, abs=1e-12)


@of("forest")
def test_core_attains_the_optimum_on_forests(instance: dict[str, Any]) -> None:
    model = model_of(instance)
    policy = ttamer.solve(model, tradeoff=0.5)
    assert 2 * policy.value == pytest.approx(instance["optimum"], rel=0, abs=1e-12)
    outcome = enumerate_policy(policy, model)
    assert outcome.loss + outcome.cost == pytest.approx(instance["optimum"], rel=0, abs=1e-12)


@of("line", "forest")
def test_core_index(instance: dict[str, Any]) -> None:
    policy = ttamer.solve(model_of(instance), tradeoff=0.5, recall="observed")
    for node, index in enumerate(instance["index"]):
        np.testing.assert_allclose(policy.index(node), numbers(index), rtol=0, atol=1e-12)


@of("line", "forest")
def test_surrogates_of_the_reference(instance: dict[str, Any]) -> None:
    found, value = reference.surrogates(topology_of(instance), *tables_of(instance))
    assert value == pytest.approx(instance["optimum"], rel=0, abs=1e-12)
    for index, expected in zip(found, instance["index"], strict=True):
        np.testing.assert_allclose(index, numbers(expected), rtol=0, atol=1e-12)


def numbers(index: list[float | None]) -> list[float]:
    return [np.inf if value is None else value for value in index]
