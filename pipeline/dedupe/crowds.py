"""Crowds: classes, or keys, that met in buckets too large to compare all by all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dedupe.classes import Classes
from pipeline.dedupe.edges import edge_frame, measured
from pipeline.dedupe.index import distinct
from pipeline.dedupe.pieces import Piece
from pipeline.dedupe.texts import blocks, lying
from pipeline.manifest.settings import DedupeConfig
from pipeline.minhash import Compare, lead, leaders
from pipeline.minhash.keys import Floats, Ints
from pipeline.record import CROWD_SCHEMA, ROW_GROUP_ROWS

#: Edges under `groups` that a member may bring home.
LEADER_EDGES = 16


@dataclass
class _Led:
    """The edges of one crowd to its leaders."""

    pieces: Sequence[Piece]
    classes: Classes
    crowd: Ints
    config: DedupeConfig
    found: list[pl.DataFrame] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.brought = np.zeros(len(self.crowd), np.int64)

    def load(self, some: Ints) -> Compare:
        pairs, config = measured(self.pieces, self.classes, some), self.config

        def compare(leader: int, rest: Ints) -> Floats:
            one = np.full(len(rest), np.searchsorted(some, leader))
            text, pos, swapped = pairs.compare(one, np.searchsorted(some, rest), config.floor)
            similarity: Floats = np.minimum(text, pos)
            at = np.searchsorted(self.crowd, rest)
            low = (similarity >= config.floor) & (similarity < config.groups)
            self.brought[at[low]] += 1
            kept = (similarity >= config.groups) | (low & (self.brought[at] <= LEADER_EDGES))
            of = np.full(int(kept.sum()), leader)
            self.found.append(edge_frame(of, rest[kept], text[kept], pos[kept], swapped[kept]))
            return similarity

        return compare


def crowd_edges(
    pieces: Sequence[Piece], classes: Classes, crowds: Sequence[Ints], config: DedupeConfig
) -> list[pl.DataFrame]:
    """Edges of the members of each crowd to its leaders, in the order of classes: evidence, not yet a decision."""
    found: list[pl.DataFrame] = []
    for crowd in crowds:
        led = _Led(pieces, classes, crowd, config)
        lead((crowd[part] for part in _parts(classes, crowd)), led.load, leaders(len(crowd)), config.groups)
        found += led.found
    return found


def write_crowds(path: Path, pieces: Sequence[Piece], classes: Classes, crowds: Sequence[Ints]) -> None:
    """Who is in each crowd, with match keys (CROWD_SCHEMA): `resolve` compares them in an order of its own."""
    with pq.ParquetWriter(path, CROWD_SCHEMA, compression="zstd") as file:
        for number, crowd in enumerate(crowds):
            for part in _parts(classes, crowd):
                some = crowd[part]
                sides = classes.sides(some)
                numbers = distinct(np.concatenate(sides))
                texts = _strings(*lying(pieces, classes, numbers))
                keys = [texts.take(pa.array(np.searchsorted(numbers, side))) for side in sides]
                same = np.full(len(some), number, np.uint64)
                columns = [pa.array(same), pa.array(some.astype(np.uint64)), pa.array(classes.symmetric(some)), *keys]
                file.write_table(pa.table(columns, schema=CROWD_SCHEMA), row_group_size=ROW_GROUP_ROWS)


def _parts(classes: Classes, crowd: Ints) -> Iterable[slice]:
    text, pos = classes.sides(crowd)
    return blocks(classes.sizes[text].astype(np.int64) + classes.sizes[pos])


def _strings(data: npt.NDArray[np.uint8], start: Ints, end: Ints) -> pa.LargeStringArray:
    offsets = np.concatenate([np.zeros(1, np.int64), end])
    return pa.LargeStringArray.from_buffers(len(end), pa.py_buffer(offsets), pa.py_buffer(data))
