"""Encode: the vectors of one pool shard."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from pipeline.encode.encoder import Encoded, Encoder
from pipeline.errors import FormatError

if TYPE_CHECKING:
    from pipeline.store import Receipt


@dataclass(frozen=True)
class Progress:
    """How far a shard is: texts of `of`, the tokens the model has read, the seconds since the start."""

    texts: int
    of: int
    tokens: int
    seconds: float

    @property
    def texts_per_second(self) -> float:
        return self.texts / max(self.seconds, 1e-9)

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / max(self.seconds, 1e-9)

    @property
    def left(self) -> float:
        """Seconds still to go. Long texts come first, so this is rather too much than too little."""
        return (self.of - self.texts) / max(self.texts_per_second, 1e-9)


Listener = Callable[[Progress], None]


def encode(shard: Path, out: Path, encoder: Encoder, listen: Listener | None = None) -> Receipt:
    """Write `vectors.npy`: float16 [texts, dimension], positional to the pool shard, rows of length 1.

    shard: a file of POOL_SCHEMA. `listen` hears every batch. A row of length 0 is a text in which the model finds no
    token; the receipt counts these as `blank`, and as `cut` the texts longer than the model reads.

    Raises FormatError where the encoder gives what is no number, or another dimension than it says.
    """
    frame = pl.read_parquet(shard, columns=["text", "document"])
    vectors = np.zeros((frame.height, encoder.dimension), np.float16)
    began = time.perf_counter()
    done = tokens = cut = 0

    def hear(step: Encoded) -> None:
        nonlocal done, tokens, cut
        done, tokens, cut = done + step.texts, tokens + step.tokens, cut + step.cut
        if listen is not None:
            listen(Progress(done, frame.height, tokens, time.perf_counter() - began))

    for document in (False, True):
        rows = np.flatnonzero(frame["document"].to_numpy() == document)
        if not len(rows):
            continue
        texts = frame["text"].gather(rows).to_list()
        made = encoder.encode(texts, document, hear)
        if made.shape != (len(rows), encoder.dimension):
            cause = f"it gives vectors of shape {made.shape}, not {(len(rows), encoder.dimension)}"
            raise FormatError(
                f"encoder {encoder.name}", cause, "look at the model's modules; it must give one vector a text"
            )
        if len(bad := np.flatnonzero(~np.isfinite(made).all(axis=1))):
            cause = f"it gives NaN or infinity for {len(bad)} of {len(rows)} texts, first: {texts[bad[0]][:40]!r}"
            raise FormatError(f"encoder {encoder.name}", cause, "the weights are damaged, or too large for bf16")
        vectors[rows] = made
    np.save(out / "vectors.npy", vectors)
    blank = int((~vectors.any(axis=1)).sum())
    return {"texts": frame.height, "dimension": encoder.dimension, "tokens": tokens, "cut": cut, "blank": blank}
