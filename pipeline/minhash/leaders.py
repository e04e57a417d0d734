"""Leader clustering: what takes the place of all-by-all comparison where too many are alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from math import comb

import numpy as np
import numpy.typing as npt

from pipeline.minhash.compiled import Floats, Ints, in_blocks, kernel
from pipeline.minhash.keys import Keys
from pipeline.minhash.shingles import LONG
from pipeline.minhash.signatures import Slots, signatures
from pipeline.minhash.signing import SKETCH

#: Comparisons a crowd may cost: so many, and so many for each member. A look at two sketches is a part of one.
WORK, WORK_EACH, LOOKS = 1 << 16, 6, 32
#: Chance that the sketches of a true pair at the least similarity are taken for those of an unlike pair.
LOST = 1e-4

#: Sketches side by side: where all share a template, one would tell few of the unlike from the alike.
_WORDS = 4
_BLOCK = 4_096
_SPREAD = np.uint32(2654435761)

#: `compare(leader, others)`: records what it finds, gives the similarities.
Compare = Callable[[int, Ints], Floats]


def leaders(size: int) -> int:
    """How many leaders a crowd of that size may have: time stays linear in the size.

    >>> leaders(100), leaders(1_000_000)
    (661, 6)
    """
    return WORK_EACH + WORK // max(size, 1)


@cache
def least_agreeing(similarity: float, sketches: int = 1) -> int:
    """How many bits of so many sketches agree at least, between keys of that Jaccard, but for one pair in 1 / LOST.

    >>> least_agreeing(0.6), least_agreeing(0.6, 2), least_agreeing(1.0)
    (38, 84, 64)
    """
    share, bits, missed = (1 + similarity) / 2, SKETCH * sketches, 0.0
    for agreeing in range(bits + 1):
        missed += comb(bits, agreeing) * share**agreeing * (1 - share) ** (bits - agreeing)
        if missed > LOST:
            return agreeing
    return bits


class Sketches:
    """Sketches of keys of LONG characters and more, to leave out what cannot be similar; shorter ones are never left out.

    Each has _WORDS times SKETCH bits, one from each row of a signature. At the threshold of 0.8 they leave out nearly all
    keys of a Jaccard under 0.6; with SKETCH bits a tenth of those of 0.4 would be compared.
    """

    def __init__(self, keys: Keys) -> None:
        self.long = keys.chars >= LONG
        at = np.flatnonzero(self.long)
        self.bits = np.zeros((len(keys), _WORDS), np.uint64)

        def work(lo: int, hi: int) -> None:
            some = at[lo:hi]
            rows = signatures(keys, Slots(some, np.full(len(some), 3, np.int8)), SKETCH * _WORDS, 1)
            packed = np.packbits(rows * _SPREAD >> np.uint32(31), axis=1)
            self.bits[some] = packed.view(np.uint64)

        in_blocks(len(at), work, _BLOCK)

    def possible(self, one: int, others: Ints, similarity: float) -> npt.NDArray[np.bool_]:
        """Which of the others could be that similar to `one`."""
        likely = np.ones(len(others), np.bool_)
        if self.long[one]:
            most = SKETCH * _WORDS - least_agreeing(similarity, _WORDS)
            _likely(self.bits, self.long, one, others, most, likely)
        return likely


@kernel
def _likely(bits, long, one, others, most, likely):  # type: ignore[no-untyped-def]
    for i in range(others.shape[0]):
        other = others[i]
        if long[other]:
            apart = np.int64(0)
            for word in range(bits.shape[1]):
                x = bits[one, word] ^ bits[other, word]
                x = x - (x >> np.uint64(1) & np.uint64(0x5555555555555555))
                x = (x & np.uint64(0x3333333333333333)) + (x >> np.uint64(2) & np.uint64(0x3333333333333333))
                x = x + (x >> np.uint64(4)) & np.uint64(0x0F0F0F0F0F0F0F0F)
                apart += np.int64(x * np.uint64(0x0101010101010101) >> np.uint64(56))
            likely[i] = apart <= most


def lead(parts: Iterable[Ints], load: Callable[[Ints], Compare], most: int, least: float) -> None:
    """Leader clustering of one crowd in one pass; `load` makes a comparison ready for a part and the leaders so far.

    The first member leads; whoever is not within `least` of an earlier leader leads as well, until there are `most`. So
    everyone was compared with every earlier leader up to the first it is close to, and how the crowd was cut into parts
    changes nothing.
    """
    led: list[int] = []
    for part in parts:
        compare = load(np.union1d(np.array(led, np.int64), part))
        rest, turn = part, 0
        while len(rest):
            if turn == len(led):
                if turn == most:
                    break
                led.append(int(rest[0]))
                rest = rest[1:]
            rest = rest[compare(led[turn], rest) < least]
            turn += 1
