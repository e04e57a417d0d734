"""Fetch: the files a corpus' manifest names, verified and on this disk.

`local` reads folders, `hub` downloads explicit files of a Hub dataset at one commit; `match` gives patterns one meaning
for both. Nothing here runs code that came with a dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

from pipeline.fetch.hub import fetch_hub
from pipeline.fetch.local import fetch_local
from pipeline.manifest.corpus import HubSource, LocalSource, Source
from pipeline.source import Fetched, SourceFile, Wanted
from pipeline.store import Store

__all__ = ["Fetched", "SourceFile", "Wanted", "fetch"]


def fetch(corpus: str, source: Source, wanted: Sequence[Wanted], home: Path, store: Store) -> Fetched:
    """The wanted files of one corpus, ordered by part, then by split as given, then by name (`x-2` before `x-10`).

    `home` is the folder that holds the manifest: relative local roots start there. Hub files are kept in `store` and
    never downloaded twice.

    Raises SourceError when a pattern matches nothing or a file cannot be had as it should be, and NetworkError, a
    SourceError, when trying again later may help.

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
    match source:
        case HubSource():
            return fetch_hub(corpus, source, wanted, store)
        case LocalSource():
            return fetch_local(corpus, source, wanted, home)
        case _:
            assert_never(source)
