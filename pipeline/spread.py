"""Who carries out the parts of the work: threads of this process, or whatever a caller brings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol


class Spread(Protocol):
    """Calls `work(*part)` for every part and gives the results in order.

    Parts and results are small and travel well (paths, settings, a few arrays); all files lie where every worker sees
    them. `parts` is in how many one thing is worth dividing.
    """

    @property
    def parts(self) -> int: ...

    def map(self, work: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> list[Any]: ...


@dataclass(frozen=True)
class Here:
    """Threads of this process, as many as numba is set to; kernels bring their own where a thing is not divided."""

    parts: int = 1

    def map(self, work: Callable[..., Any], parts: Sequence[tuple[Any, ...]]) -> list[Any]:
        from numba import get_num_threads

        threads = min(len(parts), int(get_num_threads()))
        if threads < 2:
            return [work(*part) for part in parts]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda part: work(*part), parts))
