"""The rule: which candidates of a record become its negatives. Needs neither vectors nor an encoder.

A candidate is eligible up to `mu + p * (score_pos - mu)`, mu being the mean cosine of random pairs. On raw cosines the same
share would mean something else for every encoder: those of multilingual-e5 start at 0.83 for texts that have nothing in
common, so 0.9 of a positive's score asks for random texts. (Positive-aware thresholds: Moreira et al. 2024, NV-Retriever;
the centre is ours.)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from pipeline.manifest.settings import RuleConfig

#: What `origins` columns below index. Given are the first two.
ORIGINS = ("shipped", "labelled", "mined")
MINED = ORIGINS.index("mined")

Ids = npt.NDArray[np.uint32]
Scores = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]
Ranks = npt.NDArray[np.int32]
Origins = npt.NDArray[np.uint8]
_LAST = np.iinfo(np.int32).max


class Given(NamedTuple):
    """Negatives that need no search: those of record i stand at `offsets[i]:offsets[i + 1]`, best first."""

    offsets: Offsets
    ids: Ids
    scores: Scores
    origins: Origins


class Found(NamedTuple):
    """Candidates: those of `text[i]`, which ascends, stand at `offsets[i]:offsets[i + 1]`, nearest first."""

    text: Ids
    offsets: Offsets
    ids: Ids
    scores: Scores
    ranks: Ranks


class Chosen(NamedTuple):
    """Negatives of each record: given ones first, as they came, then mined ones by rank. Given ones have rank 0."""

    offsets: Offsets
    ids: Ids
    scores: Scores
    ranks: Ranks
    origins: Origins


def limits(score_pos: Scores, rule: RuleConfig, mu: float) -> npt.NDArray[np.float64]:
    """The score up to which a candidate is eligible, per record.

    >>> limits(np.array([0.9], np.float32), RuleConfig(p=0.8), 0.5).round(6).tolist()
    [0.82]
    """
    assert rule.p is not None  # `with_p`, by whoever knows the corpus
    pos = score_pos.astype(np.float64)
    limit: npt.NDArray[np.float64] = mu + rule.p * (pos - mu)
    return limit if rule.margin is None else np.minimum(limit, pos - rule.margin)


def select(
    text: Ids,
    score_pos: Scores,
    drawn_by: npt.NDArray[np.uint64],
    given: Given,
    found: Found,
    rule: RuleConfig,
    mu: float,
) -> Chosen:
    """Apply `rule` to n records: at most `rule.negatives` each, given ones first.

    text: u32[n], the pool id of each record's text; a text that is not in `found` has no candidates. drawn_by: u64[n],
    what tells records apart where `rule.sample` is random (the leading 64 bits of record_id), so that neither order nor
    number of shards decides a draw. An id that is given is not taken again as mined.

    >>> found = Found(*(np.array(v, t) for v, t in (([4], "u4"), ([0, 3], "i8"), ([7, 8, 9], "u4"))),
    ...     np.array([0.89, 0.8, 0.7], np.float32), np.array([1, 2, 3], np.int32))
    >>> nothing = Given(np.zeros(2, np.int64), *(np.zeros(0, t) for t in (np.uint32, np.float32, np.uint8)))
    >>> select(np.array([4], np.uint32), np.array([0.9], np.float32), np.zeros(1, np.uint64), nothing, found,
    ...     RuleConfig(negatives=1, p=0.8), 0.5).ids.tolist()
    [8]
    """
    n, most = len(text), rule.negatives
    ids, scores = np.empty(n * most, np.uint32), np.empty(n * most, np.float32)
    ranks, origins = np.zeros(n * most, np.int32), np.empty(n * most, np.uint8)
    offsets = np.zeros(n + 1, np.int64)
    window = (rule.first, _LAST if rule.last is None else rule.last)
    _choose(
        *_plain(text, limits(score_pos, rule, mu), drawn_by),
        _plain(*given),
        _plain(*found),
        most,
        window,
        rule.sample == "random",
        np.uint64(rule.seed % (1 << 64)),
        offsets,
        ids,
        scores,
        ranks,
        origins,
    )
    end = int(offsets[n])
    return Chosen(offsets, ids[:end].copy(), scores[:end].copy(), ranks[:end].copy(), origins[:end].copy())


def _plain(*columns: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
    """Contiguous and writable: numba compiles anew for every other kind of array."""
    return tuple(np.require(column, requirements=["C", "W"]) for column in columns)


@njit(nogil=True, cache=True)
def _mixed(value):  # type: ignore[no-untyped-def]
    """The finaliser of SplitMix64 (Steele et al. 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(nogil=True, cache=True)
def _choose(text, limit, drawn_by, given, found, most, window, drawing, seed, offsets, ids, scores, ranks, origins):  # type: ignore[no-untyped-def]
    given_offsets, given_ids, given_scores, given_origins = given
    texts, found_offsets, found_ids, found_scores, found_ranks = found
    n = 0
    widest = 1
    for i in range(texts.shape[0]):
        widest = max(widest, found_offsets[i + 1] - found_offsets[i])
    eligible = np.empty(widest, np.int64)
    draws = np.empty(widest, np.uint64)
    for i in range(text.shape[0]):
        begin, stop = given_offsets[i], given_offsets[i + 1]
        for j in range(begin, min(stop, begin + most)):
            ids[n], scores[n], origins[n] = given_ids[j], given_scores[j], given_origins[j]
            n += 1
        wanted = most - min(stop - begin, most)
        at = np.searchsorted(texts, text[i])
        if wanted and at < texts.shape[0] and texts[at] == text[i]:
            held = 0
            for j in range(found_offsets[at], found_offsets[at + 1]):
                if held == wanted and not drawing:
                    break
                # Negated, so that a NaN limit takes nothing.
                if not (found_scores[j] <= limit[i]) or found_ranks[j] < window[0] or found_ranks[j] > window[1]:
                    continue
                if np.any(given_ids[begin:stop] == found_ids[j]):
                    continue
                eligible[held] = j
                draws[held] = _mixed(drawn_by[i] ^ _mixed(seed + np.uint64(found_ids[j])))
                held += 1
            if held > wanted:
                drawn = np.argsort(draws[:held])[:wanted]
                drawn.sort()
                for j in range(wanted):
                    eligible[j] = eligible[drawn[j]]
                held = wanted
            for j in range(held):
                ids[n], scores[n] = found_ids[eligible[j]], found_scores[eligible[j]]
                ranks[n], origins[n] = found_ranks[eligible[j]], MINED
                n += 1
        offsets[i + 1] = n
