"""The nearest of many rows on a GPU: in plain torch, the same on any device that torch has, or by a kernel where one fits.

A block of queries meets a block of rows in one float16 product with float32 sums. One pass over the product writes the
greatest score of every tile of 128 columns; only tiles that hold something better than the worst of a query's list so far
are looked into, and those are few once the lists are full. Among many rows, a kernel that never writes the scores takes the
place of both (`pipeline.encode.tiles`); queries that it does not settle take the plain way. What comes out is what a float32
product can tell: a list that holds the best and some more, and a score that nothing left out exceeds. Exact scores settle
the rest (`cosines`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.encode import tiles
from pipeline.encode.tensors import Rows, exceeding, products, put

Matrix = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]

#: Rows that meet a block of queries at a time: with 1,024 queries 256 MiB of scores.
COLUMNS = 1 << 16
#: Numbers gathered at a time for exact scores: 512 MiB of float64.
_GATHERED = 1 << 26
#: Keys of a first pass over all rows at a time: 512 MiB twice.
_KEYS = 1 << 27
#: With fewer tiles for each row of a list a first pass leaves too many of them to be worked out anew.
_FEW = 16
#: Rows stay on the device up to this share of its free memory; else they are sent again for every block of queries.
_SHARE = 0.6


class Best(NamedTuple):
    """Of each query: places `at` (int64 [n, size], in no order, -1 where there are fewer); `worst`, the score that none
    left out exceeds; `above`, how many lie above its reach."""

    at: Ids
    worst: Scores
    above: Ids


class Barred(NamedTuple):
    """Another view's rows and queries, the exact cosine (float64 [n]) above which it bars a row, and how far a float32
    product may lie from the truth."""

    rows: Nearest
    queries: Matrix
    limits: npt.NDArray[np.float64]
    error: float

    def on(self, device: str) -> tuple[Any, Any, float]:
        """The queries as float16, the limits, and the error."""
        import torch

        return _half(self.queries, device), torch.from_numpy(self.limits).to(device), self.error


class _Asked(NamedTuple):
    """What `Nearest.best` is asked."""

    queries: Matrix
    size: int
    offsets: Ids
    items: Ids
    barred: Sequence[Barred]
    reach: Scores | None

    def some(self, rows: Ids) -> _Asked:
        """The same for some of the queries, in ascending order."""
        banned = np.diff(self.offsets)
        taken = np.isin(np.arange(len(banned)), rows)
        return _Asked(
            self.queries[rows],
            self.size,
            np.concatenate([np.zeros(1, np.int64), np.cumsum(banned[rows])]),
            self.items[np.repeat(taken, banned)],
            [Barred(one.rows, one.queries[rows], one.limits[rows], one.error) for one in self.barred],
            None if self.reach is None else self.reach[rows],
        )

    def banned(self) -> tuple[Ids, Ids]:
        """Queries and their places, ascending by place."""
        order = np.argsort(self.items, kind="stable")
        return np.repeat(np.arange(len(self.queries)), np.diff(self.offsets))[order], self.items[order]


class Nearest:
    """Rows to be searched, on a device. tops: a first pass of `pipeline.encode.tiles`; by default the kernel, if it fits.

    >>> class Eye:
    ...     def take(self, ids): return np.eye(4, dtype=np.float32)[ids]
    >>> rows = Nearest(Eye(), np.arange(4), 4, "cpu")
    >>> rows.best(np.eye(4, dtype=np.float32)[[2]], 1, np.array([0, 0]), np.zeros(0, np.int64)).at.tolist()
    [[2]]
    """

    def __init__(
        self,
        vectors: Rows,
        ids: Ids,
        dimension: int,
        device: str,
        *,
        resident: bool | None = None,
        tops: tiles.Tops | None = None,
    ) -> None:
        self._vectors, self._ids, self._dimension, self._device, self._tops = vectors, ids, dimension, device, tops
        fits = 2 * len(ids) * dimension <= _SHARE * _free(device) if resident is None else resident
        self._there = put(vectors, ids, dimension, device) if fits else None
        #: Queries that a first pass met, and those of them that it did not settle.
        self.met = self.unsettled = 0

    def __len__(self) -> int:
        return len(self._ids)

    def best(
        self,
        queries: Matrix,
        size: int,
        offsets: Ids,
        items: Ids,
        barred: Sequence[Barred] = (),
        *,
        reach: Scores | None = None,
    ) -> Best:
        """The best `size` of each query, or of those up to its `reach`.

        queries: float32 [n, dimension], float16 by value. offsets, items: the places banned for query i are
        `items[offsets[i]:offsets[i + 1]]`.
        """
        asked = _Asked(queries, size, offsets, items, barred, reach)
        there = all(one._there is not None for one in (self, *(bar.rows for bar in barred)))
        count = tiles.tiles_of(len(self))
        if not there or not len(queries) or not count or count < _FEW * size:
            return self._by_products(asked)
        tops = self._tops or tiles.kernel_on(self._device, self._dimension)
        if tops is None:
            return self._by_products(asked)
        step = max(1, _KEYS // count)
        rows = (np.arange(lo, min(lo + step, len(queries))) for lo in range(0, len(queries), step))
        parts = [self._by_tiles(tops, asked.some(some)) for some in rows]
        return Best(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _by_tiles(self, tops: tiles.Tops, asked: _Asked) -> Best:
        import torch

        n, device = len(asked.queries), self._device
        owners, places = (torch.from_numpy(part).to(device) for part in asked.banned())
        found = tiles.by_tiles(
            tops,
            _half(asked.queries, device),
            self._there,
            asked.size,
            (owners, places),
            [tiles.Bar(one.rows._there, *one.on(device)) for one in asked.barred],
            None if asked.reach is None else torch.from_numpy(asked.reach).to(device),
        )
        taken = _Taken(n, asked.size, found.worst)
        taken.add(found.query, found.at, found.score)
        best = Best(*taken.best(), found.above.cpu().numpy())
        unsettled = np.flatnonzero(~found.settled.cpu().numpy())
        self.met += n
        self.unsettled += len(unsettled)
        if len(unsettled):
            best.at[unsettled], best.worst[unsettled], best.above[unsettled] = self._by_products(asked.some(unsettled))
        return best

    def _by_products(self, asked: _Asked) -> Best:
        import torch

        n, device = len(asked.queries), self._device
        taken = _Taken(n, asked.size, torch.full((n,), -torch.inf, device=device))
        above = torch.zeros(n, dtype=torch.int64, device=device)
        queries = _half(asked.queries, device)
        others = [(one.rows, *one.on(device)) for one in asked.barred]
        up_to = None if asked.reach is None else torch.from_numpy(asked.reach).to(device)[:, None]
        owners, places = asked.banned()
        for first in range(0, len(self), COLUMNS):
            scores = products(queries, self._block(first))
            lo, hi = np.searchsorted(places, [first, first + scores.shape[1]])
            struck = (torch.from_numpy(part[lo:hi]).to(device) for part in (owners, places - first))
            scores[tuple(struck)] = -torch.inf
            for rows, other, most, error in others:
                block = rows._block(first)
                # What lies below the worst of its list is out anyway.
                out = exceeding(products(other, block), most, error, other, block, where=scores > taken.worst[:, None])
                scores.masked_fill_(out, -torch.inf)
            if up_to is not None:
                over = scores > up_to
                above += over.sum(1)
                scores.masked_fill_(over, -torch.inf)
            taken.block(first, scores)
        return Best(*taken.best(), above.cpu().numpy())

    def cosines(self, left: Matrix, at: Ids) -> Scores:
        """float32 [n, m]: row i of `left` with each of the rows `at[i]`, exact and rounded once; 0 where `at` < 0."""
        import torch

        out = np.zeros(at.shape, np.float32)
        if not at.size or not len(self):
            return out
        step = max(1, _GATHERED // (at.shape[1] * left.shape[1]))
        for lo in range(0, len(at), step):
            some = np.maximum(at[lo : lo + step], 0)
            if self._there is None:
                rows = torch.from_numpy(self._vectors.take(self._ids[some.ravel()])).to(self._device)
                rows = rows.view(*some.shape, left.shape[1])
            else:
                rows = self._there[torch.from_numpy(some).to(self._device)]
            one = torch.from_numpy(left[lo : lo + step]).to(self._device).double()
            # Float64 holds every such sum exactly, so its order does not matter. Adding zero makes -0.0 plain.
            told = torch.bmm(rows.double(), one[:, :, None])[:, :, 0].float() + 0.0
            out[lo : lo + step] = told.cpu().numpy()
        out[at < 0] = 0
        return out

    def _block(self, first: int) -> Any:
        if self._there is not None:
            return self._there[first : first + COLUMNS]
        return _half(self._vectors.take(self._ids[first : first + COLUMNS]), self._device)


class _Taken:
    """Lists of the best so far, as triples of row, score and place that are cut to `size` a row now and then.

    worst: float32 [n], a score that nothing left out exceeds.
    """

    def __init__(self, n: int, size: int, worst: Any) -> None:
        import torch

        self._n, self._size, self.worst = n, size, worst
        self._row, self._at = (torch.zeros(0, dtype=torch.int64, device=worst.device) for _ in range(2))
        self._score = torch.zeros(0, dtype=torch.float32, device=worst.device)

    def block(self, first: int, scores: Any) -> None:
        """Take what is better than the worst of its list; scores: float32 [n, width], the first of place `first`."""
        import torch

        n, width = scores.shape
        scores = torch.nn.functional.pad(scores, (0, -width % tiles.TILE), value=-torch.inf)
        scores = scores.view(n, scores.shape[1] // tiles.TILE, tiles.TILE)
        greatest = scores.amax(2)
        # As many tiles hold one as good each, so what lies below the last of them is out.
        known = greatest if greatest.shape[1] >= self._size else scores.view(n, -1)
        if known.shape[1] >= self._size:
            last = known.topk(self._size, dim=1).values[:, -1]
            self.worst = torch.maximum(self.worst, torch.nextafter(last, torch.full_like(last, -torch.inf)))
        row, tile = (greatest > self.worst[:, None]).nonzero(as_tuple=True)
        inside = scores[row, tile]
        which, column = (inside > self.worst[row, None]).nonzero(as_tuple=True)
        self.add(row[which], first + tile[which] * tiles.TILE + column, inside[which, column])
        if len(self._row) > 4 * n * self._size:
            self._cut()

    def add(self, row: Any, at: Any, score: Any) -> None:
        """Take these whatever they are."""
        import torch

        self._row = torch.cat([self._row, row])
        self._at = torch.cat([self._at, at])
        self._score = torch.cat([self._score, score])

    def best(self) -> tuple[Ids, Scores]:
        """The lists, and the worst of each."""
        import torch

        places = self._cut()
        at = torch.full((self._n, self._size), -1, dtype=torch.int64, device=self._at.device)
        at[self._row, places] = self._at
        return at.cpu().numpy(), self.worst.cpu().numpy()

    def _cut(self) -> Any:
        """Cut every list to `size`; the place of each triple in its list."""
        import torch

        order = torch.argsort(self._score, descending=True, stable=True)
        order = order[torch.argsort(self._row[order], stable=True)]
        row = self._row[order]
        ends = torch.cumsum(torch.bincount(row, minlength=self._n), 0)
        starts = torch.cat([ends.new_zeros(1), ends[:-1]])
        places = torch.arange(len(row), device=row.device) - starts[row]
        score = self._score[order]
        last = places == self._size - 1
        self.worst[row[last]] = torch.maximum(self.worst[row[last]], score[last])
        stay = places < self._size
        self._row, self._score, self._at = row[stay], score[stay], self._at[order][stay]
        return places[stay]


def _half(rows: Matrix, device: str) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(rows)).to(device, torch.float16)


def _free(device: str) -> float:
    import torch

    return float(torch.cuda.mem_get_info(device)[0]) if device.startswith("cuda") else np.inf
