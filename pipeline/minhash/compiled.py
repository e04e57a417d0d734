"""How kernels are compiled and run, and what they work on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

#: Bytes of keys read back at a time.
BLOCK_BYTES = 256 << 20

kernel = numba.njit(nogil=True, cache=True)
inlined = numba.njit(nogil=True)


def fixed(data: Bytes) -> Bytes:
    """The same bytes, not to be written to: a kernel is compiled once for them, not once more for those that may be."""
    view = data.view()
    view.flags.writeable = False
    return view


def threads() -> int:
    return int(numba.config.NUMBA_NUM_THREADS)


def in_blocks(n: int, work: Callable[[int, int], Any], block: int) -> None:
    """Calls `work(lo, hi)` over 0..n in blocks, on as many threads as numba is set to; blocks write disjoint places."""
    spans = [(lo, min(n, lo + block)) for lo in range(0, n, block)]
    if min(len(spans), threads()) < 2:
        for lo, hi in spans:
            work(lo, hi)
        return
    with ThreadPoolExecutor(min(len(spans), threads())) as pool:
        for done in [pool.submit(work, lo, hi) for lo, hi in spans]:
            done.result()


def blocks(cost: Ints, most: int | None = None) -> Iterator[slice]:
    """Cuts a list into runs whose costs sum up to about `most`, or to BLOCK_BYTES.

    >>> list(blocks(np.array([3, 3, 3, 9, 1]), 6))
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None), slice(4, 5, None)]
    """
    ends, most = np.cumsum(cost), BLOCK_BYTES if most is None else most
    low = 0
    while low < len(ends):
        done = ends[low - 1] if low else 0
        high = max(low + 1, int(np.searchsorted(ends, done + most, "right")))
        yield slice(low, high)
        low = high
