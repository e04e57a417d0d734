"""Where two texts differ: both cut into runs that they share and runs that only one has, to be drawn side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

#: A word or a number counts as one, any other character alone.
_TOKENS = re.compile(r"[A-Za-z]+|\d+|.", re.DOTALL)
#: Tokens of each text that are compared, after a common beginning and end; behind them all counts as different.
COMPARED = 1500
#: A shared run keeps so many characters beside a difference; at the head and tail of a text as well.
NEAR = 24
ELLIPSIS = " … "
#: What is the same on both sides as a whole keeps so many.
SAME = 160


@dataclass(frozen=True)
class Run:
    """A piece of a text; `differs` where the other text does not have it."""

    text: str
    differs: bool = False


def difference(left: str, right: str, most: int = 400) -> tuple[list[Run], list[Run]]:
    """The runs of both texts, in order. Long shared runs keep only what lies beside a difference; `most` bounds each side.

    >>> [run.text for run in difference("怎么绑定银行卡", "怎么绑定的银行卡")[1] if run.differs]
    ['的']
    >>> difference("a", "a")
    ([Run(text='a', differs=False)], [Run(text='a', differs=False)])
    """
    a, b = _TOKENS.findall(left), _TOKENS.findall(right)
    head = _shared(a, b)
    tail = _shared(a[head:][::-1], b[head:][::-1])
    middle_a, middle_b = a[head : len(a) - tail], b[head : len(b) - tail]
    runs: tuple[list[Run], list[Run]] = ([], [])

    def same(text: str) -> None:
        for side in runs:
            side.append(Run(text))

    same("".join(a[:head]))
    matcher = SequenceMatcher(None, middle_a[:COMPARED], middle_b[:COMPARED], autojunk=False)
    for kind, i, j, m, n in matcher.get_opcodes():
        if kind == "equal":
            same("".join(middle_a[i:j]))
        else:
            runs[0].append(Run("".join(middle_a[i:j]), differs=True))
            runs[1].append(Run("".join(middle_b[m:n]), differs=True))
    for side, rest in zip(runs, (middle_a[COMPARED:], middle_b[COMPARED:]), strict=True):
        side.append(Run("".join(rest), differs=True))
    same("".join(a[len(a) - tail :]) if tail else "")
    return _told(runs[0], most), _told(runs[1], most)


def _shared(a: Sequence[str], b: Sequence[str]) -> int:
    """How many tokens two lists begin with alike."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _told(runs: Sequence[Run], most: int) -> list[Run]:
    """Without empty runs, long shared ones shortened, and no more than `most` characters."""
    full = [run for run in runs if run.text]
    if sum(len(run.text) for run in full) > (SAME if len(full) == 1 else most):
        full = [
            run if run.differs else Run(_shortened(run.text, first=i == 0, last=i == len(full) - 1))
            for i, run in enumerate(full)
        ]
    told: list[Run] = []
    left = most
    for run in full:
        if left <= 0:
            return [*told, Run("…")]
        cut = len(run.text) > left
        told.append(Run(run.text[:left] + "…" * cut, run.differs))
        left -= len(run.text)
    return told


def _shortened(text: str, *, first: bool, last: bool) -> str:
    if first and last:
        return text[:SAME] + "…" * (len(text) > SAME)
    if len(text) <= 2 * NEAR + len(ELLIPSIS):
        return text
    return text[:NEAR] + ELLIPSIS + text[-NEAR:]
