"""Claim: benchmark texts are put together once, after which a corpus costs what its own texts cost, in little memory.

Each step runs in a process of its own, so that its peak is its own. A corpus of one record shows what a corpus pays for
the benchmarks alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.dedupe import write_shards
from benchmarks.measure import ROOT, Table, child_environment, peak_bytes
from pipeline.decontaminate import decontaminate, index, protect
from pipeline.manifest.benchmark import Benchmark
from pipeline.manifest.settings import DecontaminateConfig
from pipeline.source import SourceFile

#: Pairs of the benchmark (each a query and a passage) and records of the corpus.
PAIRS = 200_000
RECORDS = 20_000


def run(pairs: int = PAIRS, records: int = RECORDS) -> Table:
    """Indexes so many pairs, puts them together, and compares a corpus of one and of more records with them."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for name, count, seed in (("texts", pairs, 7), ("corpus", records, 8), ("nothing", 1, 9)):
            (base / name).mkdir()
            write_shards(base / name, count, seed)
        table = Table(f"decontaminate: {2 * pairs:,} benchmark texts", ("", "CPU-s", "peak MiB"))
        for step in ("index", "protect", "nothing", "corpus"):
            told = _in_a_process(base, step)
            name = {"nothing": "a corpus of 1 record", "corpus": f"a corpus of {records:,} records"}.get(step, step)
            table.add(name, f"{told['cpu_s']:.2f}", f"{told['peak_bytes'] / 2**20:,.0f}")
        size = sum(path.stat().st_size for path in (base / "out-protect").iterdir())
        table.notes.append(f"on disk, shared by all corpora: {size / 2**20:,.0f} MiB")
    return table.show()


def _in_a_process(base: Path, step: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.decontaminate", str(base), step],
        cwd=ROOT,
        env=child_environment(),
        check=True,
        stdout=subprocess.PIPE,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def _step(base: Path, step: str) -> dict[str, Any]:
    out, config = base / f"out-{step}", DecontaminateConfig()
    out.mkdir()
    began = time.process_time()
    if step == "index":
        files = sorted((base / "texts").glob("*.parquet"))
        index(_benchmark(), [SourceFile(0, "test", path.name, path, "", 0) for path in files], out)
    elif step == "protect":
        protect({"Synthetic": base / "out-index"}, out, config)
    else:
        decontaminate(sorted((base / step).glob("*.parquet")), [], base / "out-protect", out, config)
    return {"cpu_s": time.process_time() - began, "peak_bytes": peak_bytes()}


def _benchmark() -> Benchmark:
    part = {
        "files": {"test": "*.parquet"},
        "layout": "parquet",
        "columns": {"text": "string", "text_pos": "string"},
        "texts": [{"role": "query", "text": "text"}, {"role": "passage", "text": "text_pos"}],
    }
    shell = {"name": "synthetic", "task": "Synthetic", "source": {"kind": "local", "root": "."}, "splits": ["test"]}
    return Benchmark.model_validate(shell | {"parts": [part]})


if __name__ == "__main__":
    print(json.dumps(_step(Path(sys.argv[1]), sys.argv[2])))
