"""The rules that need the whole corpus: they count hashes of all records, 24 bytes each, and never hold texts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.manifest.settings import QualityConfig
from pipeline.normalize import key_hash

Hashes = npt.NDArray[np.uint64]


class CorpusCounts:
    """Collects the hashes of every batch, then says which records share what with how many others."""

    def __init__(self, config: QualityConfig) -> None:
        self.config = config
        self._texts: list[Hashes] = []
        self._positives: list[Hashes] = []
        self._openings: list[Hashes] = []

    def add(self, text_keys: pl.Series, pos_keys: pl.Series) -> None:
        """Take in the match keys of the next records."""
        size = self.config.template_chars
        # A text that is its opening shares it with its own copies only, so it gets a hash of its own kind: 0.
        openings = key_hash(text_keys.str.slice(0, size)).to_numpy().copy()
        openings[(text_keys.str.len_chars() <= size).to_numpy()] = 0
        self._openings.append(openings)
        self._texts.append(key_hash(text_keys).to_numpy())
        self._positives.append(key_hash(pos_keys).to_numpy())

    def shared_openings(self) -> npt.NDArray[np.bool_]:
        """True for records whose text opens like that of more distinct texts than the configured share and number."""
        openings, texts = _joined(self._openings), _joined(self._texts)
        limit = max(self.config.min_template_texts - 1, int(self.config.max_template_share * len(np.unique(texts))))
        shared: npt.NDArray[np.bool_] = (_distinct_partners(openings, texts) > limit) & (openings != 0)
        return shared

    def hub_positives(self) -> npt.NDArray[np.bool_]:
        """True for records whose text_pos answers more distinct texts than configured."""
        return _distinct_partners(_joined(self._positives), _joined(self._texts)) > self.config.max_texts_per_positive


def _joined(parts: list[Hashes]) -> Hashes:
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def _distinct_partners(keys: Hashes, partners: Hashes) -> npt.NDArray[np.int64]:
    """For each row, how many distinct partners its key has in all rows."""
    if not len(keys):
        return np.zeros(0, np.int64)
    order = np.lexsort((partners, keys))
    sorted_keys, sorted_partners = keys[order], partners[order]
    new_key = np.concatenate(([True], sorted_keys[1:] != sorted_keys[:-1]))
    new_pair = new_key | np.concatenate(([True], sorted_partners[1:] != sorted_partners[:-1]))
    group = np.cumsum(new_key) - 1
    counts = np.empty(len(keys), np.int64)
    counts[order] = np.bincount(group, weights=new_pair).astype(np.int64)[group]
    return counts
