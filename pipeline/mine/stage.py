"""The stage: a finished build, its pool and vectors in; pairs, candidates and labelled scores out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.encode.vectors import Vectors
from pipeline.errors import FormatError
from pipeline.manifest.settings import MineConfig, RuleConfig
from pipeline.mine import corpus as of_corpus
from pipeline.mine.bans import Bans, Groups, Judged, matches
from pipeline.mine.corpus import Queries
from pipeline.mine.csr import Csr, Ints, positions
from pipeline.mine.given import LABELLED, SHIPPED, none_given, of_rows, offered, ordered, within
from pipeline.mine.rule import ORIGINS, Found, Given, Scores, select
from pipeline.mine.rule import limits as limits_of
from pipeline.mine.search import ROWS, Search, Side, Wanted, spans
from pipeline.mine.texts import (
    Hashes,
    Ids,
    Known,
    Labelled,
    MineInput,
    Names,
    Pool,
    Records,
    read_evidence,
    read_labelled,
    read_records,
)
from pipeline.mine.yardstick import Hidden, Tally, judge
from pipeline.record import CANDIDATE_SCHEMA, PAIR_SCHEMA, shard_name
from pipeline.shards import ShardWriter, write_parquet
from pipeline.store import Receipt

#: Texts on which the recall of a search by signs is measured.
RECALL_TEXTS = 512


def mine(
    inputs: Sequence[MineInput],
    evidence: Sequence[Known],
    out: Path,
    config: MineConfig,
    rule: RuleConfig,
    *,
    veto: Sequence[Sequence[Path]] | None = None,
) -> Receipt:
    """Look for the hard negatives of every record; write to `out/<corpus>/`:

    pairs-*.parquet (PAIR_SCHEMA), positional to the data shards; candidates-*.parquet (CANDIDATE_SCHEMA), one row per
    distinct text of the records; labelled-scores.parquet (`score`: f32), positional to the labelled rows.

    evidence: that of every corpus of the build, mined now or not: no positive of any of them becomes a negative. veto: a
    second encoder's vectors, a list of files per input. With `config.pool: corpus` ids count over the corpus' own pool
    shards, with `all` over those of all inputs in their order; there a text found in two of them is one candidate.

    Returns, under `corpora`, of each corpus: `mu` (mean cosine of a text and a candidate, 0 where there is none),
    `random` (101 quantiles of random pairs), `pool`, counts, and the yardstick.

    Raises FormatError where evidence is missing or pool, vectors and data were not made of each other; CountError where
    data and evidence differ.
    """
    vetoes = list(veto) if veto is not None else [None] * len(inputs)
    whole = list(zip(inputs, vetoes, strict=True))
    corpora: dict[str, Any] = {}
    for part in [whole] if config.pool == "all" else [[one] for one in whole]:
        ground = _Ground.of([given for given, _ in part], evidence, [paths for _, paths in part])
        for number in range(len(part)):
            corpora[part[number][0].corpus] = _mine_one(ground, number, out, config, rule)
    return {"corpora": corpora}


class _Ground(NamedTuple):
    """What the corpora of one pool share."""

    inputs: Sequence[MineInput]
    names: Names
    records: Sequence[Records]
    labelled: Sequence[Labelled]
    offered: Sequence[pl.DataFrame]
    candidates: Ids
    bans: Bans
    vectors: Side
    near: Side
    second: tuple[Side, Side] | None

    @classmethod
    def of(
        cls, inputs: Sequence[MineInput], evidence: Sequence[Known], veto: Sequence[Sequence[Path] | None]
    ) -> _Ground:
        known = {each.corpus: each for each in evidence}
        if lost := [given.corpus for given in inputs if given.corpus not in known]:
            raise FormatError(", ".join(lost), "the base build holds no evidence of it", "build the base again")
        pool = Pool(inputs)
        names = Names(pool)
        records = [
            read_records(given, number, pool, known[given.corpus].evidence, names)
            for number, given in enumerate(inputs)
        ]
        labelled = [read_labelled(given, number, pool) for number, given in enumerate(inputs)]
        judged = {
            g.corpus: (one.text_key[one.pairs(True)], one.other_key[one.pairs(True)])
            for g, one in zip(inputs, labelled, strict=True)
        }
        judged |= {each.corpus: matches(each) for each in evidence if each.corpus not in judged}
        groups = _groups(records, labelled, judged, evidence)
        for one in labelled:
            names.other(one.text, one.text_key, groups.of(one.text_key))
            names.other(one.other, one.other_key, groups.of(one.other_key))
        for of in records:
            keys = of.negatives["key"].to_numpy()
            names.other(of.negatives["id"].to_numpy(), keys, groups.of(keys))
        offers = [
            offered(of, names.key[of.text], one, given.symmetric)
            for given, of, one in zip(inputs, records, labelled, strict=True)
        ]
        sides = [
            side
            for given, of in zip(inputs, records, strict=True)
            for side in ((of.pos, of.text) if given.symmetric else (of.pos,))
        ]
        ids = np.unique(np.concatenate([np.zeros(0, np.uint32), *sides]))
        # One spelling of a text is enough: the first in pool order.
        ids = np.sort(ids[np.unique(names.key[ids], return_index=True)[1]])
        given_ids = np.concatenate([np.zeros(0, np.uint32), *(offer["id"].to_numpy() for offer in offers)])
        bans = Bans(
            evidence,
            [Judged(each.symmetric, *(groups.of(keys) for keys in judged[each.corpus])) for each in evidence],
            [(given.symmetric, of) for given, of in zip(inputs, records, strict=True)],
            names.group[np.unique(np.concatenate([np.zeros(0, np.uint32), *(of.text for of in records)]))],
            names.group[np.unique(np.concatenate([ids, given_ids]))],
        )
        vectors = _open([path for given in inputs for path in given.vectors], pool)
        second = None
        if all(paths is not None for paths in veto) and veto:
            other = _open([path for paths in veto for path in paths or ()], pool)
            second = other, Side(other, ids, other.dimension, hold=True)
        near = Side(vectors, ids, vectors.dimension, hold=True)
        everything = Side(vectors, np.arange(len(pool)), vectors.dimension)
        return cls(inputs, names, records, labelled, offers, ids, bans, everything, near, second)


def _open(paths: Sequence[Path], pool: Pool) -> Side:
    vectors = Vectors.open(paths)
    if len(vectors) != len(pool):
        cause = f"{len(vectors)} vectors for {len(pool)} texts"
        raise FormatError("vectors", cause, "they were made of another pool: delete their folders in the store")
    return Side(vectors, np.arange(len(pool)), vectors.dimension)


def _groups(
    records: Sequence[Records],
    labelled: Sequence[Labelled],
    judged: dict[str, tuple[Hashes, Hashes]],
    evidence: Sequence[Known],
) -> Groups:
    keys = [of.negatives["key"].to_numpy() for of in records]
    keys += [column for one in labelled for column in (one.text_key, one.other_key)]
    keys += [column for pair in judged.values() for column in pair]
    groups = Groups(np.concatenate([np.zeros(0, np.uint64), *keys]))
    for each in evidence:
        known = read_evidence(each.evidence)
        for side in ("text", "pos"):
            groups.learn(known[f"{side}_key"].to_numpy(), known[f"{side}_group"].to_numpy())
    return groups


def _mine_one(ground: _Ground, number: int, out: Path, config: MineConfig, rule: RuleConfig) -> dict[str, Any]:
    given, records, names = ground.inputs[number], ground.records[number], ground.names
    folder = out / given.corpus
    folder.mkdir(parents=True)
    queries = Queries.of(
        records, names.group, ground.bans, ground.bans.number(names.group[ground.candidates]), _twins(ground, number)
    )
    texts = Side(ground.vectors, queries.ids, ground.near.dimension)
    mu = float(texts.mean() @ ground.near.mean())
    score_pos = of_corpus.paired(ground.vectors, records.text, records.pos)
    offer = ground.offered[number]
    allowed = offer.filter(_allowed(queries, offer, names.group))
    own = records.text[allowed["row"].to_numpy()]
    free = ordered(allowed, pl.Series(of_corpus.paired(ground.vectors, own, allowed["id"].to_numpy())), len(records))
    _write_pairs(folder, records, score_pos, free)
    labelled = ground.labelled[number]
    scores = of_corpus.paired(ground.vectors, labelled.text, labelled.other)
    write_parquet(folder / "labelled-scores.parquet", pa.table({"score": pa.array(scores, pa.float32())}))

    asked = of_corpus.wanted(queries, score_pos, rule, mu, config.keep)
    veto = None
    if ground.second:
        other, near = ground.second
        second_pos = of_corpus.paired(other, records.text, records.pos)
        veto = of_corpus.veto(Side(other, queries.ids, other.dimension), near, queries.of_record, second_pos, rule)
    search = Search(ground.near, asked, veto, config.search == "binary")
    tally = Tally(rule.negatives, len(names.key))
    again = found = 0
    with ShardWriter(folder, "candidates", CANDIDATE_SCHEMA) as writer:
        for rows, banned in queries.blocks():
            near_rows = search(texts, rows, queries.spread(rows, banned))
            again += near_rows.searched_again
            block = of_corpus.found(queries, ground.candidates, near_rows)
            found += len(block.ids)
            writer.write(_candidates(block))
            mine = np.sort(queries.records.rows(rows)[1])
            chosen = select(
                records.text[mine], score_pos[mine], records.drawn_by[mine], of_rows(free, mine), block, rule, mu
            )
            tally.add(chosen, score_pos[mine], names.key, records.text[mine], records.pos[mine])
    random = of_corpus.random_scores(texts, ground.near, config.seed)
    counts = {ORIGINS[origin]: int((free.origins == origin).sum()) for origin in (SHIPPED, LABELLED)}
    told: dict[str, Any] = {
        "mu": mu,
        "random": {"quantiles": [round(float(q), 6) for q in np.percentile(random, range(101))] if len(random) else []},
        "pool": [each.corpus for each in ground.inputs],
        "records": len(records),
        "texts": len(queries.ids),
        "candidates": len(ground.candidates),
        "stored": found,
        "given": counts | {"banned": offer.height - allowed.height},
        "searched_again": again,
        "families_ignored": ground.bans.ignored,
        "yardstick": tally.told(mu)
        | {"hidden": _yardstick(ground, queries, texts, search, records, score_pos, config, rule, mu)},
    }
    if search.binary:
        told["recall"] = _recall(search, texts, queries, config)
    return told


def _twins(ground: _Ground, number: int) -> tuple[Ints, Ints]:
    """(record, candidate) where the candidate is another spelling of what is offered to the record anyway."""
    offer = ground.offered[number]
    keys = ground.names.key[ground.candidates]
    order = np.argsort(keys)
    at, there = positions(keys[order], ground.names.key[offer["id"].to_numpy()])
    place = order[at] if len(order) else at
    there[there] = ground.candidates[place[there]] != offer["id"].to_numpy()[there]
    return offer["row"].to_numpy()[there], place[there]


def _allowed(queries: Queries, offer: pl.DataFrame, groups: Hashes) -> pl.Series:
    """Which offered negatives no ban speaks against."""
    row, group = queries.of_record[offer["row"].to_numpy()], queries.bans.number(groups[offer["id"].to_numpy()])
    rows = np.unique(row)
    allowed = np.ones(len(row), np.bool_)
    for lo, hi in spans(
        queries.bans.cost(queries.groups[rows], np.ones(len(queries.bans), np.int64)), ROWS, of_corpus.BANS
    ):
        here = np.flatnonzero((row >= rows[lo]) & (row <= rows[hi - 1]))
        allowed[here] = ~within(queries.banned(rows[lo:hi]), np.searchsorted(rows[lo:hi], row[here]), group[here])
    return pl.Series(allowed)


def _yardstick(
    ground: _Ground,
    queries: Queries,
    texts: Side,
    search: Search,
    records: Records,
    score_pos: Scores,
    config: MineConfig,
    rule: RuleConfig,
    mu: float,
) -> dict[str, Any]:
    """The same search and rule for texts of which all matches but one are hidden."""
    hidden: Hidden = queries.hidden(records.pos_group, config.yardstick_texts, config.seed)
    shown = score_pos[hidden.records]
    seen, limits = np.zeros(len(queries.ids), np.int64), limits_of(shown, rule, mu)
    seen[hidden.rows] = 1
    order = np.argsort(hidden.rows)
    asked = Wanted(search.wanted.keep, rule.negatives, np.concatenate([[0], np.cumsum(seen)]), limits[order])
    blind = Search(search.candidates, asked, search.veto, search.binary)
    near = [
        blind(texts, hidden.rows[some], _slice(hidden.bans, some))
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
    exact = Search(search.candidates, search.wanted, search.veto)
    sets = []
    for near in (exact(texts, rows, bans), search(texts, rows, bans)):
        told = near.ranks <= search.wanted.keep
        sets.append((np.repeat(np.arange(len(rows)), np.diff(near.offsets)) << 32 | near.at)[told])
    return round(float(np.isin(sets[0], sets[1]).mean()), 4) if len(sets[0]) else 1.0


def _slice(lists: Csr, at: Ints) -> Csr:
    owner, items = lists.rows(at)
    return Csr.sorted(owner, items, len(at))


def _joined(parts: Sequence[Found]) -> Found:
    sizes = np.concatenate([np.zeros(0, np.int64), *(np.diff(part.offsets) for part in parts)])
    kinds = {"text": np.uint32, "ids": np.uint32, "scores": np.float32, "ranks": np.int32}
    flat = {
        name: np.concatenate([np.zeros(0, kind), *(getattr(part, name) for part in parts)])
        for name, kind in kinds.items()
    }
    return Found(flat["text"], np.concatenate([[0], np.cumsum(sizes)]), flat["ids"], flat["scores"], flat["ranks"])


def _write_pairs(folder: Path, records: Records, score_pos: Scores, given: Given) -> None:
    first = 0
    for shard, rows in enumerate(records.shards):
        some = slice(first, first + rows)
        lists = of_rows(given, np.arange(first, first + rows))
        origins = pa.DictionaryArray.from_arrays(lists.origins, list(ORIGINS)).dictionary_decode()
        struct = PAIR_SCHEMA.field("given").type.value_type
        items = pa.StructArray.from_arrays([lists.ids, origins, lists.scores], fields=list(struct))
        column = pa.ListArray.from_arrays(lists.offsets.astype(np.int32), items)
        columns = [pa.array(records.text[some]), pa.array(records.pos[some]), pa.array(score_pos[some]), column]
        write_parquet(folder / shard_name("pairs", shard), pa.table(columns, schema=PAIR_SCHEMA))
        first += rows


def _candidates(found: Found) -> pa.Table:
    offsets = pa.array(found.offsets.astype(np.int32))
    lists = [pa.ListArray.from_arrays(offsets, pa.array(column)) for column in (found.ids, found.scores, found.ranks)]
    return pa.table([pa.array(found.text), *lists], names=CANDIDATE_SCHEMA.names)
