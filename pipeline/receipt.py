"""What a build folder holds: which files of the store go where, the funnel, the papers, and the receipt."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.build import Outcome
from pipeline.folder import readable_json, write_folder
from pipeline.ledger import total
from pipeline.manifest.corpus import Corpus
from pipeline.papers import papers_of
from pipeline.release import parts_of, told_terms
from pipeline.report.opened import Build
from pipeline.report.profile import Profiles, all_leaks, profile_of
from pipeline.source import Fetched
from pipeline.store import library_versions

#: Which files of a corpus' entries go where in a build folder: stage, pattern there, name here.
LAYOUT = (
    ("assemble", "train-*.parquet", "data/{corpus}/{file}"),
    ("assemble", "labelled-*.parquet", "labelled/{corpus}.parquet"),
    ("assemble", "ledger-*.parquet", "ledger/{corpus}.parquet"),
    ("assemble", "evidence-*.parquet", "evidence/{corpus}.parquet"),
    ("convert", "quarantine-*.parquet", "quarantine/{corpus}.parquet"),
)


def folder_name(recipe: str, only: tuple[str, ...], sample: int | None, against: str = "") -> str:
    """The build's folder: the recipe's name for a full build; a name of its own for a part, so that none overwrites it.

    >>> folder_name("m3e-hq", ("bq", "lcqmc"), 100)
    'm3e-hq.only-bq+lcqmc.sample-100'
    >>> folder_name("mine", (), None, "0123456789abcdef")
    'mine.against-01234567'
    """
    names = "+".join(only)
    short = names if len(names) <= 60 else f"{len(only)}-corpora-{hashlib.sha256(names.encode()).hexdigest()[:8]}"
    part = (f".only-{short}" if only else "") + (f".sample-{sample}" if sample is not None else "")
    return recipe + part + (f".against-{against[:8]}" if against else "")


def write_build(outcome: Outcome, out: Path, only: tuple[str, ...], costs: list[dict[str, Any]]) -> tuple[Path, bool]:
    """Put the build folder together; returns its path and whether anything was written.

    A folder that already holds exactly this build is left alone, to the byte. Raises StoreError when `out` cannot be
    written or holds something that is no build.
    """
    context = outcome.context
    standing = context.against.key if context.against else ""
    target = out / folder_name(context.recipe.name, only, context.sample, standing)
    profiles = {n: profile_of(context.store, outcome.entries["assemble", n]) for n in outcome.funnels}
    leaks = {"all": all_leaks(profiles)} | {name: all_leaks({name: profiles[name]}) for name in profiles}
    funnel = {
        "corpora": [f.told() for f in outcome.funnels.values()],
        "all": total(outcome.funnels.values()).told(),
        "benchmarks": {name: [vars(leak) for leak in of] for name, of in leaks.items()},
    }
    told = _receipt(outcome, only, profiles)
    corpora = [c for c in context.corpora if c.name in outcome.funnels]
    made = [outcome.entries["assemble", c.name].key for c in corpora]
    rendered = papers_of(context.store, made, corpora, told, list(outcome.funnels.values()), leaks["all"])
    papers = {"funnel.json": readable_json(funnel), **rendered}

    def page(folder: Path) -> None:
        from pipeline.report.page import write_page

        write_page(Build(folder), profiles=profiles)

    locks, run = context.store.root / "locks", _run(outcome, costs)
    return target, write_folder(target, locks, _links(outcome), papers, told, run, page)


def versions() -> dict[str, str]:
    """What made the build: this project, Python, and the libraries that decide bytes."""
    return {"m3e-pipeline": __version__, "python": platform.python_version(), **library_versions()}


def _links(outcome: Outcome) -> dict[str, tuple[Path, dict[str, Any]]]:
    links: dict[str, tuple[Path, dict[str, Any]]] = {}
    for corpus in outcome.corpora:
        for stage, pattern, name in LAYOUT:
            entry = outcome.entries[stage, corpus]
            if stage == "convert" and not entry.receipt["totals"]["quarantined"]:
                continue
            if pattern.startswith("labelled") and not entry.receipt["labelled_kept"]:
                continue
            for path in entry.paths(pattern):
                links[name.format(corpus=corpus, file=path.name)] = (path, dict(entry.files[path.name]))
    edges = outcome.entries["dedupe", "all"]
    links["evidence/edges.parquet"] = (edges.path / "edges.parquet", dict(edges.files["edges.parquet"]))
    return links


def _receipt(outcome: Outcome, only: tuple[str, ...], profiles: Profiles) -> dict[str, Any]:
    """Everything a build is made of, and nothing of where or when it was made."""
    context = outcome.context
    return {
        "recipe": context.recipe.model_dump(mode="json"),
        "only": list(only),
        "sample": context.sample,
        "against": context.against.key if context.against else None,
        "full": not only and context.sample is None and not outcome.gaps,
        "versions": versions(),
        "lock": {name: _locked(fetched) for name, fetched in outcome.fetched.items()},
        "counts": total(outcome.funnels.values()).told(),
        "licences": {name: outcome.entries["assemble", name].receipt["licences"] for name in outcome.corpora},
        "terms": {c.name: _terms(c, outcome) for c in context.corpora if c.name in outcome.corpora},
        "tombstones": len(context.tombstones),
        "personal": {name: outcome.entries["assemble", name].receipt["personal"] for name in outcome.corpora},
        "masked": {name: outcome.entries["convert", name].receipt["masked"] for name in outcome.corpora},
        "corpora": {c.name: about(c) for c in context.corpora if c.name in outcome.corpora},
        "gaps": [vars(gap) for gap in outcome.gaps],
        "warnings": outcome.warnings,
        "benchmarks": sorted(task for stage, task in outcome.entries if stage == "index"),
        "training_datasets": _training_datasets(outcome, profiles),
    }


def about(corpus: Corpus) -> dict[str, Any]:
    """What people want to know of a corpus, so that a build explains itself without its manifests."""
    return {
        **corpus.model_dump(mode="json", include={"title", "domain", "task", "prompt", "script"}),
        "parts": {
            part: terms.model_dump(
                mode="json", include={"spdx", "commercial", "redistribute", "attribution", "conflict"}
            )
            for _, part, terms in parts_of([corpus])
        },
    }


def _training_datasets(outcome: Outcome, profiles: Profiles) -> dict[str, list[str]]:
    """Benchmarks that a model trained on this build declares to mteb (`ModelMeta.training_datasets`) -> the corpora why.

    A corpus that is a benchmark's training data, or from the same source, says so in `overlaps`, and it stays true after
    its leaks were removed. Leaks that were only flagged count as well.
    """
    told: dict[str, set[str]] = {}
    for corpus in outcome.context.corpora:
        if corpus.name not in outcome.funnels or not outcome.funnels[corpus.name].kept:
            continue
        flags = (flag.partition(":") for flag in profiles[corpus.name]["flags"])
        for task in [*corpus.overlaps, *(task for name, _, task in flags if name == "contaminated")]:
            told.setdefault(task, set()).add(corpus.name)
    return {task: sorted(corpora) for task, corpora in sorted(told.items())}


def _terms(corpus: Corpus, outcome: Outcome) -> dict[str, Any]:
    """Per sub-source the terms its rows were built under, and how many rows they bind."""
    made = outcome.entries["assemble", corpus.name].receipt
    records, labelled = made["sub_sources"], made["labelled_sub_sources"]
    return {
        sub: told_terms(corpus.licence.of(sub), records.get(sub, 0), labelled.get(sub, 0))
        for sub in sorted({*records, *labelled})
    }


def _locked(fetched: Fetched) -> dict[str, Any]:
    """Where the files of a corpus or benchmark came from and what they hold; why not from an earlier source, if so."""
    told: dict[str, Any] = {
        "kind": fetched.kind,
        "place": fetched.place,
        "alternate": fetched.alternate,
        "revision": fetched.revision,
        "files": [{"split": f.split, "name": f.name, "sha256": f.sha256, "bytes": f.bytes} for f in fetched.files],
    }
    if fetched.archives:
        told["archives"] = [{"name": f.name, "sha256": f.sha256, "bytes": f.bytes} for f in fetched.archives]
    if fetched.failed:
        told["failed"] = [vars(failed) for failed in fetched.failed]
    return told


def _run(outcome: Outcome, costs: list[dict[str, Any]]) -> dict[str, Any]:
    """What is true of this run alone: what steps cost, and where the text of removed records lies for `explain`."""
    texts = {name: outcome.entries["convert", name].paths("text-*.parquet") for name in outcome.corpora}
    return {
        "steps": costs,
        "text": {name: [str(path.resolve()) for path in paths] for name, paths in texts.items()},
    }
