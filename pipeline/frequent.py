"""Which keys occur often, in as little memory as one sorted copy of them takes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

#: Keys looked up at a time.
_BLOCK = 1 << 20


def over(keys: Hashes, most: int) -> npt.NDArray[np.bool_]:
    """True where the key stands there more than `most` times.

    >>> over(np.array([7, 3, 7, 7, 3], np.uint64), 2).tolist()
    [True, False, True, True, False]
    """
    ordered = np.sort(keys)
    often = np.unique(ordered[most:][ordered[most:] == ordered[: max(0, len(ordered) - most)]])
    del ordered
    found = np.zeros(len(keys), np.bool_)
    if len(often):
        for start in range(0, len(keys), _BLOCK):
            block = keys[start : start + _BLOCK]
            found[start : start + _BLOCK] = often[np.minimum(np.searchsorted(often, block), len(often) - 1)] == block
    return found


def count_distinct(keys: Hashes) -> int:
    """How many different keys there are.

    >>> count_distinct(np.array([7, 3, 7], np.uint64))
    2
    """
    ordered = np.sort(keys)
    return int((ordered[1:] != ordered[:-1]).sum()) + bool(len(keys))
