"""Kernels over the shingles of match keys: how many are distinct, what may not differ, how many are shared."""

from __future__ import annotations

import numpy as np

from pipeline.minhash.compiled import inlined, kernel

#: Keys of fewer characters are compared by equality only.
SHORT = 6
#: Where the shorter key has fewer characters shingles have 2 of them, else 3.
LONG = 20

_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_U = np.uint32
_LOW_BITS = _U(63)


@inlined
def _decode(data, start, end, out):  # type: ignore[no-untyped-def]
    """Writes the code points of valid UTF-8 to `out`; returns how many."""
    n = 0
    p = start
    while p < end:
        c = np.int64(data[p])
        if c < 0x80:
            p += 1
        elif c < 0xE0:
            c = (c & 0x1F) << 6 | np.int64(data[p + 1]) & 0x3F
            p += 2
        elif c < 0xF0:
            c = (c & 0x0F) << 12 | (np.int64(data[p + 1]) & 0x3F) << 6 | np.int64(data[p + 2]) & 0x3F
            p += 3
        else:
            c = (c & 0x07) << 18 | (np.int64(data[p + 1]) & 0x3F) << 12 | (np.int64(data[p + 2]) & 0x3F) << 6
            c |= np.int64(data[p + 3]) & 0x3F
            p += 4
        out[n] = c
        n += 1
    return n


@inlined
def _pack(points, at, k):  # type: ignore[no-untyped-def]
    value = np.uint64(points[at]) << np.uint64(21) | np.uint64(points[at + 1])
    if k == 3:
        value = value << np.uint64(21) | np.uint64(points[at + 2])
    return value


@inlined
def _insert(points, n, k, packed, filled, bits, turn):  # type: ignore[no-untyped-def]
    """Puts the shingles of `points[:n]` into the table, slots of turn `turn`; returns how many are distinct."""
    mask = np.uint64((1 << bits) - 1)
    distinct = 0
    for i in range(n - k + 1):
        value = _pack(points, i, k)
        slot = (value * _SPREAD) >> np.uint64(64 - bits)
        while filled[slot] == turn and packed[slot] != value:
            slot = (slot + np.uint64(1)) & mask
        if filled[slot] != turn:
            filled[slot] = turn
            packed[slot] = value
            distinct += 1
    return distinct


@inlined
def _bits(n):  # type: ignore[no-untyped-def]
    """Table size for n shingles as a power of two, at most half full."""
    bits = 4
    while (1 << bits) < 2 * n:
        bits += 1
    return bits


@inlined
def _is_decimal(point, zeros):  # type: ignore[no-untyped-def]
    if point < _U(0x80):
        return point - _U(48) < _U(10)
    if point < _U(0x660) or _U(0x2E80) <= point < _U(0xA620):
        return False
    at = np.searchsorted(zeros, point, side="right") - 1
    return point - zeros[at] < _U(10)


@inlined
def _point(data, p):  # type: ignore[no-untyped-def]
    """The code point that begins at p, and how many bytes it has."""
    c = _U(data[p])
    if c < _U(0x80):
        return c, 1
    if c < _U(0xE0):
        return (c & _U(0x1F)) << _U(6) | _U(data[p + 1]) & _U(0x3F), 2
    if c < _U(0xF0):
        return (c & _U(0x0F)) << _U(12) | (_U(data[p + 1]) & _U(0x3F)) << _U(6) | _U(data[p + 2]) & _U(0x3F), 3
    high = (c & _U(0x07)) << _U(18) | (_U(data[p + 1]) & _U(0x3F)) << _U(12)
    return high | (_U(data[p + 2]) & _U(0x3F)) << _U(6) | _U(data[p + 3]) & _U(0x3F), 4


@inlined
def _read(data, start, end, zeros, words, listed, counts):  # type: ignore[no-untyped-def]
    """How many characters a key has, and its traits."""
    for word in words:
        counts[word & _LOW_BITS] = 0
    n = 0
    h = _SPREAD
    in_run = False
    p = start
    while p < end:
        n += 1
        c = _U(data[p])
        if _U(0xE3) <= c <= _U(0xE9) and not in_run:  # Chinese and Japanese, where no digits are: the short way
            point = (c & _U(0x0F)) << _U(12) | (_U(data[p + 1]) & _U(0x3F)) << _U(6) | _U(data[p + 2]) & _U(0x3F)
            p += 3
            if listed[point & _LOW_BITS] == point:
                counts[point & _LOW_BITS] += 1
            continue
        point, width = _point(data, p)
        p += width
        digit = _is_decimal(point, zeros)
        if digit or in_run:  # the character after a run closes it, so 1 2 is not 12
            h = (h ^ np.uint64(point if digit else _U(0))) * _MIX
            h ^= h >> np.uint64(32)
        in_run = digit
        if listed[point & _LOW_BITS] == point:
            counts[point & _LOW_BITS] += 1
    if in_run:
        h = h * _MIX
        h ^= h >> np.uint64(32)
    for word in words:
        h = (h ^ np.uint64(counts[word & _LOW_BITS])) * _MIX
        h ^= h >> np.uint64(29)
    return n, h


@inlined
def _doubles(data, start, end, most, packed, filled, bits, turn):  # type: ignore[no-untyped-def]
    """Distinct shingles of 2 characters, counted no further than one beyond `most`."""
    mask = np.uint64((1 << bits) - 1)
    distinct = 0
    before, p = _point(data, start)
    p += start
    while p < end and distinct <= most:
        point, width = _point(data, p)
        p += width
        value = np.uint64(before) << np.uint64(21) | np.uint64(point)
        before = point
        slot = (value * _SPREAD) >> np.uint64(64 - bits)
        while filled[slot] == turn and packed[slot] != value:
            slot = (slot + np.uint64(1)) & mask
        if filled[slot] != turn:
            filled[slot] = turn
            packed[slot] = value
            distinct += 1
    return distinct


@inlined
def _listed(words):  # type: ignore[no-untyped-def]
    """The words by their low six bits, in which all differ: one look per character, not one for each word."""
    listed = np.zeros(64, np.uint32)
    for word in words:
        listed[word & _LOW_BITS] = word
    return listed


@kernel
def measure(data, start, end, lo, hi, zeros, words, chars, doubles, triples, traits):  # type: ignore[no-untyped-def]
    longest = 0
    for i in range(lo, hi):
        longest = max(longest, end[i] - start[i])
    points = np.empty(longest + 3, np.int64)
    size = 1 << _bits(longest)
    packed = np.empty(size, np.uint64)
    filled = np.zeros(size, np.int64)
    listed, counts = _listed(words), np.zeros(64, np.int64)
    for i in range(lo, hi):
        n, traits[i] = _read(data, start[i], end[i], zeros, words, listed, counts)
        chars[i], doubles[i], triples[i] = n, 0, 0
        if n >= SHORT:
            _decode(data, start[i], end[i], points)
            doubles[i] = _insert(points, n, 2, packed, filled, _bits(n), 2 * i + 1)
        if n >= LONG:
            triples[i] = _insert(points, n, 3, packed, filled, _bits(n), 2 * i + 2)


@kernel
def outline(data, start, end, lo, hi, zeros, words, most, chars, doubles, traits):  # type: ignore[no-untyped-def]
    bits = _bits(most + 1)
    packed = np.empty(1 << bits, np.uint64)
    filled = np.zeros(1 << bits, np.int64)
    listed, counts = _listed(words), np.zeros(64, np.int64)
    for i in range(lo, hi):
        chars[i], traits[i] = _read(data, start[i], end[i], zeros, words, listed, counts)
        doubles[i] = 0
        if chars[i] >= LONG:
            doubles[i] = _doubles(data, start[i], end[i], most, packed, filled, bits, i + 1)


@kernel
def shared(left, left_at, right, right_at, lo, hi, minimum, out):  # type: ignore[no-untyped-def]
    a_data, a_start, a_end, a_hashes, a_chars, a_doubles, a_triples = left
    b_data, b_start, b_end, b_hashes, b_chars, b_doubles, b_triples = right
    longest_a, longest_b = 0, 0
    for i in range(lo, hi):
        longest_a = max(longest_a, a_chars[left_at[i]])
        longest_b = max(longest_b, b_chars[right_at[i]])
    a_points = np.empty(longest_a + 3, np.int64)
    b_points = np.empty(longest_b + 3, np.int64)
    size = 1 << _bits(longest_a)
    packed = np.empty(size, np.uint64)
    filled = np.zeros(size, np.int64)
    counted = np.zeros(size, np.int64)
    held, held_k, bits, turn = np.int64(-1), 0, 4, 0
    for i in range(lo, hi):
        a, b = left_at[i], right_at[i]
        if a_hashes[a] == b_hashes[b]:
            out[i] = 1.0
            continue
        shorter = min(a_chars[a], b_chars[b])
        if shorter < SHORT:
            out[i] = 0.0
            continue
        k = 2 if shorter < LONG else 3
        n_a = a_doubles[a] if k == 2 else a_triples[a]
        n_b = b_doubles[b] if k == 2 else b_triples[b]
        if min(n_a, n_b) / max(n_a, n_b) < minimum:
            out[i] = 0.0
            continue
        if a != held or k != held_k:
            n = _decode(a_data, a_start[a], a_end[a], a_points)
            held, held_k, bits, turn = a, k, _bits(n), turn + 1
            _insert(a_points, n, k, packed, filled, bits, turn)
        mask = np.uint64((1 << bits) - 1)
        n = _decode(b_data, b_start[b], b_end[b], b_points)
        shared, missed = 0, 0
        # Equal shingles count once, so the right key may miss as many as it repeats and still reach the minimum.
        allowed = n - k + 1 - minimum * (n_a + n_b) / (1 + minimum) + 1e-6 if minimum > 0 else n
        for j in range(n - k + 1):
            value = _pack(b_points, j, k)
            slot = (value * _SPREAD) >> np.uint64(64 - bits)
            while filled[slot] == turn and packed[slot] != value:
                slot = (slot + np.uint64(1)) & mask
            if filled[slot] == turn:
                if counted[slot] != i + 1:
                    counted[slot] = i + 1
                    shared += 1
            else:
                missed += 1
                if missed > allowed:
                    break
        out[i] = shared / (n_a + n_b - shared) if missed <= allowed else 0.0
