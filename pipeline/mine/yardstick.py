"""How good mined negatives are, in numbers that need no trained model. Printed in every run, kept in the receipt.

A low rate of false negatives alone proves little: random texts have none. So it stands beside hardness (0: as far as a
random pair, 1: as near as the positive) and the rank of the first negative. False negatives are counted where the truth
is known: of texts with several known matches all but one are hidden from the miner, and counted when it takes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.mine.csr import Csr, Ints
from pipeline.mine.rule import MINED, Chosen, Ids

#: Gaps are counted in steps of this cosine.
STEP = 0.001
_STEPS = round(4 / STEP)
GAPS = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass
class Tally:
    """Sums over records, block by block; `texts` is the number of ids that can be used."""

    asked: int
    texts: int
    records: int = 0
    given: int = 0
    mined: int = 0
    short: int = 0
    none: int = 0
    duplicates: int = 0
    _neg: float = 0.0
    _pos: float = 0.0
    _below: int = 0
    _gaps: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(_STEPS, np.int64))
    _first: list[npt.NDArray[np.int32]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._uses = np.zeros(self.texts, np.int32)

    def add(
        self, chosen: Chosen, score_pos: npt.NDArray[np.float32], keys: npt.NDArray[np.uint64], own: Ids, pos: Ids
    ) -> None:
        """What was chosen for some records; `keys` of all ids, `own` and `pos` the ids of the records' sides."""
        sizes = np.diff(chosen.offsets)
        record = np.repeat(np.arange(len(sizes)), sizes)
        self.duplicates += int(
            ((keys[chosen.ids] == keys[own[record]]) | (keys[chosen.ids] == keys[pos[record]])).sum()
        )
        mined = chosen.origins == MINED
        self.records += len(sizes)
        self.given += int((~mined).sum())
        self.mined += int(mined.sum())
        self.short += int((sizes < self.asked).sum())
        self.none += int((sizes == 0).sum())
        np.add.at(self._uses, chosen.ids, 1)
        record, scores, ranks = record[mined], chosen.scores[mined].astype(np.float64), chosen.ranks[mined]
        positive = score_pos[record].astype(np.float64)
        self._neg += float(scores.sum())
        self._pos += float(positive.sum())
        gaps = positive - scores
        self._below += int((gaps < 0).sum())
        steps = np.clip(np.rint((gaps + 2) / STEP).astype(np.int64), 0, _STEPS - 1)
        self._gaps += np.bincount(steps, minlength=_STEPS)
        first = np.flatnonzero(np.concatenate([[True], record[1:] != record[:-1]])) if len(record) else record
        self._first.append(ranks[first])

    def told(self, mu: float) -> dict[str, Any]:
        """Figures of the mined ones; None where nothing was mined."""
        first = np.concatenate([np.zeros(0, np.int32), *self._first])
        total = np.cumsum(self._gaps)
        quantiles = [round(float(np.searchsorted(total, q * total[-1])) * STEP - 2, 3) for q in GAPS]
        used = int((self._uses > 0).sum())
        return {
            "fill": round((self.given + self.mined) / max(self.records * self.asked, 1), 4),
            "given": self.given,
            "mined": self.mined,
            "records_short": self.short,
            "records_without": self.none,
            "hardness": hardness(self._neg, self._pos, self.mined, mu),
            "median_first_rank": float(np.median(first)) if len(first) else None,
            "gap": dict(zip(map(str, GAPS), quantiles, strict=True)) if self.mined else None,
            "above_positive": round(self._below / max(self.mined, 1), 4),
            "texts_used": used,
            "most_uses_of_a_text": int(self._uses.max(initial=0)),
            "equal_to_text_or_positive": self.duplicates,
        }


def hardness(negatives: float, positives: float, n: int, mu: float) -> float | None:
    """Where n negatives stand on average between random pairs (0) and their positives (1), given the sums of scores.

    >>> hardness(0.8, 0.9, 1, 0.5)
    0.75
    """
    room = positives - n * mu
    return round((negatives - n * mu) / room, 4) if n and room > 0 else None


class Hidden(NamedTuple):
    """Texts of which all known matches but one are hidden: rows of the queries, the record whose positive is shown,
    what is banned all the same, and the hidden candidates."""

    rows: Ints
    records: Ints
    bans: Csr
    matches: Csr

    def some(self, at: Ints) -> Hidden:
        """Those at these places."""
        return Hidden(self.rows[at], self.records[at], self.bans.some(at), self.matches.some(at))


def judge(
    hidden: Hidden, places: Ints, chosen: Chosen, score_pos: npt.NDArray[np.float32], mu: float
) -> dict[str, Any]:
    """How many of the negatives chosen for each hidden row are matches. `places`: of each id, its place as a candidate."""
    record = np.repeat(np.arange(len(hidden.rows)), np.diff(chosen.offsets))
    code = record << 32 | places[chosen.ids]
    owner, items = hidden.matches.rows(np.arange(len(hidden.rows)))
    false = np.isin(code, owner << 32 | items)
    first = chosen.offsets[:-1][np.diff(chosen.offsets) > 0]
    n = len(chosen.ids)
    return {
        "texts": len(hidden.rows),
        "hidden": len(items),
        "negatives": n,
        "false": int(false.sum()),
        "false_per_negative": round(float(false.sum()) / n, 5) if n else None,
        "texts_with_false": round(len(np.unique(record[false])) / max(len(hidden.rows), 1), 5),
        "hardness": hardness(
            float(chosen.scores.sum(dtype=np.float64)), float(score_pos[record].sum(dtype=np.float64)), n, mu
        ),
        "median_first_rank": float(np.median(chosen.ranks[first])) if len(first) else None,
    }
