"""Who meets whom in a band: pairs in buckets of equal band keys, and the crowds of buckets too large for that.

Band keys are scattered into parts that fit the cache, and whoever is alone by a small bitmap, as nearly all are, is not
looked up. A pair is only told where the sketches of both sides could be those of a true one: nearly all chance meetings
end there, and those of band keys that are equal by chance (they have 32 bits), without a look at any text.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.dedupe.index import distinct
from pipeline.minhash.compiled import Hashes, Ints, inlined, kernel, threads

BandKeys = npt.NDArray[np.uint32]

#: Nobody is paired off in a bucket of more entries than WHOLE, in one with over DENSE possible pairs per entry, nor in one
#: of over LOOSE entries whose sketches agree less, on average, than those of true pairs do: a template brought them there.
WHOLE = 512
DENSE = 32
LOOSE = 8
#: Entries of a part, on average, and parts as a power of two at most: with more, each entry would go to a page of its own.
_PART, _MOST_BITS = 8_192, 8


@dataclass(frozen=True)
class Entries:
    """Entry i belongs to `owners[i]`; `one` and `two` are its sketches, of which `least` bits must agree each, `both` together.

    `mean`: how many agree on average in a bucket of true pairs.
    """

    owners: Hashes
    one: Hashes
    two: Hashes
    least: int
    both: int
    mean: float


@dataclass(frozen=True)
class Buckets:
    """Entries that share a bucket, one bucket after the other; bucket i ends at `ends[i]`."""

    entries: npt.NDArray[np.uint32]
    ends: Ints

    @classmethod
    def joined(cls, parts: Sequence[Buckets]) -> Buckets:
        """Those of all parts."""
        before = np.cumsum([0, *(len(part.entries) for part in parts)])
        ends = [part.ends + start for part, start in zip(parts, before, strict=False)]
        return cls(
            np.concatenate([np.zeros(0, np.uint32), *(part.entries for part in parts)]),
            np.concatenate([np.zeros(0, np.int64), *ends]),
        )


def huge(band_keys: BandKeys) -> Buckets:
    """The entries of every bucket of more than WHOLE of them.

    >>> huge(np.full(600, 7, np.uint32)).ends.tolist()
    [600]
    """
    bits = max(10, int(len(band_keys) // 16).bit_length())
    counters = np.zeros(1 << bits, np.uint32)
    at = _crowded(band_keys, counters, bits, WHOLE)
    order = at[np.argsort(band_keys[at], kind="stable")]
    ordered = band_keys[order]
    ends = np.flatnonzero(np.concatenate([ordered[1:] != ordered[:-1], [len(at) > 0]])) + 1
    sizes = np.diff(ends, prepend=0)
    large = np.repeat(sizes > WHOLE, sizes)
    return Buckets(order[large].astype(np.uint32), np.cumsum(sizes[sizes > WHOLE]))


def meetings(band_keys: BandKeys, entries: Entries, crowd: npt.NDArray[np.int32]) -> tuple[Hashes, Buckets]:
    """Pairs of owners in buckets of at most WHOLE entries (`lower << 32 | higher`, ascending, each once), and large ones.

    `crowd[owner]` tells owners apart that need no pair since they share a crowd (-1: in none; empty: nobody is).
    """
    bits = min(_MOST_BITS, int(len(band_keys) // _PART).bit_length())
    bounds = np.zeros((1 << bits) + 1, np.int64)
    keys, at = np.empty(len(band_keys), np.uint32), np.empty(len(band_keys), np.uint32)
    _scatter(band_keys, bits, bounds, keys, at)
    parts = len(bounds) - 1
    workers = min(threads(), parts)
    step = -(-parts // (8 * workers)) if workers > 1 else parts
    spans = [(low, min(parts, low + step)) for low in range(0, parts, step)]
    told = (entries.owners, entries.one, entries.two, entries.least, entries.both, entries.mean)

    def work(span: tuple[int, int]) -> tuple[Hashes, Ints, Ints]:
        found: tuple[Hashes, Ints, Ints] = _meet(keys, at, bounds, *span, told, crowd, WHOLE, DENSE)
        return found

    if workers > 1:
        with ThreadPoolExecutor(workers) as pool:
            results = list(pool.map(work, spans))
    else:
        results = [work(span) for span in spans]
    dense = Buckets.joined([Buckets(members.astype(np.uint32), cuts[1:]) for _, members, cuts in results])
    return distinct(np.concatenate([np.zeros(0, np.uint64), *(pairs for pairs, _, _ in results)])), dense


@kernel
def _crowded(keys, counters, bits, whole):  # type: ignore[no-untyped-def]
    """Places of the keys whose counter, which others may share, went over `whole`."""
    shift = np.uint32(32 - bits)
    most = np.uint32(0)
    for i in range(keys.shape[0]):
        at = keys[i] >> shift
        counters[at] += np.uint32(1)
        most = max(most, counters[at])
    n = 0
    if most > whole:
        for i in range(keys.shape[0]):
            n += counters[keys[i] >> shift] > whole
    out = np.empty(n, np.int64)
    if n > 0:
        n = 0
        for i in range(keys.shape[0]):
            if counters[keys[i] >> shift] > whole:
                out[n] = i
                n += 1
    return out


@kernel
def _scatter(keys, bits, bounds, out, at):  # type: ignore[no-untyped-def]
    parts = bounds.shape[0] - 1
    place = np.zeros(parts, np.int64)
    for i in range(keys.shape[0]):
        place[_part(keys[i], bits)] += 1
    for p in range(parts):
        bounds[p + 1] = bounds[p] + place[p]
        place[p] = bounds[p]
    for i in range(keys.shape[0]):
        p = _part(keys[i], bits)
        out[place[p]] = keys[i]
        at[place[p]] = i
        place[p] += 1


@inlined
def _part(key, bits):  # type: ignore[no-untyped-def]
    return np.int64(key >> np.uint32(32 - bits)) if bits > 0 else np.int64(0)


@inlined
def _agreeing(a, b):  # type: ignore[no-untyped-def]
    """How many of 64 bits are equal."""
    x = ~(a ^ b)
    x = x - (x >> np.uint64(1) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + (x >> np.uint64(2) & np.uint64(0x3333333333333333))
    x = x + (x >> np.uint64(4)) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64(x * np.uint64(0x0101010101010101) >> np.uint64(56))


@inlined
def _mean_agreeing(sketches, members, m, ones):  # type: ignore[no-untyped-def]
    """How many bits two of the members have in common on average, told by how many have each bit."""
    ones[:] = 0
    for i in range(m):
        sketch = sketches[members[i]]
        for bit in range(64):
            ones[bit] += np.int64(sketch >> np.uint64(bit) & np.uint64(1))
    same = np.int64(0)
    for bit in range(64):
        same += ones[bit] * (ones[bit] - 1) + (m - ones[bit]) * (m - ones[bit] - 1)
    return same / (m * (m - 1))


@inlined
def _not_alone(keys, begin, size, seen, again, shared):  # type: ignore[no-untyped-def]
    """Who of a part may have a key in common with another; a byte each, eight flags in it: few are told in vain."""
    bits = 4
    while 1 << bits < 2 * size:
        bits += 1
    mask = np.uint32((1 << bits) - 1)
    seen[: 1 << bits] = 0
    again[: 1 << bits] = 0
    for i in range(size):
        key = keys[begin + i]
        place, flag = key >> np.uint32(3) & mask, np.uint8(1) << np.uint8(key & np.uint32(7))
        again[place] |= seen[place] & flag
        seen[place] |= flag
    left = 0
    for i in range(size):
        key = keys[begin + i]
        shared[left] = i
        left += again[key >> np.uint32(3) & mask] >> np.uint8(key & np.uint32(7)) & 1
    return left


@kernel
def _meet(keys, at, bounds, low, high, entries, crowd, whole, dense):  # type: ignore[no-untyped-def]
    owners, one, two, least, both, mean = entries
    ones = np.empty(64, np.int64)
    longest = 0
    for p in range(low, high):
        longest = max(longest, bounds[p + 1] - bounds[p])
    bits = 4
    while 1 << bits < 2 * longest:
        bits += 1
    table = np.empty(1 << bits, np.int32)
    seen, again = np.empty(1 << bits, np.uint8), np.empty(1 << bits, np.uint8)
    shared = np.empty(longest + 1, np.int32)
    last, following, count = np.empty(longest, np.int32), np.empty(longest, np.int32), np.empty(longest, np.int32)
    members = np.empty(whole, np.int64)
    out = np.empty(4_096, np.uint64)
    n = 0
    crowded, cuts = np.empty(1_024, np.int64), np.zeros(64, np.int64)
    crowds = 0
    for p in range(low, high):
        begin, size = bounds[p], bounds[p + 1] - bounds[p]
        left = _not_alone(keys, begin, size, seen, again, shared)
        bits = 4
        while 1 << bits < 2 * left:
            bits += 1
        mask = np.uint32((1 << bits) - 1)
        table[: 1 << bits] = -1
        for j in range(left):
            i = shared[j]
            key = keys[begin + i]
            slot = (key ^ key >> np.uint32(13)) & mask
            while table[slot] >= 0 and keys[begin + table[slot]] != key:
                slot = (slot + np.uint32(1)) & mask
            count[i] = 0
            if table[slot] < 0:
                table[slot] = i
                last[i] = i
                count[i] = 1
            else:
                head = table[slot]
                following[last[head]] = i
                last[head] = i
                count[head] += 1
        for j in range(left):
            head = shared[j]
            m = count[head]
            if m < 2 or m > whole:
                continue
            member = head
            for j in range(m):
                members[j] = at[begin + member]
                member = following[member]
            if n + dense * m + whole > out.shape[0]:
                grown = np.empty(2 * out.shape[0] + dense * m + whole, np.uint64)
                grown[:n] = out[:n]
                out = grown
            before = n
            loose = (
                m > LOOSE and min(_mean_agreeing(one, members, m, ones), _mean_agreeing(two, members, m, ones)) < mean
            )
            for i in range(0 if not loose else m, m):
                a = members[i]
                owner = owners[a]
                for j in range(i + 1, m):
                    b = members[j]
                    other = owners[b]
                    if owner == other:
                        continue
                    if crowd.shape[0] > 0 and crowd[owner] >= 0 and crowd[owner] == crowd[other]:
                        continue
                    first = _agreeing(one[a], one[b])
                    if first < least:
                        continue
                    second = _agreeing(two[a], two[b])
                    if second < least or first + second < both:
                        continue
                    out[n] = np.uint64(min(owner, other)) << np.uint64(32) | np.uint64(max(owner, other))
                    n += 1
                if n - before > dense * m:
                    break
            if loose or n - before > dense * m:
                n = before
                if cuts[crowds] + m > crowded.shape[0]:
                    wider = np.empty(2 * crowded.shape[0] + whole, np.int64)
                    wider[: cuts[crowds]] = crowded[: cuts[crowds]]
                    crowded = wider
                if crowds + 2 > cuts.shape[0]:
                    more = np.empty(2 * cuts.shape[0], np.int64)
                    more[: crowds + 1] = cuts[: crowds + 1]
                    cuts = more
                for j in range(m):
                    crowded[cuts[crowds] + j] = members[j]
                cuts[crowds + 1] = cuts[crowds] + m
                crowds += 1
    return out[:n], crowded[: cuts[crowds]], cuts[: crowds + 1]
