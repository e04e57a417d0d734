"""The step graph: what a build does, in which order, with what depending on what.

Plain Python: `build` hands every step to a runner. `Threads` runs them here; `flows/` hands the same steps to Prefect;
`Rehearsal` only works out keys, so that a plan can never differ from the build it announces. Steps exchange entries of
the store (a folder and a small receipt), never frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.context import Context, known_as
from pipeline.encoding import encode_step, identify_step
from pipeline.errors import BuildError, CurationError, StoreError
from pipeline.ledger import Funnel, hold_counts
from pipeline.manifest.benchmark import Benchmark
from pipeline.manifest.corpus import Corpus
from pipeline.manifest.recipe import Recipe
from pipeline.runner import Pending, Runner
from pipeline.steps import (
    as_fetched,
    assemble_step,
    consistency_step,
    convert_step,
    decontaminate_step,
    dedupe_step,
    fetch_step,
    index_step,
    pool_step,
    protect_step,
    quality_step,
    resolve_step,
)
from pipeline.store import Entry

#: Stages whose marks resolve reads, in order of precedence.
MARKS = ("quality", "decontaminate", "consistency")


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


def build(context: Context, runner: Runner, *, strict: bool = False) -> Outcome:
    """Carry out every step of a recipe. A corpus that fails becomes a gap and the others go on.

    A benchmark that cannot be read is a gap as well, named `benchmark TASK`: receipt and card then list it among the
    gaps, not among the benchmarks that were compared.

    Raises BuildError when fewer than `min_corpora` are left or, with `strict`, when there is any gap; StoreError at once:
    a full disk is no fault of a corpus, and a build without it would stand in the place of a whole one.
    """
    outcome = Outcome(context)
    corpora: list[Corpus] = list(context.corpora)
    fetched = {c.name: runner.submit("fetch", c.name, fetch_step, context, c) for c in corpora}
    benchmarks = {b.name: runner.submit("fetch", b.name, fetch_step, context, b) for b in context.benchmarks}
    indexes = {
        b.name: runner.submit("index", b.name, index_step, context, b, benchmarks[b.name]) for b in context.benchmarks
    }
    converted = {c.name: runner.submit("convert", c.name, convert_step, context, c, fetched[c.name]) for c in corpora}
    quality = {c.name: runner.submit("quality", c.name, quality_step, context, c, converted[c.name]) for c in corpora}
    for benchmark in context.benchmarks:
        try:
            entry = indexes[benchmark.name].result()
        except StoreError:
            raise
        except CurationError as error:
            outcome.gaps.append(_gap(f"benchmark {benchmark.task}", "index", error))
            continue
        outcome.entries["index", benchmark.task] = entry
        outcome.fetched[known_as(benchmark)] = benchmarks[benchmark.name].result()
        outcome.warnings += _unjoined(benchmark, entry)
    there = {task: entry for (stage, task), entry in outcome.entries.items() if stage == "index"}
    protected = runner.submit("protect", "all", protect_step, context, there)
    decontaminated = {
        c.name: runner.submit("decontaminate", c.name, decontaminate_step, context, c, converted[c.name], protected)
        for c in corpora
    }
    consistent = _consistent(context, runner, corpora, converted)
    chain = (
        ("fetch", fetched),
        ("convert", converted),
        ("quality", quality),
        ("decontaminate", decontaminated),
        ("consistency", consistent),
    )
    for corpus in corpora:
        for stage, of_stage in chain:
            if corpus.name not in of_stage:
                continue
            try:
                result = of_stage[corpus.name].result()
            except StoreError:
                raise
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
    marks = {c.name: {s: outcome.entries[s, c.name] for s in MARKS if (s, c.name) in outcome.entries} for c in whole}
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


def _consistent(
    context: Context, runner: Runner, corpora: Sequence[Corpus], converted: Mapping[str, Pending]
) -> dict[str, Pending]:
    """The ranks of the weak corpora, where the recipe asks for them."""
    if (wanted := context.recipe.consistency) is None:
        return {}
    told = {}
    identity = runner.submit("model", wanted.encoder, identify_step, context, wanted.encoder)
    for c in (c for c in corpora if c.weak):
        text = converted[c.name]
        pool = runner.submit("pool", c.name, pool_step, context, c, text, identity)
        vectors = runner.submit("encode", c.name, encode_step, context, c.name, wanted.encoder, identity, pool)
        told[c.name] = runner.submit("consistency", c.name, consistency_step, context, c, text, pool, vectors)
    return told


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
            licences=made["licences"],
        )
        funnel.prove()
        outcome.funnels[name] = funnel
        claimed = hold_counts(manifests[name], read["totals"]) if outcome.context.sample is None else []
        outcome.warnings += [f"{name}: {told}" for told in [*read["warnings"], *claimed]]


def _gap(name: str, stage: str, error: CurationError) -> Gap:
    return Gap(name, stage, f"{error.place}: {error.cause}", error.cure)


def _unjoined(benchmark: Benchmark, entry: Entry) -> list[str]:
    judged = entry.receipt.get("judged")
    if not judged or judged["joined"] == judged["relevant"]:
        return []
    missing = judged["relevant"] - judged["joined"]
    told = f"{missing:,} of {judged['relevant']:,} relevant judgements name a query or document that is not there"
    return [f"benchmark {benchmark.task}: {told}"]


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
