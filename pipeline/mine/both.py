"""Candidates seen from both texts of a pair: the cosine with the text and that with its positive, and their mean.

In a symmetric corpus a pair is one meaning in two wordings, and a text that is near to both of them most likely means the
same; one that is near to the text alone shares its words. So a candidate whose mean of both cosines lies above
`mu + both * (score_pos - mu)` is none. The mean is a cosine with the middle of the two vectors, so the search can heed it
while it looks.

How high `both` may lie, a corpus can tell itself: of texts with several known matches all but one are hidden, and the
highest `both` is taken under which few enough of the negatives would be hidden matches. One half of such texts decides,
the other is told as the yardstick.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.manifest.settings import MineConfig, RuleConfig
from pipeline.mine.csr import Bools, Csr, Ints
from pipeline.mine.findings import Nearest, Scores
from pipeline.mine.rule import limits
from pipeline.mine.search import Search, Veto, Wanted
from pipeline.mine.side import Limits, Matrix, Side
from pipeline.mine.yardstick import Hidden, hardness

#: What is tried, the loosest first; None asks nothing of the positive.
GRID = (None, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)
#: Without labels to tell.
UNTOLD = 0.75
#: Negatives that must be judged for a corpus to tell; the count of false ones is taken two higher than it is.
JUDGED, CAUTION = 1000, 2
#: Candidates looked at for each text that decides.
LOOKED = 1000
_ROWS = 1024


class Middles:
    """The middle of each text and of the mean of its positives; float16 by value, as the vectors are.

    >>> class Eye:
    ...     def take(self, ids): return np.eye(4, dtype=np.float32)[ids]
    >>> Middles(Eye(), np.array([0]), Csr.sorted(np.array([0, 0]), np.array([1, 2]), 1)).take(np.array([0])).tolist()
    [[0.5, 0.25, 0.25, 0.0]]
    """

    def __init__(self, vectors: Any, texts: npt.NDArray[Any], positives: Csr) -> None:
        self._vectors, self._texts, self._positives = vectors, texts.astype(np.int64), positives

    def take(self, ids: Ints, /) -> Matrix:
        owner, items = self._positives.rows(ids)
        text = self._vectors.take(self._texts[ids]).astype(np.float64)
        total = np.zeros_like(text)
        np.add.at(total, owner, self._vectors.take(items).astype(np.float64))
        count = np.maximum(np.bincount(owner, minlength=len(ids)), 1)[:, None]
        middle: Matrix = ((text + total / count) / 2).astype(np.float16).astype(np.float32)
        return middle


def lowest(of_record: Ints, records: Limits, texts: int) -> Limits:
    """Of each text the lowest limit of its records; those without any have none."""
    least = np.full(texts, np.inf)
    np.minimum.at(least, of_record, records)
    return least


def both_sides(
    vectors: Any, candidates: Side, texts: npt.NDArray[Any], positives: Csr, of_record: Ints, records: Limits
) -> Veto:
    """The veto of the positives. positives: ids of each text's. of_record, records: the text and limit of each record."""
    middles = Middles(vectors, texts, positives)
    side = Side(middles, np.arange(len(texts)), candidates.dimension)
    return Veto(side, candidates, lowest(of_record, records, len(texts)))


class Told(NamedTuple):
    """What the deciding texts say: the `both` to take, and the figures of all that was tried."""

    both: float | None
    tried: list[dict[str, Any]]


def decide(
    search: Search,
    texts: Side,
    middles: Side,
    hidden: Hidden,
    score_pos: Scores,
    config: MineConfig,
    rule: RuleConfig,
    mu: float,
) -> Told:
    """Judge all of GRID on these texts, at once: one search, deep enough, whose findings every setting cuts.

    score_pos: of the records that are shown. middles: of all texts, with the positive that is shown alone.
    """
    n = len(hidden.rows)
    negatives, false = np.zeros(len(GRID), np.int64), np.zeros(len(GRID), np.int64)
    near_sum, far_sum = np.zeros(len(GRID)), np.zeros(len(GRID))
    deep = replace(search, wanted=Wanted(LOOKED, 1, np.zeros(len(texts) + 1, np.int64), np.zeros(0)), binary=False)
    for lo in range(0, n, _ROWS):
        at = np.arange(lo, min(lo + _ROWS, n))
        rows, pos = hidden.rows[at], score_pos[at]
        near = deep(texts, rows, hidden.bans.some(at))
        row = np.repeat(np.arange(len(at)), np.diff(near.offsets))
        known = hidden.matches.some(at)
        is_false = np.isin(row << 32 | near.at, np.repeat(np.arange(len(at)), known.sizes) << 32 | known.items)
        eligible = near.scores <= limits(pos, rule, mu)[row]
        mean = _seen(search.candidates, middles, rows, near, row)
        for k, both in enumerate(GRID):
            may = eligible if both is None else eligible & (mean <= reach(pos, both, mu)[row])
            taken = _first(row, may, rule.negatives)
            negatives[k] += taken.sum()
            false[k] += (taken & is_false).sum()
            near_sum[k] += near.scores[taken].sum(dtype=np.float64)
            far_sum[k] += pos[row[taken]].sum(dtype=np.float64)
    tried = [
        {
            "both": both,
            "negatives": int(negatives[k]),
            "false": int(false[k]),
            "hardness": hardness(near_sum[k], far_sum[k], int(negatives[k]), mu),
        }
        for k, both in enumerate(GRID)
    ]
    if negatives[0] < JUDGED:
        return Told(UNTOLD, tried)
    fits = (false + CAUTION) <= config.max_false * np.maximum(negatives, 1)
    return Told(GRID[int(fits.argmax())] if fits.any() else GRID[-1], tried)


def reach(score_pos: Scores, both: float, mu: float) -> Limits:
    """Up to which mean of both cosines a candidate is one, per record."""
    limit: Limits = mu + both * (score_pos.astype(np.float64) - mu)
    return limit


def _seen(candidates: Side, middles: Side, rows: Ints, near: Nearest, row: Ints) -> Scores:
    """The mean cosine of each finding."""
    sizes = np.diff(near.offsets)
    at = np.full((len(sizes), int(sizes.max(initial=0))), -1, np.int64)
    column = np.arange(len(row)) - near.offsets[:-1][row]
    at[row, column] = near.at
    seen: Scores = candidates.cosines(middles.take(rows), at)[row, column]
    return seen


def _first(row: Ints, may: Bools, most: int) -> Bools:
    """The first `most` of each row that may; rows ascend."""
    count = np.cumsum(may)
    before = np.concatenate([[0], count])[np.searchsorted(row, row)]
    first: Bools = may & (count - before <= most)
    return first
