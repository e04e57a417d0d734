"""Raw values to rows of the shards: identity first, then cleaning."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pyarrow as pa

from pipeline.convert.identity import LABELLED, Identities, doc_groups
from pipeline.manifest.corpus import Corpus, Side
from pipeline.normalize import clean
from pipeline.personal import find_personal, mask_personal
from pipeline.record import LABELLED_SCHEMA, TEXT_SCHEMA
from pipeline.source import SourceFile


class Finisher:
    """Makes shard rows of one corpus; keeps what identity needs to know of earlier rows."""

    def __init__(self, corpus: Corpus, *, mask: bool = False) -> None:
        self._corpus = corpus
        self._identities = Identities(corpus.name)
        self._mask = mask
        #: Values of personal data that were masked, by kind.
        self.masked: Counter[str] = Counter()

    def records(self, raw: pl.DataFrame, file: SourceFile, numbered: bool) -> pa.Table:
        """Rows of TEXT_SCHEMA for raw records of one file."""
        corpus = self._corpus
        ids, leading = self._identities.assign(raw["text"], raw["text_pos"])
        locator = pl.format("{}#{}/{}" if numbered else "{}#{}", pl.lit(file.name), "at", *(["n"] if numbered else []))
        columns = {
            **self._provenance(raw, file, ids, locator),
            "text": _arrow(self._clean(raw["text"], "text")),
            "text_pos": _arrow(self._clean(raw["text_pos"], "text_pos")),
            "text_neg": self._negatives(raw["text_neg"]),
            "prompt": _arrow(raw["prompt"].fill_null(corpus.prompt)),
            "prompt_pos": _arrow(raw["prompt_pos"].fill_null(corpus.prompt if corpus.symmetric else "")),
            "score": _arrow(raw["score"]),
            "doc_group": _arrow(doc_groups(corpus.name, raw["doc_group"], leading)),
            "quality_score": _arrow(raw["quality_score"]),
        }
        return _table(columns, TEXT_SCHEMA)

    def labelled(self, raw: pl.DataFrame, file: SourceFile) -> pa.Table:
        """Rows of LABELLED_SCHEMA for judged pairs of one file."""
        ids, _ = self._identities.assign(raw["text"], raw["other"], LABELLED)
        columns = {
            **self._provenance(raw, file, ids, pl.format("{}#{}", pl.lit(file.name), "at")),
            "text": _arrow(self._clean(raw["text"], "text")),
            "other": _arrow(self._clean(raw["other"], "text_pos")),
            "label": _arrow(raw["match"]),
            "score": _arrow(raw["score"]),
        }
        return _table(columns, LABELLED_SCHEMA)

    def _provenance(self, raw: pl.DataFrame, file: SourceFile, ids: pa.Array, locator: pl.Expr) -> dict[str, pa.Array]:
        constant = {
            "corpus": self._corpus.name,
            "sub_source": self._corpus.parts[file.part].sub_source,
            "split": file.split,
        }
        repeated = {name: pa.repeat(pa.scalar(value, pa.string()), raw.height) for name, value in constant.items()}
        return {"record_id": ids, **repeated, "row": _arrow(raw.select(locator.alias("row"))["row"])}

    def _clean(self, texts: pl.Series, side: Side) -> pl.Series:
        corpus = self._corpus
        code = side in corpus.code_sides
        cleaned = clean(texts, script=corpus.script, cleaners=corpus.clean, code=code)
        if code or not self._mask:
            return cleaned
        self.masked.update(find_personal(cleaned)["kind"].to_list())
        return mask_personal(cleaned)

    def _negatives(self, lists: pl.Series) -> pa.Array:
        """Cleaned negatives, nulls and empty ones left out; they are code where text_pos is."""
        parents = np.repeat(np.arange(len(lists)), lists.list.len().fill_null(0).to_numpy())
        flat = lists.filter(lists.list.len() > 0).explode()
        kept = flat.is_not_null()
        texts = self._clean(flat.filter(kept), "text_pos")
        filled = texts != ""
        counts = np.bincount(parents[kept.to_numpy()][filled.to_numpy()], minlength=len(lists))
        offsets = pa.array(np.concatenate(([0], np.cumsum(counts))), pa.int32())
        return pa.ListArray.from_arrays(offsets, _arrow(texts.filter(filled)).cast(pa.string()))


def _arrow(series: pl.Series) -> pa.Array:
    return series.to_arrow(compat_level=pl.CompatLevel.oldest())


def _table(columns: dict[str, pa.Array], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_arrays([columns[field.name].cast(field.type) for field in schema], schema=schema)
