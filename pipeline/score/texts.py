"""The texts of a pool by number: hashes of all of them, and the chosen ones in one file that is looked up by number.

Negatives point anywhere in the pool, which may be larger than memory. So the pool is read once, front to back; what was
chosen goes end to end into a flat file, and the numbers of a block of records are gathered from its memory map.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit
from numpy.typing import NDArray

from pipeline.errors import CountError
from pipeline.normalize import key_hash, match_key


class TextFile(NamedTuple):
    """Chosen texts of a pool, and of all its texts, chosen or not: `hashes`, xxh3-64 of the text, and `keys`, xxh3-64 of
    its match key; uint64 [n], `keys` only where asked for."""

    content: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    keys: NDArray[np.uint64]

    def take(self, ids: NDArray[np.uint32]) -> pa.StringArray:
        """These texts, in this order; fewer than 2 GiB of them at a time."""
        offsets = np.zeros(len(ids) + 1, np.int32)
        np.cumsum(self.lengths[ids], out=offsets[1:])
        gathered = np.empty(int(offsets[-1]), np.uint8)
        _gather(self.content, self.starts[ids], offsets, gathered)
        return pa.Array.from_buffers(
            pa.string(), len(ids), [None, pa.py_buffer(offsets), pa.py_buffer(gathered)], null_count=0
        )


def write_texts(pool: Sequence[Path], chosen: NDArray[np.uint32], path: Path, *, keyed: bool) -> TextFile:
    """Read a pool (shards of POOL_SCHEMA, one after another) and write the texts numbered `chosen` to `path`.

    24 bytes per text of the pool are held, with keys 32. Raises CountError where a number lies beyond the pool.
    """
    rows = sum(pq.read_metadata(shard).num_rows for shard in pool)
    if len(chosen) and int(chosen.max()) >= rows:
        raise CountError(
            str(path.parent),
            f"a negative has number {int(chosen.max())}, but the pool holds {rows} texts",
            "candidates and pool are of different builds: build again",
        )
    wanted = np.zeros(rows, np.bool_)
    wanted[chosen] = True
    starts, lengths = np.zeros(rows, np.int64), np.zeros(rows, np.int64)
    hashes, keys = np.empty(rows, np.uint64), np.empty(rows if keyed else 0, np.uint64)
    first = at = 0
    with path.open("wb") as file:
        for shard in pool:
            column = pl.read_parquet(shard, columns=["text"])["text"]
            last = first + column.len()
            hashes[first:last] = key_hash(column).to_numpy()
            if keyed:
                keys[first:last] = key_hash(match_key(column)).to_numpy()
            kept = column.filter(pl.Series(wanted[first:last]))
            ids = first + np.flatnonzero(wanted[first:last])
            lengths[ids] = kept.str.len_bytes().to_numpy()
            starts[ids] = at + np.cumsum(lengths[ids]) - lengths[ids]
            at += int(lengths[ids].sum())
            _append(file, kept)
            first = last
    content = np.memmap(path, np.uint8, "r") if at else np.frombuffer(b"", np.uint8)
    return TextFile(content, starts, lengths, hashes, keys)


def _append(file: BinaryIO, texts: pl.Series) -> None:
    array = texts.to_arrow(compat_level=pl.CompatLevel.oldest())
    if len(array):
        offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
        file.write(memoryview(array.buffers()[2])[int(offsets[0]) : int(offsets[-1])])


def same_text(hashes: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Of every text of a pool, the number under which the same text stands first.

    One text may stand there twice: once per side, where the encoder has two prompts, and in several corpora.

    >>> same_text(np.array([7, 3, 7], np.uint64)).tolist()
    [0, 1, 0]
    """
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    found: NDArray[np.uint32] = first.astype(np.uint32)[inverse]
    return found


@njit(cache=True, nogil=True)
def _gather(
    content: NDArray[np.uint8], starts: NDArray[np.int64], offsets: NDArray[np.int32], out: NDArray[np.uint8]
) -> None:
    for i in range(len(starts)):
        length = offsets[i + 1] - offsets[i]
        out[offsets[i] : offsets[i + 1]] = content[starts[i] : starts[i] + length]
