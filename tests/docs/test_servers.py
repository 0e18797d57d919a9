"""The examples of servers: what they answer, and what they refuse."""

from __future__ import annotations

import asyncio
import json
import runpy
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import EXAMPLES

import ttamer
from ttamer.serve import Cascade, Dispatcher, Flight, Outcome

for package in ("fastapi", "openai", "prometheus_client", "sklearn", "uvicorn"):
    pytest.importorskip(package, reason="needs what the examples of servers import")
httpx = pytest.importorskip("httpx", reason="needs the test extra")


@pytest.fixture(scope="module")
def gateway() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / "openai_gateway.py"))


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    """Its models are trained once."""
    names: dict[str, Any] = runpy.run_path(str(EXAMPLES / "fastapi_app.py"))["service"].__globals__
    names["train"] = cache(names["train"])
    return names


@asynccontextmanager
async def client_of(app: Any) -> AsyncIterator[Any]:
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client,
    ):
        yield client


class TestGateway:
    @pytest.fixture
    def post(self, gateway: dict[str, Any]) -> Callable[..., Any]:
        """Sends a body to a gateway of a small node, never sure, and a large one; "cheap" asks the first alone."""

        async def small(messages: Any, flight: Flight) -> Outcome:
            if messages[-1]["content"] == "fail":
                raise TimeoutError("no answer in 2 s")
            flight.tokens = (10, 5)
            return Outcome("about 4", 0.0)

        async def large(messages: Any, flight: Flight) -> Outcome:
            if messages[-1]["content"] == "fail":
                raise ConnectionError("gone")
            flight.tokens = (20, 10)
            return Outcome("4", 0.0)

        model = ttamer.CascadeModel(
            ttamer.Topology.line(2), [[0.9], [0.0]], [[[1.0]], [[1.0]]], [0.1, 0.2], observed=False, unit="usd"
        )
        tiers = {"cheap": ttamer.solve(model, 0.01), "good": ttamer.solve(model, 0.9)}
        app = gateway["gateway"](Cascade({0: small, 1: large}, Dispatcher(tiers)), list(tiers))

        async def ask(method: str, path: str, **options: Any) -> Any:
            async with client_of(app) as client:
                return await client.request(method, f"/v1/{path}", **options)

        def post(path: str = "chat/completions", method: str = "POST", **options: Any) -> Any:
            return asyncio.run(ask(method, path, **options))

        return post

    def body(self, text: str = "2 + 2?", **options: Any) -> dict[str, Any]:
        return {"model": "good", "messages": [{"role": "user", "content": text}], **options}

    def test_answers(self, post: Any) -> None:
        response = post(json=self.body())
        assert response.status_code == 200
        said = response.json()
        assert (said["object"], said["model"]) == ("chat.completion", "good")
        assert said["choices"][0]["message"] == {"role": "assistant", "content": "4"}
        assert said["usage"] == {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
        assert response.headers["x-ttamer-path"] == "0,1"
        assert float(response.headers["x-ttamer-cost"]) == pytest.approx(0.3)

    def test_a_model_is_a_tier(self, post: Any) -> None:
        response = post(json=self.body(model="cheap", stream=False))
        assert response.json()["choices"][0]["message"]["content"] == "about 4"
        assert response.headers["x-ttamer-path"] == "0"
        models = post("models", "GET").json()
        assert models["object"] == "list"
        assert [model["id"] for model in models["data"]] == ["cheap", "good"]

    @pytest.mark.parametrize(
        ("options", "status", "param", "message"),
        [
            ({"stream": True}, 400, "stream", "stream: expected none, answers are decided on before one is given"),
            ({"model": "best"}, 404, "model", "model: expected cheap or good, got 'best'"),
            ({"temperature": 0.5}, 400, "temperature", "temperature: Extra inputs are not permitted"),
            ({"cascade": {"deadline": -1}}, 400, "cascade", "cascade: deadline: expected seconds >= 0, got -1"),
            (
                {"cascade": {"context": {"a": 1}}},
                400,
                "cascade",
                "cascade: context: expected None, the policy looks at",
            ),
            ({"cascade": {"speed": 1}}, 400, "cascade", "cascade: Extra inputs are not permitted"),
            ({"messages": []}, 400, "messages", "messages: List should have at least 1 item"),
            ({"messages": "2 + 2?"}, 400, "messages", "messages: Input should be a valid list"),
        ],
    )
    def test_refusals(self, post: Any, options: dict[str, Any], status: int, param: str, message: str) -> None:
        response = post(json=self.body(**options))
        assert response.status_code == status
        error = response.json()["error"]
        assert (error["type"], error["param"]) == ("invalid_request_error", param)
        assert error["message"].startswith(message)

    def test_what_is_no_json_is_refused(self, post: Any) -> None:
        response = post(content="{", headers={"content-type": "application/json"})
        assert response.status_code == 400
        assert response.json()["error"]["message"] == "body: JSON decode error"

    def test_all_failed_names_every_cause(self, post: Any) -> None:
        response = post(json=self.body("fail"))
        assert response.status_code == 503
        error = response.json()["error"]
        assert error["type"] == "server_error"
        assert error["message"] == "no node answered: 0: TimeoutError: no answer in 2 s; 1: ConnectionError: gone"

    def test_what_was_fitted_is_read_again(
        self, gateway: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A second start asks no model."""
        models, path = gateway["STAND_INS"], tmp_path / "front.safetensors"

        async def start(url: str) -> Cascade:
            async with gateway["openai"].AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
                cascade: Cascade = await gateway["cascade_of"](client, models, path)
                return cascade

        async def twice() -> tuple[Cascade, Cascade]:
            async with gateway["serving"](gateway["stand_ins"]()) as url:
                first = await start(url)
            assert "node 0 (small)" in capsys.readouterr().out
            return first, await start(url)  # where nobody answers any more

        first, second = asyncio.run(twice())
        assert second.dispatcher.policies == first.dispatcher.policies
        assert capsys.readouterr().out == ""


class TestService:
    @pytest.fixture
    def run(self, service: dict[str, Any], tmp_path: Path) -> Callable[..., Any]:
        """Runs a function of a client of the service, and of the service."""

        def run(test: Callable[[Any, Any], Awaitable[Any]]) -> Any:
            async def with_client() -> Any:
                app = service["service"](tmp_path)
                async with client_of(app) as client:
                    return await test(client, app)

            return asyncio.run(with_client())

        return run

    @pytest.fixture
    def digits(self, service: dict[str, Any]) -> Any:
        pixels, digits = service["load_digits"](return_X_y=True)
        return list(zip(pixels[1500:].tolist(), digits[1500:].tolist(), strict=True))

    async def hard(self, client: Any, digits: Any) -> tuple[list[float], dict[str, Any]]:
        """The first digit for which the large model is asked, and what came back."""
        for pixels, _ in digits:
            said = (await client.post("/predict", json={"pixels": pixels})).json()
            if said["node"] == "large":
                return pixels, said
        raise AssertionError("the large model was never asked")

    def test_labels_become_losses(self, run: Any, digits: Any, tmp_path: Path) -> None:
        async def label(client: Any, app: Any) -> list[Any]:
            answers = []
            for pixels, digit in digits[:20]:
                said = (await client.post("/predict", json={"pixels": pixels})).json()
                response = await client.post("/labels", json={"request": said["request"], "digit": digit})
                assert response.status_code == 204
                answers.append((said["request"], said["node"], float(said["digit"] != digit)))
            return answers

        answers = run(label)
        log = tmp_path / "requests.jsonl"
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        losses = {line["request"]: line["losses"] for line in lines if "visits" not in line}
        assert {node for _, node, _ in answers} == {"small", "large"}
        for request, node, loss in answers:
            assert losses[request][node] == loss
        traces = ttamer.Traces.from_log(log, like=ttamer.Traces.load(tmp_path / "traces.npz"))
        assert (len(traces), traces.unit) == (20, "ms")
        assert not np.isnan(traces.losses[:, 0]).any()

    def test_deadlines(self, run: Any, digits: Any) -> None:
        async def ask(client: Any, app: Any) -> tuple[Any, list[Any]]:
            pixels, patient = await self.hard(client, digits)
            headers = [{"deadline": seconds} for seconds in ("0.001", "-1", "nan")]
            return patient, [await client.post("/predict", json={"pixels": pixels}, headers=each) for each in headers]

        patient, (hurried, *refused) = run(ask)
        assert patient["reason"] == "policy"
        assert (hurried.json()["node"], hurried.json()["reason"]) == ("small", "deadline")
        assert [response.status_code for response in refused] == [422, 422]

    def test_bad_labels_and_digits_are_refused(self, run: Any, digits: Any, tmp_path: Path) -> None:
        async def refused(client: Any, app: Any) -> list[Any]:
            said = (await client.post("/predict", json={"pixels": digits[0][0]})).json()
            return [
                await client.post("/labels", json={"request": said["request"], "digit": 10}),
                await client.post("/labels", json={"request": "a17", "digit": 1}),
                await client.post("/predict", json={"pixels": [0.0] * 63}),
                await client.post("/predict", json={"pixels": [17.0] * 64}),
            ]

        high, unknown, few, bright = run(refused)
        assert [response.status_code for response in (high, few, bright)] == [422, 422, 422]
        assert unknown.status_code == 404
        assert unknown.json()["detail"] == "request: expected one of the last 10000, got 'a17'"
        assert '"losses"' not in (tmp_path / "requests.jsonl").read_text()

    def test_all_failed(self, run: Any, digits: Any) -> None:
        async def fail(client: Any, app: Any) -> Any:
            for node in ("small", "large"):
                app.state.cascade.dispatcher.down(node)
            response = await client.post("/predict", json={"pixels": digits[0][0]})
            await app.state.cascade.join()  # a shadow is counted when it is over
            return response, (await client.get("/metrics")).text

        response, metrics = run(fail)
        assert response.status_code == 503
        assert response.json()["detail"].startswith("no node answered: ")
        assert 'ttamer_requests_total{reason="failure",tier="default"} 1.0' in metrics

    def test_metrics(self, run: Any, digits: Any) -> None:
        async def count(client: Any, app: Any) -> Any:
            await client.post("/predict", json={"pixels": digits[0][0]})
            await app.state.cascade.join()
            return await client.get("/metrics")

        response = run(count)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/plain; version=")
        for line in (
            'ttamer_requests_total{reason="policy",tier="default"} 1.0',
            'ttamer_consultations_total{node="small",outcome="answer"} 1.0',
            'ttamer_request_seconds_count{tier="default"} 1.0',
        ):
            assert line in response.text.splitlines()

    def test_a_policy_that_is_written_again_serves(self, run: Any, digits: Any, tmp_path: Path) -> None:
        async def exchange(client: Any, app: Any) -> Any:
            pixels, first = await self.hard(client, digits)
            traces = ttamer.Traces.load(tmp_path / "traces.npz")
            ttamer.frontier(traces)[0].policy.save(tmp_path / "policy.safetensors")  # the cheapest one
            app.state.watch.check()
            second = (await client.post("/predict", json={"pixels": pixels})).json()
            return first["node"], second["node"], app.state.watch.swaps

        assert run(exchange) == ("large", "small", 1)
