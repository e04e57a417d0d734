"""What the steps upon a base need to know, and whether the base is one that scores can be put upon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.code import loaded
from pipeline.cost import measured_entry
from pipeline.encoding import Encoders, Listener, silent
from pipeline.errors import BuildError
from pipeline.manifest.catalog import Catalog
from pipeline.manifest.corpus import Corpus
from pipeline.manifest.recipe import Recipe
from pipeline.report.opened import Build
from pipeline.store import Entry, Receipt, Store, stage_key


@dataclass(frozen=True)
class ScoringContext:
    """Small, and the same in every process. The base's files are told apart by the sha256 that its receipt gives.

    `corpora` are those of the base that kept a record, `listed` all of them. `encoders`: every model that has a say, the
    miner first; `encoding` names those of them that turn texts into vectors.
    """

    recipe: Recipe
    base: Build
    corpora: tuple[Corpus, ...]
    listed: tuple[Corpus, ...]
    encoders: Encoders
    store: Store
    rehearsal: bool = False
    encoded: Listener = silent

    @property
    def encoding(self) -> list[str]:
        return [name for name in self.encoders if name in (self.recipe.encoder, self.recipe.mine.veto)]

    def rehearsed(self) -> ScoringContext:
        """The same context, in which steps only work out their keys."""
        return replace(self, rehearsal=True)

    def heard_by(self, encoded: Listener) -> ScoringContext:
        """The same context with a listener; one that is sent to another process needs a picklable one."""
        return replace(self, encoded=encoded)

    def entry(
        self, stage: str, module: str, config: object, inputs: Sequence[str], work: Callable[[Path], Receipt]
    ) -> Entry:
        key = stage_key(stage, module, config, inputs)
        return measured_entry(self.store, stage, key, loaded(module, work), inputs, rehearsal=self.rehearsal)

    def told(self, *prefixes: str) -> list[str]:
        """Names and sha256 of the base's files under these prefixes, in name order."""
        files = self.base.receipt["files"]
        return [f"{name}:{files[name]['sha256']}" for name in sorted(files) if name.startswith(prefixes)]

    def paths(self, prefix: str) -> list[Path]:
        """Those files."""
        return [self.base.folder / name for name in sorted(self.base.receipt["files"]) if name.startswith(prefix)]


def scoring_context(catalog: Catalog, recipe: Recipe, base: Build, store: Path) -> ScoringContext:
    """What is needed to score `base`.

    Raises BuildError where the base has scores already, holds no evidence, lost files, or names corpora that no
    manifest tells of.
    """
    place, again = str(base.folder), f"build the base again: m3e build {recipe.base}"
    files = base.receipt["files"]
    if "base" in base.receipt:
        raise BuildError(place, "it has scores already", "give a build that was made from corpora")
    if torn := [name for name in files if not (base.folder / name).is_file()]:
        more = f" and {len(torn) - 1} more" if torn[1:] else ""
        raise BuildError(place, f"{torn[0]} is missing{more}", again)
    if missing := [name for name in base.corpora if f"evidence/{name}.parquet" not in files]:
        cause = f"it holds no evidence of {', '.join(missing)}, so their known positives cannot be told"
        raise BuildError(place, cause, again)
    if unknown := [name for name in base.corpora if name not in catalog.corpora]:
        cure = "add their manifests with --manifests, as the base was built"
        raise BuildError(place, f"no manifest tells of its corpora {', '.join(unknown)}", cure)
    kept = [funnel.corpus for funnel in base.funnels if funnel.kept]
    if not kept:
        raise BuildError(place, "it kept no record", "look at its funnel: m3e report " + place)
    names = [name for name in (recipe.encoder, recipe.mine.veto, recipe.score.cross_encoder) if name]
    return ScoringContext(
        recipe,
        base,
        tuple(catalog.corpora[name] for name in kept),
        tuple(catalog.corpora[name] for name in base.corpora),
        {name: (catalog.encoders[name], catalog.home("encoders", name)) for name in names},
        Store(store.resolve()),
    )
