"""A corpus' files as they travel from fetch to convert: what a manifest wants, what was found, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Wanted:
    """Patterns of one split of one part, relative to the source.

    `*` and `?` stay within one folder, `**` stands for any number of folders.

    >>> Wanted(part=0, split="train", patterns=("ocnli/train-*.parquet",)).split
    'train'
    """

    part: int
    split: str
    patterns: tuple[str, ...]


@dataclass(frozen=True)
class SourceFile:
    """One file of a corpus with its content's identity. `name` is relative to the source and goes into locators."""

    part: int
    split: str
    name: str
    path: Path
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Fetched:
    """All wanted files, by part, then split and name. `revision` is the Hub's commit, None for local files."""

    revision: str | None
    files: tuple[SourceFile, ...]
