"""What is heard of a file on its way to this disk: a listener is told, and shows it in its own way.

Fetching knows no terminal. A listener is any function of one `Moved`; it never changes what is fetched, and nothing it
is told gets into keys, receipts or locks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

#: A file on its way is told of at most so often.
PAUSE_S = 0.1


@dataclass(frozen=True)
class Moved:
    """Where one file of a corpus or benchmark stands; `total` is None while the server has not told it."""

    corpus: str
    name: str
    state: Literal["moving", "whole", "broken"]
    bytes: int
    total: int | None
    seconds: float


#: Heard from the thread that fetches and, of files that move, from threads of its libraries. In flows it goes to other
#: processes with the context: it must be picklable there.
Listener = Callable[[Moved], None]


def silent(_: Moved) -> None:
    """Listens to nothing."""


class Meter:
    """Tells a listener of one file: `moving` at once and then now and again, at the end `whole` or `broken`.

    >>> heard = []
    >>> with Meter(heard.append, "ocnli", "train.json", total=9) as meter:
    ...     meter.at(9)
    >>> [(moved.state, moved.bytes) for moved in heard]
    [('moving', 0), ('whole', 9)]
    """

    def __init__(self, listen: Listener, corpus: str, name: str, total: int | None = None) -> None:
        self._listen, self._corpus, self._name = listen, corpus, name
        self._bytes, self._total = 0, total
        self._began = self._told = time.monotonic()

    def __enter__(self) -> Self:
        self._tell("moving")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell("whole" if error is None else "broken")

    def at(self, count: int, total: int | None = None) -> None:
        """So many bytes are here, what an earlier attempt left included."""
        self._bytes, self._total = count, self._total if total is None else total
        if time.monotonic() - self._told >= PAUSE_S:
            self._tell("moving")

    def _tell(self, state: Literal["moving", "whole", "broken"]) -> None:
        self._told = time.monotonic()
        self._listen(Moved(self._corpus, self._name, state, self._bytes, self._total, self._told - self._began))


def bars_of(meter: Meter) -> type:
    """A class for huggingface_hub's `tqdm_class`: it moves the meter and draws nothing.

    Through Xet two things are counted, what crossed the line and what was put together from it; the file is the second.
    """

    class Bar:
        def __init__(self, *_: object, total: int | None = None, initial: int = 0, **__: object) -> None:
            self.total, self.n = total, initial

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, count: float | None = 1) -> None:
            self.n += int(count or 0)
            meter.at(self.n, self.total)

        def update_transfer(self, count: float) -> None:
            """That there is such a method makes Xet use one bar instead of two."""

        def ignore(self, *_: object, **__: object) -> None:
            pass

        set_postfix_str = set_transfer_postfix_str = refresh = close = ignore

    return Bar
