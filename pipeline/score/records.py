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
from pipeline.licence import RowTerms
from pipeline.mine.rule import ORIGINS
from pipeline.record import NEGATIVE_TYPE, SCORED_SCHEMA
from pipeline.score.calibrate import Curve, in_steps
from pipeline.score.gold import Gold
from pipeline.score.holders import CLASSES, NOBODY, Codes, Holders, class_codes, record_ids
from pipeline.score.selection import Negatives
from pipeline.score.texts import TextFile

SHIPPED, LABELLED, MINED = range(len(ORIGINS))
#: A row group holds at most so many records, and so many bytes of the negatives' texts (one record always fits).
GROUP_ROWS, GROUP_BYTES = 16_384, 256 << 20


class Scorer(NamedTuple):
    """All that turns numbers into scored records of one corpus."""

    corpus: str
    negatives: Negatives
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
            taken = np.arange(held.ids.shape[1]) < held.counts[rows, None]
            sizes = np.where(taken, self.texts.bytes_of(held.ids[rows]), 0).sum(1)
            fitting = int(np.searchsorted(np.cumsum(sizes), GROUP_BYTES, side="right"))
            end = start + max(1, min(fitting, rows.stop - start))
            yield start, end
            start = end

    def table(self, data: pa.Table, terms: pl.DataFrame, start: int) -> tuple[pa.Table, pl.DataFrame]:
        """The scored records of these rows of data, the first of which is the corpus' record number `start`.

        `terms`: licence_id, commercial, redistribute of the records by themselves. Beside the table, what binds each
        negative: record (row in this table), origin, licence_id.
        """
        held, rows = self.negatives, slice(start, start + data.num_rows)
        taken = np.arange(held.ids.shape[1]) < held.counts[rows, None]
        ids, scores, ranks, origins = (a[rows][taken] for a in (held.ids, held.scores, held.ranks, held.origins))
        of = np.repeat(np.arange(data.num_rows), held.counts[rows])
        judged = self._judged(held.text[rows][of], ids, origins)
        bound = self._bound(terms, of, ids, origins, judged)
        calibrated_pos, calibrated = self._calibrated(data, rows, scores, origins, judged)
        owner = self.same[ids]
        is_mined = (origins == MINED) & (self.holders.freedom[owner] != NOBODY)
        neg = pa.StructArray.from_arrays(
            [
                pc.if_else(pa.array(is_mined), record_ids(self.holders.record[owner]), pa.scalar(None, pa.string())),
                _named(np.where(is_mined, self.holders.corpus[owner] + 1, 0), [self.corpus, *self.holders.corpora]),
                _named(origins, list(ORIGINS)),
                self.texts.take(ids),
                pa.array(scores),
                calibrated,
                pa.array(ranks, mask=ranks == 0),
                bound["licence_id"].to_arrow().cast(pa.string()),
            ],
            fields=list(NEGATIVE_TYPE),
        )
        offsets = np.concatenate([[0], np.cumsum(held.counts[rows])]).astype(np.int32)
        made: dict[str, Any] = {name: data[name] for name in data.schema.names}
        for name in ("commercial", "redistribute"):
            worst = class_codes(terms[name])
            np.maximum.at(worst, of, class_codes(bound[name]))
            worst = np.maximum(worst, CLASSES.index(getattr(self.miner, name)))
            made[name] = _named(worst, CLASSES)
        made["licence_id"] = terms["licence_id"].to_arrow().cast(pa.string())
        made |= {
            "score_pos": pa.array(held.score_pos[rows]),
            "calibrated_pos": calibrated_pos,
            "neg": pa.ListArray.from_arrays(offsets, neg),
        }
        table = pa.table([made[name] for name in SCORED_SCHEMA.names], schema=SCORED_SCHEMA)
        return table, bound.select("licence_id", record=pl.Series(of), origin=pl.Series(origins))

    def _judged(self, text: NDArray[np.uint32], ids: NDArray[np.uint32], origins: NDArray[np.uint8]) -> pl.DataFrame:
        """What the labelled rows say of the labelled negatives, in their order."""
        is_labelled = origins == LABELLED
        found = self.gold.find(self.texts.hashes[text[is_labelled]], self.texts.hashes[ids[is_labelled]])
        if found["licence_id"].null_count():
            raise CountError(
                self.corpus,
                f"{found['licence_id'].null_count()} labelled negatives stand in no labelled row",
                "candidates and labelled rows are of different builds: build again",
            )
        return found

    def _bound(
        self,
        terms: pl.DataFrame,
        of: NDArray[np.int64],
        ids: NDArray[np.uint32],
        origins: NDArray[np.uint8],
        judged: pl.DataFrame,
    ) -> pl.DataFrame:
        """licence_id, commercial, redistribute of every negative: its holder's; the record's own where it was shipped
        with it, or nobody holds it; the labelled row's."""
        licences = np.array(self.licences.of(terms["licence_id"]))[of]
        use = {name: class_codes(terms[name])[of] for name in ("commercial", "redistribute")}
        owner = self.same[ids]
        freedom = self.holders.freedom[owner]
        is_mined, is_labelled = (origins == MINED) & (freedom != NOBODY), origins == LABELLED
        licences[is_mined] = self.holders.licence[owner][is_mined]
        licences[is_labelled] = self.licences.of(judged["licence_id"])
        use["commercial"][is_mined], use["redistribute"][is_mined] = np.divmod(freedom[is_mined], 3)
        for name, codes in use.items():
            codes[is_labelled] = class_codes(judged[name])
        columns = {"licence_id": _named(licences, self.licences.names)} | {
            n: _named(c, CLASSES) for n, c in use.items()
        }
        return pl.DataFrame(pa.table(columns))

    def _calibrated(
        self,
        data: pa.Table,
        rows: slice,
        scores: NDArray[np.float32],
        origins: NDArray[np.uint8],
        judged: pl.DataFrame,
    ) -> tuple[pa.Array, pa.Array]:
        """Calibrated scores of the pairs and of their negatives: gold where there is gold, else the curve's; or nulls."""
        held = self.negatives
        if self.quantum is None:
            return pa.nulls(data.num_rows, pa.float32()), pa.nulls(len(scores), pa.float32())
        own = data["score"].to_numpy().astype(np.float64) / self.gold.scale
        labelled = self.gold.find(self.texts.hashes[held.text[rows]], self.texts.hashes[held.pos[rows]])["value"]
        gold = np.where(np.isnan(own), labelled.fill_null(float("nan")).to_numpy(), own)
        pos = np.where(np.isnan(gold), self.curve(held.score_pos[rows], self.quantum), in_steps(gold, self.quantum))
        neg = self.curve(scores, self.quantum)
        values = judged["value"].fill_null(float("nan")).to_numpy()
        at = np.flatnonzero(origins == LABELLED)[~np.isnan(values)]
        neg[at] = in_steps(values[~np.isnan(values)], self.quantum)
        pos = pos.astype(np.float32)
        return pa.array(pos, mask=np.isnan(pos)), pa.array(neg, mask=np.isnan(neg))


def _named(codes: NDArray[Any], names: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names, pa.string())).cast(
        pa.string()
    )
