"""Cosines made comparable: one monotone curve per corpus, from its labels or, without any, from where its scores lie.

An encoder's cosines mean different things in different corpora (0.8 may be a random pair in one and a paraphrase in
another), while a loss such as CoSENT compares them across a batch. The curve maps them onto 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

#: Judged pairs needed on either side of 0.5 for a curve from labels; fewer say too little about its ends.
MIN_JUDGED = 50
LEVELS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Curve:
    """Straight lines between points, level beyond the ends. No points: nothing to calibrate by, all is null."""

    method: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]

    def __call__(self, scores: NDArray[np.float32], quantum: float) -> NDArray[np.float32]:
        """Calibrated scores in whole steps of `quantum`, within 0 to 1; NaN without points.

        >>> Curve("isotonic", np.array([0.5, 0.9]), np.array([0.0, 1.0]))(np.array([0.1, 0.71], np.float32), 0.1).tolist()
        [0.0, 0.5]
        """
        if not len(self.x):
            return np.full(len(scores), np.nan, np.float32)
        return in_steps(np.interp(scores.astype(np.float64), self.x, self.y), quantum)

    def told(self) -> dict[str, Any]:
        """For the receipt: exactly the points that were used."""
        points = [[float(x), float(y)] for x, y in zip(self.x, self.y, strict=True)]
        return {"method": self.method, "points": points}


def in_steps(values: NDArray[np.float64], quantum: float) -> NDArray[np.float32]:
    """The nearest multiples of `quantum` within 0 to 1."""
    stepped: NDArray[np.float32] = np.clip(np.round(values / quantum) * quantum, 0, 1).astype(np.float32)
    return stepped


def curve_of(
    judged: NDArray[np.float32], gold: NDArray[np.float64], positives: NDArray[np.float32], random: NDArray[np.float64]
) -> Curve:
    """The curve of a corpus: isotonic where it is judged well enough, else by quantiles.

    judged, gold: cosines and gold values (0 to 1) of the corpus' labelled pairs. positives: cosines of its records.
    random: quantiles (evenly spaced levels, lowest to highest) of the cosines of its random pairs.
    """
    high = int((gold > 0.5).sum())
    if min(high, len(gold) - high) >= MIN_JUDGED:
        return isotonic_curve(judged.astype(np.float64), gold)
    if len(positives) and len(random):
        return quantile_curve(positives.astype(np.float64), random)
    return Curve("none", np.zeros(0), np.zeros(0))


def isotonic_curve(scores: NDArray[np.float64], gold: NDArray[np.float64]) -> Curve:
    """The non-decreasing function nearest to the gold values in the sense of squares (pool adjacent violators).

    Pairs of one score count as one of their mean and number. Every block of equal value gives its first and last score
    as points; between blocks the curve is straight, beyond them level.
    """
    x, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, gold) / counts
    fitted = isotonic_regression(means, weights=counts)
    starts = np.asarray(fitted.blocks)[:-1]
    ends = np.asarray(fitted.blocks)[1:] - 1
    at = np.unique(np.concatenate([starts, ends]))
    # Rounding inside a block's mean may leave the range of its values by one unit in the last place.
    return Curve("isotonic", x[at], np.clip(np.maximum.accumulate(fitted.x[at]), 0, 1))


def quantile_curve(positives: NDArray[np.float64], random: NDArray[np.float64]) -> Curve:
    """The share of pairs that score lower, in an even mixture of random pairs and positives of the corpus.

    (F_random(s) + F_positive(s)) / 2: a typical random pair comes to 0.25, a typical positive to 0.75, and what lies
    above nearly every random pair but below nearly every positive, as a hard negative does, to 0.5. It assumes nothing
    about the shape of either distribution, rises with the cosine, and means the same in every corpus and under every
    encoder. Both distribution functions are taken at hundredths (of the random pairs: at the levels given), straight in
    between; where several levels share one score, their mean counts.
    """
    x_positive, y_positive = _distribution(np.quantile(positives, LEVELS), LEVELS)
    x_random, y_random = _distribution(random, np.linspace(0, 1, len(random)))
    x = np.union1d(x_positive, x_random)
    mixed = np.interp(x, x_positive, y_positive, 0, 1) + np.interp(x, x_random, y_random, 0, 1)
    return Curve("quantile", x, mixed / 2)


def _distribution(
    quantiles: NDArray[np.float64], levels: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, inverse, counts = np.unique(quantiles, return_inverse=True, return_counts=True)
    return x, np.bincount(inverse, levels) / counts
