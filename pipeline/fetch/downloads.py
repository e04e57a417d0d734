"""The download cache: one for all recipes, below the store, addressed by content.

    downloads/blobs/<sha256>        verified files, read-only
    downloads/seen/<key>.json       which content an address gave: sha256, md5, bytes
    downloads/partial/<key>/        transfers under way

A file gets its name only when it is whole and its sums hold, so what is there is never loaded again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from pipeline.disk import writable
from pipeline.fetch.order import Digest, Order, Sum, Unfetched, digest_of, mismatch
from pipeline.fetch.transfer import Meter
from pipeline.store import canonical_json, sync_folder, write_durably


@dataclass(frozen=True)
class Held:
    """A verified file on this disk."""

    path: Path
    sha256: str
    bytes: int


def obtain(
    order: Order, address: tuple[str, str], name: str, sums: list[Sum], load: Callable[[Path, Meter], Path]
) -> Held:
    """The file that an address (kind, place) gives: from the cache, or by `load(folder, meter)`, which returns its path.

    Content with a wrong sum is thrown away and loaded once more; `load` finds in its folder what it left there when
    it broke off. Raises SourceError naming both sums when the second load is wrong too, and what `load` raises.
    """
    root = order.store.root / "downloads"
    key = hashlib.sha256(canonical_json(address)).hexdigest()[:32]
    if found := _find(root, key, sums):
        return found
    if order.offline:
        raise Unfetched
    locks = order.store.root / "locks"
    with writable(order.store.root, f"downloading {name}"):
        for folder in (locks, root / "blobs", root / "seen", root / "partial"):
            folder.mkdir(parents=True, exist_ok=True)
        # One process per address: two would write into the same partial file.
        with FileLock(locks / f"download-{key}.lock"):
            if found := _find(root, key, sums) or _by_content(root, key, sums):
                return found
            with Meter(order.listen, order.corpus, name) as meter:
                path, got = _load(order.corpus, name, sums, lambda work: load(work, meter), root / "partial" / key)
                meter.at(got.bytes, got.bytes)
                held = _keep(root, key, path, got)
            shutil.rmtree(root / "partial" / key, ignore_errors=True)
            return held


def _load(corpus: str, name: str, sums: list[Sum], load: Callable[[Path], Path], work: Path) -> tuple[Path, Digest]:
    wrong: tuple[Sum, Digest] | None = None
    for _ in range(2):
        work.mkdir(exist_ok=True)
        path = load(work)
        got = digest_of(path)
        missed = got.missed(sums)
        if missed is None:
            return path, got
        wrong = missed, got
        # Also what a resumed transfer began with: the fault may lie there.
        shutil.rmtree(work)
    assert wrong is not None
    raise mismatch(corpus, name, *wrong)


def _keep(root: Path, key: str, path: Path, got: Digest) -> Held:
    blob = root / "blobs" / got.sha256
    with path.open("rb") as file:
        os.fsync(file.fileno())
    path.chmod(0o444)
    os.replace(path, blob)
    sync_folder(blob.parent)
    return _note(root, key, got)


def _note(root: Path, key: str, got: Digest) -> Held:
    write_durably(root / "seen" / f"{key}.json", canonical_json(asdict(got)))
    return Held(root / "blobs" / got.sha256, got.sha256, got.bytes)


def _find(root: Path, key: str, sums: list[Sum]) -> Held | None:
    """What this address gave, while it is whole and has the wanted sums."""
    try:
        got = Digest(**json.loads((root / "seen" / f"{key}.json").read_bytes()))
        blob = root / "blobs" / got.sha256
        is_whole = blob.stat().st_size == got.bytes
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None
    return Held(blob, got.sha256, got.bytes) if is_whole and got.missed(sums) is None else None


def _by_content(root: Path, key: str, sums: list[Sum]) -> Held | None:
    """The wanted content as another address gave it; read once to be sure of it."""
    for one in sums:
        blob = root / "blobs" / one.value
        if one.algorithm == "sha256" and blob.is_file():
            got = digest_of(blob)
            if got.missed(sums) is None:
                return _note(root, key, got)
    return None
