"""Similarity of pairs by both sides, as design section 4 defines it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.minhash.compiled import Floats, Ints
from pipeline.minhash.keys import Keys, jaccard

Found = tuple[Floats, Floats, npt.NDArray[np.bool_]]


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
    symmetric: npt.NDArray[np.bool_]

    def compare(self, a: Any, b: Any, least: float) -> Found:
        """True Jaccard of the text and of the text_pos of each a to its counterpart in b, and whether that is the other side.

        (0, 0) where either side misses `least`, or where digits or negations differ.
        """
        text, pos = self._both(self.text[a], self.text[b], self.pos[a], self.pos[b], least)
        swapped = np.zeros(len(a), np.bool_)
        turn = np.flatnonzero(self.symmetric[a] & self.symmetric[b] & (np.minimum(text, pos) < 1))
        a, b = a[turn], b[turn]
        crossed = self._both(self.text[a], self.pos[b], self.pos[a], self.text[b], least)
        better = np.minimum(*crossed) > np.minimum(text, pos)[turn]
        text[turn[better]], pos[turn[better]] = crossed[0][better], crossed[1][better]
        swapped[turn[better]] = True
        return text, pos, swapped

    def _both(self, text: Ints, other_text: Ints, pos: Ints, other_pos: Ints, least: float) -> tuple[Floats, Floats]:
        keys = self.keys
        first, second = np.zeros(len(text)), np.zeros(len(text))
        at = np.flatnonzero(
            (keys.traits[text] == keys.traits[other_text]) & (keys.traits[pos] == keys.traits[other_pos])
        )
        one = jaccard(keys, text[at], keys, other_text[at], least)
        at, one = at[one >= least], one[one >= least]
        two = jaccard(keys, pos[at], keys, other_pos[at], least)
        first[at[two >= least]], second[at[two >= least]] = one[two >= least], two[two >= least]
        return first, second
