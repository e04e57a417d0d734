"""The stage: from every stage's marks and edges to one decision per record.

Evidence is gathered first and judged here, so that a threshold, a licence or a priority can change without touching
text. What marks removed goes first; the survivors are walked in priority order (freest licence, better grade, recipe
order, record_id) and one is kept unless it has an edge at or above the threshold to a record already kept. Hence every
record removed as a duplicate names a kept record and their Jaccard, a chain a~b~c does not swallow c with a, and no two
kept records are duplicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.frequent import over
from pipeline.manifest.corpus import Strict
from pipeline.manifest.settings import CapConfig
from pipeline.resolve.decisions import Clusters, counts, write
from pipeline.resolve.records import Records, ResolveInput, gather
from pipeline.shards import read_groups
from pipeline.store import Receipt
from pipeline.walk import Crowds, Links, walk

Ints = npt.NDArray[np.int64]


class ResolveConfig(Strict):
    """`usable: false` in a rank removes the records of that sub-source (a recipe by use class).

    `top`: records whose marks hold a higher rank of consistency are removed.
    """

    threshold: float
    cap: CapConfig | None = None
    top: int | None = None


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
    the walk (CROWD_SCHEMA). Returns counts per corpus, stage and reason. Memory: 32 bytes a record (44 with a cap), some
    40 a class while they are walked, 26 an edge; the keys of crowds lie in a file.
    """
    records = gather(inputs, tombstones, config.top, capped=config.cap is not None)
    order = records.order().astype(np.int32)
    near = pl.col("similarity") >= config.threshold
    links = pl.concat([pl.DataFrame(table).filter(near) for table in read_groups(edges, _LINK)])
    found = _dedupe(records, order, links, Crowds.read(crowds, out), config.threshold)
    if config.cap is not None:
        _cap(records, order, config.cap.positives_per_text)
    del order
    clusters = _clusters(records, links, found)
    del links, found
    also_in = _also_in(records, [given.corpus for given in inputs])
    receipt: Receipt = {"corpora": {}}
    for span, given in zip(records.spans, inputs, strict=True):
        if not given.standing:
            receipt["corpora"][given.corpus] = counts(records, span)
            write(records, span, clusters, also_in, given.text, out / given.corpus)
    return receipt


_ENDS = ("class_a", "class_b")
_LINK = (*_ENDS, "similarity", "swapped")


def _dedupe(
    records: Records, order: npt.NDArray[np.int32], links: pl.DataFrame, crowds: Crowds | None, threshold: float
) -> tuple[Ints, Ints]:
    """Keep the best survivor of every class, then of every neighbourhood; also which class went for which."""
    ids = records.class_id
    walking = order[records.verdict[order] == 0]
    count = 1 + max(int(of.max(initial=0)) for of in (ids, *(links[end].to_numpy() for end in _ENDS)))
    # The first record of each class on the walk stands for it; -1 where no member survives.
    best = np.full(count, -1, np.int32)
    best[ids[walking[::-1]]] = walking[::-1]
    first = walking[best[ids[walking]] == walking]
    steps = ids[first].astype(np.int64)
    standing = int(records.standing(first).sum())
    del walking, first
    walked = walk(steps, Links.of(links, count), crowds, threshold, standing)
    # An edge of similarity 1 joins equal keys: the same pair turned round, or held by a corpus of another kind.
    kinds = ("exact_duplicate", "near_duplicate", "swapped_duplicate")
    numbers = np.array([records.verdicts.number("dedupe", kind) for kind in kinds], np.uint16)
    for rows in records.blocks():
        of = ids[rows]
        winner = walked.winner[of]
        keeper = np.where(winner >= 0, best[winner], best[of])
        removed = (records.verdict[rows] == 0) & (keeper != np.arange(rows.start, rows.stop))
        near = removed & (winner >= 0)
        value = np.where(near, walked.similarity[of], np.float32(1))
        kind = np.where(near & walked.swapped[of], 2, near & (value < 1))
        records.keeper[rows][removed] = keeper[removed]
        records.verdict[rows][removed] = numbers[kind[removed]]
        records.similarity[rows][removed] = value[removed]
    gone = np.flatnonzero(walked.winner >= 0)
    return gone, walked.winner[gone]


def _cap(records: Records, order: npt.NDArray[np.int32], most: int) -> None:
    """Of more than `most` kept positives of one text the best stay: quality_score first, then priority."""
    kept = order[records.verdict[order] == 0]
    some = over(records.text_key[kept], most)
    at, rows = np.flatnonzero(some), kept[some].astype(np.int64)
    ranked = (
        pl.DataFrame({"row": rows, "text_key": records.text_key[rows], "quality": records.quality[rows]})
        .with_columns(standing=pl.Series(records.standing(rows)), priority=pl.Series(at))
        .sort("standing", "quality", "priority", descending=[True, True, False])
        .with_columns(rank=pl.int_range(pl.len()).over("text_key"))
        .filter((pl.col("rank") >= most) & ~pl.col("standing"))
    )
    hit = np.zeros(len(records), np.bool_)
    hit[ranked["row"].to_numpy()] = True
    # A duplicate of a record over the cap goes with it: every duplicate_of names a kept record.
    reasons = [records.verdicts.number("cap", reason) for reason in ("positives_per_text", "keeper_over_cap")]
    for block in records.blocks():
        keeper = records.keeper[block]
        for mask, number in zip((hit[block], (keeper >= 0) & hit[keeper]), reasons, strict=True):
            records.verdict[block][mask] = number
            records.similarity[block][mask] = np.nan


def _clusters(records: Records, links: pl.DataFrame, found: tuple[Ints, Ints]) -> Clusters:
    """The component of each record's pair, named by the first 16 digits of its smallest record_id."""
    a, b = (
        np.concatenate([links[end].to_numpy().astype(np.int32), more.astype(np.int32)])
        for end, more in zip(_ENDS, found, strict=True)
    )
    size = 1 + max(int(ids.max(initial=0)) for ids in (records.class_id, a, b))
    joined = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(size, size))
    count, component = connected_components(joined, directed=False)
    least = np.full(count, np.iinfo(np.uint64).max)
    for rows in records.blocks():
        np.minimum.at(least, component[records.class_id[rows]], records.head[rows])
    return Clusters(component, least)


def _also_in(records: Records, corpora: Sequence[str]) -> pl.DataFrame:
    """Per kept record (`row`) the other corpora that held it too (`also_in`, in order): as an exact copy, whatever became
    of that one, or as a near copy that was removed for it. Records that no other corpus held are not listed."""
    first = np.full(int(records.class_id.max(initial=0)) + 1, np.iinfo(np.uint16).max, np.uint16)
    last = np.zeros(len(first), np.uint16)
    for rows in records.blocks():
        held_by, places = records.holders(rows), records.places(rows)
        np.minimum.at(first, held_by, places)
        np.maximum.at(last, held_by, places)
    parts = [pl.DataFrame(schema={"row": pl.Int64, "held_by": pl.UInt32, "place": pl.UInt16, "kept": pl.Boolean})]
    for rows in records.blocks():
        held_by = records.holders(rows)
        some = np.flatnonzero(first[held_by] < last[held_by])
        told = {"row": some + rows.start, "held_by": held_by[some], "place": records.places(rows)[some]}
        parts.append(pl.DataFrame(told | {"kept": records.verdict[rows][some] == 0}))
    columns = pl.concat(parts)
    kept = columns.filter("kept").select("row", "held_by", home="place")
    names = pl.DataFrame({"place": range(len(corpora)), "name": corpora}, {"place": pl.UInt16, "name": pl.String})
    return (
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
