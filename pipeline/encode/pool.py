"""The pool: every distinct text of a corpus once, so that no text is encoded twice, in shards that keep their content.

A text goes to the shard that the leading bits of its xxh3-64 name, and stands there by hash. So a record more or less
changes one shard per side and leaves the others, and their vectors, alone. The rows of all shards, one after another,
stand in the order of their hashes: a text is found by binary search.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import polars_hash as plh
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import FormatError
from pipeline.record import POOL_SCHEMA, ROW_GROUP_ROWS, shard_name
from pipeline.shards import write_parquet
from pipeline.store import Receipt

#: A pool shard holds about so many texts at most; their vectors are made in memory.
SHARD_TEXTS = 1 << 17


def pool(data: Sequence[Path], labelled: Sequence[Path], out: Path, *, one_side: bool) -> Receipt:
    """Write `pool-*.parquet` (POOL_SCHEMA): the distinct texts of `text`, `text_pos`, `text_neg`, and of labelled rows.

    data: shards with those three columns (of `convert` or of a build). labelled: shards with `text` and `other`.
    one_side: every text once, as `text` is encoded; else texts of `text_pos`, `text_neg` and `other` are documents, and
    a text that occurs on both sides stands twice. The number of shards is the least power of two that keeps them under
    SHARD_TEXTS on average. In memory: 8 bytes for every value read, and one shard.

    Returns `{"texts": 3, "documents": 1, "shards": 1, "values": 5}`.
    """
    hashes = [_hash(part["text"], part["document"]) for part in _values(data, labelled, one_side=one_side)]
    values = np.concatenate(hashes) if hashes else np.zeros(0, np.uint64)
    # Up to chance collisions, which only a count of shards could notice.
    distinct = len(np.unique(values))
    bits = max(0, int(np.ceil(np.log2(max(distinct, 1) / SHARD_TEXTS))))
    spilled = _spill(_values(data, labelled, one_side=one_side), out, bits)
    texts = documents = 0
    for shard, path in enumerate(spilled):
        with pa.memory_map(str(path)) as file:
            frame = pl.DataFrame(pa.ipc.open_file(file).read_all())
        frame = frame.unique()
        frame = frame.with_columns(hash=text_hash(frame["text"])).sort("hash", "text", "document").drop("hash")
        write_parquet(out / shard_name("pool", shard), frame.to_arrow().cast(POOL_SCHEMA))
        texts, documents = texts + frame.height, documents + int(frame["document"].sum())
        path.unlink()
    return {"texts": texts, "documents": documents, "shards": len(spilled), "values": len(values)}


def _values(data: Sequence[Path], labelled: Sequence[Path], *, one_side: bool) -> Iterator[pl.DataFrame]:
    """Row group by row group, the distinct (text, document) of each column."""
    sides = {"text": False, "other": not one_side, "text_pos": not one_side, "text_neg": not one_side}
    for paths, columns in ((data, ["text", "text_pos", "text_neg"]), (labelled, ["text", "other"])):
        for path in paths:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=ROW_GROUP_ROWS, columns=columns, use_threads=False):
                    frame = pl.DataFrame(pa.Table.from_batches([batch]))
                    for column in columns:
                        texts = frame.select(pl.col(column).alias("text"))
                        texts = texts.explode("text").drop_nulls() if column == "text_neg" else texts
                        yield texts.unique().with_columns(document=pl.lit(sides[column]))


def _hash(texts: pl.Series, documents: pl.Series) -> npt.NDArray[np.uint64]:
    """xxh3-64 of each text; of a document all bits turned, so that both sides of one text count."""
    hashes = text_hash(texts)
    return np.where(documents.to_numpy(), ~hashes, hashes)


def text_hash(texts: pl.Series) -> npt.NDArray[np.uint64]:
    """xxh3-64 of the UTF-8 bytes of every text: what orders a pool.

    >>> text_hash(pl.Series(["a"])).tolist()
    [16629034431890738719]
    """
    return texts.to_frame("text").select(plh.col("text").nchash.xxh3_64()).to_series().to_numpy()


def _spill(values: Iterator[pl.DataFrame], out: Path, bits: int) -> list[Path]:
    """Hand every value to a file of its shard, unsorted."""
    paths = [out / f".{shard_name('values', shard)}" for shard in range(1 << bits)]
    with ExitStack() as stack:
        writers = [stack.enter_context(pa.ipc.new_file(str(path), POOL_SCHEMA)) for path in paths]
        for part in values:
            shard = pl.Series((text_hash(part["text"]) >> np.uint64(64 - bits)) if bits else np.zeros(len(part), int))
            for (number,), rows in part.with_columns(shard=shard).partition_by("shard", as_dict=True).items():
                writers[number].write_table(rows.select("text", "document").to_arrow().cast(POOL_SCHEMA))
    return paths


class PoolIndex:
    """Where each text stands in a pool: its row over the shards one after another.

    9 bytes a text stay in memory.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = pa.Table.from_pylist([{"text": t, "document": False} for t in ("b", "a")], POOL_SCHEMA)
    ...     pq.write_table(table, f"{folder}/pool-00000.parquet")
    ...     PoolIndex([Path(folder, "pool-00000.parquet")]).find(pl.Series(["a", "c"]), document=False).tolist()
    [1, -1]
    """

    def __init__(self, shards: Sequence[Path]) -> None:
        hashes, documents = [np.zeros(0, np.uint64)], [np.zeros(0, np.bool_)]
        # Texts that share their hash with another text: by chance, hardly ever, so each is kept by name.
        self._collided: dict[tuple[str, bool], int] = {}
        start = 0
        for path in shards:
            frame = pl.read_parquet(path, columns=["text", "document"])
            hashes.append(text_hash(frame["text"]))
            documents.append(frame["document"].to_numpy())
            again = np.flatnonzero(hashes[-1][1:] == hashes[-1][:-1])
            differ = (frame["text"].gather(again) != frame["text"].gather(again + 1)).to_numpy()
            for row in np.flatnonzero(np.isin(hashes[-1], hashes[-1][again[differ]])).tolist():
                self._collided[frame["text"][row], frame["document"][row]] = start + row
            start += frame.height
        self.hashes, self.documents = np.concatenate(hashes), np.concatenate(documents)
        if (self.hashes[1:] < self.hashes[:-1]).any():
            cause = "the texts do not stand in the order of their hashes"
            raise FormatError(str(shards[0]), cause, "make the pool again: delete its folder in the store")

    def __len__(self) -> int:
        return len(self.hashes)

    def find(self, texts: pl.Series, *, document: bool) -> npt.NDArray[np.int64]:
        """int64 row of each text as encoded on that side, -1 where the pool does not hold it."""
        wanted = text_hash(texts)
        if not len(self):
            return np.full(len(wanted), -1, np.int64)
        rows = np.searchsorted(self.hashes, wanted)
        # Of one text the side of `text` stands first, then the document.
        after = np.minimum(rows + 1, len(self) - 1)
        rows = np.minimum(rows, len(self) - 1)
        found = np.where((self.documents[rows] != document) & (self.hashes[after] == wanted), after, rows)
        there = (self.hashes[found] == wanted) & (self.documents[found] == document)
        places = np.where(there, found, -1).astype(np.int64)
        if self._collided:
            shared = np.isin(wanted, np.unique(text_hash(pl.Series([text for text, _ in self._collided]))))
            for row in np.flatnonzero(shared):
                places[row] = self._collided.get((texts[int(row)], document), -1)
        return places
