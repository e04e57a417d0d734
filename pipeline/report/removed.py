"""Removed records beside the kept ones that they duplicate, and pairs of records at the border of being duplicates.

Examples, chosen the same way every time, from files that are scanned column by column: a build of any size takes the
memory of a few hundred texts. What may not be passed on is left out unless it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import polars as pl

from pipeline.report.opened import Build

#: Examples of one reason on the page; candidates looked at per corpus and reason.
EXAMPLES, LOOKED_AT = 6, 6
#: Pairs at the border, on either side of it; how far below the threshold a kept pair is still looked at.
BORDER, WIDTH = 8, 0.15
#: Columns of the ledger that are strings.
LEDGER = ("record_id", "corpus", "stage", "reason", "duplicate_of", "benchmark")
#: Reasons of dedupe whose similarity says something.
MEASURED = ("near_duplicate", "swapped_duplicate")


@dataclass(frozen=True)
class Held:
    """A record with its texts, in full."""

    record_id: str
    corpus: str
    text: str
    text_pos: str


@dataclass(frozen=True)
class Case:
    """A removed record and the kept one it duplicates; None where that may not be shown, or is not here.

    `swapped`: its text_pos is the kept record's text, and the other way round.
    """

    stage: str
    reason: str
    removed: Held
    kept: Held | None = None
    benchmark: str | None = None
    similarity: float | None = None

    @property
    def swapped(self) -> bool:
        return self.reason == "swapped_duplicate"


@dataclass(frozen=True)
class Border:
    """Two records nearly alike, both kept because they stay below the threshold."""

    first: Held
    second: Held
    similarity: float
    swapped: bool


@dataclass(frozen=True)
class Looks:
    """Examples per reason, the removed pairs nearest to the threshold, the kept ones nearest to it."""

    cases: Mapping[str, Sequence[Case]]
    just_removed: Sequence[Case]
    just_kept: Sequence[Border]


def looks(build: Build, *, show_all: bool = False) -> Looks:
    """What is shown of the removed records of a build; nothing of them where the store with their text is gone."""
    ledger = _chosen(build, show_all)
    edges = _edges(build)
    removed = _texts(build, ledger["record_id"], removed=True, show_all=show_all)
    wanted = [*ledger["duplicate_of"].drop_nulls(), *edges["first"], *edges["second"]]
    kept = _texts(build, wanted, removed=False, show_all=show_all)
    every = [
        Case(
            row["stage"],
            row["reason"],
            removed[row["record_id"]],
            kept.get(row["duplicate_of"]),
            row["benchmark"],
            row["similarity"],
        )
        for row in ledger.iter_rows(named=True)
        if row["record_id"] in removed
    ]
    # What stands beside its kept record says more.
    every.sort(key=lambda case: case.kept is None and case.stage == "dedupe")
    reasons = dict.fromkeys(case.reason for case in every)
    near = sorted(
        (
            case
            for case in every
            if case.reason in MEASURED and case.kept and case.similarity is not None and case.similarity < 1
        ),
        key=lambda case: (case.similarity, case.removed.record_id),
    )
    borders = [
        Border(kept[row["first"]], kept[row["second"]], row["similarity"], row["swapped"])
        for row in edges.iter_rows(named=True)
        if row["first"] in kept and row["second"] in kept
    ]
    return Looks({reason: _spread(every, reason) for reason in reasons}, near[:BORDER], borders[:BORDER])


def _spread(cases: Iterable[Case], reason: str) -> list[Case]:
    """Examples of one reason, one of each corpus before a second of any."""
    by_corpus: dict[str, list[Case]] = {}
    for case in cases:
        if case.reason == reason:
            by_corpus.setdefault(case.removed.corpus, []).append(case)
    rounds = zip_longest(*by_corpus.values())
    return [case for one in rounds for case in one if case is not None][:EXAMPLES]


def _chosen(build: Build, show_all: bool) -> pl.DataFrame:
    """Rows of the ledger that may become examples: a few per corpus and reason, and the least similar duplicates."""
    parts = []
    funnels = {funnel.corpus: funnel for funnel in build.funnels}
    for corpus in build.corpora:
        if not (show_all or build.free_parts(corpus)):
            continue
        ledger = pl.scan_parquet(build.ledger(corpus))
        # Reason by reason: so no more than the few that are taken is ever held.
        for reason in dict.fromkeys(reason for of in funnels[corpus].removed.values() for reason in of):
            few = ledger.filter(pl.col("reason") == reason).bottom_k(LOOKED_AT, by="record_id")
            parts.append(few.collect(engine="streaming"))
        least = ledger.filter(pl.col("reason").is_in(MEASURED)).bottom_k(2 * BORDER, by=["similarity", "record_id"])
        parts.append(least.collect(engine="streaming"))
    if not parts:
        return pl.DataFrame(schema=dict.fromkeys(LEDGER, pl.String) | {"similarity": pl.Float32})
    return pl.concat(parts).unique("record_id").sort("record_id")


def _edges(build: Build) -> pl.DataFrame:
    """Pairs of kept records just below the threshold, the most similar first: first, second, similarity, swapped."""
    nothing = pl.DataFrame(
        schema={"first": pl.String, "second": pl.String, "similarity": pl.Float32, "swapped": pl.Boolean}
    )
    path = build.folder / "evidence" / "edges.parquet"
    if not path.is_file():
        return nothing
    threshold = float(build.receipt["recipe"]["dedupe"]["threshold"])
    near = (
        pl.scan_parquet(path)
        # float32 may lie a hair below the threshold that it stands for.
        .filter((pl.col("similarity") < threshold - 1e-6) & (pl.col("similarity") >= threshold - WIDTH))
        .top_k(64 * BORDER, by=["similarity", "class_a", "class_b"])
        .collect(engine="streaming")
    )
    classes = pl.concat([near["class_a"], near["class_b"]]).unique().implode()
    holders = pl.concat(
        [
            pl.scan_parquet(build.evidence(corpus))
            .filter(pl.col("kept") & pl.col("class_id").is_in(classes))
            .select("class_id", "record_id")
            .collect(engine="streaming")
            for corpus in build.corpora
        ]
    ).unique("class_id", keep="first", maintain_order=True)
    if near.is_empty() or holders.is_empty():
        return nothing
    first = holders.rename({"class_id": "class_a", "record_id": "first"})
    second = holders.rename({"class_id": "class_b", "record_id": "second"})
    return (
        near.join(first, on="class_a")
        .join(second, on="class_b")
        .sort(["similarity", "class_a", "class_b"], descending=[True, False, False])
    )


def _texts(build: Build, ids: Iterable[str], *, removed: bool, show_all: bool) -> dict[str, Held]:
    """The records of these ids that are here and may be shown."""
    wanted = pl.Series(sorted(set(ids)), dtype=pl.String).implode()
    told: dict[str, Held] = {}
    for corpus in build.corpora:
        paths: Any = build.texts(corpus) if removed else build.data(corpus)
        if not paths:
            continue
        frame = pl.scan_parquet(paths).filter(pl.col("record_id").is_in(wanted))
        if not show_all:
            free = pl.Series(sorted(build.free_parts(corpus)), dtype=pl.String)
            frame = frame.filter(pl.col("sub_source").is_in(free.implode()))
        found = frame.select("record_id", "text", "text_pos").collect(engine="streaming")
        told |= {row[0]: Held(row[0], corpus, row[1], row[2]) for row in found.iter_rows()}
    return told
