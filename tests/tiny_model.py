"""A BERT of random weights, built here: every shape and file of a real model, in a second and without a download."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

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
        num_attention_heads=2,
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


def manifest(folder: Path, **changes: Any) -> EncoderManifest:
    """An encoder manifest for a local folder."""
    told = {"name": "tiny", "title": "tiny", "source": {"kind": "local", "root": str(folder)}, "licence": OPEN}
    return EncoderManifest.model_validate(told | changes)


@functools.cache
def letters() -> str:
    """Common characters: enough for texts that tests make up."""
    return "".join(map(chr, [*range(0x4E00, 0x4F00), *range(0x30, 0x3A), *range(0x61, 0x7B)]))
