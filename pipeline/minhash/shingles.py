"""Kernels over the shingles of match keys: how many are distinct, what may not differ, how many are shared."""

from __future__ import annotations

import numpy as np

from pipeline.minhash.characters import PADDING, characters, traced
from pipeline.minhash.compiled import inlined, kernel

#: Keys of fewer characters are compared by equality only.
SHORT = 6
#: Where the shorter key has fewer characters shingles have 2 of them, else 3.
LONG = 20
#: Doubles are counted no further: a key of more has no partner under LONG characters at the least floor there is, 0.3.
MANY = 64

_SPREAD = np.uint64(0x9E3779B97F4A7C15)


@inlined
def pack(points, at, k):  # type: ignore[no-untyped-def]
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
        value = pack(points, i, k)
        slot = (value * _SPREAD) >> np.uint64(64 - bits)
        while filled[slot] == turn and packed[slot] != value:
            slot = (slot + np.uint64(1)) & mask
        if filled[slot] != turn:
            filled[slot] = turn
            packed[slot] = value
            distinct += 1
    return distinct


@inlined
def table_bits(n):  # type: ignore[no-untyped-def]
    """Table size for n shingles as a power of two, at most half full."""
    bits = 4
    while (1 << bits) < 2 * n:
        bits += 1
    return bits


@inlined
def doubles(points, n, most, packed, filled, bits, turn):  # type: ignore[no-untyped-def]
    """Distinct shingles of 2 characters, counted no further than one beyond `most`."""
    mask = np.uint64((1 << bits) - 1)
    distinct = 0
    for i in range(n - 1):
        if distinct > most:
            break
        value = np.uint64(points[i]) << np.uint64(21) | np.uint64(points[i + 1])
        slot = (value * _SPREAD) >> np.uint64(64 - bits)
        while filled[slot] == turn and packed[slot] != value:
            slot = (slot + np.uint64(1)) & mask
        if filled[slot] != turn:
            filled[slot] = turn
            packed[slot] = value
            distinct += 1
    return distinct


@kernel
def measure(data, start, end, lo, hi, zeros, words, chars, doubled, tripled, traits):  # type: ignore[no-untyped-def]
    longest = 0
    for i in range(lo, hi):
        longest = max(longest, end[i] - start[i])
    points, at = np.empty(longest + PADDING, np.uint32), np.empty(longest + 1, np.int64)
    size = 1 << table_bits(longest)
    packed = np.empty(size, np.uint64)
    filled = np.zeros(size, np.int64)
    for i in range(lo, hi):
        n, traits[i] = traced(data, start[i], end[i], zeros, words, points, at)
        chars[i], doubled[i], tripled[i] = n, 0, 0
        if n >= SHORT:
            doubled[i] = doubles(points, n, MANY, packed, filled, table_bits(n), 2 * i + 1)
        if n >= LONG:
            tripled[i] = _insert(points, n, 3, packed, filled, table_bits(n), 2 * i + 2)


@inlined
def _lay(points, n, k, packed, filled, bits, turn, first, laid):  # type: ignore[no-untyped-def]
    """As `_insert`; also where each distinct shingle comes first, and how many are `laid` before each place."""
    mask = np.uint64((1 << bits) - 1)
    laid[0] = 0
    for i in range(n - k + 1):
        value = pack(points, i, k)
        slot = (value * _SPREAD) >> np.uint64(64 - bits)
        while filled[slot] == turn and packed[slot] != value:
            slot = (slot + np.uint64(1)) & mask
        laid[i + 1] = laid[i]
        if filled[slot] != turn:
            filled[slot] = turn
            packed[slot] = value
            first[slot] = i
            laid[i + 1] += 1


@inlined
def _count(data, start, end, points, places):  # type: ignore[no-untyped-def]
    """All distinct shingles of 2 characters."""
    n = characters(data, start, end, points, places)
    values = np.empty(n - 1, np.uint64)
    for i in range(n - 1):
        values[i] = pack(points, i, 2)
    return len(np.unique(values))


@inlined
def _same_bytes(a, p, b, q, most):  # type: ignore[no-untyped-def]
    """How many bytes from a[p] and b[q] on are equal, of `most`; looked at by blocks, which compilers do at once."""
    same = 0
    while same + 32 <= most:
        apart = np.uint8(0)
        for i in range(same, same + 32):
            apart |= a[p + i] ^ b[q + i]
        if apart:
            break
        same += 32
    while same < most and a[p + same] == b[q + same]:
        same += 1
    return same


@kernel
def shared(left, left_at, right, right_at, lo, hi, minimum, out):  # type: ignore[no-untyped-def]
    """What both keys begin with is shared without a look at its shingles: of texts from one template, that is nearly all."""
    a_data, a_start, a_end, a_hashes, a_chars, a_doubles, a_triples = left
    b_data, b_start, b_end, b_hashes, b_chars, b_doubles, b_triples = right
    longest_a, longest_b = 0, 0
    for i in range(lo, hi):
        longest_a = max(longest_a, a_chars[left_at[i]])
        longest_b = max(longest_b, b_chars[right_at[i]])
    a_points, b_points = np.empty(longest_a + 1, np.uint32), np.empty(longest_b + 1, np.uint32)
    a_places, b_places = np.empty(longest_a + 1, np.int64), np.empty(longest_b + 1, np.int64)
    size = 1 << table_bits(longest_a)
    packed = np.empty(size, np.uint64)
    filled, counted = np.zeros(size, np.int64), np.zeros(size, np.int64)
    first, laid = np.empty(size, np.int32), np.empty(longest_a + 1, np.int32)
    held, held_k, bits, turn, n = np.int64(-1), 0, 4, 0, 0
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
        if max(n_a, n_b) > MANY and k == 2:  # told no further: counted now, for callers who ask for everyone
            n_a = _count(a_data, a_start[a], a_end[a], a_points, a_places)
            n_b = _count(b_data, b_start[b], b_end[b], b_points, b_places)
            held = np.int64(-1)
        if a != held or k != held_k:
            n = characters(a_data, a_start[a], a_end[a], a_points, a_places)
            held, held_k, bits, turn = a, k, table_bits(n), turn + 1
            _lay(a_points, n, k, packed, filled, bits, turn, first, laid)
        p, q = a_start[a], b_start[b]
        same = _same_bytes(a_data, p, b_data, q, min(a_end[a] - p, b_end[b] - q))
        begun = max(0, np.searchsorted(a_places[: n + 1], p + same, side="right") - k)  # shingles within them
        mask = np.uint64((1 << bits) - 1)
        m = characters(b_data, q + a_places[begun] - p, b_end[b], b_points, b_places)
        shared, missed = np.int64(laid[begun]), 0
        # Equal shingles count once, so the right key may miss as many as it repeats and still reach the minimum.
        allowed = b_chars[b] - k + 1 - minimum * (n_a + n_b) / (1 + minimum) + 1e-6 if minimum > 0 else b_chars[b]
        for j in range(m - k + 1):
            value = pack(b_points, j, k)
            slot = (value * _SPREAD) >> np.uint64(64 - bits)
            while filled[slot] == turn and packed[slot] != value:
                slot = (slot + np.uint64(1)) & mask
            if filled[slot] == turn:
                if first[slot] >= begun and counted[slot] != i + 1:
                    counted[slot] = i + 1
                    shared += 1
            else:
                missed += 1
                if missed > allowed:
                    break
        out[i] = shared / (n_a + n_b - shared) if missed <= allowed else 0.0
