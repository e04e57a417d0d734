"""Compiled loops of the search. All of them write disjoint rows and release the GIL."""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

#: Columns looked at together: a row of scores is skipped in such strides while nothing in it is good enough.
STRIDE = 64
#: Columns that are taken together.
HITS = 32


@njit(nogil=True)
def _above(scores, border):  # type: ignore[no-untyped-def]
    count = 0
    for i in range(scores.shape[0]):
        count += scores[i] > border
    return count


@njit(nogil=True)
def _border(scores, size, most):  # type: ignore[no-untyped-def]
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
def _keep(lists, row, border, equal):  # type: ignore[no-untyped-def]
    """Keep what lies above the border, and the first so many that equal it."""
    scores, at, held, worst = lists
    kept = 0
    for i in range(held[row]):
        score = scores[row, i]
        scores[row, kept], at[row, kept] = score, at[row, i]
        kept += score > border
        if equal and score == border:
            equal -= 1
            kept += 1
    held[row], worst[row] = kept, border


@njit(nogil=True)
def _put(lists, row, size, score, place):  # type: ignore[no-untyped-def]
    scores, at, held, _ = lists
    n = held[row]
    scores[row, n], at[row, n] = score, place
    held[row] = n + 1
    if n + 1 == scores.shape[1]:
        border, equal = _border(scores[row], size, size + size // 8)
        _keep(lists, row, border, equal)


@njit(nogil=True)
def _fill(top, row, border, lows):  # type: ignore[no-untyped-def]
    """Of lists that are full without what lies up to the border, because their row's best are, the border is the worst."""
    low, low_size, low_of, reach = lows
    scores, low_worst = top[0][row, : top[2][row]], low[3]
    for q in range(low_of[row], low_of[row + 1]):
        if low_worst[q] < border:
            fit = 0
            for i in range(scores.shape[0]):
                fit += (scores[i] > border) & (scores[i] <= reach[q])
            if fit >= low_size:
                low_worst[q] = border


@njit(nogil=True)
def _fall(top, row, size, most, lows):  # type: ignore[no-untyped-def]
    """Cut a row's best; what falls out goes to those of its lists of eligible ones that the best do not fill."""
    low, low_size, low_of, reach = lows
    scores, at = top[0][row, : top[2][row]], top[1][row]
    border, equal = _border(scores, size, most)
    _fill(top, row, border, lows)
    for q in range(low_of[row], low_of[row + 1]):
        stay = equal
        for i in range(scores.shape[0] if low[3][q] < border else 0):
            if scores[i] == border and stay:
                stay -= 1
            elif scores[i] <= border and scores[i] <= reach[q] and scores[i] > low[3][q]:
                _put(low, q, low_size, scores[i], at[i])
    _keep(top, row, border, equal)


@njit(nogil=True, cache=True)
def finish(top, size, lows, lo, hi):  # type: ignore[no-untyped-def]
    for row in range(lo, hi):
        if top[2][row] > size:
            _fall(top, row, size, size, lows)
        top[1][row, top[2][row] :] = -1


@njit(nogil=True, cache=True)
def finish_low(top, lows, owner, short):  # type: ignore[no-untyped-def]
    """To the lists `short` comes what stands in the best of their rows."""
    scores, at, held, _ = top
    low, low_size, _, reach = lows
    for q in short:
        row = owner[q]
        for i in range(held[row]):
            if scores[row, i] <= reach[q] and scores[row, i] > low[3][q]:
                _put(low, q, low_size, scores[row, i], at[row, i])
        if low[2][q] > low_size:
            border, equal = _border(low[0][q, : low[2][q]], low_size, low_size)
            _keep(low, q, border, equal)
        low[1][q, low[2][q] :] = -1


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
def _four(x, rows, at, zero):  # type: ignore[no-untyped-def]
    """Products of x with up to four rows; a negative place stands for any."""
    last = at.shape[0] - 1
    a, b = rows[max(at[0], 0)], rows[max(at[min(1, last)], 0)]
    c, d = rows[max(at[min(2, last)], 0)], rows[max(at[min(3, last)], 0)]
    return _dots(x, a, b, c, d, zero)


@njit(nogil=True)
def _strike(views, row, columns, scores):  # type: ignore[no-untyped-def]
    """-inf for those of the columns that a view bars from a row; what float32 leaves open is summed in float64."""
    for left, right, most, error in views:
        for i in range(0, columns.shape[0] if right.shape[1] else 0, 4):
            four = columns[i : i + 4]
            for k, product in enumerate(_four(left[row], right, four, np.float32(0))):
                off = product - most[row]
                if abs(off) <= error and k < four.shape[0]:
                    off = np.float32(_four(left[row], right, four[k : k + 1], 0.0)[0]) - most[row]
                if off > 0 and k < four.shape[0]:
                    scores[four[k]] = -np.inf


@njit(nogil=True)
def _next(row, begin, worst):  # type: ignore[no-untyped-def]
    """Where the next stride begins that holds something above `worst`."""
    # Unsigned, so that no number could be a place counted from the end: else nothing is vectorised.
    at, size = np.uint64(begin), np.uint64(row.shape[0])
    while at + np.uint64(STRIDE) <= size:
        some = np.uint32(0)
        for j in range(np.uint64(STRIDE)):
            some |= np.uint32(row[at + j] > worst)
        if some:
            break
        at += np.uint64(STRIDE)
    return np.int64(at)


@njit(nogil=True, cache=True)
def scan(scores, first, bans, views, top, size, lows, above, lo, hi):  # type: ignore[no-untyped-def]
    """Take rows lo..hi of a block of scores that begins at candidate `first` into lists.

    bans: of each row the banned candidates, in order, and how far its list is gone through. views: queries, the block's
    candidates, the exact score of each query above which a candidate is none, and how far a float32 product may lie from
    the truth; only what a list or a count would take is looked at. top: one list a row, of the best `size`. lows:
    lists `low_of[r]:low_of[r + 1]` are those of row r, each of the best `low_size` of at most `reach[q]`, which ascends,
    as far as they do not stand in `top`; `above[q]` counts what lies above it and no higher limit of the row.
    """
    offsets, banned, cursor = bans
    width = scores.shape[1]
    hits = np.empty(HITS + STRIDE + 1, np.int64)
    for r in range(lo, hi):
        row = scores[r]
        c = cursor[r]
        while c < offsets[r + 1] and banned[c] < first + width:
            row[banned[c] - first] = -np.inf
            c += 1
        cursor[r] = c
        upto = np.float32(np.inf)
        if first == 0 and width >= 4 * size:
            # Half as many again as are wanted, at once: where not too many of them are barred, the rest are too low.
            upto, _ = _border(row, size + size // 2, top[0].shape[1] - 1)
            _walk(row, r, first, upto, np.float32(np.inf), hits, views, top, size, lows, above)
            if top[2][r] >= size:
                _fill(top, r, upto, lows)
                top[3][r] = upto
        _walk(row, r, first, np.float32(-np.inf), upto, hits, views, top, size, lows, above)


@njit(nogil=True)
def _walk(row, r, first, least, upto, hits, views, top, size, lows, above):  # type: ignore[no-untyped-def]
    """Take what lies above `least`, up to `upto`, and can matter."""
    low_worst, low_of = lows[0][3], lows[2]
    begin = n = 0
    while True:
        # What is not above these concerns no list and no count: limits ascend, and with them the lists' worst.
        worst = top[3][r]
        if low_of[r] < low_of[r + 1]:
            worst = min(worst, low_worst[low_of[r]])
        worst = max(worst, least)
        begin = _next(row, begin, worst) if worst < upto else row.shape[0]
        if begin >= row.shape[0]:
            break
        end = min(begin + STRIDE, row.shape[0])
        for j in range(begin, end):
            hits[n] = j
            n += (row[j] > worst) & (row[j] <= upto)
        begin = end
        if n > HITS:
            _take(row, r, first, hits[:n], views, top, size, lows, above)
            n = 0
    _take(row, r, first, hits[:n], views, top, size, lows, above)


@njit(nogil=True)
def _take(row, r, first, hits, views, top, size, lows, above):  # type: ignore[no-untyped-def]
    """Take these columns of a row."""
    low, low_size, low_of, reach = lows
    top_scores, top_at, top_held, top_worst = top
    begin_low, end_low = low_of[r], low_of[r + 1]
    _strike(views, r, hits, row)
    for j in hits:
        score = row[j]
        if score == -np.inf:
            continue
        q = begin_low
        if end_low - begin_low > 1:
            q += np.searchsorted(reach[begin_low:end_low], score)
        elif q < end_low and score > reach[q]:
            q += 1
        if q > begin_low:
            above[q - 1] += 1  # and all before it: summed up at the end
        if score > top_worst[r]:
            n = top_held[r]
            top_scores[r, n], top_at[r, n] = score, first + j
            top_held[r] = n + 1
            if n + 1 == top_scores.shape[1]:
                _fall(top, r, size, size + size // 8, lows)
        else:
            while q < end_low and score > low[3][q]:
                _put(low, q, low_size, score, first + j)
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
        for j in range(0, at.shape[1], 4):
            four = at[i, j : j + 4]
            # Products of float16 numbers are exact; whatever the order of a sum in float64, it rounds to the same float32.
            for k, product in enumerate(_four(left[i], right, four, 0.0)):
                if k < four.shape[0]:
                    # Adding zero makes -0.0 plain.
                    out[i, j + k] = np.float32(product) + np.float32(0) if four[k] >= 0 else 0


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
