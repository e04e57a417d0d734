"""MinHash signatures of match keys, and the keys of their bands.

Rows are bit-identical to `datasketch.MinHash(num_perm, seed, hashfunc=xxhash.xxh32_intdigest)` of datasketch 2 (scheme
affine32) fed with the UTF-8 of every shingle, so they load into `LeanMinHash` and `MinHashLSH`; a test holds the two
together. Shingles of Chinese characters (3 bytes each) are hashed many at a time, the others one by one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.minhash.characters import characters
from pipeline.minhash.compiled import Hashes, Ints, in_blocks, inlined, kernel
from pipeline.minhash.hashing import shingle_hashes
from pipeline.minhash.keys import Keys
from pipeline.minhash.shingles import LONG, SHORT

Words = npt.NDArray[np.uint32]

_U = np.uint32
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_BLOCK = 4_096


@dataclass(frozen=True)
class Slots:
    """Keys to sign, each at one shingle length: `k` is 2, 3, or 0 where the whole key stands for itself."""

    at: Ints
    k: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.at)


def slots(keys: Keys, at: Ints, similarity: float) -> Slots:
    """Every signature that `keys[at]` need so that each pair of at least `similarity` shares one shingle length.

    Under 6 characters: the key itself. Under 20: k = 2. From 20: k = 3, and k = 2 as well where a partner under 20
    characters, which has at most 18 distinct shingles, could still reach `similarity`.
    """
    chars = keys.chars[at]
    short = chars < SHORT
    both = (chars < LONG) | (keys.doubles[at] * similarity <= LONG - 2 + 1e-9)
    picks = [np.flatnonzero(mask) for mask in (short, ~short & both, chars >= LONG)]
    lengths = np.repeat(np.array([0, 2, 3], np.int8), [len(pick) for pick in picks])
    return Slots(at[np.concatenate(picks)], lengths)


def permutations(num_perm: int, seed: int) -> tuple[Words, Words]:
    """Multipliers (odd) and addends of the permutations, drawn exactly as datasketch draws them."""
    draw = np.random.RandomState(seed)
    multipliers = draw.randint(0, 1 << 31, num_perm, dtype=np.uint32) * _U(2) + _U(1)
    return multipliers, draw.randint(0, 1 << 32, num_perm, dtype=np.uint32)


@dataclass(frozen=True)
class Bands:
    """`count` bands of `rows` permutations each."""

    rows: int
    count: int

    @classmethod
    def reaching(cls, similarity: float, num_perm: int, recall: float = 0.999) -> Bands:
        """As many rows as `rows_per_band` allows, and no more bands than `recall` asks for.

        >>> Bands.reaching(0.6 * 0.6, 128), Bands.reaching(0.8, 128)
        (Bands(rows=2, count=50), Bands(rows=5, count=18))
        """
        rows = rows_per_band(num_perm, similarity, recall)
        miss = 1 - similarity**rows
        count = num_perm // rows if miss >= 1 else 1 if miss <= 0 else math.ceil(math.log(1 - recall) / math.log(miss))
        return cls(rows, min(count, num_perm // rows))

    @property
    def permutations(self) -> int:
        return self.rows * self.count


def rows_per_band(num_perm: int, similarity: float, recall: float = 0.999) -> int:
    """The most rows a band may have so that pairs of `similarity` meet in one of `num_perm // rows` bands.

    More rows mean fewer false candidates. A band of r rows of each of two sides meets at similarity s as one of r rows
    meets at s * s.

    >>> rows_per_band(128, 0.6 * 0.6), rows_per_band(128, 0.8)
    (2, 5)
    """
    fitting = [rows for rows in range(1, num_perm + 1) if 1 - (1 - similarity**rows) ** (num_perm // rows) >= recall]
    return max(fitting, default=1)


def signatures(keys: Keys, chosen: Slots, num_perm: int, seed: int) -> Words:
    """One row of `num_perm` numbers per slot (k from 2 on); a key shorter than k is its own only shingle.

    Slots of k = 2 and 3, all that this pipeline compares by, are hashed many shingles at a time; larger ones singly.
    """
    multipliers, addends = permutations(num_perm, seed)
    out = np.empty((len(chosen), num_perm), np.uint32)
    table = (keys.data, keys.start, keys.end, chosen.at, chosen.k)
    in_blocks(len(chosen), lambda lo, hi: _signatures(table, lo, hi, multipliers, addends, out), _BLOCK)
    return out


def band_parts(keys: Keys, chosen: Slots, multipliers: Words, addends: Words, rows: int) -> Hashes:
    """What each slot adds to its record's key in each band of `rows` permutations: an array (bands, slots).

    Two slots share a part where they agree in k, in `Keys.traits` and in all rows of the band (or, k = 0, are the same
    key), so records that the veto would part never meet. Only the given permutations are computed, so that bands can be
    worked off in groups.
    """
    bands = len(multipliers) // rows
    out = np.empty((bands, len(chosen)), np.uint64)
    table = (keys.data, keys.start, keys.end, chosen.at, chosen.k)
    a, b = multipliers[: bands * rows], addends[: bands * rows]
    in_blocks(len(chosen), lambda lo, hi: _parts(table, lo, hi, a, b, rows, keys.hashes, keys.traits, out), _BLOCK)
    return out


@inlined
def minima(hashes, n, multipliers, addends, out):  # type: ignore[no-untyped-def]
    """Least image under each permutation; eight hashes at a time so that `out` stays in registers and cache."""
    width = multipliers.shape[0]
    for p in range(width):
        out[p] = _U(0xFFFFFFFF)
    if n == 0:
        return
    padded = (n + 7) & ~7
    for i in range(n, padded):
        hashes[i] = hashes[0]
    for i in range(0, padded, 8):
        h0, h1, h2, h3 = hashes[i], hashes[i + 1], hashes[i + 2], hashes[i + 3]
        h4, h5, h6, h7 = hashes[i + 4], hashes[i + 5], hashes[i + 6], hashes[i + 7]
        for p in range(width):
            a, b = multipliers[p], addends[p]
            low = min(min(_U(a * h0 + b), _U(a * h1 + b)), min(_U(a * h2 + b), _U(a * h3 + b)))
            high = min(min(_U(a * h4 + b), _U(a * h5 + b)), min(_U(a * h6 + b), _U(a * h7 + b)))
            out[p] = min(out[p], min(low, high))


@kernel
def _signatures(table, lo, hi, multipliers, addends, out):  # type: ignore[no-untyped-def]
    data, start, end, keys, ks = table
    longest = 0
    for i in range(lo, hi):
        longest = max(longest, end[keys[i]] - start[keys[i]])
    points, at = np.empty(longest + 1, np.uint32), np.empty(longest + 1, np.int64)
    units, hashes = np.empty(longest + 1, np.uint32), np.empty(longest + 8, np.uint32)
    for i in range(lo, hi):
        n = characters(data, start[keys[i]], end[keys[i]], points, at)
        n = shingle_hashes(data, points, at, n, ks[i], units, hashes)
        minima(hashes, n, multipliers, addends, out[i])


@kernel
def _parts(table, lo, hi, multipliers, addends, rows, whole, traits, out):  # type: ignore[no-untyped-def]
    data, start, end, keys, ks = table
    longest = 0
    for i in range(lo, hi):
        longest = max(longest, end[keys[i]] - start[keys[i]])
    points, at = np.empty(longest + 1, np.uint32), np.empty(longest + 1, np.int64)
    units, hashes = np.empty(longest + 1, np.uint32), np.empty(longest + 8, np.uint32)
    row = np.empty(multipliers.shape[0], np.uint32)
    for i in range(lo, hi):
        key, k = keys[i], ks[i]
        if k == 0:
            h = whole[key] * _MIX
            h = (h ^ (h >> np.uint64(29))) * _MIX
            for band in range(out.shape[0]):
                out[band, i] = h
            continue
        n = characters(data, start[key], end[key], points, at)
        n = shingle_hashes(data, points, at, n, k, units, hashes)
        minima(hashes, n, multipliers, addends, row)
        for band in range(out.shape[0]):
            h = traits[key] ^ np.uint64(k)
            for r in range(band * rows, (band + 1) * rows):
                h = (h ^ np.uint64(row[r])) * _MIX
                h ^= h >> np.uint64(32)
            out[band, i] = h * _MIX ^ h >> np.uint64(31)
