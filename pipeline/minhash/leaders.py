"""Leader clustering: what takes the place of all-by-all comparison where too many are alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import comb

import numpy as np
import numpy.typing as npt

from pipeline.minhash.compiled import Floats, Ints
from pipeline.minhash.keys import Keys
from pipeline.minhash.shingles import LONG
from pipeline.minhash.signatures import Bands
from pipeline.minhash.signing import SKETCH, Plan, sign

#: Comparisons a crowd may cost: so many, and so many for each member. A look at two sketches is a part of one.
WORK, WORK_EACH, LOOKS = 1 << 16, 16, 64
#: Chance that the sketches of a true pair at the least similarity are taken for those of an unlike pair.
LOST = 1e-4

_NONE = Bands(1, 1)

#: `compare(leader, others)`: records what it finds, gives the similarities.
Compare = Callable[[int, Ints], Floats]


def leaders(size: int) -> int:
    """How many leaders a crowd of that size may have: time stays linear in the size.

    >>> leaders(100), leaders(1_000_000)
    (671, 16)
    """
    return WORK_EACH + WORK // max(size, 1)


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
    """Sketches of keys of LONG characters and more, to leave out what cannot be similar; shorter ones are never left out."""

    def __init__(self, keys: Keys) -> None:
        self.long = keys.chars >= LONG
        at = np.flatnonzero(self.long)
        signed = sign(keys.data, keys.start[at], keys.end[at], keys.hashes[at], Plan(_NONE, 1, _NONE, 1, seed=1))
        self.bits = np.zeros(len(keys), np.uint64)
        self.bits[at[signed.at[signed.k == 3]]] = signed.sketch[signed.k == 3]

    def possible(self, one: int, others: Ints, similarity: float) -> npt.NDArray[np.bool_]:
        """Which of the others could be that similar to `one`."""
        if not self.long[one]:
            return np.ones(len(others), np.bool_)
        apart = np.bitwise_count(self.bits[others] ^ self.bits[one])
        likely: npt.NDArray[np.bool_] = (apart <= SKETCH - least_agreeing(similarity)) | ~self.long[others]
        return likely


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
