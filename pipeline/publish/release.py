"""A release of a build: the files that go to the Hub, decided by the build, the manifests and the repository's name.

Data files of the build go as they are. Made anew, and kept in the store, are those of a corpus with rows that may not
be passed on (their text stays here; `ids/` holds their ids and marks), of an edition, and of a build with scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.card import Copy, render_attribution, render_card
from pipeline.errors import PublishError
from pipeline.ledger import Leak
from pipeline.licence import UseClass, strictest
from pipeline.manifest.catalog import Catalog
from pipeline.manifest.lock import LOCK_NAME, Lock, LockedFile, LockedSource, lock_text
from pipeline.publish.cut import cut_corpus, cut_labelled
from pipeline.publish.editions import ROWS, last_id, quotas
from pipeline.publish.gates import ALLOWED, Group, binding, corpora_of, hold_build, hold_labelled
from pipeline.publish.plan import GLOBBED, Item, Release, item_of
from pipeline.release import MIXED, LicenceClass, release_of_build
from pipeline.report.opened import Build
from pipeline.store import Entry, Store, stage_key
from pipeline.views import measured

#: The module that decides the bytes of files made anew.
CUT = "pipeline.publish.cut"
AS_BUILT = ("build.json", "funnel.json")


def make_release(build: Build, catalog: Catalog, repo: str, edition: str | None, store: Store) -> Release:
    """The release of a build for one repository. Raises PublishError where a gate does not hold (`publish.gates`)."""
    groups, labelled = hold_build(build, catalog), hold_labelled(build, catalog)
    free = {corpus: _rows(g for g in mine if g.redistribute == ALLOWED) for corpus, mine in groups.items()}
    if not any(free.values()):
        cause = f"no row may be passed on: {', '.join(sorted(groups))}"
        raise PublishError(str(build.folder), cause, "see `redistribute` in the manifests; the build can be used here")
    rows = quotas(free, ROWS[edition]) if edition else free
    withheld = {} if edition else {c: n for c, mine in groups.items() if (n := _rows(mine) - free[c])}
    scored = "score" in build.receipt
    files: dict[str, Item] = {}
    for corpus in (c for c in build.corpora if c in groups):
        files |= _data(
            build, corpus, rows[corpus], edition, store, scored=scored, whole=not edition and corpus not in withheld
        )
    for corpus, mine in sorted(labelled.items()) if not edition else ():
        files |= _labelled(build, corpus, mine, store)
    files |= {name: _as_built(build, name) for name in AS_BUILT}
    files["ATTRIBUTION.md"] = item_of(render_attribution(list(corpora_of(build, catalog).values())).encode())
    files[LOCK_NAME] = item_of(_lock(build, catalog))
    passed = [g for mine in groups.values() for g in mine if g.redistribute == ALLOWED]
    bound = binding(passed)
    told = {
        "build": files["build.json"].sha256,
        "recipe": build.receipt["recipe"]["name"],
        "edition": edition or "all",
        "licence_class": _licence_class(build),
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


def _licence_class(build: Build) -> str:
    """The one licence of every text that goes out, negatives too, or `mixed`; with the strictest commercial use."""
    classes = release_of_build(build.folder).classes
    licences = {one.licence for one in classes}
    use = strictest(UseClass(one.commercial) for one in classes)
    return LicenceClass(licences.pop() if len(licences) == 1 else MIXED, use.value).slug


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
    entry = store.run("release", key, lambda out: cut_corpus(shards, evidence, last, out, scored=scored), sums)
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
    sums = [build.receipt["files"][name]["sha256"]]
    key = stage_key("release", CUT, {"labelled": corpus}, sums)
    entry = store.run("release", key, lambda out: cut_labelled(build.folder / name, out), sums)
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
    leaks = [Leak(**leak) for leak in build.leaks]
    return render_card(list(corpora_of(build, catalog).values()), receipt, build.funnels, leaks=leaks, copy=copy)
