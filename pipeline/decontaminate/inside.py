"""Benchmark text inside longer text: instruction corpora carry evaluation questions in their prompts.

A query is told by the rolling hash of its first characters (its anchor). One pass over a text asks at every place
whether an anchor begins there, and only then compares the whole query, byte by byte: the cost does not grow with the
number or the length of the queries. (An Aho-Corasick automaton holds every byte of every query, which for clustering
sets of whole documents is gigabytes.)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.decontaminate.arrays import create, opened
from pipeline.minhash import Keys

Ints = npt.NDArray[np.int64]

_ODD = np.uint64(0x9E3779B97F4A7C15)
#: Bits of the filter that is asked before anchors are searched: 4 MiB.
_BITS = 25


@dataclass(frozen=True)
class Anchors:
    """Hashes of the first `chars` characters of queries, in order, and the numbers of their keys."""

    hashes: npt.NDArray[np.uint64]
    owners: npt.NDArray[np.uint32]
    chars: int

    @classmethod
    def of(cls, keys: Keys, at: Ints, chars: int) -> Anchors:
        """The anchors of those of `keys[at]` that have at least so many characters."""
        long = at[keys.chars[at] >= chars]
        hashes = np.empty(len(long), np.uint64)
        _anchor(keys.data, keys.start, long, chars, hashes)
        order = np.argsort(hashes, kind="stable")
        return cls(hashes[order], long[order].astype(np.uint32), chars)

    @classmethod
    def write(cls, folder: Path, keys: Keys, at: Ints, chars: int) -> None:
        made = cls.of(keys, at, chars)
        for name in ("hashes", "owners"):
            array = getattr(made, name)
            create(folder / f"anchors-{name}.npy", array.shape, array.dtype)[:] = array
        np.save(folder / "anchors-chars.npy", np.array([chars]))

    @classmethod
    def open(cls, folder: Path) -> Anchors:
        hashes, owners, chars = (opened(folder / f"anchors-{name}.npy") for name in ("hashes", "owners", "chars"))
        return cls(hashes, owners, int(chars[0]))


def inside(keys: Keys, at: Ints, wanted: Keys, anchors: Anchors) -> pl.DataFrame:
    """Which queries stand inside which of `keys[at]`, exactly: columns `key` and `bench`, one row per pair that occurs.

    Overlapping and nested finds all count. `wanted` holds the queries that `anchors` were made of.

    >>> def of(texts): return Keys.of(pl.Series(texts), np.arange(len(texts), dtype=np.uint64))
    >>> wanted = of(["故宫在哪"])
    >>> inside(of(["请回答故宫在哪谢谢", "故宫"]), np.arange(2), wanted, Anchors.of(wanted, np.arange(1), 4)).rows()
    [(0, 0)]
    """
    schema = {"key": pl.UInt32, "bench": pl.UInt32}
    long = at[keys.chars[at] >= anchors.chars] if len(anchors.hashes) else at[:0]
    if not len(long):
        return pl.DataFrame(schema=schema)
    bits = np.zeros(1 << (_BITS - 3), np.uint8)
    _set(anchors.hashes, bits)
    texts = (keys.data, keys.start, keys.end)
    queries = (wanted.data, wanted.start, wanted.end, anchors.hashes, anchors.owners)
    found = np.empty((1024, 2), np.uint32)
    while (count := _search(texts, long, queries, anchors.chars, bits, found)) > len(found):
        found = np.empty((count, 2), np.uint32)
    told = pl.DataFrame({"key": found[:count, 0], "bench": found[:count, 1]}, schema=schema)
    return told.unique().sort("key", "bench")


@numba.njit(nogil=True, cache=True)
def _width(byte):  # type: ignore[no-untyped-def]
    """Bytes of the character that begins with this one."""
    if byte < 0x80:
        return 1
    if byte < 0xE0:
        return 2
    return 3 if byte < 0xF0 else 4


@numba.njit(nogil=True, cache=True)
def _point(data, at):  # type: ignore[no-untyped-def]
    """A number of its own for each character: its bytes, spread."""
    value = np.uint64(0)
    for i in range(_width(data[at])):
        value = value << np.uint64(8) | np.uint64(data[at + i])
    return (value + np.uint64(1)) * _ODD


@numba.njit(nogil=True, cache=True)
def _mixed(rolling):  # type: ignore[no-untyped-def]
    h = rolling ^ rolling >> np.uint64(32)
    h = h * np.uint64(0xFF51AFD7ED558CCD)
    return h ^ h >> np.uint64(29)


@numba.njit(nogil=True, cache=True)
def _anchor(data, start, at, chars, out):  # type: ignore[no-untyped-def]
    for i in range(at.shape[0]):
        p = start[at[i]]
        rolling = np.uint64(0)
        for _ in range(chars):
            rolling = rolling * _ODD + _point(data, p)
            p += _width(data[p])
        out[i] = _mixed(rolling)


@numba.njit(nogil=True, cache=True)
def _set(hashes, bits):  # type: ignore[no-untyped-def]
    for i in range(hashes.shape[0]):
        at = hashes[i] >> np.uint64(64 - _BITS)
        bits[at >> np.uint64(3)] |= np.uint8(1) << np.uint8(at & np.uint64(7))


@numba.njit(nogil=True, cache=True)
def _search(texts, at, queries, chars, bits, found):  # type: ignore[no-untyped-def]
    """Writes (text, query) pairs as far as there is room; returns how many there are."""
    data, start, end = texts
    q_data, q_start, q_end, hashes, owners = queries
    top = np.uint64(1)  # weight of the character that leaves the window
    for _ in range(chars):
        top = top * _ODD
    count = 0
    for i in range(at.shape[0]):
        head = tail = start[at[i]]
        stop = end[at[i]]
        rolling = np.uint64(0)
        held = 0
        while head < stop:
            rolling = rolling * _ODD + _point(data, head)
            head += _width(data[head])
            held += 1
            if held > chars:
                rolling -= _point(data, tail) * top
                tail += _width(data[tail])
            if held < chars:
                continue
            h = _mixed(rolling)
            bit = h >> np.uint64(64 - _BITS)
            if not (bits[bit >> np.uint64(3)] >> np.uint8(bit & np.uint64(7))) & np.uint8(1):
                continue
            for j in range(np.searchsorted(hashes, h), hashes.shape[0]):
                if hashes[j] != h:
                    break
                size = q_end[owners[j]] - q_start[owners[j]]
                same = tail + size <= stop
                p = 0
                while same and p < size:
                    same = data[tail + p] == q_data[q_start[owners[j]] + p]
                    p += 1
                if same:
                    if count < found.shape[0]:
                        found[count, 0], found[count, 1] = at[i], owners[j]
                    count += 1
    return count
