"""Judged pairs of a corpus (`labelled/<corpus>.parquet`) as an endless stream in an order drawn anew each round."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq


class Judged:
    """Rows by their place in the stream; one row group at a time is in memory.

    `scale` is the top of the corpus' gold scores; a label counts 1 or 0.
    """

    def __init__(self, path: Path, scale: float, seed: int) -> None:
        self._path, self._scale, self._seed = path, scale, seed
        told = pq.read_metadata(path)
        self._sizes = [told.row_group(g).num_rows for g in range(told.num_row_groups)]
        self.rows = sum(self._sizes)
        self._here: tuple[int, int] | None = None
        self._frame = pl.DataFrame()

    def between(self, start: int, end: int) -> pl.DataFrame:
        """text, other and gold (0 to 1) of the rows at these places; those without a judgement are left out."""
        parts = []
        while start < end:
            turn, place = divmod(start, self.rows)
            order = np.random.default_rng([self._seed, turn]).permutation(len(self._sizes))
            ends = np.cumsum([self._sizes[g] for g in order])
            at = int(np.searchsorted(ends, place, side="right"))
            group, before = int(order[at]), int(ends[at]) - self._sizes[order[at]]
            took = min(end - start, int(ends[at]) - place)
            parts.append(self._read(turn, group).slice(place - before, took))
            start += took
        return pl.concat(parts).drop_nulls("gold") if parts else pl.DataFrame()

    def _read(self, turn: int, group: int) -> pl.DataFrame:
        if self._here != (turn, group):
            with pq.ParquetFile(self._path) as file:
                table: pa.Table = file.read_row_group(group, columns=["text", "other", "label", "score"])
            order = np.random.default_rng([self._seed, turn, group]).permutation(table.num_rows)
            gold = pl.coalesce(pl.col("score") / self._scale, pl.col("label").cast(pl.Float32)).clip(0, 1)
            self._frame = pl.DataFrame(table.take(pa.array(order))).select("text", "other", gold=gold)
            self._here = turn, group
        return self._frame
