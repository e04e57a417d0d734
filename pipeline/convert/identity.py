"""What a record is called for ever: 32 hex digits made of the values upstream gave, before any cleaning.

Byte layout, all UTF-8, hashed with xxh3-128 (seed 0) and written big-endian in lower-case hex:

    record    <corpus> <text> <text_pos> as netstrings, then the occurrence:   4:demo,6:你好,3:好,0
    labelled  the word "labelled," before <corpus> <text> <other> likewise:    labelled,4:demo,6:你好,3:好,0

A netstring is the value's length in bytes in decimal, a colon, the bytes, a comma; the occurrence, in decimal, is how
many earlier records of the corpus have the same three values, in the order files are read. A record opens with a
digit, a labelled row with a letter, so neither is ever the other.
"""

from __future__ import annotations

from typing import TypeAlias

import numba
import numpy as np
import numpy.typing as npt
import polars as pl
import polars_hash as plh
import pyarrow as pa

UInt64s: TypeAlias = npt.NDArray[np.uint64]
Int32s: TypeAlias = npt.NDArray[np.int32]

LABELLED = "labelled,"
_HEX = 32


class Identities:
    """Gives out the ids of one corpus; holds 16 bytes of hash and a count per distinct record, nothing of the text.

    >>> ids, _ = Identities("demo").assign(pl.Series(["你好", "你好"]), pl.Series(["好", "好"]))
    >>> ids[0].as_py() == __import__("xxhash").xxh3_128_hexdigest("4:demo,6:你好,3:好,0".encode())
    True
    """

    def __init__(self, corpus: str) -> None:
        self._corpus = f"{len(corpus.encode())}:{corpus},"
        self._table = _Table()

    def assign(self, text: pl.Series, other: pl.Series, tag: str = "") -> tuple[pa.Array, UInt64s]:
        """The ids of the next records in order, and the first eight bytes of each as a number."""
        frame = pl.DataFrame({"text": text, "other": other})
        stem = pl.concat_str(pl.lit(tag + self._corpus), *_netstring("text"), *_netstring("other"))
        high, low = _hashed(frame, pl.concat_str(stem, pl.lit("0")))
        occurrence = self._table.count(high, low)
        again = np.flatnonzero(occurrence)
        if len(again):
            repeats = frame[again].with_columns(occurrence=pl.Series(occurrence[again]).cast(pl.String))
            high[again], low[again] = _hashed(repeats, pl.concat_str(stem, "occurrence"))
        return _hex(high, low), high


def doc_groups(corpus: str, documents: pl.Series, fallback: UInt64s) -> pl.Series:
    """xxh3-64 of corpus, a zero byte and the document's name; `fallback` where it is null: a family of one.

    >>> doc_groups("demo", pl.Series(["页"]), np.zeros(1, np.uint64))[0] == __import__("xxhash").xxh3_64_intdigest(
    ...     "demo\\0页".encode())
    True
    """
    named = pl.select(plh.concat_str(pl.lit(f"{corpus}\0"), documents.cast(pl.String)).alias("name"))
    groups = named.select(plh.col("name").nchash.xxh3_64())["name"]
    return groups.zip_with(documents.is_not_null(), pl.Series(fallback))


def _netstring(column: str) -> tuple[pl.Expr, ...]:
    return pl.col(column).str.len_bytes().cast(pl.String), pl.lit(":"), pl.col(column), pl.lit(",")


def _hashed(frame: pl.DataFrame, preimage: pl.Expr) -> tuple[UInt64s, UInt64s]:
    hashes = frame.select(preimage.alias("id")).select(plh.col("id").nchash.xxh3_128())
    # polars hands no 128-bit integers to numpy: split them here.
    halves = hashes.select(high=pl.col("id") // (1 << 64), low=pl.col("id") % (1 << 64)).cast(pl.UInt64)
    return halves["high"].to_numpy(writable=True), halves["low"].to_numpy(writable=True)


def _hex(high: UInt64s, low: UInt64s) -> pa.Array:
    digests = np.empty((len(high), 2), dtype=">u8")
    digests[:, 0], digests[:, 1] = high, low
    offsets = np.arange(len(high) + 1, dtype=np.int32) * _HEX
    digits = digests.tobytes().hex().encode()
    return pa.StringArray.from_buffers(len(high), pa.py_buffer(offsets), pa.py_buffer(digits))


class _Table:
    """Counts 128-bit hashes: open addressing, at most three quarters full, 20 bytes a slot."""

    def __init__(self) -> None:
        self._used = 0
        self._allocate(1 << 16)

    def _allocate(self, slots: int) -> None:
        self._high, self._low = np.zeros(slots, dtype=np.uint64), np.zeros(slots, dtype=np.uint64)
        self._counts = np.zeros(slots, dtype=np.int32)

    def count(self, high: UInt64s, low: UInt64s) -> Int32s:
        """How often each hash was seen before, earlier ones of the same call included."""
        slots = len(self._counts)
        while (self._used + len(high)) * 4 > slots * 3:
            slots *= 2
        if slots > len(self._counts):
            old = self._high, self._low, self._counts
            self._allocate(slots)
            _move(*old, self._high, self._low, self._counts)
        before = np.empty(len(high), dtype=np.int32)
        self._used += _count(high, low, self._high, self._low, self._counts, before)
        return before


@numba.njit(nogil=True, cache=True)
def _slot(high: np.uint64, low: np.uint64, highs: UInt64s, lows: UInt64s, counts: Int32s) -> np.uint64:
    mask = np.uint64(len(counts) - 1)
    slot = low & mask
    while counts[slot] != 0 and (highs[slot] != high or lows[slot] != low):
        slot = (slot + np.uint64(1)) & mask
    return slot


@numba.njit(nogil=True, cache=True)
def _count(high: UInt64s, low: UInt64s, highs: UInt64s, lows: UInt64s, counts: Int32s, before: Int32s) -> int:
    fresh = 0
    for i in range(len(high)):
        slot = _slot(high[i], low[i], highs, lows, counts)
        fresh += counts[slot] == 0
        before[i] = counts[slot]
        highs[slot], lows[slot] = high[i], low[i]
        counts[slot] += 1
    return fresh


@numba.njit(nogil=True, cache=True)
def _move(
    old_highs: UInt64s, old_lows: UInt64s, old_counts: Int32s, highs: UInt64s, lows: UInt64s, counts: Int32s
) -> None:
    for i in range(len(old_counts)):
        if old_counts[i] != 0:
            slot = _slot(old_highs[i], old_lows[i], highs, lows, counts)
            highs[slot], lows[slot], counts[slot] = old_highs[i], old_lows[i], old_counts[i]
