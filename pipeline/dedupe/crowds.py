"""Crowds: classes that met in buckets too large to compare all by all."""

from __future__ import annotations

from collections.abc import Sequence
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
    everyone = np.concatenate([np.zeros(0, np.int64), *crowds])
    crowd = np.repeat(np.arange(len(crowds), dtype=np.uint64), [len(members) for members in crowds])
    text, pos = classes.sides(everyone)
    with pq.ParquetWriter(path, CROWD_SCHEMA, compression="zstd") as file:
        for part in blocks(classes.sizes[text].astype(np.int64) + classes.sizes[pos]):
            some = everyone[part]
            numbers = distinct(np.concatenate([text[part], pos[part]]))
            texts = _strings(*lying(pieces, classes, numbers))
            keys = [texts.take(pa.array(np.searchsorted(numbers, side[part]))) for side in (text, pos)]
            columns = [
                pa.array(crowd[part]),
                pa.array(some.astype(np.uint64)),
                pa.array(classes.symmetric(some)),
                *keys,
            ]
            file.write_table(pa.table(columns, schema=CROWD_SCHEMA), row_group_size=ROW_GROUP_ROWS)


def _strings(data: npt.NDArray[np.uint8], start: Ints, end: Ints) -> pa.LargeStringArray:
    offsets = np.concatenate([np.zeros(1, np.int64), end])
    return pa.LargeStringArray.from_buffers(len(end), pa.py_buffer(offsets), pa.py_buffer(data))
