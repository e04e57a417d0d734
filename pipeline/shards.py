"""Parquet as every stage writes it: zstd, fixed row groups, shards of at most SHARD_ROWS rows, one byte sequence per content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.record import ROW_GROUP_ROWS, SHARD_ROWS, shard_name


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write one whole table; the same table always gives the same bytes."""
    with _writer(path, table.schema) as writer:
        writer.write_table(table, row_group_size=ROW_GROUP_ROWS)


def read_shards(paths: Sequence[Path], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Shard by shard, chosen columns only."""
    for path in paths:
        yield pq.read_table(
            path, columns=None if columns is None else list(columns), memory_map=True, use_threads=False
        )


class ShardWriter:
    """Append tables of one schema; shards `<kind>-00000.parquet` ... appear below `folder`.

    Row groups hold exactly ROW_GROUP_ROWS rows whatever the sizes of the tables written, so that the bytes do not
    depend on how a reader cut its batches. With no row written there is one empty shard.

    >>> import tempfile, pyarrow as pa
    >>> with tempfile.TemporaryDirectory() as folder, ShardWriter(Path(folder), "n", pa.schema([("a", pa.int8())])) as out:
    ...     out.write(pa.table({"a": pa.array([1, 2], pa.int8())}))
    >>> out.rows
    2
    """

    def __init__(self, folder: Path, kind: str, schema: pa.Schema, shard_rows: int = SHARD_ROWS) -> None:
        self.folder, self.kind, self.schema, self.shard_rows = folder, kind, schema, shard_rows
        self.paths: list[Path] = []
        self.rows = 0
        self._writer: pq.ParquetWriter | None = None
        self._in_shard = 0
        self._held: list[pa.Table] = []
        self._held_rows = 0

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush(whole_groups_only=False)
            if not self.paths:
                self._next_shard()
        if self._writer is not None:
            self._writer.close()

    def write(self, table: pa.Table) -> None:
        if table.num_rows:
            self._held.append(table.select(self.schema.names).cast(self.schema))
            self._held_rows += table.num_rows
            self.rows += table.num_rows
            self._flush(whole_groups_only=True)

    def _flush(self, *, whole_groups_only: bool) -> None:
        if not self._held_rows or (whole_groups_only and self._held_rows < ROW_GROUP_ROWS):
            return
        held = pa.concat_tables(self._held)
        start = 0
        while start < held.num_rows:
            room = min(ROW_GROUP_ROWS, self.shard_rows - self._in_shard if self._writer else self.shard_rows)
            if room == 0:
                self._next_shard()
                continue
            if whole_groups_only and held.num_rows - start < room:
                break
            if self._writer is None:
                self._next_shard()
            assert self._writer is not None
            group = held.slice(start, room)
            self._writer.write_table(group.combine_chunks(), row_group_size=ROW_GROUP_ROWS)
            self._in_shard += group.num_rows
            start += group.num_rows
        rest = held.slice(start)
        self._held, self._held_rows = ([rest], rest.num_rows) if rest.num_rows else ([], 0)

    def _next_shard(self) -> None:
        if self._writer is not None:
            self._writer.close()
        path = self.folder / shard_name(self.kind, len(self.paths))
        self.paths.append(path)
        self._writer, self._in_shard = _writer(path, self.schema), 0


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd", write_statistics=True)
