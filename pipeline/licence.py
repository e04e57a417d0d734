"""The licence of a text: what it says, what it rests on, and the one rule for joining terms.

A use class is `allowed`, `unknown` or `forbidden`; the stricter always wins and nothing upgrades.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class UseClass(StrEnum):
    """May the text be used so? Members compare by strictness only through `rank`."""

    ALLOWED = "allowed"
    UNKNOWN = "unknown"
    FORBIDDEN = "forbidden"

    @property
    def rank(self) -> int:
        """0 is freest."""
        return ("allowed", "unknown", "forbidden").index(self.value)


def strictest(classes: Iterable[UseClass]) -> UseClass:
    """The class of a whole made of parts; of nothing it is `allowed`.

    >>> strictest([UseClass.ALLOWED, UseClass.UNKNOWN]).value
    'unknown'
    """
    return max(classes, key=lambda c: c.rank, default=UseClass.ALLOWED)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Evidence(_Strict):
    """Where terms were read: a repository at a commit, a page or a document, and the words themselves."""

    repo: str | None = None
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    url: str | None = None
    document: str | None = None
    file: str | None = None
    read: date
    quote: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _has_a_place(self) -> Evidence:
        if not (self.repo or self.url or self.document):
            raise ValueError("name the place it was read in: repo, url or document")
        if self.repo and not self.commit:
            raise ValueError("a repo needs the commit it was read at")
        return self


class Generator(_Strict):
    """The model that wrote the text, and its provider's terms: an axis of its own."""

    model: str
    provider: str
    terms: str


class Terms(_Strict):
    """The licence of one corpus or sub-source."""

    spdx: str
    underlying: list[str] = []
    commercial: UseClass
    redistribute: UseClass
    share_alike: bool = False
    attribution: str | None = None
    generator: Generator | None = None
    personal_data: Literal["none", "pseudonymous", "present", "unknown"] = "unknown"
    evidence: list[Evidence] = []
    conflict: str | None = None
    confidence: Literal["high", "medium", "low"]
    basis: Literal["evidence", "own"] = "evidence"
    note: str | None = None

    @model_validator(mode="after")
    def _allowed_is_proven(self) -> Terms:
        if self.commercial is UseClass.ALLOWED and self.basis != "own":
            if not self.evidence:
                raise ValueError(
                    "commercial: allowed needs evidence with a quote and the date it was read, or basis: own for your text"
                )
            if self.confidence == "low":
                raise ValueError("commercial: allowed needs confidence medium or high")
        return self


class Licence(Terms):
    """A corpus' terms; `sub_sources` overrides them for named parts."""

    sub_sources: dict[str, Terms] = {}

    def of(self, sub_source: str) -> Terms:
        return self.sub_sources.get(sub_source, self)


class Rank(_Strict):
    """What the terms of one sub-source say between duplicates: the freer copy is kept. Unusable records are left out."""

    commercial: UseClass
    redistribute: UseClass
    usable: bool = True


class RowTerms(_Strict):
    """The licence columns of the records of one sub-source."""

    licence_id: str
    commercial: str
    redistribute: str


class LicenceEntry(_Strict):
    """One licence id of the vocabulary: the freest classes any corpus under it may claim."""

    name: str
    url: str | None = None
    commercial: UseClass
    redistribute: UseClass
    attribution: bool
    share_alike: bool


class Vocabulary(_Strict):
    """`manifests/licences.yaml`: every licence id that manifests may use."""

    licences: dict[str, LicenceEntry]
