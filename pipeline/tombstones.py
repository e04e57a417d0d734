"""Tombstones over columns: what a request to leave a text out strikes.

A tombstone is a record_id (32 hex digits), which strikes that one row, or the hash of a match key (16 hex digits), which
strikes every row that holds the text on either side, in any spelling that the match key folds together, and every
negative that reads so. Copies that are only nearly the same stay.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from pipeline.normalize import key_hash, match_key


def struck(tombstones: Iterable[str], row_id: str | None, *keys: str) -> pl.Expr:
    """True for the rows that a tombstone strikes, by the id column or by any of the key columns (UInt64).

    >>> frame = pl.DataFrame({"id": ["0" * 32, "1" * 32], "key": pl.Series([10, 11], dtype=pl.UInt64)})
    >>> frame.select(struck(["0" * 32, f"{11:016x}"], "id", "key")).to_series().to_list()
    [True, True]
    >>> frame.select(struck([], "id", "key")).to_series().to_list()
    [False, False]
    """
    listed = sorted(tombstones)
    ids = pl.Series([t for t in listed if len(t) == 32], dtype=pl.String)
    hashes = pl.Series([int(t, 16) for t in listed if len(t) == 16], dtype=pl.UInt64)
    tests = [pl.col(key).is_in(hashes.implode()) for key in keys if hashes.len()]
    if row_id is not None and ids.len():
        tests.append(pl.col(row_id).is_in(ids.implode()))
    return pl.any_horizontal(tests) if tests else pl.repeat(False, pl.len())


def texts_struck(tombstones: Iterable[str], texts: pl.Series) -> pl.Series:
    """True for the texts that a key hash names, read as prose or as code. No text is hashed where no hash is listed.

    >>> struck_key = f"{key_hash(match_key(pl.Series(['甲乙']))).item():016x}"
    >>> texts_struck([struck_key], pl.Series(["甲，乙！", "丙"])).to_list()
    [True, False]
    """
    hashes = {t for t in tombstones if len(t) == 16}
    if not hashes or not texts.len():
        return pl.repeat(False, texts.len(), eager=True)
    keys = pl.DataFrame({str(code): key_hash(match_key(texts, code=code)) for code in (False, True)})
    return keys.select(struck(hashes, None, *keys.columns)).to_series()
