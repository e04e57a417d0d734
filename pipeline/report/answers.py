"""Answers of `m3e sql` for people, programs and spreadsheets."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from rich import box
from rich.table import Table
from rich.text import Text

from pipeline.report.sql import Answer

#: Characters of a value that the table shows.
SHOWN = 200


def answer_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """Rows as a table; numbers stand to the right, long texts are cut."""
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, name in enumerate(columns):
        is_number = any(isinstance(row[i], int | float) and not isinstance(row[i], bool) for row in rows)
        table.add_column(Text(name), justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    return table


def tables_table(tables: Mapping[str, Sequence[tuple[str, str]]]) -> Table:
    """What can be asked: every view with its columns and their types."""
    table = Table(header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False, show_lines=True)
    table.add_column("view", no_wrap=True)
    table.add_column("columns")
    for name, columns in tables.items():
        told = Text()
        for i, (column, type_) in enumerate(columns):
            told.append(", " if i else "").append(column).append(f" {_short(type_)}", "dim")
        table.add_row(Text(name, "bold"), told)
    return table


def write_json(answer: Answer, to: TextIO) -> None:
    """A list of objects, one row a line, as it comes."""
    before = "[\n"
    for row in answer.rows:
        to.write(before + _json(dict(zip(answer.columns, row, strict=True))))
        before = ",\n"
    to.write("[]\n" if before == "[\n" else "\n]\n")


def write_csv(answer: Answer, to: TextIO) -> None:
    """A line of names, then one per row; lists and structs as JSON, null as nothing."""
    writer = csv.writer(to, lineterminator="\n")
    writer.writerow(answer.columns)
    for row in answer.rows:
        writer.writerow([_json(value) if isinstance(value, list | dict) else value for value in row])


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    told = _json(value) if isinstance(value, list | dict) else str(value)
    return told if len(told) <= SHOWN else told[:SHOWN] + "…"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _short(type_: str) -> str:
    return type_.lower() if len(type_) <= 30 else type_[:27].lower() + "..."
