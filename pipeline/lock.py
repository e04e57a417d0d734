"""Writing the lock: look at every source, note what was truly seen, keep what could not be looked at with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.disk import writable
from pipeline.errors import SourceError, UsageError
from pipeline.fetch import Listener, fetch, silent
from pipeline.manifest.benchmark import Benchmark
from pipeline.manifest.catalog import Catalog
from pipeline.manifest.corpus import Corpus
from pipeline.manifest.lock import LOCK_NAME, LockedFile, LockedSource, lock_text, merged, place_of, read_lock
from pipeline.source import Fetched
from pipeline.steps import choices_of, converted
from pipeline.store import Store, write_durably


@dataclass(frozen=True)
class Looked:
    """What a look at one source of one corpus or benchmark gave."""

    name: str
    source: LockedSource

    @property
    def sentence(self) -> str:
        """One line for the terminal."""
        where = f"{self.name}: {self.source.kind} {self.source.place}"
        if self.source.unreached is not None:
            return f"{where}: not reached: {self.source.unreached}"
        size = sum(file.bytes for file in self.source.files)
        at = f" at {self.source.commit[:12]}" if self.source.commit else ""
        return f"{where}{at}: {len(self.source.files)} file(s), {size:,} bytes"


def lock(
    catalog: Catalog, names: Sequence[str], store: Store, *, every: bool = False, listen: Listener = silent
) -> Iterator[Looked]:
    """Look at the sources of the named corpora and benchmarks (of all, where none is named) and write their locks.

    Sources are tried in order of trust up to the first that can be had; `every` goes on to the last. Each corpus is
    written as soon as it was looked at, into the `m3e.lock` of the folder that holds its manifest. `listen` hears of
    files that have to be loaded for their checksum.

    Raises UsageError for a name that is not there, before anything is looked at.
    """
    chosen = _chosen(catalog, names)

    def look() -> Iterator[Looked]:
        for kind, of in chosen:
            home = catalog.home(kind, of.name)
            seen = list(_look(of, home, store, every, listen))
            _write(home.parent / LOCK_NAME, kind, of, [one.source for one in seen])
            yield from seen

    return look()


def _chosen(catalog: Catalog, names: Sequence[str]) -> list[tuple[str, Corpus | Benchmark]]:
    known: list[tuple[str, Corpus | Benchmark]] = [("corpora", c) for _, c in sorted(catalog.corpora.items())]
    known += [("benchmarks", b) for _, b in sorted(catalog.benchmarks.items())]
    unknown = sorted(set(names) - {of.name for _, of in known})
    if unknown:
        told = f"there is no corpus or benchmark {', '.join(unknown)}"
        raise UsageError("lock", told, "see the names with: m3e corpora")
    return [(kind, of) for kind, of in known if not names or of.name in names]


def _look(of: Corpus | Benchmark, home: Path, store: Store, every: bool, listen: Listener) -> Iterator[Looked]:
    is_reached = False
    for at, choice in enumerate(choices_of(of)):
        told = {"kind": choice.source.kind, "place": place_of(choice.source)}
        if is_reached and not every:
            continue
        try:
            fetched = fetch(of.name, choice.source, choice.wanted, home, store, keep=False, listen=listen)
        except SourceError as error:
            yield Looked(of.name, LockedSource(**told, unreached=_plain(error.cause, home, store)))
            continue
        is_reached = True
        files = {file.name: file for file in (*fetched.archives, *fetched.files)}
        yield Looked(
            of.name,
            LockedSource(
                **told,
                commit=fetched.revision,
                files=[LockedFile(name=n, bytes=f.bytes, sha256=f.sha256) for n, f in sorted(files.items())],
                rows=_rows(of, fetched, at, store),
            ),
        )


def _rows(of: Corpus | Benchmark, fetched: Fetched, at: int, store: Store) -> int | None:
    """The rows a build counted in exactly these files; None where none did yet."""
    entry = converted(store, of, fetched, at) if isinstance(of, Corpus) else None
    return None if entry is None else int(entry.receipt["totals"]["read"])


def _plain(cause: str, home: Path, store: Store) -> str:
    """The reason without paths of this machine."""
    for path, word in ((store.root.resolve(), "the store"), (home.resolve(), "."), (home, ".")):
        cause = cause.replace(str(path), word)
    return cause


def _write(path: Path, kind: str, of: Corpus | Benchmark, seen: list[LockedSource]) -> None:
    held = read_lock(path)
    section = dict(getattr(held, kind))
    old = section.get(of.name, [])
    looked = {(one.kind, one.place) for one in seen}
    sources = [(choice.source.kind, place_of(choice.source)) for choice in choices_of(of)]
    kept = [one for one in old if (one.kind, one.place) in sources and (one.kind, one.place) not in looked]
    section[of.name] = sorted([*merged(old, seen), *kept], key=lambda one: sources.index((one.kind, one.place)))
    with writable(path.parent, "writing the lock"):
        write_durably(path, lock_text(held.model_copy(update={kind: section})))
