"""A child process that fetches from the Hub's double: huggingface_hub reads HF_ENDPOINT when it is imported."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.hub_double import HubDouble

TOKEN = "hf_canaryCANARYcanary"

CHILD = """
import base64, json, pickle, sys
from dataclasses import asdict
from pathlib import Path
import stamina
import pipeline.fetch.hub as hub
from pipeline.fetch import Wanted, fetch
from pipeline.manifest.corpus import HubSource
from pipeline.store import Store

stamina.set_testing(True, attempts=9, cap=True)
assert "huggingface_hub" not in sys.modules, "imported before it is needed"

def answer(store, repo, revision, wanted):
    wanted = [Wanted(part, split, tuple(patterns)) for part, split, patterns in wanted]
    source = HubSource(kind="hub", repo=repo, revision=revision)
    try:
        return asdict(fetch("toy", source, wanted, Path("."), Store(Path(store))))
    except Exception as error:
        chain, at = [], error
        while at is not None:
            chain.append(type(at).__module__)
            at = at.__cause__ or at.__context__
        shown = [str(error), repr(error), repr(vars(error)), base64.b64encode(pickle.dumps(error)).decode()]
        return {"error": type(error).__name__, "transient": error.transient, "shown": shown, "chain": chain}

for line in sys.stdin:
    told = json.loads(line)
    hub.TIMEOUT_S = told["timeout_s"]
    print(json.dumps([answer(told["store"], *job) for job in told["jobs"]], default=str), flush=True)
"""

Job = tuple[str, str | None, list[tuple[int, str, list[str]]]]


class Child:
    """A process that fetches from the double: one line of jobs in, one line of answers out."""

    def __init__(self, endpoint: str, folder: Path, **environment: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        told = {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hf"), "NO_PROXY": "*"}
        self.said = folder / "stderr"
        with self.said.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-c", CHILD],
                env=kept | told | environment,
                cwd=Path(__file__).parent.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def send(self, told: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()

    def answers(self) -> list[dict[str, Any]]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.said.read_text()
        answers: list[dict[str, Any]] = json.loads(line)
        return answers

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()


class Hub:
    """The double, emptied for this test, and what a child fetches from it into a store of its own."""

    def __init__(self, double: HubDouble, child: Child, folder: Path) -> None:
        self.double, self.child, self.folder = double, child, folder
        self.commit, self.fault, self.repository = double.commit, double.fault, double.repository
        self.requests = double.requests

    def told(self, *jobs: Job, timeout_s: float = 20) -> dict[str, Any]:
        return {"store": str(self.folder / "store"), "timeout_s": timeout_s, "jobs": jobs}

    def fresh_child(self, **environment: str) -> Child:
        return Child(self.double.endpoint, self.folder, **environment)

    def fetch(self, *jobs: Job, timeout_s: float = 20, **environment: str) -> list[dict[str, Any]]:
        """What the child got for each job; whatever it says, no secret is in it."""
        child = self.fresh_child(**environment) if environment else self.child
        child.send(self.told(*jobs, timeout_s=timeout_s))
        answers = child.answers()
        if environment:
            child.kill()
        assert TOKEN.encode() not in child.said.read_bytes()
        assert b"signed-link-canary" not in child.said.read_bytes()
        for answer in answers:
            if "error" in answer:
                *shown, pickled = answer["shown"]
                said = "".join(shown).encode() + base64.b64decode(pickled)
                assert b"canary" not in said
                assert b"X-Signature" not in said
                assert b"http:" not in said
                assert answer["chain"] == ["pipeline.errors"]
        return answers

    def count(self, path: str, method: str = "GET") -> int:
        return sum(request.method == method and re.search(path, request.path) is not None for request in self.requests)
