"""An index of 64-bit numbers: which have been met before, and in what order they first came."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.minhash.compiled import Hashes, Ints, kernel

Number = TypeVar("Number", bound=np.integer[Any])
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


def distinct(values: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Sorted, each once. Sorts `values` itself: there may be a hundred million, and numpy's own way is far slower.

    >>> distinct(np.array([7, 9, 7]))
    array([7, 9])
    """
    values.sort()
    kept = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=kept[1:])
    return values[kept]


def places(ordered: Hashes, wanted: Hashes) -> npt.NDArray[np.uint32]:
    """Where each of some values stands in an ascending list that has them all; they ascend as well.

    >>> places(np.array([3, 7, 9], np.uint64), np.array([3, 9, 9], np.uint64)).tolist()
    [0, 2, 2]
    """
    found = np.empty(len(wanted), np.uint32)
    _places(ordered, wanted, found)
    return found


@kernel
def _places(ordered, wanted, found):  # type: ignore[no-untyped-def]
    """From place to place in doubling steps, then by halves: the next one is near, and what lies there in the cache."""
    low = 0
    for i in range(wanted.shape[0]):
        step = 1
        while low + step < ordered.shape[0] and ordered[low + step] <= wanted[i]:
            low += step
            step *= 2
        while step > 0:
            if low + step < ordered.shape[0] and ordered[low + step] <= wanted[i]:
                low += step
            step //= 2
        found[i] = low


class Index:
    """Numbers distinct values in order of first appearance; 24 bytes a value at most, far below a Python dict.

    >>> index = Index()
    >>> numbers, fresh = index.add(np.array([7, 9, 7], np.uint64))
    >>> numbers.tolist(), fresh.tolist(), index.count
    ([0, 1, 0], [True, True, False], 2)
    """

    def __init__(self) -> None:
        self.count = 0
        self._values = np.zeros(1 << 10, np.uint64)
        self._numbers = np.zeros(1 << 10, np.uint32)  # number + 1; 0 marks a free place

    def add(self, values: Hashes) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """The number of each value, and whether it is met here for the first time."""
        size = len(self._values)
        while size < 2 * (self.count + len(values)):
            size *= 2
        if size > len(self._values):
            old = self._values, self._numbers
            self._values, self._numbers = np.zeros(size, np.uint64), np.zeros(size, np.uint32)
            _move(*old, self._values, self._numbers)
        numbers, fresh = np.empty(len(values), np.int64), np.empty(len(values), np.bool_)
        self.count = _add(values, self._values, self._numbers, self.count, numbers, fresh)
        return numbers, fresh


@kernel
def _add(values, held, held_numbers, count, numbers, fresh):  # type: ignore[no-untyped-def]
    mask = np.uint64(held.shape[0] - 1)
    for i in range(values.shape[0]):
        spread = values[i] * _SPREAD
        slot = (spread ^ spread >> np.uint64(32)) & mask
        while held_numbers[slot] and held[slot] != values[i]:
            slot = (slot + np.uint64(1)) & mask
        fresh[i] = not held_numbers[slot]
        if fresh[i]:
            count += 1
            held[slot] = values[i]
            held_numbers[slot] = count
        numbers[i] = held_numbers[slot] - 1
    return count


@kernel
def _move(old, old_numbers, held, held_numbers):  # type: ignore[no-untyped-def]
    mask = np.uint64(held.shape[0] - 1)
    for i in range(old.shape[0]):
        if old_numbers[i]:
            spread = old[i] * _SPREAD
            slot = (spread ^ spread >> np.uint64(32)) & mask
            while held_numbers[slot]:
                slot = (slot + np.uint64(1)) & mask
            held[slot] = old[i]
            held_numbers[slot] = old_numbers[i]
