"""Lists of a search's best, in compiled loops that release the GIL.

A list is `scores`, `at`, `held` and `worst`: of row r the first `held[r]` of `scores[r]` and `at[r]`, in no order; whatever
fell out or never came in lies no higher than `worst[r]`. A candidate that no other view was asked about stands as ~at: most
of what comes in falls out again for better ones, and only what would stay is asked about.

`lows` are the lists of what lies up to a limit: `low_of[r]:low_of[r + 1]` are those of row r, each of the best `low_size`
of at most `reach[q]`, which ascends, as far as they do not stand among the row's best.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pipeline.mine.products import ask

LEAST = np.float32(-np.inf)


@njit(nogil=True)
def _above(scores, border):  # type: ignore[no-untyped-def]
    count = 0
    for i in range(scores.shape[0]):
        count += scores[i] > border
    return count


@njit(nogil=True)
def border_of(scores, size, most):  # type: ignore[no-untyped-def]
    """A score above which `size` to `most` of the scores lie; and how many that equal it must be taken besides.

    By halves, because counting is vectorised and its branches foretold, which those of a partition are not.
    """
    low, high, count = np.float32(np.inf), scores.max(), scores.shape[0]
    for score in scores:
        if score > -np.inf:
            low = min(low, score)
    low -= np.float32(1)
    while count > most:
        middle = (low + high) * np.float32(0.5)
        if middle <= low or middle >= high:
            return high, size - _above(scores, high)
        above = _above(scores, middle)
        if above >= size:
            low, count = middle, above
        else:
            high = middle
    return low, 0


@njit(nogil=True)
def keep(lists, row, border, equal):  # type: ignore[no-untyped-def]
    """Keep what lies above the border, and the first so many that equal it."""
    scores, at, held, _ = lists
    kept = 0
    for i in range(held[row]):
        score = scores[row, i]
        scores[row, kept], at[row, kept] = score, at[row, i]
        kept += score > border
        if equal and score == border:
            equal -= 1
            kept += 1
    held[row] = kept


@njit(nogil=True)
def put(lists, row, size, score, place):  # type: ignore[no-untyped-def]
    scores, at, held, worst = lists
    n = held[row]
    scores[row, n], at[row, n] = score, place
    held[row] = n + 1
    if n + 1 == scores.shape[1]:
        border, equal = border_of(scores[row], size, size + size // 8)
        keep(lists, row, border, equal)
        worst[row] = border


@njit(nogil=True)
def tell(row, score, place, lows, above):  # type: ignore[no-untyped-def]
    """A candidate that is none of the row's best: count it above limits, put it into the lists of others."""
    low, low_size, low_of, reach = lows
    q, end = low_of[row], low_of[row + 1]
    if end - q > 1:
        q += np.searchsorted(reach[q:end], score)
    elif q < end and score > reach[q]:
        q += 1
    if q > low_of[row]:
        above[q - 1] += 1  # and all before it: summed up at the end
    while q < end and score > low[3][q]:
        put(low, q, low_size, score, place)
        q += 1


@njit(nogil=True)
def fill(top, row, border, lows, enough):  # type: ignore[no-untyped-def]
    """Of lists that are full without what lies up to the border, because the row's best are, the border is the worst."""
    low, _, low_of, reach = lows
    scores, low_worst = top[0][row, : top[2][row]], low[3]
    for q in range(low_of[row], low_of[row + 1]):
        if low_worst[q] < border:
            fit = 0
            for i in range(scores.shape[0]):
                fit += (scores[i] > border) & (scores[i] <= reach[q])
            if fit >= enough:
                low_worst[q] = border


@njit(nogil=True)
def fall(top, row, size, most, lows, above, views):  # type: ignore[no-untyped-def]
    """Cut a row's best to `size` to `most` that no view bars; what falls out goes to the lists that want it.

    Where views leave no more than `most` nothing is cut, and all that are left may not have been asked about.
    """
    low, low_size, low_of, _ = lows
    scores, at, held, worst = top
    border, equal, barred = LEAST, 0, 1
    while barred and held[row] > most:
        n = held[row]
        border, equal = border_of(scores[row, :n], size, most)
        barred = ask(views, row, scores[row, :n], at[row, :n], border)
        if barred:
            keep(top, row, LEAST, 0)
    if barred:
        return
    fill(top, row, border, lows, low_size)
    # Limits ascend, and with them the lists' worst.
    if low_of[row] < low_of[row + 1] and low[3][low_of[row]] < border:
        n, stay = held[row], equal
        ask(views, row, scores[row, :n], at[row, :n], low[3][low_of[row]])
        for i in range(n):
            score = scores[row, i]
            if score == border and stay:
                stay -= 1
            elif score > low[3][low_of[row]] and score <= border:
                tell(row, score, at[row, i], lows, above)
    keep(top, row, border, equal)
    worst[row] = border
