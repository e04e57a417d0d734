"""The lock: which commit, which bytes, which checksums the sources of corpora and benchmarks gave when they were seen.

`m3e.lock` lies beside `corpora/` and `benchmarks/`, is written by `m3e lock` and never by hand. A source is told by its
kind and place, so that a changed order of alternates leaves the lock good and a changed address does not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, ValidationError

from pipeline.errors import ManifestError, Problem
from pipeline.manifest.corpus import GdriveSource, HttpSource, HubSource, LocalSource, ManualSource, Source, Strict

LOCK_NAME = "m3e.lock"


class LockedFile(Strict):
    """One file, or one member of an archive (`name.zip!member`)."""

    name: str
    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class LockedSource(Strict):
    """What one source held. `unreached` says why it could not be looked at last time; what stands beside it is older."""

    kind: str
    place: str
    commit: str | None = None
    files: list[LockedFile] = []
    rows: int | None = None
    unreached: str | None = None

    def sums(self) -> dict[str, str]:
        """sha256 by name."""
        return {file.name: file.sha256 for file in self.files}


class Lock(Strict):
    """A whole lock file: the sources of every corpus and benchmark, in the order of their manifests."""

    corpora: dict[str, list[LockedSource]] = {}
    benchmarks: dict[str, list[LockedSource]] = {}


def read_lock(path: Path) -> Lock:
    """The lock of one folder of manifests; an absent file is an empty lock.

    Raises ManifestError when the file is not a lock.
    """
    try:
        return Lock.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Lock()
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"]))
        told = f"{fault['msg']}; the file is generated: restore it, or remove it and run: m3e lock"
        raise ManifestError([Problem(path.name, 1, 1, key, told)]) from None


def lock_text(lock: Lock) -> bytes:
    """The file's content: one spelling, names in order."""
    told = lock.model_dump(mode="json", exclude_none=True)
    return json.dumps(told, ensure_ascii=False, indent=1, sort_keys=True).encode() + b"\n"


def locked_source(source: Source, locked: Iterable[LockedSource]) -> LockedSource | None:
    """What the lock holds of a source; None where it holds nothing, or another revision than the manifest asks for."""
    told = (source.kind, place_of(source))
    for one in locked:
        if (one.kind, one.place) == told and one.files:
            pinned = source.revision if isinstance(source, HubSource) else None
            return one if pinned in (None, one.commit) else None
    return None


def merged(old: Sequence[LockedSource], new: Sequence[LockedSource]) -> list[LockedSource]:
    """The entries of a corpus after a look: a source that was not reached keeps what was known of it, and says why.

    >>> seen = LockedSource(kind="http", place="https://a", files=[LockedFile(name="x", bytes=1, sha256="0" * 64)])
    >>> (after,) = merged([seen], [LockedSource(kind="http", place="https://a", unreached="it answered 404")])
    >>> after.unreached, len(after.files)
    ('it answered 404', 1)
    """
    known = {(one.kind, one.place): one for one in old}
    kept = []
    for one in new:
        before = known.get((one.kind, one.place))
        if before is not None and one.unreached is not None:
            one = before.model_copy(update={"unreached": one.unreached})
        elif before is not None and one.rows is None and one.sums() == before.sums():
            one = one.model_copy(update={"rows": before.rows})
        kept.append(one)
    return kept


def place_of(source: Source) -> str:
    """Where a source is, in words that hold no credentials.

    >>> place_of(HttpSource(kind="http", base="https://ann:secret@example.org/data?key=1"))
    'https://example.org/data'
    """
    match source:
        case HubSource():
            return source.repo if source.ref == "main" else f"{source.repo}@{source.ref}"
        case HttpSource():
            return without_secrets(source.base)
        case GdriveSource():
            return ", ".join(sorted(source.ids.values()))
        case ManualSource():
            return without_secrets(source.url)
        case LocalSource():
            return source.root


def without_secrets(url: str) -> str:
    """An address without user, password, query and fragment: fit for messages and files."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
