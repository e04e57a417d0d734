"""Every error a user can meet, one tree.

CurationError                 exit 1: the work failed; the message says what to do
├── ManifestError             one or more problems in YAML files, each with file:line:column
├── UsageError                exit 2: wrong words on the command line
├── SourceError               a file is missing, cannot be reached or has the wrong checksum
├── FormatError               a file is not what its manifest declares (layout, encoding, truncated)
├── DriftError                upstream changed: columns, label names, row counts
├── BadRowsError              more malformed rows than the corpus allows
├── StoreError                the store or the output folder cannot be written or holds damage
├── CountError                the funnel does not add up
├── BuildError                a build ended with too many gaps
├── LicenceError              terms forbid what was asked for
└── PublishError              a release may not or could not be published; the repository holds a whole version
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass


def visible(text: str) -> str:
    r"""What a sentence quotes may steer a terminal or turn the order of characters: controls are written out.

    >>> visible("the file \x1b[2J\u202e.json")
    'the file \\x1b[2J\\u202e.json'
    """
    if text.isprintable():
        return text
    return "".join(
        one.encode("unicode_escape").decode() if unicodedata.category(one)[0] == "C" and one != "\n" else one
        for one in text
    )


class CurationError(Exception):
    """A failure told in one sentence: where it happened, what it was, what cures it.

    >>> str(CurationError("ocnli", "the file train.json is missing", "run: m3e lock ocnli"))
    'ocnli: the file train.json is missing. Cure: run: m3e lock ocnli'
    """

    exit_code = 1

    def __init__(self, place: str, cause: str, cure: str) -> None:
        self.place, self.cause, self.cure = place, cause.rstrip("."), cure
        super().__init__(place, cause, cure)

    def __str__(self) -> str:
        return visible(f"{self.place}: {self.cause}. Cure: {self.cure}")


class UsageError(CurationError):
    exit_code = 2


class SourceError(CurationError):
    """`transient` is true where waiting and asking again may help (network)."""

    transient = False


class NetworkError(SourceError):
    transient = True


class FormatError(CurationError):
    pass


class DriftError(CurationError):
    pass


class BadRowsError(CurationError):
    pass


class StoreError(CurationError):
    pass


class CountError(CurationError):
    pass


class BuildError(CurationError):
    pass


class LicenceError(CurationError):
    pass


class PublishError(CurationError):
    """`transient` is true where waiting and asking again may help (network)."""

    transient = False


@dataclass(frozen=True, order=True)
class Problem:
    """One fault in one manifest: 1-based line and column, dotted key, and a sentence that holds the cure.

    >>> str(Problem("corpora/bq.yaml", 12, 9, "source.revision", "'main' moves; give a 40-character commit or null"))
    "corpora/bq.yaml:12:9 source.revision: 'main' moves; give a 40-character commit or null"
    """

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        key = f" {self.key}" if self.key else ""
        return visible(f"{self.file}:{self.line}:{self.column}{key}: {self.message}")


class ManifestError(CurationError):
    """All problems of all files at once, sorted by place."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("manifests", f"{len(self.problems)} problem(s)", "mend the lines named above")

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))
