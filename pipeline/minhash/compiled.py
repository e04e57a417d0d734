"""How kernels are compiled and run, and what they work on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]

kernel = numba.njit(nogil=True, cache=True)
inlined = numba.njit(nogil=True)


def in_blocks(n: int, work: Callable[[int, int], Any], block: int) -> None:
    """Calls `work(lo, hi)` over 0..n in blocks, on as many threads as numba is set to; blocks write disjoint places."""
    spans = [(lo, min(n, lo + block)) for lo in range(0, n, block)]
    threads = min(len(spans), int(numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    if threads < 2:
        for lo, hi in spans:
            work(lo, hi)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, lo, hi) for lo, hi in spans]:
            done.result()
