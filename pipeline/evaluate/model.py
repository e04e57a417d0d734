"""An encoder of ours as mteb wants to see a model: texts in batches to vectors, and a search of bounded memory.

mteb's own search holds the scores of all queries against 50,000 passages at once (4.5 GB for T2Retrieval) and keeps the
best in Python heaps; this one keeps `Nearest`. What a task measures, and how, stays mteb's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from mteb._create_dataloaders import create_dataloader
from mteb.models import ModelMeta
from mteb.models.model_meta import ScoringFunction
from mteb.similarity_functions import cos_sim, pairwise_cos_sim
from mteb.types import PromptType

from pipeline.encode import Encoded, Encoder, device_of, open_encoder
from pipeline.errors import CurationError
from pipeline.evaluate.search import Floats, Nearest
from pipeline.manifest.encoder import PackageModel, Prompts
from pipeline.train.base import Base
from pipeline.weights import EncoderIdentity, model_folder, usual_prompt

#: Passages that are encoded before they are compared: the texts and vectors of so many are in memory.
PASSAGES = 1 << 14
#: Texts that mteb hands over at a time; the encoder cuts batches of its own.
BATCH = 1024
Ranking = dict[str, dict[str, float]]


class EvaluatedModel:
    """Both of mteb's protocols for a model: `encode` with cosine similarity, and `index` with `search`.

    `query` encodes queries and documents with the prompts of either side, `plain` texts that are neither. `speed` sums
    up texts, distinct texts, tokens and seconds.
    """

    def __init__(self, meta: Any, query: Encoder, plain: Encoder, device: str = "cpu") -> None:
        self.mteb_model_meta = meta
        self._query, self._plain, self._device = query, plain, device
        self._corpus: Any = None
        self.speed: dict[str, float] = {"texts": 0, "distinct": 0, "tokens": 0, "seconds": 0.0}

    def encode(self, inputs: Any, *, prompt_type: Any = None, **_: Any) -> Floats:
        """float32 [texts, dimension], as the model's modules leave them; equal texts are encoded once.

        Raises CurationError where the model gives NaN or infinity.
        """
        return self._vectors([text for batch in inputs for text in batch["text"]], prompt_type)

    def _vectors(self, given: list[str], side: Any) -> Floats:
        texts = pa.array(given, pa.large_string()).dictionary_encode()
        encoder = self._plain if side is None else self._query
        began = time.perf_counter()
        distinct = encoder.encode(texts.dictionary.to_pylist(), side == PromptType.document, self._hear)
        self.speed["seconds"] += time.perf_counter() - began
        self.speed["texts"] += len(texts)
        if not np.isfinite(distinct).all():
            cause = "it gives NaN or infinity for some texts"
            raise CurationError(f"model {encoder.name}", cause, "the weights are damaged, or too large for bf16")
        vectors: Floats = distinct[texts.indices.to_numpy()]
        return vectors

    def similarity(self, one: Any, other: Any) -> Any:
        return cos_sim(one, other)

    def similarity_pairwise(self, one: Any, other: Any) -> Any:
        return pairwise_cos_sim(one, other)

    def index(self, corpus: Any, **_: Any) -> None:
        """Passages are read, encoded and forgotten while a search runs."""
        self._corpus = corpus

    def search(
        self, queries: Any, *, top_k: int, top_ranked: Mapping[str, Sequence[str]] | None = None, **task: Any
    ) -> Ranking:
        """The cosines of the `top_k` nearest passages of each query, or of those that `top_ranked` gives it.

        Held: the vectors of all queries, those of PASSAGES passages, and top_k places a query; with `top_ranked` the
        vectors of all passages that it names.
        """
        corpus, self._corpus = self._corpus, None
        # mteb's own loader joins instructions, or the turns of a conversation, to a query.
        loader = create_dataloader(
            queries, task_metadata=task["task_metadata"], prompt_type=PromptType.query, batch_size=BATCH
        )
        asked = _unit(self.encode(loader, prompt_type=PromptType.query))
        names, ids = np.array(corpus["id"][:], object), queries["id"][:]
        if top_ranked is not None:
            return self._reranked(ids, asked, corpus, names, top_ranked, top_k)
        nearest = Nearest(asked, min(top_k, len(names)), self._device)
        for start in range(0, len(names), PASSAGES):
            nearest.show(start, self._passages(corpus[start : start + PASSAGES]))
        scores, places = nearest.found()
        rows = zip(ids, names[places], scores, strict=True)
        return {query: dict(zip(found.tolist(), told.tolist(), strict=True)) for query, found, told in rows}

    def _reranked(
        self,
        queries: Sequence[str],
        asked: Floats,
        corpus: Any,
        names: Any,
        top_ranked: Mapping[str, Sequence[str]],
        top_k: int,
    ) -> Ranking:
        place = {name: at for at, name in enumerate(names)}
        wanted = sorted({place[name] for query in queries for name in top_ranked.get(query, ())})
        row = {int(at): n for n, at in enumerate(wanted)}
        starts = range(0, len(wanted), PASSAGES)
        parts = [self._passages(corpus[wanted[start : start + PASSAGES]]) for start in starts]
        vectors = np.concatenate(parts) if parts else asked[:0]
        found: Ranking = {}
        for query, vector in zip(queries, asked, strict=True):
            given = list(top_ranked.get(query, ()))
            scores = vectors[[row[place[name]] for name in given]] @ vector
            best = np.argsort(-scores, kind="stable")[:top_k]
            found[query] = {given[at]: float(scores[at]) for at in best}
        return found

    def _passages(self, rows: Mapping[str, Sequence[str]]) -> Floats:
        """Title and text as one, as mteb joins them; float32 [rows, dimension], of length 1."""
        titles = rows.get("title") or [""] * len(rows["text"])
        texts = [f"{title or ''} {text}".strip() for title, text in zip(titles, rows["text"], strict=True)]
        return _unit(self._vectors(texts, PromptType.document))

    def _hear(self, step: Encoded) -> None:
        self.speed["distinct"] += step.texts
        self.speed["tokens"] += step.tokens


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit


def open_model(base: Base, identity: EncoderIdentity, name: str) -> EvaluatedModel:
    """The model that `base` names, ready for mteb; vectors are raw, so that scores are those mteb gives it.

    Where the prompts are the model's own, a text that is neither query nor document takes its usual one, as
    sentence-transformers has it; where a manifest gives them, that of a query.

    Raises SourceError where it cannot be loaded.
    """
    query = plain = open_encoder(base.manifest, base.home, raw=True)
    if base.manifest.prompts is None and not isinstance(base.manifest.source, PackageModel):
        usual = usual_prompt(model_folder(base.manifest, base.home))
        if usual != identity.prompts.text:
            own = base.manifest.model_copy(update={"prompts": Prompts(text=usual, text_pos=usual)})
            plain = open_encoder(own, base.home, raw=True)
    told = {"name": name, "revision": identity.revision or identity.weights, "embed_dim": query.dimension}
    meta = ModelMeta.create_empty({**told, "similarity_fn_name": ScoringFunction.COSINE})
    return EvaluatedModel(meta, query, plain, device_of())


def trained_on(base: Base, name: str) -> set[str]:
    """The benchmarks, by mteb's names, that the model's training data touches: scores on them are no test.

    Out of the receipt of a training of ours, or mteb's list of models.
    """
    receipt = Path(base.told) / "training/receipt.json"
    if receipt.is_file():
        return set(json.loads(receipt.read_bytes()).get("training_datasets", {}))
    from mteb import get_model_meta

    try:
        return set(get_model_meta(name).training_datasets or ())
    except KeyError:
        return set()
