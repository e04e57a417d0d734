"""Runs of Prefect that died with their machine: what still reads Running and does not live any more becomes Crashed.

A worker tells the server when a run's process ends; a worker that dies with it cannot. Asked is the server's REST API,
so that neither the command line nor the pipeline needs Prefect. A run lives while its process is on this machine, or
while it sends heartbeats (Prefect does, every 30 seconds, where `flows.heartbeat_frequency` is set, as in pyproject.toml).

    POST /flow_runs/filter, /task_runs/filter, /events/filter    what is under way, and when it was heard of
    POST /flow_runs/ID/set_state, /task_runs/ID/set_state        Crashed
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import NetworkError

#: Where Prefect's server is when nobody says otherwise; as in pyproject.toml.
API = "http://127.0.0.1:4200/api"
TIMEOUT_S = 30.0
ATTEMPTS = 5
PAGE = 200
#: States in which a process should be there.
UNDER_WAY = ["RUNNING", "CANCELLING"]
HEARTBEAT = "prefect.flow-run.heartbeat"
#: A run whose heart has not beaten for so long does not live; some beats may be lost on the way.
QUIET_S = 180
Verdict = Literal["gone", "alive", "unheard"]


@dataclass(frozen=True)
class Run:
    """A flow run that should have a process, and what became of it."""

    id: str
    name: str
    verdict: Verdict

    @property
    def sentence(self) -> str:
        """One line for the terminal."""
        told = {
            "gone": "it does not live any more",
            "alive": "it is at work",
            "unheard": "it is not on this machine and never sent a heartbeat; if every worker runs here, say --here",
        }
        return f"{self.name}: {told[self.verdict]}"


def heal(api: str | None = None, *, here: bool = False, dry_run: bool = False) -> list[Run]:
    """Look at every flow run under way; those that are gone become Crashed, and their task runs too, unless `dry_run`.

    `api` is the server's address, else PREFECT_API_URL, else the one of this project. `here` says that every run was
    carried out on this machine: then one without a process here is gone, heartbeats or none. Raises NetworkError where
    the server does not answer.
    """
    with _Server(api or os.environ.get("PREFECT_API_URL") or API) as server:
        runs = []
        under_way = {"state": {"type": {"any_": UNDER_WAY}}}
        for told in server.all("flow_runs", {"flow_runs": under_way}):
            beat = None if here else server.last_beat(told["id"])
            run = Run(told["id"], told["name"], verdict(is_here(told), beat, datetime.now(UTC), here=here))
            runs.append(run)
            if run.verdict != "gone" or dry_run:
                continue
            of_run = {"flow_runs": {"id": {"any_": [run.id]}}, "task_runs": under_way}
            for task in server.all("task_runs", of_run):
                server.crash("task_runs", task["id"])
            server.crash("flow_runs", run.id)
    return runs


def verdict(has_process: bool, beat: datetime | None, now: datetime, *, here: bool = False) -> Verdict:
    """What became of a run, by its process on this machine and its last heartbeat.

    >>> now = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    >>> verdict(False, now - timedelta(seconds=20), now), verdict(False, now - timedelta(hours=1), now)
    ('alive', 'gone')
    >>> verdict(False, None, now), verdict(False, None, now, here=True), verdict(True, None, now, here=True)
    ('unheard', 'gone', 'alive')
    """
    if has_process or (beat is not None and not here and now - beat < timedelta(seconds=QUIET_S)):
        return "alive"
    return "gone" if here or beat is not None else "unheard"


def is_here(told: Mapping[str, Any]) -> bool:
    """Is the process of a flow run on this machine? Its number may have been given to another since.

    Prefect's runner tells each process its run; where a process shows nobody its environment, its number is believed.
    """
    pid = str(told.get("infrastructure_pid") or "").rpartition(":")[2]
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # there is one, of another user
    try:
        return str(told["id"]).encode() in (Path("/proc") / pid / "environ").read_bytes()
    except OSError:
        return True


class _Busy(NetworkError):
    """The server's database is locked by another request (SQLite): asked again it answers."""


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

    def last_beat(self, run: str) -> datetime | None:
        """When a flow run was last heard of; None where it never was."""
        wanted = {"event": {"name": [HEARTBEAT]}, "resource": {"id": [f"prefect.flow-run.{run}"]}}
        found = self._ask("/events/filter", {"filter": {**wanted, "order": "DESC"}, "limit": 1})["events"]
        return datetime.fromisoformat(found[0]["occurred"].replace("Z", "+00:00")) if found else None

    def crash(self, kind: str, run: str) -> None:
        state = {"type": "CRASHED", "name": "Crashed", "message": "its process went away without a word (m3e heal)"}
        self._ask(f"/{kind}/{run}/set_state", {"state": state, "force": True})

    def _ask(self, path: str, body: Mapping[str, Any]) -> Any:
        import stamina

        for attempt in stamina.retry_context(_Busy, ATTEMPTS, timeout=None, wait_initial=0.5):
            with attempt:
                return self._ask_once(path, body)

    def _ask_once(self, path: str, body: Mapping[str, Any]) -> Any:
        import httpx2

        kind, cure = NetworkError, "start the server (make up), or name yours in PREFECT_API_URL"
        try:
            answer = self._client.post(self._api + path, json=dict(body))
            if answer.is_success:
                return answer.json()
            why = f"Prefect's server answered {answer.status_code} to {path}"
            if answer.status_code == httpx2.codes.SERVICE_UNAVAILABLE:
                kind, cure = _Busy, "its database is busy: run again when there is less to do"
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            why = f"Prefect's server does not answer ({type(error).__name__})"
        raise kind(self._api, why, cure)
