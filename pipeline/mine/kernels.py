"""Compiled loops of the search. All of them write disjoint rows and release the GIL."""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

#: Columns looked at together: a row of scores is skipped in such strides while nothing in it is good enough.
STRIDE = 32


@njit(nogil=True)
def _shrink(scores, at, held, worst, row, size):  # type: ignore[no-untyped-def]
    """Keep the best `size` of a row's list, of equal ones the first; `worst` tells the least score that stays."""
    n = held[row]
    if n <= size:
        return
    least = np.partition(scores[row, :n], n - size)[n - size]
    equal = size
    for i in range(n):
        equal -= scores[row, i] > least
    kept = 0
    for i in range(n):
        if scores[row, i] > least or (scores[row, i] == least and equal > 0):
            equal -= scores[row, i] == least
            scores[row, kept], at[row, kept] = scores[row, i], at[row, i]
            kept += 1
    held[row], worst[row] = kept, least


@njit(nogil=True)
def _put(scores, at, held, worst, row, size, score, place):  # type: ignore[no-untyped-def]
    n = held[row]
    scores[row, n], at[row, n] = score, place
    held[row] = n + 1
    if n + 1 == scores.shape[1]:
        _shrink(scores, at, held, worst, row, size)


@njit(nogil=True, cache=True)
def shrink(scores, at, held, worst, size, lo, hi):  # type: ignore[no-untyped-def]
    for row in range(lo, hi):
        _shrink(scores, at, held, worst, row, size)
        at[row, held[row] :] = -1


@njit(nogil=True, cache=True)
def strike(scores, first, offsets, bans, cursor, lo, hi):  # type: ignore[no-untyped-def]
    """-inf for the banned columns of a block that begins at candidate `first`; `cursor` goes on through each row's list."""
    for r in range(lo, hi):
        c = cursor[r]
        while c < offsets[r + 1] and bans[c] < first + scores.shape[1]:
            scores[r, bans[c] - first] = -np.inf
            c += 1
        cursor[r] = c


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _dot(a, b):  # type: ignore[no-untyped-def]
    # Products of float16 numbers are exact; whatever the order of a sum in float64, it rounds to the same float32.
    total = 0.0
    for i in range(a.shape[0]):
        total += np.float64(a[i]) * np.float64(b[i])
    return total


@njit(nogil=True, cache=True)
def strike_above(scores, second, left, right, most, error, lo, hi):  # type: ignore[no-untyped-def]
    """-inf where left[row] . right[column] lies above `most[row]`; second: these products, `error` from the truth at most."""
    for r in range(lo, hi):
        for j in range(scores.shape[1]):
            off = second[r, j] - most[r]
            if off > error or (off > -error and np.float32(_dot(left[r], right[j])) > most[r]):
                scores[r, j] = -np.inf


@njit(nogil=True, cache=True)
def strike_some(scores, left, right, most, least, lo, hi):  # type: ignore[no-untyped-def]
    """-inf for what scores above `least[row]` and whose other score, left[row] . right[column], lies above `most[row]`."""
    for r in range(lo, hi):
        row = scores[r]
        for begin in range(0, row.shape[0], STRIDE):
            end = min(begin + STRIDE, row.shape[0])
            some = False
            for j in range(begin, end):
                some |= row[j] > least[r]
            if some:
                for j in range(begin, end):
                    if row[j] > least[r] and np.float32(_dot(left[r], right[j])) > most[r]:
                        row[j] = -np.inf


@njit(nogil=True, cache=True)
def scan(scores, first, top, size, low_of, reach, low, low_size, above, lo, hi):  # type: ignore[no-untyped-def]
    """Take rows lo..hi of a block of scores that begins at candidate `first` into lists.

    top: one list a row, of the best `size`. low: lists `low_of[r]:low_of[r + 1]` are those of row r, each of the best
    `low_size` of at most `reach[q]`, which ascends; `above[q]` counts what lies above it and no higher limit of the row.
    """
    top_scores, top_at, top_held, top_worst = top
    low_scores, low_at, low_held, low_worst = low
    width = scores.shape[1]
    for r in range(lo, hi):
        row = scores[r]
        begin_low, end_low = low_of[r], low_of[r + 1]
        for begin in range(0, width, STRIDE):
            # What is not above these concerns no list and no count: limits ascend, and with them the lists' worst.
            worst = top_worst[r]
            if begin_low < end_low:
                worst = min(worst, low_worst[begin_low])
            end = min(begin + STRIDE, width)
            some = False
            for j in range(begin, end):
                some |= row[j] > worst
            if not some:
                continue
            for j in range(begin, end):
                score = row[j]
                if score > worst:
                    if score > top_worst[r]:
                        _put(top_scores, top_at, top_held, top_worst, r, size, score, first + j)
                    q = begin_low
                    if end_low - begin_low > 1:
                        q += np.searchsorted(reach[begin_low:end_low], score)
                    elif q < end_low and score > reach[q]:
                        q += 1
                    if q > begin_low:
                        above[q - 1] += 1  # and all before it: summed up at the end
                    while q < end_low and score > low_worst[q]:
                        _put(low_scores, low_at, low_held, low_worst, q, low_size, score, first + j)
                        q += 1


@njit(nogil=True, cache=True)
def settle(low_of, low_worst, above):  # type: ignore[no-untyped-def]
    """What lies above a limit lies above every lower one of its row; what fell out below one may have for a higher one."""
    for r in range(low_of.shape[0] - 1):
        for q in range(low_of[r + 1] - 2, low_of[r] - 1, -1):
            above[q] += above[q + 1]
        for q in range(low_of[r] + 1, low_of[r + 1]):
            low_worst[q] = max(low_worst[q], low_worst[q - 1])


@njit(nogil=True, cache=True)
def cosines(left, right, at, out, lo, hi):  # type: ignore[no-untyped-def]
    """out[i, j] = left[i] . right[at[i, j]], rounded once; 0 where `at` is negative."""
    for i in range(lo, hi):
        for j in range(at.shape[1]):
            # Adding zero makes -0.0 plain.
            out[i, j] = np.float32(_dot(left[i], right[at[i, j]])) + np.float32(0) if at[i, j] >= 0 else 0


@intrinsic
def _popcount(typing, value):  # type: ignore[no-untyped-def]
    def emit(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), emit


@njit(nogil=True)
def agreement(left, right, out, lo, hi):  # type: ignore[no-untyped-def]
    """out[i, j] = minus the number of bits in which left[i] and right[j] differ; rows of 64-bit words."""
    for i in range(lo, hi):
        for j in range(right.shape[0]):
            differ = np.uint64(0)
            for w in range(left.shape[1]):
                differ += _popcount(left[i, w] ^ right[j, w])  # type: ignore[call-arg]
            out[i, j] = -np.float32(differ)
