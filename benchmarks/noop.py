"""Claim: `m3e build demo` with nothing changed writes no byte and is done in under two seconds."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import ROOT, Table, child_environment

REPEATS = 5
BAR_SECONDS = 2.0
Seen = dict[Path, tuple[int, int, int]]


def run(repeats: int = REPEATS, only: str = "") -> Table:
    """Builds once, then again and again; seconds are those of the clock, from start to exit of the command.

    `only` names corpora of the demo, where the whole of it is too much.
    """
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        first = _build(base, only)
        before, taken = _files(base), []
        for _ in range(repeats):
            taken.append(_build(base, only))
        written = written_bytes(before, _files(base))
    clock = [seconds for seconds, _ in taken]
    again = statistics.median(clock)
    table = Table("noop: m3e build demo with nothing changed", ("", "measured"))
    table.add("first build, seconds", f"{first[0]:.2f}")
    table.add("again, seconds", f"{again:.2f}", bar=f"{BAR_SECONDS:g}", holds=again < BAR_SECONDS)
    table.add("again, CPU-seconds", f"{statistics.median(cpu for _, cpu in taken):.2f}")
    table.add("bytes written by all of them", f"{written:,}", bar="0", holds=written == 0)
    table.notes.append(f"median of {repeats}, from {min(clock):.2f} to {max(clock):.2f} seconds")
    return table.show()


def written_bytes(before: Seen, after: Seen) -> int:
    """Bytes of the files that are new or were touched."""
    return sum(seen[0] for path, seen in after.items() if before.get(path) != seen)


def _build(base: Path, only: str) -> tuple[float, float]:
    """Seconds of the clock and CPU-seconds of one command."""
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "build", "demo"]
    command += ["--out", str(base / "build"), "--store", str(base / "store")] + (["--only", only] if only else [])
    spent, began = os.times(), time.perf_counter()
    subprocess.run(command, cwd=ROOT, env=child_environment(one_thread=False), check=True, capture_output=True)
    seconds, now = time.perf_counter() - began, os.times()
    return seconds, now.children_user + now.children_system - spent.children_user - spent.children_system


def _files(base: Path) -> Seen:
    """Size, time of change and inode of every file."""
    told = {path: path.stat() for path in base.rglob("*") if path.is_file()}
    return {path: (stat.st_size, stat.st_mtime_ns, stat.st_ino) for path, stat in told.items()}
