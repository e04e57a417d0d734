"""The shape of the made-up rows of `external_rows` and `external_rows_en`, and of the records they must give."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Pair(NamedTuple):
    """A record: the row it is of, its sides, its negatives, its own prompts (None: the corpus') and the rest."""

    row: int
    text: str
    text_pos: str
    text_neg: tuple[str, ...] = ()
    prompts: tuple[str, str] | None = None
    family: str | None = None  # equal for records of one document; None: a family of its own
    quality: float | None = None
    part: int = 0


class Judged(NamedTuple):
    row: int
    text: str
    other: str
    label: bool
    part: int = 0


@dataclass(frozen=True)
class Case:
    """Rows of each part, in order, and what they give; a row that is in neither list gives nothing."""

    rows: tuple[Any, ...]
    pairs: tuple[Pair, ...]
    prompts: tuple[str, str]
    judged: tuple[Judged, ...] = ()
    variants: dict[int, tuple[Any, ...]] = field(default_factory=dict)  # rows of an alternate that has its own shape
