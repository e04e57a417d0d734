"""Editions: smaller nested cuts of a dataset that keep its mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

#: Name of an edition -> its rows.
ROWS: dict[str, int] = {"100k": 100_000, "1m": 1_000_000}


def quotas(rows: Mapping[str, int], wanted: int) -> dict[str, int]:
    """How many rows each corpus gives to a cut of `wanted` rows: its share, and never fewer in a larger cut.

    Webster's method: row i (from 0) of a corpus of n has the key (i + 1/2) / n, and the cut takes the smallest keys,
    ties by name. So a cut of fewer rows lies inside one of more, which rounding each share would not ensure.

    >>> quotas({"a": 900, "b": 90, "c": 10}, 100), quotas({"a": 2, "b": 1}, 10)
    ({'a': 90, 'b': 9, 'c': 1}, {'a': 2, 'b': 1})
    """
    total = sum(rows.values())
    if wanted >= total:
        return dict(rows)
    names = sorted(rows)
    # Quotas stray from the exact share by less than the number of corpora: no more keys need to be looked at.
    tries = [min(rows[name], rows[name] * wanted // total + len(names) + 1) for name in names]
    keys = np.concatenate([(np.arange(n) + 0.5) / max(1, rows[name]) for name, n in zip(names, tries, strict=True)])
    owner = np.repeat(np.arange(len(names)), tries)
    taken = owner[np.lexsort((owner, keys))[:wanted]]
    counts = np.bincount(taken, minlength=len(names))
    return {name: int(counts[names.index(name)]) for name in rows}


def last_id(shards: Sequence[Path], rows: int) -> str:
    """The greatest record_id among the `rows` smallest of those that may be passed on; "" for none.

    A record_id is a hash of the record's content (`pipeline.record`), so the smallest are a fair draw, the same in
    every build that keeps them.
    """
    if not rows:
        return ""
    ids = (
        pl.scan_parquet(list(shards))
        .filter(pl.col("redistribute") == "allowed")
        .select(pl.col("record_id").bottom_k(rows).max())
    )
    return str(ids.collect().item())
