"""Edges between classes: equal keys under other flags, swapped equals, and near-duplicates by both sides."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.dedupe.buckets import WHOLE, buckets, by_leaders
from pipeline.dedupe.index import Index
from pipeline.dedupe.records import Classes, pack_class
from pipeline.manifest.settings import DedupeConfig
from pipeline.minhash import Keys, Slots, band_parts, jaccard, permutations, rows_per_band, slots
from pipeline.minhash.keys import Floats, Hashes, Ints

#: Bands whose parts are held at once: 8 bytes per slot and band.
BANDS_AT_ONCE = 32
#: Edges under the threshold that one class may bring home from one huge bucket.
LEADER_EDGES = 16
#: Leaders at the threshold that every class of a huge bucket is told of, lest some of them are removed by other stages.
FOLLOW = 4
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_LOW = np.uint64(0xFFFFFFFF)


@dataclass
class Edges:
    """Edges as they are found, and how many candidates were verified for them."""

    candidates: int = 0
    huge_buckets: int = 0
    _found: list[pl.DataFrame] = field(default_factory=list)

    def add(self, a: Ints, b: Ints, text: Floats, pos: Floats, swapped: npt.NDArray[np.bool_] | bool) -> None:
        """Records edges between classes a[i] and b[i], in any order; `text` is the similarity of a's text."""
        turn = (a > b) & swapped
        text, pos = np.where(turn, pos, text), np.where(turn, text, pos)
        self._found.append(
            pl.DataFrame(
                {
                    "class_a": np.minimum(a, b).astype(np.uint64),
                    "class_b": np.maximum(a, b).astype(np.uint64),
                    "similarity": np.minimum(text, pos).astype(np.float32),
                    "text_similarity": text.astype(np.float32),
                    "pos_similarity": pos.astype(np.float32),
                    "swapped": np.broadcast_to(np.asarray(swapped), a.shape),
                }
            )
        )

    def table(self) -> pl.DataFrame:
        """Sorted, each pair once, with its best similarity; at equal ones straight goes before swapped."""
        nothing = np.zeros(0)
        self.add(nothing.astype(np.int64), nothing.astype(np.int64), nothing, nothing, nothing.astype(np.bool_))
        order = ["class_a", "class_b", "similarity", "swapped"]
        return (
            pl.concat(self._found)
            .sort(order, descending=[False, False, True, False])
            .unique(["class_a", "class_b"], keep="first", maintain_order=True)
        )


def exact_edges(classes: Classes, edges: Edges) -> None:
    """Equal ordered keys under different flags, and swapped equal keys of symmetric classes: similarity 1."""
    codes = classes.codes

    def join(a: Ints, b: Ints, swapped: bool) -> None:
        ones = np.ones(len(a))
        edges.add(a, b, ones, ones, swapped)

    for apart in (1, 2, 3):  # the up to four classes of one ordered pair of keys stand side by side
        pairs = codes >> np.uint64(2)
        a = np.flatnonzero(pairs[apart:] == pairs[: max(len(pairs) - apart, 0)])
        join(a, a + apart, False)
    turned = np.flatnonzero(classes.symmetric & (classes.text < classes.pos))
    for near in (False, True):
        wanted = pack_class(classes.pos[turned], classes.text[turned], True, near)
        at = np.minimum(np.searchsorted(codes, wanted), max(len(codes) - 1, 0))
        hit = codes[at] == wanted if len(codes) else np.zeros(0, np.bool_)
        join(turned[hit], at[hit], True)


def near_edges(keys: Keys, classes: Classes, config: DedupeConfig, edges: Edges) -> None:
    """Pairs of `near` classes whose both sides reach `floor`, straight or (both symmetric) swapped, and no veto.

    A band holds rows of both sides, so records meet where both sides are alike. Every pair that meets is verified by
    true Jaccard, once.
    """
    mine = np.flatnonzero(classes.near)
    chosen = slots(keys, np.unique(np.concatenate([classes.text[mine], classes.pos[mine]])), config.floor)
    entries = _Entries.of(classes, mine, chosen, len(keys))
    rows = rows_per_band(config.num_perm, config.floor * config.floor)
    multipliers, addends = permutations(config.num_perm, config.seed)
    seen = Index()
    for start in range(0, config.num_perm // rows * rows, BANDS_AT_ONCE * rows):
        some = slice(start, start + BANDS_AT_ONCE * rows)
        parts = band_parts(keys, chosen, multipliers[some], addends[some], rows)
        for band in range(len(parts)):
            met = buckets(entries.band_keys(parts, band))
            for pairs in met.pairs(entries.owner):
                fresh = pairs[seen.add(pairs)[1]]
                a, b = (fresh >> np.uint64(32)).astype(np.int64), (fresh & _LOW).astype(np.int64)
                _keep(edges, a, b, _compare(keys, classes, a, b, config.floor), config.floor)
            for owners in met.huge(entries.owner):
                _lead(keys, classes, owners, config, edges)


def _keep(edges: Edges, a: Ints, b: Ints, found: tuple[Floats, Floats, npt.NDArray[np.bool_]], floor: float) -> None:
    text, pos, swapped = found
    edges.candidates += len(a)
    hit = np.flatnonzero(np.minimum(text, pos) >= floor)
    if len(hit):
        edges.add(a[hit], b[hit], text[hit], pos[hit], swapped[hit])


def _lead(keys: Keys, classes: Classes, owners: Ints, config: DedupeConfig, edges: Edges) -> None:
    """Leader edges of one huge bucket: FOLLOW at the threshold, under it LEADER_EDGES per class.

    Leaders come in the order in which `resolve` walks, so that those it keeps are those that the others point to.
    """
    brought = np.zeros(len(owners), np.int64)
    edges.huge_buckets += len(owners) > WHOLE

    def compare(leader: int, rest: Ints) -> Floats:
        text, pos, swapped = _compare(keys, classes, np.full(len(rest), leader), rest, config.floor)
        similarity = np.minimum(text, pos)
        at = np.searchsorted(owners, rest)
        low = (similarity >= config.floor) & (similarity < config.threshold)
        brought[at[low]] += 1
        kept = (similarity >= config.threshold) | (low & (brought[at] <= LEADER_EDGES))
        edges.candidates += len(rest)
        edges.add(np.full(int(kept.sum()), leader), rest[kept], text[kept], pos[kept], swapped[kept])
        return similarity

    by_leaders(owners[np.argsort(classes.priority[owners])], compare, config.threshold, FOLLOW)


def _compare(
    keys: Keys, classes: Classes, a: Ints, b: Ints, floor: float
) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Similarity of the text and of the text_pos of each a to its counterpart, and whether that is the other side."""
    text, pos = _both(keys, classes.text[a], classes.text[b], classes.pos[a], classes.pos[b], floor)
    swapped = np.zeros(len(a), np.bool_)
    turn = np.flatnonzero(classes.symmetric[a] & classes.symmetric[b] & (np.minimum(text, pos) < 1))
    a, b = a[turn], b[turn]
    crossed = _both(keys, classes.text[a], classes.pos[b], classes.pos[a], classes.text[b], floor)
    better = np.minimum(*crossed) > np.minimum(text, pos)[turn]
    text[turn[better]], pos[turn[better]] = crossed[0][better], crossed[1][better]
    swapped[turn[better]] = True
    return text, pos, swapped


def _both(keys: Keys, text: Ints, other_text: Ints, pos: Ints, other_pos: Ints, floor: float) -> tuple[Floats, Floats]:
    """Jaccard by both sides; (0, 0) where either misses the floor or digits or negations differ."""
    first, second = np.zeros(len(text)), np.zeros(len(text))
    agree = (keys.traits[text] == keys.traits[other_text]) & (keys.traits[pos] == keys.traits[other_pos])
    at = np.flatnonzero(agree)
    one = jaccard(keys, text[at], keys, other_text[at], floor)
    at, one = at[one >= floor], one[one >= floor]
    two = jaccard(keys, pos[at], keys, other_pos[at], floor)
    first[at[two >= floor]], second[at[two >= floor]] = one[two >= floor], two[two >= floor]
    return first, second


@dataclass(frozen=True)
class _Entries:
    """What a class puts into each band: entry i belongs to class `owner[i]`; `one` and `two` are slots.

    A class has one entry per combination of its sides' slots, and, being symmetric, the same turned round. The sides
    take rows of different bands: with equal rows, two questions that share one common shingle on both sides would meet
    as if they shared four. Entries at `lone` have a short side (`one`): it adds no rows, so the other gives two bands'
    worth; else a thousand answers to one short text would all be candidates of each other. (Two short sides are equal
    or nothing: `exact_edges` has them.)
    """

    owner: Ints
    one: Ints
    two: Ints
    lone: Ints

    @classmethod
    def of(cls, classes: Classes, mine: Ints, chosen: Slots, keys: int) -> _Entries:
        where = {k: np.full(keys, -1, np.int64) for k in (0, 2, 3)}
        for k, place in where.items():
            at = np.flatnonzero(chosen.k == k)
            place[chosen.at[at]] = at
        turning = mine[classes.symmetric[mine]]
        straight, turned = (mine, classes.text, classes.pos), (turning, classes.pos, classes.text)

        def entries(first: int, second: int, of: tuple[Ints, Ints, Ints]) -> tuple[Ints, Ints, Ints]:
            ids, left, right = of
            one, two = where[first][left[ids]], where[second][right[ids]]
            at = np.flatnonzero((one >= 0) & (two >= 0))
            return ids[at], one[at], two[at]

        full = [entries(first, second, of) for first in (2, 3) for second in (2, 3) for of in (straight, turned)]
        lone = [entries(0, k, of) for k in (2, 3) for of in (straight, (mine, classes.pos, classes.text))]
        owner, one, two = (np.concatenate(column) for column in zip(*full, *lone, strict=True))
        return cls(owner, one, two, np.arange(sum(len(f[0]) for f in full), len(owner)))

    def band_keys(self, parts: Hashes, band: int) -> Hashes:
        following = parts[(band + 1) % len(parts)]
        keys: Hashes = parts[band, self.one] + following[self.two] * _MIX
        keys[self.lone] += parts[band, self.two[self.lone]]
        return keys
