"""Groups of texts that may not meet as in-batch negatives: near-duplicate components of single sides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.dedupe.classes import Classes
from pipeline.dedupe.index import distinct
from pipeline.dedupe.pieces import Piece
from pipeline.dedupe.search import Candidates, search
from pipeline.dedupe.texts import fetch
from pipeline.manifest.settings import DedupeConfig
from pipeline.minhash import Bitmaps, Compare, jaccard, lead, leaders
from pipeline.minhash.compiled import Floats, Ints, blocks, kernel
from pipeline.minhash.keys import Keys
from pipeline.spread import Spread

_LOW = np.uint64(0xFFFFFFFF)


def side_groups(
    pieces: Sequence[Piece],
    classes: Classes,
    edges: Iterable[pl.DataFrame],
    config: DedupeConfig,
    folder: Path,
    spread: Spread,
) -> npt.NDArray[np.uint32]:
    """For every key the smallest number in its component; the hash of that key names the group, from build to build.

    Keys of near records of at least 6 characters are joined where their Jaccard reaches `groups` and no veto parts them;
    every other key is its own group. Which side a key stood on plays no part. What `edges` of near records know already
    is not compared again.
    """
    root = np.arange(len(classes.hashes), dtype=np.uint32)
    for frame in edges:
        _join_known(root, classes, frame, config.groups)
    found = search(pieces, "side", len(root), config, folder, spread)
    for crowd in found.crowds:
        cost = classes.sizes[crowd].astype(np.int64)
        joined = _Joined(pieces, classes, root, config)
        lead((crowd[part] for part in blocks(cost)), joined.load, leaders(len(crowd)), config.groups)
    for part in blocks(_cost(classes, found)):
        a, b = (found.pairs[part] >> np.uint64(32)).astype(np.int64), (found.pairs[part] & _LOW).astype(np.int64)
        _flatten(root)
        apart = root[a] != root[b]
        a, b = a[apart], b[apart]
        numbers = distinct(np.concatenate([a, b]))
        keys = fetch(pieces, classes, numbers)
        one, two = np.searchsorted(numbers, a), np.searchsorted(numbers, b)
        hit = _similarity(keys, one, two, config.groups) >= config.groups
        _union(root, a[hit], b[hit])
    _flatten(root)
    return root


@dataclass
class _Joined:
    """One crowd of keys: whoever is close to a leader joins its component."""

    pieces: Sequence[Piece]
    classes: Classes
    root: npt.NDArray[np.uint32]
    config: DedupeConfig

    def load(self, some: Ints) -> Compare:
        keys, least = fetch(self.pieces, self.classes, some), self.config.groups
        maps = Bitmaps.of(keys)

        def compare(leader: int, rest: Ints) -> Floats:
            one, others = int(np.searchsorted(some, leader)), np.searchsorted(some, rest)
            possible = maps.possible(one, others, least)
            others = others[possible]
            similarity = np.zeros(len(rest))
            similarity[possible] = _similarity(keys, np.full(len(others), one), others, least)
            hit = rest[similarity >= least]
            _union(self.root, np.full(len(hit), leader), hit)
            return similarity

        return compare


def _similarity(keys: Keys, a: Ints, b: Ints, least: float) -> Floats:
    similarity = jaccard(keys, a, keys, b, least)
    similarity[keys.traits[a] != keys.traits[b]] = 0
    return similarity


def _join_known(root: npt.NDArray[np.uint32], classes: Classes, edges: pl.DataFrame, least: float) -> None:
    """Both sides of an edge whose similarity is at `least` or above are joined; a swapped one joins text to text_pos."""
    a, b = (edges[name].to_numpy().astype(np.int64) for name in ("class_a", "class_b"))
    swapped = edges["swapped"].to_numpy()
    (text, pos), (other_text, other_pos) = classes.sides(a), classes.sides(b)
    sides = [
        ("text_similarity", text, np.where(swapped, other_pos, other_text)),
        ("pos_similarity", pos, np.where(swapped, other_text, other_pos)),
    ]
    for name, one, two in sides:
        hit = edges[name].to_numpy() >= least
        _union(root, one[hit], two[hit])


def _cost(classes: Classes, found: Candidates) -> Ints:
    ends = [(half).astype(np.int64) for half in (found.pairs >> np.uint64(32), found.pairs & _LOW)]
    return classes.sizes[ends[0]].astype(np.int64) + classes.sizes[ends[1]]


@kernel
def _union(root, a, b):  # type: ignore[no-untyped-def]
    for i in range(a.shape[0]):
        x, y = np.int64(a[i]), np.int64(b[i])
        while root[x] != x:
            root[x] = root[root[x]]
            x = np.int64(root[x])
        while root[y] != y:
            root[y] = root[root[y]]
            y = np.int64(root[y])
        if x < y:
            root[y] = x
        else:
            root[x] = y


@kernel
def _flatten(root):  # type: ignore[no-untyped-def]
    """One pass is enough: a root is never greater than its members."""
    for i in range(root.shape[0]):
        root[i] = root[root[i]]
