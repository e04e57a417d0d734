"""Negatives that need no search: those shipped with a record, and those that somebody judged to be no match."""

from __future__ import annotations

import numpy as np
import polars as pl

from pipeline.mine.csr import Bools, Csr, Ints
from pipeline.mine.rule import ORIGINS, Given
from pipeline.mine.texts import Hashes, Ids, Labelled, Records

SHIPPED, LABELLED = (ORIGINS.index(name) for name in ("shipped", "labelled"))


def offered(records: Records, keys: Hashes, labelled: Labelled, symmetric: bool) -> pl.DataFrame:
    """row (of the records), id, key, origin: all that may be given, before any ban; each (row, id) once.

    keys: the match key of every record's text. A non-match is one of every record with that text, in a symmetric corpus
    for either of its texts. What is both shipped and judged counts as judged.
    """
    no = labelled.pairs(False)
    judged = [(labelled.text_key[no], labelled.other[no], labelled.other_key[no])]
    if symmetric:
        judged.append((labelled.other_key[no], labelled.text[no], labelled.text_key[no]))
    non_matches = pl.concat(
        pl.DataFrame({"text_key": text, "id": other, "key": other_key}) for text, other, other_key in judged
    )
    rows = pl.DataFrame({"text_key": keys}).with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    return (
        pl.concat(
            [
                rows.join(non_matches, on="text_key").select("row", "id", "key", origin=pl.lit(LABELLED, pl.UInt8)),
                records.negatives.select("row", "id", "key", origin=pl.lit(SHIPPED, pl.UInt8)),
            ]
        )
        .sort("row", "id", "origin", descending=[False, False, True])
        .unique(["row", "id"], keep="first", maintain_order=True)
    )


def ordered(frame: pl.DataFrame, scores: pl.Series, n: int) -> Given:
    """The lists of n records, nearest first, ties by id."""
    frame = frame.with_columns(score=scores).sort("row", "score", "id", descending=[False, True, False])
    ids: Ids = frame["id"].to_numpy()
    offsets = Csr.sorted(frame["row"].to_numpy(), np.zeros(0, np.int64), n).offsets
    return Given(offsets, ids, frame["score"].to_numpy(), frame["origin"].to_numpy())


def none_given(n: int) -> Given:
    """Empty lists of n records."""
    return Given(np.zeros(n + 1, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.float32), np.zeros(0, np.uint8))


def of_rows(given: Given, rows: Ints) -> Given:
    """The lists of some records."""
    owner, at = Csr(given.offsets, np.arange(len(given.ids))).rows(rows)
    return Given(Csr.sorted(owner, at, len(rows)).offsets, given.ids[at], given.scores[at], given.origins[at])


def within(pairs: tuple[Ints, Ints], row: Ints, group: Ints) -> Bools:
    """Whether (row[i], group[i]) is one of `pairs`."""
    known = np.unique(_code(*pairs))
    return np.isin(_code(row, group), known)


def _code(row: Ints, group: Ints) -> Hashes:
    return row.astype(np.uint64) << np.uint64(32) | group.astype(np.uint64)
