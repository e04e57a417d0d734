"""Claim: bands that take rows of both sides bring candidates together for less than bands of one side each, at equal recall.

Both ways read the same numbers out of the same signatures: with r rows of each side in every band, two pairs meet in a band
with a chance of s^r * t^r; with 2r rows of one side in one half of the bands and of the other side in the other half, with
s^2r or t^2r. Where both sides are just alike enough these are equal; where one side is the same, as the passages that many
questions share, bands of that side bring all of them together. Pairs with a short side are told the same way by both.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
from numba import njit

from benchmarks.dedupe import STEPS, WARM, measure, write_shards
from benchmarks.measure import ROOT, Table, child_environment
from pipeline.dedupe import bands

PAIRS = 100_000
#: What the way of candidates decides the cost of.
MEETING = ("find_huge", "find_pairs", "verify")
#: Questions to a passage.
SHARED = 10
_HALF, _MIX = np.uint64(32), np.uint64(0xFF51AFD7ED558CCD)


def run(pairs: int = PAIRS) -> Table:
    """Both ways over made pairs, and over the same where ten questions share a passage; each in a process of its own."""
    table = Table(
        f"candidates: {pairs:,} pairs",
        ("", "CPU-s to meet and verify", "whole", "candidates", "in crowds", "planted", "recall"),
    )
    passage = pl.col("text_pos").gather(pl.int_range(pl.len()) // SHARED * SHARED)
    shapes = {"ordinary": pl.col("text_pos"), f"{SHARED} questions to a passage": passage}
    for shape, text_pos in shapes.items():
        with tempfile.TemporaryDirectory() as folder:
            for name, count, seed in (("warm", min(pairs, WARM), 2), ("whole", pairs, 1)):
                (Path(folder) / name).mkdir()
                write_shards(Path(folder) / name, count, seed, lambda frame, given=text_pos: frame.with_columns(given))
            for way in ("both sides", "one side"):
                command = [sys.executable, "-m", "benchmarks.candidates", folder, way]
                done = subprocess.run(command, cwd=ROOT, env=child_environment(), check=True, stdout=subprocess.PIPE)
                told = json.loads(done.stdout)
                seconds = sum(told["steps"].get(STEPS[step], 0) for step in MEETING)
                table.add(
                    f"{shape}, bands of {way}",
                    f"{seconds:.2f}",
                    f"{told['dedupe_s']:.2f}",
                    *(f"{told[name]:,}" for name in ("candidates", "crowded", "planted")),
                    f"{told['recall']:.4f}" if told["planted"] else "-",
                )
    return table.show()


@njit(nogil=True)
def _one_sided(parts, whole, one, two, lone, out):  # type: ignore[no-untyped-def]
    """In place of `bands._band_keys`: the numbers of two bands of one side make one band."""
    bands, n = out.shape
    for band in range(bands):
        for i in range(n):
            if i < lone:
                slot, at = (one[i], 2 * band) if 2 * band + 1 < bands else (two[i], 2 * band - bands + bands % 2)
                h = np.uint64(parts[slot, at]) << _HALF | np.uint64(parts[slot, min(at + 1, bands - 1)]) ^ np.uint64(
                    2 * band < bands
                )
            else:
                following = band + 1 if band + 1 < bands else 0
                h = np.uint64(parts[two[i], band]) << _HALF | np.uint64(parts[two[i], following])
                h = (whole[one[i]] ^ h) * _MIX
                h ^= h >> _HALF
            out[band, i] = np.uint32((h * _MIX) >> _HALF)


if __name__ == "__main__":
    if sys.argv[2] == "one side":
        bands._band_keys = _one_sided
    sys.stdout.write(json.dumps(measure(Path(sys.argv[1]))))
