"""Shards: the bytes depend on the rows alone, not on how they arrived."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.record import ROW_GROUP_ROWS
from pipeline.shards import ShardWriter, group_writer, read_groups, read_shards, write_parquet

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


def test_groups_are_read_and_written_as_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.shards.ROW_GROUP_ROWS", 7)
    for rows in (0, 6, 7, 8, 21, 30):
        for cut in (1, 5, 7, 100):
            pq.write_table(table(rows), tmp_path / "cut.parquet", row_group_size=cut)
            groups = list(read_groups(tmp_path / "cut.parquet", ["s"]))
            assert [g.num_rows for g in groups] == [7] * (rows // 7) + ([rows % 7] if rows % 7 or not rows else [])
            assert pa.concat_tables(groups).equals(table(rows).select(["s"]))
        with group_writer(tmp_path / "one.parquet", SCHEMA) as file:
            for group in read_groups(tmp_path / "cut.parquet"):
                file.write_table(group)
        write_parquet(tmp_path / "two.parquet", table(rows))
        assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_row_groups_have_a_fixed_size(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", table(ROW_GROUP_ROWS + 5))
    metadata = pq.read_metadata(tmp_path / "x.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [ROW_GROUP_ROWS, 5]


def test_no_rows_give_one_empty_shard(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "x", SCHEMA) as writer:
        pass
    assert [p.name for p in writer.paths] == ["x-00000.parquet"]
    assert pq.read_table(writer.paths[0]).schema == SCHEMA


def test_a_shard_of_given_groups_keeps_its_borders_when_rows_go(tmp_path: Path) -> None:
    groups = [table(1000).slice(start, 250) for start in range(0, 1000, 250)]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with ShardWriter(tmp_path / "a", "x", SCHEMA) as whole:
        whole.write_shard(groups)
        whole.write_shard([table(0)])
    with ShardWriter(tmp_path / "b", "x", SCHEMA) as less:
        less.write_shard([groups[0], groups[1].slice(7), groups[2], groups[3]])
        less.write_shard([table(0)])
    assert (whole.rows, less.rows, len(whole.paths), len(less.paths)) == (1000, 993, 2, 2)
    told = [pq.ParquetFile(writer.paths[0]) for writer in (whole, less)]
    sizes = [[file.metadata.row_group(i).num_rows for i in range(4)] for file in told]
    assert sizes == [[250, 250, 250, 250], [250, 243, 250, 250]]
    for i in (0, 2, 3):
        assert told[0].read_row_group(i) == told[1].read_row_group(i)
    # The bytes of an untouched group are the same, wherever they lie.
    pages = [pages_of(writer.paths[0], 3) for writer in (whole, less)]
    assert pages[0] == pages[1]


def pages_of(path: Path, group: int) -> list[bytes]:
    metadata, raw = pq.read_metadata(path).row_group(group), path.read_bytes()
    columns = [metadata.column(i) for i in range(metadata.num_columns)]
    return [raw[column.data_page_offset :][: column.total_compressed_size] for column in columns]


def test_a_change_leaves_the_other_pages_as_they_are(tmp_path: Path) -> None:
    """Pages end by content: what a dropped row shifts is found again a page later."""
    rows = [hashlib.sha256(b"%d" % i).hexdigest() for i in range(60_000)]
    whole = pa.table({"s": rows})
    write_parquet(tmp_path / "whole.parquet", whole)
    write_parquet(tmp_path / "less.parquet", pa.concat_tables([whole.slice(0, 20_000), whole.slice(20_100)]))
    raw, less = ((tmp_path / name).read_bytes() for name in ("whole.parquet", "less.parquet"))
    blocks = [less[at : at + 4096] for at in range(0, len(less) - 4096, 4096)]
    assert sum(block in raw for block in blocks) / len(blocks) > 0.8
