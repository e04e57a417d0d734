"""Consistency: how near the positive of each record is, by an encoder, among all texts of its corpus.

A pair from the web (title and body, instruction and answer) is often no pair. One whose positive is not among the
nearest texts of its corpus is worth little to a trainer and may harm: the consistency-based filter of E5 (Wang et al.
2022, arXiv 2212.03533, section 3.1). Rank and cosine are stored; `resolve` decides how far down is too far.

Texts are counted, not records: in a corpus whose passages repeat, ranking by record would lose good pairs. Texts that
are known to belong to the text (the text itself, its other positives) are not held against a positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipeline.encode import PoolIndex, Vectors, device_of
from pipeline.encode.blocks import QUERY_ROWS, Candidates, Ids, exact
from pipeline.errors import FormatError
from pipeline.manifest.settings import ConsistencyConfig
from pipeline.record import CONSISTENCY_SCHEMA, shard_name
from pipeline.shards import write_parquet
from pipeline.store import Receipt

#: For these ranks the receipt tells how many records lie within.
TOLD_RANKS = (1, 2, 5, 10, 20, 50, 100, 1000)


def consistency(
    text: Sequence[Path],
    pool: Sequence[Path],
    vectors: Sequence[Path],
    out: Path,
    config: ConsistencyConfig,
    *,
    symmetric: bool,
    device: str | None = None,
) -> Receipt:
    """Write `marks-*.parquet` (CONSISTENCY_SCHEMA) beside the text shards of one corpus, row by row as they are.

    pool, vectors: the shards of the corpus' pool, and what `encode` made of each. symmetric: the text is ranked among
    the texts for its positive as well, and the worse rank counts.

    `rank` is 1 + the number of distinct `text_pos` of the corpus (of at most `max_pool` of them, drawn by seed) that
    are strictly nearer to the text than the record's own and not known to belong to it. Cosines are compared exactly.

    Raises FormatError where pool and vectors do not belong together, or the pool is not that of the text.
    """
    index, rows = PoolIndex(pool), Vectors.open(vectors)
    if len(index) != len(rows):
        cause = f"{len(index):,} texts of the pool have {len(rows):,} vectors"
        raise FormatError(str(vectors[0].parent), cause, "encode the shards of this pool")
    document = bool(index.documents.any())
    counts, found = _places(text, index, document=document)
    one, pos, own = found
    first, pairs = _distinct(one, pos, len(index))
    scores = exact(rows, one[first], pos[first])
    device = device or device_of()
    ranks = _ranks(rows, one[first], pos[first], own[first], scores, config, device)
    if symmetric:
        ranks = np.maximum(ranks, _ranks(rows, pos[first], one[first], pos[first], scores, config, device))
    start = 0
    for shard, count in enumerate(counts):
        mine = pairs[start : start + count]
        write_parquet(out / shard_name("marks", shard), _marks(ranks[mine], scores[mine]))
        start += count
    within = {str(top): int((ranks[pairs] <= top).sum()) for top in TOLD_RANKS}
    distinct = min(len(np.unique(pos)), config.max_pool)
    return {"records": len(pairs), "pairs": len(first), "pool": distinct, "symmetric": symmetric, "within": within}


def _places(text: Sequence[Path], index: PoolIndex, *, document: bool) -> tuple[list[int], tuple[Ids, Ids, Ids]]:
    """Rows a shard, and of every record the pool's rows of text, text_pos, and the text as a candidate (-1: none)."""
    counts: list[int] = []
    found: list[tuple[Ids, Ids, Ids]] = []
    for path in text:
        frame = pl.read_parquet(path, columns=["text", "text_pos"])
        places = (
            index.find(frame["text"], document=False),
            index.find(frame["text_pos"], document=document),
            index.find(frame["text"], document=document),
        )
        if len(missing := np.flatnonzero(np.minimum(*places[:2]) < 0)):
            cause = f"the pool does not hold the texts of row {missing[0]}"
            raise FormatError(str(path), cause, "make the pool of this text, and encode that")
        counts.append(frame.height)
        found.append(places)
    one, pos, own = (np.concatenate([np.zeros(0, np.int64), *parts]) for parts in zip(*found, strict=True))
    return counts, (one, pos, own)


def _distinct(one: Ids, pos: Ids, texts: int) -> tuple[Ids, Ids]:
    """A record of every distinct pair, ordered by text, and for each record which pair it is."""
    _, first, pairs = np.unique(one * max(texts, 1) + pos, return_index=True, return_inverse=True)
    return first, pairs.ravel()


def _ranks(
    vectors: Vectors,
    asking: Ids,
    wanted: Ids,
    own: Ids,
    scores: npt.NDArray[np.float64],
    config: ConsistencyConfig,
    device: str,
) -> Ids:
    """int64 [pairs]: the rank of `wanted` for `asking` among the distinct `wanted`."""
    drawn = np.unique(wanted)
    if len(drawn) > config.max_pool:
        random = np.random.default_rng(config.seed)
        drawn = np.sort(random.choice(drawn, config.max_pool, replace=False, shuffle=False))
    candidates = Candidates(vectors, drawn, device)
    order = np.argsort(asking, kind="stable")
    queries, starts = np.unique(asking[order], return_index=True)
    starts = np.append(starts, len(order))
    above = np.zeros(len(asking), np.int64)
    for start in range(0, len(queries), QUERY_ROWS):
        last = min(start + QUERY_ROWS, len(queries))
        here = order[starts[start] : starts[last]]
        of = np.searchsorted(queries[start:last], asking[here])
        above[here] = candidates.count_above(vectors.take(queries[start:last]), of, scores[here])
    return 1 + above - _belonging(vectors, asking, wanted, own, scores, drawn)


def _belonging(
    vectors: Vectors, asking: Ids, wanted: Ids, own: Ids, scores: npt.NDArray[np.float64], drawn: Ids
) -> Ids:
    """int64 [pairs]: how many of the drawn texts that belong to `asking` lie nearer than `wanted`."""
    texts, first = np.unique(asking, return_index=True)
    there = np.isin(own[first], drawn)
    texts, selves = texts[there], own[first][there]
    known = pl.concat(
        [
            pl.DataFrame({"text": asking, "id": wanted, "score": scores, "drawn": np.isin(wanted, drawn)}),
            pl.DataFrame({"text": texts, "id": selves, "score": exact(vectors, texts, selves), "drawn": True}),
        ]
    ).unique(["text", "id"])
    nearer = (
        known.group_by("text", "score")
        .agg(pl.col("drawn").sum())
        .sort("text", "score", descending=[False, True])
        .with_columns(nearer=pl.col("drawn").cum_sum().over("text") - pl.col("drawn"))
    )
    pairs = pl.DataFrame({"text": asking, "score": scores})
    joined = pairs.join(nearer, on=["text", "score"], how="left", maintain_order="left")
    return joined["nearer"].cast(pl.Int64).to_numpy()


def _marks(ranks: Ids, scores: npt.NDArray[np.float64]) -> pa.Table:
    rows = len(ranks)
    columns = [
        pa.nulls(rows, pa.string()),
        pa.nulls(rows, pa.string()),
        pa.nulls(rows, pa.float32()),
        pa.ListArray.from_arrays(np.zeros(rows + 1, np.int32), pa.array([], pa.string())),
        pa.array(ranks.astype(np.int32)),
        pa.array(scores.astype(np.float32)),
    ]
    return pa.Table.from_arrays(columns, schema=CONSISTENCY_SCHEMA)
