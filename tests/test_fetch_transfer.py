"""What is heard of files on their way, and how it is shown."""

from __future__ import annotations

import io
import json
import os
import pickle
import pty
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import pytest
import stamina
from rich.console import Console

from pipeline.build import build, count
from pipeline.context import context_of
from pipeline.errors import NetworkError
from pipeline.fetch import Listener, Moved, Wanted, fetch, transfer
from pipeline.manifest.catalog import read_catalog
from pipeline.manifest.corpus import HttpSource
from pipeline.receipt import write_build
from pipeline.report.progress import FILES, Progress, steps_of
from pipeline.runner import Threads
from pipeline.store import Store
from tests.http_double import FileServer, Reply
from tests.hub_double import HubDouble
from tests.small import corpus, write_manifests
from tests.test_build import ROOT, pairs

ROWS = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in pairs(0, 8)).encode()
BIG = b"\n" * 3_000_000 + b"{}"  # no rows of ours: what comes after fetch ends at once


@pytest.fixture(autouse=True)
def every_chunk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PAUSE_S", 0.0)


def get(server: FileServer, store: Path, listen: Listener) -> None:
    source = HttpSource(kind="http", base=server.base)
    fetch("toy", source, [Wanted(0, "train", ("big.jsonl",))], store, Store(store), listen=listen)


def test_a_file_is_heard_of_while_it_is_loaded_and_never_again(server: FileServer, tmp_path: Path) -> None:
    heard: list[Moved] = []
    server.files["big.jsonl"] = BIG
    server.replies.append(Reply(cut=1_000_000))
    stamina.set_testing(True, attempts=9, cap=True)
    get(server, tmp_path, heard.append)
    stamina.set_testing(False)
    counts = [moved.bytes for moved in heard]
    assert counts == sorted(counts) and counts[0] == 0 and counts[-1] == len(BIG)  # resumed, not begun again
    assert {moved.total for moved in heard[1:]} == {len(BIG)} and heard[0].total is None
    assert len(heard) > 10
    assert [moved.state for moved in heard] == ["moving"] * (len(heard) - 1) + ["whole"]
    assert {(moved.corpus, moved.name) for moved in heard} == {("toy", "big.jsonl")}
    heard.clear()
    get(server, tmp_path, heard.append)
    assert heard == []


def test_a_file_that_breaks_off_is_heard_of_as_broken(server: FileServer, tmp_path: Path) -> None:
    heard: list[Moved] = []
    server.files["big.jsonl"], server.always = BIG, Reply(cut=0)
    stamina.set_testing(True, attempts=9, cap=True)
    with pytest.raises(NetworkError):
        get(server, tmp_path, heard.append)
    stamina.set_testing(False)
    assert {moved.state for moved in heard[:-1]} == {"moving"} and heard[-1].state == "broken"


def test_between_chunks_a_pause_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "PAUSE_S", 60.0)
    heard: list[Moved] = []
    with transfer.Meter(heard.append, "toy", "x", 9) as meter:
        for at in range(10):
            meter.at(at)
    assert [(moved.state, moved.bytes, moved.total) for moved in heard] == [("moving", 0, 9), ("whole", 9, 9)]


def test_what_xet_puts_together_moves_the_file_once() -> None:
    """huggingface_hub's own reporter, as a transfer through Xet drives it: two counts, of which one is the file's."""
    from huggingface_hub.utils._xet_progress_reporting import XetDownloadProgressReporter

    heard: list[Moved] = []
    with transfer.Meter(heard.append, "toy", "x", 90) as meter:
        told = {"reconstruction_desc": "x", "total": 90, "log_level": 20, "tqdm_class": transfer.bars_of(meter)}
        with XetDownloadProgressReporter(**told) as reporter:
            for here, moved in ((0, 30), (60, 50), (90, 70)):
                rates = {"total_bytes_completion_rate": 1.0, "total_transfer_bytes_completion_rate": 1.0}
                counts = {"total_bytes_completed": here, "total_transfer_bytes_completed": moved, "total_bytes": 90}
                reporter.update_progress(SimpleNamespace(**counts, **rates))
    assert [moved.bytes for moved in heard] == [0, 60, 90, 90]
    assert {moved.total for moved in heard} == {90}


def web(base: str) -> list[dict[str, Any]]:
    """Two corpora, one over http and one from the Hub."""
    return [
        corpus("one", source={"kind": "http", "base": base}),
        corpus("two", source={"kind": "hub", "repo": "people/pairs", "revision": None}),
    ]


def shown(folder: Path, hub: HubDouble, *words: str, on_terminal: bool) -> str:
    """What m3e writes to its standard error."""
    environment = {name: told for name, told in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(folder / "hf"), "NO_PROXY": "*"}
    environment |= {"COLUMNS": "120", "LINES": "40", "TERM": "xterm", "PYTHONPATH": str(ROOT)}
    code = "import pipeline.fetch.transfer as t; t.PAUSE_S = 0.0; from pipeline.cli import main; main()"
    command = [sys.executable, "-c", code, *words, "--manifests", str(folder / "manifests"), "--store", "store"]
    if not on_terminal:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stderr
    ours, theirs = pty.openpty()
    with (folder / "out.txt").open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=theirs)
    os.close(theirs)
    said = b""
    while True:
        try:
            chunk = os.read(ours, 1 << 16)
        except OSError:  # Linux says so when the other side is gone
            break
        if not chunk:
            break
        said += chunk
    os.close(ours)
    process.wait(60)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said.decode())


def test_a_log_has_one_line_per_file_and_a_terminal_has_bars_below_fetch(server: FileServer, tmp_path: Path) -> None:
    with HubDouble() as hub:
        write_manifests(tmp_path / "manifests", web(server.base), {"name": "small", "corpora": ["one", "two"]})
        server.files["one.jsonl"], server.always = BIG, Reply(slow=0.1)
        hub.commit("people/pairs", {"two.jsonl": BIG})
        hub.fault("/resolve/", "sleep", times=2, seconds=0.5)
        said = shown(tmp_path, hub, "lock", "one", "two", on_terminal=False)
        # The Hub lists no sha256 of small files, so both are loaded to be locked.
        assert re.fullmatch(
            r"fetch +one +done +\d+\.\d s  one\.jsonl, 3\.0 MB\nfetch +two +done +\d+\.\d s  two\.jsonl, 3\.0 MB\n",
            said,
        )
        (tmp_path / "store").rename(tmp_path / "old")
        hub.fault("/resolve/", "sleep", times=2, seconds=0.5)
        drawn = shown(tmp_path, hub, "build", "small", on_terminal=True)
    frames = drawn.split("fetch ")
    for name in ("one", "two"):
        below = re.compile(rf"\n  {name} +━+[╸╺]?━* +\d\.\d/3\.0 +MB .*{name}\.jsonl")
        assert any(below.search(frame.partition("convert ")[0]) for frame in frames)
        assert not any(f"\n  {name} " in frame.partition("convert ")[2] for frame in frames)
        assert f"\n  {name} " not in frames[-1]
    assert re.search(r"\n  one +━+[╸╺]━+ +[12]\.\d/3\.0 MB", drawn)
    assert "it/s" not in drawn and "B/s" not in drawn  # no bar of a library


def test_files_come_and_go_and_only_a_handful_is_drawn() -> None:
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=True, width=100, height=30, legacy_windows=False)

    def last_frame() -> str:
        progress._bars.refresh()
        return drawn.getvalue().rpartition("fetch")[2]

    with Progress(console, steps_of(20, 0)) as progress:
        for at in range(FILES + 3):
            progress.hear(Moved(f"c{at:02}", "x.json", "moving", 5 * 10**6, None if at else 10**7, 1.0))
        frame = last_frame()
        assert re.findall(r"  (c\d\d) ", frame) == [f"c{at:02}" for at in range(FILES)]
        assert re.search(r"  c00 .*5\.0/10\.0.*MB", frame) and "/?" in frame
        for at in range(FILES + 2):
            progress.hear(Moved(f"c{at:02}", "x.json", "whole" if at % 2 else "broken", 10**7, 10**7, 1.0))
        assert re.findall(r"  (c\d\d) ", last_frame()) == [f"c{FILES + 2:02}"]


def test_a_listener_changes_no_byte_and_the_flows_one_travels(server: FileServer, tmp_path: Path) -> None:
    from flows.runner import Log

    folder = write_manifests(tmp_path / "m", web(server.base), {"name": "small", "corpora": ["one"]})
    server.files["one.jsonl"] = ROWS
    receipts = []
    for name, listen in (("silent", transfer.silent), ("heard", heard := [])):
        catalog = read_catalog([folder], shipped=False)
        context = context_of(catalog, catalog.recipe("small"), tmp_path / name)
        runner = Threads(1)
        outcome = build(context.heard_by(listen.append if isinstance(listen, list) else listen), runner)
        runner.close()
        count(outcome)
        receipts.append((write_build(outcome, tmp_path / f"{name}-out", (), [])[0] / "build.json").read_bytes())
    assert receipts[0] == receipts[1] and heard[-1].state == "whole"
    sent = pickle.loads(cloudpickle.dumps(context.heard_by(Log().hear)))
    assert sent.listen.__func__ is Log.hear
