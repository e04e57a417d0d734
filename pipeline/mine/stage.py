"""The stage: a finished build, its pool and vectors in; pairs, candidates and labelled scores out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.manifest.encoder import Nearness
from pipeline.manifest.settings import MineConfig, RuleConfig
from pipeline.mine import both
from pipeline.mine import corpus as of_corpus
from pipeline.mine.corpus import Queries
from pipeline.mine.csr import Csr
from pipeline.mine.given import LABELLED, SHIPPED, none_given, of_rows, ordered
from pipeline.mine.ground import Ground, allowed_of, twins
from pipeline.mine.rule import ORIGINS, Found, Scores, select
from pipeline.mine.rule import limits as limits_of
from pipeline.mine.search import ROWS, Search, Wanted
from pipeline.mine.side import Side
from pipeline.mine.texts import (
    Known,
    MineInput,
    Records,
)
from pipeline.mine.written import candidate_table, write_pairs
from pipeline.mine.yardstick import Hidden, Tally, judge
from pipeline.record import CANDIDATE_SCHEMA
from pipeline.shards import ShardWriter, write_parquet
from pipeline.store import Receipt

_USUAL = Nearness()
#: Texts on which the recall of a search by signs is measured.
RECALL_TEXTS = 512


def mine(
    inputs: Sequence[MineInput],
    evidence: Sequence[Known],
    out: Path,
    config: MineConfig,
    rule: RuleConfig,
    nearness: Nearness = _USUAL,
    *,
    veto: Sequence[Sequence[Path]] | None = None,
) -> Receipt:
    """Look for the hard negatives of every record; write to `out/<corpus>/`:

    pairs-*.parquet (PAIR_SCHEMA), positional to the data shards; candidates-*.parquet (CANDIDATE_SCHEMA), one row per
    distinct text of the records; labelled-scores.parquet (`score`: f32), positional to the labelled rows.

    evidence: that of every corpus of the build, mined now or not: no positive of any of them becomes a negative. nearness:
    `p` by kind of corpus, where the rule names none. veto: a second encoder's vectors, a list of files per input. With
    `config.pool: corpus` ids count over the corpus' own pool shards, with `all` over those of all inputs in their order;
    there a text found in two of them is one candidate.

    Returns, under `corpora`, of each corpus: `mu` (mean cosine of a text and a candidate, 0 where there is none),
    `p` and `both` that counted, `random` (101 quantiles of random pairs), `pool`, counts, and the yardstick.

    Raises FormatError where evidence is missing or pool, vectors and data were not made of each other; CountError where
    data and evidence differ.
    """
    others = list(veto) if veto is not None else [None] * len(inputs)
    whole = list(zip(inputs, others, strict=True))
    corpora: dict[str, Any] = {}
    for part in [whole] if config.pool == "all" else [[one] for one in whole]:
        ground = Ground.of([given for given, _ in part], evidence, [paths for _, paths in part])
        for number in range(len(part)):
            corpora[part[number][0].corpus] = _mine_one(ground, number, out, config, rule, nearness)
    return {"corpora": corpora}


def _mine_one(
    ground: Ground, number: int, out: Path, config: MineConfig, rule: RuleConfig, nearness: Nearness
) -> dict[str, Any]:
    given, records, names = ground.inputs[number], ground.records[number], ground.names
    rule = rule.with_p(nearness.symmetric if given.symmetric and config.both is not None else nearness.other)
    folder = out / given.corpus
    folder.mkdir(parents=True)
    queries = Queries.of(
        records, names.group, ground.bans, ground.bans.number(names.group[ground.candidates]), twins(ground, number)
    )
    texts = Side(ground.vectors, queries.ids, ground.near.dimension)
    mu = float(texts.mean() @ ground.near.mean())
    score_pos = of_corpus.paired(ground.vectors, records.text, records.pos)
    offer = ground.offered[number]
    allowed = offer.filter(allowed_of(queries, offer, names.group))
    own = records.text[allowed["row"].to_numpy()]
    free = ordered(allowed, pl.Series(of_corpus.paired(ground.vectors, own, allowed["id"].to_numpy())), len(records))
    write_pairs(folder, records, score_pos, free)
    labelled = ground.labelled[number]
    scores = of_corpus.paired(ground.vectors, labelled.text, labelled.other)
    write_parquet(folder / "labelled-scores.parquet", pa.table({"score": pa.array(scores, pa.float32())}))

    asked = of_corpus.wanted(queries, score_pos, rule, mu, config.keep)
    vetoes = []
    if ground.second:
        other, near = ground.second
        second_pos = of_corpus.paired(other, records.text, records.pos)
        vetoes.append(
            of_corpus.veto(Side(other, queries.ids, other.dimension), near, queries.of_record, second_pos, rule)
        )
    # A pool stands in the order of hashes, several pools one after another.
    search = Search(ground.near, asked, vetoes, config.search == "binary", shuffled=len(ground.inputs) == 1)
    hidden = queries.hidden(records.pos_group, config.yardstick_texts, config.seed)
    told_both, judged = _both(
        ground, given.symmetric, queries, texts, search, hidden, records, score_pos, config, rule, mu
    )
    if told_both.both is not None:
        positives = Csr.of(queries.of_record, records.pos.astype(np.int64), len(queries.ids))
        records_reach = both.reach(score_pos, told_both.both, mu)
        seen = both.both_sides(ground.vectors, ground.near, queries.ids, positives, queries.of_record, records_reach)
        search = replace(search, vetoes=[*vetoes, seen])
    tally = Tally(rule.negatives, len(names.key))
    again = found = 0
    with ShardWriter(folder, "candidates", CANDIDATE_SCHEMA) as writer:
        for rows, banned in queries.blocks():
            near_rows = search(texts, rows, queries.spread(rows, banned))
            again += near_rows.searched_again
            block = of_corpus.found(queries, ground.candidates, near_rows)
            found += len(block.ids)
            writer.write(candidate_table(block))
            mine = np.sort(queries.records.rows(rows)[1])
            chosen = select(
                records.text[mine], score_pos[mine], records.drawn_by[mine], of_rows(free, mine), block, rule, mu
            )
            tally.add(chosen, score_pos[mine], names.key, records.text[mine], records.pos[mine])
    random = of_corpus.random_scores(texts, ground.near, config.seed)
    counts = {ORIGINS[origin]: int((free.origins == origin).sum()) for origin in (SHIPPED, LABELLED)}
    told: dict[str, Any] = {
        "mu": mu,
        "p": rule.p,
        "random": {"quantiles": [round(float(q), 6) for q in np.percentile(random, range(101))] if len(random) else []},
        "pool": [each.corpus for each in ground.inputs],
        "records": len(records),
        "texts": len(queries.ids),
        "candidates": len(ground.candidates),
        "stored": found,
        "given": counts | {"banned": offer.height - allowed.height},
        "searched_again": again,
        "families_ignored": ground.bans.ignored,
        "both": {"taken": told_both.both, "tried": told_both.tried},
        "yardstick": tally.told(mu)
        | {"hidden": _yardstick(ground, queries, texts, search, judged, records, score_pos, told_both.both, rule, mu)},
    }
    if search.binary:
        told["recall"] = _recall(search, texts, queries, config)
    return told


def _both(
    ground: Ground,
    symmetric: bool,
    queries: Queries,
    texts: Side,
    search: Search,
    hidden: Hidden,
    records: Records,
    score_pos: Scores,
    config: MineConfig,
    rule: RuleConfig,
    mu: float,
) -> tuple[both.Told, Hidden]:
    """What is asked of candidates seen from the positive, and the texts that are left to judge the whole by."""
    if not symmetric or config.both != "yardstick":
        fixed = config.both if symmetric and config.both != "yardstick" else None
        return both.Told(fixed, []), hidden
    halves = hidden.some(np.arange(0, len(hidden.rows), 2)), hidden.some(np.arange(1, len(hidden.rows), 2))
    shown = _shown(halves[0], records, len(queries.ids))
    middles = Side(both.Middles(ground.vectors, queries.ids, shown), np.arange(len(queries.ids)), texts.dimension)
    deciding = score_pos[halves[0].records]
    return both.decide(search, texts, middles, halves[0], deciding, config, rule, mu), halves[1]


def _shown(hidden: Hidden, records: Records, texts: int) -> Csr:
    """The one positive that is shown of each text."""
    return Csr.of(hidden.rows, records.pos[hidden.records].astype(np.int64), texts)


def _yardstick(
    ground: Ground,
    queries: Queries,
    texts: Side,
    search: Search,
    hidden: Hidden,
    records: Records,
    score_pos: Scores,
    seen: float | None,
    rule: RuleConfig,
    mu: float,
) -> dict[str, Any]:
    """The same search and rule for texts of which all matches but one are hidden."""
    shown = score_pos[hidden.records]
    marked, limits = np.zeros(len(queries.ids), np.int64), limits_of(shown, rule, mu)
    marked[hidden.rows] = 1
    order = np.argsort(hidden.rows)
    asked = Wanted(search.wanted.keep, rule.negatives, np.concatenate([[0], np.cumsum(marked)]), limits[order])
    vetoes = list(search.vetoes)
    if seen is not None:
        positives, reach = _shown(hidden, records, len(queries.ids)), both.reach(shown, seen, mu)
        vetoes[-1] = both.both_sides(ground.vectors, ground.near, queries.ids, positives, hidden.rows, reach)
    blind = replace(search, wanted=asked, vetoes=vetoes)
    near = [
        blind(texts, hidden.rows[some], hidden.bans.some(some))
        for some in (order[lo : lo + ROWS] for lo in range(0, len(order), ROWS))
    ]
    places = np.full(len(ground.names.key), -1, np.int64)
    places[ground.candidates] = np.arange(len(ground.candidates))
    found = _joined([of_corpus.found(queries, ground.candidates, part) for part in near])
    drawn_by = records.drawn_by[hidden.records]
    chosen = select(queries.ids[hidden.rows], shown, drawn_by, none_given(len(order)), found, rule, mu)
    return judge(hidden, places, chosen, shown, mu)


def _recall(search: Search, texts: Side, queries: Queries, config: MineConfig) -> float:
    """Which share of the true nearest `keep` a search by signs finds, on some texts."""
    drawn = np.random.default_rng(config.seed).permutation(len(queries.ids))[:RECALL_TEXTS]
    rows = np.sort(drawn)
    bans = queries.spread(rows, queries.banned(rows))
    exact = replace(search, binary=False)
    sets = []
    for near in (exact(texts, rows, bans), search(texts, rows, bans)):
        told = near.ranks <= search.wanted.keep
        sets.append((np.repeat(np.arange(len(rows)), np.diff(near.offsets)) << 32 | near.at)[told])
    return round(float(np.isin(sets[0], sets[1]).mean()), 4) if len(sets[0]) else 1.0


def _joined(parts: Sequence[Found]) -> Found:
    sizes = np.concatenate([np.zeros(0, np.int64), *(np.diff(part.offsets) for part in parts)])
    kinds = {"text": np.uint32, "ids": np.uint32, "scores": np.float32, "ranks": np.int32}
    flat = {
        name: np.concatenate([np.zeros(0, kind), *(getattr(part, name) for part in parts)])
        for name, kind in kinds.items()
    }
    return Found(flat["text"], np.concatenate([[0], np.cumsum(sizes)]), flat["ids"], flat["scores"], flat["ranks"])
