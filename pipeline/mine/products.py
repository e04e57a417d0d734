"""Compiled products of single rows: exact cosines, and what other views say of a candidate."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz"})
def _dots(x, a, b, c, d, zero):  # type: ignore[no-untyped-def]
    """Four products at once, in the type of `zero`: rows come from all over, and four are waited for as long as one."""
    one = two = three = four = zero
    for k in range(x.shape[0]):
        one += (zero + x[k]) * (zero + a[k])
        two += (zero + x[k]) * (zero + b[k])
        three += (zero + x[k]) * (zero + c[k])
        four += (zero + x[k]) * (zero + d[k])
    return one, two, three, four


@njit(nogil=True)
def _four(x, rows, at, first, zero):  # type: ignore[no-untyped-def]
    """Products of x with up to four of the rows, which begin at place `first`; a place before it stands for any."""
    last = at.shape[0] - 1
    a, b = rows[max(at[0] - first, 0)], rows[max(at[min(1, last)] - first, 0)]
    c, d = rows[max(at[min(2, last)] - first, 0)], rows[max(at[min(3, last)] - first, 0)]
    return _dots(x, a, b, c, d, zero)


@njit(nogil=True)
def ask(views, row, scores, at, least):  # type: ignore[no-untyped-def]
    """Ask every view about what stands as ~at and lies at `least` or above: -inf for what one bars. Tells how many were.

    What float32 leaves open is summed in float64.
    """
    which, places = np.empty(4, np.int64), np.empty(4, np.int64)
    n = barred = 0
    for i in range(scores.shape[0] + 1):
        if i < scores.shape[0] and at[i] < 0 and scores[i] >= least:
            at[i] = ~at[i]
            which[n], places[n] = i, at[i]
            n += 1
        if n < 4 and (n == 0 or i < scores.shape[0]):
            continue
        for left, right, first, most, error in views:
            if right.shape[1] == 0:
                continue
            for k, product in enumerate(_four(left[row], right, places[:n], first, np.float32(0))):
                off = product - most[row]
                if abs(off) <= error and k < n:
                    off = np.float32(_four(left[row], right, places[k : k + 1], first, 0.0)[0]) - most[row]
                if off > 0 and k < n:
                    barred += scores[which[k]] > -np.inf
                    scores[which[k]] = -np.inf
        n = 0
    return barred


@njit(nogil=True, cache=True)
def cosines(left, right, at, out, lo, hi):  # type: ignore[no-untyped-def]
    """out[i, j] = left[i] . right[at[i, j]], rounded once; 0 where `at` is negative."""
    for i in range(lo, hi):
        for j in range(0, at.shape[1], 4):
            four = at[i, j : j + 4]
            # Products of float16 numbers are exact; whatever the order of a sum in float64, it rounds to the same float32.
            for k, product in enumerate(_four(left[i], right, four, 0, 0.0)):
                if k < four.shape[0]:
                    # Adding zero makes -0.0 plain.
                    out[i, j + k] = np.float32(product) + np.float32(0) if four[k] >= 0 else 0
