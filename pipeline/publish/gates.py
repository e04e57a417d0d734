"""What must hold before a byte of a build is sent: its files are the receipt's, its rows say what the manifests say.

Nothing is believed that can be counted again. Every refusal names the corpora.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.errors import PublishError
from pipeline.ledger import Funnel
from pipeline.licence import Policy, UseClass, under
from pipeline.manifest.catalog import Catalog
from pipeline.manifest.corpus import Corpus
from pipeline.report.opened import Build

ALLOWED = UseClass.ALLOWED.value
#: A recipe as the receipt tells it, every default written out.
Told = Mapping[str, Any]
TERMS = ("sub_source", "licence_id", "commercial", "redistribute")


@dataclass(frozen=True)
class Group:
    """Rows of one corpus under the same terms, counted from the rows themselves."""

    corpus: str
    sub_source: str
    licence_id: str
    commercial: str
    redistribute: str
    rows: int


def counted(corpus: str, files: Sequence[Path]) -> list[Group]:
    """The rows of parquet files by their terms. Raises PublishError where a row is of another corpus."""
    names = ["corpus", *TERMS]
    frame = pl.scan_parquet(list(files)).group_by(names).len().sort(names).collect()
    strange = sorted(set(frame["corpus"]) - {corpus})
    if strange:
        raise PublishError(corpus, f"its folder holds rows of {', '.join(strange)}", "build again")
    return [Group(*row) for row in frame.iter_rows()]


def hold_build(build: Build, catalog: Catalog) -> dict[str, list[Group]]:
    """Count a build again and hold it against its receipt, its funnel and the manifests; the counts per corpus.

    Raises PublishError, naming the corpora, where files or counts are not the receipt's, a row is freer than its
    manifest says, a promise of the recipe about use or contamination does not hold, or a manifest is missing.
    """
    _hold_files(build)
    corpora = corpora_of(build, catalog)
    groups = {f.corpus: counted(f.corpus, build.data(f.corpus)) for f in build.funnels if f.kept}
    recipe = build.receipt["recipe"]
    _hold_counts(build, groups)
    _hold_terms(groups, corpora, is_scored="score" in build.receipt)
    _hold_use(recipe, groups)
    _hold_contamination(recipe, catalog, build.receipt["benchmarks"])
    return groups


def hold_labelled(build: Build, catalog: Catalog) -> dict[str, list[Group]]:
    """The same for labelled rows, whose terms are always those of their manifest."""
    files = {path.stem: [path] for path in sorted((build.folder / "labelled").glob("*.parquet"))}
    groups = {corpus: counted(corpus, paths) for corpus, paths in files.items()}
    _hold_terms(groups, corpora_of(build, catalog), is_scored=False)
    _hold_use(build.receipt["recipe"], groups)
    return groups


def corpora_of(build: Build, catalog: Catalog) -> dict[str, Corpus]:
    """The manifests of a build's corpora, their terms as the recipe's policy has them. Raises PublishError for lost ones."""
    lost = sorted(set(build.corpora) - set(catalog.corpora))
    if lost:
        cure = "give the folder it was built from with --manifests"
        raise PublishError(", ".join(lost), "there is no manifest of it", cure)
    told = build.receipt["recipe"]
    policy = Policy(**{name: told[name] for name in Policy.model_fields})
    corpora = {name: catalog.corpora[name] for name in build.corpora}
    return {n: c.model_copy(update={"licence": under(c.licence, policy)}) for n, c in corpora.items()}


def binding(groups: Iterable[Group]) -> dict[str, int]:
    """Corpora that keep a release from commercial use, and how many rows of theirs do.

    >>> binding([Group("bq", "", "X", "forbidden", "allowed", 3), Group("csl", "", "Y", "allowed", "allowed", 2)])
    {'bq': 3}
    """
    told: dict[str, int] = {}
    for group in groups:
        if group.commercial != ALLOWED:
            told[group.corpus] = told.get(group.corpus, 0) + group.rows
    return told


def _hold_files(build: Build) -> None:
    wrong = [name for name, told in build.receipt["files"].items() if _sha256(build.folder / name) != told["sha256"]]
    if wrong:
        shown = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise PublishError(str(build.folder), f"not what its receipt says: {shown}", "build again")
    known = set(build.receipt["files"])
    found = {path.relative_to(build.folder).as_posix() for path in (build.folder / "data").rglob("*.parquet")}
    if found - known:
        shown = ", ".join(sorted(found - known)[:5])
        raise PublishError(str(build.folder), f"data that its receipt does not name: {shown}", "build again")


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _hold_counts(build: Build, groups: Mapping[str, list[Group]]) -> None:
    """Rows, licence mix and ledger are those that funnel, receipt and so the card tell."""
    wrong = []
    for funnel in build.funnels:
        mix: dict[str, int] = {}
        for group in groups.get(funnel.corpus, []):
            name = f"{group.licence_id} ({group.commercial})"
            mix[name] = mix.get(name, 0) + group.rows
        told = {name: n for name, n in build.receipt["licences"].get(funnel.corpus, {}).items() if n}
        if (sum(mix.values()), mix, _removed(build, funnel)) != (funnel.kept, told, funnel.removed):
            wrong.append(funnel.corpus)
    if wrong:
        cause = f"rows, licences or ledger are not what funnel and receipt tell: {', '.join(wrong)}"
        raise PublishError(str(build.folder), cause, "build again")


def _removed(build: Build, funnel: Funnel) -> dict[str, dict[str, int]]:
    path = build.folder / "ledger" / f"{funnel.corpus}.parquet"
    told: dict[str, dict[str, int]] = {}
    if path.is_file():
        for stage, reason, n in pl.scan_parquet(path).group_by("stage", "reason").len().collect().iter_rows():
            told.setdefault(stage, {})[reason] = n
    return told


def _hold_terms(groups: Mapping[str, list[Group]], corpora: Mapping[str, Corpus], *, is_scored: bool) -> None:
    wrong = [
        fault
        for corpus in sorted(groups)
        for group in groups[corpus]
        for fault in _faults(group, corpora[corpus], is_scored)
    ]
    if wrong:
        places = ", ".join(dict.fromkeys(corpus for corpus, _ in wrong))
        raise PublishError(
            places, "; ".join(fault for _, fault in wrong), "build again, so that rows and manifests agree"
        )


def _faults(group: Group, corpus: Corpus, is_scored: bool) -> Iterator[tuple[str, str]]:
    """Where the terms in the rows are not those of the manifest. In a scored build negatives and miner make them stricter."""
    terms = corpus.licence.of(group.sub_source)
    part = f" of {group.sub_source}" if group.sub_source else ""
    if group.licence_id != terms.spdx:
        yield group.corpus, f"{group.rows:,} rows{part} are under {group.licence_id}, the manifest says {terms.spdx}"
    for use in ("commercial", "redistribute"):
        now, own = getattr(group, use), getattr(terms, use)
        if UseClass(now).rank < own.rank or (now != own and not is_scored):
            yield group.corpus, f"{group.rows:,} rows{part} say {use}: {now}, the manifest says {own}"


def _hold_use(recipe: Told, groups: Mapping[str, list[Group]]) -> None:
    wanted = recipe["corpora"]
    for use in ("commercial", "redistribute") if isinstance(wanted, dict) else ():
        promised = wanted[use]
        broken = {
            group.corpus: getattr(group, use)
            for mine in groups.values()
            for group in mine
            if promised is not None and UseClass(getattr(group, use)).rank > UseClass(promised).rank
        }
        if broken:
            cause = f"the recipe {recipe['name']} promises {use}: {promised}, but there are rows of " + ", ".join(
                f"{corpus} ({found})" for corpus, found in broken.items()
            )
            raise PublishError(", ".join(broken), cause, "build again")


def _hold_contamination(recipe: Told, catalog: Catalog, compared: Sequence[str]) -> None:
    wanted = set(recipe["decontaminate"]["benchmarks"])
    tasks = {b.task for b in catalog.benchmarks.values() if wanted & {b.name, *b.suites}}
    missing = sorted(tasks - set(compared))
    if missing:
        cause = f"the recipe {recipe['name']} promises to be cleared of {', '.join(missing)}, which could not be read"
        raise PublishError(
            f"recipe {recipe['name']}", cause, "mend their source and build again, or take them out of the recipe"
        )
