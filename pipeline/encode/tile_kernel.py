"""The first pass over all rows as one Triton kernel: a product whose scores never leave the registers.

A plain product writes every score and reads it again, and so waits for memory; this one writes two numbers for each query
and tile of 128 rows, 1/64 of the scores, and so waits for the tensor cores. Rows are multiplied as float16, which is what
they are stored as: as bf16, no faster on tensor cores, each number would lose three more bits and every cosine 0.004.
Import it only where Triton is: `pipeline.encode.tiles.kernel_on` tells.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from pipeline.encode.tiles import NONE, TILE, tiles_of

#: What is tried at the first call on each dimension. 96 KiB of shared memory, so that two of them share a
#: multiprocessor and one multiplies while the other looks for its greatest; the others need 128 and 144 KiB.
CONFIGS = [
    triton.Config({"ASKED": 128, "INNER": 64}, num_warps=4, num_stages=3),
    triton.Config({"ASKED": 128, "INNER": 64}, num_warps=8, num_stages=4),
    triton.Config({"ASKED": 256, "INNER": 64}, num_warps=8, num_stages=3),
]


def tops(queries: Any, rows: Any) -> tuple[Any, Any]:
    """The two greatest keys of each query and tile: `pipeline.encode.tiles.Tops`.

    queries, rows: float16 [n, d] and [m, d] on one GPU, d a multiple of 16 (aligned loads). Returns int32 [n, tiles] twice.
    """
    (n, dimension), m = queries.shape, len(rows)
    tiles = tiles_of(m)
    top, second = (torch.empty((n, tiles), dtype=torch.int32, device=queries.device) for _ in range(2))
    with torch.cuda.device_of(queries):
        tops_kernel[lambda meta: (triton.cdiv(n, meta["ASKED"]) * tiles,)](
            queries, rows, top, second, n, m, tiles, dimension=dimension, TILE=TILE, NOTHING=NONE
        )
    return top, second


@triton.autotune(configs=CONFIGS, key=["dimension"])
@triton.jit
def tops_kernel(  # type: ignore[no-untyped-def]
    queries,
    rows,
    top,
    second,
    n,
    m,
    tiles,
    dimension: tl.constexpr,
    TILE: tl.constexpr,
    NOTHING: tl.constexpr,
    ASKED: tl.constexpr,
    INNER: tl.constexpr,
):
    # All queries meet one tile before the next: a tile comes from memory once, the queries stay in the cache.
    blocks = tl.cdiv(n, ASKED)
    tile = tl.program_id(0) // blocks
    asked = tl.program_id(0) % blocks * ASKED + tl.arange(0, ASKED)
    column = tl.arange(0, TILE)
    place = tile.to(tl.int64) * TILE + column
    inner = tl.arange(0, INNER)
    # What lies beyond the last starts anew at the first: loads need no mask, and what comes of them is left out below.
    left = queries + (asked % n).to(tl.int64)[:, None] * dimension + inner[None, :]
    right = rows + (place % m)[None, :] * dimension + inner[:, None]
    scores = tl.zeros((ASKED, TILE), tl.float32)
    for start in range(0, dimension, INNER):
        if dimension % INNER == 0:
            scores = tl.dot(tl.load(left), tl.load(right), scores)
        else:
            within = start + inner < dimension
            a = tl.load(left, mask=within[None, :], other=0.0)
            scores = tl.dot(a, tl.load(right, mask=within[:, None], other=0.0), scores)
        left += INNER
        right += INNER
    bits = scores.to(tl.int32, bitcast=True)
    keys = ((bits ^ ((bits >> 31) & 0x7FFFFFFF)) & -TILE) | column[None, :]
    keys = tl.where(place[None, :] < m, keys, NOTHING)
    best = tl.max(keys, 1)
    other = tl.max(tl.where(keys == best[:, None], NOTHING, keys), 1)
    at = asked.to(tl.int64) * tiles + tile
    tl.store(top + at, best, mask=asked < n)
    tl.store(second + at, other, mask=asked < n)
