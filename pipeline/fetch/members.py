"""Wanted names that point into archives: the archives are fetched like any file, then their members take their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipeline.errors import SourceError
from pipeline.fetch.archive import extract, extracted, split_name
from pipeline.fetch.match import natural
from pipeline.fetch.order import Digest, Order, Unfetched, digest_of, mismatch
from pipeline.source import Fetched, SourceFile, Wanted

#: Archives travel as files of a part that no manifest can have.
ARCHIVES = -1


def with_archives(wanted: Sequence[Wanted]) -> tuple[Wanted, ...]:
    """What a fetcher must bring: plain files as they are wanted, and each archive once.

    >>> with_archives([Wanted(0, "train", ("a.zip!x.json", "b.json"))])
    (Wanted(part=-1, split='', patterns=('a.zip',)), Wanted(part=0, split='train', patterns=('b.json',)))
    """
    archives = {
        outer: None for want in wanted for outer, member in map(split_name, want.patterns) if member is not None
    }
    if not archives:
        return tuple(wanted)
    plain = [replace(w, patterns=tuple(p for p in w.patterns if split_name(p)[1] is None)) for w in wanted]
    return (Wanted(ARCHIVES, "", tuple(archives)), *(want for want in plain if want.patterns))


def opened(order: Order, wanted: Sequence[Wanted], fetched: Fetched, checksums: Mapping[str, str]) -> Fetched:
    """The same with members in place of archives, by part, then split as given, then name."""
    archives = {file.name: file for file in fetched.files if file.part == ARCHIVES}
    if not archives:
        return fetched
    members = _members(order, wanted, archives, checksums)
    plain = [file for file in fetched.files if file.part != ARCHIVES]
    files: list[SourceFile] = []
    split_of: dict[tuple[int, str], str] = {}
    for want in sorted(wanted, key=lambda want: want.part):
        inside = [members[name] for name in want.patterns if name in members]
        for file in inside:
            if split_of.setdefault((want.part, file.name), want.split) != want.split:
                cause = f"'{file.name}' is wanted by two splits of one part"
                raise SourceError(order.corpus, cause, "give the splits names that share no file")
        here = [file for file in plain if (file.part, file.split) == (want.part, want.split)]
        here += [replace(file, part=want.part, split=want.split) for file in inside]
        files += sorted(here, key=lambda file: natural(file.name))
    return replace(fetched, files=tuple(dict.fromkeys(files)), archives=tuple(archives.values()))


def _members(
    order: Order, wanted: Sequence[Wanted], archives: Mapping[str, SourceFile], checksums: Mapping[str, str]
) -> dict[str, SourceFile]:
    by_archive: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for want in wanted for name in want.patterns):
        outer, member = split_name(name)
        if member is not None:
            by_archive.setdefault(outer, []).append(member)
    members: dict[str, SourceFile] = {}
    for outer, names in by_archive.items():
        archive = archives[outer]
        if order.offline:
            found = extracted(archive, names, order.store)
            if found is None:
                raise Unfetched
        else:
            found = extract(order.corpus, archive, names, order.store)
        for member, (path, sha256, size) in found.items():
            name = f"{outer}!{member}"
            sums = order.sums(name, checksums)
            got = Digest(sha256, "", size) if all(s.algorithm == "sha256" for s in sums) else digest_of(path)
            if wrong := got.missed(sums):
                raise mismatch(order.corpus, name, wrong, got)
            members[name] = SourceFile(ARCHIVES, "", name, path, sha256, size)
    return members
