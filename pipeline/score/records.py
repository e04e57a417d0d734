"""Scored records as they are written: negatives with text, holder and licence, and the terms of the whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import CountError
from pipeline.licence import RowTerms, UseClass
from pipeline.licence.scored import scored_use
from pipeline.mine.rule import ORIGINS
from pipeline.record import NEGATIVE_TYPE, SCORED_SCHEMA
from pipeline.score.calibrate import Curve, in_steps
from pipeline.score.gold import Gold
from pipeline.score.holders import CLASSES, NOBODY, Codes, Holders, class_codes, record_ids
from pipeline.score.selection import Negatives, Taken
from pipeline.score.texts import TextFile

LABELLED, MINED = ORIGINS.index("labelled"), ORIGINS.index("mined")
#: A row group holds at most so many records, and so many bytes of the negatives' texts (one record always fits).
GROUP_ROWS, GROUP_BYTES = 16_384, 64 << 20


class Scorer(NamedTuple):
    """All that turns numbers into scored records of one corpus. `judging`: `negatives` with the scores that are calibrated."""

    corpus: str
    negatives: Negatives
    judging: Negatives
    texts: TextFile
    same: NDArray[np.uint32]
    holders: Holders
    licences: Codes
    gold: Gold
    curve: Curve
    quantum: float | None
    miner: RowTerms

    def groups(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Cut records start to stop into row groups; the cuts depend on the content alone."""
        held = self.negatives
        while start < stop:
            rows = slice(start, min(stop, start + GROUP_ROWS))
            neg = held.of(rows)
            sizes = np.bincount(neg.of, self.texts.lengths[neg.ids], minlength=len(held.counts[rows]))
            fitting = int(np.searchsorted(np.cumsum(sizes), GROUP_BYTES, side="right"))
            end = start + max(1, min(fitting, rows.stop - start))
            yield start, end
            start = end

    def table(self, data: pa.Table, terms: pl.DataFrame, start: int) -> tuple[pa.Table, pl.Series]:
        """The scored records of these rows of data, the first of which is the corpus' record number `start`.

        `terms`: licence_id, commercial, redistribute of the records by themselves. Beside the table, the licence of
        every negative.
        """
        rows = slice(start, start + data.num_rows)
        neg = self.negatives.of(rows)
        judged = self._judged(self.negatives.text[rows][neg.of], neg)
        bound = self._bound(terms, neg, judged)
        calibrated_pos, calibrated = self._calibrated(data, rows, neg, judged)
        owner, is_held = self._owner(neg)
        struct = pa.StructArray.from_arrays(
            [
                pc.if_else(pa.array(is_held), record_ids(self.holders.record[owner]), pa.scalar(None, pa.string())),
                _named(np.where(is_held, self.holders.corpus[owner] + 1, 0), [self.corpus, *self.holders.corpora]),
                _named(neg.origins, list(ORIGINS)),
                self.texts.take(neg.ids),
                pa.array(neg.scores),
                calibrated,
                pa.array(neg.ranks, mask=neg.ranks == 0),
                bound["licence_id"].to_arrow().cast(pa.string()),
            ],
            fields=list(NEGATIVE_TYPE),
        )
        offsets = np.concatenate([[0], np.cumsum(self.negatives.counts[rows])]).astype(np.int32)
        made: dict[str, Any] = {name: data[name] for name in data.schema.names}
        made |= {
            "licence_id": terms["licence_id"].to_arrow().cast(pa.string()),
            "score_pos": pa.array(self.negatives.score_pos[rows]),
            "calibrated_pos": calibrated_pos,
            "neg": pa.ListArray.from_arrays(offsets, struct),
        }
        for name in ("commercial", "redistribute"):
            uses = pa.ListArray.from_arrays(offsets, bound[name].to_arrow().cast(pa.string()))
            frame = pl.DataFrame({"own": terms[name], "negatives": pl.Series(uses)})
            use = scored_use(pl.col("own"), pl.col("negatives"), UseClass(getattr(self.miner, name)))
            made[name] = frame.select(use).to_series().to_arrow().cast(pa.string())
        table = pa.table([made[name] for name in SCORED_SCHEMA.names], schema=SCORED_SCHEMA)
        return table, bound["licence_id"]

    def _owner(self, neg: Taken) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
        """Under which number each negative's text has its holder, and whether it is mined and has one."""
        owner = self.same[neg.ids]
        return owner, (neg.origins == MINED) & (self.holders.freedom[owner] != NOBODY)

    def _judged(self, text: NDArray[np.uint32], neg: Taken) -> pl.DataFrame:
        """What the labelled rows say of the labelled negatives, in their order. `text`: each negative's record's text."""
        at = neg.origins == LABELLED
        found = self._find(text[at], neg.ids[at])
        if found["licence_id"].null_count():
            raise CountError(
                self.corpus,
                f"{found['licence_id'].null_count()} labelled negatives stand in no labelled row",
                "candidates and labelled rows are of different builds: build again",
            )
        return found

    def _find(self, text: NDArray[np.uint32], other: NDArray[np.uint32]) -> pl.DataFrame:
        if not self.gold.pairs.height:
            return self.gold.none(len(text))
        return self.gold.find(self.texts.keys[text], self.texts.keys[other])

    def _bound(self, terms: pl.DataFrame, neg: Taken, judged: pl.DataFrame) -> pl.DataFrame:
        """licence_id, commercial, redistribute of every negative: its holder's; the labelled row's; or the record's own,
        with which it was shipped."""
        licences = self.licences.of(terms["licence_id"])[neg.of]
        use = {name: class_codes(terms[name])[neg.of] for name in ("commercial", "redistribute")}
        owner, is_held = self._owner(neg)
        is_labelled = neg.origins == LABELLED
        licences[is_held] = self.holders.licence[owner][is_held]
        licences[is_labelled] = self.licences.of(judged["licence_id"])
        use["commercial"][is_held], use["redistribute"][is_held] = np.divmod(self.holders.freedom[owner][is_held], 3)
        for name, codes in use.items():
            codes[is_labelled] = class_codes(judged[name])
        columns = {"licence_id": _named(licences, self.licences.names)} | {
            n: _named(c, CLASSES) for n, c in use.items()
        }
        return pl.DataFrame(pa.table(columns))

    def _calibrated(self, data: pa.Table, rows: slice, neg: Taken, judged: pl.DataFrame) -> tuple[pa.Array, pa.Array]:
        """Calibrated scores of the pairs and of their negatives: gold where there is gold, else the curve's; or nulls."""
        if self.quantum is None:
            return pa.nulls(data.num_rows, pa.float32()), pa.nulls(len(neg.ids), pa.float32())
        held = self.negatives
        own = data["score"].to_numpy().astype(np.float64) / self.gold.scale
        labelled = self._find(held.text[rows], held.pos[rows])["value"].to_numpy()
        gold = np.where(np.isnan(own), labelled, own)
        pos = np.where(
            np.isnan(gold), self.curve(self.judging.score_pos[rows], self.quantum), in_steps(gold, self.quantum)
        )
        scores = self.curve(self.judging.of(rows).scores, self.quantum)
        is_labelled = neg.origins == LABELLED
        value = judged["value"].to_numpy()
        scores[is_labelled] = np.where(np.isnan(value), scores[is_labelled], in_steps(value, self.quantum))
        return pa.array(pos.astype(np.float32), mask=np.isnan(pos)), pa.array(scores, mask=np.isnan(scores))


def _named(codes: NDArray[Any], names: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names, pa.string())).cast(
        pa.string()
    )
