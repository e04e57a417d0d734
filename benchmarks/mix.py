"""Claim: twenty million records are mixed into batches in bounded memory, and the first batch comes at once.

Written are shards of a build with texts of real n-gram statistics and groups of many sizes; the mixer runs in a process
of its own, so that the peak is that of mixing and of nothing else.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import text
from benchmarks.measure import ROOT, Table, child_environment, peak_bytes, rate
from pipeline.manifest.settings import MixConfig
from pipeline.mix import Mixer
from pipeline.record import ROW_GROUP_ROWS

PAIRS = 20_000_000
SHARD = 1_000_000
BAR_BYTES, BAR_SECONDS = 2 << 30, 5.0
#: Share of the rows per corpus, largest first: as uneven as the M3E table.
SHARES = (0.5, 0.25, 0.15, 0.07, 0.03)


def run(pairs: int = PAIRS) -> Table:
    """Writes so many records over five corpora and has a fresh process read one epoch of weight 1."""
    with tempfile.TemporaryDirectory() as folder:
        size = write(Path(folder), pairs)
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.mix", folder],
            cwd=ROOT,
            env=child_environment(one_thread=False),
            check=True,
            stdout=subprocess.PIPE,
        )
    told = json.loads(done.stdout)
    table = Table(f"mix: one epoch of {pairs:,} records, {size / 1e9:.1f} GB of parquet", ("", "measured"))
    table.add("records given", f"{told['rows']:,}", bar=f"{pairs:,}", holds=told["rows"] == pairs)
    table.add("rows per CPU-second", rate(pairs, told["cpu"]))
    table.add("rows per second", rate(pairs, told["seconds"]))
    first = told["first"]
    table.add("first batch, seconds", f"{first:.2f}", bar=f"{BAR_SECONDS:g}", holds=first < BAR_SECONDS)
    peak, bar = told["peak"], f"{BAR_BYTES / 1e6:,.0f}"
    table.add("peak memory, MB", f"{peak / 1e6:,.0f}", bar=bar, holds=peak < BAR_BYTES)
    table.add("full batches", f"{told['full'] / told['batches']:.1%}")
    return table.show()


def write(folder: Path, pairs: int, seed: int = 1) -> int:
    """Corpora `c0`, `c1` ... as shards of a build; a third of the records shares a text or a document with others."""
    batches = text.pairs(text.source(), min(pairs, SHARD), lengths=(12, 60))
    texts = [pa.Table.from_batches([], pa.schema([("text", pa.string()), ("text_pos", pa.string())]))]
    texts += [frame.select("text", "text_pos").to_arrow().cast(texts[0].schema) for frame in batches]
    whole = pa.concat_tables(texts).combine_chunks()
    draw, size = np.random.default_rng(seed), 0
    for number, share in enumerate(SHARES):
        rows = round(pairs * share)
        (folder / f"c{number}").mkdir()
        for shard, start in enumerate(range(0, rows, SHARD)):
            n = min(SHARD, rows - start)
            table = whole.slice(0, n)
            # Most groups hold one record, some thousands, as questions with many answers do.
            for name in ("text_group", "pos_group", "doc_group"):
                shared = draw.random(n) < 1 / 3
                groups = draw.integers(1 << 40, 1 << 63, n).astype(np.uint64)
                groups[shared] = _tails(draw, int(shared.sum()))
                table = table.append_column(name, pa.array(groups))
            path = folder / f"c{number}" / f"train-{shard:05d}.parquet"
            pq.write_table(table, path, compression="zstd", row_group_size=ROW_GROUP_ROWS)
            size += path.stat().st_size
    return size


def _tails(draw: np.random.Generator, n: int) -> np.ndarray:
    """Group numbers whose sizes have a long tail; the largest holds about one row in five thousand."""
    return (draw.zipf(1.3, n) % (1 << 32) + draw.integers(0, 5_000, n)).astype(np.uint64)


def main(folder: Path) -> None:
    """One epoch; prints what it took as JSON."""
    began, spent = time.perf_counter(), time.process_time()
    data = {path.name: sorted(path.glob("train-*.parquet")) for path in sorted(folder.iterdir())}
    config = MixConfig(power=1)
    batches = Mixer(data, config).batches()
    rows = sum(batch.table.num_rows for batch in islice(batches, 1))
    first, count, full = time.perf_counter() - began, 1, 0
    for batch in batches:
        rows, count, full = rows + batch.table.num_rows, count + 1, full + (batch.table.num_rows == config.batch)
    told = {"rows": rows, "batches": count, "full": full, "first": first, "peak": peak_bytes()}
    told |= {"seconds": time.perf_counter() - began, "cpu": time.process_time() - spent}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
