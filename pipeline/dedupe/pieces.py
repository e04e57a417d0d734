"""Pieces: row groups of a text shard, keyed in one go. What is learned of a piece lies in a folder of its own.

Every function of this package that works on one piece takes paths and small settings and writes files, so that pieces
can go to threads, processes or other machines alike. Arrays are plain `.npy`, texts one file of bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

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
