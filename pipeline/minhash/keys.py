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

from pipeline.errors import FormatError

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
_U = np.uint32
_LOW_BITS = _U(63)

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
        keys = cls._blank(data, start, end, hashes)
        told = (data, start, end)
        found = (keys.chars, keys.doubles, keys.triples, keys.traits)
        in_blocks(len(start), lambda lo, hi: _measure(*told, lo, hi, *_marked(), *found), _BLOCK)
        return keys

    @classmethod
    def to_sign(cls, data: Bytes, start: Ints, end: Ints, hashes: Hashes, similarity: float) -> Keys:
        """The same with what signing asks for alone, at a fraction of the cost. Such keys have no Jaccard.

        There are no `triples`; `doubles` are counted from LONG characters on, and only as far as `slots` looks for a
        least similarity of `similarity`.
        """
        keys = cls._blank(data, start, end, hashes)
        most = int((LONG - 2) / similarity + 1e-9)
        told = (data, start, end)
        found = (keys.chars, keys.doubles, keys.traits)
        in_blocks(len(start), lambda lo, hi: _outline(*told, lo, hi, *_marked(), most, *found), _BLOCK)
        return keys

    @classmethod
    def _blank(cls, data: Bytes, start: Ints, end: Ints, hashes: Hashes) -> Keys:
        chars, doubles, triples = (np.zeros(len(start), np.int32) for _ in range(3))
        return cls(data, start, end, hashes, chars, doubles, triples, np.empty(len(start), np.uint64))

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
def _marked() -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Code points of every script's digit zero (its nine other digits follow it, which Unicode promises); NEGATIONS."""
    zeros = [c for c in range(maxunicode + 1) if unicodedata.decimal(chr(c), None) == 0]
    return np.array(zeros, np.uint32), np.array([ord(word) for word in NEGATIONS], np.uint32)


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
    if point < _U(0x80):
        return point - _U(48) < _U(10)
    if point < _U(0x660) or _U(0x2E80) <= point < _U(0xA620):
        return False
    at = np.searchsorted(zeros, point, side="right") - 1
    return point - zeros[at] < _U(10)


@inlined
def _point(data, p):  # type: ignore[no-untyped-def]
    """The code point that begins at p, and how many bytes it has."""
    c = _U(data[p])
    if c < _U(0x80):
        return c, 1
    if c < _U(0xE0):
        return (c & _U(0x1F)) << _U(6) | _U(data[p + 1]) & _U(0x3F), 2
    if c < _U(0xF0):
        return (c & _U(0x0F)) << _U(12) | (_U(data[p + 1]) & _U(0x3F)) << _U(6) | _U(data[p + 2]) & _U(0x3F), 3
    high = (c & _U(0x07)) << _U(18) | (_U(data[p + 1]) & _U(0x3F)) << _U(12)
    return high | (_U(data[p + 2]) & _U(0x3F)) << _U(6) | _U(data[p + 3]) & _U(0x3F), 4


@inlined
def _read(data, start, end, zeros, words, listed, counts):  # type: ignore[no-untyped-def]
    """How many characters a key has, and its traits."""
    for word in words:
        counts[word & _LOW_BITS] = 0
    n = 0
    h = _SPREAD
    in_run = False
    p = start
    while p < end:
        n += 1
        c = _U(data[p])
        if _U(0xE3) <= c <= _U(0xE9) and not in_run:  # Chinese and Japanese, where no digits are: the short way
            point = (c & _U(0x0F)) << _U(12) | (_U(data[p + 1]) & _U(0x3F)) << _U(6) | _U(data[p + 2]) & _U(0x3F)
            p += 3
            if listed[point & _LOW_BITS] == point:
                counts[point & _LOW_BITS] += 1
            continue
        point, width = _point(data, p)
        p += width
        digit = _is_decimal(point, zeros)
        if digit or in_run:  # the character after a run closes it, so 1 2 is not 12
            h = (h ^ np.uint64(point if digit else _U(0))) * _MIX
            h ^= h >> np.uint64(32)
        in_run = digit
        if listed[point & _LOW_BITS] == point:
            counts[point & _LOW_BITS] += 1
    if in_run:
        h = h * _MIX
        h ^= h >> np.uint64(32)
    for word in words:
        h = (h ^ np.uint64(counts[word & _LOW_BITS])) * _MIX
        h ^= h >> np.uint64(29)
    return n, h


@inlined
def _doubles(data, start, end, most, packed, filled, bits, turn):  # type: ignore[no-untyped-def]
    """Distinct shingles of 2 characters, counted no further than one beyond `most`."""
    mask = np.uint64((1 << bits) - 1)
    distinct = 0
    before, p = _point(data, start)
    p += start
    while p < end and distinct <= most:
        point, width = _point(data, p)
        p += width
        value = np.uint64(before) << np.uint64(21) | np.uint64(point)
        before = point
        slot = (value * _SPREAD) >> np.uint64(64 - bits)
        while filled[slot] == turn and packed[slot] != value:
            slot = (slot + np.uint64(1)) & mask
        if filled[slot] != turn:
            filled[slot] = turn
            packed[slot] = value
            distinct += 1
    return distinct


@inlined
def _listed(words):  # type: ignore[no-untyped-def]
    """The words by their low six bits, in which all differ: one look per character, not one for each word."""
    listed = np.zeros(64, np.uint32)
    for word in words:
        listed[word & _LOW_BITS] = word
    return listed


@kernel
def _measure(data, start, end, lo, hi, zeros, words, chars, doubles, triples, traits):  # type: ignore[no-untyped-def]
    longest = 0
    for i in range(lo, hi):
        longest = max(longest, end[i] - start[i])
    points = np.empty(longest + 3, np.int64)
    size = 1 << _bits(longest)
    packed = np.empty(size, np.uint64)
    filled = np.zeros(size, np.int64)
    listed, counts = _listed(words), np.zeros(64, np.int64)
    for i in range(lo, hi):
        n, traits[i] = _read(data, start[i], end[i], zeros, words, listed, counts)
        chars[i], doubles[i], triples[i] = n, 0, 0
        if n >= SHORT:
            _decode(data, start[i], end[i], points)
            doubles[i] = _insert(points, n, 2, packed, filled, _bits(n), 2 * i + 1)
        if n >= LONG:
            triples[i] = _insert(points, n, 3, packed, filled, _bits(n), 2 * i + 2)


@kernel
def _outline(data, start, end, lo, hi, zeros, words, most, chars, doubles, traits):  # type: ignore[no-untyped-def]
    bits = _bits(most + 1)
    packed = np.empty(1 << bits, np.uint64)
    filled = np.zeros(1 << bits, np.int64)
    listed, counts = _listed(words), np.zeros(64, np.int64)
    for i in range(lo, hi):
        chars[i], traits[i] = _read(data, start[i], end[i], zeros, words, listed, counts)
        doubles[i] = 0
        if chars[i] >= LONG:
            doubles[i] = _doubles(data, start[i], end[i], most, packed, filled, bits, i + 1)


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
        shared, missed = 0, 0
        # Equal shingles count once, so the right key may miss as many as it repeats and still reach the minimum.
        allowed = n - k + 1 - minimum * (n_a + n_b) / (1 + minimum) + 1e-6 if minimum > 0 else n
        for j in range(n - k + 1):
            value = _pack(b_points, j, k)
            slot = (value * _SPREAD) >> np.uint64(64 - bits)
            while filled[slot] == turn and packed[slot] != value:
                slot = (slot + np.uint64(1)) & mask
            if filled[slot] == turn:
                if counted[slot] != i + 1:
                    counted[slot] = i + 1
                    shared += 1
            else:
                missed += 1
                if missed > allowed:
                    break
        out[i] = shared / (n_a + n_b - shared) if missed <= allowed else 0.0
