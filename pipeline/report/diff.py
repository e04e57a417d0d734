"""Two builds side by side: which records came, went, moved, were rewritten or got other terms, and why.

Records are told apart by their ids, which a re-download, a new cleaner or another threshold does not change. Each corpus
is joined by itself, in parts of its ids, so that memory does not grow with the build.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from pipeline.errors import UsageError
from pipeline.ledger import Funnel
from pipeline.report.opened import Build, open_build

#: Records of a corpus that are joined at a time, about.
PART_RECORDS = 1_000_000
#: Where a keeper is of neither build's corpora: the builds were made against one that stands.
STANDING = "a build that stands"
_TERMS = ("licence_id", "commercial", "redistribute")


@dataclass
class Change:
    """What became of one corpus from the first build to the second.

    `entered` and `dropped` count records that only one of the builds keeps, by why the other does not: the reason in
    its ledger, or `absent` where its sources do not hold them. Of the dropped, `moved` are still there, as a copy that
    another corpus (by name) or another record of the same one keeps now and did not before. `judged` are removed by
    both, for another reason (`old → new`). Of those that both keep, `rewritten` have another text, `terms` other terms.
    """

    corpus: str
    converted: tuple[int, int] = (0, 0)
    kept: tuple[int, int] = (0, 0)
    entered: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)
    judged: Counter[str] = field(default_factory=Counter)
    terms: Counter[str] = field(default_factory=Counter)
    rewritten: int = 0

    @property
    def is_none(self) -> bool:
        counted = (self.entered, self.dropped, self.judged, self.terms)
        return not any(counted) and not self.rewritten and self.converted[0] == self.converted[1]

    def told(self) -> dict[str, Any]:
        return {name: dict(sorted(v.items())) if isinstance(v, Counter) else v for name, v in vars(self).items()}


@dataclass(frozen=True)
class Diff:
    """`settings`, `sources` and `versions` hold what differs, by dotted key: (first, second)."""

    builds: tuple[Build, Build]
    changes: tuple[Change, ...]
    settings: dict[str, tuple[Any, Any]]
    sources: dict[str, tuple[Any, Any]]
    versions: dict[str, tuple[Any, Any]]
    licences: dict[str, tuple[int, int]]
    leaks: dict[str, tuple[int, int]]

    def told(self) -> dict[str, Any]:
        """For programs."""
        return {
            "builds": [str(build.folder) for build in self.builds],
            "corpora": [change.told() for change in self.changes],
            **{name: getattr(self, name) for name in ("settings", "sources", "versions", "licences", "leaks")},
        }


def diff(first: Build, second: Build) -> Diff:
    """Everything that differs from the first build to the second.

    A corpus whose files are the same in both, to the byte, is not read. Raises UsageError where a build holds no
    evidence of one of its corpora.
    """
    builds = (first, second)
    names = list(dict.fromkeys([*first.corpora, *second.corpora]))
    changes, waiting = [], []
    for name in names:
        funnels = [_funnel(build, name) for build in builds]
        change = Change(
            name,
            (funnels[0].converted, funnels[1].converted),
            (funnels[0].kept, funnels[1].kept),
        )
        if not _same(builds, name):
            waiting += [*_compare(builds, change)]
        changes.append(change)
    _moved(builds, {change.corpus: change for change in changes}, waiting)
    one, two = first.receipt, second.receipt
    locks = [{name: _source(lock) for name, lock in told["lock"].items()} for told in (one, two)]
    return Diff(
        builds,
        tuple(changes),
        _differing(one["recipe"], two["recipe"]),
        _differing(locks[0], locks[1]),
        _differing(one["versions"], two["versions"]),
        _numbers(*(_mix(build) for build in builds)),
        _numbers(*(_leaks(build) for build in builds)),
    )


def _funnel(build: Build, corpus: str) -> Funnel:
    found = [funnel for funnel in build.funnels if funnel.corpus == corpus]
    return found[0] if found else Funnel(corpus, 0, 0, 0, 0, 0, 0)


def _same(builds: tuple[Build, Build], corpus: str) -> bool:
    """Whether data, ledger and evidence of a corpus are the same bytes in both."""
    starts = tuple(f"{folder}/{corpus}{end}" for folder, end in (("data", "/"), ("ledger", "."), ("evidence", ".")))
    one, two = (
        {name: told["sha256"] for name, told in build.receipt["files"].items() if name.startswith(starts)}
        for build in builds
    )
    return one == two


def _compare(builds: tuple[Build, Build], change: Change) -> Iterator[pl.DataFrame]:
    """Count one corpus; gives back its records that a duplicate stands for now, with the keeper's id."""
    corpus = change.corpus
    parts = max(1, -(-max(change.converted) // PART_RECORDS))
    for part in range(parts):
        one, two = (_records(build, corpus, part, parts) for build in builds)
        both = one.join(two, on="record_id", how="full", coalesce=True, suffix="_b")
        here, there = pl.col("kept").fill_null(False), pl.col("kept_b").fill_null(False)
        change.entered.update(_counted(both.filter(~here & there), _why("")))
        dropped = both.filter(here & ~there)
        change.dropped.update(_counted(dropped, _why("_b")))
        other = both.filter(~here & ~there & pl.col("kept").is_not_null() & pl.col("kept_b").is_not_null())
        judged = other.filter(pl.col("reason") != pl.col("reason_b"))
        change.judged.update(_counted(judged, pl.format("{} → {}", "reason", "reason_b")))
        held = both.filter(here & there)
        changed = held.filter(pl.any_horizontal(pl.col(t).ne_missing(pl.col(f"{t}_b")) for t in _TERMS))
        old, new = (pl.format("{} ({}, {})", *(f"{t}{end}" for t in _TERMS)) for end in ("", "_b"))
        change.terms.update(_counted(changed, pl.format("{} → {}", old, new)))
        change.rewritten += held.filter(pl.col("text") != pl.col("text_b")).height
        yield dropped.drop_nulls("duplicate_of_b").select(corpus=pl.lit(corpus), keeper="duplicate_of_b")


def _records(build: Build, corpus: str, part: int, parts: int) -> pl.DataFrame:
    """One part of a corpus' records: kept, why not, terms, and a hash of both texts."""
    path = build.folder / "evidence" / f"{corpus}.parquet"
    terms: dict[str, Any] = {**dict.fromkeys(_TERMS, pl.String), "text": pl.UInt64}
    schema: dict[str, Any] = {
        "record_id": pl.String,
        "kept": pl.Boolean,
        "reason": pl.String,
        "duplicate_of": pl.String,
    }
    if corpus not in build.corpora:
        return pl.DataFrame(schema=schema | terms)
    if not path.is_file():
        cure = "compare builds as `m3e build` made them; a published copy holds no evidence"
        raise UsageError(str(build.folder), f"it holds no evidence of {corpus}", cure)
    mine = pl.col("record_id").str.slice(0, 8).str.to_integer(base=16, dtype=pl.UInt32) % parts == part
    evidence = pl.scan_parquet(path).select("record_id", "kept").filter(mine)
    ledger = pl.scan_parquet(build.folder / "ledger" / f"{corpus}.parquet").filter(mine)
    found = evidence.join(ledger.select("record_id", "reason", "duplicate_of"), on="record_id", how="left")
    texts = pl.struct("text", "text_pos").hash(0).alias("text")
    shards = [shard for shard in build.data(corpus) if pq.read_metadata(shard).num_rows]
    if shards:
        data = pl.scan_parquet(shards).filter(mine).select("record_id", *_TERMS, texts)
        found = found.join(data, on="record_id", how="left")
    else:
        found = found.with_columns(pl.lit(None, kind).alias(name) for name, kind in terms.items())
    return found.collect(engine="streaming")


def _why(end: str) -> pl.Expr:
    return pl.col(f"reason{end}").fill_null("absent")


def _counted(frame: pl.DataFrame, name: pl.Expr) -> dict[str, int]:
    return dict(frame.select(name=name).group_by("name").len().iter_rows())


def _moved(builds: tuple[Build, Build], changes: Mapping[str, Change], waiting: Sequence[pl.DataFrame]) -> None:
    """Of the records that a duplicate stands for now: whose corpus keeps it, where the first build did not."""
    if not waiting or not (every := pl.concat(waiting)).height:
        return
    keepers = every["keeper"].unique().implode()
    before, after = (
        {corpus: _kept(build, corpus, keepers) for corpus in build.corpora if build.data(corpus)} for build in builds
    )
    old = pl.concat([pl.DataFrame(schema={"keeper": pl.String}), *before.values()])
    named = [frame.with_columns(home=pl.lit(corpus)) for corpus, frame in after.items()]
    new = pl.concat([pl.DataFrame(schema={"keeper": pl.String, "home": pl.String}), *named])
    found = every.join(old, on="keeper", how="anti").join(new, on="keeper", how="left")
    counted = found.with_columns(pl.col("home").fill_null(STANDING)).group_by("corpus", "home").len()
    for corpus, home, n in counted.iter_rows():
        changes[corpus].moved[home] += n


def _kept(build: Build, corpus: str, ids: pl.Series) -> pl.DataFrame:
    known = pl.scan_parquet(build.folder / "evidence" / f"{corpus}.parquet")
    wanted = known.filter(pl.col("kept") & pl.col("record_id").is_in(ids)).select(keeper="record_id")
    return wanted.collect(engine="streaming")


def _mix(build: Build) -> dict[str, int]:
    mix: Counter[str] = Counter()
    for of in build.receipt["licences"].values():
        mix.update(of)
    return dict(mix)


def _leaks(build: Build) -> dict[str, int]:
    """Removed records by task and role."""
    told = {f"{leak['task']} {leak['role']}": leak["exact"] + leak["edited"] + leak["embedded"] for leak in build.leaks}
    return {name: n for name, n in told.items() if n}


def _numbers(one: Mapping[str, int], two: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    names = sorted({*one, *two})
    return {name: (one.get(name, 0), two.get(name, 0)) for name in names if one.get(name, 0) != two.get(name, 0)}


def _source(lock: Mapping[str, Any]) -> dict[str, Any]:
    """What of a source decides its content, and its names."""
    files = {file["name"]: file["sha256"][:12] for file in lock["files"]}
    return {"place": f"{lock['kind']} {lock['place']}", "revision": lock["revision"], "files": files}


def _differing(one: Mapping[str, Any], two: Mapping[str, Any], under: str = "") -> dict[str, tuple[Any, Any]]:
    """Leaves that differ, by dotted key; what only one has is None in the other.

    >>> _differing({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}})
    {'a.c': (2, None)}
    """
    found: dict[str, tuple[Any, Any]] = {}
    for name in sorted({*one, *two}):
        a, b = one.get(name), two.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found |= _differing(a, b, f"{under}{name}.")
        elif a != b:
            found[under + name] = (a, b)
    return found


def open_two(first: Path, second: Path) -> tuple[Build, Build]:
    """Both builds. Raises UsageError where one is none, or both are the same folder."""
    one, two = open_build(first), open_build(second)
    if one.folder.resolve() == two.folder.resolve():
        raise UsageError(str(first), "both builds are the same folder", "give the older build first, then the newer")
    return one, two
