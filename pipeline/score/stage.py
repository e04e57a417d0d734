"""The score stage: pairs, candidates and a rule become the records of a build with scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.licence import RowTerms
from pipeline.manifest.settings import RuleConfig, ScoreConfig
from pipeline.record import DATA_SCHEMA, SCORED_SCHEMA, shard_name
from pipeline.score.calibrate import Curve, curve_of
from pipeline.score.gold import read_gold
from pipeline.score.holders import Codes, PoolPart, freest_holders
from pipeline.score.profile import Profile
from pipeline.score.rated import Rated, rate_chosen
from pipeline.score.records import Scorer
from pipeline.score.selection import select_negatives
from pipeline.score.texts import same_text, write_texts
from pipeline.shards import write_parquet
from pipeline.store import Receipt

if TYPE_CHECKING:
    from pipeline.encode.cross import Rate


@dataclass(frozen=True)
class ScoreInput:
    """One corpus. `pool`: the corpora whose pools the numbers of texts run over, in order; this one is among them.

    `candidates` and `labelled_scores` come from mining, `mined` is its receipt for this corpus (`mu`, `p`, `random`). `miner`:
    the encoder's terms under the recipe's policy (allowed throughout where the policy accepts them).
    """

    corpus: str
    pool: Sequence[PoolPart]
    candidates: Sequence[Path]
    labelled: Sequence[Path]
    labelled_scores: Sequence[Path]
    mined: Mapping[str, Any]
    miner: RowTerms

    @property
    def own(self) -> PoolPart:
        return next(part for part in self.pool if part.corpus == self.corpus)


def score(given: ScoreInput, out: Path, rule: RuleConfig, config: ScoreConfig, rate: Rate | None = None) -> Receipt:
    """Write scored records (`train-*`, SCORED_SCHEMA, positional to the base's data) of one corpus below `out`.

    `score_pos` and the negatives' `score` are the encoder's cosines. `calibrated` beside them lies between 0 and 1:
    what people judged where they did (a labelled match 1, a non-match 0, a gold score on its scale), else the corpus'
    curve (`pipeline.score.calibrate`), over cosines or, with `rate`, over what that says of pairs of texts.
    A record may be used as its strictest part may: itself, every negative, and the miner's terms. `terms-*` keeps the
    licence columns from before, for a later cut.

    Returns counts, how many records fell short of the negatives asked for, by how many, the licence mix of records and
    negatives, what the cut is like (hardness, ranks), and the curve. Raises CountError where inputs do not match.
    """
    own = given.own
    for part in given.pool:
        part.prove()
    mu, rule = float(given.mined["mu"]), rule.with_p(given.mined["p"])
    negatives = select_negatives(own.data, own.pairs, given.candidates, rule, mu)
    shards = [path for part in given.pool for path in part.pool]
    text_file = out / "negatives.text"
    chosen = negatives.chosen()
    wanted = chosen if rate is None else np.concatenate([chosen, negatives.text, negatives.pos])
    texts = write_texts(shards, wanted, text_file, keyed=bool(given.labelled))
    same = same_text(texts.hashes)
    licences = Codes()
    records = np.concatenate([pl.read_parquet(p, columns=["score"])["score"].to_numpy() for p in own.data])
    gold = read_gold(given.corpus, given.labelled, given.labelled_scores, records[~np.isnan(records)], rate)
    rated = Rated(negatives, np.asarray(given.mined["random"]["quantiles"], np.float64))
    if rate is not None:
        rated = rate_chosen(negatives, texts, rate)
    judging = rated.negatives
    curve = curve_of(gold.scores, gold.values, judging.score_pos, rated.random) if config.calibrate else _NO_CURVE
    scorer = Scorer(
        given.corpus,
        negatives,
        judging,
        texts,
        same,
        freest_holders(given.pool, same, licences),
        licences,
        gold,
        curve,
        config.quantum if config.calibrate else None,
        given.miner,
    )
    profile, mix, first = Profile(rule.negatives, mu), _Mix(), 0
    for shard, path in enumerate(own.data):
        terms = own.terms_of(shard)
        with (
            pq.ParquetFile(path, memory_map=True) as file,
            pq.ParquetWriter(out / path.name, SCORED_SCHEMA, compression="zstd", write_statistics=True) as writer,
        ):
            rows = _Rows(file)
            for start, stop in scorer.groups(first, first + rows.left):
                told = terms.slice(start - first, stop - start)
                table, negative_licences = scorer.table(rows.take(stop - start), told, start)
                writer.write_table(table, row_group_size=table.num_rows)
                profile.add(table)
                mix.add(table, negative_licences)
            first += terms.height
        write_parquet(out / shard_name("terms", shard), terms.to_arrow().cast(_TERMS_SCHEMA))
    text_file.unlink()
    return {
        **profile.told(),
        "licences": dict(sorted(mix.records.items())),
        "negative_licences": dict(sorted(mix.negatives.items())),
        "calibration": curve.told() | {"judged": len(gold.values), "gold_scale": gold.scale},
        "miner": given.miner.model_dump(),
        "pool": [part.corpus for part in given.pool],
        "score": config.model_dump(),
    }


_NO_CURVE = Curve("off", np.zeros(0), np.zeros(0))
_TERMS_SCHEMA = pa.schema([DATA_SCHEMA.field(name) for name in ("licence_id", "commercial", "redistribute")])


class _Mix:
    """Records and negatives per licence."""

    def __init__(self) -> None:
        self.records: dict[str, int] = {}
        self.negatives: dict[str, int] = {}

    def add(self, table: pa.Table, negatives: pl.Series) -> None:
        terms = pl.DataFrame(table.select(["licence_id", "commercial"]))
        for licence, use, n in terms.group_by("licence_id", "commercial").len().iter_rows():
            self.records[f"{licence} ({use})"] = self.records.get(f"{licence} ({use})", 0) + n
        for licence, n in negatives.value_counts().iter_rows():
            self.negatives[licence] = self.negatives.get(licence, 0) + n


class _Rows:
    """The rows of a data file, front to back, so many at a time."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self.left = file.metadata.num_rows
        self._batches = file.iter_batches(batch_size=8192, columns=DATA_SCHEMA.names)
        self._held = DATA_SCHEMA.empty_table()

    def take(self, rows: int) -> pa.Table:
        while self._held.num_rows < rows:
            self._held = pa.concat_tables([self._held, pa.Table.from_batches([next(self._batches)])])
        taken, self._held = self._held.slice(0, rows), self._held.slice(rows)
        self.left -= rows
        return taken.combine_chunks()
