"""A benchmark's texts as match keys: what training data is compared with, written once per benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import polars as pl

from pipeline.errors import CurationError, FormatError
from pipeline.layouts import BadRow, empty_rows, read_rows
from pipeline.manifest.benchmark import Benchmark, BenchmarkPairs, BenchmarkPart, BenchmarkTexts
from pipeline.normalize import match_key
from pipeline.shards import write_parquet
from pipeline.source import SourceFile
from pipeline.store import Receipt

TEXTS = "texts.parquet"
PAIRS = "pairs.parquet"

#: One row per distinct (role, key): `locator` is where it stands first, `joined` whether text + text_pos is compared.
TEXTS_SCHEMA = {"role": pl.String, "key": pl.String, "joined": pl.Boolean, "locator": pl.String}
#: One row per distinct (key_a, key_b): two texts the benchmark judges together.
PAIRS_SCHEMA = {"key_a": pl.String, "key_b": pl.String, "locator": pl.String}


def index(benchmark: Benchmark, files: Sequence[SourceFile], out: Path) -> Receipt:
    """Read a benchmark and write its distinct texts and pairs as match keys to `out`.

    A list-valued expression explodes (two of the same length explode side by side); its locators are `name#row/n`.
    Texts without any character are left out and counted. Raises FormatError for a malformed row or a null text: a
    benchmark row that is skipped is a leak that nobody sees. Raises CurationError for a wrong expression, and
    where there is no text at all.

    A part with `texts: [{role: query, text: question}]` and the row `{"question": "故宫在哪？"}` gives the row
    `("query", "故宫在哪", False, "dev.json#0")`.
    """
    for number, part in enumerate(benchmark.parts):
        _check(benchmark, number, part)
    texts, pairs = [pl.DataFrame(schema=TEXTS_SCHEMA)], [pl.DataFrame(schema=PAIRS_SCHEMA)]
    rows = read = empty = 0
    for file in files:
        part = benchmark.parts[file.part]
        for frame in _frames(benchmark, file, part):
            rows += frame.height
            for wanted in part.texts:
                found = _evaluate(benchmark, frame, file, {"key": wanted.text}, wanted.where)
                kept = _keyed(found, "key")
                read, empty = read + found.height, empty + found.height - kept.height
                kept = kept.with_columns(role=pl.lit(wanted.role), joined=pl.lit(wanted.joined))
                texts.append(_distinct_texts(kept.select(list(TEXTS_SCHEMA))))
            for pair in part.pairs:
                found = _evaluate(benchmark, frame, file, {"key_a": pair.text, "key_b": pair.other}, pair.where)
                kept = _keyed(found, "key_a", "key_b")
                read, empty = read + found.height, empty + found.height - kept.height
                pairs.append(_distinct_pairs(kept.select(list(PAIRS_SCHEMA))))
    all_texts, all_pairs = _distinct_texts(pl.concat(texts)), _distinct_pairs(pl.concat(pairs))
    if all_texts.is_empty() and all_pairs.is_empty():
        cause = f"its {rows} rows give no text, so it protects nothing"
        raise CurationError(f"benchmark {benchmark.name}", cause, "mend its splits or the `where` of its texts")
    write_parquet(out / TEXTS, all_texts.to_arrow())
    write_parquet(out / PAIRS, all_pairs.to_arrow())
    roles = all_texts.group_by("role").len().sort("role")
    return {
        "benchmark": benchmark.name,
        "task": benchmark.task,
        "rows": rows,
        "read": read,
        "empty": empty,
        "texts": dict(roles.iter_rows()),
        "pairs": all_pairs.height,
    }


#: The row number inside the file, under a name no declared column can have in SQL.
_ROW = "\0row"


def _frames(benchmark: Benchmark, file: SourceFile, part: BenchmarkPart) -> Iterator[pl.DataFrame]:
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


def _evaluate(
    benchmark: Benchmark, frame: pl.DataFrame, file: SourceFile, columns: dict[str, str], where: str | None
) -> pl.DataFrame:
    """The columns' values, one text each, beside the locator of the row that holds them."""
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


def _no_null(benchmark: Benchmark, frame: pl.DataFrame, columns: dict[str, str]) -> pl.DataFrame:
    for name, sql in columns.items():
        if frame[name].null_count():
            raise FormatError(
                f"benchmark {benchmark.name}, {frame.filter(pl.col(name).is_null())['locator'][0]}",
                f"{sql} is null",
                "leave such rows out with `where`, or name the column that holds the text",
            )
    return frame


def _keyed(frame: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """Match keys instead of texts; rows where one of them is empty are left out."""
    keyed = frame.with_columns(match_key(frame[column]).alias(column) for column in columns)
    return keyed.filter(pl.all_horizontal(pl.col(columns) != ""))


def _distinct_texts(texts: pl.DataFrame) -> pl.DataFrame:
    grouped = texts.group_by("role", "key", maintain_order=True)
    return grouped.agg(pl.col("joined").any(), pl.col("locator").first())


def _distinct_pairs(pairs: pl.DataFrame) -> pl.DataFrame:
    return pairs.unique(["key_a", "key_b"], keep="first", maintain_order=True)


def _check(benchmark: Benchmark, number: int, part: BenchmarkPart) -> None:
    """Try every expression on a table without rows: a wrong one is told before a file is read."""
    empty = pl.DataFrame(pl.from_arrow(empty_rows(part, f"benchmark {benchmark.name}, parts[{number}]")))
    wanted: list[tuple[str, BenchmarkTexts | BenchmarkPairs]] = []
    wanted += [(f"texts[{at}]", texts) for at, texts in enumerate(part.texts)]
    wanted += [(f"pairs[{at}]", pairs) for at, pairs in enumerate(part.pairs)]
    for place, entry in wanted:
        for key, sql in entry.model_dump(include={"text", "other", "where"}, exclude_none=True).items():
            where = f"benchmark {benchmark.name}, parts[{number}].{place}.{key}"
            try:
                kind = empty.select(pl.sql_expr(sql).alias("value")).schema["value"]
            except (pl.exceptions.PolarsError, ValueError) as error:
                cause = str(error).partition("\n")[0]
                raise CurationError(where, f"{sql!r}: {cause}", "mend the expression or the columns") from None
            needed = (pl.Boolean,) if key == "where" else (pl.String, pl.List(pl.String))
            if kind not in needed:
                cause = f"{sql!r} gives {kind}, not {needed[0]}"
                raise CurationError(where, cause, "name a text column, or use CAST(... AS VARCHAR)")
