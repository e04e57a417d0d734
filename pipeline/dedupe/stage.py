"""The stage: text shards in, classes, edges and groups out."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.dedupe.classes import Classes, classify
from pipeline.dedupe.crowds import write_crowds
from pipeline.dedupe.edges import each_once, exact_edges, near_edges
from pipeline.dedupe.groups import side_groups
from pipeline.dedupe.keying import Room, key_piece
from pipeline.dedupe.pieces import SIDES, DedupeInput, Piece, cut
from pipeline.dedupe.search import search
from pipeline.heap import freed_kept
from pipeline.manifest.settings import DedupeConfig
from pipeline.record import shard_name
from pipeline.shards import write_parquet
from pipeline.spread import Here, Spread
from pipeline.store import Receipt

#: Positional: row i of classes shard s speaks of row i of text shard s.
CLASS_SCHEMA = pa.schema(
    [
        pa.field("class_id", pa.uint64(), nullable=False),
        pa.field("text_key", pa.uint64(), nullable=False),
        pa.field("pos_key", pa.uint64(), nullable=False),
        pa.field("text_group", pa.uint64(), nullable=False),
        pa.field("pos_group", pa.uint64(), nullable=False),
    ]
)

#: `text_similarity` is that of class_a's text to its counterpart: class_b's text, or its text_pos where `swapped`.
EDGE_SCHEMA = pa.schema(
    [
        pa.field("class_a", pa.uint64(), nullable=False),
        pa.field("class_b", pa.uint64(), nullable=False),
        pa.field("similarity", pa.float32(), nullable=False),
        pa.field("text_similarity", pa.float32(), nullable=False),
        pa.field("pos_similarity", pa.float32(), nullable=False),
        pa.field("swapped", pa.bool_(), nullable=False),
    ]
)


@freed_kept()
def dedupe(inputs: Sequence[DedupeInput], out: Path, config: DedupeConfig, spread: Spread | None = None) -> Receipt:
    """Compare every record with every other, by match keys, and write what was found to `out`.

    `classes/<corpus>/classes-*.parquet` (CLASS_SCHEMA) gives each record its class of exact copies, the hashes of its
    keys and the groups of its sides. `edges.parquet` (EDGE_SCHEMA) holds the verified pairs of classes from `floor` up,
    sorted, each once. All depends on the records alone: not on their order, threads, shards or `spread`; nor on
    `threshold`, which only `resolve` knows. Returns counts.

    Precision is exact: each edge is a true Jaccard on both sides. Recall is that of the bands, at least `recall` at the
    floor but among texts that share a long part with many others: those meet by what is their own, and pairs near the
    floor may be missed. Who lies in large buckets nearly always is of a crowd: `crowds.parquet` (CROWD_SCHEMA) holds the keys
    of its members, and `resolve` compares them in its own order.

    Memory: 16 bytes per distinct key, some 30 per record and one band; texts, band keys and candidates lie in a folder
    below `out` that is gone in the end (about 0.9 KB for a pair of 20 and 150 characters).
    """
    spread = spread or Here()
    work = out / "work"
    pieces = cut(inputs, work)
    room = Room()
    spread.map(key_piece, [(piece, config, room) for piece in pieces])
    del room
    classes = classify(pieces, work)
    found = exact_edges(classes)
    candidates = np.zeros(0, np.uint64)
    crowds: list[npt.NDArray[np.int64]] = []
    root = np.arange(len(classes.hashes), dtype=np.uint32)
    if config.near:
        met = search(pieces, "pair", len(classes), config, work, spread)
        candidates, crowds = met.pairs, met.crowds
        near = near_edges(pieces, classes, candidates, config, work, spread)
        root = side_groups(pieces, classes, near, config, work, spread)
        found += near
    edges = each_once(found)
    write_parquet(out / "edges.parquet", edges.to_arrow().cast(EDGE_SCHEMA))
    write_crowds(out / "crowds.parquet", pieces, classes, crowds)
    for given in inputs:
        folder = out / "classes" / given.corpus
        folder.mkdir(parents=True)
        for i, shard in enumerate(given.shards):
            parts = [_members(p, classes, root) for p in pieces if (p.corpus, p.shard) == (given.corpus, shard)]
            write_parquet(folder / shard_name("classes", i), pa.concat_tables(parts))
    shutil.rmtree(work)
    return {
        "records": sum(piece.rows for piece in pieces),
        "classes": len(classes),
        "keys": len(classes.hashes),
        "candidates": len(candidates),
        "crowds": len(crowds),
        "crowded": sum(map(len, crowds)),
        "edges": edges.height,
        "groups": int((root == np.arange(len(root))).sum()),
    }


def _members(piece: Piece, classes: Classes, root: npt.NDArray[np.uint32]) -> pa.Table:
    """The rows of one piece in CLASS_SCHEMA."""
    hashes, pair = piece.load("hashes"), piece.load("pair")
    groups = classes.hashes[root[piece.load("numbers")]]
    text, pos = (piece.load(side)[pair] for side in SIDES)
    columns = [piece.load("members")[pair].astype(np.uint64), hashes[text], hashes[pos], groups[text], groups[pos]]
    return pa.table(columns, schema=CLASS_SCHEMA)
