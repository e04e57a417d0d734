"""Collect what the store holds for no build: outputs of settings, sources and code that nobody uses any more.

An entry is used when a build folder holds a hard link to one of its files, or when an entry that is used was made from
it. So builds need not be named, wherever they lie on the disk of the store; those on other disks hold copies and are
named, and what their receipts list counts as used. Builds stay whole in any case: what is collected too much is made
again. Files that a person put into `manual/`, and transfers that can be taken up again, are never touched.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError
from pipeline.report.opened import Build
from pipeline.store import Store

#: Folders of the store that hold no entries.
OTHER = {"locks", "downloads", "hub", "manual"}
#: Entries made of finished builds, beside the graph: they stay while all that they were made from does.
VIEWS = {"papers", "profile", "release"}


@dataclass(frozen=True)
class Item:
    """Something in the store that can be removed by itself: `kind` is a stage, `downloads`, `hub` or `left over`."""

    kind: str
    path: Path
    bytes: int


@dataclass(frozen=True)
class Survey:
    """What a store holds, divided. `untold`: used entries of an older version, whose inputs nobody noted."""

    used: tuple[Item, ...]
    unused: tuple[Item, ...]
    untold: int = 0

    @property
    def bytes(self) -> int:
        """What removing the unused frees."""
        return sum(item.bytes for item in self.unused)


def survey(store: Store, builds: Sequence[Build] = ()) -> Survey:
    """Divide what the store holds; reads receipts and sizes only. `builds`: those on other disks.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store(Path(folder))
    ...     _ = store.run("quality", "0" * 32, lambda out: {"marks": (out / "marks.txt").write_text("x")})
    ...     [item.kind for item in survey(store).unused]
    ['quality']
    """
    entries = list(_entries(store.root))
    marked = _Marking(entries)
    for build in builds:
        for sha256 in _named_by(build, store.root):
            marked.want(sha256)
    for entry in entries:
        if entry.is_linked:
            marked.mark(entry)
    marked.add_views()
    seen: set[tuple[int, int]] = set()
    divided: dict[bool, list[Item]] = {True: [], False: []}
    held = {inode for entry in marked.entries for inode in entry.inodes}
    for is_used in (True, False):
        for entry in entries:
            if (entry.path in marked.paths) is is_used:
                divided[is_used].append(Item(entry.stage, entry.path, _size([entry.path], seen)))
    for blob in _files(store.root / "downloads" / "blobs"):
        divided[blob.name in marked.wanted].append(Item("downloads", blob, _size([blob], seen)))
    for blob in _files(store.root / "hub", "*/blobs/*"):
        stat = blob.stat()
        divided[(stat.st_dev, stat.st_ino) in held].append(Item("hub", blob, _size([blob], seen)))
    divided[False] += [Item("left over", path, _size([path], seen)) for path in _left_over(store.root)]
    untold = sum(entry.inputs is None and entry.stage != "fetch" for entry in marked.entries)
    return Survey(tuple(divided[True]), tuple(divided[False]), untold)


def collect(store: Store, builds: Sequence[Build] = ()) -> Survey:
    """Remove what no build uses; returns what was there before.

    Raises StoreError while a build is at work in the store, and where the store cannot be written.
    """
    if not store.root.is_dir():
        raise StoreError(str(store.root), "there is no store here", "give --store the folder that builds were given")
    with store.alone():
        found = survey(store, builds)
        for item in found.unused:
            if item.path.is_dir():
                # First what makes it an entry, so that a half-removed one is absent, not damaged.
                (item.path / "entry.json").unlink(missing_ok=True)
                shutil.rmtree(item.path)
                (store.root / "locks" / f"{item.kind}-{item.path.name}.lock").unlink(missing_ok=True)
            else:
                item.path.unlink(missing_ok=True)
        for pointer in _files(store.root / "hub", "*/snapshots/**/*"):
            if pointer.is_symlink() and not pointer.exists():
                pointer.unlink()
    return found


@dataclass(frozen=True)
class _Known:
    """An entry as its `entry.json` tells it; `inputs` is None where an older version did not."""

    stage: str
    key: str
    path: Path
    receipt: Mapping[str, Any]
    sums: tuple[str, ...]
    inputs: tuple[str, ...] | None

    @cached_property
    def inodes(self) -> frozenset[tuple[int, int]]:
        stats = [path.stat() for path in _files(self.path, "**/*")]
        return frozenset((stat.st_dev, stat.st_ino) for stat in stats)

    @property
    def is_linked(self) -> bool:
        """Does a folder outside the store hold one of its files? Downloads are linked within the store."""
        return self.stage != "fetch" and any(path.stat().st_nlink > 1 for path in _files(self.path, "**/*"))

    @property
    def needs(self) -> Iterator[str]:
        """Keys and checksums of all that it was made from."""
        yield from (told.rpartition(":")[2] for told in self.inputs or ())
        if archive := self.receipt.get("archive"):
            yield str(archive)


@dataclass
class _Marking:
    """Follows what is used from entry to entry."""

    all: Sequence[_Known]
    wanted: set[str] = field(default_factory=set)
    entries: list[_Known] = field(default_factory=list)
    paths: set[Path] = field(default_factory=set)

    @cached_property
    def by_token(self) -> dict[str, list[_Known]]:
        """Entries by their key, by the sha256 of each of their files, and listings of the Hub by their commit."""
        found: dict[str, list[_Known]] = {}
        for entry in self.all:
            tokens = [entry.key, *entry.sums]
            if entry.stage == "fetch" and (commit := entry.receipt.get("commit")):
                tokens.append(f"listing {commit}" if "bytes" not in entry.receipt else "")
            for token in dict.fromkeys(tokens):
                found.setdefault(token, []).append(entry)
        return found

    def want(self, token: str) -> None:
        if token in self.wanted:
            return
        self.wanted.add(token)
        for entry in self.by_token.get(token, ()):
            self.mark(entry)

    def mark(self, entry: _Known) -> None:
        todo = [entry]
        while todo:
            one = todo.pop()
            if one.path in self.paths:
                continue
            self.paths.add(one.path)
            self.entries.append(one)
            tokens = [*one.needs, *([f"listing {one.receipt['commit']}"] if "commit" in one.receipt else [])]
            for token in tokens:
                if token not in self.wanted:
                    self.wanted.add(token)
                    todo += self.by_token.get(token, ())

    def add_views(self) -> None:
        there = {token for entry in self.entries for token in (entry.key, *entry.sums)}
        for entry in self.all:
            if entry.stage in VIEWS and entry.inputs and there.issuperset(entry.needs):
                self.mark(entry)


def _entries(root: Path) -> Iterator[_Known]:
    for path in sorted(root.glob("*/*/entry.json")):
        stage, key = path.parent.parent.name, path.parent.name
        if stage in OTHER or key.endswith(".tmp"):
            continue
        try:
            told = json.loads(path.read_bytes())
            sums = tuple(one["sha256"] for one in told["files"].values())
        except (ValueError, KeyError, TypeError):
            continue  # damaged: what is no entry is left over
        inputs = told.get("inputs")
        yield _Known(stage, key, path.parent, told["receipt"], sums, None if inputs is None else tuple(inputs))


def _left_over(root: Path) -> Iterator[Path]:
    """Folders of stages that were killed or damaged, and entries without a readable receipt."""
    whole = {entry.path for entry in _entries(root)}
    for path in sorted(root.glob("*/*")):
        if path.is_dir() and path.parent.name not in OTHER and path not in whole:
            yield path


def _named_by(build: Build, root: Path) -> Iterator[str]:
    """Checksums a build's receipt lists: its sources, and its files where it holds copies of the store's."""
    for source in build.receipt.get("lock", {}).values():
        yield from (file["sha256"] for file in (*source["files"], *source.get("archives", ())))
    if build.folder.stat().st_dev != root.stat().st_dev:
        yield from (file["sha256"] for file in build.receipt["files"].values())


def _files(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.is_symlink() or path.is_file())


def _size(paths: Iterable[Path], seen: set[tuple[int, int]]) -> int:
    """Bytes of files that were not counted before: hard links are one file."""
    total = 0
    for path in paths:
        for file in [path] if path.is_file() else _files(path, "**/*"):
            stat = file.lstat()
            if (stat.st_dev, stat.st_ino) not in seen:
                seen.add((stat.st_dev, stat.st_ino))
                total += stat.st_size
    return total
