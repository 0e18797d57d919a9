"""Models and policies with estimates: fitting, replaying, files, and what they refuse."""

from __future__ import annotations

import builtins
import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evidence_cases import graded, independent, nested, posterior, softmax
from helpers import random_model
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import DATA
from samples import plain

import ttamer
from ttamer import Topology, Traces, reference
from ttamer._base import files
from ttamer.fitting.crossfit import CrossFit, folds_of
from ttamer.model.estimators import Estimator
from ttamer.model.information_sets import set_graph

LINE = Topology.line(3)
FOREST = Topology.forest([-1, -1, -1])


class TestCrossFit:
    def test_a_row_does_not_change_its_own_estimate(self) -> None:
        traces = independent(200)
        folds = folds_of(200, 0)
        losses = traces.losses.copy()
        losses[folds == 2] = 1 - losses[folds == 2]
        flipped = traces._with(losses=losses)
        graph = set_graph(LINE)
        found = CrossFit(traces).estimator(graph)[1]
        other = CrossFit(flipped).estimator(graph)[1]
        np.testing.assert_allclose(found.signals[folds == 2], other.signals[folds == 2], atol=1e-3)
        assert np.abs(found.signals[folds != 2] - other.signals[folds != 2]).max() > 0.1

    def test_folds_are_even_and_seeded(self) -> None:
        assert np.bincount(folds_of(103, 0)).tolist() == [21, 21, 21, 20, 20]
        assert folds_of(103, 0).tolist() == folds_of(103, 0).tolist() != folds_of(103, 1).tolist()

    def test_coefficients_solve_the_ridge_problem(self) -> None:
        traces = independent(300, 2)
        fitting = CrossFit(traces)
        (_, weights), _ = fitting.step((0, 1), 1)
        assert traces.evidence is not None
        nodes = np.array([0, 1], np.int32)
        made = reference.features(traces.evidence.log_probs, traces.evidence.classes, 3, nodes, 1, "posterior", 1)
        wrong = traces.losses[:, 1].astype(float)
        residual = 1 / (1 + np.exp(-(weights[0] + made @ weights[1:]))) - wrong
        spread = made.std(axis=0)
        np.testing.assert_allclose(residual.sum(), 0, atol=1e-2)
        gradient = ((made - made.mean(axis=0)) / spread).T @ residual + 3.0 * weights[1:] * spread
        np.testing.assert_allclose(gradient, 0, atol=1e-2)

    def test_one_outcome_only(self) -> None:
        traces = independent(20)
        for value, expected in ((0.0, np.log(0.5 / 20.5)), (1.0, np.log(20.5 / 0.5))):
            same = traces._with(losses=np.full_like(traces.losses, value))
            (weights,), found = CrossFit(same).step((0,), 0)
            assert weights[0] == pytest.approx(expected)
            assert not weights[1:].any()
            assert np.unique(found.signals).tolist() == [
                pytest.approx(-np.log((16 * value + 0.5) / (16.5 - 16 * value)))
            ]

    @settings(max_examples=40)  # the fits of the reference are slow
    @given(st.integers(0, 2**16), st.sampled_from([0.0, 1e-6, 0.5, 5574.0]))
    def test_coefficients_are_those_of_the_reference(self, seed: int, scale: float) -> None:
        """Of errors (scale 0) and of graded losses of any size."""
        traces = graded(independent(60, seed=seed), scale) if scale else independent(60, seed=seed)
        fits, _ = CrossFit(traces).step((0, 1), 1)
        assert traces.evidence is not None
        nodes = np.array([0, 1], np.int32)
        largest = float(traces.losses.max())
        for node, weights in enumerate(fits):
            evidence = traces.evidence.log_probs, traces.evidence.classes
            made = reference.features(*evidence, 3, nodes, 1, "posterior", node)
            expected = reference.coefficients(made, traces.losses[:, node], largest)
            np.testing.assert_allclose(weights[0] + made @ weights[1:], expected[0] + made @ expected[1:], atol=1e-3)

    def test_the_unit_of_losses_does_not_matter(self) -> None:
        """Two losses, whatever they are, are right and wrong; so are errors and no others of 5 and 0."""
        errors = independent(100)
        five = errors._with(losses=errors.losses * np.float32(5))
        one, other = (posterior(each) for each in (errors, five))
        assert one.estimator == other.estimator
        for found, expected in zip(other.losses, one.losses, strict=True):
            np.testing.assert_allclose(found, 5 * expected, rtol=1e-6)

    def test_one_graded_loss_alone(self) -> None:
        same = independent(20)._with(losses=np.full((20, 3), 0.5, np.float32))
        other = same._with(losses=np.where(np.arange(3) == 2, 2, same.losses).astype(np.float32))
        (weights,), _ = CrossFit(same).step((0,), 0)
        assert weights[0] == pytest.approx(np.log(20.5 / 0.5))
        (weights,), found = CrossFit(other).step((0,), 0)
        assert weights == pytest.approx([np.log(0.25 / 0.75), *np.zeros(3)], abs=1e-4)
        np.testing.assert_allclose(found.signals, np.log(3), atol=1e-4)

    def test_steps_of_an_order_share_regressions(self) -> None:
        fitting = CrossFit(independent(100, forest=True))
        (there, _), found = fitting.step((0, 2), 2)
        (_, back), same = fitting.step((2, 0), 2)
        np.testing.assert_array_equal(back[[0, 2, 1, 3, 4, 5, 6, 7]], there)
        np.testing.assert_array_equal(found.signals, same.signals)


class TestFit:
    @pytest.mark.parametrize(
        "topology", [LINE, Topology.skip(3), FOREST, Topology.dag(3, [(-1, 0), (0, 2), (0, 1), (1, 2)])], ids=repr
    )
    def test_on_every_topology(self, topology: Topology) -> None:
        traces = independent(120, topology=topology)
        model = ttamer.fit(traces, 6, "posterior")
        assert model.estimator is not None
        assert model.topology == model.estimator.walk.topology
        assert model.estimator.topology == topology
        assert model.cost_scale == reference.costliest_path(model.topology, model.costs)
        policy = ttamer.solve(model, 0.9)
        assert (policy.topology, policy.steps, policy.estimate) == (topology, model.topology, "posterior")
        assert policy.walk == model.estimator.walk.sets
        assert policy.first_node in np.flatnonzero(topology.edges[:, 0] < 0)
        result = policy.replay(traces)
        assert result.loss.tolist() == traces.losses[np.arange(120), result.answer_node].tolist()
        held = independent(50, seed=1, topology=topology)
        assert policy.replay(held).cost.min() > 0
        assert repr(policy).endswith(f"estimate='posterior', value={policy.value:.6g})")

    def test_replay_walks_the_steps(self) -> None:
        """Against a loop over the rows that does what the actions say."""
        policy = ttamer.Policy.load(DATA / "policy-any-v4.safetensors")
        held = independent(60, seed=1, forest=True)
        assert policy.estimator is not None
        found = policy.estimator.estimate(held.evidence)
        walk = policy.estimator.walk
        edges = {(i, j): walk.outer[e] for e, (i, j) in enumerate(walk.edges.tolist())}
        result = policy.replay(held)
        first = [j for i, j in walk.edges.tolist() if i < 0 and walk.last[j] == policy.first_node]
        for row in range(60):
            step, came, cost = first[0], -1, 0.0
            while True:
                cost += held.costs[edges[came, step]]
                state = int(np.searchsorted(policy.bin_edges(step), found.signals[row, step], side="right"))
                came, step = step, policy.actions(step)[state][0][1]
                if step == ttamer.STOP:
                    break
            assert result.cost[row] == pytest.approx(cost)
            assert result.last_node[row] == walk.last[came]
            assert result.answer_node[row] == found.answers[row, came]

    @pytest.mark.parametrize("scale", [1e-6, 5574.0])
    @pytest.mark.parametrize("topology", [LINE, FOREST, Topology.skip(3)], ids=repr)
    def test_graded_losses(self, topology: Topology, scale: float) -> None:
        """A state's loss is the mean estimate, a share of the largest loss; policies do not depend on the unit."""
        traces = graded(independent(600, topology=topology), scale)
        model = ttamer.fit(traces, 6, "posterior")
        assert model.estimator is not None
        for step, signals in enumerate(traces._kept_estimates.get(model.estimator).signals.T):
            states = reference.states(signals, model.bin_edges[step])
            estimates = traces.losses.max() / (1 + np.exp(signals.astype(np.float64)))
            expected = np.bincount(states, estimates) / np.bincount(states)
            np.testing.assert_allclose(model.losses[step], expected, rtol=1e-6)
        unit = graded(independent(600, topology=topology), 1.0)
        one = ttamer.solve(ttamer.fit(unit, 6, "posterior"), 1 / (1 + 0.3)).replay(unit)
        other = ttamer.solve(model, 1 / (1 + 0.3 * scale)).replay(traces)
        assert (one.answer_node == other.answer_node).mean() > 0.99
        assert one.error == pytest.approx(other.error / scale, rel=0.01)

    def test_the_fitted_rows_are_replayed_out_of_fold(self) -> None:
        traces = independent(200)
        model = posterior(traces)
        assert model.estimator is not None
        policy = ttamer.solve(model, 0.99)
        kept = traces._kept_estimates.get(model.estimator)
        refitted = model.estimator.estimate(traces.evidence)
        assert np.abs(kept.signals - refitted.signals).max() > 1e-3
        copied = traces[:]
        policy.replay(copied)
        np.testing.assert_array_equal(copied._kept_estimates.get(model.estimator).signals, refitted.signals)
        # One that is read from a file is the same estimator.
        assert traces._kept_estimates.get(pickle.loads(pickle.dumps(policy)).estimator) is kept
        assert len(pickle.loads(pickle.dumps(traces))._kept_estimates) == 0

    def test_estimates_stay_only_as_long_as_their_estimator(self) -> None:
        traces = independent(60)
        model = posterior(traces)
        assert len(traces._kept_estimates) == 1
        del model
        assert len(traces._kept_estimates) == 0

    def test_losses_are_the_mean_estimates_of_the_bins(self) -> None:
        traces = independent(200)
        model = posterior(traces)
        assert model.estimator is not None
        signals = traces._kept_estimates.get(model.estimator).signals[:, 2].astype(float)
        states = np.searchsorted(model.bin_edges[2], signals, side="right")
        expected = np.bincount(states, 1 / (1 + np.exp(signals))) / np.bincount(states)
        np.testing.assert_allclose(model.losses[2], expected, rtol=1e-6)

    def test_an_order_is_walked(self) -> None:
        traces = independent(100, forest=True)
        model = posterior(traces, order=(2, 0))
        policy = ttamer.solve(model, 0.99)
        assert policy.walk == ((2,), (2, 0))
        assert (policy.first_node, policy.topology, model.topology) == (2, FOREST, Topology.line(2))
        assert model.costs.tolist() == [3.0, 1.0]
        assert np.unique(policy.replay(traces).cost).tolist() == [3.0, 4.0]

    def test_the_best_order_of_few_and_of_many_nodes(self) -> None:
        # The last model costs next to nothing and is as good as the others.
        few = independent(150, 3, forest=True, costs=[5.0, 5.0, 0.1])
        assert posterior(few).estimator.order[0] == 2
        many = independent(100, 6, forest=True, costs=[5.0, 5.0, 5.0, 0.1, 5.0, 5.0])
        assert posterior(many).estimator.order[0] == 3

    def test_bins_auto(self) -> None:
        few, many = independent(999, 1), independent(1000, 1)
        assert [len(ttamer.fit(traces, "auto").losses[0]) for traces in (few, many)] == [16, 24]
        assert [len(ttamer.fit(traces, "auto", "posterior").losses[0]) for traces in (few, many)] == [16, 24]

    def test_a_class_that_never_occurs_and_a_constant_signal(self) -> None:
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 2, 80)
        probs = softmax(np.eye(4)[labels][:, None, :] + rng.standard_normal((80, 3, 4)) * [1, 1, 0, 0])
        probs[:, 1] = [0.4, 0.3, 0.2, 0.1]
        traces = Traces.from_probs(probs, labels, np.ones(3))
        assert np.isfinite(ttamer.solve(posterior(traces), 0.9).replay(traces).cost).all()

    @pytest.mark.parametrize("rows", [1, 2, 5, 9])
    def test_few_rows(self, rows: int) -> None:
        traces = independent(rows)
        assert len(ttamer.solve(posterior(traces), 0.9).replay(traces)) == rows

    def test_aggregated(self) -> None:
        policy = ttamer.solve(posterior(independent(100)), 0.9, aggregate=3)
        assert policy.aggregation is not None


class TestReplayErrors:
    def test_evidence_has_to_fit(self) -> None:
        policy = ttamer.solve(posterior(independent(60, classes=5, top=3)), 0.9)
        with pytest.raises(ValueError, match=r"^traces: expected evidence of 5 classes, got 4$"):
            policy.replay(independent(10, classes=4, top=3))
        with pytest.raises(
            ValueError, match=r"^traces: expected evidence of the 3 largest probabilities, got 2 of them$"
        ):
            policy.replay(independent(10, classes=5, top=2))
        with pytest.raises(ValueError, match=r"^traces: expected evidence to estimate from, got none; .*from_probs"):
            policy.replay(Traces(**plain()))
        with pytest.raises(ValueError, match=r"^traces: expected Topology.line\(3\), got Topology.skip\(3\)$"):
            policy.replay(independent(10, classes=5, topology=Topology.skip(3)))

    def test_more_evidence_is_cut(self) -> None:
        policy = ttamer.solve(posterior(independent(60, classes=5, top=2)), 0.9)
        less, more = (policy.replay(independent(50, classes=5, seed=1, top=top)) for top in (2, 5))
        assert less.cost.tolist() == more.cost.tolist()
        assert less.answer_node.tolist() == more.answer_node.tolist()


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"smoothing": "platt"}, "smoothing, loss_strength: expected none with estimates"),
            ({"loss_strength": 1.0}, "smoothing, loss_strength: expected none with estimates"),
            ({"estimate": "auto", "smoothing": "mean"}, "smoothing, loss_strength: expected none with estimates"),
            ({"order": (0, 1)}, r"order: expected None on a line, where the edges say it, got \(0, 1\)"),
            ({"estimate": "history"}, r"estimate: expected one of \('auto', 'signal', 'posterior', 'sets', 'chains'\)"),
            ({"bins": "many"}, "bins: expected an int or 'auto', got 'many'"),
            ({"bins": 65_536}, "bins: expected at most 65535, got 65536"),
            ({"seed": -1}, "seed: expected at least 0, got -1"),
            ({"estimate": "auto", "order": (0,)}, "order: expected None with estimate='auto'; 'posterior' on a forest"),
            ({"estimate": "sets", "order": (0,)}, "order: expected None with estimate='sets'; 'posterior' on a forest"),
        ],
    )
    def test_bad_arguments(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=f"^{message}"):
            ttamer.fit(independent(20), **{"estimate": "posterior", **arguments})

    def test_bad_traces(self) -> None:
        without = Traces(**plain())
        with pytest.raises(ValueError, match=r"^traces: expected evidence .*; Traces\.from_probs records it$"):
            ttamer.fit(without, 8, "posterior")
        traces = independent(20)
        seen = Traces(traces.losses, traces.losses, traces.costs, observed=True, evidence=traces.evidence)
        with pytest.raises(ValueError, match=r"^estimate: expected losses that have to be estimated, got observed"):
            ttamer.fit(seen, 8, "posterior")

    def test_shards_do_not_add(self) -> None:
        traces = independent(60)
        model = posterior(traces)
        with pytest.raises(ValueError, match=r"^like: expected a model of plain signals, models with an estimator"):
            ttamer.fit(traces, like=model)
        with pytest.raises(ValueError, match=r"^like: expected estimate='signal', models"):
            ttamer.fit(traces, estimate="posterior", like=ttamer.fit(traces))
        with pytest.raises(ValueError, match=r"^models with an estimator do not add"):
            model + model

    def test_recall_is_inside(self) -> None:
        model = posterior(independent(60))
        with pytest.raises(ValueError, match=r"^recall: .* the recall is inside the estimate$"):
            ttamer.solve(model, 0.9, "observed")
        assert ttamer.solve(model, 0.9, "none").recall == "none"
        with pytest.raises(ValueError, match=r"^index: defined with recall on a line or forest, this policy is a line"):
            ttamer.solve(model, 0.9).index(0)

    def test_scikit_learn_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hide_scikit_learn(monkeypatch)
        with pytest.raises(ImportError, match=r'^estimates need scikit-learn: pip install "ttamer\[fit\]"$'):
            posterior(independent(60))
        with pytest.raises(ImportError, match=r"^estimates need .*ttamer\[fit\]\"; estimate='signal' does without$"):
            ttamer.frontier(independent(60))
        assert ttamer.frontier(independent(60), estimate="signal").estimate == "signal"


def hide_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)


class TestFiles:
    @pytest.mark.parametrize("options", [{}, {"order": (2, 0)}], ids=["best", "order"])
    def test_models_and_policies_come_back(self, tmp_path: Path, options: dict[str, Any]) -> None:
        traces = independent(100, forest=True)
        model = posterior(traces, **options)
        policy = ttamer.solve(model, 0.9)
        model.save(tmp_path / "model")
        policy.save(tmp_path / "policy")
        loaded = ttamer.CascadeModel.load(tmp_path / "model")
        assert loaded.estimator == model.estimator
        assert repr(loaded) == repr(model)
        assert repr(model).endswith("100 requests, estimate='posterior')")
        back = ttamer.Policy.load(tmp_path / "policy")
        assert back == policy == pickle.loads(pickle.dumps(policy))
        assert hash(back) == hash(policy)
        assert (back.walk, back.first_node) == (policy.walk, policy.first_node)
        assert ttamer.solve(loaded, 0.9) == policy
        held = independent(30, seed=1, forest=True)
        assert back.replay(held).cost.tolist() == policy.replay(held).cost.tolist()

    def test_estimators_and_fitted_traces_pickle(self) -> None:
        traces = independent(60)
        estimator = posterior(traces).estimator
        before = estimator.estimate(traces.evidence)
        back = pickle.loads(pickle.dumps(estimator))
        assert back == copy.deepcopy(estimator) == estimator != "estimator"
        np.testing.assert_array_equal(back.estimate(traces.evidence).signals, before.signals)
        assert copy.deepcopy(traces).signals.tolist() == traces.signals.tolist()

    def test_other_coefficients_are_another_policy(self) -> None:
        model = posterior(independent(60))
        policy = ttamer.solve(model, 0.9)
        fields, arrays = files.from_bytes(policy._to_bytes(), "policy", 1, "")
        arrays["estimator.coefficients"] = arrays["estimator.coefficients"] + 1.0
        other = ttamer.Policy._from_bytes(files.to_bytes("policy", 1, fields, arrays), "")
        assert other != policy
        assert other.estimator != policy.estimator

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda f, a: f.update(estimator=3), "estimator: expected fields, got int"),
            (lambda f, a: f["estimator"].update(kind="oracle"), "estimate: expected one of .*, got 'oracle'"),
            (lambda f, a: f["estimator"].update(kind="history"), r"coefficients: expected \(21,\) finite float64"),
            (lambda f, a: f["estimator"].pop("order"), "'order'"),
            (lambda f, a: f["estimator"].update(order=[0, 1.5]), r"order: expected a list of nodes, got \[0, 1.5\]"),
            (lambda f, a: f["estimator"].update(order=[0, 1, 2]), "order: expected None on a line"),
            (lambda f, a: f["estimator"].update(nodes=2), "edges: .*"),
            (lambda f, a: f["estimator"].update(nodes="3"), "nodes: expected int, got str"),
            (lambda f, a: f["estimator"].update(top=True), "top: expected int, got bool"),
            (lambda f, a: f["estimator"].update(top=9), "class_count, top: expected at least 2 classes"),
            (lambda f, a: f["estimator"].update(class_count=2**40), "class_count, top: expected at least 2 classes"),
            (lambda f, a: a.pop("estimator.coefficients"), "'estimator.coefficients'"),
            (lambda f, a: a.update({"estimator.coefficients": np.zeros(3)}), r"coefficients: expected \(\d+,\) finite"),
            (
                lambda f, a: a["estimator.coefficients"].__setitem__(3, np.nan),
                r"coefficients: expected \(\d+,\) finite",
            ),
            (
                lambda f, a: a.update({"estimator.edges": np.array([[-1, 0], [0, 2], [0, 1], [1, 2]], np.int32)}),
                ".*",
            ),
        ],
    )
    @pytest.mark.parametrize("kind", ["model", "policy"])
    def test_hostile_files(self, kind: str, change: Any, message: str) -> None:
        model = posterior(independent(60))
        held = model if kind == "model" else ttamer.solve(model, 0.9)
        fields, arrays = files.from_bytes(held._to_bytes(), kind, 1, "")
        arrays = {name: array.copy() for name, array in arrays.items()}
        change(fields, arrays)
        reader = ttamer.CascadeModel if kind == "model" else ttamer.Policy
        with pytest.raises(ValueError, match=rf"^bad: not a valid {kind} \({message}"):
            reader._from_bytes(files.to_bytes(kind, 1, fields, arrays), "bad")

    def test_an_estimator_of_another_walk_is_refused(self) -> None:
        model = posterior(independent(60))
        assert model.estimator is not None
        with pytest.raises(ValueError, match=r"^estimator: expected a walk of Topology.line\(2\), got one of"):
            Estimator.from_file(*model.estimator.to_file(), Topology.line(2))
        stated = random_model(LINE, 4, 0)
        fields, arrays = files.from_bytes(stated._to_bytes(), "model", 1, "")
        held, tables = model.estimator.to_file()
        with pytest.raises(ValueError, match=r"estimator: expected that of a fitted model, got stated tables"):
            ttamer.CascadeModel._from_bytes(files.to_bytes("model", 1, {**fields, **held}, {**arrays, **tables}), "bad")
        recall = ttamer.solve(ttamer.fit(independent(60), 8), 0.9, "observed")
        fields, arrays = files.from_bytes(recall._to_bytes(), "policy", 1, "")
        with pytest.raises(ValueError, match=r"recall: expected none with an estimator"):
            ttamer.Policy._from_bytes(files.to_bytes("policy", 1, {**fields, **held}, {**arrays, **tables}), "bad")


def test_nested_exits_are_estimated_alike() -> None:
    """Where a node knows all that came before, the posterior is hardly better than the last node."""
    traces, held = nested(1500), nested(1500, seed=1)
    error = ttamer.solve(ttamer.fit(traces, 16, "posterior"), 0.999).replay(held).error
    assert abs(error - held.losses[:, -1].mean()) < 0.01
