"""Chat models as nodes, against a server on the loopback interface that speaks OpenAI's API."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from chat_server import Server, serving
from helpers import random_traces

import ttamer
from ttamer import Topology
from ttamer.serve import Cascade, Dispatcher, Flight
from ttamer.serve.openai import headers, node

openai = pytest.importorskip("openai", reason="needs the llm extra")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as url:
        yield url


@pytest.fixture
def client(url: str) -> Any:
    return openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)


# Two states, parted at a mean log-probability of -1: the first goes on, the second stops.
POLICY = ttamer.solve(
    ttamer.CascadeModel(
        Topology.line(2),
        [[0.9, 0.01], [0.0, 0.0]],
        [[[0.5, 0.5]], [[0.5, 0.5]] * 2],
        [0.1, 0.2],
        bin_edges=[[-1.0], [-1.0]],
        observed=False,
        unit="usd",
    ),
    0.9,
)


def ask(calls: dict[int, Any], payload: Any = "Capital of France?", **options: Any) -> Flight:
    cascade = Cascade(calls, Dispatcher(POLICY), **options)
    return asyncio.run(cascade(payload))


def test_log_probabilities_decide_and_tokens_are_paid(client: Any) -> None:
    prices = {"price": (1.0, 5.0)}
    flight = ask({0: node(client, "sure", **prices), 1: node(client, "second", **prices)})
    assert (flight.answer, flight.answer_node, flight.reason) == ("Paris", 0, "policy")
    assert flight.cost == pytest.approx((1000 * 1.0 + 200 * 5.0) / 1e6)
    assert flight.visits[0].signal == pytest.approx(-0.01)
    Server.seen.clear()
    flight = ask({0: node(client, "unsure", **prices, temperature=0.0), 1: node(client, "second", **prices)})
    assert (flight.answer_node, len(flight.visits)) == (1, 2)
    assert flight.cost == pytest.approx(2 * 0.002)
    assert [body["model"] for body in Server.seen] == ["unsure", "second"]
    assert Server.seen[0] == {
        "model": "unsure",
        "temperature": 0.0,
        "logprobs": True,
        "messages": [{"role": "user", "content": "Capital of France?"}],
    }


def test_messages_answers_and_signals_of_ones_own(client: Any) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Capital?"}]
    calls = {0: node(client, "x", signal=lambda done: -len(done.choices[0].message.content), answer=str.upper)}
    Server.seen.clear()
    flight = ask({**calls, 1: node(client, "x", signal=lambda done: 0.0)}, messages)
    assert flight.visits[0].signal == -8.0
    assert flight.answers == {"0": " PARIS \n", "1": "Paris"}
    assert Server.seen[0]["messages"] == messages
    assert "logprobs" not in Server.seen[0]
    assert flight.cost == pytest.approx(0.3)  # what the policy expects


@pytest.mark.parametrize(
    ("model", "error"),
    [
        ("limited", "RateLimitError"),
        ("broken", "InternalServerError"),
        ("silent", "ValueError"),
        ("no log-probabilities", "ValueError"),
        ("slow", "TimeoutError"),
    ],
)
def test_errors_are_failures(client: Any, model: str, error: str) -> None:
    flight = ask({0: node(client, model), 1: node(client, "second")}, timeouts={0: 0.2})
    assert (flight.answer, flight.answer_node, flight.reason) == ("Paris", 1, "failure")
    assert type(flight.causes["0"]).__name__ == error


def test_what_cannot_be_read_is_paid(client: Any) -> None:
    """The tokens were used; those of a call that was refused were not."""
    calls = {0: node(client, "silent", price=(1.0, 5.0)), 1: node(client, "second", price=(1.0, 5.0))}
    flight = ask(calls)
    assert [visit.cost for visit in flight.visits] == pytest.approx([0.002, 0.002])
    assert flight.tokens == (2000, 400)
    flight = ask({**calls, 0: node(client, "broken", price=(1.0, 5.0))})
    assert [visit.cost for visit in flight.visits] == pytest.approx([0.0, 0.002])
    assert flight.tokens == (1000, 200)


def test_tokens_are_not_those_of_shadows(client: Any) -> None:
    async def shadowed() -> Flight:
        cascade = Cascade({0: node(client, "sure"), 1: node(client, "second")}, Dispatcher(POLICY), shadow=1.0)
        flight = await cascade("Capital of France?")
        await cascade.join()
        return flight

    flight = asyncio.run(shadowed())
    assert len(flight.visits) == 2
    assert flight.tokens == (1000, 200)


def test_headers(client: Any) -> None:
    calls = {0: node(client, "broken"), 1: node(client, "second", price=(1.0, 5.0))}
    flight = ask(calls)
    assert headers(flight) == {
        "x-ttamer-path": "0,1",
        "x-ttamer-failed": "0",
        "x-ttamer-node": "1",
        "x-ttamer-reason": "failure",
        "x-ttamer-cost": "0.002",
    }
    traces = random_traces(Topology.line(2), 60, 0)._with(nodes=("klein, schnell", "gro\u00df"))
    flight = Dispatcher(ttamer.solve(ttamer.fit(traces, 4), 0.9)).enter(request="gr\u00f6\u00dfe 17")
    flight.consulted("x", 0.0, cost=1.0)
    flight.cancel()
    assert headers(flight)["x-ttamer-path"] == "klein%2C%20schnell"
    assert headers(flight)["x-ttamer-request"] == "gr%C3%B6%C3%9Fe%2017"
    assert all(line.isascii() and line.isprintable() for line in headers(flight).values())


def test_a_payload_that_is_no_message(client: Any) -> None:
    flight_calls = {0: node(client, "x"), 1: node(client, "x")}
    with pytest.raises(ttamer.serve.AllFailed, match="payload: expected a text or a list of messages, got int"):
        ask(flight_calls, 3)


def test_servers_that_do_not_count_tokens(client: Any) -> None:
    flight = ask({0: node(client, "uncounted", price=(1.0, 1.0)), 1: node(client, "second")})
    assert flight.visits[0].cost == pytest.approx(0.1)
    assert flight.tokens is None


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"stream": True}, ValueError, "stream: expected none, an answer is decided on before it is given"),
        ({"price": 3.0}, ValueError, "price: expected two, of tokens of the prompt and of the answer, got 3.0"),
        ({"price": (1.0, -1.0)}, ValueError, r"price: expected finite numbers >= 0, got \(1.0, -1.0\)"),
        ({"model": 3}, TypeError, "model: expected a str, got int"),
    ],
)
def test_refusals(client: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        node(client, **{"model": "x", **options})
    with pytest.raises(TypeError, match=r"^client: expected an asynchronous one, openai.AsyncOpenAI, got OpenAI$"):
        node(openai.OpenAI(api_key="none"), "x")
