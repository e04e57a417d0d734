"""Resolve: from every stage's marks and edges to one decision per record.

Evidence is gathered first and judged here, so that a threshold, a licence or a priority can change without touching
text. What marks removed goes first; the survivors are walked in priority order (freest licence, better grade, recipe
order, record_id) and one is kept unless it has an edge at or above the threshold to a record already kept. Hence every
record removed as a duplicate names a kept record and their Jaccard, a chain a~b~c does not swallow c with a, and no two
kept records are duplicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.licence import Rank
from pipeline.manifest.corpus import Strict
from pipeline.manifest.settings import CapConfig
from pipeline.record import DECISION_SCHEMA
from pipeline.shards import write_parquet
from pipeline.store import Receipt
from pipeline.tombstones import struck
from pipeline.walk import Crowds, Links, walk


class ResolveConfig(Strict):
    """`usable: false` in a rank removes the records of that sub-source (a recipe by use class).

    `top`: records whose marks hold a higher rank of consistency are removed.
    """

    threshold: float
    cap: CapConfig | None = None
    top: int | None = None


@dataclass(frozen=True)
class ResolveInput:
    """One corpus' shards, positional to one another, in recipe order. Marks come in order of precedence.

    `standing`: records of a build that stands. They are kept, before all others, and nothing is written about them.
    """

    corpus: str
    grade: str
    ranks: dict[str, Rank]
    text: Sequence[Path]
    marks: dict[str, Sequence[Path]]
    classes: Sequence[Path]
    standing: bool = False


def resolve(
    inputs: Sequence[ResolveInput],
    edges: Path,
    tombstones: frozenset[str],
    out: Path,
    config: ResolveConfig,
    crowds: Path | None = None,
) -> Receipt:
    """Write `<corpus>/decisions-*.parquet` (DECISION_SCHEMA), positional to the text shards.

    `edges`: class_a, class_b, similarity, swapped, as dedupe writes them; `crowds`: who must be compared in the order of
    the walk (CROWD_SCHEMA). Returns counts per corpus, stage and reason.
    """
    frame = pl.concat([_records(i, place, tombstones, config.top) for place, i in enumerate(inputs)])
    # Priority is a total order: record_id is unique, so the outcome does not depend on how rows arrived.
    order = _order(frame)
    links = pl.read_parquet(edges).filter(pl.col("similarity") >= config.threshold)
    frame, found = _dedupe(frame, order, links, Crowds.read(crowds, out), config.threshold)
    if config.cap is not None:
        frame = _cap(frame, order, config.cap.positives_per_text)
    frame = frame.with_columns(
        cluster=_clusters(frame, pl.concat([links.select(found.columns), found])),
        also_in=_also_in(frame, [i.corpus for i in inputs]),
    )
    receipt: Receipt = {"corpora": {}}
    for place, given in enumerate(inputs):
        if given.standing:
            continue
        mine = frame.filter(pl.col("place") == place)
        receipt["corpora"][given.corpus] = _counts(mine)
        _write(mine, given.text, out / given.corpus)
    return receipt


def _order(frame: pl.DataFrame) -> npt.NDArray[np.int64]:
    """The rows in the order of the walk: all ranks in one number, and record ids as two, which sort as their digits do."""
    rank = (~pl.col("standing")).cast(pl.UInt64)
    for name in ("commercial", "redistribute", "grade"):
        rank = rank * 256 + pl.col(name).fill_null(0).cast(pl.UInt64)
    columns = frame.select("tail", "head", rank=rank * 65_536 + pl.col("place").cast(pl.UInt64))
    order: npt.NDArray[np.int64] = np.lexsort([column.to_numpy() for column in columns])
    return order


def _records(given: ResolveInput, place: int, tombstones: frozenset[str], top: int | None) -> pl.DataFrame:
    """One row per record: identity, priority, class and what the marks say already."""
    text = pl.concat([pl.read_parquet(p, columns=["record_id", "sub_source", "quality_score"]) for p in given.text])
    classes = pl.concat([pl.read_parquet(p, columns=["class_id", "text_key", "pos_key"]) for p in given.classes])
    ranks = pl.DataFrame(
        [(name, rank.commercial.rank, rank.redistribute.rank, rank.usable) for name, rank in given.ranks.items()],
        schema={"sub_source": pl.String, "commercial": pl.UInt8, "redistribute": pl.UInt8, "usable": pl.Boolean},
        orient="row",
    )
    frame = (
        pl.concat([text, classes], how="horizontal")
        .join(ranks, on="sub_source", how="left", maintain_order="left")
        .with_columns(
            standing=pl.lit(given.standing),
            place=pl.lit(place, pl.UInt16),
            grade=pl.lit(0 if given.grade == "优" else 1, pl.UInt8),
            **{name: _half(half) for half, name in enumerate(("head", "tail"))},
        )
    )
    nothing = pl.lit(None, pl.String)
    dead = pl.lit(False) if given.standing else struck(tombstones, "record_id", "text_key", "pos_key")
    frame = frame.with_columns(
        stage=pl.when(dead).then(pl.lit("tombstone")).otherwise(nothing),
        reason=pl.when(dead).then(pl.lit("tombstone")).otherwise(nothing),
        benchmark=nothing,
        similarity=pl.lit(None, pl.Float32),
    )
    for stage, paths in given.marks.items():
        marks = pl.concat([_marks(p, top) for p in paths])
        hit = pl.col("stage").is_null() & pl.col("mark_reason").is_not_null()
        frame = (
            frame.with_columns(
                mark_reason=marks["reason"], against=marks["against"], mark_similarity=marks["similarity"]
            )
            .with_columns(
                stage=pl.when(hit).then(pl.lit(stage)).otherwise("stage"),
                reason=pl.when(hit).then("mark_reason").otherwise("reason"),
                benchmark=pl.when(hit & pl.lit(stage == "decontaminate")).then("against").otherwise("benchmark"),
                similarity=pl.when(hit).then("mark_similarity").otherwise("similarity"),
            )
            .drop("mark_reason", "against", "mark_similarity")
        )
    unusable = pl.col("stage").is_null() & ~pl.col("usable") & ~pl.col("standing")
    return frame.with_columns(
        stage=pl.when(unusable).then(pl.lit("licence")).otherwise("stage"),
        reason=pl.when(unusable).then(pl.lit("use_class")).otherwise("reason"),
        duplicate_of=nothing,
    ).drop("usable", "sub_source", "pos_key")


def _half(half: int) -> pl.Expr:
    """The first or second 16 of a record id's 32 hex digits as a number."""
    return (
        pl.col("record_id").str.decode("hex").bin.slice(8 * half, 8).bin.reinterpret(dtype=pl.UInt64, endianness="big")
    )


def _marks(path: Path, top: int | None) -> pl.DataFrame:
    """A stage's verdicts; where it gives ranks, the verdict on them."""
    if "rank" not in pq.read_schema(path).names:
        return pl.read_parquet(path, columns=["reason", "against", "similarity"])
    ranked = pl.read_parquet(path, columns=["rank", "score"])
    over = pl.col("rank") > top if top is not None else pl.lit(False)
    return ranked.select(
        reason=pl.when(over).then(pl.lit("rank")),
        against=pl.lit(None, pl.String),
        similarity=pl.when(over).then("score"),
    )


def _dedupe(
    frame: pl.DataFrame, order: npt.NDArray[Any], links: pl.DataFrame, crowds: Crowds | None, threshold: float
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Keep the best survivor of every class, then of every neighbourhood; also which class went for which."""
    ids = frame["class_id"].to_numpy().astype(np.int64)
    alive = frame["stage"].is_null().to_numpy()
    walking = order[alive[order]]
    count = int(max(ids.max(initial=-1), *(links[end].max() or -1 for end in ("class_a", "class_b")))) + 1
    # The first record of each class on the walk stands for it; -1 where no member survives.
    best = np.full(count, -1, np.int64)
    best[ids[walking[::-1]]] = walking[::-1]
    steps = ids[walking[best[ids[walking]] == walking]]
    standing = int(frame["standing"].to_numpy()[best[steps]].sum())
    walked = walk(steps, Links.of(links, count), crowds, threshold, standing)
    winner, similarity, swapped = walked.winner[ids], walked.similarity[ids], walked.swapped[ids]
    rows = np.arange(len(ids))
    keeper = np.where(winner >= 0, best[winner], best[ids])
    removed = alive & (keeper != rows)
    near = removed & (winner >= 0)
    value = np.where(near, similarity, 1.0).astype(np.float32)
    # An edge of similarity 1 joins equal keys: the same pair turned round, or held by a corpus of another kind.
    kinds = pl.Series(["exact_duplicate", "near_duplicate", "swapped_duplicate"])
    reason = kinds.gather(np.where(near & swapped, 2, near & (value < 1)))
    hit = pl.Series(removed)
    gone = np.flatnonzero(walked.winner >= 0)
    found = pl.DataFrame({"class_a": gone, "class_b": walked.winner[gone]}).cast(pl.UInt64)
    decided = frame.with_columns(
        stage=pl.when(hit).then(pl.lit("dedupe")).otherwise("stage"),
        reason=pl.when(hit).then(reason).otherwise("reason"),
        duplicate_of=pl.when(hit).then(frame["record_id"].gather(np.where(removed, keeper, 0))).otherwise(None),
        similarity=pl.when(hit).then(pl.Series(value)).otherwise("similarity"),
        held_by=pl.Series(np.where(removed, ids[keeper], ids)),
    )
    return decided, found


def _cap(frame: pl.DataFrame, order: npt.NDArray[Any], most: int) -> pl.DataFrame:
    """Of more than `most` kept positives of one text the best stay: quality_score first, then priority."""
    priority = np.empty(len(order), np.int64)
    priority[order] = np.arange(len(order))
    rank = (
        frame.select("text_key", "quality_score", "stage", "standing")
        .with_columns(priority=pl.Series(priority), row=pl.int_range(pl.len()))
        .filter(pl.col("stage").is_null())
        .filter(pl.len().over("text_key") > most)
        .sort("standing", pl.col("quality_score").fill_null(float("-inf")), "priority", descending=[True, True, False])
        .with_columns(rank=pl.int_range(pl.len()).over("text_key"))
        .filter((pl.col("rank") >= most) & ~pl.col("standing"))
    )
    over = np.zeros(frame.height, np.bool_)
    over[rank["row"].to_numpy()] = True
    # A duplicate of a record over the cap goes with it: every duplicate_of names a kept record.
    orphan = frame["duplicate_of"].is_in(frame["record_id"].filter(pl.Series(over)).implode()).fill_null(False)
    hit = pl.Series(over) | orphan
    return frame.with_columns(
        stage=pl.when(hit).then(pl.lit("cap")).otherwise("stage"),
        reason=pl.when(orphan)
        .then(pl.lit("keeper_over_cap"))
        .when(hit)
        .then(pl.lit("positives_per_text"))
        .otherwise("reason"),
        duplicate_of=pl.when(hit).then(None).otherwise("duplicate_of"),
        similarity=pl.when(hit).then(None).otherwise("similarity"),
    )


def _clusters(frame: pl.DataFrame, links: pl.DataFrame) -> pl.Series:
    """The component of each record's pair, named by the first 16 digits of its smallest record_id."""
    ids = frame["class_id"].to_numpy().astype(np.int64)
    a, b = links["class_a"].to_numpy().astype(np.int64), links["class_b"].to_numpy().astype(np.int64)
    size = max(ids.max(initial=-1), a.max(initial=-1), b.max(initial=-1)) + 1
    _, component = connected_components(
        coo_array((np.ones(len(a), np.int8), (a, b)), shape=(size, size)), directed=False
    )
    least = np.full(int(component.max(initial=-1)) + 1, np.iinfo(np.uint64).max)
    np.minimum.at(least, component[ids], frame["head"].to_numpy())
    return pl.Series(least[component[ids]])


def _also_in(frame: pl.DataFrame, corpora: Sequence[str]) -> pl.Series:
    """Per kept record the other corpora that held it too: as an exact copy, whatever became of that one, or as a near
    copy that was removed for it. Names in order; empty for removed records."""
    columns = frame.select("held_by", "place", kept=pl.col("stage").is_null()).with_row_index("row")
    kept = columns.filter("kept").select("row", "held_by", home="place")
    names = pl.DataFrame({"place": range(len(corpora)), "name": corpora}, {"place": pl.UInt16, "name": pl.String})
    found = (
        columns.filter(~pl.col("kept"))
        .select("held_by", "place")
        .unique()
        .join(kept, on="held_by", how="inner")
        .filter(pl.col("place") != pl.col("home"))
        .join(names, on="place")
        .sort("row", "name")
        .group_by("row", maintain_order=True)
        .agg(also_in="name")
    )
    listed = columns.select("row").join(found, on="row", how="left", maintain_order="left")["also_in"]
    return listed.fill_null(pl.Series([[]], dtype=pl.List(pl.String)))


def _counts(mine: pl.DataFrame) -> Receipt:
    removed = mine.filter(pl.col("stage").is_not_null()).group_by("stage", "reason").len().sort("stage", "reason")
    counts: dict[str, dict[str, int]] = {}
    for stage, reason, n in removed.iter_rows():
        counts.setdefault(stage, {})[reason] = n
    return {"records": mine.height, "kept": mine["stage"].null_count(), "removed": counts}


def _write(mine: pl.DataFrame, text: Sequence[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    start = 0
    for shard, path in enumerate(text):
        rows = pq.read_metadata(path).num_rows
        part = mine.slice(start, rows).with_columns(keep=pl.col("stage").is_null())
        table = part.select(DECISION_SCHEMA.names).to_arrow().cast(DECISION_SCHEMA)
        write_parquet(folder / f"decisions-{shard:05d}.parquet", table)
        start += rows
