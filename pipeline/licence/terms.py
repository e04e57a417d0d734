"""One licence block: what a corpus or sub-source may be used for, and where that was read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError


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


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Evidence(Strict):
    """Where terms were read: a repository at a commit, a page or a document, the day, and the words themselves."""

    repo: str | None = None
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    url: str | None = None
    document: str | None = None
    file: str | None = None
    read: date
    quote: Annotated[str, Field(min_length=1)]

    @field_validator("read", mode="before")
    @classmethod
    def _is_a_day(cls, value: Any) -> Any:
        # pydantic would take a bare number for seconds since 1970.
        if isinstance(value, date) or (isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value)):
            return value
        raise ValueError(f"{value!r} is no day; write it like 2026-11-23")

    @field_validator("quote")
    @classmethod
    def _has_words(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("give the words that were read")
        return value

    @model_validator(mode="after")
    def _has_a_place(self) -> Evidence:
        if not (self.repo or self.url or self.document):
            raise ValueError("name the place it was read in: repo, url or document")
        if self.repo and not self.commit:
            raise ValueError("a repo needs the commit it was read at")
        return self


class Generator(Strict):
    """The model that wrote the text, and its provider's terms: an axis of its own, beside the licence of the text.

    `non-compete`: output may not serve to train models that compete with the provider's. `open`: no such limit.
    """

    model: str
    provider: str
    terms: Literal["non-compete", "open", "unknown"]


class Terms(Strict):
    """The licence of one corpus, sub-source or encoder.

    `spdx` is what the packager says, `underlying` the rights in the text itself where they are others'. Raises a
    validation error where a class is `allowed` without dated, quoted evidence of at least medium confidence; `basis:
    own` stands for text that whoever publishes it wrote.
    """

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
        for use in ("commercial", "redistribute"):
            if getattr(self, use) is not UseClass.ALLOWED or self.basis == "own":
                continue
            if not self.evidence:
                raise _at(
                    use, "allowed needs evidence with a quote and the date it was read, or basis: own for your text"
                )
            if self.confidence == "low":
                raise _at(use, "allowed needs confidence medium or high")
        return self


class Licence(Terms):
    """A corpus' terms; `sub_sources` overrides them for named parts."""

    sub_sources: dict[str, Terms] = {}

    def of(self, sub_source: str) -> Terms:
        return self.sub_sources.get(sub_source, self)


class Rank(Strict):
    """What the terms of one sub-source say between duplicates: the freer copy is kept. Unusable records are left out."""

    commercial: UseClass
    redistribute: UseClass
    usable: bool = True


class RowTerms(Strict):
    """The licence columns of the rows of one sub-source; rows of an unusable one are left out of a build."""

    licence_id: str
    commercial: str
    redistribute: str
    usable: bool = True


def _at(key: str, message: str) -> PydanticCustomError:
    """A fault that belongs to one key of the block, so that it is told at that key's line."""
    return PydanticCustomError("value_error", "{message}", {"message": message, "key": key})
