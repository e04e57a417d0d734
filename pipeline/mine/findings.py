"""Findings of a search, and the order they stand in: by score, at equal scores by place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.mine.csr import Bools, Ints

Scores = npt.NDArray[np.float32]
Ranks = npt.NDArray[np.int32]
Packed = npt.NDArray[np.uint64]
NONE = np.uint64(0xFFFFFFFFFFFFFFFF)


class Nearest(NamedTuple):
    """Of query `rows[i]`: candidates `at`, nearest first, at `offsets[i]:offsets[i + 1]`. `searched_again` counts rows."""

    rows: Ints
    offsets: Ints
    at: Ints
    scores: Scores
    ranks: Ranks
    searched_again: int


class Part(NamedTuple):
    """Findings, one a line; `row` is a position among the rows of a block."""

    row: Ints
    rank: Ranks
    at: Ints
    scores: Scores

    def where(self, mask: Bools) -> Part:
        return Part(self.row[mask], self.rank[mask], self.at[mask], self.scores[mask])


def lines(mask: Bools, scores: Scores, at: Ints) -> Part:
    row, column = np.nonzero(mask)
    return Part(row, (column + 1).astype(np.int32), at[row, column], scores[row, column])


def pack(scores: Scores, at: Ints) -> Packed:
    """Numbers that ascend as scores fall and, at equal scores, places rise."""
    bits = scores.view(np.uint32)
    falling = np.where(bits >> 31 == 0, np.uint32(0x7FFFFFFF) - bits, bits).astype(np.uint64)
    return np.where(at >= 0, falling << np.uint64(32) | at.astype(np.uint64), NONE)


def unpack(packed: Packed) -> tuple[Scores, Ints]:
    falling = (packed >> np.uint64(32)).astype(np.uint32)
    scores = np.where(falling >> 31 == 0, np.uint32(0x7FFFFFFF) - falling, falling).view(np.float32)
    at = np.where(packed == NONE, -1, (packed & np.uint64(0xFFFFFFFF)).astype(np.int64))
    return scores, at


def together(rows: Ints, parts: Sequence[Part], again: int) -> Nearest:
    row, rank, at, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
    # A candidate may be told twice, always with one rank.
    _, order = np.unique(row.astype(np.uint64) << np.uint64(32) | rank.astype(np.uint64), return_index=True)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(row[order], minlength=len(rows)))])
    return Nearest(rows, offsets, at[order], scores[order], rank[order], again)
