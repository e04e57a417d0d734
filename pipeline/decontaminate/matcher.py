"""Which keys of a corpus equal a benchmark key or are near one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.decontaminate.protected import Protected
from pipeline.manifest.settings import DecontaminateConfig
from pipeline.minhash import SHORT, Keys, Slots, band_parts, jaccard, permutations, rows_per_band, slots

Ints = npt.NDArray[np.int64]

#: What `Matcher.matches` gives: `exact` where the keys are equal; `chars` counts the shorter of the two.
MATCHES = {"key": pl.UInt32, "bench": pl.UInt32, "similarity": pl.Float32, "exact": pl.Boolean, "chars": pl.UInt32}

#: Signatures made at a time, and candidates held at a time: together they bound the memory.
_BLOCK = 65_536
_CANDIDATES = 4_000_000


class Matcher:
    """Benchmark keys, banded once and then searched by every shard.

    Near means true Jaccard of at least `threshold` (k of the shorter key, equality under 6 characters) and the same
    digits and negations. Candidates come from MinHash bands chosen to miss fewer than one pair in a thousand at the
    threshold.
    """

    def __init__(self, protected: Protected, benches: pl.Series, config: DecontaminateConfig) -> None:
        self.threshold = config.threshold
        self.benches = benches.cast(pl.UInt32)
        order = benches.cast(pl.Int64).to_numpy()
        self.hashes = protected.hashes.join(pl.DataFrame({"bench": self.benches}), on="bench", how="semi")
        self.keys = Keys.of(protected.keys, protected.hashes["hash"].to_numpy(), order)
        self.rows = rows_per_band(config.num_perm, config.threshold)
        used = config.num_perm // self.rows * self.rows
        multipliers, addends = permutations(config.num_perm, config.seed)
        self.permutations = multipliers[:used], addends[:used]
        chosen = slots(self.keys, np.flatnonzero(self.keys.chars >= SHORT), config.threshold)
        self.bands = [_Band(parts, chosen.at) for parts in self._parts(self.keys, chosen)] if len(chosen) else []

    def matches(self, distinct: pl.DataFrame, near: pl.Series) -> pl.DataFrame:
        """The matches of distinct keys (columns `key` the number, `hash`, `text`), in MATCHES' columns.

        Keys whose `near` is false are compared for equality only.
        """
        if not len(self.keys) or distinct.is_empty():
            return pl.DataFrame(schema=MATCHES)
        keys = Keys.of(distinct["text"], distinct["hash"].to_numpy())
        exact = distinct.select("key", "hash").join(self.hashes, on="hash").drop("hash")
        exact = exact.with_columns(
            similarity=pl.lit(1.0, pl.Float32), exact=pl.lit(True), chars=pl.Series(keys.chars[exact["key"].to_numpy()])
        )
        found = [exact.select(pl.col(name).cast(kind) for name, kind in MATCHES.items())]
        chosen = slots(keys, np.flatnonzero(near.to_numpy() & (keys.chars >= SHORT)), self.threshold)
        for start in range(0, len(chosen) if self.bands else 0, _BLOCK):
            block = Slots(chosen.at[start : start + _BLOCK], chosen.k[start : start + _BLOCK])
            found += [self._verified(keys, *candidates) for candidates in self._candidates(keys, block)]
        return pl.concat(found).unique().sort("key", "bench")

    def _parts(self, keys: Keys, chosen: Slots) -> npt.NDArray[np.uint64]:
        return band_parts(keys, chosen, *self.permutations, self.rows)

    def _candidates(self, keys: Keys, block: Slots) -> Iterator[tuple[Ints, Ints]]:
        """Pairs (key, position in `self.keys`) that share a band, without repeats as far as they are held together."""
        held: list[npt.NDArray[np.uint64]] = []
        for band, parts in zip(self.bands, self._parts(keys, block), strict=True):
            for slot, bench in band.shared(parts, _CANDIDATES):
                held.append(block.at[slot].astype(np.uint64) << np.uint64(32) | bench.astype(np.uint64))
                if sum(map(len, held)) > _CANDIDATES:
                    held = [np.unique(np.concatenate(held))]
                if sum(map(len, held)) > _CANDIDATES:
                    yield _unpacked(held.pop())
        if held:
            yield _unpacked(np.unique(np.concatenate(held)))

    def _verified(self, keys: Keys, at: Ints, other: Ints) -> pl.DataFrame:
        similarity = jaccard(keys, at, self.keys, other, self.threshold)
        # Bands hold differing traits apart already, as far as a hash can.
        kept = (similarity >= self.threshold) & (keys.traits[at] == self.keys.traits[other])
        kept &= keys.hashes[at] != self.keys.hashes[other]
        at, other = at[kept], other[kept]
        columns = {
            "key": at,
            "bench": self.benches.to_numpy()[other],
            "similarity": similarity[kept],
            "exact": np.zeros(len(at), np.bool_),
            "chars": np.minimum(keys.chars[at], self.keys.chars[other]),
        }
        return pl.DataFrame(columns).select(pl.col(name).cast(kind) for name, kind in MATCHES.items())


class _Band:
    """One band of the benchmark: parts in order, whose they are, and a small filter asked before the search."""

    def __init__(self, parts: npt.NDArray[np.uint64], owners: Ints) -> None:
        order = np.argsort(parts, kind="stable")
        self.parts, self.owners = parts[order], owners[order]
        # At most an eighth of the filter is set, up to 4 MiB: nearly every part of a clean corpus stops there.
        self.shift = np.uint64(64 - min(22, max(10, int(len(parts) * 8).bit_length())))
        self.filter = np.zeros(1 << (64 - int(self.shift)), np.bool_)
        self.filter[self.parts >> self.shift] = True

    def shared(self, parts: npt.NDArray[np.uint64], most: int) -> Iterator[tuple[Ints, Ints]]:
        """(place in `parts`, owner) wherever a part is one of the band's, about `most` at a time."""
        places = np.flatnonzero(self.filter[parts >> self.shift])
        low = np.searchsorted(self.parts, parts[places], "left")
        counts = np.searchsorted(self.parts, parts[places], "right") - low
        places, low, counts = places[counts > 0], low[counts > 0], counts[counts > 0]
        ends = np.cumsum(counts)
        start = 0
        while start < len(places):
            done = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, done + most, "right")))
            n = counts[start:stop]
            first = np.repeat(low[start:stop] - (np.cumsum(n) - n), n)
            yield np.repeat(places[start:stop], n), self.owners[first + np.arange(len(first))]
            start = stop


def _unpacked(packed: npt.NDArray[np.uint64]) -> tuple[Ints, Ints]:
    return (packed >> np.uint64(32)).astype(np.int64), (packed & np.uint64(0xFFFFFFFF)).astype(np.int64)
