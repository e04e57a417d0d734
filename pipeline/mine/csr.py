"""Lists of numbers, one list per row, in two arrays (compressed sparse rows)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Csr:
    """The items of row i are `items[offsets[i]:offsets[i + 1]]`.

    >>> Csr.of(np.array([1, 0, 1, 1]), np.array([5, 4, 3, 5]), 3).rows(np.array([1, 2]))
    (array([0, 0]), array([3, 5]))
    """

    offsets: Ints
    items: Ints

    @classmethod
    def of(cls, rows: Ints, items: Ints, n: int) -> Csr:
        """Sorted, every (row, item) once. Both fit into 32 bits."""
        packed = np.unique(rows.astype(np.uint64) << np.uint64(32) | items.astype(np.uint64))
        return cls.sorted(
            (packed >> np.uint64(32)).astype(np.int64), (packed & np.uint64(0xFFFFFFFF)).astype(np.int64), n
        )

    @classmethod
    def sorted(cls, rows: Ints, items: Ints, n: int) -> Csr:
        """`rows` ascend."""
        return cls(np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(rows, minlength=n))]), items)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> Ints:
        return np.diff(self.offsets)

    def rows(self, at: Ints) -> tuple[Ints, Ints]:
        """The items of rows `at`, one after another, and for each the position in `at` it belongs to."""
        sizes = self.offsets[at + 1] - self.offsets[at]
        owner = np.repeat(np.arange(len(at)), sizes)
        before = np.cumsum(sizes) - sizes
        return owner, self.items[np.arange(len(owner)) - before[owner] + self.offsets[at][owner]]

    def some(self, at: Ints) -> Csr:
        """The rows `at`, as lists of their own."""
        owner, items = self.rows(at)
        return Csr.sorted(owner, items, len(at))

    def sums(self, weights: Ints) -> Ints:
        """The sum over each row of `weights[item]`."""
        running = np.concatenate([np.zeros(1, np.int64), np.cumsum(weights[self.items])])
        sums: Ints = running[self.offsets[1:]] - running[self.offsets[:-1]]
        return sums


def positions(names: npt.NDArray[np.uint64], wanted: npt.NDArray[np.uint64]) -> tuple[Ints, Bools]:
    """Where `wanted` stand in `names`, which ascend and are distinct, and whether they are there at all."""
    if not len(names):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.bool_)
    at = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
    return at, names[at] == wanted
