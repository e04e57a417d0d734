"""What binds a trained model: the terms of the model it began with and of every text it learned from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from pipeline.licence import UseClass, Whole, join, strictest
from pipeline.report.opened import Build
from pipeline.train.base import Base


@dataclass(frozen=True)
class Share:
    """So many rows of a corpus under one licence and use."""

    corpus: str
    licence: str
    commercial: UseClass
    redistribute: UseClass
    rows: int


@dataclass(frozen=True)
class ModelTerms:
    """The strictest of the base model and the data on either axis; whose the base's terms are, and the shares of the data."""

    commercial: UseClass
    redistribute: UseClass
    base: Whole
    base_told: bool
    shares: tuple[Share, ...]
    share_alike: bool
    attributions: tuple[str, ...]
    generators: tuple[str, ...]

    def reasons(self) -> list[str]:
        """What keeps the model from being allowed commercially, the base first; empty where nothing does."""
        found = []
        if self.base.commercial is not UseClass.ALLOWED:
            how = "by its manifest" if self.base_told else "no manifest tells its terms"
            found.append(f"the base model: {self.base.commercial} ({how})")
        for use in (UseClass.FORBIDDEN, UseClass.UNKNOWN):
            if corpora := sorted({s.corpus for s in self.shares if s.commercial is use}):
                found.append(f"the data: {use} for rows of {', '.join(corpora)}")
        return found

    def told(self) -> dict[str, Any]:
        return {
            "commercial": self.commercial.value,
            "redistribute": self.redistribute.value,
            "reasons": self.reasons(),
            "base": {
                "commercial": self.base.commercial.value,
                "redistribute": self.base.redistribute.value,
                "licences": sorted(self.base.licences),
            },
            "data": [
                {
                    "corpus": s.corpus,
                    "licence": s.licence,
                    "commercial": s.commercial.value,
                    "redistribute": s.redistribute.value,
                    "rows": s.rows,
                }
                for s in self.shares
            ],
            "share_alike": self.share_alike,
            "attributions": list(self.attributions),
            "generators": list(self.generators),
        }


def model_terms(base: Base, build: Build, *, labelled: bool) -> ModelTerms:
    """Read from the rows themselves, whose columns already know the policy of the recipe, of negatives and of the miner.

    labelled: judged pairs are trained on as well. A class is never freer than the strictest row.
    """
    whole = join([base.manifest.licence])
    shares = [share for corpus in build.corpora for share in _shares(build, corpus, labelled=labelled)]
    parts = [
        part for parts in build.receipt.get("terms", {}).values() for part in parts.values() if _used(part, labelled)
    ]
    attributions = {part["attribution"] for part in parts if part.get("attribution")}
    generators = {part["generator"] for part in parts if part.get("generator")}
    return ModelTerms(
        strictest([whole.commercial, *(share.commercial for share in shares)]),
        strictest([whole.redistribute, *(share.redistribute for share in shares)]),
        whole,
        base.has_terms,
        tuple(shares),
        whole.share_alike or any(part.get("share_alike") for part in parts),
        tuple(sorted(attributions | whole.attributions)),
        tuple(sorted(generators | whole.generators)),
    )


def _used(part: dict[str, Any], labelled: bool) -> bool:
    return bool(part["records"] or (labelled and part["labelled"]))


def _shares(build: Build, corpus: str, *, labelled: bool) -> list[Share]:
    more = build.folder / "labelled" / f"{corpus}.parquet"
    data = build.data(corpus)
    paths: list[Path] = [*data, *([more] if labelled and data and more.is_file() else [])]
    columns = ["licence_id", "commercial", "redistribute"]
    frames = [pl.scan_parquet(path).select(columns) for path in paths]
    if not frames:
        return []
    mix = pl.concat(frames).group_by(columns).len().sort("len", *columns, descending=[True, False, False, False])
    rows = mix.collect(engine="streaming").iter_rows()
    return [Share(corpus, licence, UseClass(use), UseClass(pass_on), n) for licence, use, pass_on, n in rows]
