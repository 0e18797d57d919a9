"""Chat models as nodes, against a server on the loopback interface that speaks OpenAI's API."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

import ttamer
from ttamer import Topology
from ttamer.serve import Cascade, Dispatcher, Flight
from ttamer.serve.openai import node

openai = pytest.importorskip("openai", reason="needs the llm extra")


class Server(BaseHTTPRequestHandler):
    """Answers by the name of the model: what it says, how sure it is, or with an error."""

    seen: list[dict[str, Any]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append(body)
        model = body["model"]
        if model == "slow":
            time.sleep(0.5)
        if model in ("limited", "broken"):
            self.respond(429 if model == "limited" else 500, {"error": {"message": f"{model} today", "type": "x"}})
            return
        sure = {"unsure": -3.0, "sure": -0.01}.get(model, -0.5)
        tokens = [{"token": "Par", "logprob": sure, "bytes": None, "top_logprobs": []}] * 2
        message: dict[str, Any] = {"role": "assistant", "content": None if model == "silent" else " Paris \n"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        if body.get("logprobs") and model != "no log-probabilities":
            choice["logprobs"] = {"content": tokens, "refusal": None}
        usage = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200}
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice]}
        self.respond(200, answer if model == "uncounted" else {**answer, "usage": usage})

    def respond(self, status: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


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


def test_a_payload_that_is_no_message(client: Any) -> None:
    flight_calls = {0: node(client, "x"), 1: node(client, "x")}
    with pytest.raises(ttamer.serve.AllFailed, match="payload: expected a text or a list of messages, got int"):
        ask(flight_calls, 3)


def test_servers_that_do_not_count_tokens(client: Any) -> None:
    flight = ask({0: node(client, "uncounted", price=(1.0, 1.0)), 1: node(client, "second")})
    assert flight.visits[0].cost == pytest.approx(0.1)


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
