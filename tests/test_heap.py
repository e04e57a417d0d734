"""Freed memory stays with the process inside the block, and only there."""

from __future__ import annotations

import ctypes

import numpy as np
import pyarrow as pa
import pytest

from pipeline.cost import give_back, memory
from pipeline.heap import freed_kept

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library than glibc")
SIZE = 64 << 20


def is_kept() -> bool:
    """Does the memory of a large array stay when the array has gone?"""
    give_back()
    before = memory()
    taken = np.ones(SIZE, np.uint8)
    assert memory() - before > SIZE // 2
    del taken
    return memory() - before > SIZE // 2


def test_freed_memory_is_kept_inside_and_nothing_of_it_after() -> None:
    give_back()
    before, pool = memory(), pa.default_memory_pool().backend_name
    with freed_kept():
        assert is_kept()
        assert pa.default_memory_pool().backend_name == "system"
    give_back()
    assert memory() - before < SIZE // 2
    assert not is_kept()
    assert pa.default_memory_pool().backend_name == pool


def test_the_last_user_ends_it_whatever_happens() -> None:
    pool = pa.default_memory_pool().backend_name

    @freed_kept()
    def failing() -> None:
        with freed_kept():
            pass
        assert is_kept()
        assert pa.default_memory_pool().backend_name == "system"
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        failing()
    assert not is_kept()
    assert pa.default_memory_pool().backend_name == pool
