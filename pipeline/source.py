"""A corpus' files as they travel from fetch to convert: what a manifest wants, what was found, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import SourceError

#: Text packs 2:1 to 30:1; what unpacks to more than this is an attack. Small outputs are let through.
MAX_RATIO = 1000
FREE_BYTES = 1 << 20
#: All that is unpacked of one file may have so many bytes.
MAX_UNPACKED_BYTES = 256 << 30


def unpacks_too_far(packed: int, unpacked: int) -> bool:
    """Is it beyond what any honest file of so many bytes holds?

    >>> unpacks_too_far(1000, 1 << 20), unpacks_too_far(2000, 3 << 20)
    (False, True)
    """
    return unpacked > min(MAX_UNPACKED_BYTES, max(packed * MAX_RATIO, FREE_BYTES))


class LockMismatch(SourceError):
    """What came is not what the lock holds: no other source stands in for it, a person has to look."""


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
class Failed:
    """A source that could not be had, and why; the next one in order was taken instead."""

    kind: str
    place: str
    why: str


@dataclass(frozen=True)
class Fetched:
    """All wanted files, by part, then split and name. `revision` is the Hub's commit, None for other sources.

    `archives` are the files that members were taken from. `alternate` is 0 for the manifest's source and n for its
    n-th alternate; `failed` tells why those before it could not be had.
    """

    revision: str | None
    files: tuple[SourceFile, ...]
    archives: tuple[SourceFile, ...] = ()
    kind: str = ""
    place: str = ""
    alternate: int = 0
    failed: tuple[Failed, ...] = ()
