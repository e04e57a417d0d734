"""The store: content-addressed outputs of stages, written atomically, never changed.

An entry is a folder `<root>/<stage>/<key>/` that holds a stage's files and `entry.json`: its receipt, the sha256 of every
file, and the inputs it was made from. It appears by one rename after everything in it reached the disk, so present means
done: a build that is killed anywhere is run again and goes on. `key` names all that decides the bytes: the stage, the
code, the versions of the libraries that write or transform text, the settings, and the keys of the inputs.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from pipeline import failpoints
from pipeline.code import code_hash
from pipeline.disk import writable
from pipeline.errors import StoreError

Receipt = dict[str, Any]
Work = Callable[[Path], Receipt]

#: Libraries whose version can change the bytes of an output.
BYTE_DECIDING = ("opencc", "orjson", "polars", "polars-hash", "pyarrow", "selectolax")


@dataclass(frozen=True)
class Entry:
    """A finished stage output. `key` is known before the work is done, `receipt` and `files` only after."""

    stage: str
    key: str
    path: Path
    receipt: Receipt
    files: Mapping[str, Mapping[str, Any]]
    cached: bool = False

    def paths(self, pattern: str) -> list[Path]:
        """Files of the entry that match a glob, in name order."""
        return sorted(self.path.glob(pattern))


def stage_key(
    stage: str, module: str, config: object, inputs: Sequence[str], libraries: Sequence[str] = BYTE_DECIDING
) -> str:
    """The address of an output: sha256 over all that decides its bytes, the versions of `libraries` included.

    >>> stage_key("quality", "pipeline.errors", {"a": 1}, ["x"]) == stage_key("quality", "pipeline.errors", {"a": 1}, ["x"])
    True
    """
    versions = {name: version for name, version in library_versions().items() if name in libraries}
    told = [stage, code_hash(module), versions, config, list(inputs)]
    return hashlib.sha256(canonical_json(told)).hexdigest()[:32]


def canonical_json(value: object) -> bytes:
    """JSON with one spelling per value: sorted keys, no blanks, UTF-8."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str).encode()


@cache
def library_versions() -> dict[str, str]:
    return {name: _version(name) for name in BYTE_DECIDING}


def _version(name: str) -> str:
    """As `importlib.metadata.version`, which parses all of a library's description, for a tenth of the time."""
    head = importlib.metadata.distribution(name).read_text("METADATA") or ""
    found = re.search(r"^Version: *(\S+)$", head.partition("\n\n")[0], re.MULTILINE)
    return found[1] if found else importlib.metadata.version(name)


class Store:
    """Outputs of stages below one folder. Several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, stage: str, key: str) -> Path:
        return self.root / stage / key

    def find(self, stage: str, key: str) -> Entry | None:
        """The finished entry, or None. An entry whose files are gone or have another size counts as absent."""
        path = self.path(stage, key)
        try:
            told = json.loads((path / "entry.json").read_bytes())
            whole = all((path / name).stat().st_size == file["bytes"] for name, file in told["files"].items())
        except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
            return None
        return Entry(stage, key, path, told["receipt"], told["files"], cached=True) if whole else None

    def entry(self, stage: str, key: str, work: Work, inputs: Sequence[str] = (), *, rehearsal: bool) -> Entry:
        """The entry of this key, as `run` gives it; in a rehearsal one without files where there is none yet."""
        if rehearsal:
            return self.find(stage, key) or Entry(stage, key, self.path(stage, key), {}, {})
        return self.run(stage, key, work, inputs)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While this lasts nothing of the store is collected: builds hold it together, `pipeline.gc` holds it alone.

        A store that cannot be written needs no hold, since nobody can remove anything from it.
        """
        with self._hold(fcntl.LOCK_SH):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else works in the store while this lasts. Raises StoreError where somebody does."""
        with writable(self.root, "collecting"), self._hold(fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield

    @contextmanager
    def _hold(self, how: int) -> Iterator[None]:
        try:
            (self.root / "locks").mkdir(parents=True, exist_ok=True)
            handle = os.open(self.root / "locks" / "in-use.lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:
            if how != fcntl.LOCK_SH:
                raise
            yield
            return
        try:
            fcntl.flock(handle, how)
        except BlockingIOError:
            os.close(handle)
            told = "a build is at work in this store, and what it made so far belongs to no build folder yet"
            raise StoreError(str(self.root), told, "run this again when it is done") from None
        try:
            yield
        finally:
            os.close(handle)

    def run(self, stage: str, key: str, work: Work, inputs: Sequence[str] = ()) -> Entry:
        """The entry of this key: found, or made by `work(folder)`, which writes files and returns the receipt.

        `inputs` are kept for `pipeline.gc`: keys of entries, or `...:sha256` of files, that the work reads.

        Raises StoreError when the store cannot be written; what `work` raises passes through. Either way nothing
        half-written is left under the entry's name.
        """
        if found := self.find(stage, key):
            return found
        path = self.path(stage, key)
        with writable(self.root, f"stage {stage}"):
            (self.root / "locks").mkdir(parents=True, exist_ok=True)
            # One maker per key: a second process waits and then finds the entry; a killed one frees the lock.
            with FileLock(self.root / "locks" / f"{stage}-{key}.lock"):
                if found := self.find(stage, key):
                    return found
                folder = path.with_name(f"{key}.tmp")
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                failpoints.reach(f"{stage}:start")
                try:
                    receipt = work(folder)
                    failpoints.reach(f"{stage}:worked")
                    files = seal(folder)
                    whole = {"stage": stage, "key": key, "receipt": receipt, "files": files, "inputs": list(inputs)}
                    told = canonical_json(whole)
                    write_durably(folder / "entry.json", told)
                except BaseException:
                    shutil.rmtree(folder, ignore_errors=True)
                    raise
                if path.exists():  # damaged: `find` refused it
                    shutil.rmtree(path)
                sync_folder(folder)
                failpoints.reach(f"{stage}:sealed")
                os.rename(folder, path)
                failpoints.reach(f"{stage}:renamed")
                sync_folder(path.parent)
        return Entry(stage, key, path, json.loads(told)["receipt"], files)


def seal(folder: Path) -> dict[str, dict[str, Any]]:
    """sha256 and size of every file below a folder, each file made durable and read-only."""
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        # Build folders hold hard links to these files: an edit there must not reach the store.
        path.chmod(0o444)
        files[path.relative_to(folder).as_posix()] = {"sha256": digest, "bytes": path.stat().st_size}
    for path in sorted(p for p in folder.rglob("*") if p.is_dir()):
        sync_folder(path)
    return files


def write_durably(path: Path, content: bytes) -> None:
    """Write a small file so that it is whole or absent, whatever happens."""
    part = path.with_name(f".{path.name}.part")
    while True:
        with part.open("ab") as file:
            # One writer at a time; whose part was renamed by another while it waited begins anew. A part that a killed
            # process left is taken over.
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(part, file.fileno()):
                continue
            file.truncate(0)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            failpoints.reach(f"{path.name}:written")
            os.replace(part, path)
            break
    sync_folder(path.parent)


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
