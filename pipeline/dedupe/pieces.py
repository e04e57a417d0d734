"""Pieces: row groups of a text shard, keyed in one go. What is learned of a piece lies in a folder of its own.

Every function of this package that works on one piece takes paths and small settings and writes files, so that pieces
can go to threads, processes or other machines alike. Arrays are plain `.npy`, texts one file of bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dedupe.index import Index
from pipeline.minhash.compiled import Hashes, Ints
from pipeline.normalize import key_hash, match_keys
from pipeline.record import ROW_GROUP_ROWS

SIDES = ("text", "text_pos")
#: Rows of a piece, as far as row groups let: two of them, some 70 MB of keys.
PIECE_ROWS = 2 * ROW_GROUP_ROWS


@dataclass(frozen=True)
class DedupeInput:
    """One corpus: its text shards, and what its manifest says of it. Without `near` only exact copies count."""

    corpus: str
    shards: Sequence[Path]
    symmetric: bool
    near: bool
    code_sides: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Piece:
    """Rows `first` to `first + rows` of one shard; its files lie in `folder`."""

    number: int
    corpus: str
    shard: Path
    first: int
    rows: int
    symmetric: bool
    near: bool
    code_sides: frozenset[str]
    folder: Path

    @property
    def flags(self) -> int:
        """Two bits: symmetric, near."""
        return 2 * self.symmetric + self.near

    def load(self, name: str) -> Any:
        return np.load(self.folder / f"{name}.npy")

    def save(self, name: str, array: Any) -> None:
        np.save(self.folder / f"{name}.npy", array)

    @property
    def texts(self) -> Path:
        return self.folder / "keys.utf8"


def cut(inputs: Sequence[DedupeInput], folder: Path) -> list[Piece]:
    """The pieces of all shards in order, of PIECE_ROWS rows where there are so many left."""
    folder.mkdir(parents=True)
    pieces: list[Piece] = []
    for given in inputs:
        for shard in given.shards:
            held = pq.read_metadata(shard).num_rows
            for first in range(0, max(held, 1), PIECE_ROWS):
                home = folder / f"{len(pieces):05d}"
                home.mkdir(parents=True)
                size = min(PIECE_ROWS, held - first)
                flags = (given.symmetric, given.near, given.code_sides)
                pieces.append(Piece(len(pieces), given.corpus, shard, first, size, *flags, home))
    return pieces


def key_piece(piece: Piece) -> None:
    """Match keys of both sides: each distinct one once in `keys.utf8`, in the order of their hashes in the arrays.

    `hashes`, `start` and `size` tell of the keys, `text` and `text_pos` which key each row has.
    """
    index = Index()
    hashes: list[Hashes] = [np.zeros(0, np.uint64)]
    sizes: list[Ints] = [np.zeros(0, np.int64)]
    sides: dict[str, list[Ints]] = {side: [np.zeros(0, np.int64)] for side in SIDES}
    with piece.texts.open("wb") as file:
        for first in range(piece.first, piece.first + piece.rows, ROW_GROUP_ROWS):
            rows = min(ROW_GROUP_ROWS, piece.first + piece.rows - first)
            frame = pl.scan_parquet(piece.shard).select(SIDES).slice(first, rows).collect()
            for side in SIDES:
                # Passages come once per question, often in a row: every distinct text is normalised once.
                of, fresh = Index().add(np.ascontiguousarray(key_hash(frame[side]).to_numpy()))
                distinct = frame[side] if fresh.all() else frame[side].filter(pl.Series(fresh))
                number = np.empty(len(distinct), np.int64)
                for rows_of, keys in match_keys(distinct, code=side in piece.code_sides):
                    hashed = key_hash(keys).to_numpy()
                    number[slice(None) if rows_of is None else rows_of], fresh = index.add(np.ascontiguousarray(hashed))
                    sizes.append(_write(file, keys if fresh.all() else keys.filter(pl.Series(fresh))))
                    hashes.append(hashed[fresh])
                sides[side].append(number[of])
    held, size = np.concatenate(hashes), np.concatenate(sizes)
    order = np.argsort(held)
    place = np.empty(len(order), np.uint32)
    place[order] = np.arange(len(order), dtype=np.uint32)
    piece.save("hashes", held[order])
    piece.save("start", (np.cumsum(size) - size)[order])
    piece.save("size", size[order])
    for side in SIDES:
        piece.save(side, place[np.concatenate(sides[side])])


def _write(file: BinaryIO, keys: pl.Series) -> Ints:
    """Appends the bytes of some keys; how many each has."""
    column: Any = keys.rechunk().to_arrow().cast(pa.large_string())
    _, offsets, data = column.buffers()
    if not len(column):
        return np.zeros(0, np.int64)
    bounds = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    if data is not None:
        file.write(memoryview(data)[bounds[0] : bounds[-1]])
    return np.diff(bounds)
