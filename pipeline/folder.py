"""The build folder on disk: hard links into the store and a few papers, put in place by one rename, or left alone."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from pipeline import failpoints
from pipeline.disk import writable
from pipeline.errors import StoreError
from pipeline.store import canonical_json, sync_folder, write_durably

#: Name in the build folder -> where the file lies, and what is told of it (sha256, bytes).
Links = Mapping[str, tuple[Path, Mapping[str, Any]]]
#: The report page's name in the folder.
PAGE = "report.html"


def write_folder(
    target: Path,
    locks: Path,
    links: Links,
    papers: Mapping[str, bytes],
    told: Mapping[str, Any],
    run: Mapping[str, Any],
    page: Callable[[Path], object] | None = None,
) -> bool:
    """Make `target` hold exactly these files, `build.json` (`told` and the sha256 of every file) and `run.json`.

    Returns whether anything was written: a folder that holds just this build already is left alone, to the byte.
    `run` is what is true of this run alone, outside identity; so is `PAGE`, which `page` writes into a folder that holds
    all else. Two builds at once into one target come one after the other, and the second leaves an equal one alone.
    Raises StoreError when `target` cannot be written or holds something that is no build.
    """
    files: dict[str, Any] = {name: dict(known) for name, (_, known) in sorted(links.items())}
    files |= {name: {"sha256": hashlib.sha256(text).hexdigest(), "bytes": len(text)} for name, text in papers.items()}
    receipt = readable_json({**told, "files": files})
    if _holds(target, receipt, files):
        _have_page(target, page)
        return False
    if target.exists() and not (target / "build.json").exists() and any(target.iterdir()):
        raise StoreError(
            str(target),
            "it holds files but no build.json, so it is no build",
            "choose another --out, or empty that folder",
        )
    out = target.parent
    with writable(out, "writing the build"):
        out.mkdir(parents=True, exist_ok=True)
        locks.mkdir(parents=True, exist_ok=True)
        with FileLock(locks / f"out-{hashlib.sha256(str(target.resolve()).encode()).hexdigest()[:16]}.lock"):
            if _holds(target, receipt, files):
                _have_page(target, page)
                return False
            made = target.with_name(f".{target.name}.tmp")
            shutil.rmtree(made, ignore_errors=True)
            failpoints.reach("folder:start")
            for name, (source, _) in links.items():
                place = made / name
                place.parent.mkdir(parents=True, exist_ok=True)
                _link(source, place)
            failpoints.reach("folder:linked")
            for name, text in papers.items():
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                write_durably(made / name, text)
            write_durably(made / "run.json", readable_json(run))
            write_durably(made / "build.json", receipt)
            _have_page(made, page)
            old = target.with_name(f".{target.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            failpoints.reach("folder:made")
            if target.exists():
                os.rename(target, old)
            failpoints.reach("folder:aside")
            os.rename(made, target)
            failpoints.reach("folder:renamed")
            sync_folder(out)
            shutil.rmtree(old, ignore_errors=True)
    return True


def readable_json(value: object) -> bytes:
    """JSON for people and programs, one spelling per value.

    >>> readable_json({"b": 1, "a": [2]})
    b'{\\n "a": [\\n  2\\n ],\\n "b": 1\\n}\\n'
    """
    # Through canonical_json first: one spelling for dates and paths, sorted keys.
    return json.dumps(json.loads(canonical_json(value)), ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"


def _holds(target: Path, receipt: bytes, files: Mapping[str, Any]) -> bool:
    try:
        return (target / "build.json").read_bytes() == receipt and all(
            (target / name).stat().st_size == told["bytes"] for name, told in files.items()
        )
    except (FileNotFoundError, NotADirectoryError):
        return False


def _have_page(folder: Path, page: Callable[[Path], object] | None) -> None:
    if page is not None and not (folder / PAGE).is_file():
        page(folder)


def _link(source: Path, place: Path) -> None:
    try:
        os.link(source, place)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        shutil.copyfile(source, place)
        with place.open("rb") as file:
            os.fsync(file.fileno())
