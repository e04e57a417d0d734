"""What an encoder is to the stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Encoded:
    """What one step of an encoder did: texts and tokens, and how many of the texts were cut at the token limit."""

    texts: int
    tokens: int
    cut: int


Heard = Callable[[Encoded], None]


class Encoder(Protocol):
    """Turns texts into vectors. `weights` is the sha256 that addresses them, `dimension` their length."""

    name: str
    weights: str
    dimension: int

    def encode(self, texts: Sequence[str], document: bool, listen: Heard | None = None) -> npt.NDArray[np.float32]:
        """float32 [len(texts), dimension], each row of length 1 (or 0 where the model finds nothing in a text), if not raw.

        document: encoded as a `text_pos`, where the prompts of the two sides differ. `listen` hears every batch.
        """
        ...
