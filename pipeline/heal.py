"""Runs of Prefect that died with their machine: what still reads Running and has no process any more becomes Crashed.

A worker tells the server when a run's process ends; a worker that dies with it cannot. Asked is the server's REST API,
so that neither the command line nor the pipeline needs Prefect. A run is judged only on the machine that carried it
out: its process must be gone, or belong to something else by now.

    POST /flow_runs/filter, /task_runs/filter        what is running
    POST /flow_runs/ID/set_state                      Crashed
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import NetworkError

#: Where Prefect's server is when nobody says otherwise; as in pyproject.toml.
API = "http://127.0.0.1:4200/api"
TIMEOUT_S = 30.0
PAGE = 200
#: States in which a process should be there.
UNDER_WAY = ["RUNNING", "CANCELLING"]
Verdict = Literal["gone", "alive", "elsewhere", "unknown"]


@dataclass(frozen=True)
class Run:
    """A flow run that should have a process. `place` is `host:pid`, empty where no worker started it."""

    id: str
    name: str
    place: str
    verdict: Verdict

    @property
    def sentence(self) -> str:
        told = {
            "gone": f"its process {self.place} is gone",
            "alive": f"its process {self.place} is at work",
            "elsewhere": f"it ran as {self.place}; heal it there",
            "unknown": "no worker started it, so its process is not known; end it in Prefect's page",
        }
        return f"{self.name}: {told[self.verdict]}"


def heal(api: str | None = None, *, dry_run: bool = False) -> list[Run]:
    """Look at every flow run under way; those that are gone become Crashed, and their task runs too, unless `dry_run`.

    `api` is the server's address, else PREFECT_API_URL, else the one of this project. Raises NetworkError where the server
    does not answer.
    """
    with _Server(api or os.environ.get("PREFECT_API_URL") or API) as server:
        under_way = {"state": {"type": {"any_": UNDER_WAY}}}
        runs = [_judged(told) for told in server.all("flow_runs", {"flow_runs": under_way})]
        for run in runs:
            if run.verdict != "gone" or dry_run:
                continue
            of_run = {"flow_runs": {"id": {"any_": [run.id]}}, "task_runs": under_way}
            for task in list(server.all("task_runs", of_run)):
                server.crash("task_runs", task["id"])
            server.crash("flow_runs", run.id)
    return runs


def _judged(told: Mapping[str, Any]) -> Run:
    place = str(told.get("infrastructure_pid") or "")
    return Run(told["id"], told["name"], place, verdict(told["id"], place))


def verdict(run: str, place: str, host: str | None = None) -> Verdict:
    """What became of the process of a run.

    >>> verdict("some-run", "another-machine:12", host="here"), verdict("some-run", "")
    ('elsewhere', 'unknown')
    """
    name, _, pid = place.rpartition(":")
    if not name or not pid.isdigit():
        return "unknown"
    if name != (host or socket.gethostname()):
        return "elsewhere"
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        pass  # there is one, of another user
    environment = Path("/proc") / pid / "environ"
    try:
        # The number may have been given to another process since. Prefect's runner tells each its run.
        return "alive" if run.encode() in environment.read_bytes() else "gone"
    except OSError:
        return "alive"


class _Server:
    """Prefect's server, asked one thing at a time."""

    def __init__(self, api: str) -> None:
        import httpx2

        headers = {}
        if key := os.environ.get("PREFECT_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        told = os.environ.get("PREFECT_API_AUTH_STRING", "")
        auth = httpx2.BasicAuth(*told.split(":", 1)) if ":" in told else None
        self._api = api.rstrip("/")
        self._client = httpx2.Client(base_url=self._api, headers=headers, auth=auth, timeout=TIMEOUT_S)

    def __enter__(self) -> _Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def all(self, kind: str, asked: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Everything that a filter finds, page by page."""
        found: list[dict[str, Any]] = []
        while True:
            page = self._ask(f"/{kind}/filter", {**asked, "limit": PAGE, "offset": len(found), "sort": "ID_DESC"})
            found += page
            if len(page) < PAGE:
                return iter(found)

    def crash(self, kind: str, run: str) -> None:
        state = {"type": "CRASHED", "name": "Crashed", "message": "its process went away without a word (m3e heal)"}
        self._ask(f"/{kind}/{run}/set_state", {"state": state, "force": True})

    def _ask(self, path: str, body: Mapping[str, Any]) -> Any:
        import httpx2

        try:
            answer = self._client.post(self._api + path, json=dict(body))
            if answer.is_success:
                return answer.json()
            why = f"Prefect's server answered {answer.status_code} to {path}"
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            why = f"Prefect's server does not answer ({type(error).__name__})"
        raise NetworkError(self._api, why, "start the server (make up), or name yours in PREFECT_API_URL")
