"""The build folder: hard links into the store, the funnel, and the receipt, written so that it is whole or not there."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock

from pipeline import __version__
from pipeline.build import Outcome
from pipeline.card import render_attribution, render_card
from pipeline.errors import StoreError
from pipeline.ledger import total
from pipeline.report.page import benchmark_losses, render_page
from pipeline.report.profile import profile_of
from pipeline.source import Fetched
from pipeline.store import canonical_json, library_versions, sync_folder, writable, write_durably

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


def write_build(outcome: Outcome, out: Path, only: tuple[str, ...], timings: list[dict[str, Any]]) -> tuple[Path, bool]:
    """Put the build folder together; returns its path and whether anything was written.

    A folder that already holds exactly this build is left alone, to the byte. Raises StoreError when `out` cannot be
    written or holds something that is no build.
    """
    context = outcome.context
    standing = context.against.key if context.against else ""
    target = out / folder_name(context.recipe.name, only, context.sample, standing)
    links = _links(outcome)
    files = {name: told for name, (_, told) in sorted(links.items())}
    funnel = _json(
        {"corpora": [f.told() for f in outcome.funnels.values()], "all": total(outcome.funnels.values()).told()}
    )
    told = _receipt(outcome, only)
    papers = {"funnel.json": funnel, **_papers(outcome, told)}
    files |= {name: {"sha256": hashlib.sha256(text).hexdigest(), "bytes": len(text)} for name, text in papers.items()}
    receipt = _json(told | {"files": files})
    if _holds(target, receipt, files):
        return target, False
    if target.exists() and not (target / "build.json").exists() and any(target.iterdir()):
        raise StoreError(
            str(target),
            "it holds files but no build.json, so it is no build",
            "choose another --out, or empty that folder",
        )
    with writable(out, "writing the build"):
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(
            context.store.root / "locks" / f"out-{hashlib.sha256(str(target.resolve()).encode()).hexdigest()[:16]}.lock"
        ):
            made = target.with_name(f".{target.name}.tmp")
            shutil.rmtree(made, ignore_errors=True)
            for name, (source, _) in links.items():
                place = made / name
                place.parent.mkdir(parents=True, exist_ok=True)
                _link(source, place)
            for name, text in papers.items():
                write_durably(made / name, text)
            write_durably(made / "run.json", _json(_run(outcome, timings)))
            write_durably(made / "build.json", receipt)
            old = target.with_name(f".{target.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            if target.exists():
                os.rename(target, old)
            os.rename(made, target)
            sync_folder(out)
            shutil.rmtree(old, ignore_errors=True)
    return target, True


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


def _papers(outcome: Outcome, receipt: dict[str, Any]) -> dict[str, bytes]:
    """What people read: the card, the attributions, the report page."""
    funnels = list(outcome.funnels.values())
    corpora = [c for c in outcome.context.corpora if c.name in outcome.funnels]
    profiles = {c.name: profile_of(outcome.context.store, outcome.entries["assemble", c.name]) for c in corpora}
    card = render_card(corpora, receipt, funnels, benchmark_losses=benchmark_losses(profiles))
    return {
        "README.md": card.encode(),
        "ATTRIBUTION.md": render_attribution(corpora).encode(),
        "report.html": render_page(receipt, funnels, corpora, profiles).encode(),
    }


def _receipt(outcome: Outcome, only: tuple[str, ...]) -> dict[str, Any]:
    """Everything a build is made of, and nothing of where or when it was made."""
    context = outcome.context
    return {
        "recipe": context.recipe.model_dump(mode="json"),
        "only": list(only),
        "sample": context.sample,
        "against": context.against.key if context.against else None,
        "full": not only and context.sample is None and not outcome.gaps,
        "versions": {"m3e-pipeline": __version__, "python": platform.python_version(), **library_versions()},
        "lock": {name: _locked(fetched) for name, fetched in outcome.fetched.items()},
        "counts": total(outcome.funnels.values()).told(),
        "licences": {name: outcome.entries["assemble", name].receipt["licences"] for name in outcome.corpora},
        "gaps": [vars(gap) for gap in outcome.gaps],
        "warnings": outcome.warnings,
        "benchmarks": sorted(task for stage, task in outcome.entries if stage == "index"),
    }


def _locked(fetched: Fetched) -> dict[str, Any]:
    """Where the files of one corpus came from and what they hold; why not from an earlier source, where there is one."""
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


def _run(outcome: Outcome, timings: list[dict[str, Any]]) -> dict[str, Any]:
    """What is true of this run alone: how long steps took, and where the text of removed records lies for `explain`."""
    texts = {name: outcome.entries["convert", name].paths("text-*.parquet") for name in outcome.corpora}
    return {
        "steps": sorted(timings, key=lambda t: (t["stage"], t["corpus"])),
        "text": {name: [str(path.resolve()) for path in paths] for name, paths in texts.items()},
    }


def _holds(target: Path, receipt: bytes, files: dict[str, Any]) -> bool:
    try:
        return (target / "build.json").read_bytes() == receipt and all(
            (target / name).stat().st_size == told["bytes"] for name, told in files.items()
        )
    except (FileNotFoundError, NotADirectoryError):
        return False


def _link(source: Path, place: Path) -> None:
    try:
        os.link(source, place)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        shutil.copyfile(source, place)
        with place.open("rb") as file:
            os.fsync(file.fileno())


def _json(value: object) -> bytes:
    # Through canonical_json first: one spelling for dates and paths, sorted keys.
    return json.dumps(json.loads(canonical_json(value)), ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"
