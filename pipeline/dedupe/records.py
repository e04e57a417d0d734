"""From text shards to distinct match keys and to classes of exact copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dedupe.index import Index
from pipeline.minhash import Keys
from pipeline.minhash.keys import Hashes, Ints
from pipeline.normalize import key_hash, match_key
from pipeline.record import ROW_GROUP_ROWS

SIDES = ("text", "text_pos")


@dataclass(frozen=True)
class DedupeInput:
    """One corpus: its text shards, and what its manifest says of it. Without `near` only exact copies count."""

    corpus: str
    shards: Sequence[Path]
    symmetric: bool
    near: bool
    code_sides: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Classes:
    """Classes of records with equal ordered keys and equal flags, numbered in the order of exactly these four columns.

    `text` and `pos` are positions in the distinct keys, which stand in the order of their hashes; so neither the order
    of inputs nor that of rows decides any number.
    """

    text: Ints
    pos: Ints
    symmetric: npt.NDArray[np.bool_]
    near: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.text)

    @property
    def codes(self) -> Hashes:
        """One number per class, in ascending order."""
        return pack_class(self.text, self.pos, self.symmetric, self.near)


@dataclass(frozen=True)
class Gathered:
    """`strings[order[i]]` is the key at position i of `keys`; `members[c][s]` the class of every row of a shard."""

    keys: Keys
    strings: pa.LargeStringArray
    order: Ints
    classes: Classes
    members: list[list[npt.NDArray[np.uint32]]]


def pack_class(
    text: Ints, pos: Ints, symmetric: npt.NDArray[np.bool_] | bool, near: npt.NDArray[np.bool_] | bool
) -> Hashes:
    """31 bits for each key, one for each flag: room for two thousand million distinct keys."""
    flags = np.asarray(symmetric).astype(np.uint64) << np.uint64(1) | np.asarray(near).astype(np.uint64)
    return text.astype(np.uint64) << np.uint64(33) | pos.astype(np.uint64) << np.uint64(2) | flags


def gather(inputs: Sequence[DedupeInput]) -> Gathered:
    """Reads every shard once, batch by batch; holds each distinct key once and 8 bytes per record.

    Keys are told apart by their xxh3-64: among 50 million distinct ones two share it with a chance of 1 in 15,000.
    """
    index = Index()
    strings: list[pa.LargeStringArray] = [pa.array([], pa.large_string())]
    hashes: list[Hashes] = [np.zeros(0, np.uint64)]

    def numbers(column: pa.Array, code: bool) -> npt.NDArray[np.uint32]:
        # Passages come once per question, often in a row: every distinct text of a batch is normalised once.
        distinct = column.dictionary_encode()
        keys = match_key(pl.Series(distinct.dictionary, dtype=pl.String), code=code)
        hashed = key_hash(keys).to_numpy()
        number, fresh = index.add(np.ascontiguousarray(hashed))
        strings.append(keys.filter(pl.Series(fresh)).to_arrow().cast(pa.large_string()))
        hashes.append(hashed[fresh])
        return number[distinct.indices.to_numpy()].astype(np.uint32)

    sides: list[list[list[npt.NDArray[np.uint32]]]] = []
    for given in inputs:
        sides.append([])
        for shard in given.shards:
            with pq.ParquetFile(shard) as file:
                read = [
                    [numbers(batch.column(side), side in given.code_sides) for side in SIDES]
                    for batch in file.iter_batches(batch_size=ROW_GROUP_ROWS, columns=list(SIDES), use_threads=False)
                ]
            nothing = np.zeros(0, np.uint32)
            sides[-1].append([np.concatenate([nothing, *(batch[side] for batch in read)]) for side in range(2)])

    flat = np.concatenate(hashes)
    order = np.argsort(flat)
    rank = np.empty(len(flat), np.int64)
    rank[order] = np.arange(len(flat))
    held = pa.concat_arrays(strings)
    classes, members = _classify(inputs, sides, rank)
    return Gathered(Keys.of(held, flat, order), held, order, classes, members)


def _classify(
    inputs: Sequence[DedupeInput], sides: list[list[list[npt.NDArray[np.uint32]]]], rank: Ints
) -> tuple[Classes, list[list[npt.NDArray[np.uint32]]]]:
    codes = [
        [pack_class(rank[text], rank[pos], given.symmetric, given.near) for text, pos in shards]
        for given, shards in zip(inputs, sides, strict=True)
    ]
    distinct = np.unique(np.concatenate([np.zeros(0, np.uint64), *(code for shards in codes for code in shards)]))
    members = [[np.searchsorted(distinct, code).astype(np.uint32) for code in shards] for shards in codes]
    key = np.uint64((1 << 31) - 1)
    classes = Classes(
        (distinct >> np.uint64(33)).astype(np.int64),
        (distinct >> np.uint64(2) & key).astype(np.int64),
        (distinct & np.uint64(2)) > 0,
        (distinct & np.uint64(1)) > 0,
    )
    return classes, members
