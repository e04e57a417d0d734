"""The texts of all benchmarks of a build side by side: what they are, which task uses them and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from pipeline.decontaminate.texts import PAIRS, TEXTS
from pipeline.normalize import key_hash


@dataclass(frozen=True)
class Protected:
    """Distinct keys of all tasks, numbered from 0; everything else speaks of those numbers.

    `keys`: the keys by number. `hashes`: `bench` (the number, u32) and `hash`. `uses`: `bench`, `task`, `role`,
    `joined`. `pairs`: `bench_a`, `bench_b`, `task`, each pair in both orders.
    """

    keys: pa.LargeStringArray
    hashes: pl.DataFrame
    uses: pl.DataFrame
    pairs: pl.DataFrame

    @property
    def joined(self) -> pl.Series:
        """Numbers of the keys that are compared with text + text_pos as well."""
        return self.uses.filter("joined")["bench"].unique().sort()

    def queries(self, min_chars: int) -> pl.DataFrame:
        """`bench` and `key` of the queries of at least so many characters."""
        numbers = self.uses.filter(role="query")["bench"].unique().sort()
        keys = pl.Series("key", self.keys.take(numbers.to_arrow()))
        return pl.DataFrame([numbers, keys]).filter(pl.col("key").str.len_chars() >= min_chars)


def load(indexes: Mapping[str, Path]) -> Protected:
    """Read the indexes of all tasks; equal keys of several tasks become one.

    >>> len(load({}).keys)
    0
    """
    texts = [pl.DataFrame(schema={"role": pl.String, "key": pl.String, "joined": pl.Boolean, "task": pl.String})]
    pairs = [pl.DataFrame(schema={"key_a": pl.String, "key_b": pl.String, "task": pl.String})]
    for task in sorted(indexes):
        told = pl.lit(task)
        texts.append(pl.read_parquet(indexes[task] / TEXTS, columns=["role", "key", "joined"]).with_columns(task=told))
        pairs.append(pl.read_parquet(indexes[task] / PAIRS, columns=["key_a", "key_b"]).with_columns(task=told))
    text, pair = pl.concat(texts), pl.concat(pairs)
    every = pl.concat([text["key"], pair["key_a"].alias("key"), pair["key_b"].alias("key")])
    distinct = pl.DataFrame({"hash": key_hash(every), "key": every}).unique("hash", maintain_order=True)
    hashes = distinct.select("hash").with_row_index("bench")

    def numbers(keys: pl.Series) -> pl.Series:
        hashed = pl.DataFrame({"hash": key_hash(keys)})
        return hashed.join(hashes, on="hash", how="left", maintain_order="left")["bench"]

    both = pair.select("task", bench_a=numbers(pair["key_a"]), bench_b=numbers(pair["key_b"]))
    swapped = both.select("task", bench_a="bench_b", bench_b="bench_a")
    return Protected(
        keys=distinct["key"].to_arrow().cast(pa.large_string()),
        hashes=hashes,
        uses=text.select("task", "role", "joined", bench=numbers(text["key"])),
        pairs=pl.concat([both, swapped]).unique(maintain_order=True),
    )
