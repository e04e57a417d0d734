"""Who holds a text: of all kept records with it on either side, the one under the freest terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit
from numpy.typing import NDArray

from pipeline.errors import CountError
from pipeline.licence import UseClass

#: Use classes by rank, 0 the freest: a code of a class is its place here.
CLASSES = [use.value for use in UseClass]
TERM_COLUMNS = ["licence_id", "commercial", "redistribute"]
#: `freedom` of a text that no kept record holds.
NOBODY = 255


@dataclass(frozen=True)
class PoolPart:
    """What one corpus gives to the pool that negatives come from.

    `pool`: shards of POOL_SCHEMA. `pairs`, `data` and `terms` are positional to each other; `terms` holds the licence
    columns of the records by themselves, where those in `data` already speak of their negatives as well.
    """

    corpus: str
    pool: Sequence[Path]
    data: Sequence[Path]
    pairs: Sequence[Path]
    terms: Sequence[Path] = ()

    def prove(self) -> None:
        """Raise CountError where the lists are not positional to each other."""
        rows = [[pq.read_metadata(path).num_rows for path in paths] for paths in (self.data, self.pairs, self.terms)]
        if rows[0] != rows[1] or (self.terms and rows[0] != rows[2]):
            raise CountError(
                self.corpus,
                f"its data, pairs and terms hold {', '.join(str(sum(r)) for r in rows)} rows",
                "candidates and data are of different builds: build again",
            )

    def terms_of(self, shard: int) -> pl.DataFrame:
        """licence_id, commercial and redistribute of the records of one shard."""
        return pl.read_parquet((self.terms or self.data)[shard], columns=TERM_COLUMNS).select(TERM_COLUMNS)


class Holders(NamedTuple):
    """Per number of a text (the first under which it stands) its freest holder.

    `freedom`: uint8, 3 * commercial + redistribute as codes of CLASSES, or NOBODY. `corpus`, `licence`: codes of the
    names beside them. `record`: uint64 [n, 2], the record's id as two halves, big end first.
    """

    freedom: NDArray[np.uint8]
    corpus: NDArray[np.uint16]
    licence: NDArray[np.uint16]
    record: NDArray[np.uint64]
    corpora: list[str]
    licences: list[str]


@dataclass
class Codes:
    """Names as numbers, in the order they are met."""

    names: list[str] = field(default_factory=list)

    def of(self, column: pl.Series) -> NDArray[np.uint16]:
        self.names += [name for name in column.unique(maintain_order=True) if name not in self.names]
        return np.array(column.cast(pl.Enum(self.names)).to_physical(), np.uint16)


def freest_holders(parts: Sequence[PoolPart], same: NDArray[np.uint32], licences: Codes) -> Holders:
    """The freest holder of every text of a pool: by commercial use, redistribution, order of corpora, record_id.

    `same`: per number the first under which that text stands. 21 bytes per text of the pool are held.
    """
    n = len(same)
    found = Holders(
        np.full(n, NOBODY, np.uint8),
        np.zeros(n, np.uint16),
        np.zeros(n, np.uint16),
        np.zeros((n, 2), np.uint64),
        [part.corpus for part in parts],
        licences.names,
    )
    for code, part in enumerate(parts):
        for shard, path in enumerate(part.data):
            pairs = pl.read_parquet(part.pairs[shard], columns=["text", "pos"])
            ids = pl.read_parquet(path, columns=["record_id"])["record_id"]
            terms = part.terms_of(shard)
            freedom = 3 * class_codes(terms["commercial"]) + class_codes(terms["redistribute"])
            record, licence = record_halves(ids), licences.of(terms["licence_id"])
            for side in ("pos", "text"):
                held = same[pairs[side].to_numpy()]
                _offer(held, freedom, licence, record, code, found.freedom, found.corpus, found.licence, found.record)
    return found


def class_codes(classes: pl.Series) -> NDArray[np.uint8]:
    """Use classes as their ranks."""
    return np.array(classes.cast(pl.Enum(CLASSES)).to_physical(), np.uint8)


def record_halves(ids: pl.Series) -> NDArray[np.uint64]:
    """Record ids (32 hex digits) as two 64-bit numbers each, so that they sort as the ids do.

    >>> record_halves(pl.Series(["00000000000000010000000000000002"])).tolist()
    [[1, 2]]
    """
    raw = np.frombuffer(bytes.fromhex("".join(ids)), ">u8").reshape(-1, 2)
    return raw.astype(np.uint64)


def record_ids(halves: NDArray[np.uint64]) -> pa.StringArray:
    """The inverse of `record_halves`.

    >>> record_ids(np.array([[1, 2]], np.uint64)).to_pylist()
    ['00000000000000010000000000000002']
    """
    digits = halves.astype(">u8").tobytes().hex().encode()
    offsets = np.arange(0, 32 * len(halves) + 1, 32, dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), len(halves), [None, pa.py_buffer(offsets), pa.py_buffer(digits)])


@njit(cache=True, nogil=True)
def _offer(
    held: NDArray[np.uint32],
    freedom: NDArray[np.uint8],
    licence: NDArray[np.uint16],
    record: NDArray[np.uint64],
    code: int,
    best_freedom: NDArray[np.uint8],
    best_corpus: NDArray[np.uint16],
    best_licence: NDArray[np.uint16],
    best_record: NDArray[np.uint64],
) -> None:
    for i in range(len(held)):
        at = held[i]
        better = freedom[i] < best_freedom[at]
        # Corpora come in order, so an equal offer of a later one is never better.
        if freedom[i] == best_freedom[at] and best_corpus[at] == code:
            low, high = record[i, 1] < best_record[at, 1], record[i, 0] < best_record[at, 0]
            better = high or (record[i, 0] == best_record[at, 0] and low)
        if better:
            best_freedom[at], best_corpus[at], best_licence[at] = freedom[i], code, licence[i]
            best_record[at, 0], best_record[at, 1] = record[i, 0], record[i, 1]
