"""Comma and tab separated text. Records are bounded and counted here, their fields parsed by arrow.

With a header the declared columns are found by name and others ignored; without one they are the columns in order.
An empty field is an empty string, never null, in a string column; in an `int?`, `float?` or `bool?` column it is null.
Row numbers count every record after the header, bad ones included, empty lines not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv as pcsv

from pipeline.errors import CurationError, DriftError, FormatError
from pipeline.layouts import scan
from pipeline.layouts.columns import arrow_schema
from pipeline.layouts.rows import BATCH_ROWS, MAX_ROW_BYTES, BadRow, Bools, Int64s, OnBad, RowBatch, raw_text
from pipeline.layouts.stream import decodes, refuse_wrong_encoding, too_long, undecodable
from pipeline.manifest.columns import Column, Label, Scalar

_NUMBER = {"int": r"^[+-]?\d+$", "float": r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"}
_TRUTH = {"true": True, "false": False, "1": True, "0": False}


class Dialect(NamedTuple):
    """How fields are parted: `delimiter` is a comma or a tab, `quote` None where nothing quotes."""

    delimiter: str
    quote: str | None
    header: bool
    encoding: str


def read_delimited(
    chunks: Iterable[bytes], columns: Mapping[str, Column], dialect: Dialect, place: str, on_bad: OnBad
) -> Iterator[RowBatch]:
    """Rows of the text in `chunks`. DriftError where the header lacks a column, FormatError for an open quote
    or a header that does not decode."""
    for name, column in columns.items():
        if not isinstance(column, Scalar | Label):
            raise CurationError(place, f"column {name} is declared {column}", "delimited text has only plain columns")
    indices = None if dialect.header else list(range(len(columns)))
    width = len(columns)
    first_row = 0
    checked = False
    for data, starts, ends, fields in _records(chunks, dialect, place):
        if indices is None:
            if not decodes(data, starts[:1], ends[:1])[0]:
                cause = f"declared encoding {dialect.encoding}, but its header does not decode"
                raise FormatError(place, cause, "declare the encoding the file has")
            names = _fields(data[starts[0] : ends[0]], dialect, int(fields[0]))
            indices, width = _places(names, columns, place), len(names)
            starts, ends, fields = starts[1:], ends[1:], fields[1:]
        if not len(starts):
            continue
        good = decodes(data, starts, ends)
        if not checked:
            refuse_wrong_encoding(good, data, starts, ends, dialect.encoding, place)
            checked = True
        for low in range(0, len(starts), BATCH_ROWS):
            span = slice(low, low + BATCH_ROWS)
            block = _Block(data, starts[span], ends[span], first_row + low)
            yield block.read(columns, indices, width, dialect, fields[span], good[span], place, on_bad)
        first_row += len(starts)
    if indices is None:
        raise FormatError(place, "the file is empty, not even a header", "fetch the file again")


def _records(chunks: Iterable[bytes], dialect: Dialect, place: str) -> Iterator[tuple[bytes, Int64s, Int64s, Int64s]]:
    """Blocks of whole records with their bounds and field counts; empty blocks are left out."""
    delimiter, quote = ord(dialect.delimiter), ord(dialect.quote) if dialect.quote else 0
    held = b""
    for chunk, final in chain(((chunk, False) for chunk in chunks), [(b"", True)]):
        data = held + chunk
        room = data.count(b"\n") + data.count(b"\r") + 1
        starts, ends, fields = (np.empty(room, dtype=np.int64) for _ in range(3))
        array = np.frombuffer(data, dtype=np.uint8)
        count, used, quoted = scan.record_bounds(array, delimiter, quote, final, starts, ends, fields)
        held = data[used:]
        if final and quoted:
            opening = held.splitlines()[0][:60].decode("utf-8", "replace")
            cause = f"a quote stays open in the record that begins {opening!r}"
            raise FormatError(place, cause, "check quote of the part")
        if len(held) > MAX_ROW_BYTES:
            raise too_long(place)
        if count:
            yield data, starts[:count], ends[:count], fields[:count]


def _places(names: list[str], columns: Mapping[str, Column], place: str) -> list[int]:
    for name in columns:
        if names.count(name) != 1:
            what = "is not in the header" if name not in names else "is twice in the header"
            cause = f"column {name} {what}, which has {', '.join(names)}"
            raise DriftError(place, cause, "was it renamed? declare the name it has now, or header: false")
    return [names.index(name) for name in columns]


def _fields(record: bytes, dialect: Dialect, width: int) -> list[str]:
    return [str(column[0]) for column in _parsed(record, dialect, width, list(range(width))).columns]


def _parsed(block: bytes, dialect: Dialect, width: int, indices: list[int]) -> pa.Table:
    """Records of `width` fields each as strings, the fields at `indices` only."""
    names = [str(index) for index in range(width)]
    return pcsv.read_csv(
        pa.BufferReader(block),
        read_options=pcsv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=names),
        parse_options=pcsv.ParseOptions(
            delimiter=dialect.delimiter, quote_char=dialect.quote or False, newlines_in_values=bool(dialect.quote)
        ),
        convert_options=pcsv.ConvertOptions(
            check_utf8=False,  # already done, row by row
            column_types=dict.fromkeys(names, pa.string()),
            include_columns=[names[index] for index in indices],
            strings_can_be_null=False,
        ),
    ).combine_chunks()


class _Block(NamedTuple):
    data: bytes
    starts: Int64s
    ends: Int64s
    first_row: int

    def read(
        self,
        columns: Mapping[str, Column],
        indices: list[int],
        width: int,
        dialect: Dialect,
        fields: Int64s,
        decoded: Bools,
        place: str,
        on_bad: OnBad,
    ) -> RowBatch:
        reasons = {
            row: undecodable(self._raw(row), dialect.encoding)
            if not decoded[row]
            else f"has {fields[row]} fields, expected {width}"
            for row in np.flatnonzero(~decoded | (fields != width)).tolist()
        }
        whole = np.setdiff1d(np.arange(len(self.starts), dtype=np.int64), list(reasons))
        block = b"\n".join(map(self._raw, whole.tolist())) if reasons else self.data[self.starts[0] : self.ends[-1]]
        table = _parsed(block, dialect, width, indices) if block else None
        if table is not None and table.num_rows != len(whole):
            cause = f"{table.num_rows} records parsed where {len(whole)} were counted after row {self.first_row}"
            raise FormatError(place, cause, "check quote of the part")
        typed, wrong = [], np.zeros(len(whole), dtype=np.bool_)
        for index, (name, column) in enumerate(columns.items()):
            texts = table.column(index).combine_chunks() if table is not None else pa.array([], pa.string())
            values, odd = _cast(column, texts)
            for at in np.flatnonzero(odd & ~wrong).tolist():
                reasons[int(whole[at])] = f"column {name}: '{texts[at]}' is not {_wanted(column)}"
            typed.append(values)
            wrong |= odd
        for row in sorted(reasons):
            on_bad(BadRow(self.first_row + row, reasons[row], raw_text(self._raw(row))))
        kept = pa.Table.from_arrays(typed, schema=arrow_schema(columns)).filter(pa.array(~wrong))
        return RowBatch(kept, whole[~wrong] + self.first_row)

    def _raw(self, row: int) -> bytes:
        return self.data[self.starts[row] : self.ends[row]]


def _cast(column: Column, texts: pa.Array) -> tuple[pa.Array, Bools]:
    """Texts as values of the declared type, and which do not read as one."""
    nothing = np.zeros(len(texts), dtype=np.bool_)
    if isinstance(column, Label):
        given = pl.Series(texts, dtype=pl.String)
        numbers = {str(number): name for number, name in enumerate(column.names)}
        known = numbers | {name: name for name in column.names}  # a name wins over a number of the same look
        names = given.replace_strict(known, default=None, return_dtype=pl.String)
        return names.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string()), names.is_null().to_numpy()
    if not isinstance(column, Scalar) or column.kind == "string":
        return texts, nothing
    given = pl.Series(texts, dtype=pl.String)
    if column.kind == "bool":
        values = given.str.to_lowercase().replace_strict(_TRUTH, default=None, return_dtype=pl.Boolean)
    else:
        plain = given.set(~given.str.contains(_NUMBER[column.kind]), None)
        values = plain.cast(pl.Int64 if column.kind == "int" else pl.Float64, strict=False)
        values = values.set(values.is_infinite(), None) if column.kind == "float" else values
    odd = values.is_null() & (given != "") if column.optional else values.is_null()
    return values.to_arrow(), odd.to_numpy()


def _wanted(column: Column) -> str:
    return str(column) if isinstance(column, Label) else f"of type {column}"
