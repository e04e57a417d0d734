"""From a recipe to its folder: a build from corpora, or scores upon a build, with whatever carries out the steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipeline.build import Outcome, build, count
from pipeline.context import Context, context_of
from pipeline.cost import Costs
from pipeline.encoding import Encoded
from pipeline.errors import UsageError
from pipeline.fetch import Moved
from pipeline.manifest.catalog import Catalog
from pipeline.manifest.recipe import Recipe
from pipeline.receipt import write_build
from pipeline.report.estimate import hold_disk
from pipeline.report.opened import open_build
from pipeline.report.progress import steps_of
from pipeline.runner import Runner
from pipeline.spread import Spread
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.scoring import Scored


class Listener(Protocol):
    """Who hears of what happens inside steps; in flows it goes to other processes, so it must be picklable there."""

    def hear(self, moved: Moved) -> None:
        """Where a file stands that is being loaded."""

    def encoded(self, corpus: str, progress: Encoded) -> None:
        """How far the texts of a corpus are encoded."""


#: Opens what carries out steps, told how many each stage will have.
Running = Callable[[Mapping[str, int]], AbstractContextManager[tuple[Runner, Listener]]]


@dataclass(frozen=True)
class Made:
    """A finished folder and whether anything was written; `outcome` where corpora were built, `scored` where mined."""

    folder: Path
    changed: bool
    outcome: Outcome | None = None
    scored: Scored | None = None


def make(
    catalog: Catalog,
    recipe: Recipe,
    store: Path,
    out: Path,
    running: Running,
    *,
    only: Sequence[str] = (),
    sample: int | None = None,
    frozen: bool = False,
    strict: bool = False,
    base: Path | None = None,
    against: Path | None = None,
    spread: Spread | None = None,
    warn: Callable[[str], None] = lambda _: None,
) -> Made:
    """Make `out/<recipe>`. A recipe with a base builds that first, beside it, or takes the finished build at `base`.

    `against`: a build whose records stand, so that what duplicates them goes. `spread`: who shares out the parts of
    dedupe; `warn` hears where the disk may not suffice. Nothing is collected from the store meanwhile (`pipeline.gc`).
    Raises CurationError where no folder comes of it, StoreError where the disk is sure to be too small; UsageError where
    `base` does not fit the recipe.
    """
    with Store(store).in_use():

        def built(plain: Recipe) -> Made:
            context = context_of(catalog, plain, store, tuple(only), sample, frozen=frozen, against=against)
            if doubt := hold_disk(context, out, lambda: _needed(context)):
                warn(doubt)
            return _build(replace(context, spread=spread), out, running, tuple(only), strict=strict)

        if recipe.base is None:
            if base is not None:
                raise UsageError("--base", f"the recipe {recipe.name} has no base", "leave it out")
            return built(recipe)
        if base is None:
            below = built(catalog.recipe(recipe.base))
        elif only or sample is not None or against is not None:
            raise UsageError(
                "--base", "a finished build cannot be changed by --only, --sample or --against", "leave one of them out"
            )
        else:
            below = Made(base, changed=False)
        # It loads polars, which a build of corpora with nothing to do does not wait for.
        from pipeline.scoring import score_build, scoring_context, write_scored

        context = scoring_context(catalog, recipe, open_build(below.folder), store)
        corpora, encoders = len(context.corpora), len(context.encoders)
        searches = 1 if recipe.mine.pool == "all" else corpora
        steps = {
            "model": encoders,
            "pool": corpora,
            "encode": corpora * len(context.encoding),
            "mine": searches,
            "score": corpora,
        }
        with running(steps) as (runner, listener):
            costs = Costs(runner)
            scored = score_build(context.heard_by(listener.encoded), costs)
            told = costs.told()
        folder, changed = write_scored(scored, out, told)
        return Made(folder, changed, below.outcome, scored)


def _needed(context: Context) -> Callable[[str, str], bool]:
    from pipeline.report.plan import rehearsed_needs

    return rehearsed_needs(context)


def _build(context: Context, out: Path, running: Running, only: tuple[str, ...], *, strict: bool) -> Made:
    with running(steps_of(len(context.corpora), len(context.benchmarks))) as (runner, listener):
        costs = Costs(runner)
        outcome = build(context.heard_by(listener.hear, listener.encoded), costs, strict=strict)
        told = costs.told()
    count(outcome)
    folder, changed = write_build(outcome, out, only, told)
    return Made(folder, changed, outcome)
