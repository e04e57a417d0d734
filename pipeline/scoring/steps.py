"""Every step upon a base as one function: work out the key, and let the store find or make the output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.code import code_hash
from pipeline.encoding import pool_entry
from pipeline.licence import RowTerms, strictest
from pipeline.licence.scored import miner_use
from pipeline.manifest.corpus import Corpus
from pipeline.scoring.context import ScoringContext
from pipeline.store import Entry, Receipt
from pipeline.weights import EncoderIdentity

Vectors = Sequence[Entry]


def pool_step(context: ScoringContext, corpus: Corpus, identities: Sequence[EncoderIdentity]) -> Entry:
    """The distinct texts of a corpus of the base."""
    told = context.told(f"data/{corpus.name}/", f"labelled/{corpus.name}.parquet")
    data, labelled = _data(context, corpus), _labelled(context, corpus)
    return pool_entry(context, data, labelled, told, symmetric=corpus.symmetric, identities=identities)


def mine_step(
    context: ScoringContext,
    group: Sequence[Corpus],
    pools: Mapping[str, Entry],
    vectors: Mapping[str, Sequence[Vectors]],
) -> Entry:
    """Candidates of the corpora of `group`, which share one pool. vectors: per corpus those of each encoder."""
    config, rule = context.recipe.mine, context.recipe.rule
    assert context.recipe.encoder is not None
    nearness = context.encoders[context.recipe.encoder][0].p

    def work(out: Path) -> Receipt:
        from pipeline.mine import Known, MineInput, mine

        inputs = [
            MineInput(
                c.name,
                c.symmetric,
                _data(context, c),
                _labelled(context, c),
                pools[c.name].paths("pool-*.parquet"),
                [entry.path / "vectors.npy" for entry in vectors[c.name][0]],
                frozenset(c.code_sides),
            )
            for c in group
        ]
        known = [
            Known(
                c.name,
                c.symmetric,
                context.base.folder / "evidence" / f"{c.name}.parquet",
                _labelled(context, c),
                frozenset(c.code_sides),
            )
            for c in context.corpora
        ]
        veto = [[entry.path / "vectors.npy" for entry in vectors[c.name][1]] for c in group] if config.veto else None
        return mine(inputs, known, out, config, rule, nearness, veto=veto)

    told = {
        "mine": config.model_dump(mode="json", exclude={"veto"}),
        "rule": rule.model_dump(mode="json"),
        "nearness": nearness.model_dump(mode="json"),
        "group": [c.name for c in group],
        "corpora": [[c.name, c.symmetric, sorted(c.code_sides)] for c in context.corpora],
    }
    keys = [key for c in group for key in (pools[c.name].key, *(e.key for one in vectors[c.name] for e in one))]
    files = [f for c in group for f in context.told(f"data/{c.name}/")]
    return context.entry("mine", "pipeline.mine", told, [*keys, *files, *context.told("evidence/", "labelled/")], work)


def score_step(
    context: ScoringContext,
    corpus: Corpus,
    group: Sequence[Corpus],
    pools: Mapping[str, Entry],
    mined: Entry,
    cross: EncoderIdentity | None = None,
) -> Entry:
    """The records of one corpus with their negatives and scores. cross: what the recipe's cross-encoder is."""
    rule, config, terms = context.recipe.rule, context.recipe.score, miner_terms(context)

    def work(out: Path) -> Receipt:
        from pipeline.score import PoolPart, ScoreInput, score

        parts = [
            PoolPart(
                c.name,
                pools[c.name].paths("pool-*.parquet"),
                _data(context, c),
                mined.paths(f"{c.name}/pairs-*.parquet"),
            )
            for c in group
        ]
        given = ScoreInput(
            corpus.name,
            parts,
            mined.paths(f"{corpus.name}/candidates-*.parquet"),
            _labelled(context, corpus),
            mined.paths(f"{corpus.name}/labelled-scores.parquet"),
            mined.receipt["corpora"][corpus.name],
            terms,
        )
        rate = None
        if config.cross_encoder is not None:
            from pipeline.encode.cross import open_cross_encoder

            manifest, home = context.encoders[config.cross_encoder]
            rate = open_cross_encoder(manifest, home, cache=context.store.root / "weights.json")
        return score(given, out, rule, config, rate)

    told: dict[str, Any] = {
        "corpus": corpus.name,
        "rule": rule.model_dump(mode="json"),
        "score": config.model_dump(mode="json"),
        "miner": terms.model_dump(),
    }
    if cross is not None:
        told["cross_encoder"] = {**cross.address(), "code": code_hash("pipeline.encode.cross")}
    files = [f for c in group for f in context.told(f"data/{c.name}/")]
    keys = [mined.key, *(pools[c.name].key for c in group), *files, *context.told(f"labelled/{corpus.name}.parquet")]
    return context.entry("score", "pipeline.score", told, keys, work)


def miner_terms(context: ScoringContext) -> RowTerms:
    """What the terms of the encoders, together, leave free of what they chose, under the recipe's policy."""
    licences = [manifest.licence for manifest, _ in context.encoders.values()]
    commercial, redistribute = (
        strictest(miner_use(licence, context.recipe.policy, axis) for licence in licences)
        for axis in ("commercial", "redistribute")
    )
    named = " AND ".join(dict.fromkeys(licence.spdx for licence in licences))
    return RowTerms(licence_id=named, commercial=commercial.value, redistribute=redistribute.value)


def _data(context: ScoringContext, corpus: Corpus) -> list[Path]:
    return context.paths(f"data/{corpus.name}/")


def _labelled(context: ScoringContext, corpus: Corpus) -> list[Path]:
    return context.paths(f"labelled/{corpus.name}.parquet")
