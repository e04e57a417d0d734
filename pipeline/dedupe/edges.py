"""Edges between classes: equal keys under other flags, swapped equals, and near-duplicates by both sides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from pipeline.dedupe.classes import Classes, pack_class
from pipeline.dedupe.components import flatten, unite
from pipeline.dedupe.index import distinct
from pipeline.dedupe.pieces import Piece
from pipeline.dedupe.texts import fetch
from pipeline.manifest.settings import DedupeConfig
from pipeline.minhash import Pairs
from pipeline.minhash.compiled import Floats, Hashes, Ints, blocks
from pipeline.spread import Spread

LOW = np.uint64(0xFFFFFFFF)


def edge_frame(a: Ints, b: Ints, text: Floats, pos: Floats, swapped: Any) -> pl.DataFrame:
    """Edges between classes a[i] and b[i], in any order; `text` is the similarity of a's text to its counterpart."""
    turn = (a > b) & swapped
    text, pos = np.where(turn, pos, text), np.where(turn, text, pos)
    return pl.DataFrame(
        {
            "class_a": np.minimum(a, b).astype(np.uint64),
            "class_b": np.maximum(a, b).astype(np.uint64),
            "similarity": np.minimum(text, pos).astype(np.float32),
            "text_similarity": text.astype(np.float32),
            "pos_similarity": pos.astype(np.float32),
            "swapped": np.broadcast_to(np.asarray(swapped), a.shape),
        }
    )


def no_edges() -> pl.DataFrame:
    nothing = np.zeros(0)
    return edge_frame(nothing.astype(np.int64), nothing.astype(np.int64), nothing, nothing, nothing.astype(np.bool_))


def each_once(found: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """Sorted, each pair once, with its best similarity; at equal ones straight goes before swapped."""
    order = ["class_a", "class_b", "similarity", "swapped"]
    return (
        pl.concat([no_edges(), *found])
        .sort(order, descending=[False, False, True, False])
        .unique(["class_a", "class_b"], keep="first", maintain_order=True)
    )


def exact_edges(classes: Classes) -> list[pl.DataFrame]:
    """Equal ordered keys under different flags, and swapped equal keys of symmetric classes: similarity 1."""
    codes = np.asarray(classes.codes)

    def join(a: Ints, b: Ints, swapped: bool) -> pl.DataFrame:
        return edge_frame(a, b, np.ones(len(a)), np.ones(len(a)), swapped)

    found = []
    for apart in (1, 2, 3):  # the up to four classes of one ordered pair of keys stand side by side
        last = max(len(codes) - apart, 0)
        a = np.flatnonzero(codes[apart:] >> np.uint64(2) == codes[:last] >> np.uint64(2))
        found.append(join(a, a + apart, False))
    symmetric = np.flatnonzero(classes.symmetric(slice(None)))
    text, pos = classes.sides(symmetric)
    turned = symmetric[text < pos]
    text, pos = text[text < pos], pos[text < pos]
    for near in (False, True):
        wanted = pack_class(pos, text, 2 + near)
        at = np.minimum(np.searchsorted(codes, wanted), max(len(codes) - 1, 0))
        hit = codes[at] == wanted if len(codes) else np.zeros(0, np.bool_)
        found.append(join(turned[hit], at[hit], True))
    return found


def near_edges(
    pieces: Sequence[Piece], classes: Classes, pairs: Hashes, config: DedupeConfig, folder: Path, spread: Spread
) -> list[pl.DataFrame]:
    """The candidates whose both sides reach the floor, straight or (both symmetric) swapped, and no veto."""
    pairs = gathered(pairs)
    np.save(folder / "candidates.npy", pairs)
    first, second = (half.astype(np.int64) for half in (pairs >> np.uint64(32), pairs & LOW))
    sizes = [sum(classes.sizes[side].astype(np.int64) for side in classes.sides(half)) for half in (first, second)]
    cost = sizes[1] + np.where(np.diff(first, prepend=-1) != 0, sizes[0], 0)
    parts = [(list(pieces), config, folder, part.start, part.stop) for part in blocks(cost)]
    return [pl.read_parquet(path) for path in spread.map(verify, parts)]


def verify(pieces: list[Piece], config: DedupeConfig, folder: Path, low: int, high: int) -> Path:
    """Writes the edges among some of the candidates."""
    classes = Classes.load(folder)
    pairs = np.load(folder / "candidates.npy", mmap_mode="r")[low:high]
    a, b = (pairs >> np.uint64(32)).astype(np.int64), (pairs & LOW).astype(np.int64)
    ends = distinct(np.concatenate([a, b]))
    held = measured(pieces, classes, ends)
    text, pos, swapped = held.compare(np.searchsorted(ends, a), np.searchsorted(ends, b), config.floor)
    hit = np.flatnonzero(np.minimum(text, pos) >= config.floor)
    out = folder / f"edges-{low:012d}.parquet"
    edge_frame(a[hit], b[hit], text[hit], pos[hit], swapped[hit]).write_parquet(out, compression="uncompressed")
    return out


def measured(pieces: Sequence[Piece], classes: Classes, some: Ints) -> Pairs:
    """Some classes (ascending) ready for comparison, one position each."""
    text, pos = classes.sides(some)
    numbers = distinct(np.concatenate([text, pos]))
    keys = fetch(pieces, classes, numbers)
    at = (np.searchsorted(numbers, text), np.searchsorted(numbers, pos))
    return Pairs(keys, *at, classes.symmetric(some))


def gathered(pairs: Hashes) -> Hashes:
    """In an order in which pairs that hang together stand together: then each text is read back about once."""
    a, b = (pairs >> np.uint64(32)).astype(np.int64), (pairs & LOW).astype(np.int64)
    root = np.arange(1 + int(max(a.max(initial=0), b.max(initial=0))), dtype=np.uint32)
    unite(root, a, b)
    flatten(root)
    ordered: Hashes = pairs[np.argsort(root[a], kind="stable")]
    return ordered
