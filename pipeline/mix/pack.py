"""Which records share a batch, so that no two of one group ever do: by construction, in one pass."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Numbers = npt.NDArray[np.int32]


def pack(groups: Numbers, size: int) -> Numbers:
    """The batch of every record: int32 [n], batches numbered from 0, at most `size` records each.

    `groups` is int32 [n, m]: the group numbers of each record (dense, from 0; a record may name one twice). Records are
    placed in the order given, each in the first batch that has room and lies behind every batch that holds one of its
    groups; so no batch is ever searched, and m records of one group need m batches, as any packing does.

    >>> pack(np.array([[0, 1], [2, 1], [3, 4]], np.int32), 2).tolist()
    [0, 1, 0]
    """
    if not len(groups):
        return np.zeros(0, np.int32)
    batch: Numbers = _pack(np.ascontiguousarray(groups), int(groups.max()) + 1, size)
    return batch


def dense_groups(text: npt.NDArray[np.uint64], pos: npt.NDArray[np.uint64], doc: npt.NDArray[np.uint64]) -> Numbers:
    """Group columns of the record as small numbers, int32 [n, 3].

    text_group and pos_group name groups of match keys and share one space: a positive that is another record's text must
    not meet it. doc_group has a space of its own.
    """
    _, sides = np.unique(np.concatenate([text, pos]), return_inverse=True)
    _, docs = np.unique(doc, return_inverse=True)
    n = len(text)
    count = int(sides.max(initial=-1)) + 1
    return np.stack([sides[:n], sides[n:], docs + count], axis=1).astype(np.int32)


@njit(nogil=True, cache=True)
def _pack(groups: Numbers, count: int, size: int) -> Numbers:
    n = groups.shape[0]
    free = np.zeros(count, np.int32)  # first batch behind all that hold this group
    fill = np.zeros(n + 1, np.int32)
    with_room = np.arange(n + 2).astype(np.int32)  # first batch from here on that is not full, by path halving
    out = np.empty(n, np.int32)
    for i in range(n):
        b = np.int32(0)
        for j in range(groups.shape[1]):
            b = max(b, free[groups[i, j]])
        while with_room[b] != b:
            with_room[b] = with_room[with_room[b]]
            b = with_room[b]
        out[i] = b
        fill[b] += 1
        if fill[b] == size:
            with_room[b] = b + 1
        for j in range(groups.shape[1]):
            free[groups[i, j]] = max(free[groups[i, j]], b + 1)
    return out
