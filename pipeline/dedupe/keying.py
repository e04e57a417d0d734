"""Keying one piece: its match keys, what they put into the bands, and which rows are equal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dedupe.bands import plan_of, write_bands
from pipeline.dedupe.index import Index
from pipeline.dedupe.pieces import PIECE_ROWS, SIDES, Piece
from pipeline.manifest.settings import DedupeConfig
from pipeline.minhash import Plan, Signer
from pipeline.minhash.compiled import Hashes, Ints
from pipeline.normalize import Folder, Laid, key_hash, picked

#: Rows read, folded and signed at a time: what one step leaves to the next is still in the cache.
BATCH = 8_192


class Room:
    """Tables for signatures that one piece leaves to the next: a new one of some 100 MB would be new memory each time.

    Each piece at work has one of its own. It travels empty, so that every process has its own room.
    """

    def __init__(self) -> None:
        self._free: list[Signer] = []

    def __reduce__(self) -> tuple[type[Room], tuple[()]]:
        return Room, ()

    @contextmanager
    def signer(self, plan: Plan) -> Iterator[Signer]:
        """For the keys of one piece."""
        try:
            signer = self._free.pop()
        except IndexError:
            signer = Signer(plan, 2 * PIECE_ROWS)
        signer.begin()
        yield signer
        self._free.append(signer)


def key_piece(piece: Piece, config: DedupeConfig, room: Room) -> None:
    """Reads a piece once, and writes all that later steps ask of it.

    `keys.utf8` holds the match keys, nearly all once; `hashes`, `start` and `size` tell of each distinct one, in the
    order of their hashes. `pair` is the number of each row's pair of keys, `text` and `text_pos` are the keys of each
    distinct pair. Of near records `write_bands` writes what keys and pairs put into the bands.
    """
    near = config.near and piece.near
    with room.signer(plan_of(config)) if near else nullcontext() as signer:
        _key_piece(piece, signer)


def _key_piece(piece: Piece, signer: Signer | None) -> None:
    keys, texts = _Keys(signer), {code: _Texts() for code in (False, True)}
    kinds = [texts[side in piece.code_sides] for side in SIDES]
    rows: list[list[Ints]] = [[np.zeros(0, np.int64)] for _ in SIDES]
    with piece.texts.open("wb") as file:
        for batch in _batches(piece):
            for side, kind, at in zip(SIDES, kinds, rows, strict=True):
                at.append(kind.add(batch.column(side), keys, file, code=side in piece.code_sides))
        for kind in texts.values():
            kind.add_rest(keys, file)
    text, pos = (kind.keys[np.concatenate(at)] for kind, at in zip(kinds, rows, strict=True))
    packed = text.astype(np.uint64) << np.uint64(32) | pos.astype(np.uint64)
    number, new = Index().add(packed)
    sides, place = [text[new], pos[new]], keys.save(piece)
    piece.save("pair", number.astype(np.uint32))
    for side, at_side in zip(SIDES, sides, strict=True):
        piece.save(side, place[at_side])
    if signer:
        write_bands(piece, signer.signed, keys.hashes(), sides[0], sides[1], place)


class _Texts:
    """Distinct texts, by the hash of what stands in the file, in the order in which they come; `keys` has the key of each."""

    def __init__(self) -> None:
        self.keys = np.zeros(2 * BATCH, np.int64)
        self._folder = Folder()
        self._index = Index()
        self._rest: list[pl.Series] = []
        self._rest_at: list[Ints] = []

    def add(self, column: pa.Array, keys: _Keys, file: BinaryIO, *, code: bool) -> Ints:
        """Folds the texts met for the first time; gives the place of every row's text."""
        before = self._index.count
        at, fresh = self._index.add(key_hash(pl.Series(column, dtype=pl.String)).to_numpy(writable=True))
        if self._index.count > len(self.keys):
            self.keys = np.concatenate([self.keys, np.zeros(self._index.count, np.int64)])
        rows = np.flatnonzero(fresh)
        laid, settled = self._folder.fold(column, rows, code=code)
        new = before + np.arange(len(rows))
        self.keys[new[settled]] = keys.add(laid, file)
        if not settled.all():
            self._rest.append(picked(column, rows[~settled]))
            self._rest_at.append(new[~settled])
        return at

    def add_rest(self, keys: _Keys, file: BinaryIO) -> None:
        """Folds what the table could not: all at once, as each step of it costs much and each text little."""
        if self._rest:
            self.keys[np.concatenate(self._rest_at)] = keys.add(self._folder.fold_rest(pl.concat(self._rest)), file)


class _Keys:
    """The distinct keys of a piece, in the order in which they come."""

    def __init__(self, signer: Signer | None) -> None:
        self._signer = signer
        self._index = Index()
        self._hashes: list[Hashes] = [np.zeros(0, np.uint64)]
        self._starts: list[Ints] = [np.zeros(0, np.int64)]
        self._sizes: list[Ints] = [np.zeros(0, np.int64)]
        self._written = 0

    def add(self, laid: Laid, file: BinaryIO) -> Ints:
        """The number of each key; new ones are signed, and all bytes written."""
        numbers, fresh = self._index.add(laid.hashes)
        start, end, hashes = laid.start[fresh], laid.end[fresh], laid.hashes[fresh]
        self._hashes.append(hashes)
        self._starts.append(start + self._written)
        self._sizes.append(end - start)
        self._written += len(laid.data)
        file.write(laid.data.data)
        if self._signer:
            self._signer.add(laid.data, start, end, hashes)
        return numbers

    def hashes(self) -> Hashes:
        return np.concatenate(self._hashes)

    def save(self, piece: Piece) -> npt.NDArray[np.uint32]:
        """Writes `hashes`, `start`, `size`; gives the place of each key in them."""
        hashes = self.hashes()
        order = np.argsort(hashes)
        place = np.empty(len(order), np.uint32)
        place[order] = np.arange(len(order), dtype=np.uint32)
        piece.save("hashes", hashes[order])
        piece.save("start", np.concatenate(self._starts)[order])
        piece.save("size", np.concatenate(self._sizes)[order])
        return place


def _batches(piece: Piece) -> Iterator[pa.RecordBatch]:
    """The piece's rows in batches; row groups before and behind are not read."""
    file = pq.ParquetFile(piece.shard, buffer_size=1 << 18, pre_buffer=False)  # or all of a row group lies in memory
    groups, before, at = [], 0, 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if at + rows <= piece.first:
            before = at + rows
        elif at < piece.first + piece.rows:
            groups.append(group)
        at += rows
    skip, left = piece.first - before, piece.rows
    for batch in file.iter_batches(BATCH, row_groups=groups, columns=list(SIDES), use_threads=False):
        wanted = batch.slice(skip, left)
        skip = max(0, skip - batch.num_rows)
        left -= wanted.num_rows
        if wanted.num_rows:
            yield wanted
        if not left:
            return
