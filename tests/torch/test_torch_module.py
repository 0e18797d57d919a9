"""`EarlyExit` is an ordinary module: states, copies, modes, dtypes, training; how it is made."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest

import ttamer

torch = pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")

from torch import nn  # noqa: E402
from torch_models import (  # noqa: E402
    CLASSES,
    EXITS,
    SHAPES,
    WIDTH,
    inputs,
    network,
    recorded,
    replayed,
    some_policy,
)

from ttamer.torch import EarlyExit, joint_loss  # noqa: E402


def served(model: EarlyExit, x: Any) -> list[Any]:
    return [field.clone() for field in model(x)]


def same(a: list[Any], b: list[Any]) -> None:
    for one, other in zip(a, b, strict=True):
        assert torch.equal(one, other)


class TestState:
    def test_state_dict_round_trip(self) -> None:
        model, x = network(), inputs()
        names = set(model.state_dict())
        policy = some_policy(recorded(model, x), "observed", 2)
        expected = served(model.attach(policy), x)
        assert set(model.state_dict()) == names  # the policy has a file of its own
        torch.manual_seed(9)
        other = EarlyExit(
            [nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()) for _ in range(EXITS)],
            [nn.Linear(WIDTH, CLASSES) for _ in range(EXITS)],
        ).eval()
        assert not torch.equal(other(x).logits, model.detach()(x).logits)
        other.attach(policy).load_state_dict(model.state_dict())
        same(served(other, x), expected)

    def test_copies_and_pickles_serve_alike(self) -> None:
        model, x = network(), inputs()
        policy = some_policy(recorded(model, x), "observed", 2)
        expected = served(model.attach(policy, compact=0.5), x)
        same(served(copy.deepcopy(model), x), expected)
        buffer = io.BytesIO()
        torch.save(model, buffer)
        buffer.seek(0)
        loaded = torch.load(buffer, weights_only=False)
        same(served(loaded, x), expected)
        assert loaded.policy == policy

    def test_repr_names_the_policy(self) -> None:
        model = network()
        assert "signal='max_prob', policy=None" in repr(model)
        policy = some_policy(recorded(model, inputs()), "none", 2)
        assert repr(policy) in repr(model.attach(policy))


class TestModes:
    def test_inference_mode_and_gradients(self) -> None:
        model, x = network(), inputs()
        expected = served(model.attach(some_policy(recorded(model, x), "observed", 2)), x)
        with torch.inference_mode():
            same(served(model, x), expected)
        assert not model(x).logits.requires_grad
        assert model.all_logits(x)[0].requires_grad
        assert model.detach()(x).logits.requires_grad

    @pytest.mark.parametrize("recall", ["none", "observed"])
    def test_autocast(self, recall: str) -> None:
        model, x = network(), inputs()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            traces = recorded(model, x)
            policy = some_policy(traces, recall, 2)
            found = model.attach(policy, compact="never")(x)
            logits = torch.stack(model.all_logits(x))
        assert found.logits.dtype == torch.bfloat16
        expected = replayed(policy, traces)
        np.testing.assert_array_equal(found.answer_node.numpy(), expected.answer_node)
        np.testing.assert_array_equal(found.cost.numpy(), expected.cost)
        assert torch.equal(found.logits, logits[found.answer_node.long(), torch.arange(200)])

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
    def test_another_precision_rounds_logits_and_nothing_else(self, dtype: torch.dtype) -> None:
        model, x = network().to(dtype), inputs().to(dtype)
        traces = recorded(model, x)
        policy = some_policy(traces, "observed", 2)
        found = network().attach(policy, compact="never").to(dtype)(x)
        expected = replayed(policy, traces)
        assert found.logits.dtype == dtype
        np.testing.assert_array_equal(found.answer_node.numpy(), expected.answer_node)
        np.testing.assert_array_equal(found.cost.numpy(), expected.cost)

    def test_the_caller_s_buffers_are_not_handed_out(self) -> None:
        """An exit that writes into a buffer of its own, as captured graphs do, does not change earlier answers."""

        class Reused(nn.Module):
            def __init__(self, inner: nn.Module) -> None:
                super().__init__()
                self.inner, self.buffer = inner, torch.empty(200, CLASSES)

            def forward(self, x: Any) -> Any:
                with torch.no_grad():
                    return self.buffer[: len(x)].copy_(self.inner(x))

        plain = network()
        policy = some_policy(recorded(plain, inputs()), "observed", 2)
        model = EarlyExit(list(plain.stages), [Reused(one) for one in plain.exits]).eval().attach(policy)
        first = model(inputs())
        kept = first.logits.clone()
        model(inputs(seed=6))
        assert torch.equal(first.logits, kept)


class TestTraining:
    def test_all_exits_and_a_lower_loss(self) -> None:
        model = network().train()
        model.attach(ttamer.solve(ttamer.fit(recorded(model, inputs()))))
        assert model.training  # as recording found it
        x, labels = inputs(), torch.arange(200) % CLASSES
        optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        losses = []
        for _ in range(5):
            logits = model(x)
            assert isinstance(logits, tuple)
            assert [tuple(one.shape) for one in logits] == [(200, CLASSES)] * EXITS
            loss = joint_loss(logits, labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert losses == sorted(losses, reverse=True)
        assert losses[-1] < 0.9 * losses[0]
        assert all(parameter.grad is not None for parameter in model.parameters())

    def test_one_logit_has_no_classes(self) -> None:
        logits = [torch.randn(3, 1), torch.randn(3, 1)]
        message = r"logits: expected C >= 2 classes, got \(3, 1\); a binary exit with one logit z answers as \(0, z\)"
        for labels in (torch.zeros(3, dtype=torch.long), torch.tensor([0, 1, 0])):
            with pytest.raises(ValueError, match=message):
                joint_loss(logits, labels)
        pairs = [torch.cat([torch.zeros_like(z), z], dim=1) for z in logits]
        labels = torch.tensor([0, 1, 0])
        binary = torch.nn.functional.binary_cross_entropy_with_logits
        expected = sum(binary(z[:, 0], labels.float()) for z in logits) / 2
        torch.testing.assert_close(joint_loss(pairs, labels), expected)

    def test_joint_loss(self) -> None:
        torch.manual_seed(0)
        logits, labels = [torch.randn(7, 3) for _ in range(2)], torch.arange(7) % 3
        one, other = (nn.functional.cross_entropy(given, labels) for given in logits)
        torch.testing.assert_close(joint_loss(logits, labels), (one + other) / 2)
        torch.testing.assert_close(joint_loss(logits, labels.int(), [3, 1]), (3 * one + other) / 4)
        assert joint_loss([given.bfloat16() for given in logits], labels).dtype == torch.float32
        assert joint_loss([given.double() for given in logits], labels).dtype == torch.float64

    @pytest.mark.parametrize(
        ("message", "logits", "labels", "weights"),
        [
            ("logits: expected one", [], torch.tensor([0, 1]), None),
            (r"logits: expected \(B, C\) from exit 0, got \(2,\)", [torch.zeros(2)], torch.tensor([0, 1]), None),
            (
                r"expected \(2, 3\) like exit 0 from exit 1",
                [torch.zeros(2, 3), torch.zeros(2, 4)],
                torch.tensor([0, 1]),
                None,
            ),
            (r"labels: expected \(2,\) like logits, got \(3,\)", [torch.zeros(2, 3)], torch.tensor([0, 1, 2]), None),
            ("weights: expected 1, one an exit, got 2", [torch.zeros(2, 3)], torch.tensor([0, 1]), [1, 1]),
            ("weights: expected finite", [torch.zeros(2, 3)], torch.tensor([0, 1]), [0]),
            ("weights: expected finite", [torch.zeros(2, 3)], torch.tensor([0, 1]), [float("nan")]),
        ],
    )
    def test_joint_loss_errors(self, message: str, logits: Any, labels: Any, weights: Any) -> None:
        with pytest.raises(ValueError, match=message):
            joint_loss(logits, labels, weights)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bool], ids=str)
    def test_labels_that_are_no_integers(self, dtype: torch.dtype) -> None:
        with pytest.raises(TypeError, match="labels: expected integers, got (float32|bool); numbers of classes"):
            joint_loss([torch.zeros(2, 3)], torch.tensor([0, 1]).to(dtype))


class TestFromSequential:
    def body(self) -> nn.Sequential:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))

    def test_the_rest_is_the_last_exit(self) -> None:
        body = self.body()
        model = EarlyExit.from_sequential(body, [2, 4], [nn.Linear(6, 3)]).eval()
        torch.testing.assert_close(model(inputs()).logits, body(inputs()), rtol=0, atol=0)
        assert [len(stage) for stage in model.stages] == [2, 2]
        assert model.stages[0][0] is body[0]

    def test_an_exit_a_cut(self) -> None:
        model = EarlyExit.from_sequential(self.body()[:4], [2, 4], [nn.Linear(6, 3), nn.Linear(5, 3)], "margin").eval()
        assert [tuple(one.shape) for one in model.all_logits(inputs(2))] == [(2, 3), (2, 3)]
        assert model.signal == "margin"

    @pytest.mark.parametrize(
        ("message", "cuts", "exits"),
        [
            (r"cuts: expected rising numbers of modules from 1 to 5, got \[\]", [], 0),
            (r"cuts: .* got \[0, 2\]", [0, 2], 2),
            (r"cuts: .* got \[2, 2\]", [2, 2], 2),
            (r"cuts: .* got \[2, 6\]", [2, 6], 2),
            (r"exits: expected 1, the last being the 1 modules after the last cut, got 2; .* model\[:4\]", [2, 4], 2),
            ("exits: expected one a stage and at least one, got 1 for 2 stages", [2, 5], 1),
        ],
    )
    def test_errors(self, message: str, cuts: list[int], exits: int) -> None:
        with pytest.raises(ValueError, match=message):
            EarlyExit.from_sequential(self.body(), cuts, [nn.Linear(6, 3) for _ in range(exits)])

    @pytest.mark.parametrize("cuts", [[1.0, 3.0], [1, 2.9], ["1", "2"], 2])
    def test_cuts_are_integers(self, cuts: Any) -> None:
        with pytest.raises(TypeError, match="cuts: expected a sequence of int, got "):
            EarlyExit.from_sequential(self.body(), cuts, [nn.Linear(6, 3) for _ in range(2)])

    def test_no_sequential(self) -> None:
        with pytest.raises(TypeError, match="model: expected an nn.Sequential, got Linear"):
            EarlyExit.from_sequential(nn.Linear(2, 2), [1], [nn.Identity()])


class TestConstruction:
    def test_counts(self) -> None:
        with pytest.raises(ValueError, match="exits: expected one a stage and at least one, got 1 for 2 stages"):
            EarlyExit([nn.Identity(), nn.Identity()], [nn.Identity()])
        with pytest.raises(ValueError, match="exits: expected one a stage and at least one, got 0"):
            EarlyExit([], [])

    def test_no_modules(self) -> None:
        with pytest.raises(TypeError, match="exits: expected nn.Modules, got function at 1"):
            EarlyExit([nn.Identity(), nn.Identity()], [nn.Identity(), nn.functional.relu])

    def test_signal(self) -> None:
        with pytest.raises(ValueError, match="signal: expected max_prob, margin, entropy or logit_margin, got 'best'"):
            network("best")


class TestAttach:
    @pytest.fixture
    def model(self) -> EarlyExit:
        return network()

    @pytest.fixture
    def policy(self, model: EarlyExit) -> ttamer.Policy:
        return some_policy(recorded(model, inputs()), "none", 2)

    def test_no_policy(self, model: EarlyExit) -> None:
        with pytest.raises(TypeError, match="policy: expected a ttamer.Policy, got str"):
            model.attach("policy.safetensors")

    def test_another_number_of_nodes(self, policy: ttamer.Policy) -> None:
        with pytest.raises(ValueError, match=r"policy: expected 3 nodes, one an exit, got Topology\.line\(5\)"):
            network(exits=3).attach(policy)

    def test_shapes_that_stages_cannot_follow(self, model: EarlyExit) -> None:
        forest = ttamer.Topology.forest([-1, 0, 1, 2, 0])
        backward = ttamer.Topology.dag(EXITS, [(-1, 1), (1, 0), (0, 2), (2, 3), (3, 4)])
        traces = recorded(model, inputs())
        for topology, message in (
            (forest, r"policy: expected a line, a skip or a dag, got Topology.forest.*cannot go back to a branch"),
            (backward, r"policy: expected edges that lead to later exits, got \(1, 0\); stages run in order"),
        ):
            other = ttamer.Traces(traces.signals, traces.losses, np.ones(len(topology.edges)), topology)
            with pytest.raises(ValueError, match=message):
                model.attach(ttamer.solve(ttamer.fit(other)))

    @pytest.mark.parametrize(
        ("message", "options"),
        [
            ("compact: expected 'always', 'never' or a number between 0 and 1, got 'often'", {"compact": "often"}),
            ("compact: expected 'always', 'never' or a number between 0 and 1, got True", {"compact": True}),
            ("compact: expected a share between 0 and 1, got 1.5", {"compact": 1.5}),
            ("compact: expected a share between 0 and 1, got nan", {"compact": float("nan")}),
            (r"bucket: expected at least one number of rows, got \[\]; None", {"bucket": []}),
            ("bucket: expected at least 1, got 0", {"bucket": [0, 8]}),
            ("nan: expected 'error' or 'worst', got 'best'", {"nan": "best"}),
            (r"capture: expected numbers of rows to capture for, such as bucket=\[8, 16, 32, 64\]", {"capture": True}),
            ("capture: expected compact='always'", {"capture": True, "bucket": [8], "compact": "never"}),
        ],
    )
    def test_options(self, model: EarlyExit, policy: ttamer.Policy, message: str, options: dict[str, Any]) -> None:
        other = some_policy(recorded(model, inputs()), "observed", 3)
        expected = served(model.attach(other), inputs())
        with pytest.raises(ValueError, match=message):
            model.attach(policy, **options)
        assert model.policy is other
        same(served(model, inputs()), expected)

    @pytest.mark.parametrize("bucket", [64, "64", [8, 64.5]])
    def test_buckets_that_are_no_numbers_of_rows(self, model: EarlyExit, policy: ttamer.Policy, bucket: Any) -> None:
        with pytest.raises(TypeError, match="bucket: expected a(n int| sequence of numbers of rows, such as)"):
            model.attach(policy, bucket=bucket)
        assert model.policy is None

    def test_what_cannot_be_captured(self, model: EarlyExit, policy: ttamer.Policy) -> None:
        with pytest.raises(TypeError, match="capture: expected True or False, got 1"):
            model.attach(policy, bucket=[8], capture=1)  # type: ignore[arg-type]
        skip = some_policy(recorded(model, inputs(), SHAPES["skip"]), "none", 2)
        with pytest.raises(ValueError, match=r"capture: expected a policy over a line, got Topology.skip\(5\)"):
            model.attach(skip, bucket=[8], capture=True)
        assert model.policy is None

    def test_signals_of_the_user_s_own_are_named(self, model: EarlyExit) -> None:
        """What the model would record is not taken for them: the exits of most requests would be others."""
        traces = recorded(model, inputs())
        doubts = 1 - traces.with_signal("entropy").signals
        own = ttamer.Traces(doubts, traces.losses, traces.costs, traces.topology)
        policy = ttamer.solve(ttamer.fit(own, 8))
        with pytest.raises(ValueError, match="^policy: it decides on signals of the user's own; name what is computed"):
            model.attach(policy)
        assert model.policy is None
        stated = ttamer.CascadeModel(SHAPES["line"], [[0.5]] * EXITS, [[[1.0]]] * EXITS, [0.1] * EXITS)
        assert served(model.attach(ttamer.solve(stated), signal="entropy"), inputs())[1].tolist() == [0] * 200
        with pytest.raises(
            ValueError, match="^signal: expected max_prob, which the policy's traces were made with, got"
        ):
            model.attach(some_policy(traces, "none", 2), signal="margin")
