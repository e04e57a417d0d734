"""What a fetcher is asked for, and the sums it holds the bytes against."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import SourceError
from pipeline.fetch.transfer import Listener, silent
from pipeline.manifest.lock import LockedSource
from pipeline.source import LockMismatch, Wanted
from pipeline.store import Store

CHUNK = 1 << 20


class Unfetched(Exception):
    """Raised instead of asking the network, where an order forbids that."""


@dataclass(frozen=True)
class Order:
    """One source of one corpus. `home` holds its manifest; `locked` is what the lock knows of this source.

    `offline`: look only at what is on this disk. `keep` false: checksums are enough, files need not be loaded. `listen`
    hears of each file that is loaded.
    """

    corpus: str
    wanted: tuple[Wanted, ...]
    home: Path
    store: Store
    locked: LockedSource | None = None
    offline: bool = False
    keep: bool = True
    listen: Listener = silent

    def sums(self, name: str, checksums: Mapping[str, str]) -> list[Sum]:
        """What the manifest and the lock say of one file's content."""
        told = []
        if name in checksums:
            algorithm, _, value = checksums[name].partition(":")
            told.append(Sum(algorithm, value, "manifest"))
        if self.locked is not None and (sha256 := self.locked.sums().get(name)):
            told.append(Sum("sha256", sha256, "lock"))
        return told


@dataclass(frozen=True)
class Sum:
    """A checksum that content must have, and who says so: the manifest or the lock."""

    algorithm: str
    value: str
    told_by: str


@dataclass(frozen=True)
class Digest:
    """What content has."""

    sha256: str
    md5: str
    bytes: int

    def missed(self, sums: list[Sum]) -> Sum | None:
        """The first sum that does not hold."""
        return next((one for one in sums if getattr(self, one.algorithm) != one.value), None)


def digest_of(path: Path) -> Digest:
    """Both checksums of a file in one pass."""
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            sha256.update(chunk)
            md5.update(chunk)
            size += len(chunk)
    return Digest(sha256.hexdigest(), md5.hexdigest(), size)


def mismatch(corpus: str, name: str, wrong: Sum, got: Digest) -> SourceError:
    """The refusal of content with another sum, naming both."""
    found = getattr(got, wrong.algorithm)
    cause = f"'{name}' has {wrong.algorithm} {found}, but the {wrong.told_by} says {wrong.value}"
    if wrong.told_by == "lock":
        return LockMismatch(corpus, cause, f"look at what changed upstream; to accept it, run: m3e lock {corpus}")
    return SourceError(corpus, cause, "look at what changed upstream, then mend `checksums` of the source")
