"""Memory that a stage frees stays with its process until the stage has ended: a page used before costs nothing.

Stages work in batches and take the same large arrays again and again. Left alone, glibc gives an array's pages back to
the system when it is freed, and the next one gets new pages: zeroed, and on a virtual machine often fetched from the host,
which took a fifth of all time. Whoever runs stages hands free memory back between them (`pipeline.cost.give_back`).
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

#: Of malloc.h: how much may lie free at the end of the heap, from which size an array has a mapping of its own, and how many.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_KEEPING = {_TRIM_THRESHOLD: (1 << 31) - 1, _MMAP_MAX: 0}
#: What glibc comes to by itself in a process that has freed large arrays; it never goes back to finding out.
_USUAL = {_TRIM_THRESHOLD: 64 << 20, _MMAP_THRESHOLD: 32 << 20, _MMAP_MAX: 65_536}
_LOCK = threading.Lock()
#: One for each user that is at work, one within the other or side by side; the first is the pool from before them all.
_pools: list[pa.MemoryPool] = []


@contextmanager
def freed_kept() -> Iterator[None]:
    """While this lasts the whole process keeps what it frees; Arrow uses the same heap. Of glibc alone.

    >>> with freed_kept():
    ...     pa.default_memory_pool().backend_name
    'system'
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        yield
        return
    with _LOCK:
        _pools.append(pa.default_memory_pool())
        if len(_pools) == 1:
            for name, value in _KEEPING.items():
                mallopt(name, value)
            pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        with _LOCK:
            pool = _pools.pop()
            if not _pools:
                pa.set_memory_pool(pool)
                for name, value in _USUAL.items():
                    mallopt(name, value)
