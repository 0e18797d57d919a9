"""Requests that come one by one to a network with exits: an engine, calls of the model, and what costs promise.

On the CPU an 8-exit VGG for 28 x 28 images, an encoder of 6 layers over masked tokens, and two networks of 8 stages
that wait as one does for an accelerator, 4 ms a stage of a full batch: "launched" however many rows there are,
"half launched" 2 ms and the rest by rows. With CUDA a transformer encoder of 24 layers and width 1024 over 128 tokens
in bfloat16. Weights are random, and the same share of requests leaves at every exit. Costs are of full batches: the
whole cascade's over the mean of a request is what early exit promises over the full network.

saturated  all requests are there from the start: batches of the model, in calls or an engine's `map`, and one by one
latency    at half of the rate of calls, one by one as a Poisson process, or in bursts of 32. "calls" serve what has
           come while the last one lasted, as servers mostly do, "on_exit" the same with answers that leave when known
"""

from __future__ import annotations

import queue
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_serve import CLASSES, encoder, leaving_everywhere, spread, vgg

from ttamer.bench.harness import is_kept, machine, parser, print_rows, write
from ttamer.torch import EarlyExit, ExitOutput

RESULTS = Path(__file__).parent / "results"
BURST = 32
LAYERS, WIDTH, TOKENS = 6, 192, 32
Inputs = tuple[Tensor, dict[str, Tensor]]
Submit = Callable[..., "Future[ExitOutput]"]
Row = dict[str, Any]


class Layer(nn.Module):
    """A layer of an encoder, which knows what is padding."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(
            WIDTH, WIDTH // 64, 4 * WIDTH, batch_first=True, norm_first=True, dropout=0.0
        )

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        return self.layer(x, src_key_padding_mask=padding)


class MaskedMean(nn.Module):
    """An exit: the mean over what is no padding."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        kept = (~padding).unsqueeze(-1).to(x.dtype)
        return self.linear(self.norm((x * kept).sum(dim=1) / kept.sum(dim=1)))


class Launched(nn.Module):
    """A stage for which the host waits, leaving the processor to others: seconds, and seconds a row."""

    def __init__(self, width: int, fixed: float, per_row: float) -> None:
        super().__init__()
        self.linear, self.fixed, self.per_row = nn.Linear(width, width), fixed, per_row

    def forward(self, x: Tensor) -> Tensor:
        end = time.perf_counter() + self.fixed + self.per_row * len(x)
        x = torch.relu(self.linear(x))
        time.sleep(max(0.0, end - time.perf_counter()))
        return x


def networks(rows: int, size: int) -> Iterator[tuple[str, EarlyExit, Tensor, dict[str, Tensor]]]:
    """Name, network, inputs and keywords, for batches of some size."""
    torch.manual_seed(0)
    images, model = torch.randn(rows, 1, 28, 28), vgg().eval()
    spread(model, images[:512])
    yield "vgg", model, images, {}
    model = EarlyExit([Layer() for _ in range(LAYERS)], [MaskedMean() for _ in range(LAYERS)]).eval()
    tokens = torch.randn(rows, TOKENS, WIDTH)
    padding = torch.arange(TOKENS) >= torch.randint(TOKENS // 2, TOKENS + 1, (rows, 1))
    spread(model, tokens[:512], padding=padding[:512])
    yield "encoder", model, tokens, {"padding": padding}
    for name, share in (("launched", 1.0), ("half launched", 0.5)):
        seconds = share * 4e-3, (1 - share) * 4e-3 / size
        model = EarlyExit([Launched(16, *seconds) for _ in range(8)], [nn.Linear(16, CLASSES) for _ in range(8)]).eval()
        x = torch.randn(rows, 16)
        spread(model, x[:512])
        yield name, model, x, {}


def cuda_network(rows: int) -> tuple[str, EarlyExit, Tensor, dict[str, Tensor]]:
    """The encoder of `torch_serve`."""
    torch.manual_seed(0)
    model = encoder().eval().to("cuda", torch.bfloat16)
    x = torch.randn(rows, 128, 1024, device="cuda", dtype=torch.bfloat16)
    spread(model, x[:128])
    return "encoder, CUDA", model, x, {}


def split(x: Tensor, keywords: dict[str, Tensor], size: int) -> list[Inputs]:
    """Inputs of so many rows each."""
    return [(x[k : k + size], {n: v[k : k + size] for n, v in keywords.items()}) for k in range(0, len(x), size)]


@contextmanager
def calls(model: EarlyExit, batch: int, early: bool) -> Iterator[Submit]:
    """The model called on all that has come meanwhile, at most so many rows."""
    incoming: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def work() -> None:
        while (first := incoming.get()) is not None:
            requests = [first]
            while len(requests) < batch and not incoming.empty():
                requests.append(incoming.get())
            xs, keywords, futures = zip(*requests, strict=True)

            def leave(rows: Tensor, output: ExitOutput, futures: Sequence[Future[ExitOutput]] = futures) -> None:
                for row, *fields in zip(rows.tolist(), *(field.split(1) for field in output), strict=True):
                    futures[row].set_result(ExitOutput(*fields))

            named = {name: torch.cat([each[name] for each in keywords]) for name in keywords[0]}
            output = model(torch.cat(xs), on_exit=leave if early else None, **named)
            if not early:
                leave(torch.arange(len(xs)), output)

    def submit(x: Tensor, **keywords: Tensor) -> Future[ExitOutput]:
        future: Future[ExitOutput] = Future()
        incoming.put((x, keywords, future))
        return future

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield submit
    finally:
        incoming.put(None)
        thread.join()


@contextmanager
def engine_of(model: EarlyExit, batch: int) -> Iterator[Submit]:
    """An engine with room for full batches before all stages."""
    with model.engine(slots=2 * batch * len(model.stages), batch=batch) as engine:
        yield engine.submit


ARMS: dict[str, Callable[[EarlyExit, int], AbstractContextManager[Submit]]] = {
    "calls": partial(calls, early=False),
    "on_exit": partial(calls, early=True),
    "engine": engine_of,
}


def arrivals(rows: int, rate: float, burst: int, seed: int) -> list[float]:
    """Seconds at which requests come."""
    gaps = np.random.default_rng(seed).exponential(burst / rate, -(-rows // burst))
    return [float(at) for at in np.repeat(np.cumsum(gaps), burst)[:rows]]


def waits(submit: Submit, requests: Sequence[Inputs], times: Sequence[float]) -> Any:
    """Milliseconds from when each request comes until its answer."""
    ends, done = np.zeros(len(requests)), threading.Semaphore(0)

    def note(k: int, _: Future[ExitOutput]) -> None:
        ends[k] = time.perf_counter()
        done.release()

    start = time.perf_counter()
    for k, ((x, keywords), at) in enumerate(zip(requests, times, strict=True)):
        left = start + at - time.perf_counter()
        if left > 0:
            time.sleep(left)
        submit(x, **keywords).add_done_callback(partial(note, k))
    for _ in requests:
        done.acquire()
    return 1e3 * (ends - start - np.array(times))


def taking_turns(arms: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median seconds of each; the first round warms up."""
    seconds: dict[str, list[float]] = {arm: [] for arm in arms}
    for turn in range(-1, rounds):
        for arm, work in arms.items():
            start = time.perf_counter()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn >= 0:
                seconds[arm].append(time.perf_counter() - start)
    return {arm: statistics.median(times) for arm, times in seconds.items()}


def saturated(name: str, model: EarlyExit, server: EarlyExit, inputs: Inputs, size: int, rounds: int) -> Row:
    """Requests a second where all are there from the start."""
    x, keywords = inputs
    batches, requests, rows = split(x, keywords, size), split(x, keywords, 1), len(x)

    def offline(network: EarlyExit) -> None:
        with torch.no_grad():
            for part, named in batches:
                network(part, **named)

    def mapped() -> None:
        with server.engine(slots=2 * size * len(server.stages), batch=size) as engine:
            for _ in engine.map((part for part, _ in batches), (named for _, named in batches)):
                pass

    def one_by_one(arm: str) -> None:
        with ARMS[arm](server, size) as submit:
            for future in [submit(part, **named) for part, named in requests]:
                future.result()

    arms: dict[str, Callable[[], None]] = {
        "full": lambda: offline(model),
        "model(x)": lambda: offline(server),
        "engine.map": mapped,
        "calls": lambda: one_by_one("calls"),
        "engine": lambda: one_by_one("engine"),
    }
    seconds = taking_turns(arms, rounds)
    policy = server.policy
    assert policy is not None
    cost = float(torch.cat([server(part, **named).cost for part, named in batches]).mean())
    promise = float(policy.costs.sum()) / cost
    row = {"network": name, "B": size, **{f"{arm} req/s": rows / seconds[arm] for arm in arms}, "promised": promise}
    for arm in ("model(x)", "engine.map"):
        row[f"{arm} of promised"] = seconds["full"] / seconds[arm] / promise
    row["map / model(x)"] = seconds["model(x)"] / seconds["engine.map"]
    row["engine / calls"] = seconds["calls"] / seconds["engine"]
    return row


def latencies(name: str, server: EarlyExit, inputs: Inputs, size: int, rate: float, rounds: int) -> list[Row]:
    """Medians and 99% quantiles, a row a pattern of arrivals."""
    requests, rows = split(*inputs, 1), []
    for pattern, burst in (("Poisson", 1), (f"bursts of {BURST}", BURST)):
        quantiles: dict[str, list[Any]] = {arm: [] for arm in ARMS}
        for turn in range(rounds):
            times = arrivals(len(requests), rate, burst, turn)
            for arm in list(ARMS)[:: 1 if turn % 2 else -1]:
                with ARMS[arm](server, size) as submit:
                    quantiles[arm].append(np.quantile(waits(submit, requests, times), [0.5, 0.99]))
        row: Row = {"network": name, "B": size, "arrivals": pattern, "req/s": rate}
        medians = {arm: np.median(values, axis=0) for arm, values in quantiles.items()}
        row |= {"calls p50 ms": float(medians["calls"][0]), "calls p99 ms": float(medians["calls"][1])}
        for arm in ("on_exit", "engine"):
            row[f"{arm} p50"], row[f"{arm} p99"] = (medians[arm] / medians["calls"]).tolist()
        rows.append(row)
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser(__doc__ or "", RESULTS).parse_args(arguments)
    torch.set_num_threads(1)
    rounds, count, sizes = (1, 64, (8,)) if options.quick else (3, 1024, (8, 64))
    tables: dict[str, list[Row]] = {"saturated": [], "latency": []}
    if torch.cuda.is_available():
        cases = [(64, cuda_network(64 if options.quick else 2048))]
    else:
        cases = [(size, case) for size in sizes for case in networks(count, size)]
    for size, (name, model, x, keywords) in cases:
        loader = [(part, named, torch.zeros(len(part), dtype=torch.long)) for part, named in split(x, keywords, size)]
        traces = model.record(loader, batch_size=size, full_batches=True, repeats=10 * rounds, progress=False)
        server = EarlyExit(list(model.stages), list(model.exits)).eval().attach(leaving_everywhere(traces))
        tables["saturated"].append(saturated(name, model, server, (x, keywords), size, rounds))
        rate = 0.5 * tables["saturated"][-1]["model(x) req/s"]
        some = x[: count // 2], {key: value[: count // 2] for key, value in keywords.items()}
        tables["latency"] += latencies(name, server, some, size, rate, rounds)
    for rows in tables.values():
        print_rows(rows)
        print()
    if is_kept(options):
        name = "torch_engine_cuda" if torch.cuda.is_available() else "torch_engine"
        content = {"title": "Requests that come one by one", "machine": machine() | {"torch": torch.__version__}}
        write(name, content | tables, options.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
