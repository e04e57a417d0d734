"""Fetch: the files a corpus' manifest names, verified and on this disk.

`local` reads folders, `hub` downloads explicit files of a Hub dataset at one commit, `http` and `gdrive` load files by
address and id, `manual` finds what a person put there. `match` gives patterns one meaning, `archive` takes members out
of archives, `alternates` goes through several sources in order. Nothing here runs code that came with a dataset.
What needs a network's libraries is imported where it is used: a build that finds everything loaded starts faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import assert_never

from pipeline.errors import SourceError
from pipeline.fetch.alternates import Choice, first_of
from pipeline.fetch.local import fetch_local
from pipeline.fetch.manual import fetch_manual
from pipeline.fetch.members import opened, with_archives
from pipeline.fetch.order import Digest, Order, Sum, Unfetched, mismatch
from pipeline.fetch.transfer import Listener, Moved, silent
from pipeline.manifest.corpus import GdriveSource, HttpSource, HubSource, LocalSource, ManualSource, Source
from pipeline.manifest.lock import LockedSource, locked_source, place_of
from pipeline.source import Fetched, SourceFile, Wanted
from pipeline.store import Store

__all__ = [
    "Choice",
    "Fetched",
    "Listener",
    "Moved",
    "SourceFile",
    "Unfetched",
    "Wanted",
    "fetch",
    "fetch_first",
    "silent",
]


def fetch(
    corpus: str,
    source: Source,
    wanted: Sequence[Wanted],
    home: Path,
    store: Store,
    *,
    locked: LockedSource | None = None,
    offline: bool = False,
    keep: bool = True,
    listen: Listener = silent,
) -> Fetched:
    """The wanted files of one corpus, ordered by part, then by split as given, then by name (`x-2` before `x-10`).

    `home` is the folder that holds the manifest: relative local roots start there. Downloads are kept in `store` and
    never made twice. A name may point into an archive: `name.zip!member`. What `locked` says of commit and content
    must hold. `offline` asks no network; `keep=False` is content with the checksums a commit lists. `listen` hears of
    each file while it is loaded, and not of those that are there.

    Raises SourceError when a pattern matches nothing or a file cannot be had as it should be, NetworkError, a
    SourceError, when trying again later may help, and LockMismatch, a SourceError, for content the lock knows
    otherwise; with `offline`, Unfetched for what is not on this disk.

    >>> import tempfile
    >>> from pipeline.manifest.corpus import LocalSource
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     home = Path(folder)
    ...     _ = (home / "pairs.tsv").write_text("怎么开发票\\t如何开具发票\\n", "utf-8")
    ...     wanted = [Wanted(0, "train", ("*.tsv",))]
    ...     fetched = fetch("invoices", LocalSource(kind="local", root="."), wanted, home, Store(home / ".m3e"))
    >>> [(file.split, file.name, file.bytes) for file in fetched.files]
    [('train', 'pairs.tsv', 35)]
    """
    plain = with_archives(wanted)
    order = Order(corpus, plain, home, store, locked, offline, keep or plain != tuple(wanted), listen)
    checksums: Mapping[str, str] = {}
    match source:
        case HubSource():
            from pipeline.fetch.hub import fetch_hub

            fetched = fetch_hub(order, source)
        case LocalSource():
            fetched = fetch_local(corpus, source, plain, home)
        case HttpSource():
            from pipeline.fetch.http import fetch_http

            fetched, checksums = fetch_http(order, source), source.checksums
        case GdriveSource():
            from pipeline.fetch.gdrive import fetch_gdrive

            fetched, checksums = fetch_gdrive(order, source), source.checksums
        case ManualSource():
            fetched, checksums = fetch_manual(order, source), source.checksums
        case _:
            assert_never(source)
    fetched = opened(order, wanted, fetched, checksums)
    if locked is not None:
        _hold(corpus, locked, fetched)
    return fetched


def fetch_first(
    corpus: str,
    choices: Sequence[Choice],
    home: Path,
    store: Store,
    *,
    locked: Sequence[LockedSource] = (),
    frozen: bool = False,
    offline: bool = False,
    listen: Listener = silent,
) -> Fetched:
    """`fetch` from the first of several sources that can be had; `frozen` takes only what the lock holds.

    Offline, files that are not on this disk come as placeholders: they have no checksum, so nothing made of them is
    ever found in a store.
    """

    def get(choice: Choice) -> Fetched:
        lock = locked_source(choice.source, locked)
        if frozen and lock is None:
            told = f"{choice.source.kind} {place_of(choice.source)}"
            raise SourceError(corpus, f"the lock holds nothing of {told}", f"run: m3e lock {corpus}")
        fetched = fetch(corpus, choice.source, choice.wanted, home, store, locked=lock, offline=offline, listen=listen)
        if frozen and lock is not None and (missing := sorted({f.name for f in fetched.files} - set(lock.sums()))):
            raise SourceError(corpus, f"the lock does not hold '{missing[0]}'", f"run: m3e lock {corpus}")
        return fetched

    try:
        return first_of(corpus, choices, get)
    except Unfetched:
        names = [(w.part, w.split, pattern) for w in choices[0].wanted for pattern in w.patterns]
        return Fetched(None, tuple(SourceFile(*name, Path(name[2]), "", 0) for name in names))


def _hold(corpus: str, locked: LockedSource, fetched: Fetched) -> None:
    """Raises LockMismatch for a file with another checksum than the lock's."""
    known = locked.sums()
    for file in (*fetched.archives, *fetched.files):
        if known.get(file.name, file.sha256) != file.sha256:
            wrong = Sum("sha256", known[file.name], "lock")
            raise mismatch(corpus, file.name, wrong, Digest(file.sha256, "", file.bytes))
