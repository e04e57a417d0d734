"""The compiled walk over blocks of scores into lists (`pipeline.mine.lists`). Rows are disjoint, the GIL is released."""

from __future__ import annotations

import numpy as np
from numba import njit

from pipeline.mine.bits import lowest
from pipeline.mine.lists import LEAST, border_of, fall, fill, keep, put, tell
from pipeline.mine.products import ask, cosines

#: Columns looked at together: a row of scores is skipped in such strides while nothing in it is good enough.
STRIDE = 64
#: Columns that are taken together, if a few more.
HITS = 64


@njit(nogil=True)
def _hits(row, begin, worst, hits):  # type: ignore[no-untyped-def]
    """The next columns above `worst`: how many they are, and where to go on."""
    # Unsigned, so that no number could be a place counted from the end: else nothing is vectorised.
    n, at, size = 0, np.uint64(begin), np.uint64(row.shape[0])
    while at + np.uint64(STRIDE) <= size and n <= HITS:
        some = np.uint32(0)
        for j in range(np.uint64(STRIDE)):
            some |= np.uint32(row[at + j] > worst)
        for half in range(at, at + np.uint64(STRIDE if some else 0), np.uint64(32)):
            word = np.uint32(0)
            for j in range(np.uint64(32)):
                word |= np.uint32(row[half + j] > worst) << np.uint32(j)
            left = np.uint64(word)
            while left:
                hits[n], n, left = half + lowest(left), n + 1, left & (left - np.uint64(1))
        at += np.uint64(STRIDE)
    if n <= HITS:
        for j in range(at, size):
            hits[n] = j
            n += row[j] > worst
        at = size
    return n, np.int64(at)


@njit(nogil=True)
def _walk(row, r, first, least, upto, hits, views, top, size, lows, above):  # type: ignore[no-untyped-def]
    """Take what lies above `least`, up to `upto`, and can matter."""
    low_worst, low_of = lows[0][3], lows[2]
    begin = 0
    while begin < row.shape[0]:
        # What is not above these concerns no list and no count.
        worst = top[3][r]
        if low_of[r] < low_of[r + 1]:
            worst = min(worst, low_worst[low_of[r]])
        worst = max(worst, least)
        if worst >= upto:
            break
        n, begin = _hits(row, begin, worst, hits)
        if n:
            _take(row, r, first, upto, hits[:n], views, top, size, lows, above)


@njit(nogil=True)
def _take(row, r, first, upto, hits, views, top, size, lows, above):  # type: ignore[no-untyped-def]
    """Take these columns of a row, up to `upto`."""
    scores, at, held, worst = top
    low_worst, low_of = lows[0][3], lows[2]
    more = 0
    for j in hits:
        score = row[j]
        if score > upto:
            continue
        if score > worst[r]:
            n = held[r]
            scores[r, n], at[r, n] = score, ~(first + j)
            held[r] = n + 1
            if n + 1 == scores.shape[1]:
                fall(top, r, size, size + size // 8, lows, above, views)
        elif low_of[r] < low_of[r + 1] and score > low_worst[low_of[r]]:
            hits[more] = j
            more += 1
    if more:
        loose, places = row[hits[:more]], ~(first + hits[:more])
        ask(views, r, loose, places, LEAST)
        for i in range(more):
            if loose[i] > -np.inf:
                tell(r, loose[i], places[i], lows, above)


@njit(nogil=True)
def _about(row, size, best):  # type: ignore[no-untyped-def]
    """A score above which `size` of a row lie, and not many more: that of the best of so many groups. best: room for them."""
    groups = np.uint64(min(4 * size, row.shape[0]))
    best[:groups] = row[:groups]
    at = groups
    while at < np.uint64(row.shape[0]):
        for j in range(min(groups, np.uint64(row.shape[0]) - at)):
            best[j] = row[at + j] if row[at + j] > best[j] else best[j]
        at += groups
    return border_of(best[:groups], size, size + size // 8)[0]


@njit(nogil=True)
def _begin(row, r, bet, hits, best, views, top, size, lows, above):  # type: ignore[no-untyped-def]
    """Take the best of a row's first block at once; what is left to be taken lies no higher than is told."""
    taken, enough = bet
    upto, want = np.float32(np.inf), taken
    # So many of a first block of candidates in no order, and hardly one of the best of all is left out.
    while 0 < want < size:
        least = min(_about(row, want, best), upto)
        _walk(row, r, 0, least, upto, hits, views, top, size, lows, above)
        upto, n = least, top[2][r]
        if ask(views, r, top[0][r, :n], top[1][r, :n], LEAST):
            keep(top, r, LEAST, 0)
        if top[2][r] >= taken:
            top[3][r] = max(top[3][r], upto)
            fill(top, r, upto, lows, enough)
            return upto
        want += max(taken - top[2][r], taken // 2)
    # Half as many again as are wanted: where not too many of them are barred, the rest are too low.
    least = min(_about(row, size + size // 2, best), upto)
    _walk(row, r, 0, least, upto, hits, views, top, size, lows, above)
    fall(top, r, size, size + size // 8, lows, above, views)
    return least


@njit(nogil=True, cache=True)
def scan(scores, first, bans, views, lasting, bet, top, size, lows, above, lo, hi):  # type: ignore[no-untyped-def]
    """Take rows lo..hi of a block of scores that begins at candidate `first` into lists.

    bans: of each row the banned candidates, in order, and how far its list is gone through. views: queries, candidates
    and the place of the first of them, the exact score of each query above which a candidate is none, and how far a
    float32 product may lie from the truth. lasting: the views hold all candidates, not this block's alone. bet: how many
    of the first block are taken to hold all of the best that stand in it (0: no bet), and how many of these fill a list
    of `lows`. top: one list a row, of the best `size`. `above[q]` counts what fell out above `reach[q]` and no higher
    limit of the row.
    """
    offsets, banned, cursor = bans
    width = scores.shape[1]
    hits, best = np.empty(HITS + 2 * STRIDE + 1, np.int64), np.empty(width, np.float32)
    for r in range(lo, hi):
        row = scores[r]
        c = cursor[r]
        while c < offsets[r + 1] and banned[c] < first + width:
            row[banned[c] - first] = -np.inf
            c += 1
        cursor[r] = c
        upto = np.float32(np.inf)
        if first == 0 and width > top[0].shape[1]:
            upto = _begin(row, r, bet, hits, best, views, top, size, lows, above)
        _walk(row, r, first, LEAST, upto, hits, views, top, size, lows, above)
        n = top[2][r]
        if not lasting and ask(views, r, top[0][r, :n], top[1][r, :n], LEAST):
            keep(top, r, LEAST, 0)


@njit(nogil=True, cache=True)
def finish(top, size, lows, above, views, left, candidates, exact, lo, hi):  # type: ignore[no-untyped-def]
    """Cut the best of rows lo..hi to `size`, and score them exactly while they lie in the cache: if there are candidates."""
    for row in range(lo, hi):
        fall(top, row, size, size, lows, above, views)
        n = top[2][row]
        if ask(views, row, top[0][row, :n], top[1][row, :n], LEAST):
            keep(top, row, LEAST, 0)
        top[1][row, top[2][row] :] = -1
        if candidates.shape[0]:
            cosines(left, candidates, top[1][:, :size], exact, row, row + 1)


@njit(nogil=True, cache=True)
def finish_low(top, lows, above, owner, short):  # type: ignore[no-untyped-def]
    """To the lists and counts of `short` comes what stands in the best of their rows."""
    scores, at, held, _ = top
    low, low_size, low_of, reach = lows
    # What lies above a limit lies above every lower one of its row; what fell out below one may have for a higher one.
    for r in range(low_of.shape[0] - 1):
        for q in range(low_of[r + 1] - 2, low_of[r] - 1, -1):
            above[q] += above[q + 1]
        for q in range(low_of[r] + 1, low_of[r + 1]):
            low[3][q] = max(low[3][q], low[3][q - 1])
    for q in short:
        row = owner[q]
        for i in range(held[row]):
            if scores[row, i] > reach[q]:
                above[q] += 1
            elif scores[row, i] > low[3][q]:
                put(low, q, low_size, scores[row, i], at[row, i])
        if low[2][q] > low_size:
            border, equal = border_of(low[0][q, : low[2][q]], low_size, low_size)
            keep(low, q, border, equal)
            low[3][q] = border
        low[1][q, low[2][q] :] = -1
