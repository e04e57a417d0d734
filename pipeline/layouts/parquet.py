"""Parquet files: the declared columns only, their types held against the file's before a row is read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import DriftError, FormatError
from pipeline.layouts.columns import arrow_schema, broken, label_names
from pipeline.layouts.rows import MAX_ROW_BYTES, BadRow, Bools, OnBad, RowBatch, raw_text
from pipeline.layouts.stream import too_long, unpacked_too_far
from pipeline.manifest.columns import Column, Label, ListOf, Scalar, StructOf, optional
from pipeline.source import unpacks_too_far

#: A batch of long articles (5 KB) stays near 80 MB.
_BATCH_ROWS = 16_384
#: A batch whose texts take more, once written out, is halved.
_BATCH_BYTES = 256 << 20
#: A row takes a bit of a file at least; so many are let through.
_ROWS_PER_BYTE, _FREE_ROWS = 8, 1_000_000


def read_parquet(path: Path, columns: Mapping[str, Column], place: str, on_bad: OnBad) -> Iterator[RowBatch]:
    """Rows of one file. DriftError where a column is missing, of another type or has other label names.

    An optional column (`string?`) that the file lacks is null throughout.
    Labels stored as numbers become names; where the file carries the hub's ClassLabel names they must be the declared
    ones. Refused: the hub's `partial-` conversions, which are cut off without a word, and files whose rows or texts
    unpack to more than any honest file holds: texts stay dictionaries until it is known how much they come to.
    """
    for part in path.parts[-2:]:
        if part.startswith("partial-"):
            cause = f"{part} is a conversion that the hub cut short"
            raise FormatError(place, cause, "name the files of the repository itself")
    size = path.stat().st_size
    try:
        # Only leaves that are bytes can stay dictionaries; names of others are passed over.
        with pq.ParquetFile(path) as file:
            leaves = [file.schema.column(n) for n in range(len(file.schema))]
        texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        file = pq.ParquetFile(path, read_dictionary=texts)
    except (pa.ArrowException, OSError) as fault:
        raise FormatError(place, f"not a parquet file ({_first_line(fault)})", "fetch the file again") from None
    with file:
        _refuse_drift(file.schema_arrow, columns, place)
        if file.metadata.num_rows > max(size * _ROWS_PER_BYTE, _FREE_ROWS):
            cause = f"its {size:,} bytes claim {file.metadata.num_rows:,} rows: an attack, not data"
            raise FormatError(place, cause, "look at the file; fetch it again, or use another source")
        first_row = count = 0
        try:
            there = [name for name in columns if name in file.schema_arrow.names]
            for whole in file.iter_batches(batch_size=_BATCH_ROWS, columns=there, use_threads=False):
                for batch in _halved(whole, place):
                    count += _written_out(batch)
                    if unpacks_too_far(size, count):
                        raise unpacked_too_far(place)
                    plain = pa.RecordBatch.from_arrays([_decoded(one) for one in batch.columns], batch.schema.names)
                    plain.validate(full=True)  # that strings are UTF-8, the reader does not look
                    yield _typed(plain, columns, first_row, on_bad)
                    first_row += batch.num_rows
        except (pa.ArrowException, OSError) as fault:
            cause = f"the file cannot be read after row {first_row} ({_first_line(fault)})"
            raise FormatError(place, cause, "fetch the file again") from None


def _halved(batch: pa.RecordBatch, place: str) -> Iterator[pa.RecordBatch]:
    """The same rows in pieces that take at most _BATCH_BYTES each. FormatError for one row that takes more than any may."""
    size = _written_out(batch)
    if size <= _BATCH_BYTES:
        yield batch
    elif batch.num_rows > 1:
        middle = batch.num_rows // 2
        yield from _halved(batch.slice(0, middle), place)
        yield from _halved(batch.slice(middle), place)
    elif size <= MAX_ROW_BYTES:
        yield batch
    else:
        raise too_long(place)


def _written_out(values: pa.RecordBatch | pa.Array) -> int:
    """Bytes of the texts, each counted as often as it is referred to."""
    if isinstance(values, pa.RecordBatch):
        return sum(_written_out(column) for column in values.columns)
    if pa.types.is_dictionary(values.type):
        lengths = pc.binary_length(values.dictionary).cast(pa.int64())
        return int(pc.sum(lengths.take(values.indices)).as_py() or 0)
    if _is_list(values.type):
        return _written_out(pc.list_flatten(values))
    if pa.types.is_struct(values.type):
        return sum(_written_out(one) for one in values.flatten())
    return int(values.nbytes)


def _decoded(values: pa.Array) -> pa.Array:
    """The same values without dictionaries, at any depth."""
    plain = _plain(values.type)
    if plain == values.type:
        return values
    if pa.types.is_dictionary(values.type):
        return values.dictionary_decode()
    return values.cast(plain)


def _plain(stored: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(stored):
        return stored.value_type
    if _is_list(stored):
        large = pa.large_list if pa.types.is_large_list(stored) else pa.list_
        size = [stored.list_size] if pa.types.is_fixed_size_list(stored) else []
        return large(stored.value_field.with_type(_plain(stored.value_type)), *size)
    if pa.types.is_struct(stored):
        return pa.struct(
            [one.with_type(_plain(one.type)) for one in (stored.field(n) for n in range(stored.num_fields))]
        )
    return stored


def _is_list(stored: pa.DataType) -> bool:
    return bool(pa.types.is_list(stored) or pa.types.is_large_list(stored) or pa.types.is_fixed_size_list(stored))


def _refuse_drift(schema: pa.Schema, columns: Mapping[str, Column], place: str) -> None:
    names = _class_labels(schema)
    for name, column in columns.items():
        at = schema.get_field_index(name)
        if at < 0 and optional(column):
            continue
        if at < 0:
            cause = f"column {name} is not in the file, which has {', '.join(schema.names)}"
            raise DriftError(place, cause, "was it renamed? declare the name it has now")
        stored = _plain(schema.field(at).type)
        if not _fits(column, stored):
            cause = f"column {name} is declared {column}, the file has {stored}"
            raise DriftError(place, cause, "declare the type the file has")
        if isinstance(column, Label) and name in names and names[name] != list(column.names):
            cause = f"column {name} is declared {list(column.names)}, the file's names are {names[name]}"
            raise DriftError(place, cause, "declare the names in the file's order")


def _class_labels(schema: pa.Schema) -> dict[str, list[str]]:
    """Label names that the hub's `datasets` library left in the file."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: one["names"] for name, one in features.items() if one.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _fits(column: Column, stored: pa.DataType) -> bool:
    match column:
        case Scalar(kind="string"):
            return _is_text(stored)
        case Scalar(kind="int"):
            return bool(pa.types.is_integer(stored))
        case Scalar(kind="float"):
            return bool(pa.types.is_floating(stored) or pa.types.is_integer(stored))
        case Scalar():
            return bool(pa.types.is_boolean(stored))
        case Label():
            return _is_text(stored) or bool(pa.types.is_integer(stored))
        case ListOf(item=item):
            return _is_list(stored) and _fits(item, stored.value_type)
        case StructOf(fields=fields):
            return bool(pa.types.is_struct(stored)) and all(
                stored.get_field_index(name) >= 0 and _fits(kind, stored.field(name).type) for name, kind in fields
            )


def _is_text(stored: pa.DataType) -> bool:
    return bool(pa.types.is_string(stored) or pa.types.is_large_string(stored) or pa.types.is_string_view(stored))


def _typed(batch: pa.RecordBatch, columns: Mapping[str, Column], first_row: int, on_bad: OnBad) -> RowBatch:
    bad: dict[int, str] = {}
    arrays = []
    for name, column in columns.items():
        if name not in batch.schema.names:
            arrays.append(pa.nulls(batch.num_rows, arrow_schema({name: column}).field(0).type))
            continue
        values, wrong, reason = batch.column(name), None, ""
        if isinstance(column, Label):
            stored = values
            values, wrong = label_names(column, values)
            for row in np.flatnonzero(wrong).tolist() if wrong is not None else ():
                found = stored[row].as_py()
                reason = "is null" if found is None else f": {found} is not {column}"
                bad.setdefault(row, f"column {name} {reason}".replace(" :", ":"))
            arrays.append(values.cast(pa.string()))
            continue
        wrong = broken(column, values)
        for row in np.flatnonzero(wrong).tolist() if wrong is not None else ():
            reason = "is null" if not values[row].is_valid else f"holds a null or no number where {column} may not"
            bad.setdefault(row, f"column {name} {reason}")
        arrays.append(_declared(column, values))
    table = pa.Table.from_arrays(arrays, schema=arrow_schema(columns))
    rows = np.arange(first_row, first_row + batch.num_rows, dtype=np.int64)
    for row in sorted(bad):
        raw = json.dumps(batch.slice(row, 1).to_pylist()[0], ensure_ascii=False, default=str)
        on_bad(BadRow(first_row + row, bad[row], raw_text(raw.encode("utf-8", "replace"))))
    if bad:
        kept: Bools = np.ones(len(rows), dtype=np.bool_)
        kept[list(bad)] = False
        return RowBatch(table.filter(pa.array(kept)), rows[kept])
    return RowBatch(table, rows)


def _declared(column: Column, values: pa.Array) -> pa.Array:
    """The same values in the declared type; undeclared struct fields fall away."""
    match column:
        case ListOf(item=item):
            lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy().astype(np.int64)
            offsets = pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())
            return pa.ListArray.from_arrays(offsets, _declared(item, pc.list_flatten(values)))
        case StructOf(fields=fields):
            inner = [_declared(kind, pc.struct_field(values, name)) for name, kind in fields]
            return pa.StructArray.from_arrays(inner, names=[name for name, _ in fields])
        case _:
            return values.cast(arrow_schema({"value": column}).field(0).type)


def _first_line(fault: Exception) -> str:
    return str(fault).splitlines()[0][:200] if str(fault) else type(fault).__name__
