"""Requests that come one by one to a network with exits: how long they wait for an answer.

A server calls the model on what has come while it was busy. Answers leave at the end of a call, or with `on_exit` when
they are known. Two networks on the CPU: an 8-exit VGG for 28 x 28 images, and an encoder of 6 layers. Weights are
random, and the same share of requests leaves at every exit. Requests come at half of the rate of full batches, one by
one as a Poisson process, or in bursts of 32. Arms take turns with the same arrivals; medians over rounds.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_serve import encoder, leaving_everywhere, spread, vgg

from ttamer.bench.harness import is_kept, machine, parser, print_rows, write
from ttamer.torch import EarlyExit, ExitOutput

RESULTS = Path(__file__).parent / "results"
BATCH, BURST = 32, 32
Row = dict[str, Any]
Submit = Callable[[Tensor, Callable[[], None]], None]


def networks(quick: bool) -> Iterator[tuple[str, EarlyExit, Tensor]]:
    """Name, network and requests."""
    torch.manual_seed(0)
    for name, model, x in (
        ("vgg", vgg(), torch.randn(64 if quick else 2048, 1, 28, 28)),
        ("encoder", encoder(layers=6, width=256), torch.randn(64 if quick else 512, 32, 256)),
    ):
        model.eval()
        spread(model, x[:256])
        yield name, model, x


@contextmanager
def server(model: EarlyExit, early: bool) -> Iterator[Submit]:
    """Calls the model on all that has come meanwhile; whoever submits is told when there is an answer."""
    incoming: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def work() -> None:
        while (first := incoming.get()) is not None:
            taken = [first]
            while len(taken) < BATCH and not incoming.empty():
                taken.append(incoming.get())
            x, answered = torch.cat([row for row, _ in taken]), [call for _, call in taken]

            def leave(rows: Tensor, output: ExitOutput, answered: list[Callable[[], None]] = answered) -> None:
                for row in rows.tolist():
                    answered[row]()

            output = model(x, on_exit=leave) if early else model(x)
            if not early:
                leave(torch.arange(len(x)), output)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield lambda row, call: incoming.put((row, call))
    finally:
        incoming.put(None)
        thread.join()


def arrivals(rows: int, rate: float, burst: int, seed: int) -> list[float]:
    """Seconds at which requests come."""
    gaps = np.random.default_rng(seed).exponential(burst / rate, -(-rows // burst))
    return [float(at) for at in np.repeat(np.cumsum(gaps), burst)[:rows]]


def waits(submit: Submit, requests: Sequence[Tensor], times: Sequence[float]) -> Any:
    """Milliseconds from when each request comes until its answer."""
    ends, done = np.zeros(len(requests)), threading.Semaphore(0)

    def told(k: int) -> Callable[[], None]:
        def note() -> None:
            ends[k] = time.perf_counter()
            done.release()

        return note

    start = time.perf_counter()
    for k, (x, at) in enumerate(zip(requests, times, strict=True)):
        left = start + at - time.perf_counter()
        if left > 0:
            time.sleep(left)
        submit(x, told(k))
    for _ in requests:
        done.acquire()
    return 1e3 * (ends - start - np.array(times))


def rows_of(name: str, model: EarlyExit, x: Tensor, rounds: int) -> list[Row]:
    """A row a pattern of arrivals."""
    batches = x.split(BATCH)
    loader = [(part, torch.zeros(len(part), dtype=torch.long)) for part in batches]
    policy = leaving_everywhere(model.record(loader, repeats=2 * rounds, progress=False))
    model.attach(policy)
    start = time.perf_counter()
    for part in batches:
        model(part)
    rate = 0.5 * len(x) / (time.perf_counter() - start)
    rows = []
    for pattern, burst in (("Poisson", 1), (f"bursts of {BURST}", BURST)):
        quantiles: dict[bool, list[Any]] = {False: [], True: []}
        for turn in range(rounds):
            times = arrivals(len(x), rate, burst, turn)
            for early in (False, True) if turn % 2 else (True, False):
                with server(model, early) as submit:
                    quantiles[early].append(np.quantile(waits(submit, x.split(1), times), [0.5, 0.99]))
        late, early_ones = (np.median(quantiles[early], axis=0) for early in (False, True))
        rows.append(
            {
                "network": name,
                "arrivals": pattern,
                "req/s": rate,
                "call p50 ms": float(late[0]),
                "call p99 ms": float(late[1]),
                "on_exit p50 ms": float(early_ones[0]),
                "on_exit p99 ms": float(early_ones[1]),
                "p50 ratio": float(early_ones[0] / late[0]),
                "p99 ratio": float(early_ones[1] / late[1]),
            }
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser(__doc__ or "", RESULTS).parse_args(arguments)
    torch.set_num_threads(1)
    rows = [row for network in networks(options.quick) for row in rows_of(*network, 1 if options.quick else 7)]
    print_rows(rows)
    if is_kept(options):
        facts = machine() | {"torch": torch.__version__}
        content = {"title": "Answers that leave when they are known", "machine": facts, "rows": rows}
        write("torch_arrivals", content, options.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
