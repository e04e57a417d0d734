"""The sources of a corpus in order of trust: the first that can be had is taken, and it is told why not an earlier one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipeline.errors import NetworkError, SourceError
from pipeline.fetch.order import Unfetched
from pipeline.manifest.corpus import Source
from pipeline.manifest.lock import place_of
from pipeline.source import Failed, Fetched, LockMismatch, Wanted


@dataclass(frozen=True)
class Choice:
    """One place to get a corpus from, with the files it must have there."""

    source: Source
    wanted: tuple[Wanted, ...]


def first_of(corpus: str, choices: Sequence[Choice], get: Callable[[Choice], Fetched]) -> Fetched:
    """What the first source gives that can be had.

    Raises the only source's error, or one that names every source's; NetworkError where trying again may help any of
    them. A LockMismatch is never passed over. Unfetched when no source is on this disk (and asking was forbidden).
    """
    errors: list[tuple[Choice, SourceError]] = []
    is_unfetched = False
    for at, choice in enumerate(choices):
        try:
            fetched = get(choice)
        except LockMismatch:
            raise
        except Unfetched:
            is_unfetched = True
            continue
        except SourceError as error:
            errors.append((choice, error))
            continue
        failed = tuple(Failed(c.source.kind, place_of(c.source), e.cause) for c, e in errors)
        return replace(fetched, kind=choice.source.kind, place=place_of(choice.source), alternate=at, failed=failed)
    if is_unfetched:
        raise Unfetched
    if len(errors) == 1:
        raise errors[0][1]
    told = "; ".join(f"{c.source.kind} {place_of(c.source)}: {e.cause}" for c, e in errors)
    cures = "; or ".join(dict.fromkeys(e.cure for _, e in errors))
    kind = NetworkError if any(e.transient for _, e in errors) else SourceError
    raise kind(corpus, f"none of its {len(errors)} sources can be had: {told}", cures)
