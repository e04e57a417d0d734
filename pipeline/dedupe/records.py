"""From text shards to distinct match keys and to classes of exact copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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

Numbers = npt.NDArray[np.uint32]
SIDES = ("text", "text_pos")


@dataclass(frozen=True)
class DedupeInput:
    """One corpus: its text shards, and what its manifest says of it. Without `near` only exact copies count.

    `rank` is where its records stand when `resolve` walks them, lower first; only huge buckets ask for it.
    """

    corpus: str
    shards: Sequence[Path]
    symmetric: bool
    near: bool
    code_sides: frozenset[str] = frozenset()
    rank: int = 0


@dataclass(frozen=True)
class Classes:
    """Classes of records with equal ordered keys and equal flags, numbered in the order of exactly these four columns.

    `text` and `pos` are positions in the distinct keys, which stand in the order of their hashes; so neither the order
    of inputs nor that of rows decides any number. `priority` is the place of a class' best record in the order of rank
    and record_id.
    """

    text: Ints
    pos: Ints
    symmetric: npt.NDArray[np.bool_]
    near: npt.NDArray[np.bool_]
    priority: Ints

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
    members: list[list[Numbers]]


def pack_class(
    text: Ints, pos: Ints, symmetric: npt.NDArray[np.bool_] | bool, near: npt.NDArray[np.bool_] | bool
) -> Hashes:
    """31 bits for each key, one for each flag: room for two thousand million distinct keys."""
    flags = np.asarray(symmetric).astype(np.uint64) << np.uint64(1) | np.asarray(near).astype(np.uint64)
    packed: Hashes = text.astype(np.uint64) << np.uint64(33) | pos.astype(np.uint64) << np.uint64(2) | flags
    return packed


def gather(inputs: Sequence[DedupeInput]) -> Gathered:
    """Reads every shard once, batch by batch; holds each distinct key once and 16 bytes per record.

    Keys are told apart by their xxh3-64: among 50 million distinct ones two share it with a chance of 1 in 15,000.
    """
    index = Index()
    strings: list[pa.LargeStringArray] = [pa.array([], pa.large_string())]
    hashes: list[Hashes] = [np.zeros(0, np.uint64)]

    def numbers(column: pa.Array, code: bool) -> Numbers:
        # Passages come once per question, often in a row: every distinct text of a batch is normalised once.
        distinct = column.dictionary_encode()
        keys = match_key(pl.Series(distinct.dictionary, dtype=pl.String), code=code)
        hashed = key_hash(keys).to_numpy()
        number, fresh = index.add(np.ascontiguousarray(hashed))
        strings.append(keys.filter(pl.Series(fresh)).to_arrow().cast(pa.large_string()))
        hashes.append(hashed[fresh])
        rows: Numbers = number[distinct.indices.to_numpy()].astype(np.uint32)
        return rows

    read: list[list[_Shard]] = []
    for given in inputs:
        read.append([])
        for shard in given.shards:
            batches = [_Shard(np.zeros(0, np.uint32), np.zeros(0, np.uint32), np.zeros(0, np.uint64))]
            with pq.ParquetFile(shard) as file:
                for batch in file.iter_batches(ROW_GROUP_ROWS, columns=["record_id", *SIDES], use_threads=False):
                    text, pos = (numbers(batch.column(side), side in given.code_sides) for side in SIDES)
                    batches.append(_Shard(text, pos, _leading(batch.column("record_id"))))
            text, pos, ids = (np.concatenate(column) for column in zip(*batches, strict=True))
            read[-1].append(_Shard(text, pos, ids))

    flat = np.concatenate(hashes)
    order = np.argsort(flat)
    rank = np.empty(len(flat), np.int64)
    rank[order] = np.arange(len(flat))
    held = pa.concat_arrays(strings)
    classes, members = _classify(inputs, read, rank)
    return Gathered(Keys.of(held, flat, order), held, order, classes, members)


class _Shard(NamedTuple):
    """Per record: the numbers of its keys, and the first half of its id."""

    text: Numbers
    pos: Numbers
    ids: Hashes


def _leading(ids: pa.Array) -> Hashes:
    """The first 16 of 32 hex digits as a number, which sorts as the ids do."""
    digits = pl.Series(ids, dtype=pl.String).str.slice(0, 16)
    return digits.str.to_integer(base=16, dtype=pl.UInt64).to_numpy()


def _classify(
    inputs: Sequence[DedupeInput], read: list[list[_Shard]], rank: Ints
) -> tuple[Classes, list[list[Numbers]]]:
    codes = [
        [pack_class(rank[shard.text], rank[shard.pos], given.symmetric, given.near) for shard in shards]
        for given, shards in zip(inputs, read, strict=True)
    ]
    distinct = np.unique(np.concatenate([np.zeros(0, np.uint64), *(code for shards in codes for code in shards)]))
    members = [[np.searchsorted(distinct, code).astype(np.uint32) for code in shards] for shards in codes]
    best = np.full(len(distinct), np.iinfo(np.int64).max)
    for given, numbers in zip(inputs, members, strict=True):
        for number in numbers:
            best[number] = np.minimum(best[number], given.rank)
    least = np.full(len(distinct), np.iinfo(np.uint64).max)
    for given, shards, numbers in zip(inputs, read, members, strict=True):
        for shard, number in zip(shards, numbers, strict=True):
            mine = best[number] == given.rank
            np.minimum.at(least, number[mine], shard.ids[mine])
    priority = np.empty(len(distinct), np.int64)
    priority[np.lexsort((least, best))] = np.arange(len(distinct))
    key = np.uint64((1 << 31) - 1)
    classes = Classes(
        (distinct >> np.uint64(33)).astype(np.int64),
        (distinct >> np.uint64(2) & key).astype(np.int64),
        (distinct & np.uint64(2)) > 0,
        (distinct & np.uint64(1)) > 0,
        priority,
    )
    return classes, members
