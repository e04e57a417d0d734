"""A release of a build: the files that go to the Hub, decided by the build, the manifests and the repository's name.

Data files of the build go as they are. Made anew, and kept in the store, are those of a corpus with rows that may not
be passed on (their text stays here; `ids/` holds their ids and marks), of an edition, and of a build with scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from pipeline.card import Copy, render_card
from pipeline.errors import PublishError
from pipeline.manifest.catalog import Catalog
from pipeline.manifest.lock import LOCK_NAME, Lock, LockedFile, LockedSource, lock_text
from pipeline.publish.cut import cut_corpus, cut_labelled
from pipeline.publish.editions import ROWS, last_id, quotas
from pipeline.publish.gates import ALLOWED, Group, binding, hold_build, hold_labelled
from pipeline.publish.plan import GLOBBED, Item, Release, item_of
from pipeline.report.opened import Build
from pipeline.store import Entry, Store, stage_key
from pipeline.views import measured

#: The module that decides the bytes of files made anew.
CUT = "pipeline.publish.cut"
AS_BUILT = ("build.json", "funnel.json", "ATTRIBUTION.md")


def make_release(build: Build, catalog: Catalog, repo: str, edition: str | None, store: Store) -> Release:
    """The release of a build for one repository. Raises PublishError where a gate does not hold (`publish.gates`)."""
    groups, labelled = hold_build(build, catalog), hold_labelled(build, catalog)
    free = {corpus: _rows(g for g in mine if g.redistribute == ALLOWED) for corpus, mine in groups.items()}
    if not any(free.values()):
        cause = f"no row may be passed on: {', '.join(sorted(groups))}"
        raise PublishError(str(build.folder), cause, "see `redistribute` in the manifests; the build can be used here")
    rows = quotas(free, ROWS[edition]) if edition else free
    withheld = {} if edition else {c: n for c, mine in groups.items() if (n := _rows(mine) - free[c])}
    scored = build.receipt["recipe"].get("base") is not None
    files: dict[str, Item] = {}
    for corpus in (c for c in build.corpora if c in groups):
        files |= _data(
            build, corpus, rows[corpus], edition, store, scored=scored, whole=not edition and corpus not in withheld
        )
    for corpus, mine in sorted(labelled.items()) if not edition else ():
        files |= _labelled(build, corpus, mine, store)
    files |= {name: _as_built(build, name) for name in AS_BUILT}
    files[LOCK_NAME] = item_of(_lock(build, catalog))
    passed = [g for mine in groups.values() for g in mine if g.redistribute == ALLOWED]
    bound = binding(passed)
    told = {
        "build": files["build.json"].sha256,
        "recipe": build.receipt["recipe"]["name"],
        "edition": edition or "all",
        "licence_class": "research" if bound else "commercial",
        "binding": bound,
        "rows": rows,
        "withheld": withheld,
    }
    data = [(path, one.source) for path, one in files.items() if path.startswith(GLOBBED)]
    copy = Copy(
        repo,
        rows,
        withheld,
        [Path(path).stem for path, _ in data if path.startswith("labelled/")],
        [measured(path, source) for path, source in data if isinstance(source, Path)],
        scored,
        edition,
        (f"licence-class:{told['licence_class']}",),
    )
    files["README.md"] = item_of(_card(build, catalog, passed, copy).encode())
    return Release.of("dataset", f"{told['recipe']} ({told['edition']})", files, told, *_notes(build, withheld))


def _rows(groups: Iterable[Group]) -> int:
    return sum(group.rows for group in groups)


def _notes(build: Build, withheld: Mapping[str, int]) -> Iterator[str]:
    if withheld:
        told = ", ".join(f"{corpus} {n:,}" for corpus, n in sorted(withheld.items()))
        yield f"Only ids and marks, no text, of rows that may not be passed on: {told}."
    if build.receipt["gaps"]:
        yield f"The build is without {', '.join(gap['corpus'] for gap in build.receipt['gaps'])}; the card says so."
    if build.receipt["only"] or build.receipt["sample"] is not None:
        yield "The build is a part of its recipe; the card says so."


def _as_built(build: Build, name: str) -> Item:
    path = build.folder / name
    told = build.receipt["files"].get(name)
    return Item(path, told["bytes"], told["sha256"]) if told else item_of(path.read_bytes())


def _of_entry(entry: Entry, pattern: str, to: str) -> dict[str, Item]:
    return {
        to.format(file=path.name): Item(path, entry.files[path.name]["bytes"], entry.files[path.name]["sha256"])
        for path in entry.paths(pattern)
    }


def _data(
    build: Build, corpus: str, rows: int, edition: str | None, store: Store, *, scored: bool, whole: bool
) -> dict[str, Item]:
    """The data files of one corpus, and its ids where rows are withheld."""
    shards = build.data(corpus)
    names = [path.relative_to(build.folder).as_posix() for path in shards]
    if whole and not scored:
        return {name: _as_built(build, name) for name in names}
    evidence = build.folder / "evidence" / f"{corpus}.parquet"
    last = last_id(shards, rows) if edition else None
    sums = [build.receipt["files"][name]["sha256"] for name in names]
    key = stage_key("release", CUT, {"corpus": corpus, "last": last, "scored": scored}, sums)
    entry = store.run("release", key, lambda out: cut_corpus(shards, evidence, last, out, scored=scored))
    data = _of_entry(entry, "train-*.parquet", f"data/{corpus}/{{file}}") if rows else {}
    ids = {} if edition or whole else _of_entry(entry, "ids-*.parquet", f"ids/{corpus}.parquet")
    return data | ids


def _labelled(build: Build, corpus: str, groups: Sequence[Group], store: Store) -> dict[str, Item]:
    name = f"labelled/{corpus}.parquet"
    passed = [group for group in groups if group.redistribute == ALLOWED]
    if not passed:
        return {}
    if len(passed) == len(groups):
        return {name: _as_built(build, name)}
    key = stage_key("release", CUT, {"labelled": corpus}, [build.receipt["files"][name]["sha256"]])
    entry = store.run("release", key, lambda out: cut_labelled(build.folder / name, out))
    return _of_entry(entry, "labelled-*.parquet", name)


def _lock(build: Build, catalog: Catalog) -> bytes:
    """The sources of the build's corpora as a lock that `m3e build --frozen` reads."""
    corpora = {}
    for name, told in build.receipt["lock"].items():
        if name in catalog.corpora:
            files = {file["name"]: file for file in [*told.get("archives", []), *told["files"]]}
            listed = [LockedFile(name=n, bytes=f["bytes"], sha256=f["sha256"]) for n, f in sorted(files.items())]
            source = LockedSource(kind=told["kind"], place=told["place"], commit=told["revision"], files=listed)
            corpora[name] = [source]
    return lock_text(Lock(corpora=corpora))


def _card(build: Build, catalog: Catalog, passed: Sequence[Group], copy: Copy) -> str:
    mix: dict[str, dict[str, int]] = {}
    for group in passed:
        of, name = mix.setdefault(group.corpus, {}), f"{group.licence_id} ({group.commercial})"
        of[name] = of.get(name, 0) + group.rows
    receipt = {**build.receipt, "licences": mix}
    corpora = [catalog.corpora[name] for name in build.corpora]
    return render_card(corpora, receipt, build.funnels, benchmark_losses=_losses(build), copy=copy)


def _losses(build: Build) -> dict[str, dict[str, int]]:
    """Benchmark task -> reason -> records removed, from the ledger."""
    told: dict[str, dict[str, int]] = {}
    paths = sorted((build.folder / "ledger").glob("*.parquet"))
    if paths:
        lost = pl.scan_parquet(paths).filter(stage="decontaminate").group_by("benchmark", "reason").len()
        for task, reason, n in lost.sort("benchmark", "reason").collect().iter_rows():
            told.setdefault(str(task), {})[reason] = n
    return told
