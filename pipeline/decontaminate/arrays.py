"""Arrays as files that are mapped into memory: many processes share one copy, and only what is touched is read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def create(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """A new array of zeros on disk, to be filled in place; the file is as long as it will be from the start.

    Its blocks are taken now: on a disk that is full, OSError comes here and not a SIGBUS from the first store into it.
    """
    made = np.asarray(np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape))
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    return made


def opened(path: Path) -> Array:
    """The array of a file. Copy on write: compiled kernels take it as the writable array they were compiled for."""
    return np.asarray(np.load(path, mmap_mode="c"))
