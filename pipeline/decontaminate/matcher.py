"""Which keys of a corpus equal a protected key or are near one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.decontaminate.bands import Bands, signed
from pipeline.manifest.settings import DecontaminateConfig
from pipeline.minhash import Keys, jaccard

Ints = npt.NDArray[np.int64]

#: What `matches` gives: `exact` where the keys are equal; `chars` counts the shorter of the two.
MATCHES = {"key": pl.UInt32, "bench": pl.UInt32, "similarity": pl.Float32, "exact": pl.Boolean, "chars": pl.UInt32}

#: Candidates held at a time; with the block of signatures they bound the memory.
_CANDIDATES = 4_000_000


def matches(
    keys: Keys, near: npt.NDArray[np.bool_], protected: Keys, bands: Bands, config: DecontaminateConfig
) -> pl.DataFrame:
    """The matches of `keys` (one position per distinct key) among `protected` keys, in MATCHES' columns.

    `protected` is sorted by hash and all of it is asked for equality; near matches are found through `bands`. Near means
    true Jaccard of at least the threshold (k of the shorter key, equality under 6 characters) and the same digits and
    negations. Keys whose `near` is false are compared for equality only.
    """
    if not len(protected) or not len(keys):
        return pl.DataFrame(schema=MATCHES)
    at = np.minimum(np.searchsorted(protected.hashes, keys.hashes), len(protected) - 1)
    equal = np.flatnonzero(protected.hashes[at] == keys.hashes)
    found = [_told(equal, at[equal], np.ones(len(equal)), True, keys, protected)]
    if len(bands):
        for candidates in _candidates(keys, np.flatnonzero(near), bands, config):
            found.append(_verified(keys, protected, *candidates, config.threshold))
    return pl.concat(found).unique().sort("key", "bench")


def _candidates(keys: Keys, at: Ints, bands: Bands, config: DecontaminateConfig) -> Iterator[tuple[Ints, Ints]]:
    """Pairs (key, protected key) that share a band, without repeats as far as they are held together."""
    for block, found in signed(keys, at, config):
        held: list[npt.NDArray[np.uint64]] = []
        for band, parts in enumerate(found):
            for slot, owner in bands.shared(band, parts, _CANDIDATES):
                held.append(block.at[slot].astype(np.uint64) << np.uint64(32) | owner.astype(np.uint64))
                if sum(map(len, held)) > _CANDIDATES:
                    held = [np.unique(np.concatenate(held))]
                if sum(map(len, held)) > _CANDIDATES:
                    yield _unpacked(held.pop())
        if held:
            yield _unpacked(np.unique(np.concatenate(held)))


def _verified(keys: Keys, protected: Keys, at: Ints, other: Ints, threshold: float) -> pl.DataFrame:
    similarity = jaccard(keys, at, protected, other, threshold)
    # Bands hold differing traits apart already, as far as a hash can.
    kept = (similarity >= threshold) & (keys.traits[at] == protected.traits[other])
    kept &= keys.hashes[at] != protected.hashes[other]
    return _told(at[kept], other[kept], similarity[kept], False, keys, protected)


def _told(
    at: Ints, other: Ints, similarity: npt.NDArray[np.float64], exact: bool, keys: Keys, protected: Keys
) -> pl.DataFrame:
    columns = {
        "key": at,
        "bench": other,
        "similarity": similarity,
        "exact": np.full(len(at), exact),
        "chars": np.minimum(keys.chars[at], protected.chars[other]),
    }
    return pl.DataFrame(columns).select(pl.col(name).cast(kind) for name, kind in MATCHES.items())


def _unpacked(packed: npt.NDArray[np.uint64]) -> tuple[Ints, Ints]:
    return (packed >> np.uint64(32)).astype(np.int64), (packed & np.uint64(0xFFFFFFFF)).astype(np.int64)
