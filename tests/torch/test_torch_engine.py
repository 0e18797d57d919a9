"""Requests that come at any time: the answers of a call, whoever else is under way, and what those get who leave."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import pytest
from paths import REPOSITORY

import ttamer

torch = pytest.importorskip("torch", reason="needs the torch extra")

from torch import Tensor, nn  # noqa: E402
from torch_models import SHAPES, WIDTH, inputs, network, recorded, some_policy  # noqa: E402
from torch_tasks import certainty  # noqa: E402

from ttamer.torch import Decider, EarlyExit, Engine, ExitOutput  # noqa: E402


def served(recall: str = "none", shape: str = "line", **options: Any) -> EarlyExit:
    model = network()
    return model.attach(some_policy(recorded(model, inputs(seed=1), SHAPES[shape]), recall, 1), **options)


def joined(outputs: list[ExitOutput]) -> ExitOutput:
    return ExitOutput(*(torch.cat(parts) for parts in zip(*outputs, strict=True)))


def same(found: ExitOutput, expected: ExitOutput) -> None:
    """Decisions to the bit; sums over other numbers of rows may be taken in another order."""
    for name in ("answer_node", "last_node", "cost", "state"):
        np.testing.assert_array_equal(getattr(found, name).numpy(), getattr(expected, name).numpy(), strict=True)
    for name in ("logits", "signal", "expected_loss"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-5, atol=1e-5, equal_nan=True)


class Gate(nn.Module):
    """A stage in front of another one that waits until it is opened, and counts."""

    def __init__(self, stage: nn.Module) -> None:
        super().__init__()
        self.stage, self.open, self.entered = stage, threading.Event(), threading.Event()
        self.rows: list[int] = []

    def forward(self, x: Tensor) -> Any:
        self.rows.append(len(x))
        self.entered.set()
        assert self.open.wait(60)
        return self.stage(x)


@pytest.fixture
def gated() -> Iterator[tuple[EarlyExit, list[Gate]]]:
    """A network with a policy, and a gate before each stage; all are opened at the end."""
    model = served()
    gates = [Gate(stage) for stage in model.stages]
    model.stages = nn.ModuleList(gates)
    yield model.eval(), gates
    for gate in gates:
        gate.open.set()


def opened(gates: list[Gate]) -> None:
    for gate in gates:
        gate.open.set()


class TestAnswers:
    @pytest.mark.parametrize("nan", ["error", "worst"])
    @pytest.mark.parametrize("recall", ["observed", "none"])
    @pytest.mark.parametrize("rows", [1, 3])
    def test_are_those_of_a_call(self, recall: str, rows: int, nan: str) -> None:
        model, x = served(recall, nan=nan), inputs(301)
        with model.engine(slots=48, batch=16) as engine:
            same(joined(list(engine.map(x.split(rows)))), model(x))
            same(engine.submit(x[:48]).result(60), model(x[:48]))

    def test_in_an_event_loop(self) -> None:
        model, x = served(), inputs(200)

        async def serve(engine: Engine) -> list[ExitOutput]:
            return await asyncio.gather(*(engine(row) for row in x.split(1)))

        with model.engine(slots=16, batch=8) as engine:
            same(joined(asyncio.run(serve(engine))), model(x))

    def test_from_many_threads(self) -> None:
        model, x = served(), inputs(600)
        with model.engine(slots=32, batch=8) as engine, ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda row: engine.submit(row).result(60), x.split(1)))
        same(joined(found), model(x))

    @pytest.mark.parametrize("estimate", ["posterior", "sets"])
    def test_of_policies_that_estimate(self, estimate: str) -> None:
        """Their answers go back to any exit, so what all exits gave has to be kept apart by request."""
        model, x = network(), inputs(300)
        traces = recorded(model, x)
        if estimate == "sets":
            parts = (traces.signals, traces.losses, traces.costs, traces.topology)
            traces = ttamer.Traces(*parts, unit="s", signal="max_prob")
        model.attach(ttamer.solve(ttamer.fit(traces, "auto", estimate), 0.9))
        x = inputs(300, seed=6)  # not those whose signals are the edges of bins, which a last bit decides
        expected = model(x)
        assert (expected.answer_node < expected.last_node).any()
        with model.engine(slots=24, batch=8) as engine:
            same(joined(list(engine.map(x.split(1)))), expected)

    def test_of_a_signal_of_ones_own(self) -> None:
        parts = network()
        model = EarlyExit(list(parts.stages), list(parts.exits), certainty).eval()
        model.attach(some_policy(recorded(model, inputs()), "observed", 1))
        with model.engine(slots=24, batch=8) as engine:
            same(joined(list(engine.map(inputs(100).split(1)))), model(inputs(100)))

    def test_under_autocast(self) -> None:
        model, x = served(), inputs(64)
        with torch.autocast("cpu", torch.bfloat16):
            expected = model(x)
            with model.engine() as engine:
                found = engine.submit(x).result(60)
        assert found.logits.dtype == expected.logits.dtype == torch.bfloat16
        np.testing.assert_array_equal(found.last_node.numpy(), expected.last_node.numpy())
        message = r"^engine: expected autocast as it was where the engine was made$"
        with (
            model.engine() as engine,
            torch.autocast("cpu", torch.bfloat16),
            pytest.raises(RuntimeError, match=message),
        ):
            engine.submit(x)

    def test_under_autocast_are_of_the_weights_that_there_are(self, gated: tuple[EarlyExit, list[Gate]]) -> None:
        """Not of those that were cast before, when no call of the test's own ended and emptied PyTorch's cache."""
        model, gates = gated
        x = inputs(64)
        with torch.autocast("cpu", torch.bfloat16):
            engine = model.engine()
            before = engine.submit(x)
        opened(gates)
        with engine:
            before.result(60)
            model.load_state_dict({name: 0.3 * value for name, value in model.state_dict().items()})
            with torch.autocast("cpu", torch.bfloat16):
                found = engine.submit(x).result(60)
            with torch.autocast("cpu", torch.bfloat16):
                same(found, model(x))

    @pytest.mark.usefixtures("with_kernels")
    def test_decided_by_kernels(self, device: str) -> None:
        model, x = network().to(device), inputs(60).to(device)
        model.attach(some_policy(recorded(model, x), "observed", 2))
        with model.engine(slots=32, batch=8) as engine:
            found = joined(list(engine.map(x.split(1))))
            for name in ("answer_node", "last_node", "cost"):
                assert torch.equal(getattr(found, name), getattr(model(x), name))
            with pytest.raises(ValueError, match=r"^exit 0: .* in rows 2 of the request;"):
                engine.submit(torch.cat([x[:2], torch.full_like(x[:1], torch.nan)])).result(60)

    def test_on_another_device_logits_come_to_the_host(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The way of an accelerator, on the CPU."""
        model, x = served("observed"), inputs(60)
        start = Decider.start

        def elsewhere(self: Decider, capacity: int, nan: str) -> Any:
            flight = start(self, capacity, nan)
            flight._is_here = False
            return flight

        monkeypatch.setattr(Decider, "start", elsewhere)
        with model.engine(slots=32, batch=8) as engine:
            same(joined(list(engine.map(x.split(1)))), model(x))

    def test_stages_that_are_padded_to_sizes(self) -> None:
        model, x = served(bucket=[4, 8]), inputs(103)
        sizes: list[int] = []
        model.stages[0].register_forward_pre_hook(lambda stage, args: sizes.append(len(args[0])))
        with model.engine(slots=32, batch=8) as engine:
            found = joined(list(engine.map(x.split(1))))
        assert set(sizes) <= {4, 8}
        same(found, joined([model(part) for part in x.split(8)]))

    def test_stages_that_give_the_same_memory_again(self) -> None:
        """As captured ones do, for each number of rows."""

        class Captured(nn.Module):
            def __init__(self, stage: nn.Module) -> None:
                super().__init__()
                self.stage, self.memory = stage, torch.zeros(8, WIDTH)

            def forward(self, x: Tensor) -> Tensor:
                return self.memory.copy_(self.stage(x))

        model, x = served(bucket=[8]), inputs(200)
        expected = joined([model(part) for part in x.split(8)])
        model.stages = nn.ModuleList(Captured(stage) for stage in model.stages)
        with model.eval().engine(slots=64, batch=8) as engine:
            same(joined(list(engine.map(x.split(1)))), expected)

    def test_batches_are_full_where_requests_wait(self, gated: tuple[EarlyExit, list[Gate]]) -> None:
        model, gates = gated
        x = inputs(64)
        with model.engine(slots=64, batch=16) as engine:
            first = engine.submit(x[:1])
            assert gates[0].entered.wait(60)
            futures = [engine.submit(row) for row in x[1:].split(1)]
            opened(gates)
            found = joined([future.result(60) for future in (first, *futures)])
        assert gates[0].rows == [1, 16, 16, 16, 15]
        assert max(rows for gate in gates for rows in gate.rows) == 16
        for gate in gates:
            gate.rows.clear()
        same(found, model(x))

    def test_tensors_that_are_not_alike_are_run_apart(self) -> None:
        """Of other lengths, with masks, beside values that belong to no row."""

        class Mean(nn.Module):
            def forward(self, x: dict[str, Any], mask: Tensor | None = None) -> dict[str, Any]:
                values = x["values"] if mask is None else x["values"] * mask[..., None]
                return {**x, "values": values + values.mean(dim=1, keepdim=True)}

        class Exit(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.linear = nn.Linear(WIDTH, 4)

            def forward(self, x: dict[str, Any]) -> Tensor:
                logits: Tensor = self.linear(x["values"].mean(dim=1)) * x["scale"]
                return logits

        torch.manual_seed(0)
        model = EarlyExit([Mean() for _ in range(5)], [Exit() for _ in range(5)]).eval()
        lengths = [2, 3, 5]
        batches = [{"values": torch.randn(40, length, WIDTH), "scale": 3.0} for length in lengths]
        masks = [(torch.rand(40, length) > 0.3).float() for length in lengths]
        model.attach(some_policy(recorded(model, batches[2], mask=masks[2]), "none", 1))
        rows = [({"values": b["values"][k : k + 1], "scale": 3.0}, m[k : k + 1]) for k in range(40) for b, m in
                zip(batches, masks, strict=True)]  # fmt: skip
        with model.engine(slots=64, batch=16) as engine:
            found = list(engine.map([x for x, _ in rows], [{"mask": mask} for _, mask in rows]))
        for k, (batch, mask) in enumerate(zip(batches, masks, strict=True)):
            same(joined(found[k::3]), model(batch, mask=mask))


class TestLeaving:
    def test_who_is_late_gets_the_best_answer_so_far(self, gated: tuple[EarlyExit, list[Gate]]) -> None:
        model, gates = gated
        x = inputs(200)
        opened(gates)
        deep = x[model(x).last_node >= 2][:4]
        gates[1].open.clear()
        with model.engine() as engine:
            late, patient = engine.submit(deep, deadline=0.0), engine.submit(deep)
            assert gates[1].entered.wait(60)
            opened(gates)
            found = late.result(60)
            same(patient.result(60), model(deep))
        assert found.last_node.tolist() == found.answer_node.tolist() == [0] * 4
        torch.testing.assert_close(found.logits, model.all_logits(deep)[0])

    def test_who_is_cancelled_is_not_run_any_more(self, gated: tuple[EarlyExit, list[Gate]]) -> None:
        model, gates = gated
        x = inputs(8)
        with model.engine(slots=8, batch=4) as engine:
            running = engine.submit(x[:2])
            assert gates[0].entered.wait(60)
            waiting = engine.submit(x[2:6])
            assert waiting.cancel()
            assert running.cancel()
            opened(gates)
            same(engine.submit(x).result(60), model(x))  # all slots are free again
            assert engine.submit(x[:1]).result(60).logits.shape == (1, 4)
        assert gates[0].rows[:2] == [2, 4]
        with pytest.raises(CancelledError):
            running.result()

    def test_whoever_waits_for_several_is_told_of_those_cancelled(self, gated: tuple[EarlyExit, list[Gate]]) -> None:
        model, gates = gated
        with model.engine(batch=2) as engine:
            futures = [engine.submit(row) for row in inputs(6).split(1)]
            assert gates[0].entered.wait(60)
            futures[3].cancel()
            opened(gates)
            assert not wait(futures, 60).not_done

    def test_rows_without_an_answer_get_one_however_late(self, gated: tuple[EarlyExit, list[Gate]]) -> None:
        """A request is late when some of its rows have an answer and the others have not begun."""
        model, gates = gated
        opened(gates)
        x = inputs(200)
        deep = x[model(x).last_node >= 2][:4]
        gates[0].open.clear()
        with model.engine(batch=2, slots=4) as engine:
            found = engine.submit(deep, deadline=0.0)
            opened(gates)
            assert found.result(60).last_node.tolist() == [0] * 4
            same(engine.submit(deep).result(60), model(deep))

    def test_a_deadline_far_away_changes_nothing(self) -> None:
        model, x = served(), inputs(40)
        with model.engine() as engine:
            same(engine.submit(x, deadline=np.float16(60.0)).result(60), model(x))
            engine.submit(x[:1]).result(60)
            gc.collect()
            assert [request() for _, _, request in engine._deadlines] == [None]  # and keeps nothing

    def test_answers_keep_nobody_elses(self) -> None:
        model, x = served(), inputs(40)
        with model.engine() as engine:
            for output in engine.map(x.split(1)):
                assert all(field.untyped_storage().nbytes() == field.nbytes for field in output)

    def test_a_cancelled_task_leaves_its_place(self, gated: tuple[EarlyExit, list[Gate]]) -> None:
        """In the queue for slots, and in a slot."""
        model, gates = gated
        x = inputs(3)

        async def serve(engine: Engine) -> ExitOutput:
            tasks = [asyncio.ensure_future(engine(row)) for row in x.split(1)]
            while not gates[0].entered.is_set():
                await asyncio.sleep(0.001)
            for task in tasks[:2]:
                task.cancel()
            opened(gates)
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(each) for each in results[:2]] == [asyncio.CancelledError] * 2
            assert isinstance(results[2], ExitOutput)
            return results[2]

        with model.engine(slots=1) as engine:
            same(asyncio.run(serve(engine)), model(x[2:]))


class TestFailures:
    def test_of_a_stage_are_those_of_its_requests(self) -> None:
        model, x = served(), inputs(64)
        faults = [True]

        def fail(stage: nn.Module, arguments: Any) -> None:
            if faults.pop() if faults else False:
                raise OSError("out of memory")

        model.stages[1].register_forward_pre_hook(fail)
        with model.engine(slots=64, batch=64) as engine:
            futures = [engine.submit(row) for row in x.split(1)]
            errors = [future.exception(60) for future in futures]
            assert {str(error) for error in errors if error is not None} == {"out of memory"}
            same(engine.submit(x).result(60), model(x))

    def test_that_asyncio_cannot_raise_are_wrapped(self) -> None:
        model = served()

        def fail(stage: nn.Module, arguments: Any) -> None:
            raise StopIteration("empty")

        model.stages[0].register_forward_pre_hook(fail)

        async def serve(engine: Engine) -> None:
            with pytest.raises(RuntimeError, match=r"^StopIteration: empty$"):
                await asyncio.wait_for(engine(inputs(1)), 60)

        with model.engine() as engine:
            asyncio.run(serve(engine))

    def test_of_a_signal_of_ones_own_name_the_row_of_the_request(self) -> None:
        parts, x = network(), inputs(6)
        model = EarlyExit(list(parts.stages), list(parts.exits), certainty).eval()
        model.attach(some_policy(recorded(model, inputs()), "observed", 1))
        x[4] = torch.nan
        with model.engine() as engine, pytest.raises(ValueError, match=r"^exit 0: .* in rows 4 of the request"):
            engine.submit(x).result(60)

    def test_logits_without_a_softmax_are_those_of_one_request(self) -> None:
        model, x = served(), inputs(40)
        x[7] = torch.nan
        with model.engine(batch=40) as engine:
            futures = [engine.submit(row) for row in x.split(1)]
            message = r'^exit 0: logits: NaN, \+inf or only -inf in rows 0 of the request; attach .* with nan="worst"$'
            with pytest.raises(ValueError, match=message):
                futures.pop(7).result(60)
            with pytest.raises(ValueError, match=r"^exit 0: .* in rows 1, 3 of the request;"):
                engine.submit(x[[8, 7, 9, 7]]).result(60)
            good = torch.cat([x[:7], x[8:]])
            same(joined([future.result(60) for future in futures]), model(good))
        model = served(nan="worst")
        with model.engine() as engine:
            same(joined(list(engine.map(x.split(1)))), model(x))

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_of_the_thread_leave_nobody_waiting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with served().engine(slots=2) as engine:

            def fail() -> None:
                raise MemoryError("no memory")

            monkeypatch.setattr(engine, "_next", fail)
            with pytest.raises(MemoryError, match=r"^no memory$"):
                engine.submit(inputs(2)).result(60)
            engine._thread.join(60)
            with pytest.raises(RuntimeError, match=r"^engine: it is closed$"):
                engine.submit(inputs(1))

    def test_of_what_comes_after_a_step_are_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model, x = served(), inputs(40)
        with model.engine(slots=40, batch=40) as engine:
            reset, faults = engine._flight.reset, [MemoryError("no memory")]

            def fail_once(rows: Tensor) -> None:
                if faults:
                    raise faults.pop()
                reset(rows)

            monkeypatch.setattr(engine._flight, "reset", fail_once)
            futures = [engine.submit(row) for row in x.split(1)]
            assert not wait(futures, 60).not_done
            same(engine.submit(x).result(60), model(x))  # and all slots are free

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_of_callbacks_that_end_the_thread_leave_nobody_waiting(self, gated: tuple[EarlyExit, list[Gate]]) -> None:
        model, gates = gated
        with model.engine(slots=40, batch=40) as engine:
            futures = [engine.submit(row) for row in inputs(40).split(1)]
            for future in futures:
                future.add_done_callback(lambda _: sys.exit(3))
            opened(gates)
            assert not wait(futures, 60).not_done

    def test_a_model_that_trains_or_has_moved(
        self, gated: tuple[EarlyExit, list[Gate]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model, gates = gated
        with model.engine() as engine:
            future = engine.submit(inputs(200))
            assert gates[0].entered.wait(60)
            model.train()
            opened(gates)
            for run in (lambda: future.result(60), lambda: engine.submit(inputs(1))):
                with pytest.raises(RuntimeError, match=r"^engine: expected a model in evaluation mode; call eval\(\)"):
                    run()
            model.eval()
            monkeypatch.setattr(model, "_check", lambda x, keywords: (len(x), torch.device("meta")))
            with pytest.raises(RuntimeError, match=r"^engine: the model was on cpu when it was made, and is on meta"):
                engine.submit(inputs(1))

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda x: x[:-1], r"^stage 1: expected 2 rows, one a request, as the first dimension of what it gives"),
            (lambda x: 3, r"^stage 1: expected it to give tensors with rows, got int$"),
            (lambda x: (x, object()), r"^stage 1: expected tensors with rows, plain values, or tuples, lists and mapp"),
        ],
    )
    def test_stages_that_give_something_else(self, make: Any, message: str) -> None:
        model = served()

        class Odd(nn.Module):
            def forward(self, x: Tensor) -> Any:
                return make(x)

        class First(nn.Module):
            """The exit, of the first of several tensors."""

            def __init__(self, leave: nn.Module) -> None:
                super().__init__()
                self.leave = leave

            def forward(self, x: Any) -> Any:
                return self.leave(x[0] if isinstance(x, tuple) else x)

        model.stages[1], model.exits[1] = Odd(), First(model.exits[1])
        x = inputs(200)
        x = x[network().attach(model.policy)(x).last_node > 1][:2]
        with model.eval().engine() as engine, pytest.raises((TypeError, ValueError), match=message):
            engine.submit(x).result(60)

    def test_of_some_rows_of_a_request_are_those_of_all(self, gated: tuple[EarlyExit, list[Gate]]) -> None:
        """Its other rows take no further part, wherever they are, and their slots are free again."""
        model, gates = gated
        opened(gates)
        x = inputs(200)
        last = model(x).last_node
        x = torch.cat([x[last == 0][:2], x[last > 1][:2], torch.full((1, WIDTH), torch.nan)])
        with model.engine(slots=5, batch=2) as engine:
            with pytest.raises(ValueError, match=r"^exit 0: "):
                engine.submit(x).result(60)
            same(engine.submit(x[:4]).result(60), model(x[:4]))
            same(engine.submit(x[[0, 1, 2, 3, 0]]).result(60), model(x[[0, 1, 2, 3, 0]]))


class TestLimits:
    def test_slots_are_free_again_whatever_happens(self) -> None:
        """Requests of any size that are answered, cancelled, late, or fail, at the same time."""
        model, x = served("observed"), inputs(400)
        faulty = x.clone()
        faulty[::3] = torch.nan
        rng = np.random.default_rng(0)
        expected = model(x)
        with model.engine(slots=20, batch=7, max_wait=0.001) as engine:
            futures: list[tuple[int, Future[ExitOutput]]] = []
            at = 0
            for _ in range(300):
                rows = int(rng.integers(1, 12))
                at = (at + rows) % 380
                kind = rng.integers(4)
                source = faulty if kind == 1 else x
                deadline = float(rng.choice([0.0, 1e-3, 1e-2])) if kind == 2 else None
                future = engine.submit(source[at : at + rows], deadline=deadline)
                if kind == 3:
                    time.sleep(float(rng.choice([0.0, 1e-3])))
                    future.cancel()
                futures.append((at if kind == 0 else -1, future))
            assert not wait([future for _, future in futures], 60).not_done
            for at, future in futures:
                if at >= 0:
                    found = future.result()
                    same(found, ExitOutput(*(field[at : at + len(found.cost)] for field in expected)))
        assert sorted(engine._free) == list(range(20))
        assert engine._under_way == 0
        assert engine._requests == [None] * 20

    def test_callbacks_may_submit(self) -> None:
        """From the thread that would make room: it does not wait for itself."""
        model, x = served(), inputs(3)
        later: list[Future[ExitOutput]] = []
        done = threading.Event()
        with model.engine(slots=1) as engine:

            def again(_: Future[ExitOutput]) -> None:
                later.extend(engine.submit(row) for row in x[1:].split(1))
                done.set()

            engine.submit(x[:1]).add_done_callback(again)
            assert done.wait(60)
            same(joined([future.result(60) for future in later]), model(x[1:]))

    @pytest.mark.parametrize(("max_wait", "order"), [(60.0, [0, 0, 1, 1]), (0.0, [0, 1, 0, 1])])
    def test_who_waited_too_long_goes_first(self, max_wait: float, order: list[int]) -> None:
        """Full batches first, of which the last; else who waits the longest."""
        model, x = served(), inputs(200)
        deep = x[model(x).last_node >= 1]
        nodes: list[int] = []
        first = threading.Event()

        def note(node: int) -> Any:
            def hook(stage: nn.Module, arguments: Any) -> None:
                nodes.append(node)
                assert first.wait(60)

            return hook

        for node in range(2):
            model.stages[node].register_forward_pre_hook(note(node))
        with model.engine(batch=4, max_wait=max_wait) as engine:
            futures = [engine.submit(deep[:3])]
            while not nodes:
                time.sleep(0.001)
            futures.append(engine.submit(deep[3:7]))  # a full batch, while three wait before stage 1
            first.set()
            for future in futures:
                future.result(60)
        assert [node for node in nodes if node < 2][:4] == order

    def test_who_finds_no_slot_waits(self, gated: tuple[EarlyExit, list[Gate]]) -> None:
        model, gates = gated
        x = inputs(6)
        with model.engine(slots=3) as engine, ThreadPoolExecutor(2) as threads:
            first = engine.submit(x[:2])
            assert gates[0].entered.wait(60)
            large = threads.submit(engine.submit, x[2:5])
            while engine._under_way < 5:
                time.sleep(0.001)
            small = threads.submit(engine.submit, x[5:])
            while engine._under_way < 6:
                time.sleep(0.001)
            assert not large.done()
            assert not small.done()  # there is a slot for it, but others came before
            opened(gates)
            same(joined([first.result(60), large.result(60).result(60), small.result(60).result(60)]), model(x))

    def test_event_loops_and_threads_wait_in_one_line(self, gated: tuple[EarlyExit, list[Gate]]) -> None:
        """A thread gets its slot before the tasks that came after it."""
        model, gates = gated
        x = inputs(30)
        with model.engine(slots=1) as engine, ThreadPoolExecutor(1) as threads:

            async def flood() -> int:
                tasks = [asyncio.ensure_future(engine(x[:1]))]
                await asyncio.sleep(0)
                thread = threads.submit(engine.submit, x[1:2])
                while engine._under_way < 2:
                    await asyncio.sleep(0.001)
                tasks += [asyncio.ensure_future(engine(row)) for row in x[2:].split(1)]
                await asyncio.sleep(0)
                opened(gates)
                await asyncio.gather(*tasks[:2])
                answered = thread.result(60).done()
                await asyncio.gather(*tasks)
                return answered

            assert asyncio.run(flood())

    def test_closing(self, gated: tuple[EarlyExit, list[Gate]]) -> None:
        """Whoever came before is answered, who waits for a slot too."""
        model, gates = gated
        x = inputs(2)
        engine = model.engine(slots=1)
        first = engine.submit(x[:1])
        with ThreadPoolExecutor(2) as threads:
            second = threads.submit(engine.submit, x[1:])
            while engine._under_way < 2:
                time.sleep(0.001)
            closing = threads.submit(engine.close)
            opened(gates)
            closing.result(60)
            same(joined([first.result(0), second.result(60).result(0)]), model(x))
        engine.close()
        with pytest.raises(RuntimeError, match=r"^engine: it is closed$"):
            engine.submit(inputs(1))
        with pytest.raises(RuntimeError, match=r"^engine: it is closed$"):
            asyncio.run(engine(inputs(1)))

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on Windows")
    def test_a_process_may_end_without_closing(self) -> None:
        """And a fork says that it has no engine."""
        program = """
import os
from torch_models import inputs, network, recorded, some_policy
model = network()
model.attach(some_policy(recorded(model, inputs(seed=1)), "none", 1))
engine = model.engine(batch=4)
engine.submit(inputs(1)).result(60)
child = os.fork()
if child == 0:
    try:
        engine.submit(inputs(1))
    except RuntimeError as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
futures = [engine.submit(row) for row in inputs(200).split(1)]
"""
        folders = [str(REPOSITORY / "tests/support"), os.environ.get("PYTHONPATH", "")]
        ended = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout == "engine: expected the process that made it; a fork has no thread of it\n"

    def test_who_stops_reading_leaves_nothing_behind(self) -> None:
        model, x = served(), inputs(50)
        with model.engine(slots=8, batch=4) as engine:
            for _ in engine.map(x.split(1)):
                break
            same(engine.submit(x[:8]).result(60), model(x[:8]))

    @pytest.mark.parametrize(
        ("arguments", "keywords", "error", "message"),
        [
            ((inputs(5),), {}, ValueError, "x: expected 1 to 4 rows, as many as there are slots, got 5"),
            ((inputs(0),), {}, ValueError, "x: expected 1 to 4 rows, as many as there are slots, got 0"),
            ((3,), {}, TypeError, "x: expected a tensor with rows, or a tuple, list or mapping of such, got int"),
            ((inputs(1),), {"mask": inputs(1)}, TypeError, "mask: no stage and no exit takes a keyword of this name"),
            ((inputs(1),), {"deadline": -1}, ValueError, "deadline: expected seconds >= 0, got -1"),
            ((inputs(1),), {"deadline": "soon"}, TypeError, "deadline: expected a number, got str"),
            (((inputs(1), object()),), {}, TypeError, "x: expected tensors with rows, plain values, or tuples, lists"),
        ],
    )
    def test_refusals(self, arguments: Any, keywords: Any, error: type[Exception], message: str) -> None:
        with served().engine(slots=4) as engine:
            with pytest.raises(error, match=f"^{message}"):
                engine.submit(*arguments, **keywords)
            with pytest.raises(error, match=f"^{message}"):
                asyncio.run(engine(*arguments, **keywords))

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"slots": 0}, ValueError, "slots: expected at least 1, got 0"),
            ({"batch": 2.5}, TypeError, "batch: expected an int, got float"),
            ({"max_wait": -1.0}, ValueError, "max_wait: expected seconds >= 0, got -1.0"),
            ({"max_wait": "long"}, TypeError, "max_wait: expected a number, got str"),
            ({"batch": 9}, ValueError, "batch: expected at most 8, the largest bucket, got 9"),
        ],
    )
    def test_engines_that_there_are_not(self, options: Any, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=f"^{message}"):
            served(bucket=[8]).engine(**{"batch": 8, **options})

    def test_policies_with_jumps(self) -> None:
        with pytest.raises(ValueError, match=r"^engine: expected a policy over a line, got Topology.skip\(5\)$"):
            served(shape="skip").engine()

    def test_a_model_without_a_policy_or_in_training(self) -> None:
        with pytest.raises(RuntimeError, match=r"^engine: expected a policy; attach one first$"):
            network().engine()
        with pytest.raises(RuntimeError, match=r"^engine: expected a model in evaluation mode; call eval\(\) first$"):
            served().train().engine()
