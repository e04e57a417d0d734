"""Signing for `dedupe`: each key is read once, and its signature leaves band keys and a sketch behind, nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.minhash.characters import PADDING, traced
from pipeline.minhash.compiled import Bytes, Hashes, Ints, fixed, in_blocks, inlined, kernel, threads
from pipeline.minhash.hashing import shingle_hashes
from pipeline.minhash.keys import marked
from pipeline.minhash.shingles import LONG, SHORT, doubles
from pipeline.minhash.signatures import Bands, Words, minima, permutations

_U = np.uint32
_P1, _P2, _P3 = (_U(p) for p in (2654435761, 2246822519, 3266489917))
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_BLOCK = 4_096
#: Bits of a sketch, and the permutations they are taken from.
SKETCH = 64


@dataclass(frozen=True)
class Plan:
    """Bands of `pair` for keys of at least `least`, and of `side` for those of at least `wide`, from the same permutations."""

    pair: Bands
    least: float
    side: Bands
    wide: float
    seed: int

    @property
    def drawn(self) -> int:
        """How many permutations bands and sketch ask for."""
        return max(self.pair.permutations, self.side.permutations, SKETCH)

    @property
    def computed(self) -> int:
        """The same, and what fills up the last eight: a rest of less would take as long as twenty."""
        return -(-self.drawn // 8) * 8


@dataclass(frozen=True)
class Signed:
    """What the signature of each slot leaves behind: numbers that are equal where bands are, and a sketch.

    Slots ascend by key (`at`), then by shingle length (`k`), as `slots` has them for `Plan.least`; `sided` are those it
    would have for `Plan.wide` too, the whole keys (k = 0) left out. `pair` (slots, bands) and `side` (slots, bands) hash
    k, the key's traits and the rows of each band; slots of k = 0 hash the whole key. Bit p of `sketch` is one bit of row
    p: two slots agree in a share (1 + Jaccard) / 2 of the 64.
    """

    at: Ints
    k: npt.NDArray[np.int8]
    sided: npt.NDArray[np.bool_]
    pair: Words
    side: Words
    sketch: Hashes

    @classmethod
    def blank(cls, slots: int, plan: Plan) -> Signed:
        """Room for so many slots."""
        pair, side = (np.empty((slots, bands.count), np.uint32) for bands in (plan.pair, plan.side))
        at, k, sided = np.empty(slots, np.int64), np.empty(slots, np.int8), np.empty(slots, np.bool_)
        return cls(at, k, sided, pair, side, np.empty(slots, np.uint64))

    def part(self, low: int, high: int) -> Signed:
        """Some of the slots, in place."""
        some = slice(low, high)
        return Signed(
            self.at[some], self.k[some], self.sided[some], self.pair[some], self.side[some], self.sketch[some]
        )

    def move(self, low: int, high: int, to: int) -> None:
        """Writes some of the slots over earlier ones."""
        for array in (self.at, self.k, self.sided, self.pair, self.side, self.sketch):
            array[to : to + high - low] = array[low:high]


class Signer:
    """Signs keys as they come, into a table that has room for so many and can be used again.

    >>> key, none = np.frombuffer("如何更换花呗绑定银行卡".encode(), np.uint8), Bands(1, 1)
    >>> signer, one = Signer(Plan(none, 0.6, none, 0.8, 1), 1), np.zeros(1, np.int64)
    >>> signer.add(key, one, one + len(key), np.zeros(1, np.uint64))
    >>> signer.signed.k.tolist()
    [2]
    """

    def __init__(self, plan: Plan, keys: int) -> None:
        drawn, rest = permutations(plan.drawn, plan.seed), plan.computed - plan.drawn
        self._drawn = np.pad(drawn[0], (0, rest)), np.pad(drawn[1], (0, rest))
        self._settings = (plan.least, plan.wide, plan.pair.rows, plan.side.rows)
        self._out, self._keys, self._slots = Signed.blank(2 * keys, plan), 0, 0

    def begin(self) -> None:
        """Forgets all keys."""
        self._keys = self._slots = 0

    @property
    def signed(self) -> Signed:
        """Of all keys so far, numbered in the order in which they came."""
        return self._out.part(0, self._slots)

    def add(self, data: Bytes, start: Ints, end: Ints, hashes: Hashes) -> None:
        """Signs the keys that lie at `data[start[i] : end[i]]`, valid UTF-8; `hashes` are their xxh3-64."""
        table, base, found = (fixed(data), start, end, hashes), self._slots, dict[int, int]()

        def work(lo: int, hi: int) -> None:
            out = self._out.part(base + 2 * lo, base + 2 * hi)
            told = (out.at, out.k, out.sided, out.pair, out.side, out.sketch)
            found[lo] = _sign(table, lo, hi, *marked(), self._settings, *self._drawn, self._keys, *told)

        in_blocks(len(start), work, max(_BLOCK, -(-len(start) // threads())))
        for lo in sorted(found):
            low = base + 2 * lo
            if low > self._slots:
                self._out.move(low, low + found[lo], self._slots)
            self._slots += found[lo]
        self._keys += len(start)


@kernel
def _sign(  # type: ignore[no-untyped-def]
    table, lo, hi, zeros, words, settings, multipliers, addends, before, at, k, sided, pair, side, sketch
):
    data, start, end, whole = table
    least, wide, pair_rows, side_rows = settings
    longest = 0
    for i in range(lo, hi):
        longest = max(longest, end[i] - start[i])
    points, places = np.empty(longest + PADDING, np.uint32), np.empty(longest + 1, np.int64)
    units, hashes = np.empty(longest + 1, np.uint32), np.empty(longest + 8, np.uint32)
    row = np.empty(multipliers.shape[0], np.uint32)
    most = np.int64((LONG - 2) / least + 1e-9)
    bits = 4
    while 1 << bits < 16 * most + 4:  # nearly empty: whether a place is taken is guessed right nearly always
        bits += 1
    packed, filled = np.empty(1 << bits, np.uint64), np.zeros(1 << bits, np.int64)
    m = 0
    for i in range(lo, hi):
        n, traits = traced(data, start[i], end[i], zeros, words, points, places)
        if n < SHORT:
            h = whole[i] * _MIX
            h = (h ^ (h >> np.uint64(29))) * _MIX
            at[m], k[m], sided[m], sketch[m] = before + i, 0, False, 0
            pair[m, :] = _U(h >> np.uint64(32))
            side[m, :] = _U(0)
            m += 1
            continue
        told = 0 if n < LONG else doubles(points, n, most, packed, filled, bits, i + 1)
        for length in (2, 3):
            if (length == 3 and n < LONG) or (length == 2 and told * least > LONG - 2 + 1e-9):
                continue
            count = shingle_hashes(data, points, places, n, length, units, hashes)
            minima(hashes, count, multipliers, addends, row)
            begin = (traits ^ np.uint64(length)) * _MIX
            at[m], k[m], sketch[m] = before + i, length, _sketch(row)
            sided[m] = length == 3 or told * wide <= LONG - 2 + 1e-9
            _fold_bands(row, pair_rows, _U(begin >> np.uint64(32)), _P1, pair[m])
            _fold_bands(row, side_rows, _U(begin), _P2, side[m])
            m += 1
    return m


@inlined
def _sketch(row):  # type: ignore[no-untyped-def]
    bits = np.uint64(0)
    for p in range(SKETCH):
        bits = bits << np.uint64(1) | np.uint64(_U(row[p] * _P1) >> _U(31))
    return bits


@inlined
def _fold_bands(row, rows, begin, multiplier, out):  # type: ignore[no-untyped-def]
    """One number for each band; band b has the rows b, b + bands, ... so that many bands are folded at a time."""
    bands = out.shape[0]
    for band in range(bands):
        out[band] = begin
    for r in range(rows):
        for band in range(bands):
            h = _U((out[band] ^ row[r * bands + band]) * multiplier)
            h = _U((h ^ h >> _U(15)) * _P3)
            out[band] = _U(h ^ h >> _U(13))
