"""Who met whom in a band: buckets of equal band keys, their pairs in bounded blocks, and leaders in huge buckets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.minhash.keys import Floats, Hashes, Ints, kernel

#: A bucket of more owners than this is not compared all by all.
WHOLE = 512
#: In such a bucket at most this many leaders are compared with the rest.
LEADERS = 512
#: Pairs handed out at a time.
_PAIRS = 1 << 20


@dataclass(frozen=True)
class Buckets:
    """Entries that share a band key: bucket i is `members[bounds[i]:bounds[i + 1]]`, two entries or more."""

    bounds: Ints
    members: Ints

    def pairs(self, owners: Ints) -> Iterator[Hashes]:
        """All pairs of different owners in buckets of at most WHOLE entries, `lower << 32 | higher`, block by block."""
        sizes = np.diff(self.bounds)
        small = np.flatnonzero(sizes <= WHOLE)
        counts = np.cumsum(sizes[small] * (sizes[small] - 1) // 2)
        first = 0
        while first < len(small):
            done = counts[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(counts, done + _PAIRS, side="right")))
            out = np.empty(int(counts[last - 1] - done), np.uint64)
            yield out[: _pairs(self.bounds, self.members, owners, small[first:last], out)]
            first = last

    def huge(self, owners: Ints) -> Iterator[Ints]:
        """The distinct owners of each larger bucket."""
        for i in np.flatnonzero(np.diff(self.bounds) > WHOLE):
            yield np.unique(owners[self.members[self.bounds[i] : self.bounds[i + 1]]])


def buckets(band_keys: Hashes) -> Buckets:
    """Groups entries by band key; linear, by a first-seen table.

    >>> met = buckets(np.array([5, 8, 5, 9, 8, 5], np.uint64))
    >>> met.bounds.tolist(), met.members.tolist()
    ([0, 3, 5], [0, 2, 5, 1, 4])
    """
    table = np.full(1 << max(4, int(2 * len(band_keys)).bit_length()), -1, np.int32)
    first, size = np.empty(len(band_keys), np.int32), np.zeros(len(band_keys), np.int32)
    _first_seen(band_keys, table, first, size)
    heads = np.flatnonzero(size > 1)
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(size[heads], dtype=np.int64)])
    place = np.full(len(band_keys), -1, np.int64)
    place[heads] = bounds[:-1]
    members = np.empty(int(bounds[-1]), np.int64)
    _fill(first, place, members)
    return Buckets(bounds, members)


def by_leaders(owners: Ints, compare: Callable[[int, Ints], Floats], threshold: float, follow: int = 1) -> None:
    """Leader clustering of one huge bucket: `compare(leader, others)` records what it finds and gives similarities.

    The first owner leads and is compared with all others; then the next that stands leads. An owner drops out once it
    is within `threshold` of `follow` leaders. So, for a bucket that needs at most LEADERS leaders, every owner was
    compared with everyone, as a leader, or is within `threshold` of `follow` owners that come before it; and whoever
    walks the bucket in this order, keeping what has no edge to a kept one, keeps no two duplicates unless `follow`
    leaders of one owner are all gone. After LEADERS leaders the rest is let go: time stays linear in the size of the
    bucket, and its members still meet in the other bands, whose buckets cut them differently.
    """
    rest, near = owners, np.zeros(len(owners), np.int64)
    for _ in range(LEADERS):
        if len(rest) < 2:
            return
        leader, rest, near = int(rest[0]), rest[1:], near[1:]
        near = near + (compare(leader, rest) >= threshold)
        rest, near = rest[near < follow], near[near < follow]


@kernel
def _first_seen(keys, table, first, size):  # type: ignore[no-untyped-def]
    mask = np.uint64(table.shape[0] - 1)
    for i in range(keys.shape[0]):
        slot = (keys[i] ^ keys[i] >> np.uint64(32)) & mask
        while table[slot] >= 0 and keys[table[slot]] != keys[i]:
            slot = (slot + np.uint64(1)) & mask
        if table[slot] < 0:
            table[slot] = i
        first[i] = table[slot]
        size[table[slot]] += 1


@kernel
def _fill(first, place, members):  # type: ignore[no-untyped-def]
    for i in range(first.shape[0]):
        head = first[i]
        if place[head] >= 0:
            members[place[head]] = i
            place[head] += 1


@kernel
def _pairs(bounds, members, owners, chosen, out):  # type: ignore[no-untyped-def]
    n = 0
    for c in range(chosen.shape[0]):
        lo, hi = bounds[chosen[c]], bounds[chosen[c] + 1]
        for i in range(lo, hi):
            a = owners[members[i]]
            for j in range(i + 1, hi):
                b = owners[members[j]]
                if a != b:
                    out[n] = np.uint64(min(a, b)) << np.uint64(32) | np.uint64(max(a, b))
                    n += 1
    return n
