"""Kernels that read a match key once: its characters, and what may not differ between near-duplicates."""

from __future__ import annotations

import numpy as np

from pipeline.minhash.compiled import inlined

_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_U = np.uint32
_LOW_BITS = _U(63)


@inlined
def characters(data, start, end, points, at):  # type: ignore[no-untyped-def]
    """Writes code points of valid UTF-8 and where each begins, with the end behind the last; returns how many."""
    n = 0
    p = start
    while p < end:
        at[n] = p
        c = _U(data[p])
        if _U(0xE0) <= c < _U(0xF0):
            points[n] = (c & _U(0x0F)) << _U(12) | (_U(data[p + 1]) & _U(0x3F)) << _U(6) | _U(data[p + 2]) & _U(0x3F)
            p += 3
        else:
            points[n], width = _point(data, p)
            p += width
        n += 1
    at[n] = end
    return n


@inlined
def traced(data, start, end, zeros, words, listed, counts, points, at):  # type: ignore[no-untyped-def]
    """The same; returns also the key's traits: one hash of its decimal digit runs and the count of each of `words`."""
    for word in words:
        counts[word & _LOW_BITS] = 0
    n = 0
    h = _SPREAD
    in_run = False
    p = start
    while p < end:
        at[n] = p
        c = _U(data[p])
        if _U(0xE3) <= c <= _U(0xE9) and not in_run:  # Chinese and Japanese, where no digits are: the short way
            point = (c & _U(0x0F)) << _U(12) | (_U(data[p + 1]) & _U(0x3F)) << _U(6) | _U(data[p + 2]) & _U(0x3F)
            points[n] = point
            n += 1
            p += 3
            if listed[point & _LOW_BITS] == point:
                counts[point & _LOW_BITS] += 1
            continue
        point, width = _point(data, p)
        points[n] = point
        n += 1
        p += width
        digit = _is_decimal(point, zeros)
        if digit or in_run:  # the character after a run closes it, so 1 2 is not 12
            h = (h ^ np.uint64(point if digit else _U(0))) * _MIX
            h ^= h >> np.uint64(32)
        in_run = digit
        if listed[point & _LOW_BITS] == point:
            counts[point & _LOW_BITS] += 1
    at[n] = end
    if in_run:
        h = h * _MIX
        h ^= h >> np.uint64(32)
    for word in words:
        h = (h ^ np.uint64(counts[word & _LOW_BITS])) * _MIX
        h ^= h >> np.uint64(29)
    return n, h


@inlined
def by_low_bits(words):  # type: ignore[no-untyped-def]
    """The words by their low six bits, in which all differ: one look per character, not one for each word."""
    listed = np.zeros(64, np.uint32)
    for word in words:
        listed[word & _LOW_BITS] = word
    return listed


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
def _is_decimal(point, zeros):  # type: ignore[no-untyped-def]
    if point < _U(0x80):
        return point - _U(48) < _U(10)
    if point < _U(0x660) or _U(0x2E80) <= point < _U(0xA620):
        return False
    at = np.searchsorted(zeros, point, side="right") - 1
    return point - zeros[at] < _U(10)
