"""What a cross-encoder says of pairs, negatives and random pairs: the scores that `calibrated` is made of in its stead."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.score.selection import Negatives
from pipeline.score.texts import TextFile

if TYPE_CHECKING:
    from pipeline.encode.cross import Rate

#: Pairs that are read at a time.
BLOCK = 16_384
#: Random pairs, for the curve of a corpus without labels.
RANDOM_PAIRS = 2000


class Rated(NamedTuple):
    """`negatives` with the cross-encoder's scores in the place of cosines; `random`: 101 quantiles of random pairs."""

    negatives: Negatives
    random: NDArray[np.float64]


def rate_chosen(negatives: Negatives, texts: TextFile, rate: Rate) -> Rated:
    """Rate every pair and every negative, distinct ones once, and as many pairs of a text with another record's positive
    as the curve needs. 8 bytes per negative are held besides what is returned."""
    n, taken = len(negatives.text), np.arange(negatives.ids.shape[1]) < negatives.counts[:, None]
    own = np.repeat(negatives.text, negatives.counts)
    draw = np.random.default_rng(0)
    some = draw.integers(0, n, (2, RANDOM_PAIRS if n else 0))
    some = some[:, negatives.pos[some[0]] != negatives.pos[some[1]]]
    left = np.concatenate([negatives.text, own, negatives.text[some[0]]]).astype(np.uint64)
    right = np.concatenate([negatives.pos, negatives.ids[taken], negatives.pos[some[1]]])
    packed, inverse = np.unique(left << np.uint64(32) | right, return_inverse=True)
    scores = np.empty(len(packed), np.float32)
    for lo in range(0, len(packed), BLOCK):
        block = packed[lo : lo + BLOCK]
        sides = (block >> np.uint64(32)).astype(np.uint32), (block & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        first, second = (texts.take(side).to_pylist() for side in sides)
        scores[lo : lo + BLOCK] = rate(list(zip(first, second, strict=True)))
    found = scores[inverse]
    of_negatives = np.zeros(negatives.scores.shape, np.float32)
    of_negatives[taken] = found[n : n + len(own)]
    random = found[n + len(own) :].astype(np.float64)
    quantiles = np.quantile(random, np.linspace(0, 1, 101)) if len(random) else np.zeros(0)
    return Rated(negatives._replace(score_pos=found[:n], scores=of_negatives), quantiles)
