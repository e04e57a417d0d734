"""The first pass of a search by signs: in how many bits two rows differ."""

from __future__ import annotations

import numpy as np
from numba import njit

from pipeline.mine.bits import ones


@njit(nogil=True)
def agreement(left, right, out, lo, hi):  # type: ignore[no-untyped-def]
    """out[i, j] = minus the number of bits in which left[i] and right[j] differ; rows of 64-bit words."""
    for i in range(lo, hi):
        for j in range(right.shape[0]):
            differ = np.uint64(0)
            for w in range(left.shape[1]):
                differ += ones(left[i, w] ^ right[j, w])
            out[i, j] = -np.float32(differ)
