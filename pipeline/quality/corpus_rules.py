"""The rules that need the whole corpus: they count hashes of all records, 24 bytes each, and never hold texts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.frequent import count_distinct, over
from pipeline.manifest.settings import QualityConfig
from pipeline.normalize import key_hash

Hashes = npt.NDArray[np.uint64]


class CorpusCounts:
    """Collects the hashes of every batch of `rows` records, then says which share what with how many others."""

    def __init__(self, config: QualityConfig, rows: int) -> None:
        self.config = config
        self._texts, self._positives, self._openings = (np.empty(rows, np.uint64) for _ in range(3))
        self._rows = 0

    def add(self, text_keys: pl.Series, pos_keys: pl.Series) -> None:
        """Take in the match keys of the next records."""
        size = self.config.template_chars
        here = slice(self._rows, self._rows + len(text_keys))
        self._openings[here] = key_hash(text_keys.str.slice(0, size)).to_numpy()
        # A text that is its opening shares it with its own copies only, so it gets a hash of its own kind: 0.
        self._openings[here][(text_keys.str.len_chars() <= size).to_numpy()] = 0
        self._texts[here] = key_hash(text_keys).to_numpy()
        self._positives[here] = key_hash(pos_keys).to_numpy()
        self._rows = here.stop

    def shared_openings(self) -> npt.NDArray[np.bool_]:
        """True for records whose text opens like that of more distinct texts than the configured share and number."""
        share = int(self.config.max_template_share * count_distinct(self._texts))
        limit = max(self.config.min_template_texts - 1, share)
        return _many_partners(self._openings, self._texts, limit)

    def hub_positives(self) -> npt.NDArray[np.bool_]:
        """True for records whose text_pos answers more distinct texts than configured."""
        return _many_partners(self._positives, self._texts, self.config.max_texts_per_positive)


def _many_partners(keys: Hashes, partners: Hashes, limit: int) -> npt.NDArray[np.bool_]:
    """True for rows whose key has more than `limit` distinct partners in all rows; never for the key 0."""
    # Only a key of more than `limit` rows can, and there are few of those.
    rows = np.flatnonzero(over(keys, limit) & (keys != 0))
    many = np.zeros(len(keys), np.bool_)
    many[rows] = _distinct_partners(keys[rows], partners[rows]) > limit
    return many


def _distinct_partners(keys: Hashes, partners: Hashes) -> npt.NDArray[np.int64]:
    """For each row, how many distinct partners its key has in all rows."""
    order = np.lexsort((partners, keys))
    sorted_keys, sorted_partners = keys[order], partners[order]
    new_key = np.append(True, sorted_keys[1:] != sorted_keys[:-1])[: len(keys)]
    new_pair = new_key | np.append(True, sorted_partners[1:] != sorted_partners[:-1])[: len(keys)]
    group = np.cumsum(new_key) - 1
    counts = np.empty(len(keys), np.int64)
    counts[order] = np.bincount(group, weights=new_pair).astype(np.int64)[group]
    return counts
