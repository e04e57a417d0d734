"""Similarity of pairs by both sides, as design section 4 defines it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.minhash.compiled import Flags, Floats, Ints, in_blocks, kernel
from pipeline.minhash.keys import Keys
from pipeline.minhash.shingles import shared

Found = tuple[Floats, Floats, Flags]
_BLOCK = 16_384


@dataclass(frozen=True)
class Pairs:
    """Pair i has the keys at `text[i]` and `pos[i]`; two `symmetric` ones are also compared turned round.

    >>> import polars as pl
    >>> keys = Keys.of(pl.Series(["如何更换花呗绑定银行卡", "如何更换花呗绑定的银行卡", "甲"]), np.arange(3, dtype=np.uint64))
    >>> pairs = Pairs(keys, np.array([0, 2]), np.array([2, 1]), np.array([True, True]))
    >>> [told.tolist() for told in pairs.compare(np.array([0]), np.array([1]), 0.6)]
    [[0.75], [1.0], [True]]
    """

    keys: Keys
    text: Ints
    pos: Ints
    symmetric: Flags

    def compare(self, a: Any, b: Any, least: float) -> Found:
        """True Jaccard of the text and of the text_pos of each a to its counterpart in b, and whether that is the other side.

        (0, 0) where either side misses `least`, or where digits or negations differ.
        """
        text, pos = self._both(a, b, least, turned=False)
        swapped = np.zeros(len(a), np.bool_)
        turn = np.flatnonzero(self.symmetric[a] & self.symmetric[b] & (np.minimum(text, pos) < 1))
        if len(turn):
            crossed = self._both(a[turn], b[turn], least, turned=True)
            better = np.minimum(*crossed) > np.minimum(text, pos)[turn]
            text[turn[better]], pos[turn[better]] = crossed[0][better], crossed[1][better]
            swapped[turn[better]] = True
        return text, pos, swapped

    def _both(self, a: Ints, b: Ints, least: float, *, turned: bool) -> tuple[Floats, Floats]:
        keys = self.keys
        told = (keys.data, keys.start, keys.end, keys.hashes, keys.chars, keys.doubles, keys.triples)
        other, other_pos = (self.pos[b], self.text[b]) if turned else (self.text[b], self.pos[b])
        text, pos = self.text[a], self.pos[a]
        first, second = np.zeros(len(a)), np.zeros(len(a))

        def work(lo: int, hi: int) -> None:
            ends = (text[lo:hi], other[lo:hi], pos[lo:hi], other_pos[lo:hi])
            _compare(told, keys.traits, ends, least, first[lo:hi], second[lo:hi])

        in_blocks(len(a), work, _BLOCK)
        return first, second


@kernel
def _compare(keys, traits, ends, least, first, second):  # type: ignore[no-untyped-def]
    """The text is looked at only where the text_pos reaches `least`: of texts from one template it is what tells them apart."""
    text, other_text, pos, other_pos = ends
    # A plain 0 would be a type of its own: `shared` would be compiled for it once more.
    none = np.int64(0)
    at, n = np.empty(len(text), np.int64), none
    for i in range(len(text)):
        if traits[text[i]] == traits[other_text[i]] and traits[pos[i]] == traits[other_pos[i]]:
            at[n] = i
            n += 1
    one, two = np.empty(n, np.float64), np.empty(n, np.float64)
    shared(keys, pos[at[:n]], keys, other_pos[at[:n]], none, n, least, two)
    m = none
    for i in range(n):
        if two[i] >= least:
            at[m], two[m] = at[i], two[i]
            m += 1
    shared(keys, text[at[:m]], keys, other_text[at[:m]], none, m, least, one)
    for i in range(m):
        if one[i] >= least:
            first[at[i]], second[at[i]] = one[i], two[i]
