"""The lists that a search fills, block after block: of each query's best, and of the best up to each limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipeline.mine import kernels
from pipeline.mine.csr import Csr, Ints
from pipeline.mine.findings import Scores
from pipeline.mine.side import CHUNK, Limits, Matrix, Side
from pipeline.minhash.compiled import in_blocks, threads

#: How many times its size a list grows before it is cut.
ROOM, LOW_ROOM = 4, 2


class Bet(NamedTuple):
    """How many of the first block are taken, and how many of these that lie up to a limit meet it."""

    taken: int
    low: int


NO_BET = Bet(0, 0)


#: Queries; candidates and the place of the first of them; the cosine of each query above which a candidate is none; and
#: how far a float32 product may lie from the truth.
View = tuple[Matrix, Matrix, int, Limits, float]


class _Lists(NamedTuple):
    """The best so far, up to `room` a row, in no order; `worst`: all that fell out lies no higher."""

    scores: Scores
    at: Ints
    held: Ints
    worst: Scores

    @classmethod
    def of(cls, n: int, room: int) -> _Lists:
        scores, at = np.empty((n, room), np.float32), np.empty((n, room), np.int64)
        return cls(scores, at, np.zeros(n, np.int64), np.full(n, -np.inf, np.float32))


class Taking:
    """Takes block after block of scores into the lists of every row: of the best, and of the best up to each limit."""

    def __init__(self, bans: Csr, size: int, owner: Ints, reach: Scores, low_size: int, bet: Bet = NO_BET) -> None:
        self._bans, self._bet = (bans.offsets, bans.items, bans.offsets[:-1].copy()), bet
        self._rows, self._size, self._low_size = len(bans), size, low_size
        self._top, self._low = _Lists.of(len(bans), ROOM * size), _Lists.of(len(owner), LOW_ROOM * low_size)
        self._owner = owner
        lists = tuple(self._low), low_size, np.searchsorted(owner, np.arange(len(bans) + 1)), reach
        self._told = tuple(self._top), size, lists, np.zeros(len(owner), np.int64)

    def block(self, first: int, scores: Scores, views: Sequence[View] = (), *, lasting: bool = True) -> None:
        """Scores of the candidates from `first` on, and the views in which a candidate may be none; lasting: the views
        hold all candidates."""
        seen = tuple(views) or _BLIND

        def work(lo: int, hi: int) -> None:
            kernels.scan(scores, first, self._bans, seen, lasting, tuple(self._bet), *self._told, lo, hi)

        in_blocks(self._rows, work, max(CHUNK, -(-self._rows // threads())))

    def best(self, views: Sequence[View], left: Matrix, among: Side) -> tuple[Ints, Scores, Scores]:
        """int64 [n, size], -1 where there are fewer; their exact scores; and what nothing left out exceeds.

        views: those of the last block. left: the queries.
        """
        seen = tuple(views) or _BLIND
        size = self._size
        exact = np.empty((self._rows, size), np.float32)
        held = _NOTHING if among.held is None else among.held
        in_blocks(self._rows, lambda lo, hi: kernels.finish(*self._told, seen, left, held, exact, lo, hi), CHUNK)
        at = self._top.at[:, :size]
        return at, among.cosines(left, at) if among.held is None else exact, self._top.worst

    def best_below(self, short: Ints) -> tuple[Ints, Scores, Ints]:
        """The same of the limits `short`, and how many candidates lie above each `reach`: to be called once, after `best`."""
        top, _, lows, above = self._told
        kernels.finish_low(top, lows, above, self._owner, short)
        return self._low.at[short, : self._low_size], self._low.worst[short], above[short]


_NOTHING = np.zeros((0, 0), np.float32)
#: A view that bars nothing: compiled loops know no empty tuple.
_BLIND: tuple[View] = ((_NOTHING, _NOTHING, 0, np.zeros(0), 0.0),)
