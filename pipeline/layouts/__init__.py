"""The reading room: files as their publishers ship them, in, batches of well-typed rows, out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.errors import CurationError
from pipeline.layouts.columns import arrow_schema
from pipeline.layouts.delimited import Dialect, read_delimited
from pipeline.layouts.json import array_lines, read_lines
from pipeline.layouts.parquet import read_parquet
from pipeline.layouts.rows import BATCH_ROWS, CHUNK_BYTES, BadRow, OnBad, RowBatch
from pipeline.layouts.squad import read_articles
from pipeline.layouts.stream import utf8_chunks, whole_lines
from pipeline.layouts.txt import read_text
from pipeline.manifest.columns import Column, parse_columns
from pipeline.manifest.corpus import FileSet

__all__ = ["BadRow", "OnBad", "RowBatch", "empty_rows", "read_rows"]


def read_rows(path: Path, part: FileSet, on_bad: OnBad, place: str | None = None) -> Iterator[RowBatch]:
    """Rows of one file as `part` declares them: layout, encoding, columns and their types.

    Batches hold at most BATCH_ROWS rows and some tens of MiB of text; row numbers are 0-based and count bad rows.
    An empty batch says that all rows since the last one were bad: whoever keeps them can let them go.
    A label column holds names, whatever the file stores. Gzip is told by the file's first bytes.

    Args:
        path: the file.
        part: what the manifest says of it.
        on_bad: takes every row that is not as declared, before the batch that follows it.
        place: how errors call the file; its name when None.

    Raises:
        FormatError: the file as a whole is not what is declared, or is damaged.
        DriftError: a declared column is missing, of another type or has other label names.

    >>> import tempfile
    >>> part = FileSet(files={"train": "x"}, layout="tsv", header=False, columns={"a": "string", "b": "string"})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "pairs.tsv")
    ...     _ = path.write_text("天气\\t气候\\n坏行\\n", encoding="utf-8")
    ...     bad = []
    ...     [(batch.table.to_pylist(), batch.rows.tolist()) for batch in read_rows(path, part, bad.append)]
    [([{'a': '天气', 'b': '气候'}], [0])]
    >>> bad
    [BadRow(row=1, reason='has 1 fields, expected 2', raw='坏行')]
    """
    place = place or path.name
    yield from _merged(_read(path, part, _columns(part, place), place, on_bad))


def empty_rows(part: FileSet, place: str) -> pa.Table:
    """No rows of a part, with the schema its batches have."""
    return arrow_schema(_columns(part, place)).empty_table()


def _columns(part: FileSet, place: str) -> dict[str, Column]:
    try:
        return parse_columns(part.typed_columns)
    except ValueError as fault:
        raise CurationError(place, str(fault), "mend the columns of the part") from None


def _read(path: Path, part: FileSet, columns: dict[str, Column], place: str, on_bad: OnBad) -> Iterator[RowBatch]:
    if part.layout == "parquet":
        yield from read_parquet(path, columns, place, on_bad)
        return
    chunks = utf8_chunks(path, part.encoding, place)
    match part.layout:
        case "csv" | "tsv":
            delimiter = "," if part.layout == "csv" else "\t"
            dialect = Dialect(delimiter, part.quote, part.header, part.encoding)
            yield from read_delimited(chunks, columns, dialect, place, on_bad)
        case "txt":
            yield from read_text(whole_lines(chunks, place), part.encoding, place, on_bad)
        case "squad":
            articles = whole_lines(array_lines(chunks, "data", place), place)
            yield from read_articles(articles, part.encoding, place, on_bad)
        case "jsonl":
            yield from read_lines(whole_lines(chunks, place), columns, part.encoding, place, on_bad)
        case _:
            elements = whole_lines(array_lines(chunks, part.path or "", place), place)
            yield from read_lines(elements, columns, part.encoding, place, on_bad)


def _merged(batches: Iterator[RowBatch]) -> Iterator[RowBatch]:
    """Small batches put together: a stage pays per batch."""
    held: list[RowBatch] = []
    rows = size = 0
    for batch in batches:
        empty = not len(batch.rows)
        if held and (empty or rows + len(batch.rows) > BATCH_ROWS or size + batch.table.nbytes > CHUNK_BYTES):
            yield _joined(held)
            held, rows, size = [], 0, 0
        if empty:
            yield batch
        else:
            held.append(batch)
            rows, size = rows + len(batch.rows), size + batch.table.nbytes
    if held:
        yield _joined(held)


def _joined(batches: list[RowBatch]) -> RowBatch:
    if len(batches) == 1:
        return batches[0]
    table = pa.concat_tables([batch.table for batch in batches]).combine_chunks()
    return RowBatch(table, np.concatenate([batch.rows for batch in batches]))
