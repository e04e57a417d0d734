"""Memory that a stage frees stays with its process until the stage has ended: a page used before costs nothing.

Stages work in batches and take the same large arrays again and again. Left alone, glibc gives an array's pages back to
the system when it is freed, and the next one gets new pages: zeroed, and on a virtual machine often fetched from the host,
which took a fifth of all time. Whoever runs stages hands free memory back between them (`pipeline.cost.give_back`).
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import cache

import pyarrow as pa

#: Of malloc.h: how much may lie free at the end of the heap, and how many arrays may have a mapping of their own.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


@cache
def keep_freed() -> None:
    """From now on, for the whole process; Arrow uses the same heap. Of glibc alone: elsewhere nothing changes."""
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
        mallopt(_MMAP_MAX, 0)
        pa.set_memory_pool(pa.system_memory_pool())
