"""Leader clustering: what takes the place of all-by-all comparison where too many are alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from pipeline.minhash.keys import Floats, Ints

#: Comparisons a crowd may cost: so many, and so many for each member. Crowds of up to 264 are compared all by all.
WORK, WORK_EACH = 1 << 16, 16

#: `compare(leader, others)`: records what it finds, gives the similarities.
Compare = Callable[[int, Ints], Floats]


def leaders(size: int) -> int:
    """How many leaders a crowd of that size may have: time stays linear in the size.

    >>> leaders(100), leaders(1_000_000)
    (671, 16)
    """
    return WORK_EACH + WORK // max(size, 1)


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
