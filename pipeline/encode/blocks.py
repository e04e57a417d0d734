"""Many queries against many vectors, block by block, with an answer that no rounding can change.

The stored rows are float16. A product of two such numbers is a multiple of 2^-48 and, of rows of length 1, the sum stays
about 1: float64 holds every such cosine exactly, in whatever order it is summed. float32 is fast and off by a little, at
most `slack`; so it sorts out what is clear, and the few scores within the slack are worked out again, exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from pipeline.encode.tensors import products, put
from pipeline.encode.vectors import Vectors

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

#: Queries and candidates of one block of scores: 128 MiB of float32.
QUERY_ROWS, BLOCK_ROWS = 4_096, 8_192
_EXACT_ROWS = 1 << 15


def exact(vectors: Vectors, left: Ids, right: Ids) -> npt.NDArray[np.float64]:
    """float64 [n]: the cosine of rows left[i] and right[i], without any rounding."""
    cosines = np.empty(len(left), np.float64)
    for start in range(0, len(left), _EXACT_ROWS):
        part = slice(start, start + _EXACT_ROWS)
        pair = (vectors.take(ids[part]).astype(np.float64) for ids in (left, right))
        np.einsum("ij,ij->i", *pair, out=cosines[part])
    return cosines


def slack(dimension: int, device: str) -> float:
    """The most by which a float32 cosine of float16 rows can be off: half a unit of 1 for every sum, and a margin.

    A GPU adds in its own order and cuts off where a CPU rounds.
    """
    return dimension * 2.0**-24 * (4 if device.startswith("cuda") else 1.1)


class Candidates:
    """Rows of `vectors` to be compared with; on a GPU they are moved there once (2 bytes a number)."""

    def __init__(self, vectors: Vectors, ids: Ids, device: str) -> None:
        self._vectors, self._ids, self._device = vectors, ids, device
        self._slack = slack(vectors.dimension, device)
        self._there: Any = put(vectors, ids, vectors.dimension, device) if device.startswith("cuda") else None

    def count_above(self, queries: Floats, of: Ids, scores: npt.NDArray[np.float64]) -> Ids:
        """int64 [n]: how many candidates have a cosine with queries[of[i]] that is greater than scores[i], exactly.

        queries: float32 [at most QUERY_ROWS, dimension], float16 by value.
        """
        if self._there is not None:
            return count_on_device(self._there, queries, of, scores, self._slack)
        above = np.zeros(len(of), np.int64)
        for start in range(0, len(self._ids), BLOCK_ROWS):
            block = self._vectors.take(self._ids[start : start + BLOCK_ROWS])
            _count(queries @ block.T, queries, block, of, scores, self._slack, above)
        return above


@njit(nogil=True, cache=True)
def _count(
    products: Floats,
    queries: Floats,
    block: Floats,
    of: Ids,
    scores: npt.NDArray[np.float64],
    slack: float,
    above: Ids,
) -> None:
    for i in range(len(of)):
        row = products[of[i]]
        surely, perhaps = np.float32(scores[i] + slack), np.float32(scores[i] - slack)
        clear = near = 0
        for j in range(len(row)):
            clear += row[j] > surely
            near += row[j] >= perhaps
        above[i] += clear
        if near == clear:
            continue
        for j in range(len(row)):
            if perhaps <= row[j] <= surely:
                cosine = 0.0
                for k in range(block.shape[1]):
                    cosine += np.float64(queries[of[i], k]) * np.float64(block[j, k])
                above[i] += cosine > scores[i]


def count_on_device(there: Any, queries: Floats, of: Ids, scores: npt.NDArray[np.float64], slack: float) -> Ids:
    """As `Candidates.count_above`, in torch: there is float16 [candidates, dimension] on its device."""
    import torch

    device = there.device
    asked = torch.from_numpy(queries).to(device, torch.float16)
    rows, exactly = torch.from_numpy(of).to(device), torch.from_numpy(scores).to(device)
    above = torch.zeros(len(of), dtype=torch.int64, device=device)
    for start in range(0, len(there), BLOCK_ROWS):
        block = there[start : start + BLOCK_ROWS]
        cosines = products(asked, block)[rows].double()
        clear = cosines > (exactly + slack)[:, None]
        above += clear.sum(1)
        pair, column = ((cosines >= (exactly - slack)[:, None]) & ~clear).nonzero(as_tuple=True)
        for first in range(0, len(pair), _EXACT_ROWS):
            part = slice(first, first + _EXACT_ROWS)
            one, other = asked[rows[pair[part]]].double(), block[column[part]].double()
            greater = (one * other).sum(1) > exactly[pair[part]]
            above.index_add_(0, pair[part], greater.long())
    counted: Ids = above.cpu().numpy()
    return counted
