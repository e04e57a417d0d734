"""The nearest passages of every query, out of passages that come block by block and are forgotten again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float32]

#: Queries and passages that meet in one product: 32 MiB of scores.
QUERY_ROWS, BLOCK_ROWS = 1_024, 8_192


class Nearest:
    """The `k` nearest of all passages shown so far, for every query.

    Held are 12 bytes for each of the k places of a query and one block of scores, however many passages there are: the
    whole matrix of queries times passages never exists.

    >>> nearest = Nearest(np.eye(2, dtype=np.float32), 2, "cpu")
    >>> nearest.show(0, np.array([[0.0, 1.0]], np.float32))
    >>> nearest.show(1, np.array([[1.0, 0.0], [0.6, 0.8]], np.float32))
    >>> nearest.found()[1].tolist()
    [[1, 2], [0, 2]]
    """

    def __init__(self, queries: Floats, k: int, device: str) -> None:
        """queries: float32 [queries, dimension], rows of length 1."""
        self._queries = torch.from_numpy(queries).to(device)
        self._scores = torch.full((len(queries), k), -torch.inf, device=device)
        self._places = torch.full((len(queries), k), -1, dtype=torch.int64, device=device)

    def show(self, first: int, passages: Floats) -> None:
        """passages: float32 [passages, dimension], rows of length 1; they stand at `first` and after."""
        k = self._scores.shape[1]
        for start in range(0, len(passages), BLOCK_ROWS):
            block = torch.from_numpy(passages[start : start + BLOCK_ROWS]).to(self._queries.device)
            for row in range(0, len(self._queries), QUERY_ROWS):
                here = slice(row, row + QUERY_ROWS)
                scores = torch.cat([self._scores[here], self._queries[here] @ block.T], dim=1)
                best, at = scores.topk(k, dim=1, sorted=False)
                held = self._places[here].gather(1, at.clamp(max=k - 1))
                self._places[here] = torch.where(at < k, held, at - k + first + start)
                self._scores[here] = best

    def found(self) -> tuple[Floats, npt.NDArray[np.int64]]:
        """Cosines and places, [queries, k], best first; -inf and -1 where there were fewer passages than k."""
        scores, order = self._scores.sort(dim=1, descending=True, stable=True)
        return scores.cpu().numpy(), self._places.gather(1, order).cpu().numpy()
