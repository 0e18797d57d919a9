"""A cascade behind OpenAI's API: clients ask it as they ask any model, and get the answer of one of several.

First every model is asked questions whose answers are known: policies are fitted on what it said, how sure it was and
what that cost. Then a gateway serves two of them as models, "thrifty" and "careful". It is asked a few questions with
OpenAI's client; the answers, who was asked and what that cost are printed, and all of it stops.

By default two stand-ins that add numbers answer, served by this process. Others are asked at the prices of a million
tokens, of prompt and answer; --front keeps what was fitted, and with --port it serves until it is stopped:

    python examples/openai_gateway.py --base-url http://localhost:8000/v1 --model small 0.1 0.4 --model large 2 8 \
        --front front.safetensors --port 8080

The key of the models is read from OPENAI_API_KEY. Needs: pip install "ttamer[llm,fit]" fastapi uvicorn
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import openai
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

import ttamer
from ttamer.serve import AllFailed, Cascade, Dispatcher
from ttamer.serve.openai import headers, mean_log_prob, node

BUDGETS = {"thrifty": 0.1, "careful": 0.7}
"""Models of the gateway, and what each may cost: from 0, the cheapest policy there is, to 1, the most accurate one."""


class Model(NamedTuple):
    name: str
    price: tuple[float, float]


# ---------------------------------------------------------------- the gateway


class Settings(BaseModel):
    """What a request may say of itself: `Cascade` explains it."""

    model_config = ConfigDict(extra="forbid")
    deadline: float | None = None
    context: dict[str, Any] | None = None


class Body(BaseModel):
    """What may be asked. Others, such as a temperature, are refused: policies were fitted for those of the nodes."""

    model_config = ConfigDict(extra="forbid")
    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)
    stream: bool | None = None
    cascade: Settings = Settings()


def gateway(cascade: Cascade, models: Sequence[str]) -> FastAPI:
    """The API; each of its models is a tier of the cascade."""
    app = FastAPI()

    @app.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        cards = [{"id": model, "object": "model", "created": 0, "owned_by": "ttamer"} for model in models]
        return {"object": "list", "data": cards}

    @app.post("/v1/chat/completions")
    async def complete(body: Body) -> JSONResponse:
        if body.stream:
            return refusal(400, "stream: expected none, answers are decided on before one is given", "stream")
        if body.model not in models:
            return refusal(404, f"model: expected {' or '.join(models)}, got {body.model!r}", "model")
        try:
            flight = await cascade(body.messages, tier=body.model, **body.cascade.model_dump())
        except AllFailed as error:  # its text has every cause
            return refusal(503, str(error))
        except (TypeError, ValueError) as error:  # of the settings; what nodes raise are failures of theirs
            return refusal(400, f"cascade: {error}", "cascade")
        return JSONResponse(completion(body.model, str(flight.answer), flight.tokens), headers=headers(flight))

    @app.exception_handler(RequestValidationError)
    async def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        param = next((name for name in first["loc"][1:] if isinstance(name, str)), None)
        return refusal(400, f"{param or 'body'}: {first['msg']}", param)

    return app


def refusal(status: int, message: str, param: str | None = None) -> JSONResponse:
    """An error as OpenAI's clients read it."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": None}}, status)


def completion(model: str, text: str, tokens: tuple[int, int] | None, log_prob: float | None = None) -> dict[str, Any]:
    """An answer as OpenAI's clients read it; without usage where a model of the cascade does not count tokens."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    if log_prob is not None:
        choice["logprobs"] = {"content": [{"token": text, "logprob": log_prob, "bytes": None, "top_logprobs": []}]}
    answer: dict[str, Any] = {"object": "chat.completion", "model": model, "choices": [choice]}
    if tokens is not None:
        prompt, written = tokens
        answer["usage"] = {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}
    return {"id": f"chatcmpl-{uuid4().hex}", "created": int(time.time()), **answer}


# ---------------------------------------------------------------- the policies


def sums(count: int, seed: int) -> list[tuple[str, str]]:
    """Questions with their answers; take your own."""
    draws = random.Random(seed)
    pairs = [[draws.randrange(10 ** draws.randint(1, 6)) for _ in range(2)] for _ in range(count)]
    return [(f"What is {a} + {b}? Answer with the number alone.", str(a + b)) for a, b in pairs]


async def record(client: openai.AsyncOpenAI, models: Sequence[Model], count: int) -> ttamer.Traces:
    """Of every model and question: how sure it was, whether it was wrong, and what that cost."""

    async def ask(model: Model, question: str, right: str) -> tuple[float, bool, float]:
        messages: Any = [{"role": "user", "content": question}]
        said = await client.chat.completions.create(model=model.name, messages=messages, logprobs=True, temperature=0.0)
        assert said.usage is not None
        cost = (said.usage.prompt_tokens * model.price[0] + said.usage.completion_tokens * model.price[1]) / 1e6
        return mean_log_prob(said), (said.choices[0].message.content or "").strip() != right, cost

    rows = [await asyncio.gather(*(ask(model, *question) for model in models)) for question in sums(count, seed=0)]
    scores, losses, costs = ([[each[k] for each in row] for row in rows] for k in range(3))
    return ttamer.Traces.from_models(losses, costs, scores=scores, nodes=[model.name for model in models], unit="usd")


async def cascade_of(client: openai.AsyncOpenAI, models: Sequence[Model], path: Path) -> Cascade:
    """Decides by the policies in a file. In earnest they are fitted once, apart from the servers that read it."""
    if not path.exists():
        traces = await record(client, models, count=400)
        print(traces.summary())
        ttamer.frontier(traces).save(path)  # policies for every budget
    front = ttamer.Front.load(path)
    low, high = front[0].cost, front[-1].cost
    tiers = {name: front.best(max_cost=low + share * (high - low)).policy for name, share in BUDGETS.items()}
    # Asked as they were recorded: policies know models at the temperature, and with the prompt, of then.
    nodes = {model.name: node(client, model.name, price=model.price, temperature=0.0) for model in models}
    return Cascade(nodes, Dispatcher(tiers), timeouts={model.name: 60.0 for model in models})


# ---------------------------------------------------------------- stand-ins


STAND_INS = [Model("small", (0.1, 0.4)), Model("large", (2.0, 8.0))]


def stand_ins() -> FastAPI:
    """Models that add. The small one errs on long numbers, and mostly knows; the large one hardly ever errs."""
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def answer(body: dict[str, Any]) -> dict[str, Any]:
        model, question = body["model"], body["messages"][-1]["content"]
        first, second = (int(word) for word in question.replace("?", "").split() if word.isdigit())
        draws = random.Random(f"{model}: {question}")
        digits = len(str(first + second))
        doubt = draws.random() * (digits / 7) ** 2 if model == "small" else 0.01
        wrong = draws.random() < doubt
        return completion(model, str(first + second + 10 * wrong), (len(question) // 4, digits), -doubt)

    return app


# ---------------------------------------------------------------- all together


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """On a free port, while inside; its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", ws="none"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    finally:
        server.should_exit = True
        await task


async def demonstrate(app: FastAPI) -> None:
    async with serving(app) as url, openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        for model in BUDGETS:
            for question, _ in sums(4, seed=5):
                messages: Any = [{"role": "user", "content": question}]
                reply = await client.chat.completions.with_raw_response.create(model=model, messages=messages)
                path, cost = reply.headers["x-ttamer-path"], float(reply.headers["x-ttamer-cost"])
                text = reply.parse().choices[0].message.content
                print(f"{model}: {question.partition('?')[0]}? {text} (asked {path}: {1e6 * cost:.1f} USD a million)")
        try:
            await client.chat.completions.create(model="careful", messages=messages, stream=True)
        except openai.BadRequestError as error:
            print("refused:", error.message)


async def run(options: argparse.Namespace) -> None:
    models = [Model(name, (float(prompt), float(written))) for name, prompt, written in options.model] or STAND_INS
    async with AsyncExitStack() as stack:
        url = options.base_url or await stack.enter_async_context(serving(stand_ins()))
        key = os.environ.get("OPENAI_API_KEY", "none")
        client = await stack.enter_async_context(openai.AsyncOpenAI(base_url=url, api_key=key))
        with tempfile.TemporaryDirectory() as folder:
            cascade = await cascade_of(client, models, options.front or Path(folder) / "front.safetensors")
        app = gateway(cascade, list(BUDGETS))
        if options.port is None:
            await demonstrate(app)
        else:
            await uvicorn.Server(uvicorn.Config(app, port=options.port)).serve()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base-url", help="of a server that speaks OpenAI's API; without it stand-ins answer")
    parser.add_argument("--model", nargs=3, action="append", default=[], metavar=("NAME", "PROMPT", "ANSWER"))
    parser.add_argument("--front", type=Path, help="of the policies, which are fitted and written there if it is not")
    parser.add_argument("--port", type=int, help="serve there, until stopped")
    options = parser.parse_args(arguments)
    with suppress(KeyboardInterrupt):  # which ends a server
        asyncio.run(run(options))


if __name__ == "__main__":
    main()
