"""A network with exits decides as its policy replays, answers with the right exits, and keeps rows in order."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ttamer
from ttamer.traces.signals import SIGNALS

torch = pytest.importorskip("torch", reason="ttamer.torch needs PyTorch")

from torch import nn  # noqa: E402
from torch_models import (  # noqa: E402
    CLASSES,
    EXITS,
    SHAPES,
    WIDTH,
    assert_served,
    inputs,
    network,
    recorded,
    replayed,
    some_policy,
)

from ttamer.torch import Decider, Decision, EarlyExit, ExitOutput  # noqa: E402

OPTIONS: list[dict[str, Any]] = [
    {},
    {"compact": "never"},
    {"compact": 0.5},
    {"bucket": [16, 64, 200]},
    {"bucket": [256, 100], "compact": 0.3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("recall", ["none", "observed"])
@pytest.mark.parametrize("shape", SHAPES)
def test_serving_is_the_replay(shape: str, recall: str, options: dict[str, Any]) -> None:
    model, x = network(), inputs()
    traces = recorded(model, x, SHAPES[shape])
    logits = [one.detach() for one in model.all_logits(x)]
    ends, recalled = set(), 0.0
    for seed in range(6):
        policy = some_policy(traces, recall, seed)
        expected = replayed(policy, traces)
        assert_served(model.attach(policy, **options), x, expected, logits)
        ends |= set(expected.last_node.tolist())
        recalled += np.mean(expected.last_node != expected.answer_node)
    assert len(ends) >= 4
    assert (recalled > 0.3) == (recall == "observed")


@given(data=st.data())
def test_any_rows_any_options(data: st.DataObject) -> None:
    """Rows of any number, in any order, with any compaction and any buckets, get what they get alone."""
    model = network()
    everything = inputs(60)
    shape = data.draw(st.sampled_from(sorted(SHAPES)))
    traces = recorded(model, everything, SHAPES[shape])
    policy = some_policy(traces, data.draw(st.sampled_from(["none", "observed"])), data.draw(st.integers(0, 20)))
    rows = np.array(data.draw(st.lists(st.integers(0, 59), max_size=40)), dtype=np.int64)
    compact = data.draw(st.one_of(st.sampled_from(["always", "never"]), st.floats(0, 1)))
    buckets = data.draw(st.one_of(st.none(), st.lists(st.integers(1, 50), max_size=3).map(lambda some: [*some, 50])))
    x = everything[torch.from_numpy(rows)]
    found = model.attach(policy, compact=compact, bucket=buckets)(x)
    assert found.logits.shape == (len(rows), CLASSES)
    if len(rows) == 0:
        return
    expected = replayed(policy, traces[rows])
    assert_served(model, x, expected, [one.detach() for one in model.all_logits(x)])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_flight_may_write_over_its_last_decision(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As flights on an accelerator do: they return views of buffers that they own."""
    decide = Decider.forward
    buffers = Decision(*(torch.empty(200, dtype=kind) for kind in (torch.int32, torch.int64, torch.int32)))

    def overwriting(*arguments: Any) -> Decision:
        found = decide(*arguments)
        for buffer, values in zip(buffers, found, strict=True):
            buffer.fill_(-7)
            buffer[: len(values)] = values
        return Decision(*(buffer[: len(values)] for buffer, values in zip(buffers, found, strict=True)))

    model, x = network(), inputs()
    traces = recorded(model, x, SHAPES[shape])
    monkeypatch.setattr(Decider, "forward", overwriting)
    for options in OPTIONS:
        policy = some_policy(traces, "observed", 2)
        logits = [one.detach() for one in model.all_logits(x)]
        assert_served(model.attach(policy, **options), x, replayed(policy, traces), logits)


@pytest.mark.parametrize("signal", SIGNALS)
def test_signals(signal: str) -> None:
    model, x = network(signal), inputs()
    traces = recorded(model, x)
    assert traces.signal == signal
    policy = some_policy(traces, "observed", 3)
    assert policy.signal == signal
    assert_served(model.attach(policy), x, replayed(policy, traces), [one.detach() for one in model.all_logits(x)])


def test_the_policy_says_which_signal_is_served() -> None:
    x = inputs()
    traces = recorded(network("logit_margin"), x)
    policy, model = some_policy(traces, "observed", 3), network("max_prob")
    logits = [one.detach() for one in model.all_logits(x)]
    assert_served(model.attach(policy), x, replayed(policy, traces), logits)
    assert model.signal == "max_prob"


class Counting(nn.Module):
    """Notes how many rows it gets."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.rows = inner, []

    def forward(self, x: Any) -> Any:
        self.rows.append(len(x))
        return self.inner(x)


def counted(model: EarlyExit) -> EarlyExit:
    return EarlyExit([Counting(stage) for stage in model.stages], [Counting(one) for one in model.exits]).eval()


def calls(parts: Any) -> list[list[int]]:
    return [part.rows for part in parts]


def test_rows_really_leave() -> None:
    model = counted(network())
    traces = recorded(model, inputs())
    policy = some_policy(traces, "observed", 2)
    last = replayed(policy, traces).last_node
    left = [int((last >= node).sum()) for node in range(EXITS)]
    assert 200 == left[0] > left[1] > left[2] > 0
    expected = {
        "always": left,
        "never": [200] * EXITS,
        0.5: None,
    }
    for compact, rows in expected.items():
        for part in (*model.stages, *model.exits):
            part.rows.clear()
        model.attach(policy, compact=compact)(inputs())
        held, sizes = 200, []
        for count in left:
            if compact == 0.5 and count <= held / 2:
                held = count
            sizes.append(held)
        wanted = [[size] for size, count in zip(rows or sizes, left, strict=True) if count]
        assert [one for one in calls(model.stages) if one] == wanted
        assert [one for one in calls(model.exits) if one] == wanted


def test_buckets_are_the_only_sizes() -> None:
    model = counted(network())
    traces = recorded(model, inputs())
    for part in (*model.stages, *model.exits):
        part.rows.clear()
    policy = some_policy(traces, "observed", 2)
    model.attach(policy, bucket=[37, 150, 256])(inputs())
    sizes = [size for rows in (*calls(model.stages), *calls(model.exits)) for size in rows]
    assert set(sizes) <= {37, 150, 256}
    assert len(set(sizes)) > 1
    assert sizes[0] == 256


def test_a_jump_runs_the_stage_and_not_the_exit() -> None:
    model = counted(network())
    traces = recorded(model, inputs(), SHAPES["skip"])
    for part in (*model.stages, *model.exits):
        part.rows.clear()
    edges = SHAPES["skip"].edges.tolist()
    losses = [[0.9, 0.9], [0.9, 0.9], [0.9, 0.9], [0.0, 0.3], [0.2, 0.2]]
    transitions = [np.full((1 if i < 0 else 2, 2), 0.5) for i, _ in edges]
    bins = [[float(np.median(column))] for column in traces.signals.T]
    costs = np.full(len(edges), 0.01)
    tables = ttamer.CascadeModel(SHAPES["skip"], losses, transitions, costs, bin_edges=bins, signal="max_prob")
    policy = ttamer.solve(tables, 0.9, "none")
    expected = replayed(policy, traces)
    assert policy.first_node == 3
    assert set(expected.last_node.tolist()) == {3, 4}
    found = model.attach(policy)(inputs())
    np.testing.assert_array_equal(found.last_node.numpy(), expected.last_node)
    assert [len(rows) for rows in calls(model.exits)] == [0, 0, 0, 1, 1]
    assert calls(model.stages)[:4] == [[200]] * 4
    assert calls(model.stages)[4] == calls(model.exits)[4] == [int((expected.last_node == 4).sum())]


def test_without_a_policy_the_last_exit_answers() -> None:
    model, x = network(), inputs()
    found = model(x)
    assert isinstance(found, ExitOutput)
    torch.testing.assert_close(found.logits, model.all_logits(x)[-1], rtol=0, atol=0)
    assert found.answer_node.tolist() == found.last_node.tolist() == [EXITS - 1] * 200
    assert found.answer_node.dtype == found.last_node.dtype == torch.int32
    assert found.cost.isnan().all()
    policy = some_policy(recorded(model, x), "none", 1)
    assert (model.attach(policy)(x).last_node < EXITS - 1).any()
    assert model.policy is policy
    assert model.detach().policy is None
    torch.testing.assert_close(model(x).logits, found.logits, rtol=0, atol=0)


def test_one_exit_and_one_row() -> None:
    model = network(exits=1)
    policy = some_policy(recorded(model, inputs()), "none", 1)
    found = model.attach(policy)(inputs(1))
    assert found.answer_node.tolist() == [0]
    assert found.cost.tolist() == [policy.costs[0]]


Pair = namedtuple("Pair", "hidden, extra")


class Output(OrderedDict[str, Any]):
    """A mapping with attributes, as models of transformers give."""

    @property
    def x(self) -> Any:
        return self["x"]


class Nested(nn.Module):
    """Carries every kind of hidden state, with a mask beside it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, hidden: Any, mask: Any, *, scale: float = 1.0) -> Any:
        if isinstance(hidden, torch.Tensor):
            x, number = hidden, torch.arange(len(hidden))
        elif isinstance(hidden, Output):
            x, number = hidden.x, hidden["rest"][0]
        elif isinstance(hidden, dict):
            x, number = hidden["x"], hidden["rest"][0]
        else:
            x, number = hidden[0], hidden[1][0]
        x = scale * torch.tanh(self.linear(x) * mask)
        rest = [number, torch.tensor(3.0), None, "text"]
        named = {"x": x, "rest": rest}
        made = {"tuple": (x, rest), "list": [x, rest], "dict": named, "named": Pair(x, rest), "output": Output(named)}
        return made[self.kind]


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, CLASSES)
        nn.init.normal_(self.linear.weight, std=3.0)
        self.numbers: list[Any] = []

    def forward(self, hidden: Any) -> Any:
        assert type(hidden) in (tuple, list, dict, Pair, Output)
        x, rest = hidden.values() if isinstance(hidden, dict) else hidden
        assert rest[1].ndim == 0
        assert rest[2:] == [None, "text"]
        assert len(rest[0]) == len(x)
        self.numbers.append(rest[0])
        return self.linear(x)


@pytest.mark.parametrize("kind", ["tuple", "list", "dict", "named", "output"])
@pytest.mark.parametrize("shape", ["line", "skip"])
def test_hidden_states_and_keywords_travel_with_their_rows(kind: str, shape: str) -> None:
    torch.manual_seed(0)
    model = EarlyExit([Nested(kind) for _ in range(EXITS)], [Head() for _ in range(EXITS)]).eval()
    x, mask = inputs(), (torch.rand(200, WIDTH) > 0.3).float()
    traces = recorded(model, x, SHAPES[shape], mask=mask)
    logits = [one.detach() for one in model.all_logits(x, mask=mask)]
    for options in OPTIONS:
        policy = some_policy(traces, "observed", 2)
        for head in model.exits:
            head.numbers.clear()
        assert_served(model.attach(policy, **options), x, replayed(policy, traces), logits, mask=mask)
        if not options and shape == "line":
            kept = [numbers for head in model.exits for numbers in head.numbers]
            assert all((a[1:] > a[:-1]).all() for a in kept)
            assert len(kept[-1]) < 200
    half = model.all_logits(x, mask=mask, scale=0.5)
    assert not torch.equal(half[0], logits[0])


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning")
def test_scripted_stages_get_the_keywords_they_name() -> None:
    class Masked(nn.Module):
        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return x * mask

    class Plain(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    mask, x = torch.rand(3, WIDTH), inputs(3)
    stages = [torch.jit.trace(Masked(), (x, mask)), torch.jit.trace(Plain(), x)]
    logits = EarlyExit(stages, [nn.Identity(), nn.Identity()]).all_logits(x, mask=mask)
    torch.testing.assert_close(torch.stack(logits), torch.stack([x * mask, 2 * x * mask]))


def test_compiled_stages_get_the_keywords_they_name() -> None:
    class Compiled(nn.Module):
        """What `torch.compile` makes of a module, without compiling."""

        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self._orig_mod = inner

        def forward(self, *args: Any, **keywords: Any) -> Any:
            return self._orig_mod(*args, **keywords)

    model = EarlyExit([Compiled(Nested("tuple")), Compiled(Nested("tuple"))], [Compiled(Head()), Head()]).eval()
    mask = torch.ones(3, WIDTH)
    assert len(model.all_logits(inputs(3), mask=mask)) == 2
