"""Groups of texts that may not meet as in-batch negatives: near-duplicate components of single sides."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.dedupe.buckets import buckets, by_leaders
from pipeline.dedupe.edges import BANDS_AT_ONCE
from pipeline.dedupe.index import Index
from pipeline.manifest.settings import DedupeConfig
from pipeline.minhash import SHORT, Keys, band_parts, jaccard, permutations, rows_per_band, slots
from pipeline.minhash.keys import Floats, Hashes, Ints, kernel

_LOW = np.uint64(0xFFFFFFFF)


def side_groups(keys: Keys, strings: pa.LargeStringArray, order: Ints, near: Ints, config: DedupeConfig) -> Hashes:
    """The group of every key: xxh3-64 of the smallest match key of its component, so stable from build to build.

    Keys at `near` (positions in `keys`) of at least 6 characters are joined where their Jaccard reaches `threshold` and
    no veto parts them; every other key is its own group. Which side a key stood on plays no part. `strings[order[i]]`
    is the key at position i.
    """
    at = near[keys.chars[near] >= SHORT]
    root = np.arange(len(keys))
    chosen = slots(keys, at, config.threshold)
    rows = rows_per_band(config.num_perm, config.threshold)
    multipliers, addends = permutations(config.num_perm, config.seed)
    seen = Index()

    def join(a: Ints, b: Ints) -> Floats:
        similarity = jaccard(keys, a, keys, b, config.threshold)
        similarity[keys.traits[a] != keys.traits[b]] = 0
        hit = similarity >= config.threshold
        _union(root, a[hit], b[hit])
        return similarity

    for start in range(0, config.num_perm // rows * rows, BANDS_AT_ONCE * rows):
        some = slice(start, start + BANDS_AT_ONCE * rows)
        for part in band_parts(keys, chosen, multipliers[some], addends[some], rows):
            met = buckets(part)
            for pairs in met.pairs(chosen.at):
                a, b = (pairs >> np.uint64(32)).astype(np.int64), (pairs & _LOW).astype(np.int64)
                apart = np.flatnonzero(root[a] != root[b])
                apart = apart[seen.add(pairs[apart])[1]]
                join(a[apart], b[apart])
            for owners in met.huge(chosen.at):
                by_leaders(owners, lambda leader, rest: join(np.full(len(rest), leader), rest), config.threshold)
            _flatten(root)

    group = keys.hashes.copy()
    sizes = np.bincount(root, minlength=len(root))
    joined = np.flatnonzero(sizes[root] > 1)
    members = pl.DataFrame(
        {"root": root[joined], "at": joined, "key": pl.Series(strings.take(pa.array(order[joined])), dtype=pl.String)}
    )
    least = members.sort("root", "key").unique("root", keep="first", maintain_order=True)
    group[joined] = keys.hashes[least["at"].to_numpy()][np.searchsorted(least["root"].to_numpy(), root[joined])]
    return group


@kernel
def _union(root, a, b):  # type: ignore[no-untyped-def]
    for i in range(a.shape[0]):
        x, y = a[i], b[i]
        while root[x] != x:
            root[x] = root[root[x]]
            x = root[x]
        while root[y] != y:
            root[y] = root[root[y]]
            y = root[y]
        if x < y:
            root[y] = x
        else:
            root[x] = y


@kernel
def _flatten(root):  # type: ignore[no-untyped-def]
    """One pass is enough: a root is never greater than its members."""
    for i in range(root.shape[0]):
        root[i] = root[root[i]]
