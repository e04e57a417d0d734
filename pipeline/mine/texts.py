"""What is mined: the records, labelled rows and pool of each corpus, with texts turned into pool ids and match keys."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from pipeline.encode.pool import PoolIndex
from pipeline.errors import CountError, FormatError
from pipeline.mine.csr import Bools
from pipeline.normalize import key_hash, match_key
from pipeline.record import ROW_GROUP_ROWS

Hashes = npt.NDArray[np.uint64]
Ids = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class MineInput:
    """One corpus of a finished build: its records and labelled rows, the distinct texts of both, and their vectors.

    data: DATA_SCHEMA shards. labelled: LABELLED_DATA_SCHEMA files, none where it has none. pool: POOL_SCHEMA shards.
    vectors: one .npy per pool shard.
    """

    corpus: str
    symmetric: bool
    data: Sequence[Path]
    labelled: Sequence[Path]
    pool: Sequence[Path]
    vectors: Sequence[Path]
    code_sides: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Known:
    """What is known of one corpus of the build, mined now or not: EVIDENCE_SCHEMA and labelled rows."""

    corpus: str
    symmetric: bool
    evidence: Path
    labelled: Sequence[Path] = ()
    code_sides: frozenset[str] = frozenset()


class Pool:
    """Where the texts of several corpora stand: their pools, one after another."""

    def __init__(self, inputs: Sequence[MineInput]) -> None:
        self._indexes = [PoolIndex(given.pool) for given in inputs]
        self.starts = np.cumsum([0, *map(len, self._indexes)])
        self._sides = [
            not given.symmetric and bool(i.documents.any()) for given, i in zip(inputs, self._indexes, strict=True)
        ]

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def hashes(self) -> Hashes:
        return np.concatenate([np.zeros(0, np.uint64), *(index.hashes for index in self._indexes)])

    def find(self, corpus: int, texts: pl.Series, *, document: bool) -> Ids:
        """The ids of texts of corpus number `corpus`, as they are encoded on that side.

        Raises FormatError where one is missing: the pool was made of other data.
        """
        at = self._indexes[corpus].find(texts, document=document and self._sides[corpus])
        if missing := int((at < 0).sum()):
            cause = f"{missing} texts of the data are not in the pool"
            raise FormatError(
                "pool", cause, "it was made of other data: delete its folder in the store and build again"
            )
        ids: Ids = (self.starts[corpus] + at).astype(np.uint32)
        return ids


@dataclass(frozen=True)
class Records:
    """The records of one corpus, in data order: pool ids and near-duplicate groups of both sides, and `drawn_by`, the
    leading 64 bits of record_id. `negatives` has the columns row, id, key: what is shipped with them."""

    text: Ids
    pos: Ids
    text_group: Hashes
    pos_group: Hashes
    doc_group: Hashes
    drawn_by: Hashes
    shards: Sequence[int]
    negatives: pl.DataFrame

    def __len__(self) -> int:
        return len(self.text)


@dataclass(frozen=True)
class Labelled:
    """Judged pairs of one corpus, in file order: pool ids and match keys of both texts. `label` is null for mere scores."""

    text: Ids
    other: Ids
    text_key: Hashes
    other_key: Hashes
    label: pl.Series

    def pairs(self, label: bool) -> Bools:
        return (self.label == label).fill_null(False).to_numpy()


class Names:
    """Match key and group of every pool row. A text that no record of the build has is a group of its own key."""

    def __init__(self, pool: Pool) -> None:
        self.key, self.group = pool.hashes.copy(), pool.hashes.copy()
        self._named = np.zeros(len(pool), np.bool_)

    def record(self, ids: Ids, keys: Hashes, groups: Hashes) -> None:
        """Record sides: what the evidence says of them counts, whatever a labelled row said before."""
        self.key[ids], self.group[ids], self._named[ids] = keys, groups, True

    def other(self, ids: Ids, keys: Hashes, groups: Hashes) -> None:
        fresh = ~self._named[ids]
        self.key[ids[fresh]], self.group[ids[fresh]] = keys[fresh], groups[fresh]


def batches(path: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROW_GROUP_ROWS, columns=list(columns), use_threads=False):
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            yield frame


def keys_of(texts: pl.Series, code_sides: Collection[str], side: str) -> Hashes:
    keys: Hashes = key_hash(match_key(texts, code=side in code_sides)).to_numpy()
    return keys


def read_records(given: MineInput, number: int, pool: Pool, evidence: Path, names: Names) -> Records:
    """Both sides of every record as ids, with the groups that the evidence gives; raises CountError where they part."""
    known = read_evidence(evidence).filter("kept")
    columns: dict[str, list[npt.NDArray[np.generic]]] = {name: [] for name in ("text", "pos", "doc_group", "drawn_by")}
    negatives = [pl.DataFrame(schema={"row": pl.Int64, "id": pl.UInt32, "key": pl.UInt64})]
    shards, at = [], 0
    for path in given.data:
        begin = at
        for batch in batches(path, ["record_id", "text", "text_pos", "text_neg", "doc_group"]):
            part = known[at : at + batch.height]
            if not part["record_id"].equals(batch["record_id"]):
                raise CountError(given.corpus, "data and evidence speak of different records", "build the base again")
            text = pool.find(number, batch["text"], document=False)
            pos = pool.find(number, batch["text_pos"], document=True)
            names.record(text, part["text_key"].to_numpy(), part["text_group"].to_numpy())
            names.record(pos, part["pos_key"].to_numpy(), part["pos_group"].to_numpy())
            columns["text"].append(text)
            columns["pos"].append(pos)
            columns["doc_group"].append(batch["doc_group"].to_numpy())
            columns["drawn_by"].append(leading(batch["record_id"]))
            shipped = batch.select("text_neg").with_row_index("row", at).explode("text_neg").drop_nulls()
            if shipped.height:
                negatives.append(
                    pl.DataFrame(
                        {
                            "row": shipped["row"].cast(pl.Int64),
                            "id": pool.find(number, shipped["text_neg"], document=True),
                            "key": keys_of(shipped["text_neg"], given.code_sides, "text_pos"),
                        }
                    )
                )
            at += batch.height
        shards.append(at - begin)
    if at != known.height:
        raise CountError(
            given.corpus, f"{at} records, but evidence of {known.height} kept ones", "build the base again"
        )
    empty = {"text": np.uint32, "pos": np.uint32, "doc_group": np.uint64, "drawn_by": np.uint64}
    flat = {name: np.concatenate([np.zeros(0, empty[name]), *parts]) for name, parts in columns.items()}
    return Records(
        flat["text"],
        flat["pos"],
        known["text_group"].to_numpy(),
        known["pos_group"].to_numpy(),
        flat["doc_group"],
        flat["drawn_by"],
        shards,
        pl.concat(negatives),
    )


def read_evidence(path: Path) -> pl.DataFrame:
    """Raises FormatError where a build has no evidence: without it nobody knows which texts are positives."""
    if not path.is_file():
        raise FormatError(path.name, "the base build holds no evidence of this corpus", "build the base again")
    columns = ["record_id", "kept", "text_key", "pos_key", "text_group", "pos_group", "cluster"]
    return pl.read_parquet(path, columns=columns, memory_map=True)


def read_labelled(given: MineInput, number: int, pool: Pool) -> Labelled:
    """Judged pairs as ids and keys."""
    frame = pl.concat(
        [pl.DataFrame(schema={"text": pl.String, "other": pl.String, "label": pl.Boolean})]
        + [pl.read_parquet(path, columns=["text", "other", "label"]) for path in given.labelled]
    )
    return Labelled(
        pool.find(number, frame["text"], document=False),
        pool.find(number, frame["other"], document=True),
        keys_of(frame["text"], given.code_sides, "text"),
        keys_of(frame["other"], given.code_sides, "text_pos"),
        frame["label"],
    )


def leading(record_ids: pl.Series) -> Hashes:
    """The first 16 of 32 hex digits as a number."""
    digits = record_ids.str.slice(0, 16).str.to_integer(base=16, dtype=pl.UInt64)
    number: Hashes = digits.to_numpy()
    return number
