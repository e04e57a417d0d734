"""Groups of texts that may not meet as in-batch negatives: near-duplicate components of single sides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.dedupe.classes import Classes
from pipeline.dedupe.components import apart, flatten, unite
from pipeline.dedupe.edges import LOW, gathered
from pipeline.dedupe.index import distinct
from pipeline.dedupe.pieces import Piece
from pipeline.dedupe.search import search
from pipeline.dedupe.texts import fetch
from pipeline.manifest.settings import DedupeConfig
from pipeline.minhash import Bitmaps, Compare, jaccard, lead, leaders
from pipeline.minhash.compiled import Floats, Hashes, Ints, blocks
from pipeline.minhash.keys import Keys
from pipeline.spread import Spread

#: Pairs compared before those that hang together are looked for again.
_STEP = 16_384


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
    joined = _Joined(pieces, classes, root, config.groups)
    for crowds in _together(classes, found.crowds):
        joined.hold(crowds)
        for crowd in crowds:
            lead(_parts(classes, crowd), joined.load, leaders(len(crowd)), config.groups)
    flatten(root)
    pairs = found.pairs[root[found.pairs >> np.uint64(32)] != root[found.pairs & LOW]]
    pairs = gathered(pairs)
    for part in blocks(_cost(classes, pairs)):
        _compare(pieces, classes, root, pairs[part], config.groups)
    flatten(root)
    return root


def _together(classes: Classes, crowds: Sequence[Ints]) -> Iterator[list[Ints]]:
    """Crowds whose keys are read back at once, as each reading takes its time; a large one is alone."""
    for some in blocks(np.array([int(classes.sizes[crowd].sum(dtype=np.int64)) for crowd in crowds], np.int64)):
        yield list(crowds[some])


def _parts(classes: Classes, crowd: Ints) -> Iterator[Ints]:
    """The members of a crowd as they are compared, in parts that are held at once.

    The shortest is the first: of texts that share a long part it is the one that is nearest to all.
    """
    shortest = int(np.argmin(classes.sizes[crowd]))
    crowd = np.concatenate([crowd[shortest : shortest + 1], np.delete(crowd, shortest)])
    yield from (crowd[part] for part in blocks(classes.sizes[crowd].astype(np.int64)))


@dataclass
class _Joined:
    """Crowds of keys: whoever is `least` close to a leader joins its component."""

    pieces: Sequence[Piece]
    classes: Classes
    root: npt.NDArray[np.uint32]
    least: float
    _held: tuple[Ints, Keys] | None = None

    def hold(self, crowds: Sequence[Ints]) -> None:
        """Reads small crowds back at once; one that is alone is read part by part."""
        self._held = self._read(distinct(np.concatenate(crowds))) if len(crowds) > 1 else None

    def _read(self, some: Ints) -> tuple[Ints, Keys]:
        return some, fetch(self.pieces, self.classes, some)

    def load(self, led: Ints, part: Ints) -> Compare:
        """Ready to compare some keys with leaders; only whom the first one is not near has a bitmap made."""
        numbers, keys = self._held or self._read(np.union1d(led, part))
        first, mapped, maps = True, led, None

        def compare(leader: int, rest: Ints) -> Floats:
            nonlocal first, mapped, maps
            others = np.arange(len(rest))
            if not first:
                if maps is None:
                    mapped = distinct(np.concatenate([led, rest, [leader]]))
                    maps = Bitmaps.of(keys.at(np.searchsorted(numbers, mapped)))
                place = int(np.searchsorted(mapped, leader))
                others = np.flatnonzero(maps.possible(place, np.searchsorted(mapped, rest), self.least))
            first = False
            one, at = np.searchsorted(numbers, np.full(len(others), leader)), np.searchsorted(numbers, rest[others])
            similarity = np.zeros(len(rest))
            similarity[others] = _similarity(keys, one, at, self.least)
            hit = rest[similarity >= self.least]
            unite(self.root, np.full(len(hit), leader), hit)
            return similarity

        return compare


def _compare(
    pieces: Sequence[Piece], classes: Classes, root: npt.NDArray[np.uint32], pairs: Hashes, least: float
) -> None:
    """Joins those of some pairs that are `least` close; who hangs together already is not compared."""
    ends = [half.astype(np.int64) for half in (pairs >> np.uint64(32), pairs & LOW)]
    numbers = distinct(np.concatenate(ends))
    keys = fetch(pieces, classes, numbers)
    for low in range(0, len(pairs), _STEP):
        a, b = (end[low : low + _STEP] for end in ends)
        still = apart(root, a, b)
        a, b = a[still], b[still]
        hit = _similarity(keys, np.searchsorted(numbers, a), np.searchsorted(numbers, b), least) >= least
        unite(root, a[hit], b[hit])


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
        unite(root, one[hit], two[hit])


def _cost(classes: Classes, pairs: Hashes) -> Ints:
    """Bytes that each pair adds to a block: those of its first key once, where pairs follow that have it in common."""
    first, second = (half.astype(np.int64) for half in (pairs >> np.uint64(32), pairs & LOW))
    cost = classes.sizes[second].astype(np.int64)
    return cost + np.where(np.diff(first, prepend=-1) != 0, classes.sizes[first], 0)
