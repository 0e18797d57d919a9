"""Cascades as models of LiteLLM, and its models as nodes, against a server on the loopback interface."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from chat_server import Server, serving

import ttamer
from ttamer import Topology
from ttamer.serve import Cascade, Dispatcher, Flight, Log, Outcome

litellm: Any
provider: Any
from_client: Any

pytestmark = [
    pytest.mark.slow,
    # Of LiteLLM's own types, when it makes some of them at a first request.
    pytest.mark.filterwarnings("ignore:Items? .* on TypedDict class:UserWarning"),
]

PRICE = {"input_cost_per_token": 1e-6, "output_cost_per_token": 5e-6}
CALL = 0.002  # of 1000 and 200 tokens


def solve(unit: str = "usd", tradeoff: float = 0.9) -> ttamer.Policy:
    """Two states, parted at a mean log-probability of -1: the first goes on, the second stops."""
    model = ttamer.CascadeModel(
        Topology.line(2),
        [[0.9, 0.01], [0.0, 0.0]],
        [[[0.5, 0.5]], [[0.5, 0.5]] * 2],
        [0.1, 0.2],
        bin_edges=[[-1.0], [-1.0]],
        observed=False,
        unit=unit,
    )
    return ttamer.solve(model, tradeoff)


@pytest.fixture(scope="module", autouse=True)
def _imports() -> None:
    """When the first of these tests runs: it takes seconds, which every process that lists tests would spend."""
    global litellm, provider, from_client
    litellm = pytest.importorskip("litellm", reason="needs the llm extra")
    provider = importlib.import_module("ttamer.serve.litellm")
    from_client = importlib.import_module("ttamer.serve.openai").node


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as url:
        yield url


@pytest.fixture
def node(url: str) -> Callable[..., Any]:
    """A node that asks the server through LiteLLM."""

    def make(model: str, **options: Any) -> Any:
        return provider.node(f"openai/{model}", api_base=url, api_key="none", max_retries=0, **{**PRICE, **options})

    return make


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One for all: LiteLLM keeps clients and its own tasks."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.run_until_complete(litellm.close_litellm_async_clients())
    loop.close()


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, loop: asyncio.AbstractEventLoop) -> Callable[..., Any]:
    """Sends a request to the model that a cascade is."""

    def ask(cascade: Cascade, /, model: str = "default", usd: float | None = None, **options: Any) -> Any:
        handler = provider.Provider(cascade, usd=usd)
        monkeypatch.setattr(litellm, "custom_provider_map", [{"provider": "support", "custom_handler": handler}])
        messages = [{"role": "user", "content": "Capital of France?"}]
        return loop.run_until_complete(litellm.acompletion(f"support/{model}", messages, **options))

    return ask


def cascade_of(first: Any, second: Any, policy: Any = None, **options: Any) -> Cascade:
    return Cascade({0: first, 1: second}, Dispatcher(policy or solve()), **options)


def path_of(response: Any) -> dict[str, str]:
    prefix = "llm_provider-x-ttamer-"
    headers = response._hidden_params["additional_headers"]
    return {name.removeprefix(prefix): line for name, line in headers.items() if name.startswith(prefix)}


def test_log_probabilities_decide_and_spend_is_the_cost_of_the_flight(node: Any, ask: Any) -> None:
    flights: list[Flight] = []
    cascade = cascade_of(node("unsure", temperature=0.0), node("second"), on_decision=flights.append)
    Server.seen.clear()
    response = ask(cascade)
    assert response.choices[0].message.content == "Paris"
    assert [body["model"] for body in Server.seen] == ["unsure", "second"]
    assert Server.seen[0]["temperature"] == 0.0
    assert Server.seen[0]["logprobs"] is True
    assert flights[0].cost == pytest.approx(2 * CALL)
    assert response._hidden_params["response_cost"] == flights[0].cost
    assert path_of(response) == {"path": "0,1", "node": "1", "reason": "policy", "cost": repr(flights[0].cost)}
    assert response.model == "1"
    usage = response.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (2000, 400, 2400)
    response = ask(cascade_of(node("sure"), node("second")))
    assert path_of(response)["path"] == "0"
    assert response._hidden_params["response_cost"] == pytest.approx(CALL)


def test_callbacks_hear_the_same_cost(
    node: Any, ask: Any, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And of the cascade alone: its calls are part of its cost."""
    told: asyncio.Queue[tuple[str, str, float]] = asyncio.Queue()

    async def hear(call: Any, response: Any, start: Any, end: Any) -> None:
        told.put_nowait((response.id, call["model"], call["standard_logging_object"]["response_cost"]))

    monkeypatch.setattr(litellm, "success_callback", [hear])
    response = ask(cascade_of(node("unsure"), node("second")))
    last = ""
    while last != response.id:  # of earlier tests some may come first
        last, model, cost = loop.run_until_complete(asyncio.wait_for(told.get(), 60))
        assert model == "default"
    assert cost == pytest.approx(2 * CALL)


def test_texts_alone_where_agreement_decides(url: str, ask: Any) -> None:
    """Two small models that say the same are believed; else the large one is asked. Its clients are OpenAI's."""
    rng = np.random.default_rng(0)
    right = rng.random((2000, 3)) < [0.7, 0.7, 0.98]
    answers = np.where(right, 0, rng.integers(1, 1000, right.shape))
    names = ["first", "second", "large"]
    costs = [1e-4, 1e-4, 2e-3]
    traces = ttamer.Traces.from_models(~right, costs, answers=answers, classes=False, nodes=names, unit="usd")
    dispatcher = Dispatcher(ttamer.frontier(traces).cheapest(0.03).policy)
    openai = pytest.importorskip("openai")

    def said(texts: list[str]) -> Any:
        client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
        nodes = {
            name: from_client(client, f"says {text}", signal=None, answer=str.lower)
            for name, text in zip(names, texts, strict=True)
        }
        return ask(Cascade(nodes, dispatcher))

    response = said(["Paris", "paris", "Lyon"])
    assert response.choices[0].message.content == "paris"
    assert path_of(response)["path"] == "first,second"
    assert response._hidden_params["response_cost"] == pytest.approx(2e-4)  # what the policy expects
    response = said(["Paris", "Rome", "Lyon"])
    assert response.choices[0].message.content == "lyon"
    assert path_of(response) == {"path": "first,second,large", "node": "large", "reason": "policy", "cost": "0.0022"}


def test_a_judge_is_a_node_around_a_node(node: Any, ask: Any) -> None:
    flights: list[Flight] = []

    def judged(model: str, verdict: str) -> Any:
        writer = node(model, signal=None)
        judge = node(f"says {verdict}", signal=None, answer=float)

        async def call(messages: Any, flight: Flight) -> Outcome:
            outcome = await writer(messages, flight)
            grade = await judge(f"How good an answer is {outcome.answer}?", flight)
            return outcome._replace(signal=grade.answer, cost=outcome.cost + grade.cost)

        return call

    response = ask(cascade_of(judged("x", "-4"), judged("x", "0"), on_decision=flights.append))
    assert [visit.signal for visit in flights[0].visits] == [-4.0, 0.0]
    assert response._hidden_params["response_cost"] == pytest.approx(4 * CALL)
    assert response.usage.total_tokens == 4800
    assert path_of(ask(cascade_of(judged("x", "-0.5"), judged("x", "0"))))["path"] == "0"


@pytest.mark.parametrize(
    ("model", "paid"),
    [("limited", 0.0), ("broken", 0.0), ("slow", 0.0), ("silent", CALL), ("no log-probabilities", CALL)],
)
def test_the_cascade_goes_on_after_a_failure(node: Any, ask: Any, model: str, paid: float) -> None:
    response = ask(cascade_of(node(model), node("second"), timeouts={0: 0.2}))
    assert response.choices[0].message.content == "Paris"
    path = path_of(response)
    assert (path["failed"], path["node"], path["reason"]) == ("0", "1", "failure")
    assert response._hidden_params["response_cost"] == pytest.approx(CALL + paid)


def test_all_failed_names_every_cause(node: Any, ask: Any, tmp_path: Path) -> None:
    with Log(tmp_path / "log.jsonl") as log, pytest.raises(litellm.ServiceUnavailableError) as caught:
        ask(cascade_of(node("limited"), node("broken"), log=log))
    assert caught.value.status_code == 503
    for cause in ("no node answered: 0: RateLimitError", "limited today", "1: InternalServerError", "broken today"):
        assert cause in str(caught.value)
    assert '"reason": "failure"' in (tmp_path / "log.jsonl").read_text()


def test_usage_is_left_out_where_a_server_does_not_count(url: str, ask: Any) -> None:
    openai = pytest.importorskip("openai")
    client = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
    response = ask(cascade_of(from_client(client, "uncounted"), from_client(client, "second")))
    assert not hasattr(response, "usage")
    assert response._hidden_params["response_cost"] == pytest.approx(0.1)  # what the policy expects


def test_models_without_a_price_cost_what_the_policy_expects(node: Any, ask: Any) -> None:
    free = dict.fromkeys(PRICE)
    response = ask(cascade_of(node("unpriced", **free), node("second")))
    assert response._hidden_params["response_cost"] == pytest.approx(0.1)


def test_other_units_have_a_price(ask: Any) -> None:
    async def call(messages: Any, flight: Flight) -> Outcome:
        return Outcome("Paris", 0.0, cost=30.0)

    response = ask(cascade_of(call, call, solve("ms")), usd=1e-5)
    assert response._hidden_params["response_cost"] == pytest.approx(3e-4)
    assert path_of(response)["cost"] == "30.0"
    assert response.usage.total_tokens == 0  # no language model was asked


def test_tiers_are_models_and_requests_have_settings(ask: Any) -> None:
    seconds: list[float | None] = []

    async def call(messages: Any, flight: Flight) -> Outcome:
        seconds.append(flight.left)
        return Outcome(3, -2.0)

    tiers = {"free": solve(tradeoff=0.1), "paid": solve(tradeoff=0.9)}
    assert path_of(ask(cascade_of(call, call, tiers), "free"))["path"] == "0"
    response = ask(cascade_of(call, call, tiers), "paid", cascade={"deadline": 100})
    assert path_of(response)["path"] == "0,1"
    assert response.choices[0].message.content == "3"
    assert seconds[0] is None
    assert 0 < (seconds[1] or 0) < 100
    ask(cascade_of(call, call, tiers), "paid", extra_body={"cascade": {"deadline": 100}})
    assert 0 < (seconds[3] or 0) < 100


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stream": True}, "stream: expected none, a cascade decides on answers before it gives one"),
        ({"temperature": 0, "max_tokens": 3}, "temperature, max_tokens: expected none, nodes have their own"),
        ({"model": "gold"}, "tier: expected default, got 'gold'"),
        ({"cascade": {"weight": 2.0}}, "weight: expected 1, as there is no front to choose a trade-off from, got 2.0"),
        ({"cascade": {"deadline": "soon"}}, "deadline: expected a number, got str"),
        ({"cascade": {"request": "a17"}}, "cascade: expected any of weight, deadline, context, got {'request': 'a17'}"),
        ({"cascade": 3}, "cascade: expected any of weight, deadline, context, got 3"),
    ],
)
def test_bad_requests(node: Any, ask: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(litellm.BadRequestError) as caught:
        ask(cascade_of(node("sure"), node("second")), **options)
    assert caught.value.status_code == 400
    assert message in str(caught.value)


def test_parameters_are_left_out_where_litellm_is_told_so(node: Any, ask: Any) -> None:
    Server.seen.clear()
    ask(cascade_of(node("sure"), node("second")), temperature=0.5, drop_params=True)
    assert "temperature" not in Server.seen[0]


def test_synchronous_calls_are_refused(node: Any, ask: Any) -> None:
    ask(cascade_of(node("sure"), node("second")))
    for options, message in (({}, "completion: expected litellm.acompletion"), ({"stream": True}, "stream: expected")):
        with pytest.raises(litellm.BadRequestError, match=message):
            litellm.completion("support/default", [{"role": "user", "content": "Capital?"}], **options)


def test_refusals(node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = (node("sure"), node("second"))
    with pytest.raises(ValueError, match=r"^usd: expected what 1 in the policy's unit, 'ms', is in dollars, got None$"):
        provider.Provider(cascade_of(*calls, solve("ms")))
    with pytest.raises(ValueError, match=r"^usd: expected a finite number >= 0, got -1.0$"):
        provider.Provider(cascade_of(*calls), usd=-1.0)
    with pytest.raises(TypeError, match=r"^cascade: expected a Cascade, got int$"):
        provider.Provider(3)
    with pytest.raises(ValueError, match=r"^stream: expected none, an answer is decided on before it is given$"):
        node("sure", stream=True)
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(ImportError, match=r'^cascades behind LiteLLM need litellm: pip install "ttamer\[llm\]"$'):
        importlib.reload(provider)


def test_the_room_imports_neither_litellm_nor_openai() -> None:
    code = "import sys, ttamer.serve; print(sorted({'litellm', 'openai'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_on_the_proxy(
    url: str, loop: asyncio.AbstractEventLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its real application, with a configuration file and the handler beside it."""
    httpx = pytest.importorskip("httpx")
    proxy_server = pytest.importorskip("litellm.proxy.proxy_server", reason="needs packages of the dev extra")
    solve().save(tmp_path / "policy.safetensors")
    (tmp_path / "handlers.py").write_text(
        dedent(
            f"""
            from pathlib import Path

            import ttamer
            from ttamer.serve import Cascade, Dispatcher
            from ttamer.serve.litellm import Provider, node

            server = dict(api_base="{url}", api_key="none", input_cost_per_token=1e-6, output_cost_per_token=5e-6)
            policy = ttamer.Policy.load(Path(__file__).parent / "policy.safetensors")

            def cascade(first, second):
                nodes = {{0: node(f"openai/{{first}}", **server), 1: node(f"openai/{{second}}", **server)}}
                return Provider(Cascade(nodes, Dispatcher(policy)))

            support = cascade("unsure", "second")
            broken = cascade("limited", "broken")
            """
        )
    )
    (tmp_path / "config.yaml").write_text(
        dedent(
            """
            model_list:
              - model_name: support
                litellm_params: {model: support/default}
              - model_name: broken
                litellm_params: {model: broken/default, num_retries: 0}
            litellm_settings:
              custom_provider_map:
                - {provider: support, custom_handler: handlers.support}
                - {provider: broken, custom_handler: handlers.broken}
            """
        )
    )
    for name in ("custom_provider_map", "drop_params", "callbacks"):
        monkeypatch.setattr(litellm, name, getattr(litellm, name))

    async def requests() -> list[Any]:
        await proxy_server.initialize(config=str(tmp_path / "config.yaml"), drop_params=False)
        transport = httpx.ASGITransport(app=proxy_server.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://proxy") as client:
            bodies = [
                {"model": "support"},
                {"model": "support", "cascade": {"deadline": 100}},
                {"model": "support", "stream": True},
                {"model": "support", "temperature": 0.5},
                {"model": "broken"},
            ]
            messages = [{"role": "user", "content": "Capital of France?"}]
            return [await client.post("/v1/chat/completions", json={"messages": messages, **body}) for body in bodies]

    answered, in_time, streamed, parameters, failed = loop.run_until_complete(requests())
    assert answered.status_code == in_time.status_code == 200
    body = answered.json()
    assert body["choices"][0]["message"]["content"] == "Paris"
    assert body["model"] == "support"
    assert body["usage"] == {"prompt_tokens": 2000, "completion_tokens": 400, "total_tokens": 2400}
    assert float(answered.headers["x-litellm-response-cost"]) == pytest.approx(2 * CALL)
    assert answered.headers["llm_provider-x-ttamer-path"] == "0,1"
    assert answered.headers["llm_provider-x-ttamer-node"] == "1"
    assert float(answered.headers["llm_provider-x-ttamer-cost"]) == pytest.approx(2 * CALL)
    for refused, message in ((streamed, "stream: expected none"), (parameters, "temperature: expected none")):
        assert refused.status_code == 400
        assert message in refused.json()["error"]["message"]
    assert failed.status_code == 503
    assert "limited today" in failed.json()["error"]["message"]
    assert "broken today" in failed.json()["error"]["message"]
