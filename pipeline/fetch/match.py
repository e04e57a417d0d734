"""Patterns to files: one meaning for local folders and Hub datasets, one order, and a hint when nothing matches."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from itertools import islice

from pipeline.errors import SourceError
from pipeline.source import Wanted

#: (part, split, name) of a file that a manifest wants.
Chosen = tuple[int, str, str]
#: Names read for the hint of an error: a mistyped root may be a whole disk.
HINT_NAMES = 5000


def choose(
    corpus: str,
    wanted: Sequence[Wanted],
    find: Callable[[str], Iterable[str]],
    names: Callable[[], Iterable[str]],
    place: str,
) -> list[Chosen]:
    """Every wanted file once, by part, then split in the order of `wanted`, then name in natural order.

    `find` gives the names that match one pattern; `names` gives all names there are and is asked only for the hint of
    an error; `place` says in words where was looked.

    Raises SourceError for a pattern that matches nothing or leaves the source, and for a file in two splits of a part.
    """
    chosen: list[Chosen] = []
    split_of: dict[tuple[int, str], str] = {}
    for want in sorted(wanted, key=lambda want: want.part):
        fresh: list[str] = []
        for pattern in want.patterns:
            check_pattern(corpus, pattern)
            found = list(find(pattern))
            if not found:
                raise SourceError(corpus, f"no file matches '{pattern}' in {place}", nearest(pattern, names()))
            for name in found:
                split = split_of.setdefault((want.part, name), want.split)
                if split != want.split:
                    cause = f"'{name}' is wanted by both split {split} and split {want.split} of one part"
                    raise SourceError(corpus, cause, "give the splits patterns that share no file")
                fresh.append(name)
        chosen += [(want.part, want.split, name) for name in sorted(set(fresh), key=natural)]
    return list(dict.fromkeys(chosen))


def check_pattern(corpus: str, pattern: str) -> None:
    """Refuse what could name a file outside the source."""
    if "\\" in pattern or not is_inside(pattern):
        cause = f"the pattern '{pattern}' is not a plain path below the source"
        raise SourceError(corpus, cause, "write it relative to the source, with '/', without '..', '.' or empty steps")


def is_inside(path: str) -> bool:
    """True for a relative path that stays below its start.

    >>> is_inside("data/train.json"), is_inside("../train.json"), is_inside("/etc/passwd")
    (True, False, False)
    """
    return not {"", ".", ".."} & set(path.split("/")) and "\0" not in path


def matches(name: str, pattern: str) -> bool:
    """True when a name fits a pattern; `*` does not cross '/', `**` stands for any number of folders.

    >>> matches("ocnli/train-0.parquet", "ocnli/train-*.parquet"), matches("a/b.json", "*.json")
    (True, False)
    >>> matches("a/b/c.json", "**/*.json"), matches("c.json", "**/*.json")
    (True, True)
    """
    return name == pattern or _fits(name.split("/"), pattern.split("/"))


def _fits(steps: Sequence[str], patterns: Sequence[str]) -> bool:
    if not patterns:
        return not steps
    if patterns == ["**"]:
        return bool(steps)
    if patterns[0] == "**":
        return any(_fits(steps[start:], patterns[1:]) for start in range(len(steps) + 1))
    return bool(steps) and fnmatchcase(steps[0], patterns[0]) and _fits(steps[1:], patterns[1:])


def natural(name: str) -> tuple[list[str | int], str]:
    """A sort key that reads digits as numbers.

    >>> sorted(["x-10.json", "x-2.json", "a-3.json"], key=natural)
    ['a-3.json', 'x-2.json', 'x-10.json']
    """
    steps = re.split(r"([0-9]+)", name)
    return [int(step) if at % 2 else step for at, step in enumerate(steps)], name


def nearest(pattern: str, names: Iterable[str]) -> str:
    """A cure: the names most like the pattern, or the first ones where none is.

    >>> nearest("trian.json", ["train.json", "README.md"])
    "mend the pattern; the nearest names there are: 'train.json'"
    """
    known = sorted(islice(names, HINT_NAMES), key=natural)
    if not known:
        return "mend the source; there is no file in it"
    close = difflib.get_close_matches(pattern, known, n=3, cutoff=0.5)
    told = ", ".join(f"'{name}'" for name in close or known[:3])
    return f"mend the pattern; the {'nearest' if close else 'first'} names there are: {told}"
