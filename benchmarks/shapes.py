"""Claim: dedupe takes no shape of data much longer than ordinary text: copies, templates, one text for all, a huge text.

Each shape goes through dedupe and resolve in a process of its own, after a small run of the same shape, as ordinary text of
the same number of pairs does. Templates make texts longer, so time is also told per character.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.dedupe import WARM, write_shards
from benchmarks.measure import ROOT, Table, child_environment, times
from benchmarks.text import both_sides, source

PAIRS = 50_000
BAR = 3
TEMPLATE, HUGE_BYTES = 200, 10_000_000

Change = Callable[[pl.DataFrame], pl.DataFrame]


def run(pairs: int = PAIRS) -> Table:
    """Seconds and memory of each shape, beside those of ordinary text; of memory also what grew after the small run."""
    table = Table(
        f"shapes: dedupe and resolve of {pairs:,} pairs",
        ("", "CPU-s", "times", "per character", "peak MiB", "bytes a pair", "classes", "in crowds", "kept"),
    )
    plain, plain_each = 0.0, 0.0
    for name, change in shapes().items():
        told = _measured(pairs, change)
        seconds = told["dedupe_s"] + told["resolve_s"]
        each = seconds / told["characters"]
        plain, plain_each = plain or seconds, plain_each or each
        ratio = seconds / plain
        cells = (f"{seconds:.2f}", times(ratio), times(each / plain_each), f"{told['peak_bytes'] / 2**20:,.0f}")
        cells += (f"{(told['peak_bytes'] - told['start_bytes']) / pairs:,.0f}",)
        cells += tuple(f"{told[name]:,}" for name in ("classes", "crowded", "kept"))
        judged = name != "ordinary"
        table.add(name, *cells, bar=f"{BAR}x" if judged else "", holds=ratio <= BAR if judged else None)
    return table.show()


def shapes() -> dict[str, Change]:
    """What is done to every batch of ordinary pairs."""
    written = both_sides(source(), 60, lengths=(TEMPLATE, TEMPLATE)).str.slice(0, TEMPLATE)
    template, shared = next(text for text in written if len(text) == TEMPLATE), written[-1]
    text, pos, row = pl.col("text"), pl.col("text_pos"), pl.int_range(pl.len())

    def huge(frame: pl.DataFrame) -> pl.DataFrame:
        long = "".join(frame["text_pos"].to_list())
        long *= HUGE_BYTES // len(long.encode()) + 1
        first = pl.lit(long[: HUGE_BYTES // 3])
        return frame.with_columns(text_pos=pl.when((row == 0) & (pl.col("number") == 0)).then(first).otherwise(pos))

    return {
        "ordinary": lambda frame: frame,
        "one pair, again and again": lambda frame: frame.with_columns(
            text=pl.lit(template[:20]), text_pos=pl.lit(shared)
        ),
        "a template before text_pos": lambda frame: frame.with_columns(text_pos=template + pos),
        "a template before both": lambda frame: frame.with_columns(text=template + text, text_pos=template + pos),
        "a template before text, one text_pos": lambda frame: frame.with_columns(
            text=template + text, text_pos=pl.lit(shared)
        ),
        "one text_pos": lambda frame: frame.with_columns(text_pos=pl.lit(shared)),
        f"one text_pos of {HUGE_BYTES // 10**6} MB": huge,
    }


def _measured(pairs: int, change: Change) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        for name, count, seed in (("warm", min(pairs, WARM), 2), ("whole", pairs, 1)):
            (Path(folder) / name).mkdir()
            write_shards(Path(folder) / name, count, seed, change)
        texts = pl.scan_parquet(Path(folder) / "whole" / "text-*.parquet").select("text", "text_pos")
        characters = texts.select(pl.sum_horizontal(pl.all().str.len_chars()).sum()).collect(engine="streaming").item()
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.dedupe", folder],
            cwd=ROOT,
            env=child_environment(),
            check=True,
            stdout=subprocess.PIPE,
        )
    told: dict[str, Any] = json.loads(done.stdout)
    return told | {"characters": characters}
