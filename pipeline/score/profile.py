"""What a cut of negatives is like: how full, how hard, how near the first one. Counted while records are written."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.mine.rule import ORIGINS


class Profile:
    """Counts over scored records, a table at a time.

    `asked`: negatives asked for per record. `mu`: mean cosine of random pairs; hardness is the mean over mined
    negatives of (score - mu) / (score_pos - mu): 0 is a random pair, 1 as near as the positive.

    >>> Profile(7, 0.5).told()["records"]
    0
    """

    def __init__(self, asked: int, mu: float) -> None:
        self.asked, self.mu = asked, mu
        self._fill: Counter[int] = Counter()
        self._origins: Counter[str] = Counter()
        self._first: Counter[int] = Counter()
        self._hardness, self._hard = 0.0, 0

    def add(self, table: pa.Table) -> None:
        """Count in records; only `score_pos` and `neg` are looked at."""
        score_pos = table["score_pos"].to_numpy().astype(np.float64)
        neg = table["neg"].combine_chunks()
        counts = np.diff(neg.offsets.to_numpy())
        items = neg.flatten()
        self._fill.update(counts.tolist())
        self._origins.update(_counted(items.field("origin")))
        of = np.repeat(np.arange(len(counts)), counts)
        ranks = items.field("rank").fill_null(0).to_numpy()
        is_mined = ranks > 0
        gap = score_pos[of] - self.mu
        usable = is_mined & (gap > 0)
        shares = (items.field("score").to_numpy().astype(np.float64)[usable] - self.mu) / gap[usable]
        self._hardness += float(shares.sum())
        self._hard += int(usable.sum())
        _, firsts = np.unique(of[is_mined], return_index=True)
        self._first.update(ranks[is_mined][firsts].tolist())

    def told(self) -> dict[str, Any]:
        """records; negatives by origin; asked; short: missing negatives -> records; hardness; median rank of the first
        mined negative (lower median; null without any)."""
        records = sum(self._fill.values())
        short = {
            str(self.asked - n): records for n, records in sorted(self._fill.items(), reverse=True) if n < self.asked
        }
        negatives = {origin: self._origins[origin] for origin in ORIGINS}
        return {
            "records": records,
            "asked": self.asked,
            "negatives": negatives,
            "fill": round(sum(negatives.values()) / (records * self.asked), 6) if records else 0.0,
            "short": short,
            "hardness": round(self._hardness / self._hard, 6) if self._hard else None,
            "median_first_rank": _median(self._first),
        }


def _counted(names: pa.Array) -> dict[str, int]:
    return {one["values"]: one["counts"] for one in names.value_counts().to_pylist()}


def _median(counted: Counter[int]) -> int | None:
    half, seen = sum(counted.values()) / 2, 0
    for value, n in sorted(counted.items()):
        seen += n
        if seen >= half:
            return value
    return None
