"""Encoders built here: a BERT of random weights with every file of a real model, and one of ten lines without torch."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.encode import Encoded
from pipeline.encode.encoder import Heard
from pipeline.manifest.encoder import EncoderManifest

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
OPEN = {"spdx": "CC0-1.0", "commercial": "allowed", "redistribute": "allowed", "confidence": "high", "basis": "own"}


def tiny_model(
    folder: Path,
    texts: Iterable[str],
    *,
    seed: int = 0,
    pooling: str | tuple[str, ...] = "mean",
    hidden: int = 32,
    layers: int = 2,
    max_tokens: int = 64,
    prompts: dict[str, str] | None = None,
    more: Any = (),
) -> Path:
    """Save a sentence-transformers model with the characters of `texts` for vocabulary; `more` modules at its end."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(seed)
    letters = sorted({letter for text in texts for letter in text.lower() if not letter.isspace()})
    vocabulary = [*SPECIAL, *letters, *(f"##{x}" for x in letters if x.isascii() and x.isalnum())]
    bare = folder.with_name(f"{folder.name}-bare")
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=max(2, hidden // 64),
        intermediate_size=4 * hidden,
        max_position_embeddings=max_tokens,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(bare)
    # A one-piece vocabulary: the tokenizer's own file, which BertTokenizerFast reads.
    tokenizer = BertTokenizerFast(
        vocab={word: place for place, word in enumerate(vocabulary)}, do_lower_case=True, model_max_length=max_tokens
    )
    tokenizer.save_pretrained(bare)
    first = Transformer(str(bare))
    model = SentenceTransformer(
        modules=[first, Pooling(first.get_embedding_dimension(), pooling), *more], device="cpu", prompts=prompts
    )
    model.save(str(folder), create_model_card=False)
    return folder


def tiny_cross(folder: Path, texts: list[str], *, labels: int = 1) -> Path:
    """A BERT of random weights with a head for pairs, and weights large enough that scores differ."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    bare = tiny_model(folder.with_name("plain"), texts, hidden=16, layers=1, max_tokens=128)
    told = BertConfig.from_pretrained(bare, num_labels=labels)
    torch.manual_seed(0)
    model = BertForSequenceClassification(told)
    torch.nn.init.normal_(model.classifier.weight, std=2.0)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(bare).save_pretrained(folder)
    return folder


def manifest(folder: Path, **changes: Any) -> EncoderManifest:
    """An encoder manifest for a local folder."""
    told = {"name": "tiny", "title": "tiny", "source": {"kind": "local", "root": str(folder)}, "licence": OPEN}
    return EncoderManifest.model_validate(told | changes)


@functools.cache
def letters() -> str:
    """Common characters: enough for texts that tests make up."""
    return "".join(map(chr, [*range(0x4E00, 0x4F00), *range(0x30, 0x3A), *range(0x61, 0x7B)]))


class Letters:
    """Counts of code points modulo the dimension; documents are turned round. A real encoder, if a poor one."""

    name, weights = "letters", "0" * 64

    def __init__(self, dimension: int = 8, spoil: float | None = None) -> None:
        self.dimension, self.spoil = dimension, spoil

    def encode(self, texts: Sequence[str], document: bool, listen: Heard | None = None) -> npt.NDArray[np.float32]:
        rows = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in zip(rows, texts, strict=True):
            np.add.at(row, [ord(letter) % self.dimension for letter in text], 1)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
        if self.spoil is not None:
            rows[-1, 0] = self.spoil
        if listen is not None:
            listen(Encoded(len(texts), sum(map(len, texts)), 0))
        return rows[:, ::-1] if document else rows
