"""A service of a cascade of classifiers, with everything that one needs: metrics, a log, labels, other policies.

Two classifiers of scikit-learn read handwritten digits: a small one, and a large one that is asked where the small one
is not sure enough. Asks itself a few requests, prints what came back, and stops. To serve, where examples/ is:

    uvicorn examples.fastapi_app:app
    curl localhost:8000/metrics

It then keeps its files where it was started: the policy, which may be written again while it serves, what it was fitted
on, and the log. The next policy comes of

    ttamer refit requests.jsonl --traces traces.npz --policy policy.safetensors --output policy.safetensors

Needs: pip install "ttamer[serve,fit]" fastapi uvicorn httpx
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI, Header, HTTPException, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel, Field
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import ttamer
from ttamer.serve import AllFailed, Cascade, Dispatcher, Flight, Log, Metrics, Outcome

COSTS = {"small": 0.2, "large": 8.0}  # milliseconds; measure your own
KEPT = 10_000  # requests that a label may come for


class Request(BaseModel):
    pixels: list[Annotated[float, Field(ge=0, le=16)]] = Field(min_length=64, max_length=64)


class Label(BaseModel):
    request: str
    digit: int = Field(ge=0, le=9)


def train() -> dict[str, ClassifierMixin]:
    pixels, digits = load_digits(return_X_y=True)
    models = {
        "small": make_pipeline(FunctionTransformer(lambda rows: rows[:, ::3] / 16), LogisticRegression(max_iter=1000)),
        "large": ExtraTreesClassifier(200, random_state=0),
    }
    return {name: model.fit(pixels[:800], digits[:800]) for name, model in models.items()}


def record(models: dict[str, ClassifierMixin]) -> ttamer.Traces:
    """What each says, and how sure it is, of digits that it was not trained on."""
    pixels, digits = load_digits(return_X_y=True)
    probs = np.stack([model.predict_proba(pixels[800:1500]) for model in models.values()], axis=1)
    answers = probs.argmax(axis=2)
    wrong = answers != digits[800:1500, None]
    costs = [COSTS[name] for name in models]
    return ttamer.Traces.from_models(
        wrong, costs, scores=probs.max(axis=2), answers=answers, nodes=list(models), unit="ms"
    )


def node(model: ClassifierMixin) -> Callable[[list[float], Flight], Awaitable[Outcome]]:
    async def call(pixels: list[float], flight: Flight) -> Outcome:
        probs = (await asyncio.to_thread(model.predict_proba, np.array([pixels])))[0]  # other requests go on meanwhile
        return Outcome(int(probs.argmax()), float(probs.max()))

    return call


def service(folder: Path) -> FastAPI:
    """The service, whose files are in a folder."""
    registry = CollectorRegistry()
    recent: OrderedDict[str, Flight] = OrderedDict()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        models = await asyncio.to_thread(train)
        path = folder / "policy.safetensors"
        if not path.exists():  # in earnest models and policies are made elsewhere, and a server loads them
            traces = record(models)
            traces.save(folder / "traces.npz")
            ttamer.frontier(traces).best(max_cost=3.0).policy.save(path)
        dispatcher = Dispatcher(ttamer.Policy.load(path), seconds={name: cost / 1e3 for name, cost in COSTS.items()})
        # A file that is written again is taken over within seconds; requests under way keep their policy.
        with dispatcher.watch(path, every=2.0) as app.state.watch, Log(folder / "requests.jsonl") as app.state.log:
            app.state.cascade = Cascade(
                {name: node(model) for name, model in models.items()},
                dispatcher,
                timeouts=dict.fromkeys(models, 2.0),
                shadow=0.05,  # of the requests, to know what the large one would have said
                log=app.state.log,
                metrics=Metrics(registry),
            )
            yield
            await app.state.cascade.join()  # shadows are logged, too

    app = FastAPI(lifespan=lifespan)

    @app.post("/predict")
    async def predict(
        request: Request, deadline: Annotated[float | None, Header(ge=0, allow_inf_nan=False)] = None
    ) -> dict[str, Any]:
        """The header `deadline` has the seconds within which an answer is wanted."""
        name = uuid4().hex
        try:
            flight = await app.state.cascade(request.pixels, deadline=deadline, request=name)
        except AllFailed as error:
            raise HTTPException(503, str(error)) from error
        recent[name] = flight
        if len(recent) > KEPT:
            recent.popitem(last=False)
        node = flight.nodes[flight.answer_node]
        return {"request": name, "digit": flight.answer, "node": node, "cost": flight.cost, "reason": flight.reason}

    @app.post("/labels", status_code=204)
    async def label(label: Label) -> None:
        """What a digit was. A request may be labelled much later than it was answered."""
        flight = recent.get(label.request)
        if flight is None:
            raise HTTPException(404, f"request: expected one of the last {KEPT}, got {label.request!r}")
        answers = {flight.nodes[visit.node]: visit.answer for visit in flight.visits if visit.error is None}
        app.state.log.losses(label.request, {name: float(answer != label.digit) for name, answer in answers.items()})

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return app


app = service(Path())


async def demonstrate(folder: Path) -> None:
    server = uvicorn.Server(uvicorn.Config(service(folder), port=0, log_level="warning", ws="none"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    pixels, digits = load_digits(return_X_y=True)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        for row, digit in zip(pixels[1500:1508].tolist(), digits[1500:1508].tolist(), strict=True):
            said = (await client.post("/predict", json={"pixels": row})).json()
            await client.post("/labels", json={"request": said["request"], "digit": digit})
            print(f"{digit}: {said['node']} says {said['digit']}, {said['cost']} ms, {said['reason']}")
        in_a_hurry = {"deadline": "0.001"}
        said = (await client.post("/predict", json={"pixels": pixels[1500].tolist()}, headers=in_a_hurry)).json()
        print(f"the first one in a millisecond: {said['node']} says {said['digit']}, {said['reason']}")
        lines = (await client.get("/metrics")).text.splitlines()
        print(*(line for line in lines if line.startswith("ttamer_consultations_total")), sep="\n")
    server.should_exit = True
    await task
    recorded = ttamer.Traces.load(folder / "traces.npz")
    print("logged:", ttamer.Traces.from_log(folder / "requests.jsonl", like=recorded))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(demonstrate(Path(name)))
