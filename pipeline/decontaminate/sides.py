"""The sides of records as distinct keys: every key is compared once, however many records hold it."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from pipeline.normalize import key_hash

#: A record holds, on one side, a text that matches a benchmark text.
HITS = {"row": pl.UInt32, "bench": pl.UInt32, "similarity": pl.Float32, "chars": pl.UInt32}


def number(sides: Sequence[pl.Series]) -> tuple[pl.DataFrame, list[pl.Series]]:
    """The distinct keys of all sides (columns `key` the number, `hash`, `text`) and, per side, the number of each key.

    >>> distinct, (first, second) = number([pl.Series(["甲", "乙"]), pl.Series(["乙", "乙"])])
    >>> distinct["text"].to_list(), first.to_list(), second.to_list()
    (['甲', '乙'], [0, 1], [1, 1])
    """
    hashed = [pl.DataFrame({"hash": key_hash(side), "text": side}) for side in sides]
    distinct = pl.concat(hashed).unique("hash", maintain_order=True).with_row_index("key")
    known = distinct.select("key", "hash")
    joined = [side.select("hash").join(known, on="hash", how="left", maintain_order="left") for side in hashed]
    return distinct, [side["key"] for side in joined]


def hits(numbers: pl.Series, matched: pl.DataFrame) -> pl.DataFrame:
    """The rows of a side whose key matches benchmark text, one row per match, in HITS' columns."""
    rows = pl.DataFrame({"key": numbers}).with_row_index("row")
    return rows.join(matched, on="key").select(pl.col(name).cast(kind) for name, kind in HITS.items())


def negatives(lists: pl.Series) -> pl.DataFrame:
    """`row`, `neg`, `text`: every shipped negative of these records, `neg` its place within the record's list."""
    frame = pl.DataFrame({"text": lists}).with_row_index("row").filter(pl.col("text").list.len() > 0)
    return frame.with_columns(neg=pl.int_ranges(pl.col("text").list.len(), dtype=pl.UInt32)).explode("text", "neg")
