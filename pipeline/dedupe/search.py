"""The search through all bands: candidates, and the crowds that are compared with leaders only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline.dedupe.bands import Taken, Which, plan_of
from pipeline.dedupe.classes import Numbers
from pipeline.dedupe.index import distinct
from pipeline.dedupe.meet import Entries, huge, meetings
from pipeline.dedupe.pieces import Piece
from pipeline.manifest.settings import DedupeConfig
from pipeline.minhash import Bands, least_agreeing
from pipeline.minhash.compiled import Hashes
from pipeline.spread import Spread

#: Meetings held before those told twice are put together.
_HELD = 1 << 24


@dataclass(frozen=True)
class Candidates:
    """Pairs to verify (`lower << 32 | higher`, ascending), and the crowd of every owner, -1 for none (empty: no crowds)."""

    pairs: Hashes
    crowd: npt.NDArray[np.int32]

    @property
    def crowds(self) -> list[npt.NDArray[np.int64]]:
        """The members of each crowd, ascending."""
        inside = np.flatnonzero(self.crowd >= 0)
        order = inside[np.argsort(self.crowd[inside], kind="stable")]
        cuts = np.flatnonzero(np.diff(self.crowd[order])) + 1
        return np.split(order, cuts) if len(order) else []


def search(
    pieces: Sequence[Piece], which: Which, owners: int, config: DedupeConfig, folder: Path, spread: Spread
) -> Candidates:
    """Every pair of `owners` numbers that meets in a band, once, without those that share a crowd.

    A crowd is whoever hangs together by huge or dense buckets, of any band. Huge ones are looked for first, so that their
    members are not paired off in other bands.
    """
    near = [piece for piece in pieces if piece.near]
    bands = _bands(config, which).count
    step = -(-bands // spread.parts)
    groups = [range(low, min(bands, low + step)) for low in range(0, bands, step)] if near else []
    told = spread.map(find_huge, [(near, which, group) for group in groups])
    buckets = [bucket for found in told for bucket in found]
    known = folder / f"{which}-crowd.npy"
    np.save(known, _crowds(buckets, owners))
    outs = [folder / f"{which}-{group.start:03d}.npy" for group in groups]
    told = spread.map(
        find_pairs, [(near, which, config, group, known, out) for group, out in zip(groups, outs, strict=True)]
    )
    buckets += [bucket for found in told for bucket in found]
    pairs = distinct(np.concatenate([np.zeros(0, np.uint64), *map(np.load, outs)]))
    crowd = _crowds(buckets, owners)
    if len(crowd):
        a, b = crowd[pairs >> np.uint64(32)], crowd[pairs & np.uint64(0xFFFFFFFF)]
        pairs = pairs[(a < 0) | (a != b)]
    return Candidates(pairs, crowd)


def find_huge(pieces: list[Piece], which: Which, bands: Iterable[int]) -> list[Numbers]:
    """The owners of every huge bucket of some bands."""
    taken = Taken.of(pieces, which)
    owners = taken.owners()
    return [bucket for band in bands for bucket in huge(taken.band(band), owners)]


def find_pairs(
    pieces: list[Piece], which: Which, config: DedupeConfig, bands: Iterable[int], crowd: Path, out: Path
) -> list[Numbers]:
    """Writes the pairs that meet in some bands to `out`; gives the owners of every dense bucket."""
    taken, known = Taken.of(pieces, which), np.load(crowd)
    entries = _entries(taken, config)
    held: list[Hashes] = [np.zeros(0, np.uint64)]
    dense: list[Numbers] = []
    for band in bands:
        pairs, buckets = meetings(taken.band(band), entries, known)
        held.append(pairs)
        dense += [bucket.astype(np.uint32) for bucket in buckets]
        if sum(map(len, held)) > _HELD + 2 * len(held[0]):
            held = [distinct(np.concatenate(held))]
    np.save(out, distinct(np.concatenate(held)))
    return dense


def _bands(config: DedupeConfig, which: Which) -> Bands:
    plan = plan_of(config)
    return plan.pair if which == "pair" else plan.side


def _entries(taken: Taken, config: DedupeConfig) -> Entries:
    """Owner and sketches of an entry lie side by side: whoever meets is looked up once, not in three far places."""
    names = ("one", "two") if taken.which == "pair" else ("sketches",)
    told = np.empty((taken.size, 1 + len(names)), np.uint64)
    told[:, 0] = taken.owners()
    for at, name in enumerate(names, 1):
        told[:, at] = taken.gather(name, np.uint64)
    sides = told[:, 0], told[:, 1], told[:, -1]
    if taken.which == "pair":
        return Entries(*sides, least_agreeing(config.floor), least_agreeing(config.floor, 2))
    return Entries(*sides, least_agreeing(config.groups), 0)


def _crowds(buckets: list[Numbers], owners: int) -> npt.NDArray[np.int32]:
    """Crowds numbered by their smallest member."""
    if not buckets:
        return np.zeros(0, np.int32)
    members = distinct(np.concatenate(buckets))
    heads = np.concatenate([np.full(len(bucket), bucket[0]) for bucket in buckets])
    a, b = np.searchsorted(members, heads), np.searchsorted(members, np.concatenate(buckets))
    size = len(members)
    _, label = connected_components(coo_array((np.ones(len(a), np.int8), (a, b)), shape=(size, size)), directed=False)
    _, first, of = np.unique(label, return_index=True, return_inverse=True)
    place = np.empty(len(first), np.int32)
    place[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    crowd = np.full(owners, -1, np.int32)
    crowd[members] = place[of]
    return crowd
