"""Files that already lie on this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from pipeline.errors import SourceError
from pipeline.fetch.match import choose
from pipeline.manifest.corpus import LocalSource
from pipeline.source import Fetched, SourceFile, Wanted


def fetch_local(corpus: str, source: LocalSource, wanted: Sequence[Wanted], home: Path) -> Fetched:
    """The wanted files below `source.root`, which starts at `home` unless absolute; each read once for its sha256.

    Raises SourceError when the root is no folder, a pattern matches no file, or a file cannot be read.
    """
    root = home / Path(source.root).expanduser()
    if not root.is_dir():
        cause = f"the folder {root} {'is a file' if root.exists() else 'does not exist'}"
        raise SourceError(corpus, cause, "put the files there or mend source.root")
    try:
        chosen = choose(corpus, wanted, lambda pattern: _find(corpus, root, pattern), lambda: _names(root), str(root))
        return Fetched(None, tuple(_read(corpus, root, *file) for file in chosen))
    except OSError as error:
        cause = f"{error.filename or root} cannot be read: {error.strerror}"
        raise SourceError(corpus, cause, "give yourself the right to read it, or repair it") from None


def _find(corpus: str, root: Path, pattern: str) -> Iterator[str]:
    exact = root / pattern
    if exact.is_dir():
        cause = f"'{pattern}' in {root} is a folder"
        raise SourceError(corpus, cause, f"name its files, for example '{pattern}/*'")
    found = [exact] if os.path.lexists(exact) else _walk(root, pattern.split("/"))
    for path in found:
        yield path.relative_to(root).as_posix()


def _walk(folder: Path, patterns: Sequence[str]) -> Iterator[Path]:
    """Everything but folders that fits the patterns step by step (`match.matches` says the same of a whole name)."""
    step, rest = patterns[0], patterns[1:]
    children = sorted(os.scandir(folder), key=lambda child: child.name)
    if step == "**":
        yield from _walk(folder, rest or ["*"])
        for child in children:
            # Links to folders are not followed here: two of them can form a ring.
            if child.is_dir(follow_symlinks=False):
                yield from _walk(folder / child.name, patterns)
        return
    for child in children:
        if fnmatchcase(child.name, step) and child.is_dir() == bool(rest):
            path = folder / child.name
            yield from _walk(path, rest) if rest else [path]


def _names(root: Path) -> Iterator[str]:
    for folder, _, names in os.walk(root):
        yield from (Path(folder, name).relative_to(root).as_posix() for name in names)


def _read(corpus: str, root: Path, part: int, split: str, name: str) -> SourceFile:
    path = root / name
    if not path.is_file():
        cause = f"{path} is {'a link to nothing' if path.is_symlink() else 'no regular file'}"
        raise SourceError(corpus, cause, "put the file itself there")
    if name.encode("utf-8", "ignore").decode() != name:
        raise SourceError(corpus, f"the file name {name!r} is not UTF-8", "rename the file")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return SourceFile(part, split, name, path, digest, os.fstat(file.fileno()).st_size)
