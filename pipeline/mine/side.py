"""Queries and candidates: rows of the vectors in an order of their own, in memory where they fit, or on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.encode.nearest import Nearest
from pipeline.encode.tensors import Rows
from pipeline.mine.csr import Ints
from pipeline.mine.findings import Scores
from pipeline.mine.products import cosines
from pipeline.minhash.compiled import in_blocks

Matrix = npt.NDArray[np.float32]
Limits = npt.NDArray[np.float64]
#: Rows read at a time.
BLOCK = 4096
#: Rows that one thread takes at a time.
CHUNK = 64
#: Rows up to this size stay in memory as float32; more are read from the vectors' files, block by block.
HELD_BYTES = 2 << 30
#: float32 values gathered at a time where they do not.
_GATHERED = 1 << 25


class Side:
    """Some rows of the vectors, in an order of their own. With `device` they lie there, to be searched by torch.

    >>> class Eye:
    ...     def take(self, ids): return np.eye(4, dtype=np.float32)[ids]
    >>> Side(Eye(), np.array([3, 1]), 4).take(np.array([1])).tolist()
    [[0.0, 1.0, 0.0, 0.0]]
    """

    def __init__(
        self,
        vectors: Rows,
        ids: npt.NDArray[Any],
        dimension: int,
        *,
        hold: bool = False,
        device: str | None = None,
    ) -> None:
        self._vectors, self.ids, self.dimension = vectors, ids.astype(np.int64), dimension
        self.there = Nearest(vectors, self.ids, dimension, device) if device else None
        fits = 4 * len(ids) * dimension <= HELD_BYTES
        self.held = self._gathered() if hold and fits and not device else None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, at: Ints, /) -> Matrix:
        return self._vectors.take(self.ids[at]) if self.held is None else self.held[at]

    def block(self, lo: int, hi: int) -> Matrix:
        return self._vectors.take(self.ids[lo:hi]) if self.held is None else self.held[lo:hi]

    def span(self, lo: int, hi: int) -> tuple[Matrix, int]:
        """Rows among which lo..hi stand, all of them where they lie in memory, and the number of the first."""
        return (self.block(lo, hi), lo) if self.held is None else (self.held, 0)

    def _gathered(self) -> Matrix:
        rows = np.empty((len(self.ids), self.dimension), np.float32)
        for lo in range(0, len(rows), BLOCK):
            rows[lo : lo + BLOCK] = self._vectors.take(self.ids[lo : lo + BLOCK])
        return rows

    def mean(self) -> Limits:
        """float64 [dimension]."""
        total = np.zeros(self.dimension)
        for lo in range(0, len(self), BLOCK):
            total += self.block(lo, min(lo + BLOCK, len(self))).sum(axis=0, dtype=np.float64)
        return total / max(len(self), 1)

    def cosines(self, left: Matrix, at: Ints) -> Scores:
        """float32 [n, m]: row i of `left` with each of this side's rows `at[i]`, summed in float64; 0 where `at` < 0."""
        if self.there is not None:
            return self.there.cosines(left, at)
        out = np.zeros(at.shape, np.float32)
        for lo, hi, rows, places in self._met(at):
            _in_chunks(cosines, left[lo:hi], rows, places, out[lo:hi])
        return out

    def _met(self, at: Ints) -> Iterator[tuple[int, int, Matrix, Ints]]:
        """Spans of `at`; for each some rows, and where among them it finds its own."""
        if self.held is not None:
            yield 0, len(at), self.held, at
        elif len(self):
            step = max(1, _GATHERED // max(at.shape[1] * self.dimension, 1))
            for lo in range(0, len(at), step):
                some = at[lo : lo + step]
                rows = self.take(np.maximum(some, 0).ravel())
                yield lo, lo + len(some), rows, np.where(some >= 0, np.arange(some.size).reshape(some.shape), -1)

    def signs(self, lo: int, hi: int) -> npt.NDArray[np.uint64]:
        """Which numbers are positive, 64 to a word."""
        bits = np.packbits(self.block(lo, hi) > 0, axis=1)
        words = np.zeros((len(bits), -(-self.dimension // 64) * 8), np.uint8)
        words[:, : bits.shape[1]] = bits
        return words.view(np.uint64)


def _in_chunks(kernel: Callable[..., Any], *told: Any) -> None:
    in_blocks(len(told[0]), lambda lo, hi: kernel(*told, lo, hi), CHUNK)


class Held(NamedTuple):
    matrix: Matrix

    def take(self, ids: Ints, /) -> Matrix:
        return self.matrix[ids]
