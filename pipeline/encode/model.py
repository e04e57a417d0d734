"""Any sentence-transformers model: its own modules on our batches.

The model's tokenizer, transformer, pooling and further modules run as they are; what differs from its `encode` is what
they are fed. Tokens are counted and batches cut by a budget of tokens while the model works on the ones before, and
vectors stay on the device until a chunk of some thousand texts is done.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer

from pipeline.encode.batches import Chunk, Rows, estimated, limited, tokenized
from pipeline.encode.encoder import Encoded, Heard
from pipeline.errors import CurationError, SourceError

if TYPE_CHECKING:
    from pipeline.manifest.encoder import EncoderManifest
    from pipeline.weights import EncoderIdentity

#: Tokens of a batch. More fill a GPU no better; on a CPU fewer stay in its caches.
BUDGET = {"cuda": 65_536, "cpu": 4_096}
#: Chunks that are tokenized ahead of the model.
AHEAD = 2


class ModelEncoder:
    """The `Encoder` over sentence-transformers; bf16 with SDPA or flash attention on CUDA, float32 on a CPU."""

    def __init__(
        self, manifest: EncoderManifest, identity: EncoderIdentity, folder: Path, device: str, *, raw: bool = False
    ) -> None:
        self.name, self.weights, self._raw = manifest.name, identity.weights, raw
        self._device = torch.device(device)
        self._model = _load(manifest.name, folder, self._device)
        self._prompts = {False: identity.prompts.text, True: identity.prompts.text_pos}
        first = self._model[0]
        if identity.max_tokens is not None:
            _limit(manifest.name, first, identity.max_tokens)
        self._tokenizer = first.tokenizer if self._plain(first) else None
        if self._tokenizer is not None:
            limited(self._tokenizer, _most(self._model.max_seq_length))
        self.budget = BUDGET[self._device.type]
        self._lock = threading.Lock()
        self.dimension = int(self._probe().shape[1])

    def encode(self, texts: Sequence[str], document: bool, listen: Heard | None = None) -> npt.NDArray[np.float32]:
        """As in `Encoder`. Where the device's memory runs out, the budget is halved and the work goes on.

        Raises CurationError where the memory does not hold a single text.
        """
        prompt = self._prompts[document]
        vectors = np.empty((len(texts), self.dimension), np.float32)
        # Longest first: what the device's memory cannot hold shows at once.
        order = np.argsort([-len(text) for text in texts], kind="stable")
        size = max(1024, self.budget // 4)
        with self._lock, torch.inference_mode(), ThreadPoolExecutor(1, "tokenize") as ahead:
            waiting: deque[tuple[Rows, Future[Chunk]]] = deque()
            starts = iter(range(0, len(texts), size))
            while True:
                while len(waiting) <= AHEAD and (start := next(starts, None)) is not None:
                    rows = order[start : start + size]
                    waiting.append((rows, ahead.submit(self._chunk, [texts[row] for row in rows], prompt)))
                if not waiting:
                    return vectors
                rows, future = waiting.popleft()
                made: list[tuple[Rows, torch.Tensor]] = []
                chunk = future.result()
                for batch, vector in self._through(chunk):
                    made.append((batch, vector))
                    if listen is not None:
                        listen(Encoded(len(batch), int(chunk.tokens[batch].sum()), int(chunk.cut[batch].sum())))
                done = np.concatenate([batch for batch, _ in made])
                vectors[rows[done]] = torch.cat([vector for _, vector in made]).cpu().numpy()

    def _through(self, chunk: Chunk) -> Iterator[tuple[Rows, torch.Tensor]]:
        """Every batch and its vectors; a batch that is too large is halved until it fits."""
        todo = deque(chunk.batches)
        while todo:
            batch = todo.popleft()
            try:
                yield batch, self._forward(chunk.features(batch))
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    cause = f"its memory does not hold one text of {chunk.tokens[batch[0]]} tokens"
                    cure = "give a smaller max_tokens in the encoder's manifest, or take a larger GPU"
                    raise CurationError(f"encoder {self.name} on {self._device}", cause, cure) from None
                if self._device.type == "cuda":
                    torch.cuda.empty_cache()
                self.budget = max(1, self.budget // 2)
                todo.extendleft([batch[len(batch) // 2 :], batch[: len(batch) // 2]])

    def _forward(self, features: dict[str, Any]) -> torch.Tensor:
        """float32 [rows, dimension] on the device, rows of length 1 unless they are wanted raw."""
        there = {
            key: value.to(self._device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for key, value in features.items()
        }
        vectors = self._model(there)["sentence_embedding"].float()
        return vectors if self._raw else torch.nn.functional.normalize(vectors, dim=1)

    def _chunk(self, texts: list[str], prompt: str) -> Chunk:
        if self._tokenizer is not None:
            return tokenized(self._tokenizer, [prompt + text for text in texts], self.budget)
        return estimated(partial(self._model.preprocess, prompt=prompt or None), texts, self.budget)

    def _plain(self, first: Any) -> bool:
        """Whether the model's input is no more than the ids of its tokens, so that we may prepare it."""
        prompted = any(self._prompts.values())
        return (
            isinstance(first, Transformer)
            and getattr(first.tokenizer, "is_fast", False)
            and not first.processing_kwargs
            and list(first.modality_config) == ["text"]
            # Without padding at all; sentence-transformers lays that out itself.
            and not first.can_flatten_inputs
            and not (prompted and any(not getattr(module, "include_prompt", True) for module in self._model))
        )

    def _probe(self) -> torch.Tensor:
        with torch.inference_mode():
            chunk = self._chunk(["文"], self._prompts[False])
            return self._forward(chunk.features(chunk.batches[0]))


def _load(name: str, folder: Path, device: torch.device) -> SentenceTransformer:
    """From safetensors on this machine; no code that came with the model is run."""
    cuda = device.type == "cuda"
    attempts: list[dict[str, Any]] = [{"dtype": torch.bfloat16 if cuda else torch.float32, "use_safetensors": True}]
    if cuda and importlib.util.find_spec("flash_attn") is not None:
        attempts.insert(0, attempts[0] | {"attn_implementation": "flash_attention_2"})
    for last, told in enumerate(attempts, 1 - len(attempts)):
        try:
            model = SentenceTransformer(
                str(folder), device=str(device), model_kwargs=told, local_files_only=True, trust_remote_code=False
            )
            break
        except Exception as error:
            # Loaders raise whatever their parts raise; a model that cannot take flash attention loads without.
            if last == 0:
                cause = f"{folder} cannot be loaded ({type(error).__name__}: {str(error).splitlines()[0][:200]})"
                cure = "it must be a sentence-transformers or transformers model that runs without code of its own"
                raise SourceError(f"encoder {name}", cause, cure) from None
            logging.getLogger(__name__).info("flash attention does not load: %s", error)
    model.eval()
    if cuda:
        # The transformer in bf16, what comes behind it in float32: pooling sums up many small numbers.
        for module in list(model)[1:]:
            module.float()
        model[0].register_forward_hook(_widened)
    return model


def _widened(module: Any, given: Any, features: dict[str, Any]) -> dict[str, Any]:
    told = features.get("token_embeddings")
    return features | {"token_embeddings": told.float()} if told is not None else features


def _limit(name: str, first: Any, most: int) -> None:
    """Cut texts behind `most` tokens. Raises SourceError where the model has no places for so many."""
    places = getattr(getattr(first, "config", None), "max_position_embeddings", None)
    if places is not None and most > places:
        cause = f"max_tokens is {most:,}, but the model has {places:,} places"
        raise SourceError(f"encoder {name}", cause, f"give at most {places}, or leave max_tokens out")
    first.max_seq_length = most


def _most(length: float | None) -> int | None:
    """A model's own limit; tokenizers without one name an absurd number."""
    return None if length is None or length > 1e6 else int(length)
