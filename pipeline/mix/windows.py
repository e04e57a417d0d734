"""One corpus as an endless stream of packed batches, window by window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import BuildError
from pipeline.manifest.settings import MixConfig
from pipeline.mix.pack import dense_groups, pack

#: Rows read at a time; windows begin and end on such a border.
PIECE = 8_192
GROUPS = ["text_group", "pos_group", "doc_group"]
ROW = "__row"
Ints = npt.NDArray[np.int64]


@dataclass
class Position:
    """Where a stream stands: small, JSON-able, enough to go on with the very next batch.

    `group` and `piece` say where the window in hand begins (the place of the row group in this epoch's order, pieces
    of it that are read); `given` batches of it are out; `carry` are rows that earlier windows left over.
    """

    epoch: int = 0
    group: int = 0
    piece: int = 0
    given: int = 0
    carry: list[int] = field(default_factory=list)


class Stream:
    """Batches of one corpus, epoch after epoch; each epoch gives every row exactly once."""

    def __init__(
        self,
        corpus: str,
        number: int,
        paths: Sequence[Path],
        columns: Sequence[str],
        config: MixConfig,
        window_rows: int,
        position: Position | None = None,
    ) -> None:
        self.corpus, self.position = corpus, position or Position()
        self._number, self._config, self._window_rows = number, config, window_rows
        self._wanted = list(columns)
        self._read = list(dict.fromkeys([*columns, "text", "text_pos", *GROUPS]))
        self._groups: list[tuple[Path, int, int, int]] = []
        start = 0
        for path in paths:
            told = pq.read_metadata(path)
            if missing := sorted(set(self._read) - set(told.schema.to_arrow_schema().names)):
                raise BuildError(
                    str(path), f"it has no column {', '.join(missing)}", "build it again with this version"
                )
            for g in range(told.num_row_groups):
                rows = told.row_group(g).num_rows
                self._groups.append((path, g, start, rows))
                start += rows
        self.rows = start

    def batches(self) -> Iterator[tuple[int, pa.Table]]:
        """(length bucket, table) without end; `position` always speaks of the next batch. Needs at least one row."""
        while True:
            yield from self._epoch()
            self.position = Position(self.position.epoch + 1)

    def _epoch(self) -> Iterator[tuple[int, pa.Table]]:
        here = self.position
        order = np.random.default_rng([self._config.seed, self._number, here.epoch]).permutation(len(self._groups))
        carry = self._rows(here.carry)
        while True:
            table, group, piece = self._window(order, here.group, here.piece)
            whole = pa.concat_tables([carry, table])
            last = group >= len(order)
            packed, sizes, buckets, left = self._pack(whole, (here.epoch, here.group, here.piece), last)
            starts = np.concatenate([[0], np.cumsum(sizes)])
            for i in range(here.given, len(sizes)):
                here.given = i + 1
                done = packed.slice(int(starts[i]), int(sizes[i]))
                yield int(buckets[i]), done.select(self._wanted)
            if last:
                return
            carry = whole.take(pa.array(left))
            refs = carry.column(ROW).to_pylist()
            here.group, here.piece, here.given, here.carry = group, piece, 0, refs

    def _window(self, order: Any, group: int, piece: int) -> tuple[pa.Table, int, int]:
        """Rows from here on until the window is full, and where the next one begins."""
        tables, rows, size = [self._nothing()], 0, 0
        while group < len(order):
            path, number, start, held = self._groups[order[group]]
            with pq.ParquetFile(path) as file:
                for i, batch in enumerate(file.iter_batches(PIECE, row_groups=[number], columns=self._read)):
                    if i < piece:
                        continue
                    at = np.arange(start + i * PIECE, start + i * PIECE + batch.num_rows)
                    tables.append(pa.Table.from_batches([batch]).append_column(ROW, pa.array(at)))
                    rows, size, piece = rows + batch.num_rows, size + batch.nbytes, i + 1
                    if rows >= self._window_rows or size >= self._config.window_bytes:
                        break
            if piece * PIECE >= held:
                group, piece = group + 1, 0
            if rows >= self._window_rows or size >= self._config.window_bytes:
                break
        return pa.concat_tables(tables), group, piece

    def _pack(self, table: pa.Table, seed: tuple[int, ...], last: bool) -> tuple[pa.Table, Ints, Ints, Ints]:
        """The window in batch order, batch sizes, their buckets, and the rows left for the next window."""
        config = self._config
        draw = np.random.default_rng([config.seed, self._number, *seed])
        order = draw.permutation(table.num_rows).astype(np.int32)
        chars = pc.add(pc.utf8_length(table["text"]), pc.utf8_length(table["text_pos"])).to_numpy()
        bucket = np.searchsorted(np.array(config.length_buckets), chars, side="left")[order]
        columns = [table[name].to_numpy() for name in GROUPS]
        groups = dense_groups(*columns)[order]
        batch = np.empty(len(order), np.int64)
        begin = 0
        for b in range(len(config.length_buckets) + 1):
            at = np.flatnonzero(bucket == b)
            batch[at] = pack(groups[at], config.batch) + begin
            begin = int(batch[at].max(initial=begin - 1)) + 1
        sizes = np.bincount(batch, minlength=begin)
        whole = sizes == config.batch
        # Rows of a group that outnumbers the batches of a window would be carried for ever: the fullest go out short.
        most = 0 if last else max(self._window_rows // 2, config.batch)
        short = np.flatnonzero(~whole)
        short = short[np.argsort(sizes[short], kind="stable")]
        whole[short[np.searchsorted(np.cumsum(sizes[short]), most, side="right") :]] = True
        left = order[~whole[batch]]
        turns = np.flatnonzero(whole)[draw.permutation(int(whole.sum()))]
        turn = np.empty(begin, np.int64)
        turn[turns] = np.arange(len(turns))
        out = np.flatnonzero(whole[batch])
        out = out[np.argsort(turn[batch[out]], kind="stable")]
        of_batch = np.empty(begin, np.int64)
        of_batch[batch] = bucket
        left = left[np.argsort(table[ROW].to_numpy()[left])]
        return table.take(pa.array(order[out])), sizes[turns], of_batch[turns], left

    def _rows(self, wanted: Sequence[int]) -> pa.Table:
        """These rows of the corpus; `wanted` ascends."""
        found = [self._nothing()]
        rows = np.array(wanted, np.int64)
        for path, number, start, held in self._groups:
            here = rows[(rows >= start) & (rows < start + held)]
            if len(here):
                table = pq.ParquetFile(path).read_row_group(number, columns=self._read).take(pa.array(here - start))
                found.append(table.append_column(ROW, pa.array(here)))
        return pa.concat_tables(found)

    def _nothing(self) -> pa.Table:
        if not self._groups:
            raise BuildError(self.corpus, "it has no record to train on", "leave it out, or build it again")
        schema = pq.read_schema(self._groups[0][0])
        fields = [schema.field(name) for name in self._read]
        return pa.schema([*fields, pa.field(ROW, pa.int64())]).empty_table()
