"""Parquet as every stage writes it: zstd, fixed row groups, shards of at most SHARD_ROWS rows, one byte sequence per content.

Pages end where the content says so (content-defined chunking), so a store that keeps files in chunks, as the Hub does,
finds most of a changed file again. Files can be published as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.record import ROW_GROUP_ROWS, SHARD_ROWS, shard_name

#: Small columns of a whole corpus go into one file.
ONE_FILE = 1 << 62
#: Bytes of a page before encoding. Smaller pages are found again more often after a change and cost 0.3 % in size.
PAGE_BYTES = {"min_chunk_size": 64 << 10, "max_chunk_size": 256 << 10}
#: Columns of few values. The others get no dictionary: one dropped row would change the whole of it.
REPETITIVE = (
    *("corpus", "sub_source", "split", "prompt", "prompt_pos", "licence_id", "commercial", "redistribute"),
    *("stage", "reason", "against", "benchmark", "flags.list.element", "also_in.list.element"),
    *("neg.list.element.corpus", "neg.list.element.origin", "neg.list.element.licence_id"),
)


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write one whole table; the same table always gives the same bytes."""
    with group_writer(path, table.schema) as writer:
        writer.write_table(table, row_group_size=ROW_GROUP_ROWS)


def number_shards(paths: Sequence[Path]) -> None:
    """`train-00000.parquet` -> `train-00000-of-00003.parquet`: the names the Hub's viewer and loaders expect."""
    for path in paths:
        path.rename(path.with_name(f"{path.stem}-of-{len(paths):05d}.parquet"))


def read_shards(paths: Sequence[Path], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Shard by shard, chosen columns only."""
    for path in paths:
        yield pq.read_table(
            path, columns=None if columns is None else list(columns), memory_map=True, use_threads=False
        )


def read_groups(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Tables of ROW_GROUP_ROWS rows, the last of what is left, so that positional files are read side by side.

    Of an empty file one empty table. Read, not mapped: mapped pages count as held memory until the kernel takes them.
    """
    with pq.ParquetFile(path) as file:
        schema = pa.schema([field for field in file.schema_arrow if columns is None or field.name in columns])
        held: list[pa.RecordBatch] = []
        room = ROW_GROUP_ROWS
        for batch in file.iter_batches(ROW_GROUP_ROWS, columns=schema.names, use_threads=False):
            held.append(batch.slice(0, room))
            if batch.num_rows > room:
                yield pa.Table.from_batches(held, schema)
                held, room = [batch.slice(room)], ROW_GROUP_ROWS + room
            room -= batch.num_rows
    yield pa.Table.from_batches(held, schema)


def count_rows(paths: Iterable[Path]) -> int:
    """Rows of all these files, by their footers."""
    return sum(pq.read_metadata(path).num_rows for path in paths)


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

    def write_shard(self, groups: Iterable[pa.Table]) -> None:
        """One shard of just these row groups, empty ones left out.

        For borders that follow those of another shard: then a row taken out moves no other row across a border.
        """
        self._flush(whole_groups_only=False)
        self._next_shard()
        assert self._writer is not None
        for group in groups:
            if group.num_rows:
                told = group.select(self.schema.names).cast(self.schema).combine_chunks()
                self._writer.write_table(told, row_group_size=max(ROW_GROUP_ROWS, told.num_rows))
                self.rows += told.num_rows
        self._in_shard = self.shard_rows

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
        self._writer, self._in_shard = group_writer(path, self.schema), 0


def group_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A file to be written row group by row group: tables of ROW_GROUP_ROWS rows give what `write_parquet` makes of all."""
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        write_statistics=True,
        use_dictionary=list(REPETITIVE),
        use_content_defined_chunking=PAGE_BYTES,
        write_page_index=True,
    )
