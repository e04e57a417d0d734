"""The nearest of many rows, found without keeping scores: two numbers tell of each query and tile of 128 rows what is needed.

A first pass (`Tops`; on a GPU `pipeline.encode.tile_kernel`) tells the greatest and the second greatest score of every
tile, as keys that name the row of the tile too. As many rows as there are tiles are known by that, and of these the best
`size` that are neither banned nor barred set a border: whatever lies below it is out. Only tiles whose *second* lies above
the border hold something that is not known yet, and these are worked out anew; among rows in no order that is about
size² / (2 tiles) of them for a query, one at a million rows. A tile whose greatest is banned is no other case.

Nothing is missed, whatever the order of sums. What is left out has a float32 product, of the first pass or of the second
look, that is no greater than the border; and a float32 product, summed in any order, lies within a known error of the
truth. For rows a, b of float16 each product a_i b_i has 22 bits, exact in float32. A tensor core adds k of them (4, 8 or 16)
to a sum at a time, cut off at the last bit of the greatest of these k + 1 terms, and so do a CPU's fused steps with k = 1. No
partial sum is greater than |a||b| (Cauchy and Schwarz), for rows of length 1 rounded to float16 less than 1.002, so each
step errs by less than (k + 2) 2^-23 and d / k + 1 steps by less than (1.5 d + 18) 2^-23 for k >= 4. `Search` allows 4 (d + 8)
2^-24. (How tensor cores add: Fasi, Higham, Mikaitis and Pranesh, "Numerical behavior of NVIDIA tensor cores", 2021.)

Of a key the last 7 bits are the row's, so of its score only 17 bits stand there: `low` and `high` hold what it was, exactly.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple, Protocol

from pipeline.encode.tensors import exceeding, pair_products, products

TILE = 128
#: The key of no row.
NONE = -(2**31)
#: Tiles worked out anew for one query, at most: this share of all. More costs about what a product with all rows does.
_ANEW = 1 / 128
#: Where rows may be barred, so many times `size` are looked at to set the border.
_MORE = 4
#: Numbers gathered at a time: 512 MiB of float16.
_GATHERED = 1 << 28
#: Queries and rows that a kernel is tried on, as many as keep a large GPU busy.
_TRIED = 1024, (1 << 15) - 5


class Tops(Protocol):
    """The first pass. float16 [n, d] and [m, d], on one device, to int32 [n, tiles] twice: of each tile the greatest key
    and the second greatest; `NONE` where there is none."""

    def __call__(self, queries: Any, rows: Any, /) -> tuple[Any, Any]: ...


class Bar(NamedTuple):
    """Another view's rows and queries, float16 [m, d] and [n, d], and float64 [n], the cosine above which a row is out."""

    rows: Any
    queries: Any
    limits: Any
    error: float

    def bars(self, of: Any, at: Any) -> Any:
        """bool, of the shape of `at`: whether query `of[i]` may not have the rows `at[i]`."""
        seen = _pairs(self.queries, of, self.rows, at)
        return exceeding(seen, self.limits[of], self.error, self.queries[of], self.rows, at)


class Found(NamedTuple):
    """Findings, one a line: query, row, and a score that is not below what its product was. Of each query: `worst`, the
    score that no product of what is left out exceeds; how many lie `above` its reach; whether it is `settled`."""

    query: Any
    at: Any
    score: Any
    worst: Any
    above: Any
    settled: Any


def by_tiles(
    tops: Tops,
    queries: Any,
    rows: Any,
    size: int,
    banned: tuple[Any, Any],
    bars: Sequence[Bar] = (),
    up_to: Any | None = None,
) -> Found:
    """The best `size` of each query and some more, or of those up to its reach.

    queries, rows: float16 [n, d] and [m, d]. banned: queries and rows, int64. up_to: float32 [n], the reach. Queries that
    are not settled need too many tiles anew, for one because most of their best are barred; nothing is told of them.

    >>> import torch
    >>> def plain(queries, rows):
    ...     return keys(products(queries, rows), 0), torch.full((len(queries), 1), NONE, dtype=torch.int32)
    >>> one = torch.eye(2, dtype=torch.float16)
    >>> none = torch.zeros(0, dtype=torch.int64)
    >>> by_tiles(plain, one, one[1:], 1, (none, none)).score.tolist()[1] >= 1
    True
    """
    import torch

    top, second = tops(queries, rows)
    (n, tiles), m, device = top.shape, len(rows), top.device
    of, at = banned
    greatest = top[of, at // TILE]
    struck = (greatest != NONE) & ((greatest & TILE - 1) == at % TILE)
    top[of[struck], at[struck] // TILE] = NONE

    within = top if up_to is None else top.masked_fill(low(top) > up_to[:, None], NONE)
    best, tile = within.topk(min(tiles, size * (_MORE if bars else 1)), dim=1)
    if bars:
        place = (tile * TILE + (best & TILE - 1)).clamp(max=m - 1)
        for bar in bars:
            best = best.masked_fill(bar.bars(torch.arange(n, device=device), place), NONE)
        best = best.sort(dim=1, descending=True).values
    border = best[:, size - 1] if best.shape[1] >= size else torch.full_like(top[:, 0], NONE)
    # Without a border everything is worked out anew, or left to others.
    border = torch.where(border == NONE, NONE, border - 1)

    anew = second > border[:, None]
    settled = anew.sum(1) <= _ANEW * tiles
    of, tile = ((top > border[:, None]) & ~anew & settled[:, None]).nonzero(as_tuple=True)
    key = top[of, tile]
    parts = [(of, tile * TILE + (key & TILE - 1), key)]
    column = torch.arange(TILE, dtype=torch.int32, device=device)
    of, tile = (anew & settled[:, None]).nonzero(as_tuple=True)
    for some in _steps(len(of), TILE * queries.shape[1]):
        place = tile[some, None] * TILE + column
        score = _pairs(queries, of[some], rows, place.clamp(max=m - 1))
        key = keys(score, column).masked_fill(place >= m, NONE)
        better = key > border[of[some], None]
        parts.append((of[some, None].expand_as(key)[better], place[better], key[better]))
    of, at, key = (torch.cat(column) for column in zip(*parts, strict=True))
    free = ~torch.isin(of * m + at, banned[0] * m + banned[1])
    for bar in bars:
        free &= ~bar.bars(of, at[:, None])[:, 0]
    above = torch.zeros(n, dtype=torch.int64, device=device)
    if up_to is not None:
        over = free & (low(key) > up_to[of])
        above += torch.bincount(of[over], minlength=n)
        free &= ~over
    worst = torch.where(border == NONE, -torch.inf, high(border))
    return Found(of[free], at[free], high(key[free]), worst, above, settled)


def tiles_of(rows: int) -> int:
    return -(-rows // TILE)


def keys(scores: Any, column: Any) -> Any:
    """int32 that ascend with float32 scores; the last bits are the row's number in its tile, `column` (int32)."""
    import torch

    bits = scores.view(torch.int32)
    return ((bits ^ ((bits >> 31) & 0x7FFFFFFF)) & -TILE) | column


def low(key: Any) -> Any:
    """float32: no score with such a key is less."""
    return _score(key & -TILE)


def high(key: Any) -> Any:
    """float32: no score with such a key is greater.

    >>> import torch
    >>> score = torch.tensor([0.3, -0.3])
    >>> key = keys(score, 5)
    >>> bool((low(key) <= score).all() and (score <= high(key)).all() and (high(key) - low(key) < 2**-17).all())
    True
    """
    return _score(key | TILE - 1)


def kernel_on(device: str, dimension: int) -> Tops | None:
    """The first pass as a kernel, where there is one: CUDA from compute capability 8.0, Triton, `dimension` in sixteens."""
    import torch

    fits = device.startswith("cuda") and not dimension % 16 and importlib.util.find_spec("triton") is not None
    return _tried(device, dimension) if fits and torch.cuda.get_device_capability(device) >= (8, 0) else None


@cache
def _tried(device: str, dimension: int) -> Tops | None:
    """The kernel, once its keys agree with a plain product on this device; Triton compiles on first use, and may fail."""
    import torch

    from pipeline.encode.tile_kernel import tops

    draw = torch.Generator(device).manual_seed(0)
    queries, rows = (
        torch.nn.functional.normalize(torch.randn(count, dimension, generator=draw, device=device), dim=1).half()
        for count in _TRIED
    )
    try:
        wrong = disagreement(tops(queries, rows), products(queries, rows))
    except Exception as error:  # whatever a compiler or a driver may raise
        wrong = f"{type(error).__name__}: {error}"
    if wrong is None:
        return tops
    logging.getLogger(__name__).warning("the search works in plain torch, its kernel is not usable here: %s", wrong)
    return None


def disagreement(told: tuple[Any, Any], scores: Any) -> str | None:
    """How a first pass contradicts a product of the same; None where it does not.

    told: see `Tops`. scores: float32 [n, m]. Keys differ by what sums in another order may.
    """
    import torch

    n, m = scores.shape
    scores = torch.nn.functional.pad(scores, (0, -m % TILE), value=-torch.inf).view(n, -1, TILE)
    known = scores.topk(2, dim=2).values
    for name, key, want in zip(("greatest", "second"), told, known.unbind(2), strict=True):
        there = key != NONE
        off = torch.where(there, high(key) - want, 0).abs().max()
        at = scores.gather(2, (key & TILE - 1).long()[:, :, None])[:, :, 0]
        apart = torch.where(there, high(key) - at, 0).abs().max()
        if not (there == want.isfinite()).all() or max(off, apart) > 2**-14:
            return f"the {name} of a tile is off by {off:.1e} and its row by {apart:.1e}"
    return None


def _score(key: Any) -> Any:
    import torch

    return (key ^ ((key >> 31) & 0x7FFFFFFF)).view(torch.float32)


def _pairs(queries: Any, of: Any, rows: Any, at: Any) -> Any:
    """float32 [len(of), w]: query `of[i]` with the rows `at[i]`; at: int64 [len(of), w]."""
    import torch

    parts = [
        pair_products(queries[of[some]], rows[at[some]]) for some in _steps(len(of), at.shape[1] * queries.shape[1])
    ]
    return torch.cat(parts) if parts else torch.zeros(at.shape, device=rows.device)


def _steps(count: int, each: int) -> Iterator[slice]:
    """Slices of `count` things, each `each` numbers, that are gathered at a time."""
    step = max(1, _GATHERED // each)
    return (slice(lo, lo + step) for lo in range(0, count, step))
