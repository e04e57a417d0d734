"""Exact search: the nearest candidates of every text, none of them banned, and the nearest that the rule finds eligible.

A block of queries meets a block of candidates in one float32 matrix product; a compiled loop strikes the bans out of the
product while it lies in the cache, and hands what is left to one list a row. A few more than asked are kept, scored
again in float64, and ordered by that, ties by id: so the result does not depend on blocks, threads or the BLAS. Where a
float32 rounding error could have kept a candidate out, that text is searched again in float64, slowly; it is rare.

Candidates of a pool stand in no order, so the first block tells where the border of the best will lie, and what lies below
is not taken. Where that leaves a text too little, it is searched again without.

The list of eligible ones works alongside: the texts whose first `keep` hold too few get theirs in the same pass. On a GPU
the products and lists are torch's (`pipeline.encode.nearest`), the eligible ones take a second pass over those texts alone,
and the result is the same to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.encode.nearest import Barred
from pipeline.mine.csr import Bools, Csr, Ints
from pipeline.mine.findings import NONE, Nearest, Part, Scores, lines, pack, together, unpack
from pipeline.mine.side import CHUNK, Held, Limits, Matrix, Side
from pipeline.mine.signs import agreement
from pipeline.mine.taking import NO_BET, Bet, Taking, View
from pipeline.minhash.compiled import in_blocks

#: Queries and candidates that meet in one product: 16 MiB of scores.
ROWS, COLUMNS = 1024, 4096
#: How many more than asked are scored again.
SLACK, SLACK_ELIGIBLE = 28, 9
#: The largest part of the candidates from which the border of the best is guessed.
SHARE = 0.5
#: Candidates looked at by their signs for each one kept.
SIGNS = 4


class Veto(NamedTuple):
    """Another view of queries and candidates, and the score up to which it finds a candidate of each query eligible."""

    queries: Side
    candidates: Side
    limits: Limits


class Wanted(NamedTuple):
    """How many candidates are kept of each query; of how many eligible ones the best are told besides; up to which
    scores: those of query i stand at `offsets[i]:offsets[i + 1]` and ascend."""

    keep: int
    eligible: int
    offsets: Ints
    limits: Limits


@dataclass(frozen=True)
class Search:
    """What is searched among, and how: `binary` looks through signs first and misses a few. shuffled: the candidates stand
    in no order, so that any of them tell of all."""

    candidates: Side
    wanted: Wanted
    vetoes: Sequence[Veto] = ()
    binary: bool = False
    shuffled: bool = False

    def __call__(self, queries: Side, rows: Ints, bans: Csr) -> Nearest:
        """Search for some rows of `queries`; `bans` are positions among the candidates, in order, one list a row."""
        if not len(rows):
            nothing = np.zeros(0, np.int64)
            return Nearest(
                rows, np.zeros(1, np.int64), nothing, nothing.astype(np.float32), nothing.astype(np.int32), 0
            )
        left = queries.take(rows)
        owner, limits = _requests(self.wanted, rows)
        parts: list[Part]
        search = self._by_products if self.candidates.there is None else self._on_device
        parts, unsure = (self._by_signs if self.binary else search)(left, rows, bans, owner, limits)
        slow = len(unsure)
        if not self.binary and self._bet == NO_BET:
            parts += [self._slowly(left, rows, bans, int(i), limits[owner == i]) for i in unsure]
        elif len(unsure):
            rest = Search(self.candidates, self.wanted, self.vetoes)
            again = rest(queries, rows[unsure], bans.some(unsure))
            at_row = np.repeat(unsure, np.diff(again.offsets))
            parts.append(Part(at_row, again.ranks, again.at, again.scores))
            slow = slow if self.binary else again.searched_again
        return together(rows, parts, slow)

    def _by_products(self, left: Matrix, rows: Ints, bans: Csr, owner: Ints, limits: Limits) -> tuple[list[Part], Ints]:
        error = self._error
        reach = (limits + error).astype(np.float32)
        taking = Taking(bans, self._size, owner, reach, self._low_size, self._bet)
        others = [(veto, veto.queries.take(rows), veto.limits[rows]) for veto in self.vetoes]
        lasting = all(veto.candidates.held is not None for veto in self.vetoes)
        views: list[View] = []
        for first, scores in self._products(left, self.candidates):
            end = first + scores.shape[1]
            if not (lasting and views):
                views = [(other, *veto.candidates.span(first, end), most, error) for veto, other, most in others]
            taking.block(first, scores, views, lasting=lasting)
        best, sure = self._best(*taking.best(views, left, self.candidates))
        short = self._short(best, owner, limits, len(rows))
        low = taking.best_below(short)
        eligible, sure_too = self._eligible(left, owner[short], limits[short], *low)
        sure[owner[short[~sure_too]]] = False
        return [part.where(sure[part.row]) for part in (best, eligible)], np.flatnonzero(~sure)

    def _on_device(self, left: Matrix, rows: Ints, bans: Csr, owner: Ints, limits: Limits) -> tuple[list[Part], Ints]:
        there = self.candidates.there
        assert there is not None
        found = there.best(left, self.wanted.keep + SLACK, bans.offsets, bans.items, self._barred(rows))
        best, sure = self._best(found.at, self.candidates.cosines(left, found.at), found.worst)
        parts = [best]
        short = self._short(best, owner, limits, len(rows))
        for some in (short[lo : lo + ROWS] for lo in range(0, len(short), ROWS)):
            row, up_to = owner[some], limits[some]
            these = bans.some(row)
            low = there.best(
                left[row],
                self.wanted.eligible + SLACK_ELIGIBLE,
                these.offsets,
                these.items,
                self._barred(rows[row]),
                reach=(up_to + self._error).astype(np.float32),
            )
            part, sure_too = self._eligible(left, row, up_to, low.at, low.worst, low.above)
            sure[row[~sure_too]] = False
            parts.append(part)
        return [part.where(sure[part.row]) for part in parts], np.flatnonzero(~sure)

    def _short(self, best: Part, owner: Ints, limits: Limits, n: int) -> Ints:
        """The requests that the first `keep` do not meet while others stand behind them."""
        held = np.bincount(best.row, minlength=n)
        of, at = Csr.sorted(best.row, np.arange(len(best.row)), n).rows(owner)
        within = np.bincount(of[best.scores[at] <= limits[of]], minlength=len(owner))
        return np.flatnonzero((within < self.wanted.eligible) & (held[owner] == self.wanted.keep))

    def _barred(self, rows: Ints) -> list[Barred]:
        barred = []
        for veto in self.vetoes:
            assert veto.candidates.there is not None
            barred.append(Barred(veto.candidates.there, veto.queries.take(rows), veto.limits[rows], self._error))
        return barred

    def _by_signs(self, left: Matrix, rows: Ints, bans: Csr, owner: Ints, limits: Limits) -> tuple[list[Part], Ints]:
        n, keep = len(rows), self.wanted.keep
        size = min(max(SIGNS * keep, 400), max(len(self.candidates), 1))
        nothing = np.zeros(0, np.int64)
        taking = Taking(bans, size, nothing, nothing.astype(np.float32), 1)
        signs = Side(Held(left), np.arange(n), left.shape[1]).signs(0, n)
        for first in range(0, len(self.candidates), COLUMNS):
            words = self.candidates.signs(first, min(first + COLUMNS, len(self.candidates)))
            scores = np.empty((n, len(words)), np.float32)
            in_blocks(n, lambda a, b: agreement(signs, words, scores, a, b), CHUNK)  # noqa: B023
            taking.block(first, scores)
        at, scores, _ = taking.best((), left, self.candidates)
        scores, at = unpack(np.sort(pack(scores, self._free(rows, at)), axis=1))
        found = at >= 0
        parts = [lines(found & (np.arange(at.shape[1]) < keep), scores, at)]
        passing = found[owner] & (scores[owner] <= limits[:, None])
        nth = np.cumsum(passing, axis=1)
        chosen = lines(passing & (nth <= self.wanted.eligible), scores[owner], at[owner])
        parts.append(Part(owner[chosen.row], chosen.rank, chosen.at, chosen.scores))
        # All signs looked at and still too few: only the whole search knows whether there are more.
        short = (nth[:, -1] < self.wanted.eligible) & found[owner].all(axis=1)
        unsure = np.unique(owner[short])
        sure = np.ones(n, np.bool_)
        sure[unsure] = False
        return [part.where(sure[part.row]) for part in parts], unsure

    @property
    def _size(self) -> int:
        return self.wanted.keep + SLACK

    @property
    def _low_size(self) -> int:
        return self.wanted.eligible + SLACK_ELIGIBLE

    @property
    def _bet(self) -> Bet:
        """How many of the first block hold, but for one text in some ten thousand, whatever of the best stands in it."""
        share = min(COLUMNS / max(len(self.candidates), 1), 1)
        if not self.shuffled or self.candidates.there is not None or share > SHARE:
            return NO_BET
        wanted, low = (share * size for size in (self._size, self._low_size))
        return Bet(*(math.ceil(mean + 5 * math.sqrt(mean) + 2) for mean in (wanted, low)))

    @property
    def _error(self) -> float:
        """How far a float32 product of two rows of length 1 may lie from the truth, and from its own rounding.

        A GPU adds in its own order and cuts off where a CPU rounds.
        """
        return (self.candidates.dimension + 8) * 2.0**-24 * (1.01 if self.candidates.there is None else 4)

    def _products(self, left: Matrix, side: Side) -> Iterator[tuple[int, Scores]]:
        room = np.empty(len(left) * min(COLUMNS, max(len(side), 1)), np.float32)
        for first in range(0, len(side), COLUMNS):
            block = side.block(first, min(first + COLUMNS, len(side)))
            scores = room[: len(left) * len(block)].reshape(len(left), len(block))
            np.matmul(left, block.T, out=scores)
            yield first, scores

    def _free(self, rows: Ints, at: Ints) -> Ints:
        """The places in each row's list, -1 for those that a veto takes out."""
        for veto in self.vetoes:
            second = veto.candidates.cosines(veto.queries.take(rows), at)
            at = np.where(second <= veto.limits[rows][:, None], at, -1)
        return at

    def _best(self, at: Ints, scores: Scores, worst: Scores) -> tuple[Part, Bools]:
        keep = self.wanted.keep
        scores, at = unpack(np.sort(pack(scores, at), axis=1))
        last = np.where(at[:, keep - 1] >= 0, scores[:, keep - 1], -np.inf)
        part = lines((at >= 0) & (np.arange(at.shape[1]) < keep), scores, at)
        return part, self._surely(worst, last)

    def _eligible(
        self,
        left: Matrix,
        owner: Ints,
        limits: Limits,
        at: Ints,
        worst: Scores,
        above: Ints,
    ) -> tuple[Part, Bools]:
        """Those up to the limit that stand behind the first `keep`."""
        scores, at = unpack(np.sort(pack(self.candidates.cosines(left[owner], at), at), axis=1))
        found = at >= 0
        over = (found & (scores > limits[:, None])).sum(axis=1)[:, None]
        column = np.arange(at.shape[1])
        end = over + self.wanted.eligible
        ranks = (above[:, None] + column + 1).astype(np.int32)
        where = np.minimum(end - 1, at.shape[1] - 1)
        full = (np.take_along_axis(at, where, 1)[:, 0] >= 0) & (end[:, 0] <= at.shape[1])
        last = np.where(full, np.take_along_axis(scores, where, 1)[:, 0], -np.inf)
        row, col = np.nonzero(found & (column >= over) & (column < end) & (ranks > self.wanted.keep))
        return Part(owner[row], ranks[row, col], at[row, col], scores[row, col]), self._surely(worst, last)

    def _surely(self, worst: Scores, last: Scores) -> Bools:
        """Whether whatever fell out of a list lies below the last that is told."""
        sure: Bools = (worst == -np.inf) | (last > worst.astype(np.float64) + self._error)
        return sure

    def _slowly(self, left: Matrix, rows: Ints, bans: Csr, i: int, limits: Limits) -> Part:
        """One row against every candidate in float64."""
        at = np.arange(len(self.candidates))
        packed = np.empty(len(at), np.uint64)
        for lo in range(0, len(at), COLUMNS):
            some = at[None, lo : lo + COLUMNS]
            packed[lo : lo + COLUMNS] = pack(
                self.candidates.cosines(left[i : i + 1], some), self._free(rows[i : i + 1], some)
            )[0]
        banned = np.zeros(len(at) + 1, np.bool_)
        banned[bans.items[bans.offsets[i] : bans.offsets[i + 1]]] = True
        packed = packed[
            ~banned[np.minimum(packed & np.uint64(0xFFFFFFFF), len(at)).astype(np.int64)] & (packed != NONE)
        ]
        packed.sort()
        scores, places = unpack(packed)
        told = np.arange(len(places)) < self.wanted.keep
        for limit in limits:
            begin = int((scores > limit).sum())
            told[begin : begin + self.wanted.eligible] = True
        taken = np.flatnonzero(told)
        return Part(np.full(len(taken), i), (taken + 1).astype(np.int32), places[taken], scores[taken])


def _requests(wanted: Wanted, rows: Ints) -> tuple[Ints, Limits]:
    """For each limit of these rows: the position of its row, and the limit."""
    owner, at = Csr(wanted.offsets, np.arange(len(wanted.limits))).rows(rows)
    return owner, wanted.limits[at]


def spans(cost: Ints, rows: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut 0..len(cost) into blocks of at most `rows` rows and, where one row alone is not dearer, `most` cost.

    >>> list(spans(np.array([1, 1, 9, 1]), 3, 5))
    [(0, 2), (2, 3), (3, 4)]
    """
    total = np.concatenate([np.zeros(1, np.int64), np.cumsum(cost)])
    lo = 0
    while lo < len(cost):
        hi = int(np.searchsorted(total, total[lo] + most, side="right")) - 1
        hi = max(lo + 1, min(hi, lo + rows, len(cost)))
        yield lo, hi
        lo = hi
