"""What a stranger's file is: its layout, its encoding and which of its columns hold text, told by its opening."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import FormatError, UsageError
from pipeline.manifest.corpus import Encoding, Layout

Kind = Literal["string", "list"]

_OPENING = 1 << 20
_SAMPLED_ROWS = 200
_CURE = "give csv, tsv, jsonl, a json array or parquet (gzip is fine), with names for the columns"


@dataclass(frozen=True)
class Table:
    """A file of rows: the columns that hold texts or lists of texts, and `others` with their type where it is plain."""

    path: Path
    layout: Layout
    encoding: Encoding
    quote: Literal['"'] | None
    columns: Mapping[str, Kind]
    others: Mapping[str, str | None] = field(default_factory=dict)


def read_table(path: Path) -> Table:
    """Look at the first megabyte of a file, plain or gzip.

    Content decides before the name does: a file that opens with `PAR1` is parquet, with `[` a json array, with `{` json
    lines; of the others the first line tells tabs from commas. Raises UsageError where there is no file, FormatError
    where it is none of these or opens with no row.
    """
    if not path.is_file():
        raise UsageError(str(path), "there is no such file", "give the path of a file of pairs")
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == b"PAR1":
        return _parquet(path)
    raw, whole = _opening(path, packed=magic[:2] == b"\x1f\x8b")
    encoding, text = _decoded(raw, path)
    lines = text.splitlines(keepends=True)
    if not whole and len(lines) > 1:
        lines.pop()  # cut somewhere
    first = text.lstrip()[:1]
    if not first:
        raise FormatError(str(path), "the file is empty", _CURE)
    if first in "[{":
        rows = _array_rows(text) if first == "[" else _line_rows(lines)
        if not rows:
            raise FormatError(str(path), "no row at its opening is a JSON object", _CURE)
        columns, others = _kinds(rows)
        return Table(path, "json-array" if first == "[" else "jsonl", encoding, None, columns, others)
    return _delimited(path, encoding, lines)


def _parquet(path: Path) -> Table:
    try:
        schema = pq.read_schema(path)
    except pa.ArrowException as error:
        raise FormatError(str(path), f"it is no readable parquet ({str(error).splitlines()[0]})", _CURE) from None
    columns: dict[str, Kind] = {}
    others: dict[str, str | None] = {}
    for column in schema:
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if _is_text(kind):
            columns[column.name] = "string"
        elif (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _is_text(kind.value_type):
            columns[column.name] = "list"
        else:
            plain = (("int", pa.types.is_integer), ("float", pa.types.is_floating), ("bool", pa.types.is_boolean))
            others[column.name] = next((name for name, holds in plain if holds(kind)), None)
    return Table(path, "parquet", "utf-8", None, columns, others)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _opening(path: Path, *, packed: bool) -> tuple[bytes, bool]:
    """The first bytes, unpacked, and whether they are all."""
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            raw = file.read(_OPENING)
            return raw, not file.read(1)
    except (OSError, EOFError) as error:
        raise FormatError(str(path), f"it cannot be read: {error}", "fetch the file again") from None


def _decoded(raw: bytes, path: Path) -> tuple[Encoding, str]:
    """UTF-8 where it reads as that, GB 18030 else; a character cut at the end counts for neither."""
    told: Encoding = "utf-8-sig" if raw.startswith(b"\xef\xbb\xbf") else "utf-8"
    for encoding in (told, "gb18030"):
        try:
            return encoding, raw.decode(encoding)
        except UnicodeDecodeError as error:
            if error.start >= len(raw) - 4 and len(raw) == _OPENING:
                return encoding, raw[: error.start].decode(encoding)
            odd = error
    # Single bad bytes in a long text are rows for the quarantine, not another encoding.
    if raw[: odd.start].count(b"\n") >= _SAMPLED_ROWS or b"\0" not in raw[:4096]:
        return told, raw.decode(told, "replace")
    raise FormatError(str(path), "it is neither text in UTF-8 or GB 18030 nor parquet", _CURE)


def _line_rows(lines: Sequence[str]) -> list[dict[str, object]]:
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
        if len(rows) == _SAMPLED_ROWS:
            break
    return rows


def _array_rows(text: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    while len(rows) < _SAMPLED_ROWS:
        at += len(text[at : at + 4096]) - len(text[at : at + 4096].lstrip(" \t\r\n,"))
        try:
            row, at = decoder.raw_decode(text, at)
        except ValueError:
            break
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _kinds(rows: Sequence[Mapping[str, object]]) -> tuple[dict[str, Kind], dict[str, str | None]]:
    """What most values of each key are; the odd row is the quarantine's."""
    seen: dict[str, Counter[str | None]] = {}
    for row in rows:
        for name, value in row.items():
            if value is not None:
                seen.setdefault(name, Counter())[_kind(value)] += 1
    common = {name: kinds.most_common(1)[0][0] for name, kinds in seen.items()}
    plain: dict[str | None, Kind] = {"string": "string", "list": "list"}
    texts = {name: plain[kind] for name, kind in common.items() if kind in plain}
    return texts, {name: kind for name, kind in common.items() if name not in texts}


def _kind(value: object) -> str | None:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return "list"
    return {str: "string", bool: "bool", int: "int", float: "float"}.get(type(value))


def _delimited(path: Path, encoding: Encoding, lines: Sequence[str]) -> Table:
    header = lines[0].rstrip("\r\n")
    layout: Layout = "tsv" if "\t" in header else "csv"
    delimiter = "\t" if layout == "tsv" else ","
    if delimiter not in header:
        raise FormatError(str(path), f"its first line has one column only: {header[:60]!r}", _CURE)
    opening = "".join(lines)
    quoted = header.startswith('"') or any(f'{before}"' in opening for before in (delimiter, "\n"))
    quote: Literal['"'] | None = '"' if quoted else None
    names = next(csv.reader(lines, delimiter=delimiter)) if quoted else header.split(delimiter)
    return Table(path, layout, encoding, quote, dict.fromkeys(names, "string"))
