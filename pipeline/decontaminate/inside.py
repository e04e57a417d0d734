"""Benchmark text inside longer text: instruction corpora carry evaluation questions in their prompts."""

from __future__ import annotations

import polars as pl


def inside(keys: pl.DataFrame, wanted: pl.DataFrame) -> pl.DataFrame:
    """Which wanted keys stand inside which keys, exactly: columns `key` and `bench`, one row per pair that occurs.

    `keys` holds `key` (number) and `text`; `wanted` holds `bench` (number) and `key` (text). Overlapping and nested
    finds all count. Uses polars' Aho-Corasick, asked first whether a text holds any and then, of those few, which:
    measured with 25,000 patterns on 48 MB of keys at 3.2 CPU-seconds, against 2.2 and 3.9 of ahocorasick-rs
    (bytes and characters), which would be one more dependency.

    >>> keys = pl.DataFrame({"key": [0, 1], "text": ["请回答故宫在哪谢谢", "故宫"]})
    >>> inside(keys, pl.DataFrame({"bench": [7], "key": ["故宫在哪"]})).rows()
    [(0, 7)]
    """
    schema = {"key": keys.schema["key"], "bench": wanted.schema["bench"]}
    if keys.is_empty() or wanted.is_empty():
        return pl.DataFrame(schema=schema)
    patterns = pl.lit(wanted["key"].implode())
    shortest = wanted["key"].str.len_bytes().min()
    long = keys.filter(pl.col("text").str.len_bytes() >= shortest)
    some = long.filter(pl.col("text").str.contains_any(patterns))
    if some.is_empty():
        return pl.DataFrame(schema=schema)
    found = some.select("key", found=pl.col("text").str.extract_many(patterns, overlapping=True))
    return found.explode("found").unique().join(wanted.rename({"key": "found"}), on="found").select("key", "bench")
