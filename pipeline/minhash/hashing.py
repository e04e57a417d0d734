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
def shingle_hashes(data, start, end, k, at, unit, hashes):  # type: ignore[no-untyped-def]
    """Hash of every shingle of one key; `at` takes where characters begin, `unit` their three bytes as one number."""
    n = 0
    for p in range(start, end):
        at[n] = p
        n += (data[p] & np.uint8(0xC0)) != np.uint8(0x80)
    at[n] = end
    if n == 0:
        return 0
    if n < k:
        hashes[0] = _hash_bytes(data, start, end)
        return 1
    if k > 3:
        for i in range(n - k + 1):
            hashes[i] = _hash_bytes(data, at[i], at[i + k])
        return n - k + 1
    last = data.shape[0] - 3
    if last >= 0:  # what is read beyond a narrow character is mended below
        for i in range(n):
            p = min(at[i], last)
            unit[i] = _U(data[p]) | _U(data[p + 1]) << _U(8) | _U(data[p + 2]) << _U(16)
    m = n - k + 1
    if k == 3:
        for i in range(m):
            h = _word(_U(_P5 + _U(9)), _U(unit[i] | unit[i + 1] << _U(24)))
            h = _word(h, _U(unit[i + 1] >> _U(8) | unit[i + 2] << _U(16)))
            hashes[i] = _finish(_byte(h, _U(unit[i + 2] >> _U(16))))
    else:
        for i in range(m):
            h = _word(_U(_P5 + _U(6)), _U(unit[i] | unit[i + 1] << _U(24)))
            h = _byte(h, _U(unit[i + 1] >> _U(8) & _U(0xFF)))
            hashes[i] = _finish(_byte(h, _U(unit[i + 1] >> _U(16))))
    for i in range(m):
        plain = at[i + 1] - at[i] == 3 and at[i + 2] - at[i + 1] == 3 and at[i + k] - at[i + k - 1] == 3
        if not plain:
            hashes[i] = _hash_bytes(data, at[i], at[i + k])
    return m
