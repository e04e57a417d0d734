"""The walk of `resolve`: who is kept, in an order of priority, given what is known of whom.

Edges tell most of it. Classes that met in buckets too large to compare all by all have no edges among each other: which
of them matter hangs on the priority. So each class of such a crowd that the walk keeps is compared, there and then, with
all that come later, and whoever it duplicates is out. Hence every order of priority has what it needs, and no two kept
classes of a crowd are duplicates, as long as the crowd's comparisons stay below WORK + WORK_EACH for each member.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.minhash import LOOKS, WORK, WORK_EACH, Bitmaps, Keys, Pairs
from pipeline.minhash.compiled import BLOCK_BYTES, Flags, Ints, blocks, kernel
from pipeline.normalize import key_hash
from pipeline.record import CROWD_SCHEMA

#: Rows of crowds read at a time.
_BATCH = 16_384
_NOBODY = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Links:
    """What is known of class c: entries `starts[c]` to `starts[c + 1]`, each another class, its similarity, if swapped."""

    starts: Ints
    other: Ints
    weight: npt.NDArray[np.float32]
    turned: Flags

    @classmethod
    def of(cls, edges: pl.DataFrame, classes: int) -> Links:
        """From edges (class_a, class_b, similarity, swapped), each told at both ends."""
        a, b = (edges[name].to_numpy().astype(np.int64) for name in ("class_a", "class_b"))
        both = np.concatenate([a, b])
        order = np.argsort(both, kind="stable")
        twice = [np.concatenate([column, column])[order] for column in (edges["similarity"], edges["swapped"])]
        starts = np.searchsorted(both[order], np.arange(classes + 1))
        return cls(starts, np.concatenate([b, a])[order], twice[0].astype(np.float32), twice[1].astype(np.bool_))


@dataclass(frozen=True)
class Walked:
    """Of a removed class the nearest kept one, their similarity and whether swapped; `winner` is -1 for all others."""

    winner: Ints
    similarity: npt.NDArray[np.float32]
    swapped: Flags


@dataclass
class Crowds:
    """The classes of `crowds.parquet`; row i is `classes[i]` of crowd `of[i]`, both ascending.

    Memory: some 200 bytes a row and a sixteenth of the keys, which lie in a file that has no name and goes with its last user.
    """

    of: Ints
    classes: Ints
    pairs: Pairs
    maps: Bitmaps
    _mapped: mmap.mmap
    _turn: Ints
    _touched: int = 0
    _rest: dict[int, Ints] = field(default_factory=dict)
    _left: dict[int, float] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None, folder: Path) -> Crowds | None:
        """None where there are none, which is the rule; keys are laid out in `folder`."""
        if path is None or not pq.read_metadata(path).num_rows:
            return None
        file = pq.ParquetFile(path, buffer_size=1 << 18, pre_buffer=False)
        columns: dict[str, list[Any]] = {name: [] for name in CROWD_SCHEMA.names}
        keys, maps, count, size = list[Keys](), list[Bitmaps](), 0, 0
        with TemporaryFile(dir=folder) as texts:
            for batch in file.iter_batches(_BATCH, use_threads=False):
                both = pa.concat_arrays([batch.column("text"), batch.column("text_pos")]).dictionary_encode()
                held = Keys.of(both.dictionary, key_hash(pl.Series(both.dictionary)).to_numpy())
                texts.write(held.data[held.start[0] : held.end[-1]].data)
                maps.append(Bitmaps.of(held))
                by = size - int(held.start[0])
                keys.append(replace(held, data=held.data[:0].copy(), start=held.start + by, end=held.end + by))
                for side, at in zip(("text", "text_pos"), np.split(both.indices.to_numpy(), 2), strict=True):
                    columns[side].append(at.astype(np.int64) + count)
                for name in ("crowd", "class_id", "symmetric"):
                    columns[name].append(batch.column(name).to_numpy(zero_copy_only=False))
                count, size = count + len(held), int(keys[-1].end[-1])
            texts.write(b"\0")  # an empty file cannot be mapped
            texts.flush()
            mapped = mmap.mmap(texts.fileno(), 0, access=mmap.ACCESS_READ)
        of, classes, symmetric, text, pos = (np.concatenate(columns[name]) for name in CROWD_SCHEMA.names)
        pairs = Pairs(Keys.joined(np.frombuffer(mapped, np.uint8), keys), text, pos, symmetric)
        return cls(
            of.astype(np.int64), classes.astype(np.int64), pairs, Bitmaps.joined(maps), mapped, np.zeros_like(text)
        )

    def rows(self, classes: int) -> Ints:
        """For every class its row, -1 where it is in no crowd."""
        rows = np.full(classes, -1, np.int64)
        rows[self.classes] = np.arange(len(self.classes))
        return rows

    def gather(self, steps: Ints, rows: Ints) -> None:
        """Who of each crowd takes part in the walk, and when."""
        walking = rows[steps]
        at = np.flatnonzero(walking >= 0)
        self._turn[walking[at]] = at
        ascending = np.sort(walking[at])
        for some in np.split(ascending, np.flatnonzero(np.diff(self.of[ascending])) + 1):
            if len(some):
                crowd = int(self.of[some[0]])
                low, high = np.searchsorted(self.of, (crowd, crowd + 1))
                self._rest[crowd], self._left[crowd] = some, WORK + WORK_EACH * int(high - low)

    def led_by(self, leader: int, threshold: float) -> tuple[Ints, npt.NDArray[np.float32], Flags]:
        """Rows later in the walk than row `leader` that duplicate it and no earlier one, similarity and whether swapped."""
        crowd = int(self.of[leader])
        rest = _later(self._rest[crowd], self._turn, leader)
        self._rest[crowd] = rest
        possible = rest[self.maps.possible_pairs(self.pairs, leader, rest, threshold)]
        self._left[crowd] -= len(rest) / LOOKS + len(possible)
        if not len(possible):
            return possible, _NOBODY, _NOBODY.astype(np.bool_)
        keys = self.pairs.keys
        text, pos = self.pairs.text[possible], self.pairs.pos[possible]
        cost = keys.end[text] - keys.start[text] + keys.end[pos] - keys.start[pos]
        similarity, swapped = np.zeros(len(possible), np.float32), np.zeros(len(possible), np.bool_)
        for part in blocks(cost):
            some = possible[part]
            text, pos, swapped[part] = self.pairs.compare(np.full(len(some), leader), some, threshold)
            similarity[part] = np.minimum(text, pos)
            self._forget(int(cost[part].sum()))
        hit = similarity >= np.float32(threshold)
        self._rest[crowd] = rest[~np.isin(rest, possible[hit], assume_unique=True)] if hit.any() else rest
        return possible[hit], similarity[hit], swapped[hit]

    def _forget(self, size: int) -> None:
        """Gives mapped pages back after so many more bytes, or all keys would come to stay in memory."""
        self._touched += size
        if self._touched > BLOCK_BYTES and hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED)
            self._touched = 0

    def is_spent(self, row: int) -> bool:
        """Has the crowd of that row had all the comparisons it may cost?"""
        return self._left[int(self.of[row])] < 0


def walk(steps: Ints, links: Links, crowds: Crowds | None, threshold: float, standing: int = 0) -> Walked:
    """Keeps each class of `steps` in turn, unless it is linked to, or in a crowd found to duplicate, one already kept.

    The first `standing` of them are kept whatever they are.

    >>> edges = pl.DataFrame({"class_a": [0, 1], "class_b": [1, 2], "similarity": [0.9, 0.8], "swapped": [False, False]})
    >>> walk(np.array([0, 1, 2]), Links.of(edges, 3), None, 0.8).winner.tolist()
    [-1, 0, -1]
    """
    count = len(links.starts) - 1
    told = Walked(np.full(count, -1, np.int64), np.full(count, -1, np.float32), np.zeros(count, np.bool_))
    kept = np.zeros(count, np.bool_)
    rows = np.full(count, -1, np.int64) if crowds is None else crowds.rows(count)
    if crowds is not None:
        crowds.gather(steps, rows)
    linked = (links.starts, links.other, links.weight, links.turned)
    at = _walk(steps, 0, standing, linked, rows, kept, told.winner, told.similarity, told.swapped)
    while at < len(steps) and crowds is not None:
        leader = int(steps[at])
        found, similarity, swapped = crowds.led_by(int(rows[leader]), threshold)
        out = crowds.classes[found]
        told.winner[out], told.similarity[out], told.swapped[out] = leader, similarity, swapped
        if crowds.is_spent(int(rows[leader])):
            rows[crowds.classes[crowds.of == crowds.of[rows[leader]]]] = -1
        at = _walk(steps, at + 1, standing, linked, rows, kept, told.winner, told.similarity, told.swapped)
    return told


@kernel
def _later(rest, turn, leader):  # type: ignore[no-untyped-def]
    later, n = np.empty(len(rest), np.int64), 0
    for row in rest:
        later[n] = row
        n += turn[row] > turn[leader]
    return later[:n]


@kernel
def _walk(  # type: ignore[no-untyped-def]
    steps: Any, at: Any, standing: Any, linked: Any, crowded: Any, kept: Any, winner: Any, similarity: Any, swapped: Any
):
    """Walks on from place `at`; stops at a class of a crowd that is kept and gives its place, or the end."""
    starts, other, weight, turned = linked
    while at < steps.shape[0]:
        c = steps[at]
        for e in range(starts[c], starts[c + 1]):
            if kept[other[e]] and weight[e] > similarity[c]:
                winner[c], similarity[c], swapped[c] = other[e], weight[e], turned[e]
        if at < standing:
            winner[c], similarity[c], swapped[c] = -1, np.float32(-1), False
        kept[c] = winner[c] < 0
        if kept[c] and crowded[c] >= 0:
            return at
        at += 1
    return at
