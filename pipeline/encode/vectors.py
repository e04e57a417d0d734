"""Vectors on disk: float16 rows in one .npy file a pool shard, read as if they were one matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import FormatError

#: The bits of a float16 exponent; all of them set: no number.
_EXPONENT = np.uint16(0x7C00)
_SCAN_ROWS = 1 << 16
_CURE = "delete its folder in the store and run again: it is made anew"


class Vectors:
    """The rows of several shards, one after another, as they lie on disk.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/vectors.npy", np.eye(3, dtype=np.float16))
    ...     vectors = Vectors.open([Path(folder, "vectors.npy")])
    ...     len(vectors), vectors.dimension, vectors.take(np.array([2, 0])).tolist()
    (3, 3, [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    """

    def __init__(self, shards: Sequence[npt.NDArray[np.float16]], dimension: int) -> None:
        self.shards, self.dimension = list(shards), dimension
        self.starts = np.cumsum([0, *(len(shard) for shard in self.shards)])

    @classmethod
    def open(cls, paths: Sequence[Path]) -> Vectors:
        """Map the files into memory and look at every value once.

        Raises FormatError where a file is missing, cut short, no float16 matrix, of another dimension than the first,
        or holds what is no number.
        """
        shards = [_map(path) for path in paths]
        for path, shard in zip(paths, shards, strict=True):
            if shard.shape[1] != shards[0].shape[1]:
                cause = f"its vectors have {shard.shape[1]} dimensions, those of {paths[0]} {shards[0].shape[1]}"
                raise FormatError(str(path), cause, "encode all shards with one encoder")
            for start in range(0, len(shard), _SCAN_ROWS):
                bits = shard[start : start + _SCAN_ROWS].view(np.uint16)
                if len(bad := np.flatnonzero((bits & _EXPONENT == _EXPONENT).any(axis=1))):
                    raise FormatError(str(path), f"row {start + bad[0]} holds NaN or infinity", _CURE)
        return cls(shards, shards[0].shape[1] if shards else 0)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def take(self, ids: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """float32 [len(ids), dimension]: the rows of these ids, in this order."""
        wanted = np.asarray(ids, np.int64)
        if len(wanted) and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"ids from 0 to {len(self) - 1}, not {wanted.min()} to {wanted.max()}")
        rows = np.empty((len(wanted), self.dimension), np.float32)
        # In the order in which they lie: a sequential read of the map.
        order = np.argsort(wanted, kind="stable")
        bounds = np.searchsorted(wanted[order], self.starts)
        for shard, first, last, start in zip(self.shards, bounds, bounds[1:], self.starts, strict=False):
            if last > first:
                here = order[first:last]
                rows[here] = shard[wanted[here] - start]
        return rows

    def blocks(self, rows: int) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        """(first id, float32 [at most `rows`, dimension]) over all rows in order."""
        for start in range(0, len(self), rows):
            yield start, self.take(np.arange(start, min(start + rows, len(self))))


def _map(path: Path) -> npt.NDArray[np.float16]:
    try:
        shard = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise FormatError(str(path), "there is no such file", _CURE) from None
    except (ValueError, EOFError, OSError) as error:
        raise FormatError(str(path), f"it is no whole .npy file ({error})", _CURE) from None
    if not isinstance(shard, np.ndarray) or shard.dtype != np.float16 or shard.ndim != 2:
        raise FormatError(str(path), "it holds no float16 matrix", _CURE)
    return shard
