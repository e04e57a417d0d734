"""Kernels that read a match key once: its characters, and what may not differ between near-duplicates."""

from __future__ import annotations

import numpy as np

from pipeline.minhash.compiled import inlined

_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_U = np.uint32
#: An index that cannot be negative: numba looks at every other one to see whether it counts from the end.
_AT = np.uint64
#: What an array of characters holds beyond the longest key, so that loops over one take many at a time.
PADDING = 32


@inlined
def characters(data, start, end, points, at):  # type: ignore[no-untyped-def]
    """Writes code points of valid UTF-8 and where each begins, with the end behind the last; returns how many."""
    n = 0
    p = start
    while p < end:
        at[_AT(n)] = p
        c = _U(data[_AT(p)])
        if _U(0xE0) <= c < _U(0xF0):
            points[_AT(n)] = _three(data, p)
            p += 3
        else:
            points[_AT(n)], width = _point(data, p)
            p += width
        n += 1
    at[_AT(n)] = end
    return n


@inlined
def traced(data, start, end, zeros, words, points, at):  # type: ignore[no-untyped-def]
    """The same; returns also the key's traits: one hash of its decimal digit runs and the count of each of `words`.

    `points` has room for PADDING more than the key has characters.
    """
    n = 0
    h = _SPREAD
    in_run = False
    p = start
    while p < end:
        at[_AT(n)] = p
        c = _U(data[_AT(p)])
        if _U(0xE3) <= c <= _U(0xE9) and not in_run:  # Chinese and Japanese, where no digits are: the short way
            points[_AT(n)] = _three(data, p)
            n += 1
            p += 3
            continue
        point, width = _point(data, p)
        points[_AT(n)] = point
        n += 1
        p += width
        digit = _is_decimal(point, zeros)
        if digit or in_run:  # the character after a run closes it, so 1 2 is not 12
            h = (h ^ np.uint64(point if digit else _U(0))) * _MIX
            h ^= h >> np.uint64(32)
        in_run = digit
    at[_AT(n)] = end
    if in_run:
        h = h * _MIX
        h ^= h >> np.uint64(32)
    points[n : n + PADDING] = _U(0)
    for word in words:
        count = _U(0)
        for i in range((n + PADDING - 1) // PADDING * PADDING):  # many at a time, none is left to be looked at singly
            count = _U(count + _U(points[i] == word))
        h = (h ^ np.uint64(count)) * _MIX
        h ^= h >> np.uint64(29)
    return n, h


@inlined
def _three(data, p):  # type: ignore[no-untyped-def]
    high, low = _U(data[_AT(p)]) << _U(12) | (_U(data[_AT(p + 1)]) & _U(0x3F)) << _U(6), _U(data[_AT(p + 2)]) & _U(0x3F)
    return _U(high & _U(0xFFFF) | low)


@inlined
def _point(data, p):  # type: ignore[no-untyped-def]
    """The code point that begins at p, and how many bytes it has."""
    c = _U(data[_AT(p)])
    if c < _U(0x80):
        return c, 1
    if c < _U(0xE0):
        return _U((c & _U(0x1F)) << _U(6) | _U(data[_AT(p + 1)]) & _U(0x3F)), 2
    if c < _U(0xF0):
        return _three(data, p), 3
    high = (c & _U(0x07)) << _U(18) | (_U(data[_AT(p + 1)]) & _U(0x3F)) << _U(12)
    return _U(high | (_U(data[_AT(p + 2)]) & _U(0x3F)) << _U(6) | _U(data[_AT(p + 3)]) & _U(0x3F)), 4


@inlined
def _is_decimal(point, zeros):  # type: ignore[no-untyped-def]
    if point < _U(0x80):
        return point - _U(48) < _U(10)
    if point < _U(0x660) or _U(0x2E80) <= point < _U(0xA620):
        return False
    at = np.searchsorted(zeros, point, side="right") - 1
    return point - zeros[at] < _U(10)
