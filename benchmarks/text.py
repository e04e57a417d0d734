"""Pairs to measure on: endless text whose character n-grams are those of real text, with copies planted in it.

A random walk over a string of real texts writes character after character; now and then it jumps to another place where
the same two characters stand (or the same one, where the two are rare). Every jump goes to all such places alike, so
characters and pairs of them come as often as in the source, and runs of three and more are real ones. Repeated lines or
random letters would flatter every cache, table and band.

Pair i is a function of seed and i alone: a copy of any pair is made anew wherever it is planted, and memory stays that
of one batch. The texts are read through the project's own manifests: those of the demo, and the real slices of
`tests/real` where they lie beside the checkout. Nothing of them is stored or printed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numba
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from benchmarks.measure import ROOT
from pipeline.context import context_of
from pipeline.manifest.catalog import read_catalog
from pipeline.manifest.corpus import Corpus
from pipeline.steps import convert_step, fetch_step

#: Median lengths of text and text_pos; they spread as exp(normal) with SPREAD and are cut at a quarter and four times.
LENGTHS = (20, 150)
SPREAD = 0.45
#: Chance of a jump after each character.
JUMP = 0.35
#: Two characters that occur less often share the places of the second alone.
RARE = 8
#: Share of pairs that are copies; of them, share that is exact. The rest is edited to a Jaccard in this range.
COPIES, EXACT = 0.25, 0.2
EDITED = (0.55, 0.99)
BATCH = 16_384

Ints = npt.NDArray[np.int32]
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_COPY_STREAM = np.uint64(1) << np.uint64(62)


@dataclass(frozen=True)
class Source:
    """Code points of real texts in a ring; from position p one may jump to `order[first[p] : first[p] + size[p]]`."""

    points: npt.NDArray[np.uint32]
    order: Ints
    first: Ints
    size: Ints

    @classmethod
    def of(cls, texts: Sequence[str]) -> Source:
        """Joins texts by full stops; raises ValueError where there are none."""
        joined = "".join(f"{text}。" for text in texts if text)
        if not joined:
            raise ValueError("there is no text to walk over")
        points = np.frombuffer(joined.encode("utf-32-le"), np.uint32)
        couples = np.roll(points, 1).astype(np.uint64) << np.uint64(32) | points
        _, of, counts = np.unique(couples, return_inverse=True, return_counts=True)
        places = np.where(counts[of] < RARE, points.astype(np.uint64), couples)
        _, of, counts = np.unique(places, return_inverse=True, return_counts=True)
        starts = np.cumsum(counts) - counts
        order = np.argsort(of, kind="stable")
        return cls(points.copy(), order.astype(np.int32), starts[of].astype(np.int32), counts[of].astype(np.int32))


def real_slices() -> bool:
    """Do the real slices lie where the manifests of `tests/real` look for them?"""
    return (ROOT.parent / "shared" / "corpora").is_dir()


def converted(folder: Path, *recipes: str) -> Iterator[tuple[Corpus, list[Path]]]:
    """Every corpus of some recipes, and its text shards below `folder`; `real` is known where its slices are."""
    catalog = read_catalog([ROOT / "tests" / "real"] if real_slices() else [])
    for recipe in recipes:
        context = context_of(catalog, catalog.recipe(recipe), folder)
        for corpus in context.corpora:
            yield corpus, list(convert_step(context, corpus, fetch_step(context, corpus)).paths("text-*.parquet"))


@cache
def source(real: bool = True) -> Source:
    """All distinct texts of the demo corpora and, if wanted and there, of the real slices; code sides left out."""
    columns = []
    with tempfile.TemporaryDirectory() as folder:
        for corpus, shards in converted(Path(folder), "demo", *(["real"] if real and real_slices() else [])):
            sides = [side for side in ("text", "text_pos") if side not in corpus.code_sides]
            for shard in shards:
                columns += pl.read_parquet(shard, columns=sides).get_columns()
        texts = pl.concat([column.alias("text") for column in columns]).unique(maintain_order=True)
    return Source.of(texts.to_list())


def pairs(
    given: Source,
    count: int,
    *,
    seed: int = 1,
    copies: float = COPIES,
    lengths: tuple[int, int] = LENGTHS,
    batch: int = BATCH,
) -> Iterator[pl.DataFrame]:
    """`count` pairs in batches: text, text_pos, and `copy_of`, the number of the pair that was copied (-1: none).

    Raises ValueError when everything would be a copy.
    """
    if not 0 <= copies < 1:
        raise ValueError(f"a share of {copies} copies leaves nothing to copy")
    walk = (given.points, given.order, given.first, given.size)
    room = 4 * max(lengths)
    for low in range(0, count, batch):
        high = min(count, low + batch)
        data = [np.empty((high - low) * room * 6, np.uint8) for _ in lengths]
        ends = [np.zeros(high - low + 1, np.int64) for _ in lengths]
        copy_of = np.empty(high - low, np.int64)
        shape = np.array(lengths, np.int64)
        _write(walk, np.uint64(seed), low, high, count, copies, shape, data[0], data[1], ends[0], ends[1], copy_of)
        columns = {
            name: pl.Series(
                pa.LargeStringArray.from_buffers(high - low, pa.py_buffer(end), pa.py_buffer(held[: end[-1]].copy()))
            )
            for name, held, end in zip(("text", "text_pos"), data, ends, strict=True)
        }
        yield pl.DataFrame({**columns, "copy_of": copy_of})


def both_sides(given: Source, count: int, **more: object) -> pl.Series:
    """The texts and text_pos of so many pairs in one column."""
    frame = pl.concat(pairs(given, count, **more))  # type: ignore[arg-type]
    return pl.concat([frame["text"], frame["text_pos"]])


compiled = numba.njit(nogil=True, cache=True)


@compiled
def _mix(z):  # type: ignore[no-untyped-def]
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return z ^ z >> np.uint64(31)


@compiled
def _start(state, seed, stream):  # type: ignore[no-untyped-def]
    state[0] = _mix(_mix(seed * _SPREAD) + stream * _SPREAD)


@compiled
def _below(state, n):  # type: ignore[no-untyped-def]
    state[0] += _SPREAD
    return np.int64((_mix(state[0]) >> np.uint64(32)) * np.uint64(n) >> np.uint64(32))


@compiled
def _unit(state):  # type: ignore[no-untyped-def]
    state[0] += _SPREAD
    return np.float64(_mix(state[0]) >> np.uint64(11)) * 2.0**-53


@compiled
def _walk(walk, state, median, out):  # type: ignore[no-untyped-def]
    """Writes one text; returns its length."""
    points, order, first, size = walk
    normal = np.sqrt(-2 * np.log(1 - _unit(state))) * np.cos(2 * np.pi * _unit(state))
    length = int(np.rint(median * np.exp(SPREAD * normal)))
    length = min(max(length, median // 4, 1), 4 * median)
    p = _below(state, points.shape[0])
    for i in range(length):
        out[i] = points[p]
        if _unit(state) < JUMP:
            p = order[first[p] + _below(state, size[p])]
        p = p + 1 if p + 1 < points.shape[0] else 0
    return length


@compiled
def _edit(points, state, target, out, n):  # type: ignore[no-untyped-def]
    """Substitutes, inserts and deletes characters until the Jaccard of shingles is about `target`; the new length."""
    lost = (1 - target) / (1 + target)  # share of shingles; each is hit by an edit at any of its three places
    edits = max(1, int(np.rint(n * (1 - (1 - lost) ** (1 / 3)))))
    for _ in range(edits):
        at = _below(state, n)
        kind = _below(state, 3)
        if kind == 0:
            out[at] = points[_below(state, points.shape[0])]
        elif kind == 1:
            for i in range(n, at, -1):
                out[i] = out[i - 1]
            out[at] = points[_below(state, points.shape[0])]
            n += 1
        elif n > 2:
            for i in range(at, n - 1):
                out[i] = out[i + 1]
            n -= 1
    return n


@compiled
def _encode(points, n, out, end):  # type: ignore[no-untyped-def]
    for i in range(n):
        c = points[i]
        if c < 0x80:
            out[end] = c
            end += 1
        elif c < 0x800:
            out[end], out[end + 1] = 0xC0 | c >> 6, 0x80 | c & 0x3F
            end += 2
        elif c < 0x10000:
            out[end], out[end + 1], out[end + 2] = 0xE0 | c >> 12, 0x80 | c >> 6 & 0x3F, 0x80 | c & 0x3F
            end += 3
        else:
            out[end], out[end + 1] = 0xF0 | c >> 18, 0x80 | c >> 12 & 0x3F
            out[end + 2], out[end + 3] = 0x80 | c >> 6 & 0x3F, 0x80 | c & 0x3F
            end += 4
    return end


@compiled
def _write(  # type: ignore[no-untyped-def]
    walk, seed, low, high, count, copies, lengths, text, text_pos, text_ends, pos_ends, copy_of
):
    state = np.empty(1, np.uint64)
    held = np.empty(6 * lengths.max(), np.uint32)
    for i in range(low, high):
        origin, which, target = np.int64(-1), 0, 1.0
        _start(state, seed, _COPY_STREAM + np.uint64(i))
        if _unit(state) < copies:
            if _unit(state) >= EXACT:
                which = 1 + _below(state, 3)  # edit the text, the text_pos, or both
                target = EDITED[0] + (EDITED[1] - EDITED[0]) * _unit(state)
            for turn in range(64):  # a copy of a copy would be of another Jaccard
                _start(state, seed, _COPY_STREAM * np.uint64(2) + np.uint64(i * 64 + turn))
                picked = _below(state, count)
                _start(state, seed, _COPY_STREAM + np.uint64(picked))
                if _unit(state) >= copies:
                    origin = picked
                    break
        copy_of[i - low] = origin
        made = origin if origin >= 0 else i
        for side in range(2):
            _start(state, seed, np.uint64(2 * made + side))
            n = _walk(walk, state, lengths[side], held)
            if origin >= 0 and which & 1 << side:
                _start(state, seed, _COPY_STREAM * np.uint64(3) + np.uint64(2 * i + side))
                n = _edit(walk[0], state, target, held, n)
            if side == 0:
                text_ends[i - low + 1] = _encode(held, n, text, text_ends[i - low])
            else:
                pos_ends[i - low + 1] = _encode(held, n, text_pos, pos_ends[i - low])
