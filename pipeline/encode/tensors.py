"""Stored vectors as tensors on a device."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

_PUT_ROWS = 1 << 15
#: Numbers gathered at a time for exact products: 512 MiB of float64.
_GATHERED = 1 << 26


class Rows(Protocol):
    """Rows by number: `pipeline.encode.Vectors`."""

    def take(self, ids: npt.NDArray[np.int64], /) -> npt.NDArray[np.float32]: ...


def put(vectors: Rows, ids: npt.NDArray[np.int64], dimension: int, device: str) -> Any:
    """float16 [len(ids), dimension] on the device."""
    import torch

    there = torch.empty((len(ids), dimension), dtype=torch.float16, device=device)
    for start in range(0, len(ids), _PUT_ROWS):
        rows = vectors.take(ids[start : start + _PUT_ROWS]).astype(np.float16)
        there[start : start + len(rows)] = torch.from_numpy(rows).to(device)
    return there


def products(left: Any, right: Any) -> Any:
    """float32 [n, m]: the product of float16 rows. On a GPU nothing is rounded between what goes in and the sums."""
    import torch

    if left.device.type == "cuda":
        return torch.mm(left, right.T, out_dtype=torch.float32)
    return left.float() @ right.float().T


def pair_products(left: Any, right: Any) -> Any:
    """float32 [n, w]: float16 row i of `left` [n, d] with each of its own rows, `right[i]` of [n, w, d]."""
    import torch

    one = left[:, :, None]
    if left.device.type == "cuda":
        return torch.bmm(right, one, out_dtype=torch.float32)[:, :, 0]
    return torch.bmm(right.float(), one.float())[:, :, 0]


def exceeding(seen: Any, limits: Any, error: float, left: Any, right: Any, at: Any = None, where: Any = None) -> Any:
    """bool [n, w]: whether the exact product, rounded to float32, exceeds the limit of its row.

    seen: float32 products [n, w], each within `error` of the truth; those nearer to their limit are worked out in float64,
    `where` it matters. limits: float64 [n]. left, right: float16 [n, d], [m, d]. at: int64 [n, w], the rows of `right` that
    were met; by default all.
    """
    import torch

    off = seen - limits.float()[:, None]
    over = off > error
    near = off.abs_() <= error
    row, column = (near if where is None else near & where).nonzero(as_tuple=True)
    step = max(1, _GATHERED // left.shape[1])
    for lo in range(0, len(row), step):
        i, j = row[lo : lo + step], column[lo : lo + step]
        other = right[j if at is None else at[i, j]]
        exact = torch.linalg.vecdot(left[i].double(), other.double()).float()
        over[i, j] = exact > limits[i]
    return over
