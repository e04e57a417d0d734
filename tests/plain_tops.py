"""The first pass over all rows by plain torch: what the kernel is held against, and what stands in for it without a GPU."""

from __future__ import annotations

from typing import Any

import torch

from pipeline.encode import tiles


def plain_tops(queries: Any, rows: Any) -> tuple[Any, Any]:
    """Sums run backwards, so that scores differ in their last bits from those of a second look."""
    scores = queries.flip(1).float() @ rows.flip(1).float().T
    column = torch.arange(len(rows), dtype=torch.int32) % tiles.TILE
    keys = torch.nn.functional.pad(tiles.keys(scores, column), (0, -len(rows) % tiles.TILE), value=tiles.NONE)
    return tuple(keys.view(len(queries), -1, tiles.TILE).topk(2, dim=2).values.unbind(2))
