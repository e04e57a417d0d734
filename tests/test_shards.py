"""Shards: the bytes depend on the rows alone, not on how they arrived."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.record import ROW_GROUP_ROWS
from pipeline.shards import ShardWriter, read_shards, write_parquet

SCHEMA = pa.schema([pa.field("n", pa.int64()), pa.field("s", pa.string())])


def table(rows: int) -> pa.Table:
    return pa.table({"n": list(range(rows)), "s": [f"第{i}行" for i in range(rows)]}, schema=SCHEMA)


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2500), st.lists(st.integers(1, 900), min_size=1, max_size=8), st.integers(300, 1200))
def test_the_bytes_do_not_depend_on_the_cuts(rows: int, cuts: list[int], shard_rows: int) -> None:
    whole = table(rows)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        with ShardWriter(Path(first), "x", SCHEMA, shard_rows) as writer:
            writer.write(whole)
        with ShardWriter(Path(second), "x", SCHEMA, shard_rows) as writer:
            at = i = 0
            while at < rows:
                writer.write(whole.slice(at, cuts[i % len(cuts)]))
                at, i = at + cuts[i % len(cuts)], i + 1
        assert digests(Path(first)) == digests(Path(second))
        back = pa.concat_tables(read_shards(sorted(Path(second).iterdir())))
        assert back.to_pydict() == whole.to_pydict()
        assert all(pq.read_metadata(p).num_rows <= shard_rows for p in Path(second).iterdir())


def test_row_groups_have_a_fixed_size(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", table(ROW_GROUP_ROWS + 5))
    metadata = pq.read_metadata(tmp_path / "x.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [ROW_GROUP_ROWS, 5]


def test_no_rows_give_one_empty_shard(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "x", SCHEMA) as writer:
        pass
    assert [p.name for p in writer.paths] == ["x-00000.parquet"]
    assert pq.read_table(writer.paths[0]).schema == SCHEMA
