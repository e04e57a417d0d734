"""Claim: near-duplicate pairs at 0.8 on both sides, against an oracle of string sets: recall 0.99, precision 1.

The oracle (`tests/string_oracle.py`, keys by `tests/reference_key.py`) shares no code with the pipeline and leaves no pair
out. Copies come in two kinds: edited to a wanted Jaccard, and edited as people and web pages do.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks import text
from benchmarks.measure import Table
from pipeline.dedupe import DedupeInput, dedupe
from pipeline.manifest.settings import DedupeConfig
from tests.reference_key import reference_key
from tests.string_oracle import pair_edges, plant_edits

PAIRS = 6_000
BAR_RECALL, BAR_PRECISION = 0.99, 1.0
Found = dict[tuple[int, int], np.float32]


def run(pairs: int = PAIRS) -> Table:
    """Dedupes so many made pairs and as many hand-like edits again of a third of them."""
    made = pl.concat(text.pairs(text.source(), pairs))
    rows = list(made.select("text", "text_pos").iter_rows())
    rows += plant_edits(rows[::3], seed=1)
    config = DedupeConfig()
    table = Table(f"duplicates: {len(rows):,} pairs", ("similarity from", "there are", "recall", "precision"))
    for at, there, recall, precision in judged(rows, config, (config.floor, config.threshold)):
        bar = at == config.threshold
        table.add(
            f"{at:g}",
            f"{there:,}",
            f"{recall:.4f}",
            f"{precision:.4f}",
            bar=f"{BAR_RECALL:g} / {BAR_PRECISION:.2f}" if bar else "",
            holds=recall >= BAR_RECALL and precision >= BAR_PRECISION if bar else None,
        )
    return table.show()


def judged(
    rows: list[tuple[str, str]], config: DedupeConfig, limits: tuple[float, ...]
) -> list[tuple[float, int, float, float]]:
    """For each similarity: how many pairs reach it, recall, and precision: a pair told with another similarity is wrong."""
    found = _found(rows, config)
    records = [(reference_key(one), reference_key(two), False, True) for one, two in rows]
    expected = {pair: np.float32(value) for pair, (value, _) in pair_edges(records, config.floor).items()}
    told = []
    for at in limits:
        wanted, got = _from(expected, at), {pair for pair in _from(found, at) if expected.get(pair) == found[pair]}
        claimed = len(_from(found, at))
        told.append((at, len(wanted), len(wanted & got) / max(len(wanted), 1), len(got) / max(claimed, 1)))
    return told


def _found(rows: list[tuple[str, str]], config: DedupeConfig) -> Found:
    """The pairs of rows that dedupe joins: members of one class, and of classes with an edge."""
    with tempfile.TemporaryDirectory() as folder:
        shard, out = Path(folder) / "text-00000.parquet", Path(folder) / "out"
        out.mkdir()
        ids = [f"{i:032x}" for i in range(len(rows))]
        pl.DataFrame({"record_id": ids, "text": [r[0] for r in rows], "text_pos": [r[1] for r in rows]}).write_parquet(
            shard
        )
        dedupe([DedupeInput("bench", [shard], symmetric=False, near=True)], out, config)
        classes = pl.read_parquet(out / "classes" / "bench" / "classes-00000.parquet")["class_id"].to_list()
        edges = pl.read_parquet(out / "edges.parquet", columns=["class_a", "class_b", "similarity"])
    members = defaultdict(list)
    for row, number in enumerate(classes):
        members[number].append(row)
    found = {(i, j): np.float32(1) for same in members.values() for j in same for i in same if i < j}
    for a, b, similarity in edges.iter_rows():
        found |= {(min(i, j), max(i, j)): np.float32(similarity) for i in members[a] for j in members[b]}
    return found


def _from(edges: Found, similarity: float) -> set[tuple[int, int]]:
    return {pair for pair, value in edges.items() if value >= np.float32(similarity)}
