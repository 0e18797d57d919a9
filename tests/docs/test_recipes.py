"""The programs of docs/recipes.md, run in small stand-ins for the servers that they are for."""

from __future__ import annotations

import asyncio
import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from paths import REPOSITORY

import ttamer
from ttamer import Policy, Traces
from ttamer.serve import Log

PAGE = (REPOSITORY / "docs/recipes.md").read_text(encoding="utf-8")


def program(section: str, **modules: Any) -> dict[str, Any]:
    """What the first indented program of a section defines, where these modules are what is imported."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found = re.search(r"(?:^(?:    (?:import|from) .*)\n)(?:    .*\n|\n)*", text, flags=re.MULTILINE)
    assert found is not None
    space: dict[str, Any] = {"__name__": "recipe"}
    with pytest.MonkeyPatch.context() as patch:
        for name, content in modules.items():
            module = ModuleType(name)
            module.__dict__.update(vars(content))
            patch.setitem(sys.modules, name, module)
        exec(compile(textwrap.dedent(found.group()), section, "exec"), space)
    return space


@pytest.fixture
def traces() -> Traces:
    rng = np.random.default_rng(0)
    sure = rng.random((1200, 2)).astype(np.float32)
    wrong = (rng.random((1200, 2)) > sure ** [1.0, 0.2]).astype(np.float32)
    return Traces(sure, wrong, [0.1, 1.0], unit="ct", nodes=["small", "large"])


@pytest.fixture
def policy(traces: Traces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Policy:
    monkeypatch.chdir(tmp_path)
    made = ttamer.solve(ttamer.fit(traces[:800]), 0.8)
    (tmp_path / "1").mkdir()
    for folder in (tmp_path, tmp_path / "1"):
        made.save(folder / "policy.safetensors")
    return made


class Tensor:
    def __init__(self, name: str, values: Any) -> None:
        self.name = name
        self.values = np.array(values)

    def as_numpy(self) -> Any:
        return self.values


def triton(traces: Traces, broken: set[str]) -> SimpleNamespace:
    """Models that know what was recorded of the row that they are asked about, as `triton_python_backend_utils`."""

    class InferenceRequest:
        def __init__(self, **arguments: Any) -> None:
            self.arguments = arguments

        async def async_exec(self) -> Any:
            await asyncio.sleep(0)
            name = self.arguments["model_name"]
            assert self.arguments["requested_output_names"] == ["ANSWER", "SIGNAL"]
            if name in broken:
                return SimpleNamespace(has_error=lambda: True, error=lambda: SimpleNamespace(message=lambda: "broken"))
            (tensor,) = self.arguments["inputs"]
            node = (traces.nodes or ()).index(name)
            rows = tensor.as_numpy()
            outputs = {
                "ANSWER": Tensor("ANSWER", np.full_like(rows, node)),
                "SIGNAL": Tensor("SIGNAL", traces.signals[rows, node]),
            }
            return SimpleNamespace(has_error=lambda: False, outputs=outputs)

    return SimpleNamespace(
        InferenceRequest=InferenceRequest,
        InferenceResponse=lambda output_tensors, error=None: (output_tensors, error),
        PreferredMemory=lambda kind, device: (kind, device),
        TRITONSERVER_MEMORY_CPU=0,
        TritonError=str,
        get_input_tensor_by_name=lambda request, name: request[name],
        get_output_tensor_by_name=lambda response, name: response.outputs[name],
    )


def test_triton_answers_as_the_policy(traces: Traces, policy: Policy, tmp_path: Path) -> None:
    broken: set[str] = set()
    model = program("Triton", triton_python_backend_utils=triton(traces, broken))["TritonPythonModel"]()
    model.initialize({"model_repository": str(tmp_path), "model_version": "1"})
    rows = np.arange(800, 1200)
    requests = [{"INPUT": Tensor("INPUT", [[row]])} for row in rows]
    responses = asyncio.run(model.execute(requests))
    answers = [tensors[0].as_numpy().item() for tensors, _ in responses]
    replay = policy.replay(traces[800:])
    assert len(set(answers)) == 2
    np.testing.assert_array_equal(answers, replay.answer_node)

    broken.add("small")  # the cascade goes on without it
    ((tensors, error),) = asyncio.run(model.execute(requests[:1]))
    assert (tensors[0].as_numpy().item(), error) == (1, None)
    broken.add("large")
    ((tensors, error),) = asyncio.run(model.execute(requests[:1]))
    assert tensors == []
    assert error == "no node answered: small: RuntimeError: broken; large: RuntimeError: broken"

    broken.clear()  # two rows in a request are refused by each node
    ((tensors, error),) = asyncio.run(model.execute([{"INPUT": Tensor("INPUT", [[1], [2]])}]))
    assert tensors == []
    assert "only convert an array of size 1" in error


def test_kserve_answers_as_the_policy(traces: Traces, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    class AsyncClient:
        def __init__(self, timeout: float) -> None:
            pass

        async def post(self, url: str, json: dict[str, Any]) -> Any:
            name = re.fullmatch(r"http://(\w+)-predictor\.default\.svc\.cluster\.local/v1/models/\1:predict", url)
            assert name is not None
            node = (traces.nodes or ()).index(name[1])
            (row,) = json["instances"]
            reply = {"predictions": [{"answer": node, "signal": float(traces.signals[row, node])}]}
            return SimpleNamespace(raise_for_status=lambda: None, json=lambda: reply)

    class Model:
        def __init__(self, name: str) -> None:
            self.name = name

    space = program("KServe", kserve=SimpleNamespace(Model=Model), httpx=SimpleNamespace(AsyncClient=AsyncClient))
    space["Log"] = lambda path: None
    model = space["Predictor"]("cascade", "policy.safetensors")
    assert model.ready
    reply = asyncio.run(model.predict({"instances": list(range(800, 1200))}))
    np.testing.assert_array_equal(reply["predictions"], policy.replay(traces[800:]).answer_node)


def test_bentoml_asks_both_services(policy: Policy) -> None:
    class depends:
        def __init__(self, service: Any) -> None:
            async def predict(text: str) -> Any:
                return service().predict(text)

            self.to_async = SimpleNamespace(predict=predict)

    stand_in = SimpleNamespace(depends=depends, api=lambda method: method, service=lambda **_: lambda made: made)
    space = program("BentoML", bentoml=stand_in)
    with Log("requests.jsonl") as log:
        space["Log"] = lambda path: log
        front = space["Front"]()
        replies = [asyncio.run(front.predict(text)) for text in ("what?", "a long and simple question")]
    assert [reply["answer"].partition(":")[0] for reply in replies] == ["large", "small"]
    assert replies[1]["cost"] == pytest.approx(0.1)
    assert {reply["reason"] for reply in replies} == {"policy"}
    assert len(Path("requests.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_whole_numbers_ask_on_only_a_millionth_too_much() -> None:
    """As the page has it: the servers send floor(1e6 * signal), the proxy asks on below the threshold rounded up."""
    rng = np.random.default_rng(0)
    threshold = float(np.float32(0.7134))
    end = int(np.ceil(threshold * 1e6))
    signals = threshold + rng.uniform(-5e-6, 5e-6, 20_000)
    asked = np.floor(1e6 * signals) < end
    assert asked[signals < threshold].all()
    assert not asked[signals >= threshold + 1e-6].any()
