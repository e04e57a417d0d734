"""The negatives of every record of a corpus, by number: the rule applied to one block of candidates after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.manifest.settings import RuleConfig
from pipeline.mine.rule import ORIGINS, Found, Given, select
from pipeline.score.holders import record_halves


class Taken(NamedTuple):
    """The negatives of some records, record after record. `of`: the record's place among them, int64."""

    of: NDArray[np.int64]
    ids: NDArray[np.uint32]
    scores: NDArray[np.float32]
    ranks: NDArray[np.int32]
    origins: NDArray[np.uint8]


class Negatives(NamedTuple):
    """The pairs of a corpus and what was selected for them; row i speaks of the corpus' i-th record.

    text, pos: uint32 [n]. score_pos: float32 [n]. `ids`, `scores`, `ranks` (0 where given), `origins`: [n, width], of
    which the first `counts[i]` count.
    """

    text: NDArray[np.uint32]
    pos: NDArray[np.uint32]
    score_pos: NDArray[np.float32]
    counts: NDArray[np.int32]
    ids: NDArray[np.uint32]
    scores: NDArray[np.float32]
    ranks: NDArray[np.int32]
    origins: NDArray[np.uint8]

    def of(self, rows: slice) -> Taken:
        """Those of these records."""
        taken = np.arange(self.ids.shape[1]) < self.counts[rows, None]
        of = np.repeat(np.arange(len(taken)), self.counts[rows])
        return Taken(
            of, self.ids[rows][taken], self.scores[rows][taken], self.ranks[rows][taken], self.origins[rows][taken]
        )

    def chosen(self) -> NDArray[np.uint32]:
        """The numbers of all negatives of all records."""
        return self.ids[np.arange(self.ids.shape[1]) < self.counts[:, None]]


def select_negatives(
    data: Sequence[Path], pairs: Sequence[Path], candidates: Sequence[Path], rule: RuleConfig, mu: float
) -> Negatives:
    """Apply the rule to a corpus. `pairs` are positional to `data`, `candidates` rise by text.

    Candidates are read a row group at a time. What is held: 13 bytes per negative asked for, 40 per record, and the
    given negatives.
    """
    frames = [pl.read_parquet(path) for path in pairs]
    frame = pl.concat(frames)
    text, score_pos = frame["text"].to_numpy(), frame["score_pos"].to_numpy()
    drawn_by = np.concatenate(
        [record_halves(pl.read_parquet(path, columns=["record_id"])["record_id"])[:, 0] for path in data]
    )
    given = _given(frame["given"])
    n, width = len(text), rule.negatives
    made = Negatives(
        text,
        frame["pos"].to_numpy(),
        score_pos,
        np.zeros(n, np.int32),
        np.zeros((n, width), np.uint32),
        np.zeros((n, width), np.float32),
        np.zeros((n, width), np.int32),
        np.zeros((n, width), np.uint8),
    )
    order = np.argsort(text, kind="stable")
    rising = text[order]
    done = 0
    for found in _blocks(candidates):
        upto = int(np.searchsorted(rising, found.text[-1], side="right"))
        _put(made, order[done:upto], drawn_by, given, found, rule, mu)
        done = upto
    _put(made, order[done:], drawn_by, given, _NOTHING, rule, mu)
    return made


_NOTHING = Found(
    np.zeros(0, np.uint32),
    np.zeros(1, np.int64),
    np.zeros(0, np.uint32),
    np.zeros(0, np.float32),
    np.zeros(0, np.int32),
)


def _put(
    made: Negatives,
    rows: NDArray[np.int64],
    drawn_by: NDArray[np.uint64],
    given: Given,
    found: Found,
    rule: RuleConfig,
    mu: float,
) -> None:
    chosen = select(made.text[rows], made.score_pos[rows], drawn_by[rows], _rows_of(given, rows), found, rule, mu)
    counts = np.diff(chosen.offsets)
    at = np.repeat(rows, counts), np.arange(len(chosen.ids)) - np.repeat(chosen.offsets[:-1], counts)
    made.counts[rows] = counts
    made.ids[at], made.scores[at], made.ranks[at], made.origins[at] = chosen[1:]


def _given(column: pl.Series) -> Given:
    """The given negatives of all records."""
    counts = column.list.len().to_numpy().astype(np.int64)
    items = column.explode(empty_as_null=False, keep_nulls=False).struct.unnest()
    origins = np.array(items["origin"].cast(pl.Enum(ORIGINS)).to_physical(), np.uint8)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Given(offsets, items["id"].to_numpy(), items["score"].to_numpy(), origins)


def _rows_of(given: Given, rows: NDArray[np.int64]) -> Given:
    """The given negatives of these records, in this order."""
    counts = np.diff(given.offsets)[rows]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    at = np.repeat(given.offsets[:-1][rows] - offsets[:-1], counts) + np.arange(offsets[-1])
    return Given(offsets, given.ids[at], given.scores[at], given.origins[at])


def _blocks(candidates: Sequence[Path]) -> Iterator[Found]:
    """The candidates, a row group at a time; none of them empty."""
    for path in candidates:
        with pq.ParquetFile(path, memory_map=True) as file:
            for group in range(file.num_row_groups):
                for batch in file.read_row_group(group).combine_chunks().to_batches():
                    if batch.num_rows:
                        yield _found(batch)


def _found(batch: pa.RecordBatch) -> Found:
    ids, scores, ranks = (batch.column(name) for name in ("ids", "scores", "ranks"))
    offsets = ids.offsets.to_numpy().astype(np.int64)
    flat = (one.flatten().to_numpy() for one in (ids, scores, ranks))
    return Found(batch.column("text").to_numpy(), offsets - offsets[0], *flat)
