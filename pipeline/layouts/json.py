"""JSON in its three containers: lines, one array, a list under a key of one object. All become blocks of lines.

Each block goes to arrow's JSON parser; the lines of a block that it refuses, or that hold a null where none may be,
are read one by one, so that a bad row costs its neighbours nothing. What the block parser takes, the row parser takes
too and with the same values: a row's fate never depends on the rows around it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.json as pj

from pipeline.errors import DriftError, FormatError
from pipeline.layouts import scan
from pipeline.layouts.columns import arrow_schema, arrow_type, broken, label_names
from pipeline.layouts.rows import BATCH_ROWS, BadRow, Int64s, OnBad, RowBatch, raw_text
from pipeline.layouts.stream import decodes, is_utf8, refuse_wrong_encoding, undecodable
from pipeline.layouts.values import Fault, shaped
from pipeline.manifest.columns import Column, Label, optional

#: So many readable rows decide whether a declared column is there at all.
PROBED_ROWS = 100
#: A refused block is tried again in pieces of so many lines before single lines are read.
_PIECE = 256


def array_lines(chunks: Iterable[bytes], key: str, place: str) -> Iterator[bytes]:
    """The elements of a JSON array as lines; `key` names the top-level key that holds it, "" where the file is it.

    FormatError when the array is not there, or the file is cut short or malformed between its elements.
    """
    state = np.zeros(scan.STATE, dtype=np.int64)
    state[scan.ELEMENTS] = -1
    name = np.frombuffer(orjson.dumps(key)[1:-1], dtype=np.uint8)
    for chunk in chunks:
        data = np.frombuffer(bytearray(chunk), dtype=np.uint8)
        fault = scan.array_to_lines(data, state, name)
        if fault != scan.FINE:
            cause, cure = _CONTAINER_FAULTS[fault]
            raise FormatError(place, cause.format(key=key, element=max(0, int(state[scan.ELEMENTS]))), cure)
        yield data.tobytes()
    phase, element = int(state[scan.PHASE]), max(0, int(state[scan.ELEMENTS]))
    if (phase in (scan.KEYS, scan.DONE) and state[scan.ELEMENTS] < 0) or phase == scan.SEEK:
        what = f"ends without the key {key}" if key else "holds no list"
        raise FormatError(place, f"the file {what}", "check layout and path of the part, and that the file is whole")
    if phase != scan.DONE:
        where = f"in element {element}" if phase == scan.LIST else f"after element {element - 1}"
        raise FormatError(place, f"the file ends {where} (counted from 0)", "fetch the file again")


_CONTAINER_FAULTS = {
    scan.NOT_OPENED: ("the file does not open as one JSON value of the declared layout", "check layout of the part"),
    scan.NOT_A_LIST: ("the value of {key} is no list", "check path of the part"),
    scan.EMPTY_ELEMENT: ("element {element} is empty: two commas, or one too many", "fetch the file again"),
    scan.WRONG_CLOSE: ("the list is closed by a brace after element {element}", "fetch the file again"),
    scan.AFTER_END: ("more text follows the end of the JSON value", "check layout of the part; is it jsonl?"),
    scan.TWICE: ("the key {key} is there twice", "ask upstream which one holds"),
}


def read_lines(
    blocks: Iterable[bytes], columns: Mapping[str, Column], encoding: str, place: str, on_bad: OnBad
) -> Iterator[RowBatch]:
    """One row per line of `blocks`, each line a JSON object; blank lines are no rows.

    DriftError when the first rows lack a column altogether, FormatError when they are no JSON or not in `encoding`.
    """
    reader: _Lines | None = None
    first_row = 0
    for data in blocks:
        starts, ends = scan.lines_of(data)
        if not len(starts):
            continue
        if reader is None:
            refuse_wrong_encoding(decodes(data, starts, ends), data, starts, ends, encoding, place)
            reader = _Lines(columns, stored_labels(data, starts, ends, columns, place), encoding, on_bad)
        for low in range(0, len(starts), BATCH_ROWS):
            span = slice(low, low + BATCH_ROWS)
            yield reader.read(data, starts[span], ends[span], first_row + low)
        first_row += len(starts)


def stored_labels(
    data: bytes, starts: Int64s, ends: Int64s, columns: Mapping[str, Column], place: str
) -> dict[str, pa.DataType]:
    """How each label column is stored, judged by the first readable rows; DriftError for a column none of them has."""
    rows: list[dict[str, object]] = []
    for start, end in zip(starts, ends, strict=True):
        row = parsed(data[start:end])
        if isinstance(row, dict):
            rows.append(row)
            if len(rows) == PROBED_ROWS:
                break
    if not rows:
        opening = data[starts[0] : ends[0]].strip()[:40].decode("utf-8", "replace")
        cure = "declare layout: json-array" if opening.startswith("[") else "check layout of the part"
        raise FormatError(place, f"no row is a JSON object; row 0 begins {opening!r}", cure)
    for name, column in columns.items():
        if not optional(column) and not any(name in row for row in rows):
            keys = ", ".join(dict.fromkeys(key for row in rows for key in row))
            cause = f"column {name} is in none of the first {len(rows)} rows, which have {keys}"
            raise DriftError(place, cause, "was it renamed? declare the name it has now")
    stored = {}
    for name, column in columns.items():
        if isinstance(column, Label):
            numbers = all(isinstance(row[name], int) for row in rows if row.get(name) is not None)
            stored[name] = pa.int64() if numbers else pa.string()
    return stored


def parsed(line: bytes) -> object:
    """The JSON value of a line, or a Fault. NaN passes, as it does in arrow's parser: it may stand in other columns."""
    try:
        return cast(object, orjson.loads(line))
    except orjson.JSONDecodeError as fault:
        try:
            return cast(object, json.loads(line.decode()))
        except (ValueError, RecursionError):
            return Fault(f"not JSON: {str(fault).split(': line')[0]}")


class _Lines:
    def __init__(
        self, columns: Mapping[str, Column], labels: Mapping[str, pa.DataType], encoding: str, on_bad: OnBad
    ) -> None:
        self._columns, self._encoding, self._on_bad = columns, encoding, on_bad
        self._schema = arrow_schema(columns)
        stored = [(name, labels.get(name, arrow_type(column))) for name, column in columns.items()]
        self._parse = pj.ParseOptions(explicit_schema=pa.schema(stored), unexpected_field_behavior="ignore")

    def read(self, data: bytes, starts: Int64s, ends: Int64s, first_row: int) -> RowBatch:
        table = self._block(data, starts, ends)
        if table is not None:
            return RowBatch(table, np.arange(first_row, first_row + len(starts), dtype=np.int64))
        tables, rows = [], []
        for low in range(0, len(starts), _PIECE):
            high = min(low + _PIECE, len(starts))
            table = self._block(data, starts[low:high], ends[low:high])
            kept = np.arange(low, high, dtype=np.int64)
            if table is None:
                table, kept = self._single(data, starts, ends, kept, first_row)
            tables.append(table)
            rows.append(kept + first_row)
        return RowBatch(pa.concat_tables(tables).combine_chunks(), np.concatenate(rows))

    def _block(self, data: bytes, starts: Int64s, ends: Int64s) -> pa.Table | None:
        """The lines as a table, or None where some line needs a closer look."""
        if not scan.are_objects(data, starts, ends):
            return None
        block = memoryview(data)[starts[0] : ends[-1]]
        if not is_utf8(block):  # arrow's parser takes any bytes
            return None
        options = pj.ReadOptions(use_threads=False, block_size=len(block) + 1)
        try:
            table = pj.read_json(pa.BufferReader(block), read_options=options, parse_options=self._parse)
        except pa.ArrowInvalid:
            return None
        if table.num_rows != len(starts):
            return None
        arrays = []
        for name, column in self._columns.items():
            values = table.column(name).combine_chunks()
            wrong = broken(column, values)
            if wrong is None and isinstance(column, Label):
                values, wrong = label_names(column, values)
            if wrong is not None:
                return None
            arrays.append(values)
        return pa.Table.from_arrays(arrays, schema=self._schema)

    def _single(
        self, data: bytes, starts: Int64s, ends: Int64s, lines: Int64s, first_row: int
    ) -> tuple[pa.Table, Int64s]:
        good: list[dict[str, object]] = []
        kept: list[int] = []
        for line in lines.tolist():
            raw = data[starts[line] : ends[line]]
            row = self._row(raw)
            if isinstance(row, Fault):
                self._on_bad(BadRow(first_row + line, row.reason, raw_text(raw.strip())))
            else:
                good.append(row)
                kept.append(line)
        return pa.Table.from_pylist(good, schema=self._schema), np.array(kept, dtype=np.int64)

    def _row(self, raw: bytes) -> dict[str, object] | Fault:
        try:
            raw.decode()
        except UnicodeDecodeError:
            return Fault(undecodable(raw, self._encoding))
        found = parsed(raw)
        if isinstance(found, Fault):
            return found
        if not isinstance(found, dict):
            return Fault(f"expected an object, found {type(found).__name__}")
        try:
            return {name: shaped(column, found, name) for name, column in self._columns.items()}
        except Fault as fault:
            return fault
