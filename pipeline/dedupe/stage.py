"""The stage: text shards in, classes, edges and groups out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.dedupe.edges import Edges, exact_edges, near_edges
from pipeline.dedupe.groups import side_groups
from pipeline.dedupe.records import DedupeInput, gather
from pipeline.manifest.settings import DedupeConfig
from pipeline.record import shard_name
from pipeline.shards import write_parquet
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


def dedupe(inputs: Sequence[DedupeInput], out: Path, config: DedupeConfig) -> Receipt:
    """Compare every record with every other, by match keys, and write what was found to `out`.

    `classes/<corpus>/classes-*.parquet` (CLASS_SCHEMA) gives each record its class of exact copies, the hashes of its
    keys and the groups of its sides. `edges.parquet` (EDGE_SCHEMA) holds the verified pairs of classes from `floor` up,
    sorted, each once. Both depend on the records alone: not on their order, threads or time. Returns counts.

    Precision is exact: each edge is a true Jaccard on both sides. Recall is that of the bands, at least 0.999 at the
    floor, except inside buckets of more than 512 classes, where leader edges stand for all (see `buckets.by_leaders`).
    """
    gathered = gather(inputs)
    keys, classes = gathered.keys, gathered.classes
    edges = Edges()
    exact_edges(classes, edges)
    near = np.zeros(0, np.int64)
    if config.near:
        near_edges(keys, classes, config, edges)
        near = np.unique(np.concatenate([classes.text[classes.near], classes.pos[classes.near]]))
    groups = side_groups(keys, gathered.strings, gathered.order, near, config)
    found = edges.table()
    write_parquet(out / "edges.parquet", found.to_arrow().cast(EDGE_SCHEMA))
    for given, shards in zip(inputs, gathered.members, strict=True):
        folder = out / "classes" / given.corpus
        folder.mkdir(parents=True)
        for i, members in enumerate(shards):
            text, pos = classes.text[members], classes.pos[members]
            columns = [members.astype(np.uint64), keys.hashes[text], keys.hashes[pos], groups[text], groups[pos]]
            write_parquet(folder / shard_name("classes", i), pa.table(columns, schema=CLASS_SCHEMA))
    return {
        "records": sum(len(members) for shards in gathered.members for members in shards),
        "classes": len(classes),
        "keys": len(keys),
        "candidates": edges.candidates,
        "huge_buckets": edges.huge_buckets,
        "edges": found.height,
        "edges_at_threshold": int((found["similarity"] >= config.threshold).sum()),
        "groups": len(np.unique(groups)),
    }
