"""Kernels that hash shingles as datasketch does with `hashfunc=xxhash.xxh32_intdigest`: xxh32, then its pre-mix."""

from __future__ import annotations

import numpy as np

from pipeline.minhash.compiled import inlined

_U = np.uint32
_P1, _P2, _P3, _P4, _P5 = (_U(p) for p in (2654435761, 2246822519, 3266489917, 668265263, 374761393))


@inlined
def _rotate(x, by):  # type: ignore[no-untyped-def]
    return _U(_U(x << _U(by)) | _U(x >> _U(32 - by)))


@inlined
def _word(h, word):  # type: ignore[no-untyped-def]
    return _U(_rotate(_U(h + _U(word * _P3)), 17) * _P4)


@inlined
def _byte(h, byte):  # type: ignore[no-untyped-def]
    return _U(_rotate(_U(h + _U(byte * _P5)), 11) * _P1)


@inlined
def _finish(h):  # type: ignore[no-untyped-def]
    """End of xxh32, then datasketch's pre-mix (the finalizer of murmur3)."""
    h = _U((h ^ (h >> _U(15))) * _P2)
    h = _U((h ^ (h >> _U(13))) * _P3)
    h = _U(h ^ (h >> _U(16)))
    h = _U((h ^ (h >> _U(16))) * _U(0x85EBCA6B))
    h = _U((h ^ (h >> _U(13))) * _U(0xC2B2AE35))
    return _U(h ^ (h >> _U(16)))


@inlined
def _read_word(data, at):  # type: ignore[no-untyped-def]
    return _U(_U(data[at]) | _U(data[at + 1]) << _U(8) | _U(data[at + 2]) << _U(16) | _U(data[at + 3]) << _U(24))


@inlined
def _lane(value, word):  # type: ignore[no-untyped-def]
    return _U(_rotate(_U(value + _U(word * _P2)), 13) * _P1)


@inlined
def _hash_bytes(data, at, end):  # type: ignore[no-untyped-def]
    """xxh32, seed 0; three characters never reach the 16 bytes from which it works in four lanes."""
    h = _U(_P5 + _U(end - at))
    if end - at >= 16:
        size = _U(end - at)
        one, two, three, four = _U(_P1 + _P2), _P2, _U(0), _U(_U(0) - _P1)
        while at + 16 <= end:
            one = _lane(one, _read_word(data, at))
            two = _lane(two, _read_word(data, at + 4))
            three = _lane(three, _read_word(data, at + 8))
            four = _lane(four, _read_word(data, at + 12))
            at += 16
        h = _U(_U(_rotate(one, 1) + _rotate(two, 7)) + _U(_rotate(three, 12) + _rotate(four, 18)))
        h = _U(h + size)
    while at + 4 <= end:
        h = _word(h, _read_word(data, at))
        at += 4
    while at < end:
        h = _byte(h, _U(data[at]))
        at += 1
    return _finish(h)


@inlined
def shingle_hashes(data, points, at, n, k, units, hashes):  # type: ignore[no-untyped-def]
    """Hash of every shingle of a key of n characters, told by `points` and `at`; how many. `units` is room for work."""
    if n == 0:
        return 0
    if n < k:
        hashes[0] = _hash_bytes(data, at[0], at[n])
        return 1
    m = n - k + 1
    if k > 3:
        for i in range(m):
            hashes[i] = _hash_bytes(data, at[i], at[i + k])
        return m
    for i in range(n):  # the three bytes that nearly every character has; the others are mended below
        p = points[i]
        units[i] = _U(0x8080E0) | p >> _U(12) | (p >> _U(6) & _U(0x3F)) << _U(8) | (p & _U(0x3F)) << _U(16)
    if k == 3:
        for i in range(m):
            h = _word(_U(_P5 + _U(9)), _U(units[i] | units[i + 1] << _U(24)))
            h = _word(h, _U(units[i + 1] >> _U(8) | units[i + 2] << _U(16)))
            hashes[i] = _finish(_byte(h, _U(units[i + 2] >> _U(16))))
    else:
        for i in range(m):
            h = _word(_U(_P5 + _U(6)), _U(units[i] | units[i + 1] << _U(24)))
            h = _byte(h, _U(units[i + 1] >> _U(8) & _U(0xFF)))
            hashes[i] = _finish(_byte(h, _U(units[i + 1] >> _U(16))))
    if _is_uneven(points, n):
        mended = 0  # shingles before this one are right
        for i in range(n):
            if points[i] < _U(0x800) or points[i] > _U(0xFFFF):
                mended = max(mended, i - k + 1)
                while mended <= min(i, m - 1):
                    hashes[mended] = _hash_bytes(data, at[mended], at[mended + k])
                    mended += 1
    return m


@inlined
def _is_uneven(points, n):  # type: ignore[no-untyped-def]
    """Has any character not three bytes?"""
    found = False
    for i in range(n):
        found |= (points[i] < _U(0x800)) | (points[i] > _U(0xFFFF))
    return found
