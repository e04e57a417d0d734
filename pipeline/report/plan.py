"""The plan: the build's own step graph, rehearsed. What is there, what would run, what it needs, what is at stake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from pipeline.build import Outcome, build
from pipeline.context import Context, context_of
from pipeline.errors import CurationError
from pipeline.manifest.catalog import Catalog
from pipeline.manifest.corpus import Corpus
from pipeline.manifest.recipe import Recipe
from pipeline.receipt import folder_name
from pipeline.release import parts_of
from pipeline.report.estimate import (
    CANDIDATES,
    DATA,
    Hours,
    disk_parts,
    free_bytes,
    hour_words,
    records_of,
    rows_of,
    size_words,
    to_load,
    told_hours,
    vector_bytes,
    vector_hours,
)
from pipeline.report.funnel import use_line
from pipeline.report.opened import open_build
from pipeline.runner import resolved
from pipeline.scoring import score_build, scoring_context
from pipeline.store import Entry

#: Said of a corpus whose sub-sources have different terms: no count of rows tells them apart before a build.
PER_PART = "per sub-source"


class _Done:
    def __init__(self, value: Any, error: Exception | None = None) -> None:
        self._value, self._error = value, error

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value


class Rehearsal:
    """A runner that follows the graph at once and notes, per step, whether the store has its output."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, str, bool]] = []

    def submit(self, stage: str, corpus: str, call: Callable[..., Any], *inputs: Any) -> _Done:
        try:
            result = call(*(resolved(one) for one in inputs))
        except Exception as error:
            return _Done(None, error)
        for entry in result if isinstance(result, list) else [result]:
            if isinstance(entry, Entry):
                self.steps.append((stage, corpus, entry.cached))
        return _Done(result)


def plan(
    catalog: Catalog,
    recipe: Recipe,
    store: Path,
    only: Sequence[str] = (),
    sample: int | None = None,
    out: Path = Path("build"),
) -> dict[str, Any]:
    """Steps with their state, corpora with rows and licences, gaps that are sure already. Runs and writes nothing.

    `needs` holds the bytes to load, the disk by what takes it and what is free of it, and the hours of encoding and
    searching on one core and on one GPU: estimates of `pipeline.report.estimate`.

    Of a recipe with a base it is the plan of that; `upon` tells what comes then, per stage how many steps there are and
    how many the store holds, as far as the build in `out` lets it be known.
    """
    first = catalog.recipe(recipe.base) if recipe.base else recipe
    context = context_of(catalog, first, store, only, sample).rehearsed()
    rehearsal = Rehearsal()
    outcome = build(context, rehearsal)
    rows = {c.name: rows_of(c, sample) for c in context.corpora}
    upon = _upon(catalog, recipe, store, out / folder_name(first.name, tuple(only), sample))
    return {
        "recipe": recipe.name,
        "steps": [
            {"stage": s, "corpus": c, "state": "cached" if cached else "to run"} for s, c, cached in rehearsal.steps
        ],
        "corpora": [
            {
                "name": c.name,
                "rows": rows[c.name],
                "licence": _common(terms.spdx for _, _, terms in parts_of([c])),
                "commercial": _common(terms.commercial.value for _, _, terms in parts_of([c])),
            }
            for c in context.corpora
        ],
        "licences": _mix((c, rows[c.name]) for c in context.corpora),
        "gaps": [vars(gap) for gap in outcome.gaps],
        "upon": upon,
        "needs": _needs(context, outcome, rehearsal, recipe, upon, out),
    }


def rehearsed_needs(context: Context) -> Callable[[str, str], bool]:
    """Whether a step would run: `(stage, corpus)`, and `("fetch", name)` for files that are not on this disk."""
    rehearsal = Rehearsal()
    return _to_run(build(context.rehearsed(), rehearsal), rehearsal)


def _to_run(outcome: Outcome, rehearsal: Rehearsal) -> Callable[[str, str], bool]:
    cached = {(stage, corpus) for stage, corpus, is_cached in rehearsal.steps if is_cached}
    cached -= {(stage, corpus) for stage, corpus, is_cached in rehearsal.steps if not is_cached}
    cached |= {("fetch", name) for name, told in outcome.fetched.items() if all(f.sha256 for f in told.files)}
    return lambda stage, corpus: (stage, corpus) not in cached


def _needs(
    context: Context,
    outcome: Outcome,
    rehearsal: Rehearsal,
    recipe: Recipe,
    upon: Mapping[str, Any] | None,
    out: Path,
) -> dict[str, Any]:
    to_run = _to_run(outcome, rehearsal)
    load = to_load(context, {name for name in outcome.fetched if to_run("fetch", name)})
    parts = disk_parts(context, load, to_run)
    hours: list[Hours] = []
    if (consistency := context.recipe.consistency) is not None:
        weak = [c for c in context.corpora if c.weak and to_run("consistency", c.name)]
        texts = [min(2 * records_of(c, context.sample), consistency.max_pool) for c in weak]
        hours += vector_hours(consistency.encoder, texts, "consistency")
        parts["vectors"] = vector_bytes(consistency.encoder, sum(texts))
    if upon is not None and recipe.encoder and _left(upon, "mine"):
        texts = [2 * records_of(c, context.sample) for c in context.corpora]
        mined = vector_hours(recipe.encoder, texts, "mine", pooled=recipe.mine.pool == "all")
        hours += mined if _left(upon, "encode") else mined[1:]
        parts["vectors"] = parts.get("vectors", 0) + vector_bytes(recipe.encoder, sum(texts))
        parts["candidates"] = int(sum(texts) * CANDIDATES.value)
        # A record and its seven negatives, each about as long as its positive.
        base = sum(disk_parts(context, load, lambda stage, _: stage == "assemble").values()) - load.bytes
        parts["data with negatives"] = int(base * recipe.rule.negatives / DATA.value)
    return {
        "download": {"bytes": load.bytes, "by_rows": load.by_rows, "unknown": list(load.unknown)},
        "disk": {"parts": parts, "bytes": sum(parts.values()), "free": free_bytes(context.store.root, out)},
        "hours": told_hours(hours),
    }


def _left(upon: Mapping[str, Any], stage: str) -> bool:
    """Whether a stage upon the base has anything to do, as far as one can know."""
    told = upon["stages"].get(stage)
    return told is None or told["cached"] < told["steps"]


def _upon(catalog: Catalog, recipe: Recipe, store: Path, base: Path) -> dict[str, Any] | None:
    if recipe.base is None:
        return None
    told: dict[str, Any] = {"encoder": recipe.encoder, "base": str(base), "missing": None, "stages": {}}
    if not (base / "build.json").is_file():
        return told | {"missing": "the base is not built yet"}
    rehearsal = Rehearsal()
    try:
        score_build(scoring_context(catalog, recipe, open_build(base), store).rehearsed(), rehearsal)
    except CurationError as error:
        return told | {"missing": str(error)}
    for stage, _, cached in rehearsal.steps:
        of = told["stages"].setdefault(stage, {"steps": 0, "cached": 0})
        of["steps"], of["cached"] = of["steps"] + 1, of["cached"] + cached
    return told


def _common(told: Iterable[str]) -> str:
    """What every part of a corpus says, or that they differ."""
    words = set(told)
    return words.pop() if len(words) == 1 else PER_PART


def _mix(corpora: Iterable[tuple[Corpus, int | None]]) -> dict[str, int]:
    """Rows per licence and use class; those of a corpus whose parts differ stand together, for no count tells them apart.

    Rows are those of the sources: how many records of each are kept, only the build knows.
    """
    mix: dict[str, int] = {}
    for corpus, rows in corpora:
        told = _common(f"{terms.spdx} ({terms.commercial})" for _, _, terms in parts_of([corpus]))
        name = told if told != PER_PART else f"{corpus.name} ({PER_PART})"
        mix[name] = mix.get(name, 0) + (rows or 0)
    return dict(sorted(mix.items(), key=lambda one: (-one[1], one[0])))


def plan_table(told: dict[str, Any]) -> Table:
    """One line per corpus, one column per stage: ✓ is in the store, ▸ would run."""
    stages = ("convert", "quality", "decontaminate", "assemble")
    states = {(s["corpus"], s["stage"]): s["state"] for s in told["steps"]}
    table = Table(title=f"plan of {told['recipe']}", title_justify="left", header_style="bold", pad_edge=False)
    for name in ("corpus", "rows", "licence", "commercial", *stages):
        table.add_column(name, justify="right" if name == "rows" else "left", no_wrap=True)
    sign = {"cached": "[green]✓[/]", "to run": "[yellow]▸ run[/]", None: "[red]gap[/]"}
    for corpus in told["corpora"]:
        rows = f"{corpus['rows']:,}" if corpus["rows"] else "?"
        table.add_row(
            corpus["name"],
            rows,
            corpus["licence"],
            corpus["commercial"],
            *(sign[states.get((corpus["name"], s))] for s in stages),
        )
    table.add_section()
    both = " ".join(f"{stage} {sign[states.get(('all', stage))]}" for stage in ("dedupe", "resolve"))
    table.add_row("all", f"{sum(c['rows'] or 0 for c in told['corpora']):,}", "", "", both)
    lines = [f"rows by {use_line(told['licences'])}", *need_lines(told)]
    if (upon := told["upon"]) is not None:
        counted = ", ".join(f"{stage} {of['cached']} of {of['steps']}" for stage, of in upon["stages"].items())
        lines.append(f"then hard negatives by {upon['encoder']}: {upon['missing'] or f'in the store {counted}'}")
    table.caption, table.caption_justify = "\n".join(lines), "left"
    return table


def need_lines(told: Mapping[str, Any]) -> list[str]:
    """What a build needs and what stands in its way, as sentences."""
    counts = Counter((step["stage"], step["state"]) for step in told["steps"])
    stages = dict.fromkeys(step["stage"] for step in told["steps"])
    kept = {stage: (counts[stage, "cached"], counts[stage, "cached"] + counts[stage, "to run"]) for stage in stages}
    lines = ["in the store: " + ", ".join(f"{stage} {n} of {of}" for stage, (n, of) in kept.items())]
    needs = told["needs"]
    load, disk = needs["download"], needs["disk"]
    guessed = f", {size_words(load['by_rows'])} of it guessed by rows" if load["by_rows"] else ""
    unknown = f", and {len(load['unknown'])} files of unknown size" if load["unknown"] else ""
    lock = " (m3e lock tells sizes)" if guessed or unknown else ""
    lines.append(f"to load: about {size_words(load['bytes'])}{guessed}{unknown}{lock}")
    parts = ", ".join(f"{name} {size_words(size)}" for name, size in disk["parts"].items() if size)
    lines.append(
        f"disk: about {size_words(disk['bytes'])}{f' ({parts})' if parts else ''}; free {size_words(disk['free'])}"
    )
    for one in needs["hours"]:
        core, gpu = hour_words(one["core"]), hour_words(one["gpu"])
        told_gpu = gpu if one["measured"]["gpu"] or one["gpu"] is None else f"{gpu} (worked out, never run)"
        lines.append(f"{one['stage']}: {one['texts']:,} texts; one core {core}, one GPU {told_gpu}")
    lines += [f"gap: {gap['corpus']} in {gap['stage']}: {gap['cause']}. Cure: {gap['cure']}" for gap in told["gaps"]]
    return lines
