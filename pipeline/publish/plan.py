"""What a push would do: a release held against what a repository holds. Pure; nothing is asked or sent here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import PublishError
from pipeline.folder import readable_json

#: What a release says of itself, and how it is known again.
RELEASE = "release.json"
#: Folders whose parquet files the views take by glob: a stranger's file there would be loaded with ours.
GLOBBED = ("data/", "labelled/")


@dataclass(frozen=True)
class Item:
    """One file of a release: a file of this disk, or bytes made for it."""

    source: Path | bytes
    bytes: int
    sha256: str

    @cached_property
    def git_sha1(self) -> str:
        """What git calls the content; small files are kept by it."""
        digest = hashlib.sha1(b"blob %d\0" % self.bytes, usedforsecurity=False)
        digest.update(self.source if isinstance(self.source, bytes) else self.source.read_bytes())
        return digest.hexdigest()


def item_of(content: bytes) -> Item:
    return Item(content, len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class Release:
    """All that a push puts into a repository. `told` is the content of release.json, which names every other file."""

    kind: Literal["dataset", "model"]
    title: str
    files: Mapping[str, Item]
    told: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        kind: Literal["dataset", "model"],
        title: str,
        files: Mapping[str, Item],
        told: Mapping[str, Any],
        *notes: str,
    ) -> Release:
        listed = {path: {"sha256": one.sha256, "bytes": one.bytes} for path, one in sorted(files.items())}
        whole = {**told, "files": listed}
        return cls(kind, title, {**files, RELEASE: item_of(readable_json(whole))}, whole, notes)


@dataclass(frozen=True)
class Held:
    """A file as the repository lists it; `sha256` where it is kept as a large file."""

    bytes: int
    git_sha1: str
    sha256: str | None

    def is_same(self, item: Item) -> bool:
        if self.bytes != item.bytes:
            return False
        return self.sha256 == item.sha256 if self.sha256 else self.git_sha1 == item.git_sha1


@dataclass(frozen=True)
class Remote:
    """What a repository holds at one commit. `told` is its release.json; empty where no release of ours is in it."""

    commit: str | None = None
    private: bool | None = None
    files: Mapping[str, Held] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)

    def of_release(self) -> dict[str, Held]:
        """The files that a release of ours put there."""
        return {
            path: held for path, held in self.files.items() if path in self.told.get("files", {}) or path == RELEASE
        }


@dataclass(frozen=True)
class Plan:
    """What a push would do, path by path, each list in name order."""

    add: tuple[str, ...]
    change: tuple[str, ...]
    delete: tuple[str, ...]
    unchanged: tuple[str, ...]
    bytes: int

    @property
    def is_empty(self) -> bool:
        return not (self.add or self.change or self.delete)

    def told(self) -> dict[str, Any]:
        counts = {name: len(getattr(self, name)) for name in ("add", "change", "delete", "unchanged")}
        return {**counts, "bytes": self.bytes}


def plan_of(release: Release, remote: Remote) -> Plan:
    """The operations that make the repository hold this release: old files of ours go in the same commit.

    Files that no release of ours put there are left alone.
    """
    add: list[str] = []
    change: list[str] = []
    same: list[str] = []
    for path, item in sorted(release.files.items()):
        held = remote.files.get(path)
        (add if held is None else same if held.is_same(item) else change).append(path)
    gone = sorted(set(remote.of_release()) - set(release.files))
    size = sum(release.files[path].bytes for path in [*add, *change])
    return Plan(tuple(add), tuple(change), tuple(gone), tuple(same), size)


def hold_fit(repo: str, release: Release, remote: Remote) -> None:
    """Does this release belong into this repository? Raises PublishError where it does not.

    A repository keeps its licence class and its edition, and holds no data that the release's views would load by glob
    without it being part of the release.
    """
    for key, name in (("licence_class", "licence class"), ("edition", "edition")):
        before, now = remote.told.get(key), release.told.get(key)
        if remote.told and before != now:
            where = release.told.get("binding", {}) if key == "licence_class" else {}
            why = f" because of {', '.join(where)}" if where else ""
            cause = f"the repository's {name} is {before}, this release's is {now}{why}"
            raise PublishError(repo, cause, "publish it to a repository of its own")
    if release.kind == "dataset":
        ours = {*release.files, *remote.told.get("files", {})}
        strange = sorted(path for path in remote.files if path.startswith(GLOBBED) and path not in ours)
        if strange:
            cause = f"it holds {len(strange)} data file(s) that no release of ours put there: {', '.join(strange[:3])}"
            raise PublishError(repo, cause, "remove them, or choose another --repo")


def differences(release: Release, plan: Plan, files: Mapping[str, Held]) -> Iterator[str]:
    """Where the files of a commit are not what the plan was to make of them."""
    for path, item in release.files.items():
        if path not in files:
            yield f"{path} is missing"
        elif not files[path].is_same(item):
            yield f"{path} differs"
    yield from (f"{path} should be gone" for path in plan.delete if path in files)


def read_told(content: bytes) -> dict[str, Any]:
    """A repository's release.json; {} where it is none of ours."""
    try:
        told = json.loads(content)
    except ValueError:
        return {}
    return told if isinstance(told, dict) and isinstance(told.get("files"), dict) else {}
