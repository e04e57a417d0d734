"""Match keys in one UTF-8 buffer, what is measured of each, and the true Jaccard of pairs of them.

A shingle of k <= 3 characters is its code points packed into 64 bits (21 each), so equal numbers are equal shingles and
no hash decides a similarity. Sets are compared through a small open-addressing table that is filled once per left key,
without sorting and without keeping any shingle.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from sys import maxunicode
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

#: Keys of fewer characters are compared by equality only.
SHORT = 6
#: Where the shorter key has fewer characters shingles have 2 of them, else 3.
LONG = 20
#: Words whose count must agree between near-duplicates: not, have not, without, non-, not yet.
NEGATIONS = "不没无非未"

_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_BLOCK = 16_384

kernel = numba.njit(nogil=True, cache=True)
inlined = numba.njit(nogil=True)


@dataclass(frozen=True)
class Keys:
    """Match keys, one position each; `hashes` are their xxh3-64, which stand for equality.

    `chars` counts characters, `doubles` and `triples` distinct shingles of 2 and 3 characters (0 where no comparison can
    ask for them), `traits` is one hash of what must agree between near-duplicates: the sequence of decimal digit runs
    and the count of each of `NEGATIONS`.

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

    @classmethod
    def of(cls, keys: pl.Series | pa.LargeStringArray, hashes: Hashes, order: Ints | None = None) -> Keys:
        """Measures `keys` (no nulls); with `order`, position i is `keys[order[i]]` (no text moves), `hashes` as `keys`."""
        data, offsets = _buffers(keys)
        picked = slice(None) if order is None else order
        # Copies: numba compiles anew for arrays that may not be written, as those over Arrow memory.
        start, end = np.array(offsets[:-1][picked]), np.array(offsets[1:][picked])
        hashes = np.array(hashes[picked])
        n = len(start)
        chars, doubles, triples = (np.empty(n, np.int32) for _ in range(3))
        traits = np.empty(n, np.uint64)
        zeros = _decimal_zeros()
        words = np.array([ord(word) for word in NEGATIONS], np.int64)
        in_blocks(
            n, lambda lo, hi: _measure(data, start, end, lo, hi, zeros, words, chars, doubles, triples, traits), _BLOCK
        )
        return cls(data, start, end, hashes, chars, doubles, triples, traits)

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
    in_blocks(len(at), lambda lo, hi: _jaccard(a, at, b, other, lo, hi, minimum, out), _BLOCK)
    return out


def in_blocks(n: int, work: Callable[[int, int], Any], block: int) -> None:
    """Calls `work(lo, hi)` over 0..n in blocks, on as many threads as numba is set to; blocks write disjoint places."""
    spans = [(lo, min(n, lo + block)) for lo in range(0, n, block)]
    threads = min(len(spans), int(numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    if threads < 2:
        for lo, hi in spans:
            work(lo, hi)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, lo, hi) for lo, hi in spans]:
            done.result()


def _buffers(keys: pl.Series | pa.LargeStringArray) -> tuple[Bytes, Ints]:
    """UTF-8 bytes and n + 1 offsets of a string column, without a copy where it already is large_string."""
    column = keys.to_arrow() if isinstance(keys, pl.Series) else keys
    if column.type != pa.large_string():
        column = column.cast(pa.large_string())
    _, offsets, data = column.buffers()
    if offsets is None or len(column) == 0:
        return np.frombuffer(b"", np.uint8), np.zeros(1, np.int64)
    bounds = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    return np.frombuffer(data if data is not None else b"", np.uint8), bounds


@lru_cache(maxsize=1)
def _decimal_zeros() -> Ints:
    """Code points of every script's digit zero; its nine other digits follow it, which Unicode promises."""
    return np.array([c for c in range(maxunicode + 1) if unicodedata.decimal(chr(c), None) == 0], np.int64)


@inlined
def _decode(data, start, end, out):  # type: ignore[no-untyped-def]
    """Writes the code points of valid UTF-8 to `out`; returns how many."""
    n = 0
    p = start
    while p < end:
        c = np.int64(data[p])
        if c < 0x80:
            p += 1
        elif c < 0xE0:
            c = (c & 0x1F) << 6 | np.int64(data[p + 1]) & 0x3F
            p += 2
        elif c < 0xF0:
            c = (c & 0x0F) << 12 | (np.int64(data[p + 1]) & 0x3F) << 6 | np.int64(data[p + 2]) & 0x3F
            p += 3
        else:
            c = (c & 0x07) << 18 | (np.int64(data[p + 1]) & 0x3F) << 12 | (np.int64(data[p + 2]) & 0x3F) << 6
            c |= np.int64(data[p + 3]) & 0x3F
            p += 4
        out[n] = c
        n += 1
    return n


@inlined
def _pack(points, at, k):  # type: ignore[no-untyped-def]
    value = np.uint64(points[at]) << np.uint64(21) | np.uint64(points[at + 1])
    if k == 3:
        value = value << np.uint64(21) | np.uint64(points[at + 2])
    return value


@inlined
def _insert(points, n, k, packed, filled, bits, turn):  # type: ignore[no-untyped-def]
    """Puts the shingles of `points[:n]` into the table, slots of turn `turn`; returns how many are distinct."""
    mask = np.uint64((1 << bits) - 1)
    distinct = 0
    for i in range(n - k + 1):
        value = _pack(points, i, k)
        slot = (value * _SPREAD) >> np.uint64(64 - bits)
        while filled[slot] == turn and packed[slot] != value:
            slot = (slot + np.uint64(1)) & mask
        if filled[slot] != turn:
            filled[slot] = turn
            packed[slot] = value
            distinct += 1
    return distinct


@inlined
def _bits(n):  # type: ignore[no-untyped-def]
    """Table size for n shingles as a power of two, at most half full."""
    bits = 4
    while (1 << bits) < 2 * n:
        bits += 1
    return bits


@inlined
def _is_decimal(point, zeros):  # type: ignore[no-untyped-def]
    if point < 0x80:
        return 48 <= point <= 57
    if point < 0x660 or 0x2E80 <= point < 0xA620:
        return False
    at = np.searchsorted(zeros, point, side="right") - 1
    return point - zeros[at] < 10


@kernel
def _measure(data, start, end, lo, hi, zeros, words, chars, doubles, triples, traits):  # type: ignore[no-untyped-def]
    longest = 0
    for i in range(lo, hi):
        longest = max(longest, end[i] - start[i])
    points = np.empty(longest + 3, np.int64)
    size = 1 << _bits(longest)
    packed = np.empty(size, np.uint64)
    filled = np.zeros(size, np.int64)
    counts = np.empty(words.shape[0], np.int64)
    for i in range(lo, hi):
        n = _decode(data, start[i], end[i], points)
        chars[i] = n
        doubles[i] = _insert(points, n, 2, packed, filled, _bits(n), 2 * i + 1) if n >= SHORT else 0
        triples[i] = _insert(points, n, 3, packed, filled, _bits(n), 2 * i + 2) if n >= LONG else 0
        h = _SPREAD
        counts[:] = 0
        in_run = False
        for j in range(n):
            point = points[j]
            digit = _is_decimal(point, zeros)
            if digit or in_run:  # the character after a run closes it, so 1 2 is not 12
                h = (h ^ np.uint64(point if digit else 0)) * _MIX
                h ^= h >> np.uint64(32)
            in_run = digit
            for w in range(words.shape[0]):
                counts[w] += point == words[w]
        if in_run:
            h = h * _MIX
            h ^= h >> np.uint64(32)
        for w in range(words.shape[0]):
            h = (h ^ np.uint64(counts[w])) * _MIX
            h ^= h >> np.uint64(29)
        traits[i] = h


@kernel
def _jaccard(left, left_at, right, right_at, lo, hi, minimum, out):  # type: ignore[no-untyped-def]
    a_data, a_start, a_end, a_hashes, a_chars, a_doubles, a_triples = left
    b_data, b_start, b_end, b_hashes, b_chars, b_doubles, b_triples = right
    longest_a, longest_b = 0, 0
    for i in range(lo, hi):
        longest_a = max(longest_a, a_chars[left_at[i]])
        longest_b = max(longest_b, b_chars[right_at[i]])
    a_points = np.empty(longest_a + 3, np.int64)
    b_points = np.empty(longest_b + 3, np.int64)
    size = 1 << _bits(longest_a)
    packed = np.empty(size, np.uint64)
    filled = np.zeros(size, np.int64)
    counted = np.zeros(size, np.int64)
    held, held_k, bits, turn = np.int64(-1), 0, 4, 0
    for i in range(lo, hi):
        a, b = left_at[i], right_at[i]
        if a_hashes[a] == b_hashes[b]:
            out[i] = 1.0
            continue
        shorter = min(a_chars[a], b_chars[b])
        if shorter < SHORT:
            out[i] = 0.0
            continue
        k = 2 if shorter < LONG else 3
        n_a = a_doubles[a] if k == 2 else a_triples[a]
        n_b = b_doubles[b] if k == 2 else b_triples[b]
        if min(n_a, n_b) / max(n_a, n_b) < minimum:
            out[i] = 0.0
            continue
        if a != held or k != held_k:
            n = _decode(a_data, a_start[a], a_end[a], a_points)
            held, held_k, bits, turn = a, k, _bits(n), turn + 1
            _insert(a_points, n, k, packed, filled, bits, turn)
        mask = np.uint64((1 << bits) - 1)
        n = _decode(b_data, b_start[b], b_end[b], b_points)
        shared = 0
        for j in range(n - k + 1):
            value = _pack(b_points, j, k)
            slot = (value * _SPREAD) >> np.uint64(64 - bits)
            while filled[slot] == turn and packed[slot] != value:
                slot = (slot + np.uint64(1)) & mask
            if filled[slot] == turn and counted[slot] != i + 1:
                counted[slot] = i + 1
                shared += 1
        out[i] = shared / (n_a + n_b - shared)
