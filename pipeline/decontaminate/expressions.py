"""The rows of a benchmark's files through the SQL of its manifest: values, one text each, beside where they stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NoReturn

import polars as pl

from pipeline.errors import CurationError, FormatError
from pipeline.layouts import BadRow, empty_rows, read_rows
from pipeline.manifest.benchmark import Benchmark, BenchmarkPart
from pipeline.normalize import match_key
from pipeline.source import SourceFile

#: The row number inside the file, under a name no declared column can have in SQL.
_ROW = "\0row"
#: What an expression may give; the others name a text, also in a list.
_KINDS: Mapping[str, tuple[pl.DataType | type[pl.DataType], ...]] = {
    "where": (pl.Boolean,),
    "id": (pl.String,),
    "query": (pl.String,),
    "document": (pl.String,),
}
_TEXT = (pl.String, pl.List(pl.String))


def check(benchmark: Benchmark) -> None:
    """Try every expression on a table without rows: a wrong one is told before a file is read.

    Raises CurationError, naming the place in the manifest.
    """
    for number, part in enumerate(benchmark.parts):
        empty = pl.DataFrame(pl.from_arrow(empty_rows(part, f"benchmark {benchmark.name}, parts[{number}]")))
        for at, entry in part.expressions:
            place = at[0] if len(at) == 1 else f"{at[0]}[{at[1]}]"
            for key, sql in entry.model_dump(exclude={"role", "joined"}, exclude_none=True).items():
                where = f"benchmark {benchmark.name}, parts[{number}].{place}.{key}"
                try:
                    kind = empty.select(pl.sql_expr(sql).alias("value")).schema["value"]
                except (pl.exceptions.PolarsError, ValueError) as error:
                    cause = str(error).partition("\n")[0]
                    raise CurationError(where, f"{sql!r}: {cause}", "mend the expression or the columns") from None
                needed = _KINDS.get(key, _TEXT)
                if kind not in needed:
                    cause = f"{sql!r} gives {kind}, not {needed[0]}"
                    raise CurationError(where, cause, "name a text column, or use CAST(... AS VARCHAR)")


def frames(benchmark: Benchmark, file: SourceFile, part: BenchmarkPart) -> Iterator[pl.DataFrame]:
    """Batches of a file's rows. Raises FormatError for a malformed row: one that is skipped is a leak nobody sees."""
    place = f"benchmark {benchmark.name}, {file.name}"

    def refuse(bad: BadRow) -> NoReturn:
        raise FormatError(
            f"{place}#{bad.row}",
            f"a row is not as declared: {bad.reason}",
            "mend columns, layout or encoding of this part; a benchmark row is never skipped",
        )

    for batch in read_rows(file.path, part, refuse, place):
        frame = pl.DataFrame(pl.from_arrow(batch.table))
        yield frame.with_columns(pl.Series(_ROW, batch.rows, pl.Int64))


def evaluate(
    benchmark: Benchmark, frame: pl.DataFrame, file: SourceFile, columns: dict[str, str], where: str | None
) -> pl.DataFrame:
    """The columns' values, one text each, beside the `locator` of the row that holds them.

    A list explodes (two of the same length side by side) and its locators are `name#row/n`. Raises FormatError for a
    null and for two lists of different lengths.
    """
    chosen = frame if where is None else frame.filter(pl.sql_expr(where))
    chosen = chosen.select(pl.col(_ROW), **{name: pl.sql_expr(sql) for name, sql in columns.items()})
    locator = pl.format("{}#{}", pl.lit(file.name), pl.col(_ROW))
    chosen = _no_null(benchmark, chosen.with_columns(locator=locator), columns)
    lists = [name for name in columns if isinstance(chosen.schema[name], pl.List)]
    if not lists:
        return chosen.drop(_ROW)
    lengths = chosen.select(pl.col(name).list.len() for name in lists)
    if uneven := chosen.filter(lengths[lists[0]] != lengths[lists[-1]])["locator"].to_list():
        raise FormatError(
            f"benchmark {benchmark.name}, {uneven[0]}",
            f"the two lists of a pair differ in length ({len(uneven)} rows of this batch)",
            "give pairs whose text and other have the same length",
        )
    exploded = (
        chosen.filter(lengths[lists[0]] > 0)
        .with_columns(n=pl.int_ranges(pl.col(lists[0]).list.len()))
        .explode(*lists, "n")
        .with_columns(locator=pl.format("{}/{}", "locator", "n"))
    )
    return _no_null(benchmark, exploded.drop(_ROW, "n"), columns)


def keyed(frame: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """Match keys instead of texts; rows where one of them is empty are left out."""
    told = frame.with_columns(match_key(frame[column]).alias(column) for column in columns)
    return told.filter(pl.all_horizontal(pl.col(columns) != ""))


def _no_null(benchmark: Benchmark, frame: pl.DataFrame, columns: dict[str, str]) -> pl.DataFrame:
    for name, sql in columns.items():
        if frame[name].null_count():
            raise FormatError(
                f"benchmark {benchmark.name}, {frame.filter(pl.col(name).is_null())['locator'][0]}",
                f"{sql} is null",
                "leave such rows out with `where`, or name the column that holds the text",
            )
    return frame
