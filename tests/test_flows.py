"""The flows on a real Prefect server with a real worker, through the literal command."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pytest_httpserver import HTTPServer
from ruamel.yaml import YAML

from flows.parameters import BuildParameters, TrainParameters
from tests.command import ROOT, m3e
from tests.http_double import FileServer
from tests.hub_uploads import UploadDouble
from tests.publishing import TOKEN, tokens_below
from tests.small import corpus, write_manifests, write_rows
from tests.test_build import pairs

PREFECT = [str(Path(sys.executable).parent / "prefect")]


#: Runs flows one after the other, as the server's clients do; what they print goes to the log.
FLOWS = """
import importlib, json, os, sys
from flows import parameters
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for line in sys.stdin:
    flow, kind, told = json.loads(line)
    module, _, name = flow.partition(":")
    given = getattr(parameters, kind, None) or getattr(importlib.import_module(module), kind)
    state = getattr(importlib.import_module(module), name)(given(**told), return_state=True)
    print(json.dumps([state.name, state.message or ""]), file=answers, flush=True)
"""


@dataclass
class Stack:
    """A server, a worker and our deployments, in a home of their own; manifests in M3E_MANIFESTS."""

    base: Path
    env: dict[str, str]
    worker: subprocess.Popen[bytes]
    flows: subprocess.Popen[bytes]

    def prefect(self, *words: str, seconds: int = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PREFECT, *words], env=self.env, cwd=ROOT, text=True, capture_output=True, timeout=seconds, check=False
        )

    def command(self, deployment: str = "build-demo", **parameters: Any) -> subprocess.CompletedProcess[str]:
        """The literal command, watched to its end."""
        told = ["--param", f"parameters={json.dumps(parameters)}"]
        return self.prefect("deployment", "run", deployment, "--watch", "--watch-timeout", "200", *told)

    def run(self, deployment: str = "build-demo", **parameters: Any) -> tuple[str, str]:
        """Name and message of the state in which a run ends that is asked for as the command does, without its start."""
        known = self.get(f"/deployments/name/{deployment}/{deployment}")
        run = self.ask(f"/deployments/{known['id']}/create_flow_run", parameters={"parameters": parameters})
        end = time.monotonic() + 200
        while time.monotonic() < end:
            state = self.get(f"/flow_runs/{run['id']}")["state"]
            if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
                return state["name"], state["message"] or ""
            time.sleep(0.2)
        raise AssertionError(f"the run of {deployment} goes on and on")

    def here(self, flow: str, parameters: BaseModel) -> tuple[str, str]:
        """The same of a flow that runs in one process with others: to start one takes longer than a small build."""
        place, line = (
            self.flows.stdin,
            json.dumps([flow, type(parameters).__name__, parameters.model_dump(mode="json")]),
        )
        assert place is not None and self.flows.stdout is not None
        place.write(f"{line}\n".encode())
        place.flush()
        answer = self.flows.stdout.readline()
        assert answer, (self.base / "logs/flows").read_text()
        name, message = json.loads(answer)
        return name, message

    def ask(self, path: str, **body: Any) -> Any:
        return self._answer(path, json.dumps(body).encode())

    def get(self, path: str) -> Any:
        return self._answer(path, None)

    def _answer(self, path: str, body: bytes | None) -> Any:
        request = urllib.request.Request(self.env["PREFECT_API_URL"] + path, body, {"Content-Type": "application/json"})
        for wait_s in (1, 2, 4, 8, 0):
            try:
                with urllib.request.urlopen(request, timeout=30) as reply:
                    return json.load(reply)
            except urllib.error.HTTPError as error:
                # Its database is locked by somebody else's writing; Prefect's own clients ask again as well.
                if error.code != 503 or not wait_s:
                    raise
                time.sleep(wait_s)
        raise AssertionError("the last attempt answers or raises")

    def log_lines(self) -> list[str]:
        """What the latest flow run and its tasks logged."""
        (latest,) = self.ask("/flow_runs/filter", limit=1, sort="START_TIME_DESC")
        lines = self.ask("/logs/filter", logs={"flow_run_id": {"any_": [latest["id"]]}}, limit=200)
        return [line["message"] for line in lines]

    def task_states(self) -> dict[str, str]:
        """Name -> state of the task runs of the latest flow run, which has ended; the server learns of them in batches."""
        (latest,) = self.ask("/flow_runs/filter", limit=1, sort="START_TIME_DESC")
        end = time.monotonic() + 30
        while True:
            runs = self.ask("/task_runs/filter", flow_runs={"id": {"any_": [latest["id"]]}}, limit=200)
            states = {run["name"]: run["state_name"] for run in runs}
            if not {"Pending", "Running"} & set(states.values()) or time.monotonic() > end:
                return states
            time.sleep(0.3)


def recipe() -> dict[str, Any]:
    return {"name": "demo", "corpora": ["one", "two", "web"]}


@pytest.fixture(scope="module")
def hub() -> Iterator[UploadDouble]:
    with UploadDouble() as double:
        double.tokens[TOKEN] = "alice"
        yield double


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, hub: UploadDouble) -> Iterator[Stack]:
    base = tmp_path_factory.mktemp("stack")
    # These override the shipped recipe `demo`, so that a run takes no longer than it must.
    http = HTTPServer("127.0.0.1", threaded=True)
    http.start()
    server = FileServer(http)
    web = corpus("web", source={"kind": "http", "base": server.base})
    manifests = write_manifests(base / "manifests", [corpus("one"), corpus("two"), web], recipe())
    server.files["web.jsonl"] = write_rows(manifests, "web", pairs(5, 7)).read_bytes()
    write_rows(manifests, "one", pairs(0, 5))
    write_rows(manifests, "two", pairs(3, 8))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")} | {
        "PREFECT_HOME": str(base / "home"),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "DO_NOT_TRACK": "1",
        "NO_COLOR": "1",
        "COLUMNS": "220",
        "M3E_MANIFESTS": str(manifests),
        "HF_ENDPOINT": hub.endpoint,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(base / "hf"),
        "HF_HUB_DISABLE_XET": "1",
    }
    logs = base / "logs"
    logs.mkdir()

    def start(name: str, *words: str, **more: str) -> subprocess.Popen[bytes]:
        with (logs / name).open("wb") as log:
            return subprocess.Popen(
                [*PREFECT, *words],
                env=env | more,
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    # What watches schedules, pauses and events, and blocks: nothing here has any, and they take as much time as all runs.
    idle = "SCHEDULER LATE_RUNS PAUSE_EXPIRATIONS CANCELLATION_CLEANUP FOREMAN TRIGGERS EVENT_PERSISTER EVENT_LOGGER"
    off = {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in idle.split()}
    off["PREFECT_API_BLOCKS_REGISTER_ON_START"] = "false"
    started = [start("server", "server", "start", "--no-ui", **off)]
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(env["PREFECT_API_URL"] + "/health", timeout=2)
                break
            except OSError:
                assert started[0].poll() is None, (logs / "server").read_text()
                time.sleep(0.2)
        worker = start(
            "worker", "worker", "start", "--pool", "m3e-local", "--type", "process", PREFECT_PLUGINS_ENABLED="false"
        )
        started.append(worker)
        with (logs / "flows").open("wb") as log:
            flows = subprocess.Popen(
                [sys.executable, "-c", FLOWS],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=env,
                cwd=ROOT,
            )
        started.append(flows)
        made = Stack(base, env, worker, flows)
        for _ in range(600):  # the worker makes the pool, and deploy needs it
            if made.ask("/work_pools/filter"):
                break
            time.sleep(0.2)
        made.ask("/work_pools/", name="m3e-gpu", type="process")
        done = made.prefect("--no-prompt", "deploy", "--all")
        assert done.returncode == 0, done.stdout + done.stderr
        yield made
    finally:
        http.stop()
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            for pipe in filter(None, (process.stdin, process.stdout)):
                pipe.close()


def files(folder: Path) -> dict[str, str]:
    return {name: told["sha256"] for name, told in json.loads((folder / "build.json").read_bytes())["files"].items()}


@pytest.fixture(scope="module")
def plain(stack: Stack) -> dict[str, str]:
    """The files of the same recipe built by the command line alone, elsewhere."""
    done = m3e(
        "build",
        "demo",
        "--out",
        stack.base / "plain",
        "--store",
        stack.base / "plain-store",
        "--manifests",
        stack.base / "manifests",
    )
    assert done.returncode == 0, done.stderr
    return files(stack.base / "plain/demo")


def one_line_per_file(stack: Stack) -> bool:
    """The log of the latest run tells the one file that was loaded, once."""
    size = (stack.base / "manifests/files/web.jsonl").stat().st_size
    told = re.compile(rf"web: web\.jsonl, {size:,} bytes in \d+\.\d s")
    end = time.monotonic() + 20  # lines are sent in batches
    while not (found := [line for line in stack.log_lines() if told.fullmatch(line)]) and time.monotonic() < end:
        time.sleep(0.5)
    return len(found) == 1


def test_the_literal_command_builds_what_the_command_line_builds(stack: Stack, plain: dict[str, str]) -> None:
    told = {"out": str(stack.base / "p"), "store": str(stack.base / "store")}
    first = stack.command(**told)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Completed" in first.stdout
    assert files(stack.base / "p/demo") == plain
    assert one_line_per_file(stack)
    keys = {a["key"]: a["type"] for a in stack.ask("/artifacts/latest/filter", limit=50)}
    tables = {"demo-funnel": "table", "demo-licences": "table"}
    assert keys == tables | {"demo-gaps": "markdown", "demo-report": "markdown"}
    assert "Cached" not in stack.task_states().values()


def test_a_missing_corpus_completes_with_gaps_and_all_missing_fails(stack: Stack, plain: dict[str, str]) -> None:
    data = stack.base / "manifests" / "files"
    kept = (data / "two.jsonl").read_bytes()
    told = {"store": stack.base / "plain-store"}
    try:
        (data / "two.jsonl").unlink()
        asked = BuildParameters(out=stack.base / "gap", **told)
        assert stack.here("flows.build:build_demo", asked)[0] == "CompletedWithGaps"
        # What the command line has made is not made again; what looks at all corpora is.
        cached = {name for name, state in stack.task_states().items() if state == "Cached"}
        by_corpus = {f"{stage} {name}" for stage in ("convert", "quality", "decontaminate") for name in ("one", "web")}
        assert cached == by_corpus | {"protect all"}
        (gaps,) = [a for a in stack.ask("/artifacts/latest/filter", limit=50) if a["key"] == "demo-gaps"]
        assert "two.jsonl" in gaps["data"]
        only = BuildParameters(out=stack.base / "none", only=["two"], **told)
        assert stack.here("flows.build:build_demo", only)[0] == "Failed"
    finally:
        (data / "two.jsonl").write_bytes(kept)


def test_wrong_parameters_are_refused_before_a_run(stack: Stack) -> None:
    done = stack.command(sample=0)
    assert done.returncode == 1
    assert "Flow run finished" not in done.stdout


def test_killed_flow_process_then_re_run_is_cached_and_the_same(stack: Stack, plain: dict[str, str]) -> None:
    told = {"out": str(stack.base / "killed"), "store": str(stack.base / "killed-store")}
    first: list[str] = []
    watching = threading.Thread(target=lambda: first.extend(stack.run(**told)))
    watching.start()
    end = time.monotonic() + 120
    while not list((stack.base / "killed-store").glob("convert/*/entry.json")) and time.monotonic() < end:
        time.sleep(0.02)
    children = subprocess.run(
        ["pgrep", "-P", str(stack.worker.pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    assert children
    for child in children:
        os.kill(int(child), signal.SIGKILL)
    watching.join(200)
    assert first[0] == "Crashed"
    assert stack.run(**told)[0] == "Completed"
    assert "Cached" in stack.task_states().values()
    assert files(stack.base / "killed/demo") == plain


def test_runs_that_died_with_their_machine_become_crashed(stack: Stack) -> None:
    """One whose process is gone, one whose number another process has by now, one that is at work."""
    (flow,) = stack.ask("/flows/filter", flows={"name": {"any_": ["build-demo"]}})
    sleeping = [sys.executable, "-c", "import time; time.sleep(300)"]
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    runs, others = {}, []
    for name in ("gone", "taken", "at-work"):
        run = stack.ask("/flow_runs/", flow_id=flow["id"], name=name, state={"type": "RUNNING", "name": "Running"})
        task = {"flow_run_id": run["id"], "task_key": "t", "dynamic_key": "0", "name": f"t-{name}"}
        stack.ask("/task_runs/", **task, state={"type": "RUNNING", "name": "Running"})
        told = {"PREFECT__FLOW_RUN_ID": run["id"]} if name == "at-work" else {}
        others += [] if name == "gone" else [subprocess.Popen(sleeping, env=os.environ | told)]
        pid = gone.pid if name == "gone" else others[-1].pid
        asked = urllib.request.Request(
            f"{stack.env['PREFECT_API_URL']}/flow_runs/{run['id']}",
            json.dumps({"infrastructure_pid": str(pid)}).encode(),
            {"Content-Type": "application/json"},
            method="PATCH",
        )
        urllib.request.urlopen(asked, timeout=30).close()
        runs[name] = run["id"]

    def states(kind: str, **wanted: Any) -> dict[str, str]:
        return {run["name"]: run["state_type"] for run in stack.ask(f"/{kind}/filter", **wanted, limit=200)}

    try:
        api = stack.env["PREFECT_API_URL"]
        told = m3e("heal", "--api", api)
        assert "gone: it is not on this machine and never sent a heartbeat" in told.stdout, told.stdout + told.stderr
        assert "0 of 3 runs" in m3e("heal", "--api", api, "--dry-run").stdout
        done = m3e("heal", "--api", api, "--here")
        assert "2 of 3 runs under way became Crashed." in done.stdout, done.stdout + done.stderr
        wanted = {"flow_runs": {"id": {"any_": list(runs.values())}}}
        expected = {"gone": "CRASHED", "taken": "CRASHED", "at-work": "RUNNING"}
        assert states("flow_runs", **wanted) == expected
        assert states("task_runs", **wanted) == {f"t-{name}": state for name, state in expected.items()}
    finally:
        for other in others:
            other.kill()
            other.wait()
        stack.ask(f"/flow_runs/{runs['at-work']}/set_state", state={"type": "CANCELLED"}, force=True)


def test_dask_workers_give_the_same_bytes(stack: Stack, plain: dict[str, str]) -> None:
    pytest.importorskip("prefect_dask")
    told = BuildParameters(out=stack.base / "dask", store=stack.base / "dask-store", runner="dask", workers=2)
    done = stack.here("flows.build:build_demo", told)
    assert done[0] == "Completed", done
    assert files(stack.base / "dask/demo") == plain
    assert one_line_per_file(stack)  # the listener went to the workers with the context


def test_publish_is_a_dry_run_by_default_and_the_token_stays_out_of_everything(
    stack: Stack, plain: dict[str, str], hub: UploadDouble
) -> None:
    from flows.publish import PublishParameters

    told: dict[str, Any] = {
        "repo": "alice/flow",
        "build": str(stack.base / "plain/demo"),
        "store": str(stack.base / "store"),
    }
    asked = stack.here("flows.publish:publish", PublishParameters(**told))
    assert asked[0] == "DryRun", asked
    assert not hub.repositories and not [r for r in hub.requests if r.method not in ("GET", "HEAD")]
    done = stack.here("flows.publish:publish", PublishParameters(**told, dry_run=False, tag="v1"))
    assert done[0] == "Published", done
    pushed = hub.head("alice/flow").tree
    for name, sha256 in plain.items():
        # Every record of `web` is a copy of one of `two`: an empty file is not pushed.
        if name.startswith("data/"):
            assert (pushed[name].sha256 == sha256) if not name.startswith("data/web/") else name not in pushed
    hub.fault("/preupload/", "status", status=403, times=9)
    failed = stack.command("publish", **told | {"repo": "alice/other"}, dry_run=False)
    assert failed.returncode == 1 and "this token may not do that" in failed.stdout, failed.stdout
    assert len(hub.history("alice/flow")) == 2 and len(hub.history("alice/other")) == 1
    (rows,) = [a for a in stack.ask("/artifacts/latest/filter", limit=50) if a["key"] == "publish-operations"]
    assert "data/one" in str(rows["data"])
    assert any(TOKEN in request.headers.get("authorization", "") for request in hub.requests)
    assert TOKEN not in "".join([*asked, *done, failed.stdout, failed.stderr])
    assert tokens_below(stack.base) == []


def test_a_model_is_trained_by_the_flow_on_the_server(stack: Stack, plain: dict[str, str]) -> None:
    pytest.importorskip("accelerate", reason="the trainer needs it (extra: train)")
    from tests.tiny_model import letters, tiny_model

    model = tiny_model(stack.base / "tiny", [letters()], layers=1)
    # The pool of training has a worker on a GPU machine alone.
    told = TrainParameters(
        build=stack.base / "plain/demo", model=str(model), out=stack.base / "trained", steps=3, batch=2
    )
    done = stack.here("flows.train:train_m3e", told)
    assert done[0] == "Completed", done
    assert (stack.base / "trained/model.safetensors").is_file()
    assert [name.split("-")[0] for name in stack.task_states()] == ["train"]
    assert any("step 3 of 3: loss" in line for line in stack.log_lines())
    keys = {artifact["key"] for artifact in stack.ask("/artifacts/latest/filter", limit=50)}
    assert {"train-m3e-data", "train-m3e-licences"} <= keys


def test_the_alias_can_be_switched_off(stack: Stack) -> None:
    off = replace(stack, env=stack.env | {"PREFECT_PLUGINS_ENABLED": "0"})
    done = off.prefect("deployment", "run", "build-demo", "--param", "parameters={}")
    assert done.returncode == 1
    assert "build-demo" in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("prefect deployment run build-m3e-hq", "prefect deployment run build-m3e-hq/build-m3e-hq"),
        (
            "/x/bin/prefect deployment run --watch build-m3e-hq -p a=1",
            "/x/bin/prefect deployment run --watch build-m3e-hq/build-m3e-hq -p a=1",
        ),
        ("prefect deployment run build-m3e-hq/build-m3e-hq", "prefect deployment run build-m3e-hq/build-m3e-hq"),
        ("prefect deployment run someone-elses", "prefect deployment run someone-elses"),
        ("prefect deployment run --tag build-demo x/y", "prefect deployment run --tag build-demo x/y"),
        ("prefect flow-run ls", "prefect flow-run ls"),
        ("python build-m3e-hq", "python build-m3e-hq"),
    ],
)
def test_the_alias_writes_out_only_our_names(words: str, expected: str) -> None:
    from flows.alias import expand

    assert expand(words.split()) == expected.split()


def test_deployments_flows_and_alias_carry_the_same_names() -> None:
    from flows.alias import OURS
    from flows.publish import PublishParameters

    told = YAML(typ="safe").load((ROOT / "prefect.yaml").read_text("utf-8"))["deployments"]
    assert tuple(d["name"] for d in told) == OURS
    for deployment in told:
        path, _, name = deployment["entrypoint"].partition(":")
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        assert getattr(module, name).name == deployment["name"]
    for parameters in (BuildParameters, PublishParameters, TrainParameters):
        assert "token" not in json.dumps(parameters.model_json_schema()).lower()
    assert shutil.which("prefect", path=str(Path(sys.executable).parent))
