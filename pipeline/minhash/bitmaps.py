"""Bitmaps of shingle sets: an exact bound on the Jaccard of two keys, without a look at either text.

Every distinct shingle of 3 characters turns one bit of its key's map, chosen by hash. Where two maps differ in d places,
at least d shingles belong to one key alone; so keys of a and b shingles with a Jaccard of s or more differ in at most
(1 - s) / (1 + s) * (a + b) places (the bitmap filter of Sandes, Teodoro and Melo, 2017). Nothing alike is ever left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.minhash.characters import characters
from pipeline.minhash.compiled import Flags, Hashes, Ints, in_blocks, inlined, kernel
from pipeline.minhash.keys import Keys
from pipeline.minhash.pairs import Pairs
from pipeline.minhash.shingles import LONG, pack, table_bits

_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_BLOCK = 16_384


@dataclass(frozen=True)
class Bitmaps:
    """Maps of keys of LONG characters and more; shorter ones have none and are never left out.

    A map has one to two bits a shingle, as a power of two of them: the smaller of two is compared with the larger one
    folded, which is the map it would have at that size. At 0.8 nearly all pairs under 0.7 are left out.

    >>> import polars as pl
    >>> one = "春眠不觉晓处处闻啼鸟夜来风雨声花落知多少"
    >>> keys = Keys.of(pl.Series([one, one + "啊", one[::-1]]), np.arange(3, dtype=np.uint64))
    >>> Bitmaps.of(keys).possible(0, np.array([1, 2]), 0.8).tolist()
    [True, False]
    """

    sizes: npt.NDArray[np.int32]
    starts: Ints
    words: Hashes

    @classmethod
    def of(cls, keys: Keys) -> Bitmaps:
        power = np.ceil(np.log2(np.maximum(keys.triples, 64))).astype(np.int64) - 6
        counts = np.where(keys.chars < LONG, 0, 1 << power)
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        words = np.zeros(starts[-1], np.uint64)
        told = (keys.data, keys.start, keys.end)
        in_blocks(len(keys), lambda lo, hi: _map(*told, lo, hi, starts, words), _BLOCK)
        return cls(keys.triples, starts, words)

    @classmethod
    def joined(cls, parts: Sequence[Bitmaps]) -> Bitmaps:
        """Those of one list of keys after the other."""
        counts = [np.diff(part.starts) for part in parts]
        starts = np.cumsum(np.concatenate([np.zeros(1, np.int64), *counts]))
        return cls(np.concatenate([p.sizes for p in parts]), starts, np.concatenate([p.words for p in parts]))

    def possible(self, one: int, others: Ints, similarity: float) -> Flags:
        """Which of the others could be that similar to `one`; ascending ones are read fastest."""
        likely = np.empty(len(others), np.bool_)
        _likely(self.words, self.starts, self.sizes, one, others, similarity, likely)
        return likely

    def possible_pairs(self, pairs: Pairs, one: int, others: Ints, similarity: float) -> Flags:
        """Which other pairs could be that similar to pair `one` on both sides, straight or turned round."""
        likely, told = np.empty(len(others), np.bool_), (pairs.text, pairs.pos, pairs.symmetric)
        _likely_pairs(self.words, self.starts, self.sizes, *told, one, others, similarity, likely)
        return likely


@kernel
def _map(data, start, end, lo, hi, starts, maps):  # type: ignore[no-untyped-def]
    longest = 0
    for i in range(lo, hi):
        longest = max(longest, end[i] - start[i])
    points, at = np.empty(longest + 1, np.uint32), np.empty(longest + 1, np.int64)
    size = 1 << table_bits(longest)
    packed, filled = np.empty(size, np.uint64), np.zeros(size, np.int64)
    for i in range(lo, hi):
        first, words = starts[i], starts[i + 1] - starts[i]
        if words == 0:
            continue
        n = characters(data, start[i], end[i], points, at)
        shift = np.uint64(64 - table_bits(n))
        mask, low = np.uint64((1 << table_bits(n)) - 1), np.uint64(words - 1)
        for j in range(n - 2):
            value = pack(points, j, 3)
            h = value * _SPREAD
            slot = h >> shift
            while filled[slot] == i + 1 and packed[slot] != value:
                slot = (slot + np.uint64(1)) & mask
            if filled[slot] != i + 1:
                filled[slot] = i + 1
                packed[slot] = value
                h = (h ^ h >> np.uint64(32)) * _MIX
                maps[first + np.int64(h >> np.uint64(32) & low)] ^= np.uint64(1) << (h >> np.uint64(58))


@kernel
def _likely(words, starts, sizes, one, others, similarity, likely):  # type: ignore[no-untyped-def]
    for i in range(others.shape[0]):
        likely[i] = _alike(words, starts, sizes, one, others[i], similarity)


@kernel
def _likely_pairs(words, starts, sizes, text, pos, symmetric, one, others, similarity, likely):  # type: ignore[no-untyped-def]
    maps = (words, starts, sizes)
    for i in range(others.shape[0]):
        other = others[i]
        likely[i] = _alike(*maps, pos[one], pos[other], similarity) and _alike(
            *maps, text[one], text[other], similarity
        )
        if not likely[i] and symmetric[one] and symmetric[other]:
            likely[i] = _alike(*maps, text[one], pos[other], similarity) and _alike(
                *maps, pos[one], text[other], similarity
            )


@inlined
def _alike(words, starts, sizes, one, other, similarity):  # type: ignore[no-untyped-def]
    first, begin = starts[one], starts[other]
    ours, theirs = starts[one + 1] - first, starts[other + 1] - begin
    if ours == 0 or theirs == 0 or one == other:
        return True
    a, b = sizes[one], sizes[other]
    if min(a, b) < similarity * max(a, b) - 1e-6:
        return False
    most = (1 - similarity) / (1 + similarity) * (a + b) + 1e-6
    least = min(ours, theirs)
    apart = np.int64(0)
    for word in range(least):
        x = words[first + word] ^ words[begin + word]
        for folded in range(word + least, ours, least):
            x ^= words[first + folded]
        for folded in range(word + least, theirs, least):
            x ^= words[begin + folded]
        x = x - (x >> np.uint64(1) & np.uint64(0x5555555555555555))
        x = (x & np.uint64(0x3333333333333333)) + (x >> np.uint64(2) & np.uint64(0x3333333333333333))
        x = x + (x >> np.uint64(4)) & np.uint64(0x0F0F0F0F0F0F0F0F)
        apart += np.int64(x * np.uint64(0x0101010101010101) >> np.uint64(56))
        if apart > most:
            return False
    return True
