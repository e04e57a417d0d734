"""From texts to batches: tokens counted before anything is padded, and every batch of about as many tokens.

A batch of so many texts is small where they are short and bursts the memory where they are long. Here a batch is as
wide as its longest text, holds texts of like length, and as many of them as fill a budget of tokens: little is padded
and the device is kept busy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Chunk:
    """Some thousand texts, ready for the model.

    batches: rows of the chunk's texts, longest first. tokens: how many each text has, as the model will read it. cut:
    how many were longer than that. features: the model's input for some rows.
    """

    batches: list[Rows]
    tokens: Rows
    cut: npt.NDArray[np.bool_]
    features: Callable[[Rows], dict[str, Any]]


def by_budget(tokens: Rows, budget: int) -> list[Rows]:
    """Rows in batches, longest first: number times width of each stays within the budget, or it is a single row.

    >>> [batch.tolist() for batch in by_budget(np.array([2, 9, 3, 1]), 6)]
    [[1], [2, 0], [3]]
    """
    order = np.argsort(-tokens, kind="stable")
    batches, start = [], 0
    while start < len(order):
        width = max(1, int(tokens[order[start]]))
        batches.append(order[start : start + max(1, budget // width)])
        start += len(batches[-1])
    return batches


def tokenized(tokenizer: Any, texts: Sequence[str], budget: int) -> Chunk:
    """Texts through a fast tokenizer of transformers, each once; it works on all cores and holds no lock of Python.

    The tokenizer must have been told its limit (`limited`).
    """
    encodings = tokenizer.backend_tokenizer.encode_batch_fast(list(texts))
    ids = [np.array(encoding.ids, np.int64) for encoding in encodings]
    tokens = np.array([len(one) for one in ids], np.int64)
    cut = np.array([len(encoding.overflowing) > 0 for encoding in encodings], np.bool_)

    def features(rows: Rows) -> dict[str, Any]:
        import torch

        lengths = tokens[rows]
        places = np.arange(lengths.max(initial=0))
        mask = places < lengths[:, None]
        if tokenizer.padding_side == "left":
            mask = mask[:, ::-1]
        padded = np.full(mask.shape, tokenizer.pad_token_id, np.int64)
        padded[mask] = np.concatenate([ids[row] for row in rows])
        told = {"input_ids": torch.from_numpy(padded), "attention_mask": torch.from_numpy(mask.astype(np.int64))}
        if "token_type_ids" in tokenizer.model_input_names:
            told["token_type_ids"] = torch.zeros_like(told["input_ids"])
        return told

    return Chunk(by_budget(tokens, budget), tokens, cut, features)


def limited(tokenizer: Any, most: int | None) -> None:
    """Tell a fast tokenizer to cut behind so many tokens, special ones included, and to pad nothing."""
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    if most is None:
        backend.no_truncation()
    else:
        backend.enable_truncation(most, direction=tokenizer.truncation_side)


def estimated(preprocess: Callable[[list[str]], dict[str, Any]], texts: Sequence[str], budget: int) -> Chunk:
    """For models that prepare their own input: batches by the number of characters, which bounds that of tokens."""
    tokens = np.array([len(text) for text in texts], np.int64)

    def features(rows: Rows) -> dict[str, Any]:
        return preprocess([texts[row] for row in rows])

    return Chunk(by_budget(tokens, budget), tokens, np.zeros(len(texts), np.bool_), features)
