"""The search through all bands: candidates, and the crowds that are compared with leaders only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.dedupe.bands import Taken, Which, plan_of
from pipeline.dedupe.classes import Numbers
from pipeline.dedupe.components import flatten, unite_buckets
from pipeline.dedupe.index import distinct
from pipeline.dedupe.meet import Buckets, Entries, huge, meetings
from pipeline.dedupe.pieces import Piece
from pipeline.manifest.settings import DedupeConfig
from pipeline.minhash import Bands, agreeing, least_agreeing
from pipeline.minhash.compiled import Hashes
from pipeline.spread import Spread

#: Whoever lies in large buckets in a greater share of its bands cannot rely on the bands that are left.
TIGHT = 0.6
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

    Nobody is paired off in huge, dense or loose buckets (`meet`). What shares a long part with thousands lies in them in
    some bands, and meets its like in the others. Whoever lies in them in most of its bands is of a crowd: those that hang
    together by such buckets. Huge ones are looked for first, so that their members are not paired off in other bands.
    """
    near = [piece for piece in pieces if piece.near]
    bands = _bands(config, which).count
    step = -(-bands // spread.parts)
    groups = [range(low, min(bands, low + step)) for low in range(0, bands, step)] if near else []
    owner = Taken.of(near, which).owners()
    buckets = Buckets.joined(spread.map(find_huge, [(near, which, group) for group in groups]))
    known = folder / f"{which}-crowd.npy"
    np.save(known, _crowds(buckets, owner, owners, bands))
    outs = [folder / f"{which}-{group.start:03d}.npy" for group in groups]
    dense = spread.map(
        find_pairs, [(near, which, config, group, known, out) for group, out in zip(groups, outs, strict=True)]
    )
    pairs = distinct(np.concatenate([np.zeros(0, np.uint64), *map(np.load, outs)]))
    crowd = _crowds(Buckets.joined([buckets, *dense]), owner, owners, bands)
    if len(crowd):
        a, b = crowd[pairs >> np.uint64(32)], crowd[pairs & np.uint64(0xFFFFFFFF)]
        pairs = pairs[(a < 0) | (a != b)]
    return Candidates(pairs, crowd)


def find_huge(pieces: list[Piece], which: Which, bands: Iterable[int]) -> Buckets:
    """The entries of every huge bucket of some bands."""
    taken = Taken.of(pieces, which)
    return Buckets.joined([huge(taken.band(band)) for band in bands])


def find_pairs(
    pieces: list[Piece], which: Which, config: DedupeConfig, bands: Iterable[int], crowd: Path, out: Path
) -> Buckets:
    """Writes the pairs that meet in some bands to `out`; gives the entries of every dense bucket."""
    taken, known = Taken.of(pieces, which), np.load(crowd)
    entries = _entries(taken, config)
    held: list[Hashes] = [np.zeros(0, np.uint64)]
    dense: list[Buckets] = []
    for band in bands:
        pairs, buckets = meetings(taken.band(band), entries, known)
        held.append(pairs)
        dense.append(buckets)
        if sum(map(len, held)) > _HELD + 2 * len(held[0]):
            held = [distinct(np.concatenate(held))]
    np.save(out, distinct(np.concatenate(held)))
    return Buckets.joined(dense)


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
        least, both = least_agreeing(config.floor), least_agreeing(config.floor, 2)
        return Entries(*sides, least, both, agreeing(config.floor))
    return Entries(*sides, least_agreeing(config.groups), 0, agreeing(config.groups))


def _crowds(buckets: Buckets, owner: Numbers, owners: int, bands: int) -> npt.NDArray[np.int32]:
    """Crowds of owners (-1: in none), numbered by their smallest member; entry i is of `owner[i]`."""
    often = np.bincount(buckets.entries, minlength=len(owner)) > TIGHT * bands
    inside = often[buckets.entries]
    members = owner[buckets.entries[inside]]
    if not len(members):
        return np.zeros(0, np.int32)
    root = np.arange(owners, dtype=np.uint32)
    unite_buckets(root, members, np.concatenate([[0], np.cumsum(inside)])[buckets.ends])
    flatten(root)
    size = np.bincount(root, minlength=owners)
    number = np.cumsum(size > 1, dtype=np.int32) - 1
    crowd: npt.NDArray[np.int32] = np.where(size[root] > 1, number[root], -1).astype(np.int32)
    return crowd
