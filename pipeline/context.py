"""What the steps of a build need to know: recipe, corpora, benchmarks, locks, and who listens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline import encoding
from pipeline.against import Against
from pipeline.code import loaded
from pipeline.cost import measured_entry
from pipeline.encoding import Encoders
from pipeline.errors import BuildError
from pipeline.fetch import Listener, silent
from pipeline.manifest.benchmark import Benchmark
from pipeline.manifest.catalog import Catalog
from pipeline.manifest.corpus import Corpus
from pipeline.manifest.lock import LOCK_NAME, LockedSource, read_lock
from pipeline.manifest.recipe import Recipe, chosen
from pipeline.spread import Spread
from pipeline.store import Entry, Receipt, Store, stage_key


@dataclass(frozen=True)
class Context:
    """All that steps need to know; small, and the same in every process.

    `listen` hears of files being loaded, `encoded` of texts being encoded.
    """

    recipe: Recipe
    corpora: tuple[Corpus, ...]
    benchmarks: tuple[Benchmark, ...]
    homes: Mapping[str, Path]
    tombstones: frozenset[str]
    store: Store
    sample: int | None = None
    rehearsal: bool = False
    locks: Mapping[str, Sequence[LockedSource]] = field(default_factory=dict)
    frozen: bool = False
    against: Against | None = None
    spread: Spread | None = None
    encoders: Encoders = field(default_factory=dict)
    listen: Listener = silent
    encoded: encoding.Listener = encoding.silent

    def rehearsed(self) -> Context:
        """The same context, in which steps only work out their keys."""
        return replace(self, rehearsal=True)

    def heard_by(self, listen: Listener, encoded: encoding.Listener = encoding.silent) -> Context:
        """The same context with listeners; what is sent to another process needs picklable ones."""
        return replace(self, listen=listen, encoded=encoded)

    def entry(
        self, stage: str, module: str, config: object, inputs: Sequence[str], work: Callable[[Path], Receipt]
    ) -> Entry:
        key = stage_key(stage, module, config, inputs)
        return measured_entry(self.store, stage, key, loaded(module, work), inputs, rehearsal=self.rehearsal)


def context_of(
    catalog: Catalog,
    recipe: Recipe,
    store: Path,
    only: Sequence[str] = (),
    sample: int | None = None,
    *,
    frozen: bool = False,
    against: Path | None = None,
) -> Context:
    """All that the steps need to know, small enough to send to another process.

    What the locks beside the manifests hold is used; with `frozen`, nothing else is. `against` is the folder of a build
    that stands: whatever duplicates one of its records is dropped.

    Raises CurationError where nothing would be built.
    """
    corpora = chosen(recipe, catalog.corpora)
    unknown = sorted(set(only) - {c.name for c in corpora})
    if unknown:
        raise BuildError(
            f"recipe {recipe.name}",
            f"--only names {', '.join(unknown)}, not part of the recipe",
            f"choose among: {', '.join(c.name for c in corpora)}",
        )
    corpora = [c for c in corpora if not only or c.name in only]
    if not corpora:
        raise BuildError(
            f"recipe {recipe.name}", "it chooses no corpus", "loosen its `corpora`, or add manifests with --manifests"
        )
    wanted = set(recipe.decontaminate.benchmarks)
    benchmarks = [b for _, b in sorted(catalog.benchmarks.items()) if wanted & {b.name, *b.suites}]
    homes = {c.name: catalog.home("corpora", c.name) for c in corpora}
    homes |= {f"benchmark:{b.name}": catalog.home("benchmarks", b.name) for b in benchmarks}
    return Context(
        recipe,
        tuple(corpora),
        tuple(benchmarks),
        homes,
        catalog.tombstones,
        Store(store),
        sample,
        locks=_locks(corpora, benchmarks, homes),
        encoders=_encoders(catalog, recipe),
        frozen=frozen,
        against=None if against is None else Against.open(against, catalog.corpora),
    )


def _encoders(catalog: Catalog, recipe: Recipe) -> Encoders:
    name = recipe.consistency.encoder if recipe.consistency else None
    return {name: (catalog.encoders[name], catalog.home("encoders", name))} if name else {}


def _locks(
    corpora: Sequence[Corpus], benchmarks: Sequence[Benchmark], homes: Mapping[str, Path]
) -> dict[str, list[LockedSource]]:
    """What the locks hold of these corpora and benchmarks: each folder of manifests has a lock of its own."""
    read = {home: read_lock(home.parent / LOCK_NAME) for home in set(homes.values())}
    locks = {known_as(c): read[homes[c.name]].corpora.get(c.name, []) for c in corpora}
    return locks | {known_as(b): read[homes[known_as(b)]].benchmarks.get(b.name, []) for b in benchmarks}


def known_as(of: Corpus | Benchmark) -> str:
    """The name of a corpus or benchmark where both stand side by side (a corpus `bq`, a benchmark `BQ`)."""
    return of.name if isinstance(of, Corpus) else f"benchmark:{of.name}"
