"""The step graph: what a build does, in which order, with what depending on what.

Plain Python: `build` hands every step to a runner. `Threads` runs them here; `flows/` hands the same steps to Prefect;
`Rehearsal` only works out keys, so that a plan can never differ from the build it announces. Steps exchange entries of
the store (a folder and a small receipt), never frames.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pipeline.against import Against
from pipeline.errors import BuildError, CurationError
from pipeline.ledger import Funnel, hold_counts
from pipeline.manifest.benchmark import Benchmark
from pipeline.manifest.catalog import Catalog
from pipeline.manifest.corpus import Corpus
from pipeline.manifest.lock import LOCK_NAME, LockedSource, read_lock
from pipeline.manifest.recipe import Recipe, chosen
from pipeline.steps import (
    Context,
    as_fetched,
    assemble_step,
    convert_step,
    decontaminate_step,
    dedupe_step,
    fetch_step,
    index_step,
    known_as,
    quality_step,
    resolve_step,
)
from pipeline.store import Entry, Store


class Pending(Protocol):
    """A step under way; `result` waits for it and raises what it raised."""

    def result(self) -> Any: ...


class Runner(Protocol):
    """Who carries out steps. `inputs` may hold pending results, also inside lists and dicts; they are waited for."""

    def submit(self, stage: str, corpus: str, call: Callable[..., Any], *inputs: Any) -> Pending: ...


Listener = Callable[[str, str, str, float], None]


class Threads:
    """Runs steps on threads of this process, first come first served, so a step's inputs always started before it.

    `listen(stage, corpus, state, seconds)` hears `started`, then `done`, `cached` or `failed`.
    """

    def __init__(self, workers: int = 2, listen: Listener | None = None) -> None:
        self._pool = ThreadPoolExecutor(workers)
        self._listen = listen or (lambda *_: None)
        self.timings: list[dict[str, Any]] = []

    def submit(self, stage: str, corpus: str, call: Callable[..., Any], *inputs: Any) -> Future[Any]:
        return self._pool.submit(self._run, stage, corpus, call, inputs)

    def _run(self, stage: str, corpus: str, call: Callable[..., Any], inputs: tuple[Any, ...]) -> Any:
        ready = [resolved(one) for one in inputs]
        self._listen(stage, corpus, "started", 0.0)
        began = time.perf_counter()
        try:
            result = call(*ready)
        except CurationError:
            self._listen(stage, corpus, "failed", time.perf_counter() - began)
            raise
        seconds = time.perf_counter() - began
        state = "cached" if isinstance(result, Entry) and result.cached else "done"
        self._listen(stage, corpus, state, seconds)
        if state == "done" and isinstance(result, Entry):
            self.timings.append({"stage": stage, "corpus": corpus, "seconds": round(seconds, 3)})
        return result

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def resolved(value: Any) -> Any:
    """Wait for pending results inside a value."""
    if isinstance(value, dict):
        return {key: resolved(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(resolved(one) for one in value)
    return value.result() if hasattr(value, "result") else value


@dataclass(frozen=True)
class Gap:
    """A corpus that is missing from a build, and what cures it."""

    corpus: str
    stage: str
    cause: str
    cure: str


@dataclass
class Outcome:
    """What a build made: per corpus the assembled entry and its funnel; gaps; all entries by step."""

    context: Context
    fetched: dict[str, Any] = field(default_factory=dict)
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    funnels: dict[str, Funnel] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def corpora(self) -> list[str]:
        return [c.name for c in self.context.corpora if not any(g.corpus == c.name for g in self.gaps)]


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
        frozen=frozen,
        against=None if against is None else Against.open(against, catalog.corpora),
    )


def _locks(
    corpora: Sequence[Corpus], benchmarks: Sequence[Benchmark], homes: Mapping[str, Path]
) -> dict[str, list[LockedSource]]:
    """What the locks hold of these corpora and benchmarks: each folder of manifests has a lock of its own."""
    read = {home: read_lock(home.parent / LOCK_NAME) for home in set(homes.values())}
    locks = {known_as(c): read[homes[c.name]].corpora.get(c.name, []) for c in corpora}
    return locks | {known_as(b): read[homes[known_as(b)]].benchmarks.get(b.name, []) for b in benchmarks}


def build(context: Context, runner: Runner, *, strict: bool = False) -> Outcome:
    """Carry out every step of a recipe. A corpus that fails becomes a gap and the others go on.

    A benchmark that cannot be read is a gap as well, named `benchmark TASK`: receipt and card then list it among the
    gaps, not among the benchmarks that were compared.

    Raises BuildError when fewer than `min_corpora` are left or, with `strict`, when there is any gap.
    """
    outcome = Outcome(context)
    corpora: list[Corpus] = list(context.corpora)
    fetched = {c.name: runner.submit("fetch", c.name, fetch_step, context, c) for c in corpora}
    indexes = {b.task: _index(runner, context, b) for b in context.benchmarks}
    converted = {c.name: runner.submit("convert", c.name, convert_step, context, c, fetched[c.name]) for c in corpora}
    quality = {c.name: runner.submit("quality", c.name, quality_step, context, c, converted[c.name]) for c in corpora}
    for task, pending in indexes.items():
        try:
            outcome.entries["index", task] = pending.result()
        except CurationError as error:
            outcome.gaps.append(_gap(f"benchmark {task}", "index", error))
    there = {task: entry for (stage, task), entry in outcome.entries.items() if stage == "index"}
    decontaminated = {
        c.name: runner.submit("decontaminate", c.name, decontaminate_step, context, c, converted[c.name], there)
        for c in corpora
    }
    chain = (("fetch", fetched), ("convert", converted), ("quality", quality), ("decontaminate", decontaminated))
    for corpus in corpora:
        for stage, of_stage in chain:
            try:
                result = of_stage[corpus.name].result()
            except CurationError as error:
                outcome.gaps.append(_gap(corpus.name, stage, error))
                break
            if stage == "fetch":
                outcome.fetched[corpus.name] = result
            else:
                outcome.entries[stage, corpus.name] = result
    whole = [c for c in corpora if c.name in outcome.corpora]
    _enough(context.recipe, whole, outcome.gaps, strict)
    texts = {c.name: outcome.entries["convert", c.name] for c in whole}
    dedupe = runner.submit("dedupe", "all", dedupe_step, context, whole, texts)
    marks = {c.name: {s: outcome.entries[s, c.name] for s in ("quality", "decontaminate")} for c in whole}
    decisions = runner.submit("resolve", "all", resolve_step, context, whole, texts, marks, dedupe)
    assembled = {
        c.name: runner.submit(
            "assemble", c.name, assemble_step, context, c, texts[c.name], marks[c.name], dedupe, decisions
        )
        for c in whole
    }
    outcome.entries["dedupe", "all"], outcome.entries["resolve", "all"] = dedupe.result(), decisions.result()
    for name, pending_entry in assembled.items():
        outcome.entries["assemble", name] = pending_entry.result()
    return outcome


def count(outcome: Outcome) -> None:
    """Fill in the funnels from the receipts of the steps and prove each. Raises CountError where a sum does not hold."""
    manifests = {
        c.name: as_fetched(c, outcome.fetched[c.name]) for c in outcome.context.corpora if c.name in outcome.fetched
    }
    for name in outcome.corpora:
        read, made = outcome.entries["convert", name].receipt, outcome.entries["assemble", name].receipt
        judged = outcome.entries["resolve", "all"].receipt["corpora"][name]
        funnel = Funnel(
            name,
            **{key: read["totals"][key] for key in ("read", "used", "filtered", "quarantined")},
            converted=read["totals"]["records"],
            kept=made["kept"],
            removed=judged["removed"],
            labelled=read["totals"]["labelled"],
            labelled_kept=made["labelled_kept"],
            labelled_removed=made["labelled_removed"],
        )
        funnel.prove()
        outcome.funnels[name] = funnel
        claimed = hold_counts(manifests[name], read["totals"]) if outcome.context.sample is None else []
        outcome.warnings += [f"{name}: {told}" for told in [*read["warnings"], *claimed]]


def _gap(name: str, stage: str, error: CurationError) -> Gap:
    return Gap(name, stage, f"{error.place}: {error.cause}", error.cure)


def _index(runner: Runner, context: Context, benchmark: Benchmark) -> Pending:
    files = runner.submit("fetch", benchmark.name, fetch_step, context, benchmark)
    return runner.submit("index", benchmark.name, index_step, context, benchmark, files)


def _enough(recipe: Recipe, whole: Sequence[Corpus], gaps: Sequence[Gap], strict: bool) -> None:
    if len(whole) >= recipe.min_corpora and not (strict and gaps):
        return
    lines = [f"{g.corpus} failed in {g.stage}: {g.cause}. Cure: {g.cure}" for g in gaps]
    if len(whole) < recipe.min_corpora:
        short = f"{len(whole)} of the {recipe.min_corpora} corpora it needs are there"
        cure = "mend what is named above" + (", or lower min_corpora" if whole else "")
    else:
        short, cure = f"{len(gaps)} gap(s) and --strict", "mend what is named above, or build without --strict"
    raise BuildError("\n".join([*lines, f"recipe {recipe.name}"]), short, cure)
