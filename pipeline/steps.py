"""Every step of a build as one function: work out the key, and let the store find or make the output.

A step takes the context, what it works on and the entries it reads, and gives back an entry. Inputs are told apart by
their keys alone, so a rehearsal can follow the whole graph without doing any work; files are looked at, and stages
imported, only inside the work itself: a build with nothing to do does not wait for polars, numba and scipy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.against import Standing
from pipeline.context import Context, known_as
from pipeline.encoding import pool_entry
from pipeline.fetch import Choice, fetch_first
from pipeline.ledger import hold_counts
from pipeline.licence import Rank, RowTerms, Terms, UseClass
from pipeline.manifest.benchmark import Benchmark
from pipeline.manifest.corpus import Corpus, FileSet, Source
from pipeline.manifest.recipe import Chosen, Recipe
from pipeline.source import Fetched, SourceFile, Wanted
from pipeline.store import Entry, Receipt, Store, stage_key
from pipeline.weights import EncoderIdentity

#: What of a corpus manifest decides the text; a change elsewhere (licence, grade, title) rewrites none.
TEXT_FIELDS = {"name", "prompt", "symmetric", "script", "splits", "parts", "clean", "code_sides", "max_bad_rows"}


def fetch_step(context: Context, of: Corpus | Benchmark) -> Fetched:
    """The files of a corpus or benchmark, on this machine and verified; a rehearsal asks no network for them."""
    name = known_as(of)
    return fetch_first(
        of.name,
        choices_of(of),
        context.homes[name],
        context.store,
        locked=context.locks.get(name, ()),
        frozen=context.frozen,
        offline=context.rehearsal,
        listen=context.listen,
    )


def choices_of(of: Corpus | Benchmark) -> list[Choice]:
    """Where the files may come from, in order of trust, and which files each place must have."""
    told: list[tuple[Source, Sequence[FileSet]]] = [(of.source, of.parts)]
    if isinstance(of, Corpus):
        told += [(other.source, other.parts or of.parts) for other in of.alternates]
    return [Choice(source, tuple(_wanted(parts, of.splits))) for source, parts in told]


def _wanted(parts: Sequence[FileSet], splits: Sequence[str]) -> list[Wanted]:
    return [
        Wanted(i, split, tuple([patterns] if isinstance(patterns, str) else patterns))
        for i, part in enumerate(parts)
        for split, patterns in part.files.items()
        if split in splits
    ]


def as_fetched(corpus: Corpus, fetched: Fetched) -> Corpus:
    """The corpus as the source that was used has it: an alternate may have parts and counts of its own."""
    if not fetched.alternate:
        return corpus
    used = corpus.alternates[fetched.alternate - 1]
    return corpus.model_copy(update={"parts": used.parts or corpus.parts, "expect": used.expect or corpus.expect})


def convert_step(context: Context, corpus: Corpus, fetched: Fetched) -> Entry:
    corpus = as_fetched(corpus, fetched)
    mask = context.recipe.pii.mask
    config = _convert_config(corpus, context.sample, mask=mask)

    def work(out: Path) -> Receipt:
        from pipeline.convert import convert

        return convert(corpus, fetched.files, out, sample=context.sample, mask=mask)

    entry = context.entry("convert", "pipeline.convert", config, _told(fetched.files), work)
    if context.sample is None and entry.receipt:
        hold_counts(corpus, entry.receipt["totals"])
    return entry


def converted(store: Store, corpus: Corpus, fetched: Fetched, alternate: int) -> Entry | None:
    """What an earlier build made of exactly these files, if one did."""
    config = _convert_config(as_fetched(corpus, replace(fetched, alternate=alternate)), None, mask=False)
    return store.find("convert", stage_key("convert", "pipeline.convert", config, _told(fetched.files)))


def _convert_config(corpus: Corpus, sample: int | None, *, mask: bool) -> dict[str, object]:
    return {"corpus": corpus.model_dump(mode="json", include=TEXT_FIELDS), "sample": sample, "mask": mask}


def quality_step(context: Context, corpus: Corpus, text: Entry) -> Entry:
    config = context.recipe.quality

    def work(out: Path) -> Receipt:
        from pipeline.quality import quality

        return quality(text.paths("text-*.parquet"), out, config, corpus.code_sides)

    told = {"rules": config.model_dump(mode="json"), "code_sides": sorted(corpus.code_sides)}
    return context.entry("quality", "pipeline.quality", told, [text.key], work)


def pool_step(context: Context, corpus: Corpus, text: Entry, identity: EncoderIdentity) -> Entry:
    """The distinct texts of a converted corpus, for consistency."""
    shards = text.paths("text-*.parquet")
    return pool_entry(context, shards, [], [text.key], symmetric=corpus.symmetric, identities=[identity])


def consistency_step(context: Context, corpus: Corpus, text: Entry, pool: Entry, vectors: Sequence[Entry]) -> Entry:
    config = context.recipe.consistency
    assert config is not None

    def work(out: Path) -> Receipt:
        from pipeline.consistency import consistency

        rows = [entry.path / "vectors.npy" for entry in vectors]
        shards = text.paths("text-*.parquet")
        return consistency(shards, pool.paths("pool-*.parquet"), rows, out, config, symmetric=corpus.symmetric)

    # `top` is applied by resolve, so another one looks at stored ranks.
    told = {"rules": config.model_dump(mode="json", exclude={"top", "encoder"}), "symmetric": corpus.symmetric}
    keys = [text.key, pool.key, *(entry.key for entry in vectors)]
    return context.entry("consistency", "pipeline.consistency", told, keys, work)


def index_step(context: Context, benchmark: Benchmark, fetched: Fetched) -> Entry:
    mask = context.recipe.pii.mask

    def work(out: Path) -> Receipt:
        from pipeline.decontaminate import index

        return index(benchmark, fetched.files, out, mask=mask)

    told = {**benchmark.model_dump(mode="json", include={"name", "task", "splits", "parts"}), "mask": mask}
    return context.entry("index", "pipeline.decontaminate", told, _told(fetched.files), work)


def protect_step(context: Context, indexes: Mapping[str, Entry]) -> Entry:
    config = context.recipe.decontaminate

    def work(out: Path) -> Receipt:
        from pipeline.decontaminate import protect

        return protect({task: entry.path for task, entry in indexes.items()}, out, config)

    told = {
        "rules": config.model_dump(mode="json", exclude={"benchmarks", "policy", "min_chars"}),
        "tasks": sorted(indexes),
    }
    return context.entry("protect", "pipeline.decontaminate", told, [indexes[t].key for t in sorted(indexes)], work)


def decontaminate_step(context: Context, corpus: Corpus, text: Entry, protected: Entry) -> Entry:
    config = context.recipe.decontaminate
    sides = frozenset(corpus.code_sides)

    def work(out: Path) -> Receipt:
        from pipeline.decontaminate import decontaminate

        shards, labelled = text.paths("text-*.parquet"), text.paths("labelled-*.parquet")
        return decontaminate(
            shards, labelled, protected.path, out, config, code_sides=sides, instruction_data=corpus.instruction_data
        )

    told = {
        "rules": config.model_dump(mode="json", exclude={"benchmarks"}),
        "code_sides": sorted(sides),
        "instruction_data": corpus.instruction_data,
    }
    return context.entry("decontaminate", "pipeline.decontaminate", told, [text.key, protected.key], work)


def dedupe_step(context: Context, corpora: Sequence[Corpus], texts: Mapping[str, Entry]) -> Entry:
    config = context.recipe.dedupe

    def work(out: Path) -> Receipt:
        from pipeline.dedupe import DedupeInput, dedupe

        inputs = [
            DedupeInput(c.name, texts[c.name].paths("text-*.parquet"), c.symmetric, c.near, frozenset(c.code_sides))
            for c in corpora
        ]
        inputs += [DedupeInput(c.known_as, c.shards, c.symmetric, c.near, c.code_sides) for c in _standing(context)]
        return dedupe(inputs, out, config, context.spread)

    told = {
        # Another threshold asks nothing new of the texts.
        "rules": config.model_dump(mode="json", exclude={"threshold"}),
        "corpora": [[c.name, c.symmetric, c.near, sorted(c.code_sides)] for c in corpora],
        "against": context.against.told() if context.against else None,
    }
    return context.entry("dedupe", "pipeline.dedupe", told, [texts[c.name].key for c in corpora], work)


def resolve_step(
    context: Context,
    corpora: Sequence[Corpus],
    texts: Mapping[str, Entry],
    marks: Mapping[str, Mapping[str, Entry]],
    groups: Entry,
) -> Entry:
    threshold, cap = context.recipe.dedupe.threshold, context.recipe.cap
    top = context.recipe.consistency.top if context.recipe.consistency else None
    ranks = {c.name: {sub: _rank(context.recipe, terms) for sub, terms in _terms(c).items()} for c in corpora}

    def work(out: Path) -> Receipt:
        from pipeline.resolve import ResolveConfig, ResolveInput, resolve

        inputs = [
            ResolveInput(
                c.name,
                c.grade,
                ranks[c.name],
                texts[c.name].paths("text-*.parquet"),
                {stage: entry.paths("marks-*.parquet") for stage, entry in marks[c.name].items()},
                groups.paths(f"classes/{c.name}/classes-*.parquet"),
            )
            for c in corpora
        ]
        kept = Rank(commercial=UseClass.ALLOWED, redistribute=UseClass.ALLOWED)
        for c in _standing(context):
            classes = groups.paths(f"classes/{c.known_as}/classes-*.parquet")
            # Whatever its licence and grade: a record that stands comes before every other.
            inputs.append(ResolveInput(c.known_as, "优", {"": kept}, c.shards, {}, classes, standing=True))
        judged = ResolveConfig(threshold=threshold, cap=cap, top=top)
        edges, crowds = (groups.path / name for name in ("edges.parquet", "crowds.parquet"))
        return resolve(inputs, edges, context.tombstones, out, judged, crowds)

    told = {
        "threshold": threshold,
        "top": top,
        "cap": cap.model_dump(mode="json") if cap else None,
        "priority": [
            [c.name, c.grade, {s: r.model_dump(mode="json") for s, r in ranks[c.name].items()}] for c in corpora
        ],
        "tombstones": sorted(context.tombstones),
        "against": context.against.key if context.against else None,
    }
    keys = [key for c in corpora for key in (texts[c.name].key, *(marks[c.name][s].key for s in sorted(marks[c.name])))]
    return context.entry("resolve", "pipeline.resolve", told, [*keys, groups.key], work)


def assemble_step(
    context: Context, corpus: Corpus, text: Entry, marks: Mapping[str, Entry], groups: Entry, decisions: Entry
) -> Entry:
    terms = {
        sub: RowTerms(
            licence_id=t.spdx,
            commercial=t.commercial.value,
            redistribute=t.redistribute.value,
            usable=_rank(context.recipe, t).usable,
        )
        for sub, t in _terms(corpus).items()
    }

    def work(out: Path) -> Receipt:
        from pipeline.assemble import AssembleInput, assemble

        given = AssembleInput(
            corpus.name,
            text.paths("text-*.parquet"),
            decisions.paths(f"{corpus.name}/decisions-*.parquet"),
            groups.paths(f"classes/{corpus.name}/classes-*.parquet"),
            [entry.paths("marks-*.parquet") for entry in marks.values()],
            marks["decontaminate"].paths("negatives-*.parquet"),
            text.paths("labelled-*.parquet"),
            marks["decontaminate"].paths("labelled-marks-*.parquet"),
        )
        return assemble(given, groups.paths("classes/*/classes-*.parquet"), terms, out, context.tombstones)

    told = {
        "corpus": corpus.name,
        "terms": {s: t.model_dump() for s, t in terms.items()},
        "tombstones": sorted(context.tombstones),
    }
    keys = [text.key, groups.key, decisions.key, *(marks[s].key for s in sorted(marks))]
    return context.entry("assemble", "pipeline.assemble", told, keys, work)


def _standing(context: Context) -> tuple[Standing, ...]:
    return context.against.corpora if context.against else ()


def _terms(corpus: Corpus) -> dict[str, Terms]:
    """Those of every sub-source that any source of the corpus may bring."""
    parts = [*corpus.parts, *(part for other in corpus.alternates for part in other.parts or ())]
    return {part.sub_source: corpus.licence.of(part.sub_source) for part in parts}


def _rank(recipe: Recipe, terms: Terms) -> Rank:
    want = recipe.corpora if isinstance(recipe.corpora, Chosen) else None
    usable = want is None or (
        want.commercial in (None, terms.commercial) and want.redistribute in (None, terms.redistribute)
    )
    return Rank(commercial=terms.commercial, redistribute=terms.redistribute, usable=usable)


def _told(files: Sequence[SourceFile]) -> list[str]:
    """What tells source files apart: their content and their place in the corpus, not where they lie."""
    return [f"{f.part}:{f.split}:{f.name}:{f.sha256}" for f in files]
