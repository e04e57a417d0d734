"""Stored vectors as tensors on a device."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

_PUT_ROWS = 1 << 15


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
