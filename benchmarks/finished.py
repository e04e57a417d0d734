"""A small finished build to mine, made of plain rows: data, evidence, labelled rows, pool and vectors, as the stages read
them. Groups come from `dedupe`; vectors are hashed character n-grams: real geometry without a model."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import xxhash

from pipeline.dedupe import DedupeInput, dedupe
from pipeline.encode.pool import pool
from pipeline.manifest.settings import DedupeConfig
from pipeline.mine import Known, MineInput
from pipeline.record import DATA_SCHEMA, EVIDENCE_SCHEMA, LABELLED_DATA_SCHEMA, TEXT_SCHEMA
from pipeline.shards import write_parquet

TERMS = {"licence_id": "MIT", "commercial": "allowed", "redistribute": "allowed"}


@dataclass
class Corpus:
    """pairs: dicts with text, text_pos and, where wanted, text_neg, doc, removed. labelled: (text, other, label)."""

    name: str
    pairs: list[dict[str, Any]]
    labelled: list[tuple[str, str, bool | None]] = field(default_factory=list)
    symmetric: bool = False
    near: bool = True
    code_sides: frozenset[str] = frozenset()


@dataclass
class Made:
    inputs: list[MineInput]
    known: list[Known]
    data: dict[str, pl.DataFrame]
    evidence: dict[str, pl.DataFrame]
    pools: dict[str, pl.DataFrame]
    matrices: dict[str, np.ndarray]


def ngrams(texts: Sequence[str], dimension: int = 96, salt: str = "") -> np.ndarray:
    """float16 [n, dimension] of length 1: signed hashed counts of characters and pairs of them."""
    rows = np.zeros((len(texts), dimension))
    for i, text in enumerate(texts):
        for gram in (*text, *(text[j : j + 2] for j in range(len(text) - 1))):
            h = zlib.crc32((salt + gram).encode())
            rows[i, (h >> 1) % dimension] += 1 if h & 1 else -1
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return rows.astype(np.float16)


Encode = Callable[[Sequence[str]], np.ndarray]


def build(
    folder: Path, corpora: Sequence[Corpus], *, two_sided: bool = False, shard_rows: int = 1000, encode: Encode = ngrams
) -> Made:
    made = Made([], [], {}, {}, {}, {})
    texts = {c.name: _text_rows(c) for c in corpora}
    for c in corpora:
        (folder / c.name).mkdir(parents=True)
        write_parquet(folder / c.name / "text.parquet", _table(texts[c.name], TEXT_SCHEMA))
    (folder / "dedupe").mkdir()
    inputs = [
        DedupeInput(c.name, [folder / c.name / "text.parquet"], c.symmetric, c.near, c.code_sides) for c in corpora
    ]
    dedupe(inputs, folder / "dedupe", DedupeConfig())
    classes = {c.name: pl.read_parquet(folder / "dedupe/classes" / c.name / "*.parquet") for c in corpora}
    clusters = _clusters(pl.read_parquet(folder / "dedupe/edges.parquet"), classes)
    for c in corpora:
        home = folder / c.name
        frame = pl.concat([texts[c.name], classes[c.name]], how="horizontal").with_columns(
            cluster=pl.Series([clusters[i] for i in classes[c.name]["class_id"].to_list()], dtype=pl.UInt64),
            kept=pl.Series([not pair.get("removed", False) for pair in c.pairs], dtype=pl.Boolean),
            flags=pl.lit([], pl.List(pl.String)),
            also_in=pl.lit([], pl.List(pl.String)),
            **{name: pl.lit(value) for name, value in TERMS.items()},
        )
        write_parquet(home / "evidence.parquet", _table(frame, EVIDENCE_SCHEMA))
        data = frame.filter("kept")
        shards = []
        for number, lo in enumerate(range(0, max(data.height, 1), shard_rows)):
            shards.append(home / f"train-{number:05d}.parquet")
            write_parquet(shards[-1], _table(data[lo : lo + shard_rows], DATA_SCHEMA))
        labelled = []
        if c.labelled:
            labelled.append(home / "labelled.parquet")
            write_parquet(labelled[0], _table(_labelled_rows(c), LABELLED_DATA_SCHEMA))
        (home / "pool").mkdir()
        pool(shards, labelled, home / "pool", one_side=c.symmetric or not two_sided)
        pools = sorted((home / "pool").glob("*.parquet"))
        rows = pl.concat([pl.read_parquet(path) for path in pools])
        vectors = []
        matrices = []
        for path in pools:
            part = pl.read_parquet(path)
            matrices.append(encode([("文" if d else "") + t for t, d in part.iter_rows()]))
            vectors.append(path.with_suffix(".npy"))
            np.save(vectors[-1], matrices[-1])
        made.inputs.append(MineInput(c.name, c.symmetric, shards, labelled, pools, vectors, c.code_sides))
        made.known.append(Known(c.name, c.symmetric, home / "evidence.parquet", labelled, c.code_sides))
        made.data[c.name], made.evidence[c.name], made.pools[c.name] = data, frame, rows
        made.matrices[c.name] = np.concatenate(matrices)
    return made


def _text_rows(c: Corpus) -> pl.DataFrame:
    rows = []
    for i, pair in enumerate(c.pairs):
        record_id = xxhash.xxh3_128_hexdigest(f"{c.name}:{i}".encode())
        doc = pair.get("doc", record_id)
        rows.append(
            {
                "record_id": record_id,
                "corpus": c.name,
                **dict.fromkeys(("sub_source", "prompt", "prompt_pos"), ""),
                "split": "train",
                "row": f"f#{i}",
                "text": pair["text"],
                "text_pos": pair["text_pos"],
                "text_neg": pair.get("text_neg", []),
                "score": None,
                "doc_group": xxhash.xxh3_64_intdigest(f"{c.name}\0{doc}".encode()),
                "quality_score": None,
            }
        )
    return pl.DataFrame(rows, schema=pl.from_arrow(TEXT_SCHEMA.empty_table()).schema)


def _labelled_rows(c: Corpus) -> pl.DataFrame:
    rows = [
        {
            "record_id": xxhash.xxh3_128_hexdigest(f"labelled {c.name}:{i}".encode()),
            "corpus": c.name,
            "sub_source": "",
            "split": "train",
            "row": f"l#{i}",
            "text": text,
            "other": other,
            "label": label,
            "score": None,
            **TERMS,
        }
        for i, (text, other, label) in enumerate(c.labelled)
    ]
    return pl.DataFrame(rows, schema=pl.from_arrow(LABELLED_DATA_SCHEMA.empty_table()).schema)


def _clusters(edges: pl.DataFrame, classes: dict[str, pl.DataFrame]) -> dict[int, int]:
    """Components of edges from 0.8 up, as `resolve` has them: the least class names its component."""
    root = {i: i for frame in classes.values() for i in frame["class_id"].to_list()}

    def find(i: int) -> int:
        while root[i] != i:
            i = root[i]
        return i

    for a, b in edges.filter(pl.col("similarity") >= 0.8).select("class_a", "class_b").iter_rows():
        a, b = sorted((find(a), find(b)))
        root[b] = a
    return {i: find(i) for i in root}


def _table(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    return frame.select(schema.names).to_arrow().cast(schema)
