"""Claim: ten times the rows take at most 1.2 times the memory, through the whole of `m3e build`.

Each build runs in a process of its own, one step at a time, so that the peak of every stage can be told apart: the
kernel's high-water mark is set back when a stage starts. Pages of mapped files count as long as they are in memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import text
from benchmarks.measure import ROOT, Table, child_environment, peak_bytes
from pipeline import failpoints
from pipeline.errors import CurationError

PAIRS, TIMES = 200_000, 10
BAR = 1.2
LICENCE = {"spdx": "CC0-1.0", "commercial": "allowed", "redistribute": "allowed", "confidence": "high", "basis": "own"}


def run(pairs: int = PAIRS) -> Table:
    """Builds a corpus of so many pairs and one of ten times as many; compares the peaks."""
    few, many = (_peaks(count) for count in (pairs, pairs * TIMES))
    table = Table(f"memory: m3e build of {pairs:,} and {pairs * TIMES:,} pairs, MiB", ("stage", "few", "many", "times"))
    for stage in many:
        mib = [peaks.get(stage, 0) / 2**20 for peaks in (few, many)]
        ratio = mib[1] / max(mib[0], 1e-9)
        judged = stage == "whole"
        table.add(
            stage,
            *(f"{one:,.0f}" for one in mib),
            f"{ratio:.2f}",
            bar=f"{BAR:g}" if judged else "",
            holds=ratio <= BAR if judged else None,
        )
    return table.show()


def _peaks(count: int) -> dict[str, int]:
    """Peak bytes per stage of a build of so many pairs, and of the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        manifests = Path(folder) / "manifests"
        for kind in ("corpora", "recipes", "files"):
            (manifests / kind).mkdir(parents=True)
        corpus = {
            "name": "made",
            **dict.fromkeys(("title", "domain", "task"), "made"),
            "grade": "优",
            "source": {"kind": "local", "root": "../files"},
            "parts": [
                {
                    "files": {"train": "made.jsonl"},
                    "layout": "jsonl",
                    "columns": {"text": "string", "text_pos": "string"},
                    "select": {"text": "text", "text_pos": "text_pos"},
                }
            ],
            "licence": LICENCE,
        }
        recipe = {"name": "memory", "corpora": ["made"], "decontaminate": {"benchmarks": ["demo"]}}
        (manifests / "corpora" / "made.yaml").write_text(json.dumps(corpus))
        (manifests / "recipes" / "memory.yaml").write_text(json.dumps(recipe))
        with (manifests / "files" / "made.jsonl").open("wb") as file:
            for frame in text.pairs(text.source(), count):
                frame.select("text", "text_pos").write_ndjson(file)
        command = [sys.executable, "-m", "benchmarks.memory", folder]
        done = subprocess.run(command, cwd=ROOT, env=child_environment(), check=True, capture_output=True, text=True)
        told: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
        return told


def _build(base: Path) -> dict[str, int]:
    """The build itself, in this process; between stages what is held is let be."""
    from pipeline.cli import main

    peaks: dict[str, int] = {}
    reset = Path("/proc/self/clear_refs")

    def reach(name: str) -> None:
        stage, _, moment = name.partition(":")
        if moment == "start" and reset.exists():
            peaks["between stages"] = max(peaks.get("between stages", 0), peak_bytes())
            reset.write_text("5")  # sets the high-water mark back to what is held now
        elif moment == "worked":
            peaks[stage] = max(peaks.get(stage, 0), peak_bytes())
            if reset.exists():
                reset.write_text("5")

    failpoints.reach = reach
    sys.argv = ["m3e", "build", "memory", "--workers", "1"]
    sys.argv += ["--manifests", str(base / "manifests"), "--store", str(base / "store"), "--out", str(base / "out")]
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise CurationError("bench of memory", "the build failed", "run it by hand") from None
    peaks["between stages"] = max(peaks.get("between stages", 0), peak_bytes())
    return peaks | {"whole": max(peaks.values())}


if __name__ == "__main__":
    print(json.dumps(_build(Path(sys.argv[1]))))
