"""Compiled loops of the search. All of them write disjoint rows and release the GIL."""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

#: Columns looked at together: a row of scores is skipped in such strides while nothing in it is good enough.
STRIDE = 64


@njit(nogil=True)
def _put(scores, at, score, place):  # type: ignore[no-untyped-def]
    """Replace the root of a heap whose root is its worst: the lowest score, of equal ones the highest place."""
    n = scores.shape[0]
    i = 0
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        other = child + 1
        if other < n and (scores[other] < scores[child] or (scores[other] == scores[child] and at[other] > at[child])):
            child = other
        if scores[child] > score or (scores[child] == score and at[child] < place):
            break
        scores[i], at[i] = scores[child], at[child]
        i = child
    scores[i], at[i] = score, place


@njit(nogil=True, cache=True)
def strike(scores, first, offsets, bans, cursor, lo, hi):  # type: ignore[no-untyped-def]
    """-inf for the banned columns of a block that begins at candidate `first`; `cursor` goes on through each row's list."""
    for r in range(lo, hi):
        c = cursor[r]
        while c < offsets[r + 1] and bans[c] < first + scores.shape[1]:
            scores[r, bans[c] - first] = -np.inf
            c += 1
        cursor[r] = c


@njit(nogil=True, cache=True)
def strike_above(scores, second, reach, lo, hi):  # type: ignore[no-untyped-def]
    """-inf where another encoder's score lies above `reach[row]`."""
    for r in range(lo, hi):
        for j in range(scores.shape[1]):
            if second[r, j] > reach[r]:
                scores[r, j] = -np.inf


@njit(nogil=True, cache=True)
def nearest(scores, first, top_scores, top_at, lo, hi):  # type: ignore[no-untyped-def]
    """Take a block of scores into the heaps of the best, one heap a row."""
    for r in range(lo, hi):
        row = scores[r]
        for begin in range(0, row.shape[0], STRIDE):
            end = min(begin + STRIDE, row.shape[0])
            worst = top_scores[r, 0]
            some = False
            for j in range(begin, end):
                some |= row[j] > worst
            if some:
                for j in range(begin, end):
                    if row[j] > top_scores[r, 0]:
                        _put(top_scores[r], top_at[r], row[j], first + j)


@njit(nogil=True, cache=True)
def nearest_below(scores, first, owner, reach, low_scores, low_at, above, lo, hi):  # type: ignore[no-untyped-def]
    """The same for the best of at most `reach[q]` of row `owner[q]`; `above[q]` counts what lies above."""
    for q in range(lo, hi):
        row, most = scores[owner[q]], reach[q]
        for begin in range(0, row.shape[0], STRIDE):
            end = min(begin + STRIDE, row.shape[0])
            worst = low_scores[q, 0]
            some = False
            over = np.int32(0)
            for j in range(begin, end):
                some |= (row[j] > worst) & (row[j] <= most)
                over += np.int32(row[j] > most)
            above[q] += over
            if some:
                for j in range(begin, end):
                    if low_scores[q, 0] < row[j] <= most:
                        _put(low_scores[q], low_at[q], row[j], first + j)


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _dot(a, b):  # type: ignore[no-untyped-def]
    # Products of float16 numbers are exact; whatever the order of a sum in float64, it rounds to the same float32.
    total = 0.0
    for i in range(a.shape[0]):
        total += np.float64(a[i]) * np.float64(b[i])
    return total


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
                differ += _popcount(left[i, w] ^ right[j, w])
            out[i, j] = -np.float32(differ)
