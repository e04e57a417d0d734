"""What the corpora of one pool share: records and texts as ids, candidates, bans and vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from pipeline.encode.device import device_of, gpus
from pipeline.encode.vectors import Vectors
from pipeline.errors import FormatError
from pipeline.mine import corpus as of_corpus
from pipeline.mine.bans import Bans, Groups, Judged, matches
from pipeline.mine.corpus import Queries
from pipeline.mine.csr import Ints, positions
from pipeline.mine.given import offered, within
from pipeline.mine.search import ROWS, spans
from pipeline.mine.side import Side
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


class Ground(NamedTuple):
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
    ) -> Ground:
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
        # Corpora are mined side by side: each on a GPU of its own, where there are several.
        device = device_of(list(known).index(inputs[0].corpus)) if gpus() and inputs else None
        second = None
        if all(paths is not None for paths in veto) and veto:
            other = _open([path for paths in veto for path in paths or ()], pool)
            second = other, Side(other, ids, other.dimension, hold=True, device=device)
        near = Side(vectors, ids, vectors.dimension, hold=True, device=device)
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


def twins(ground: Ground, number: int) -> tuple[Ints, Ints]:
    """(record, candidate) where the candidate is another spelling of what is offered to the record anyway."""
    offer = ground.offered[number]
    keys = ground.names.key[ground.candidates]
    order = np.argsort(keys)
    at, there = positions(keys[order], ground.names.key[offer["id"].to_numpy()])
    place = order[at] if len(order) else at
    there[there] = ground.candidates[place[there]] != offer["id"].to_numpy()[there]
    return offer["row"].to_numpy()[there], place[there]


def allowed_of(queries: Queries, offer: pl.DataFrame, groups: Hashes) -> pl.Series:
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
