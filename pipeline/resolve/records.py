"""What resolve holds of every record: 32 bytes, and 12 more where a recipe caps the positives of a text.

Files are read a row group at a time and go into arrays over all records; strings become numbers on the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from pipeline.errors import CountError
from pipeline.licence import Rank
from pipeline.shards import count_rows, read_groups
from pipeline.tombstones import struck

#: Records worked on at a time, where a whole column would be copied.
BLOCK = 1 << 20


@dataclass(frozen=True)
class ResolveInput:
    """One corpus' shards, positional to one another, in recipe order. Marks come in order of precedence.

    `standing`: records of a build that stands. They are kept, before all others, and nothing is written about them.
    """

    corpus: str
    grade: str
    ranks: dict[str, Rank]
    text: Sequence[Path]
    marks: dict[str, Sequence[Path]]
    classes: Sequence[Path]
    standing: bool = False


class Verdicts:
    """The distinct verdicts, numbered as they are met: stage, reason, benchmark. Number 0 is that of records that stay."""

    def __init__(self) -> None:
        self.told: list[tuple[str | None, str | None, str | None]] = [(None, None, None)]
        self._numbers = {self.told[0]: 0}

    def number(self, stage: str, reason: str, benchmark: str | None = None) -> int:
        told = (stage, reason, benchmark)
        if told not in self._numbers:
            self._numbers[told] = len(self.told)
            self.told.append(told)
        return self._numbers[told]


@dataclass(frozen=True, order=True)
class Tier:
    """Records of equal priority but for their ids, the first ones first; `unusable` ones are none the recipe wants."""

    ranked: int
    commercial: int
    redistribute: int
    grade: int
    place: int
    unusable: bool


@dataclass
class Records:
    """Columns over the records of all inputs, one corpus after another: corpus i has those of `spans[i]`.

    `head`, `tail`: the halves of a record id. `tier`: the number of its tier. `verdict`: number in `verdicts`, with its
    `similarity` (NaN: none). `keeper`: the record it duplicates, -1 for none. `text_key` and `quality` are empty where
    nobody asks for them.
    """

    spans: list[slice]
    tiers: list[Tier]
    head: npt.NDArray[np.uint64]
    tail: npt.NDArray[np.uint64]
    tier: npt.NDArray[np.uint16]
    class_id: npt.NDArray[np.uint32]
    verdict: npt.NDArray[np.uint16]
    similarity: npt.NDArray[np.float32]
    keeper: npt.NDArray[np.int32]
    text_key: npt.NDArray[np.uint64]
    quality: npt.NDArray[np.float32]
    verdicts: Verdicts = field(default_factory=Verdicts)

    def __len__(self) -> int:
        return len(self.head)

    def blocks(self) -> Iterator[slice]:
        return (slice(start, min(len(self), start + BLOCK)) for start in range(0, len(self), BLOCK))

    def standing(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        return np.array([not tier.ranked for tier in self.tiers])[self.tier[rows]]

    def places(self, rows: slice) -> npt.NDArray[np.uint16]:
        """Which input each record is from."""
        return np.array([tier.place for tier in self.tiers], np.uint16)[self.tier[rows]]

    def holders(self, rows: slice) -> npt.NDArray[np.uint32]:
        """The class that stands for each record: its own, or that of the record it duplicates."""
        keeper = self.keeper[rows]
        return np.where(keeper >= 0, self.class_id[keeper], self.class_id[rows])

    def order(self) -> npt.NDArray[np.int64]:
        """The records in the order of the walk; ids sort as their digits do. Ids are unique, so the order is total."""
        order = np.argsort(self.head)
        head = self.head[order]
        same = np.flatnonzero(head[1:] == head[:-1])
        if len(same):  # hardly ever: sorting by both halves from the start takes four times as long
            at = np.union1d(same, same + 1)
            some = order[at]
            order[at] = some[np.lexsort((some, self.tail[some], self.head[some]))]
        return order[np.argsort(self.tier[order], kind="stable")]


def gather(inputs: Sequence[ResolveInput], tombstones: frozenset[str], top: int | None, *, capped: bool) -> Records:
    """All records, with the verdicts that tombstones, marks and use classes give already.

    `capped`: text keys and quality scores are wanted too. Raises CountError where marks and text differ in length.
    """
    ends = np.cumsum([0, *(count_rows(given.text) for given in inputs)]).tolist()
    places = [_tiers(given, place) for place, given in enumerate(inputs)]
    tiers = sorted({tier for of in places for tier in of.values()})
    rows, more = ends[-1], ends[-1] if capped else 0
    records = Records(
        spans=[slice(start, stop) for start, stop in pairwise(ends)],
        tiers=tiers,
        head=np.empty(rows, np.uint64),
        tail=np.empty(rows, np.uint64),
        tier=np.empty(rows, np.uint16),
        class_id=np.empty(rows, np.uint32),
        verdict=np.zeros(rows, np.uint16),
        similarity=np.full(rows, np.nan, np.float32),
        keeper=np.full(rows, -1, np.int32),
        text_key=np.empty(more, np.uint64),
        quality=np.empty(more, np.float32),
    )
    for span, given, of in zip(records.spans, inputs, places, strict=True):
        numbers = {sub_source: tiers.index(tier) for sub_source, tier in of.items()}
        _read_text(records, span, given, numbers, tombstones)
        _read_classes(records, span, given, tombstones)
        for stage, paths in given.marks.items():
            _read_marks(records, span, given.corpus, stage, paths, top)
        unusable = np.array([tier.unusable for tier in tiers])[records.tier[span]] & (records.verdict[span] == 0)
        records.verdict[span][unusable] = records.verdicts.number("licence", "use_class")
    return records


def _tiers(given: ResolveInput, place: int) -> dict[str | None, Tier]:
    """Of every sub-source; None is any other."""
    told: dict[str | None, Tier] = {}
    for sub_source, rank in (*given.ranks.items(), (None, None)):
        ranks = (rank.commercial.rank, rank.redistribute.rank) if rank else (0, 0)
        unusable = rank is not None and not rank.usable and not given.standing
        told[sub_source] = Tier(int(not given.standing), *ranks, 0 if given.grade == "优" else 1, place, unusable)
    return told


def _groups(
    paths: Sequence[Path], columns: Sequence[str], span: slice, corpus: str
) -> Iterator[tuple[slice, pl.DataFrame]]:
    """Row groups of positional files and which records they speak of."""
    start = span.start
    for path in paths:
        for table in read_groups(path, columns):
            stop = start + table.num_rows
            yield slice(start, stop), pl.DataFrame(table)
            start = stop
    if start != span.stop:
        raise CountError(corpus, "marks and text differ in length", "remove the store and build again")


def _read_text(
    records: Records, span: slice, given: ResolveInput, numbers: dict[str | None, int], tombstones: frozenset[str]
) -> None:
    known = {sub_source: number for sub_source, number in numbers.items() if sub_source is not None}
    dead = records.verdicts.number("tombstone", "tombstone")
    columns = ["record_id", "sub_source", *(["quality_score"] if len(records.quality) else [])]
    for rows, frame in _groups(given.text, columns, span, given.corpus):
        found = frame.select(
            tier=pl.col("sub_source").replace_strict(known, default=numbers[None], return_dtype=pl.UInt16),
            dead=pl.lit(False) if given.standing else struck(tombstones, "record_id"),
        )
        # 32 hex digits each: all of them at once, as two numbers.
        halves = np.frombuffer(bytes.fromhex(frame["record_id"].str.join().item()), ">u8").reshape(-1, 2)
        records.head[rows], records.tail[rows] = halves.T
        records.tier[rows] = found["tier"].to_numpy()
        records.verdict[rows][found["dead"].to_numpy()] = dead
        if len(records.quality):
            records.quality[rows] = frame["quality_score"].fill_null(float("-inf")).to_numpy()


def _read_classes(records: Records, span: slice, given: ResolveInput, tombstones: frozenset[str]) -> None:
    dead = records.verdicts.number("tombstone", "tombstone")
    for rows, frame in _groups(given.classes, ["class_id", "text_key", "pos_key"], span, given.corpus):
        records.class_id[rows] = frame["class_id"].to_numpy()
        if len(records.text_key):
            records.text_key[rows] = frame["text_key"].to_numpy()
        if tombstones and not given.standing:
            hit = frame.select(struck(tombstones, None, "text_key", "pos_key")).to_series()
            records.verdict[rows][hit.to_numpy()] = dead


def _read_marks(records: Records, span: slice, corpus: str, stage: str, paths: Sequence[Path], top: int | None) -> None:
    """A stage's verdicts, or where it gives ranks the verdict on them; the first stage that has one is named."""
    ranked = bool(paths) and "rank" in pq.read_schema(paths[0]).names
    columns = ["rank", "score"] if ranked else ["reason", "against", "similarity"]
    for rows, frame in _groups(paths, columns, span, corpus):
        if ranked:
            over = pl.col("rank") > top if top is not None else pl.lit(False)
            reason, similarity = pl.when(over).then(pl.lit("rank")), pl.col("score")
            frame = frame.select(reason=reason, against=pl.lit(None, pl.String), similarity=similarity)
        against = pl.col("against") if stage == "decontaminate" else pl.lit(None, pl.String)
        free = pl.Series(records.verdict[rows] == 0)
        hit = frame.with_columns(against=against).with_row_index("row").filter(free & frame["reason"].is_not_null())
        for (reason, benchmark), found in hit.group_by("reason", "against", maintain_order=True):
            at = found["row"].to_numpy() + rows.start
            records.verdict[at] = records.verdicts.number(stage, str(reason), benchmark and str(benchmark))
            records.similarity[at] = found["similarity"].fill_null(float("nan")).to_numpy()
