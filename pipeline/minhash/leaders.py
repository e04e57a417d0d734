"""Leader clustering: what takes the place of all-by-all comparison where too many are alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from math import comb

import numpy as np

from pipeline.minhash.compiled import Floats, Ints
from pipeline.minhash.signing import SKETCH

#: Comparisons a crowd may cost: so many, and so many for each member. A look at two bitmaps is a part of one.
WORK, WORK_EACH, LOOKS = 1 << 16, 6, 8
#: Chance that the sketches of a true pair at the least similarity are taken for those of an unlike pair.
LOST = 1e-4

#: `compare(leader, others)`: records what it finds, gives the similarities.
Compare = Callable[[int, Ints], Floats]


def leaders(size: int) -> int:
    """How many leaders a crowd of that size may have: time stays linear in the size.

    >>> leaders(100), leaders(1_000_000)
    (661, 6)
    """
    return WORK_EACH + WORK // max(size, 1)


def agreeing(similarity: float) -> float:
    """How many bits of two sketches agree on average, between keys of that Jaccard."""
    return SKETCH * (1 + similarity) / 2


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


def lead(parts: Iterable[Ints], load: Callable[[Ints, Ints], Compare], most: int, least: float) -> None:
    """Leader clustering of one crowd in one pass; `load` makes a comparison ready for the leaders so far and a part.

    The first member leads; whoever is not within `least` of an earlier leader leads as well, until there are `most`. So
    everyone was compared with every earlier leader up to the first it is close to, and how the crowd was cut into parts
    changes nothing.
    """
    led: list[int] = []
    for part in parts:
        compare = load(np.array(led, np.int64), part)
        rest, turn = part, 0
        while len(rest):
            if turn == len(led):
                if turn == most:
                    break
                led.append(int(rest[0]))
                rest = rest[1:]
            rest = rest[compare(led[turn], rest) < least]
            turn += 1
