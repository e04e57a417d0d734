"""Crowds: classes that met in buckets too large to compare all by all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dedupe.classes import Classes
from pipeline.dedupe.index import distinct
from pipeline.dedupe.pieces import Piece
from pipeline.dedupe.texts import lying
from pipeline.minhash.compiled import Ints, blocks
from pipeline.record import CROWD_SCHEMA, ROW_GROUP_ROWS


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
