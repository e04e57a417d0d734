"""Healing by heartbeats, against a server that answers as Prefect's does; the real one is asked in test_flows.py."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from pipeline.heal import HEARTBEAT
from tests.command import m3e


def test_a_run_on_another_machine_is_judged_by_its_heart(httpserver: HTTPServer) -> None:
    now = datetime.now(UTC)
    beats = {"fresh": now - timedelta(seconds=25), "silent": now - timedelta(minutes=10), "never": None}
    crashed: list[str] = []

    def runs(_: Request) -> Response:
        told = [{"id": name, "name": name, "infrastructure_pid": "99999999"} for name in beats]
        return Response(json.dumps(told), content_type="application/json")

    def events(request: Request) -> Response:
        asked = request.get_json()["filter"]
        assert asked["event"] == {"name": [HEARTBEAT]}
        beat = beats[asked["resource"]["id"][0].removeprefix("prefect.flow-run.")]
        found = [] if beat is None else [{"occurred": beat.isoformat().replace("+00:00", "Z")}]
        return Response(json.dumps({"events": found}), content_type="application/json")

    def crash(request: Request) -> Response:
        assert request.get_json()["state"]["type"] == "CRASHED" and request.get_json()["force"] is True
        crashed.append(request.path.split("/")[-2])
        return Response("{}", content_type="application/json")

    httpserver.expect_request("/api/flow_runs/filter").respond_with_handler(runs)
    httpserver.expect_request("/api/task_runs/filter").respond_with_json([])
    httpserver.expect_request("/api/events/filter").respond_with_handler(events)
    for name in beats:
        httpserver.expect_request(f"/api/flow_runs/{name}/set_state").respond_with_handler(crash)
    api = httpserver.url_for("/api")
    shown = m3e("heal", "--api", api, "--dry-run")
    assert "1 of 3 runs under way would become Crashed." in shown.stdout and crashed == []
    done = m3e("heal", PREFECT_API_URL=api)
    assert done.returncode == 0, done.stderr
    assert crashed == ["silent"]
    assert "fresh: it is at work" in done.stdout and "never: it is not on this machine" in done.stdout


def test_no_server_is_a_sentence() -> None:
    done = m3e("heal", "--api", "http://127.0.0.1:1/api")
    assert done.returncode == 1
    assert "Prefect's server does not answer" in done.stderr and "Cure: start the server" in done.stderr


def test_a_busy_server_is_asked_again(httpserver: HTTPServer) -> None:
    """As Prefect's answers while its SQLite file is locked."""
    httpserver.expect_ordered_request("/api/flow_runs/filter").respond_with_data("", status=503)
    httpserver.expect_ordered_request("/api/flow_runs/filter").respond_with_json([])
    httpserver.expect_ordered_request("/api/task_runs/filter").respond_with_json([])
    done = m3e("heal", "--api", httpserver.url_for("/api"))
    assert done.returncode == 0, done.stderr
    httpserver.check_assertions()
