"""Match keys in one UTF-8 buffer, what is measured of each, and the true Jaccard of pairs of them.

A shingle of k <= 3 characters is its code points packed into 64 bits (21 each), so equal numbers are equal shingles and
no hash decides a similarity. Sets are compared through a small open-addressing table that is filled once per left key,
without sorting and without keeping any shingle.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipeline.errors import FormatError
from pipeline.minhash.compiled import Bytes, Floats, Hashes, Ints, fixed, in_blocks
from pipeline.minhash.shingles import measure, shared

#: Words whose count must agree between near-duplicates: not, have not, without, non-, not yet.
NEGATIONS = "不没无非未"
_BLOCK = 16_384
_COLUMNS = ("start", "end", "hashes", "chars", "doubles", "triples", "traits")
#: No script beyond has digits: a look at all code points would take each process as long as a thousand keys do.
DIGITS_END = 0x20000


@dataclass(frozen=True)
class Keys:
    """Match keys, one position each; `hashes` are their xxh3-64, which stand for equality.

    `chars` counts characters, `doubles` and `triples` distinct shingles of 2 and 3 characters (0 where no comparison can
    ask for them; doubles no further than one beyond MANY), `traits` is one hash of what must agree between near-duplicates:
    the sequence of decimal digit runs and the count of each of `NEGATIONS`.

    >>> keys = Keys.of(pl.Series(["小于2的数字", "不大于2的数字"]), np.array([1, 2], np.uint64))
    >>> keys.chars.tolist(), bool(keys.traits[0] == keys.traits[1])
    ([6, 7], False)
    """

    data: Bytes
    start: Ints
    end: Ints
    hashes: Hashes
    chars: npt.NDArray[np.int32]
    doubles: npt.NDArray[np.int32]
    triples: npt.NDArray[np.int32]
    traits: Hashes

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", fixed(self.data))

    @classmethod
    def of(cls, keys: pl.Series | pa.Array | pa.ChunkedArray, hashes: Hashes, order: Ints | None = None) -> Keys:
        """Measures strings of any Arrow layout; a null counts as empty.

        With `order`, position i is `keys[order[i]]` (no text moves); `hashes` stand as `keys` do.
        """
        data, offsets = _buffers(keys)
        picked = slice(None) if order is None else order
        # Copies: numba compiles anew for arrays that may not be written, as those over Arrow memory.
        return cls.lying(data, np.array(offsets[:-1][picked]), np.array(offsets[1:][picked]), np.array(hashes[picked]))

    @classmethod
    def lying(cls, data: Bytes, start: Ints, end: Ints, hashes: Hashes) -> Keys:
        """Measures the keys that lie at `data[start[i] : end[i]]`, valid UTF-8."""
        chars, doubles, triples = (np.zeros(len(start), np.int32) for _ in range(3))
        keys = cls(data, start, end, hashes, chars, doubles, triples, np.empty(len(start), np.uint64))
        told = (keys.data, start, end)
        found = (chars, doubles, triples, keys.traits)
        in_blocks(len(start), lambda lo, hi: measure(*told, lo, hi, *marked(), *found), _BLOCK)
        return keys

    @classmethod
    def joined(cls, data: Bytes, parts: Sequence[Keys]) -> Keys:
        """Keys measured part by part, that lie in one buffer."""
        return cls(data, *(np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS))

    def at(self, places: Ints) -> Keys:
        """Some of them; no text moves."""
        return Keys(self.data, *(getattr(self, name)[places] for name in _COLUMNS))

    def __len__(self) -> int:
        return len(self.start)


def jaccard(left: Keys, left_at: npt.ArrayLike, right: Keys, right_at: npt.ArrayLike, minimum: float = 0.0) -> Floats:
    """True Jaccard of the keys at `left_at[i]` and `right_at[i]`, as design section 4 defines it.

    k follows the shorter key: under 6 characters 1 if equal else 0, under 20 shingles of 2, else of 3 characters. Pairs
    whose set sizes alone keep them under `minimum` are given as 0. Lists grouped by `left_at` are fastest.
    """
    at, other = (np.require(ids, np.int64, ["C", "W"]) for ids in (left_at, right_at))
    out = np.empty(len(at), np.float64)
    a = (left.data, left.start, left.end, left.hashes, left.chars, left.doubles, left.triples)
    b = (right.data, right.start, right.end, right.hashes, right.chars, right.doubles, right.triples)
    in_blocks(len(at), lambda lo, hi: shared(a, at, b, other, lo, hi, minimum, out), _BLOCK)
    return out


def _buffers(keys: pl.Series | pa.Array | pa.ChunkedArray) -> tuple[Bytes, Ints]:
    """UTF-8 bytes and n + 1 offsets of a string column, without a copy where it already is large_string.

    Raises FormatError where bytes from elsewhere are no UTF-8; polars never lets such in.
    """
    column: Any = keys.rechunk().to_arrow() if isinstance(keys, pl.Series) else keys
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if not isinstance(keys, pl.Series):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            raise FormatError(
                "keys", "a text is no valid UTF-8; lone surrogates are the usual cause", "mend or drop such texts"
            ) from None
    if column.type != pa.large_string():
        column = column.cast(pa.large_string())
    if column.null_count:
        column = column.fill_null("")
    _, offsets, data = column.buffers()
    if offsets is None or len(column) == 0:
        return np.frombuffer(b"", np.uint8), np.zeros(1, np.int64)
    bounds = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    return np.frombuffer(data if data is not None else b"", np.uint8), bounds


@lru_cache(maxsize=1)
def marked() -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Code points of every script's digit zero (its nine other digits follow it, which Unicode promises); NEGATIONS."""
    zeros = [c for c in range(DIGITS_END) if unicodedata.decimal(chr(c), None) == 0]
    return np.array(zeros, np.uint32), np.array([ord(word) for word in NEGATIONS], np.uint32)
