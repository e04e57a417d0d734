"""Data files made for publication: what may be passed on of a corpus, and ids and marks of the rest.

Read and written row group by row group, in the order and with the borders of the build.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.shards import ONE_FILE, ShardWriter, number_shards
from pipeline.store import Receipt
from pipeline.views import PUBLISHED_SCORED

#: Columns with text; `neg` loses its texts only.
TEXTS = ("text", "text_pos", "text_neg", "negative")
ALLOWED = pl.col("redistribute") == "allowed"


def cut_corpus(shards: Sequence[Path], evidence: Path, last: str | None, out: Path, *, scored: bool) -> Receipt:
    """Write what may be passed on of a corpus (`train-*`), and ids and marks of the rest (`ids-00000.parquet`).

    `last`: of an edition, the greatest record_id it takes. Borders of shards and row groups stay where the build has
    them; an edition is cut anew, for it is much smaller.
    """
    schema = PUBLISHED_SCORED if scored else pq.read_schema(shards[0])
    passed = ALLOWED if last is None else ALLOWED & (pl.col("record_id") <= last)
    marks = _marks_schema(schema)
    with ShardWriter(out, "train", schema) as data, ShardWriter(out, "ids", marks, ONE_FILE) as ids:
        flags = _flags(evidence)
        for shard in shards:
            groups = _groups(shard, scored)
            if last is not None:
                for group in groups:
                    data.write(_table(group.filter(passed), schema))
                continue
            data.write_shard(_kept(groups, passed, schema, marks, flags, ids))
    number_shards(data.paths)
    return {"rows": data.rows, "ids": ids.rows}


def cut_labelled(path: Path, out: Path) -> Receipt:
    """Write the labelled rows of a corpus that may be passed on (`labelled-00000.parquet`)."""
    schema = pq.read_schema(path)
    with ShardWriter(out, "labelled", schema, ONE_FILE) as writer:
        writer.write_shard(_table(group.filter(ALLOWED), schema) for group in _groups(path, False))
    return {"rows": writer.rows}


def _kept(
    groups: Iterator[pl.DataFrame],
    passed: pl.Expr,
    schema: pa.Schema,
    marks: pa.Schema,
    flags: pl.DataFrame,
    ids: ShardWriter,
) -> Iterator[pa.Table]:
    for group in groups:
        held = group.filter(~passed).join(flags, on="record_id", how="left", maintain_order="left")
        ids.write(_table(held.with_columns(pl.col("flags").fill_null([])), marks))
        yield _table(group.filter(passed), schema)


def _groups(shard: Path, scored: bool) -> Iterator[pl.DataFrame]:
    """A data shard row group by row group; with scores, its first negative as plain columns."""
    with pq.ParquetFile(shard) as file:
        for i in range(file.num_row_groups):
            frame = pl.DataFrame(file.read_row_group(i, use_threads=False))
            if scored:
                first = pl.col("neg").list.first()
                margin = pl.col("score_pos") - first.struct.field("score")
                frame = frame.with_columns(negative=first.struct.field("text"), label=margin)
            yield frame


def _marks_schema(schema: pa.Schema) -> pa.Schema:
    """The columns of a data file that hold no text, and the flags of evidence."""
    fields = []
    for field in schema:
        if field.name == "neg":
            told = field.type.value_type
            bare = pa.struct([told.field(i) for i in range(told.num_fields) if told.field(i).name != "text"])
            fields.append(pa.field("neg", pa.list_(bare), nullable=False))
        elif field.name not in TEXTS:
            fields.append(field)
    return pa.schema([*fields, pa.field("flags", pa.list_(pa.string()), nullable=False)])


def _flags(evidence: Path) -> pl.DataFrame:
    if not evidence.is_file():
        return pl.DataFrame(schema={"record_id": pl.String, "flags": pl.List(pl.String)})
    flagged = pl.scan_parquet(evidence).filter("kept", pl.col("flags").list.len() > 0)
    return flagged.select("record_id", "flags").collect()


def _table(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        column = frame.get_column(field.name)
        if field.name == "neg":
            inner = [field.type.value_type.field(i).name for i in range(field.type.value_type.num_fields)]
            column = column.list.eval(pl.struct(pl.element().struct.field(name) for name in inner))
        columns.append(column.to_arrow().cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)
