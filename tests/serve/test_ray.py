"""The cascade on a Ray Serve of this machine: answers of a replay, policies exchanged under load, failures, metrics."""

from __future__ import annotations

import importlib
import inspect
import json
import pickle
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from paths import REPOSITORY
from ray_settings import LINE, ray_settings

import ttamer
from ttamer.serve import AllFailed, Dispatcher
from ttamer.serve.visits import NodeDown

ray: Any
serve: Any
app: Any
Recorded: Any

pytestmark = pytest.mark.slow
MODEL = ttamer.fit(LINE, 6)
FRONT = ttamer.Front([ttamer.FrontPoint(1.0, 0.1, ttamer.solve(MODEL, 0.9))], LINE.unit, MODEL)
POLICIES = {name: ttamer.solve(MODEL, tradeoff) for name, tradeoff in {"old": 0.9, "new": 0.999, "dear": 0.98}.items()}


@pytest.fixture(scope="module", autouse=True)
def _imports() -> None:
    """When the first of these tests runs: it takes seconds, which every process that lists tests would spend."""
    global ray, serve, app, Recorded
    ray = pytest.importorskip("ray", reason="needs the ray extra")
    serve = pytest.importorskip("ray.serve", reason="needs the ray extra")
    app = importlib.import_module("ttamer.serve.ray").app
    Recorded = importlib.import_module("ray_nodes").Recorded


def digest(policy: ttamer.Policy) -> str:
    return str(Dispatcher(policy).enter().record()["policy"])


def wait_for(what: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Until it is true; other processes write what is looked at."""
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)
    return value


class Cluster(NamedTuple):
    folder: Path
    """Of this test."""
    url: str
    logs: Path

    def deploy(self, **user_config: Any) -> None:
        """As ``serve deploy`` does: with the same application only the new ``user_config`` is applied, in place."""
        from ray.serve.context import _get_global_client
        from ray.serve.schema import ServeDeploySchema

        arguments = {"policy": str(self.folder / "old.st"), "folder": str(self.folder)}
        application = {
            "name": "cascade",
            "route_prefix": "/cascade",
            "import_path": "ray_nodes:build",
            "args": arguments,
        }
        changes = {"deployments": [{"name": "Cascade", "user_config": user_config}]} if user_config else {}
        config = ServeDeploySchema(applications=[{**application, **changes}])
        _get_global_client().deploy_apps(config, _blocking=True)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cascade")
    for name, policy in POLICIES.items():
        policy.save(folder / f"{name}.st")
    (folder / "bad.st").write_text("nonsense")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ray_settings() as temporary:
        settings = {"metrics_report_interval_ms": 500}
        ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, _system_config=settings)
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            logs = Path(temporary) / "ray" / "session_latest" / "logs"
            cluster = Cluster(folder, f"http://127.0.0.1:{port}/cascade", logs)
            cluster.deploy()
            yield cluster
        finally:
            ray.shutdown()  # and all of Serve with it, which would wait for its replicas one by one


@pytest.fixture(scope="module")
def handle(cluster: Cluster) -> Any:
    return serve.get_app_handle("cascade")


@pytest.fixture(scope="module")
def impatient(cluster: Cluster) -> Iterator[tuple[Any, Path]]:
    """An application of the same nodes that gives the middle one a second, and shadows all; and its log."""
    log = cluster.folder / "log.jsonl"
    nodes = {name: serve.get_deployment_handle(name, "cascade") for name in LINE.nodes or ()}
    application = app(
        nodes,
        POLICIES["old"],
        timeouts={"middle": 1.0},
        shadow=1.0,
        log=log,
        answers=True,
        options={"ray_actor_options": {"num_cpus": 0}},
    )
    yield serve.run(application, name="impatient", route_prefix="/impatient"), log
    serve.delete("impatient")


def test_answers_are_those_of_a_replay(cluster: Cluster, handle: Any) -> None:
    cluster.deploy(policy=str(cluster.folder / "old.st"))
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda row: handle.remote(row).result(timeout_s=120), range(len(LINE))))
    replay = POLICIES["old"].replay(LINE)
    assert [reply.answer for reply in replies] == [[node, row] for row, node in enumerate(replay.answer_node)]
    np.testing.assert_allclose([reply.record["cost"] for reply in replies], replay.cost)
    assert {reply.record["reason"] for reply in replies} == {"policy"}
    assert {reply.record["policy"] for reply in replies} == {digest(POLICIES["old"])}


def test_a_new_policy_under_load(cluster: Cluster, handle: Any) -> None:
    """No request is lost, and each is decided by one of the two policies, whole."""
    cluster.deploy(policy=str(cluster.folder / "old.st"))
    replies: list[tuple[int, Any]] = []
    done = threading.Event()

    def ask(row: int) -> None:
        while not done.is_set():
            replies.append((row, handle.remote(row).result(timeout_s=120)))
            row = (row + 7) % len(LINE)

    with ThreadPoolExecutor(8) as threads:
        asking = [threads.submit(ask, row) for row in range(8)]
        try:
            wait_for(lambda: len(replies) > 50)
            cluster.deploy(policy=str(cluster.folder / "new.st"))
            before = len(replies)
            wait_for(lambda: len(replies) > before + 50)
        finally:
            done.set()
        for each in asking:
            each.result()  # raises what was lost
    replays = {digest(POLICIES[name]): POLICIES[name].replay(LINE) for name in ("old", "new")}
    for row, reply in replies:
        replay = replays[reply.record["policy"]]
        assert reply.answer == [replay.answer_node[row], row]
        assert reply.record["cost"] == pytest.approx(replay.cost[row])
    assert replies[0][1].record["policy"] == digest(POLICIES["old"])
    assert replies[-1][1].record["policy"] == digest(POLICIES["new"])


def test_a_user_config_that_is_refused_changes_nothing(cluster: Cluster, handle: Any) -> None:
    cluster.deploy(policy=str(cluster.folder / "dear.st"))
    for config in ({"policy": str(cluster.folder / "bad.st")}, {"polcy": "x"}, {"tradeoff": 0.5}):
        cluster.deploy(**config)
        assert handle.remote(0).result().record["policy"] == digest(POLICIES["dear"])
    (log,) = (cluster.logs / "serve").glob("replica_cascade_Cascade_*.log")  # no replica was replaced
    text = wait_for(lambda: log.read_text() if log.read_text().count("user_config is refused") == 3 else "")
    assert "bad.st: not a readable safetensors file" in text
    assert "user_config: expected policy and tradeoff, got polcy" in text
    assert "tradeoff: expected None without a front" in text


def test_a_replica_is_told_directly(cluster: Cluster, handle: Any) -> None:
    handle.swap.remote({"policy": str(cluster.folder / "new.st")}).result()
    assert handle.remote(0).result().record["policy"] == digest(POLICIES["new"])
    with pytest.raises(ValueError, match="bad.st: not a readable safetensors file"):
        handle.swap.remote({"policy": str(cluster.folder / "bad.st")}).result()
    with pytest.raises(TypeError, match="user_config: expected a mapping, got str"):
        handle.swap.remote("new.st").result()
    assert handle.remote(0).result().record["policy"] == digest(POLICIES["new"])
    handle.swap.remote({}).result()  # what the application was made with
    assert handle.remote(0).result().record["policy"] == digest(POLICIES["old"])


def test_failures_and_timeouts(impatient: tuple[Any, Path]) -> None:
    handle, _ = impatient
    faults = {"small": "limited", "middle": "hang"}
    reply = handle.remote({"row": 1, **faults}).result()
    assert (reply.answer, reply.record["reason"]) == ([2, 1], "failure")
    first, second, third = reply.record["visits"]
    assert (first["error"], first["cost"]) == ("Limited: rate limit", 0.25)
    assert (second["error"], third.get("error")) == ("TimeoutError: no answer within 1 s", None)
    reply = handle.remote({"row": 2, "small": "odd", "middle": "unreadable"}).result()
    assert reply.answer == [2, 2]
    assert reply.record["visits"][0]["error"] == "TypeError: expected an Outcome, got str"
    assert "status 429" in reply.record["visits"][1]["error"]


def test_all_failed(impatient: tuple[Any, Path]) -> None:
    faults = dict.fromkeys(LINE.nodes or (), "limited")
    with pytest.raises(AllFailed, match="no node answered: small: Limited: rate limit; middle") as failure:
        impatient[0].remote({"row": 3, **faults}).result()
    assert {name: type(error).__name__ for name, error in failure.value.causes.items()} == dict.fromkeys(
        LINE.nodes or (), "Limited"
    )


def test_what_is_not_waited_for_is_cancelled(cluster: Cluster, handle: Any, impatient: tuple[Any, Path]) -> None:
    """By a timeout of the node, and by a caller who leaves: the request is recorded, the node is told."""
    impatient[0].remote({"row": 4, "middle": "hang", "small": "limited"}).result()
    wait_for((cluster.folder / "left-4").exists)
    response = impatient[0].remote({"row": 5, "small": "hang"}, request="gone")
    wait_for((cluster.folder / "began-5").exists)
    response.cancel()
    wait_for((cluster.folder / "left-5").exists)
    wait_for(lambda: '"gone"' in impatient[1].read_text())
    (line,) = [line for line in map(json.loads, impatient[1].read_text().splitlines()) if line["request"] == "gone"]
    assert (line["reason"], line["answer_node"]) == ("cancelled", None)


def test_the_log_reads_back_as_traces(impatient: tuple[Any, Path]) -> None:
    """With what shadows said, who are asked after the request was answered."""
    handle, log = impatient
    for row in range(20):
        handle.remote(row, request=f"log-{row}").result()

    def lines() -> list[Any]:
        return [json.loads(line) for line in log.read_text().splitlines()]

    wait_for(lambda: sum(line["request"].startswith("log-") for line in lines()) == 20)
    for line in lines():
        if line["request"].startswith("log-"):
            row = int(line["request"][4:])
            said = {visit["node"]: visit["said"] for visit in line["visits"]}
            assert said == {name: [node, row] for node, name in enumerate(LINE.nodes or ())}
    assert len(ttamer.Traces.from_log(log, like=LINE)) >= 20


def test_over_http(cluster: Cluster, handle: Any) -> None:
    def post(content: bytes) -> tuple[int, Any]:
        query = urllib.request.Request(cluster.url, content, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(query, timeout=60) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    status, content = post(json.dumps({"payload": 7, "deadline": 60.0, "request": "a7"}).encode())
    assert (status, content["answer"]) == (200, handle.remote(7).result().answer)
    assert content["record"]["request"] == "a7"
    status, content = post(json.dumps({"payload": 7, "tier": "paid"}).encode())
    assert (status, content) == (400, {"error": "tier: expected default, got 'paid'"})
    assert post(b"[1]")[0] == post(b"{")[0] == post(b'{"payload": 7, "speed": 3}')[0] == 400
    faults = dict.fromkeys(LINE.nodes or (), "limited")
    status, content = post(json.dumps({"payload": {"row": 7, **faults}}).encode())
    assert (status, content["error"][:40]) == (502, "no node answered: small: Limited: rate l")


def test_metrics_are_those_of_prometheus(impatient: tuple[Any, Path]) -> None:
    """The same names and labels, counted by the same lines; Ray and Ray Serve add where."""
    handle, log = impatient
    handle.remote(0).result()
    handle.remote({"row": 1, "small": "limited"}).result()
    url = f"http://127.0.0.1:{ray.nodes()[0]['MetricsExportPort']}/metrics"
    parser = pytest.importorskip("prometheus_client.parser", reason="needs the serve extra")

    def samples() -> dict[str, list[Any]]:
        with urllib.request.urlopen(url, timeout=30) as response:
            families = parser.text_string_to_metric_families(response.read().decode())
            found: dict[str, list[Any]] = {}
            for sample in (sample for family in families for sample in family.samples):
                if sample.labels.get("application") == "impatient" and sample.name.startswith("ray_ttamer"):
                    found.setdefault(sample.name, []).append(sample)
            return found

    def everything() -> dict[str, list[Any]] | None:
        found = samples()
        counted = sum(sample.value for sample in found.get("ray_ttamer_requests_total", []))
        return found if counted == len(log.read_text().splitlines()) else None

    found = wait_for(everything)
    labels = {
        "requests_total": {"tier", "reason"},
        "answers_total": {"tier", "node"},
        "consultations_total": {"node", "outcome"},
        "request_cost_total": {"tier"},
        "request_seconds_count": {"tier"},
        "consultation_seconds_count": {"node"},
    }
    for name, expected in labels.items():
        for sample in found[f"ray_ttamer_{name}"]:
            assert expected == sample.labels.keys() & {"tier", "reason", "node", "outcome", "test"}
    calls = found["ray_ttamer_consultations_total"]
    counted = {(each.labels["node"], each.labels["outcome"]): each.value for each in calls}
    visits = [visit for line in log.read_text().splitlines() for visit in json.loads(line)["visits"]]
    outcomes = ["shadow" if "shadow" in visit else "failure" if "error" in visit else "answer" for visit in visits]
    assert counted == Counter((visit["node"], outcome) for visit, outcome in zip(visits, outcomes, strict=True))


@pytest.mark.parametrize(
    ("page", "lines"),
    [
        ("docs/ray.md", r"large: .* policy\nsmall: .* policy\n"),
        ("docs/engine.md", r"\[[0-2](, [0-2]){19}\]\n"),
    ],
)
def test_the_program_of_the_page(
    page: str,
    lines: str,
    cluster: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On the cluster that is there, which it neither starts nor stops: that takes a quarter of a minute."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    (program,) = (block for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) if "import ray" in block)
    if "import torch" in program:
        pytest.importorskip("torch", reason="the block needs torch")
    asked = inspect.signature(ray.init)
    monkeypatch.setattr(ray, "init", asked.bind)
    for module in (ray, serve):
        monkeypatch.setattr(module, "shutdown", lambda: None)
    monkeypatch.chdir(tmp_path)
    try:
        exec(compile(program, page, "exec"), {"__name__": "page"})
    finally:
        monkeypatch.undo()
        serve.delete("default")
    assert re.fullmatch(lines, capsys.readouterr().out)


class TestBeforeAnythingIsDeployed:
    def nodes(self, *names: str) -> dict[str, Any]:
        return {name: Recorded.bind(name, "") for name in names}

    @pytest.mark.parametrize(
        ("names", "options", "error", "message"),
        [
            (["small"], {}, ValueError, "nodes: expected a function for each node, got none for middle, large"),
            (
                [*(LINE.nodes or ()), "extra"],
                {},
                ValueError,
                "nodes: expected one of small, middle, large, got 'extra'",
            ),
            (LINE.nodes, {"timeouts": {"big": 1.0}}, ValueError, "timeouts: expected one of small, middle, large"),
            (
                LINE.nodes,
                {"seconds": {"small": -1.0}},
                ValueError,
                r"seconds\['small'\]: expected seconds >= 0, got -1",
            ),
            (LINE.nodes, {"shadow": 2.0}, ValueError, "shadow: expected a share from 0 to 1, got 2.0"),
            (LINE.nodes, {"log": 3}, TypeError, "log: expected a str or os.PathLike, got int"),
            (LINE.nodes, {"log": "x", "answers": 3}, TypeError, "answers: expected a bool, got int"),
            (LINE.nodes, {"tradeoff": 0.5}, ValueError, "tradeoff: expected None without a front"),
            (LINE.nodes, {"policy": FRONT}, ValueError, "tradeoff: expected that of a request of weight 1"),
            (LINE.nodes, {"policy": {"paid": 3}}, TypeError, r"policy\['paid'\]: expected a Policy, got int"),
        ],
    )
    def test_refusals(self, names: list[str], options: dict[str, Any], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=f"^{message}"):
            app(self.nodes(*names), **{"policy": POLICIES["old"], **options})

    def test_nodes_that_are_no_deployments(self) -> None:
        nodes = self.nodes(*(LINE.nodes or ()))
        with pytest.raises(
            TypeError, match=r"^nodes\['small'\]: expected a bound deployment or a handle, got Deployment: bind it$"
        ):
            app({**nodes, "small": Recorded}, POLICIES["old"])
        with pytest.raises(TypeError, match=r"^nodes\['large'\]: expected a bound deployment or a handle, got str$"):
            app({**nodes, "large": "large"}, POLICIES["old"])

    def test_files_of_policies_and_fronts(self, tmp_path: Path) -> None:
        nodes = self.nodes(*(LINE.nodes or ()))
        FRONT.save(tmp_path / "front.st")
        POLICIES["old"].save(tmp_path / "old.st")
        app(nodes, tmp_path / "front.st", tradeoff=0.9)
        app(nodes, {"free": tmp_path / "old.st", "paid": POLICIES["new"]})
        with pytest.raises(ValueError, match=r"front.st: expected a policy file, got a front file$"):
            app(nodes, tmp_path / "front.st")
        with pytest.raises(FileNotFoundError):
            app(nodes, tmp_path / "none.st")


def test_exceptions_cross_processes() -> None:
    error = pickle.loads(pickle.dumps(AllFailed({"small": TimeoutError("late"), "large": NodeDown("large is down")})))
    assert type(error) is AllFailed
    assert str(error) == "no node answered: small: TimeoutError: late; large: NodeDown: large is down"
    assert [type(cause) for cause in error.causes.values()] == [TimeoutError, NodeDown]


def test_ray_is_imported_by_its_own_module_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys, ttamer.serve; sys.exit('ray' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "ttamer.serve.ray")
    with pytest.raises(ImportError, match=r'^ttamer.serve.ray needs Ray Serve: pip install "ttamer\[ray\]"$'):
        importlib.import_module("ttamer.serve.ray")
