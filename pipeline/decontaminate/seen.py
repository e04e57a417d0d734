"""Which numbers of a long stream came before: exact, 8 bytes each, in sorted runs that are merged as they grow."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]


class Seen:
    """Numbers seen so far.

    >>> seen = Seen()
    >>> seen.new(np.array([7, 3, 7], np.uint64)).tolist(), seen.new(np.array([3, 4], np.uint64)).tolist()
    ([True, True, False], [False, True])
    """

    def __init__(self) -> None:
        self._runs: list[Hashes] = []

    def new(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Where each number comes for the first time; afterwards all of them are seen."""
        first = np.zeros(len(hashes), np.bool_)
        values, places = np.unique(hashes, return_index=True)
        for run in self._runs:
            at = np.minimum(np.searchsorted(run, values), len(run) - 1)
            fresh = run[at] != values
            values, places = values[fresh], places[fresh]
        first[places] = True
        if len(values):
            self._runs.append(values)
        # Runs at least double in length from the last to the first: few of them, and each number moves seldom.
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            last = self._runs.pop()
            self._runs[-1] = np.sort(np.concatenate([self._runs[-1], last]))
        return first
