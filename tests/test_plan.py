"""The plan's estimates: what is loaded, what the disk must hold, hours, and a build that refuses a disk too small."""

from __future__ import annotations

import json
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from pipeline.manifest.catalog import read_catalog
from pipeline.report import estimate
from pipeline.report.plan import need_lines, plan
from tests.command import m3e
from tests.small import corpus, write_manifests, write_rows
from tests.test_build import pairs, run

RATES = [value for value in vars(estimate).values() if isinstance(value, estimate.Rate)]
HUB = {"kind": "hub", "repo": "org/name", "revision": "0" * 40}


def claimed(name: str, rows: int, **changes: Any) -> dict[str, Any]:
    return corpus(name, expect={"rows": rows, "records": rows, "seen": "claimed"}, **changes)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A local corpus of 8 rows, and one of a million on the Hub whose files a lock knows."""
    recipe = {"name": "small", "corpora": ["near", "far", "guessed"]}
    made = [claimed("near", 8), claimed("far", 1_000_000, source=HUB), claimed("guessed", 1000, source=HUB)]
    folder = write_manifests(tmp_path / "manifests", made, recipe)
    write_rows(folder, "near", pairs())
    files = [{"name": name, "bytes": 10**8, "sha256": "0" * 64} for name in ("a.zip", "a.zip!far.jsonl", "b.jsonl")]
    far = {"kind": "hub", "place": "org/name", "commit": "0" * 40, "files": files}
    (folder / "m3e.lock").write_text(json.dumps({"corpora": {"far": [far]}}))
    return folder


def test_every_rate_says_where_it_was_seen() -> None:
    assert len(RATES) > 8
    assert all(rate.seen and rate.unit and rate.value > 0 for rate in RATES)
    assert not estimate.ENCODE_GPU.measured


def test_what_is_to_load_and_to_store(home: Path, tmp_path: Path) -> None:
    catalog = read_catalog([home], shipped=False)
    told = plan(catalog, catalog.recipe("small"), tmp_path / "store")
    needs = told["needs"]
    # A member of an archive is not loaded beside it.
    guessed = int(1000 * 181 / 0.36)
    assert needs["download"] == {"bytes": 2 * 10**8 + guessed, "by_rows": guessed, "unknown": []}
    text = int(2e8 * 0.36) + 1000 * 181 + 8 * 181
    assert needs["disk"]["parts"]["text"] == text
    assert needs["disk"]["parts"]["dedupe, for a while"] == 1_001_008 * 1300
    assert needs["disk"]["bytes"] == sum(needs["disk"]["parts"].values())
    lines = "\n".join(need_lines(told))
    assert "to load: about 200.5 MB, 502.8 kB of it guessed by rows" in lines
    assert "convert 0 of 3" in lines


def test_what_is_there_already_needs_nothing(tmp_path: Path) -> None:
    folder = write_manifests(tmp_path / "manifests", [claimed("near", 8)], {"name": "small"})
    write_rows(folder, "near", pairs())
    run(folder, tmp_path)
    catalog = read_catalog([folder], shipped=False)
    told = plan(catalog, catalog.recipe("small"), tmp_path / "store")
    assert told["needs"]["download"]["bytes"] == told["needs"]["disk"]["bytes"] == 0
    assert "convert 1 of 1" in "\n".join(need_lines(told))


def test_hours_follow_texts_and_encoder() -> None:
    encode, mine = estimate.vector_hours("m3e-base", [2_000_000, 2_000_000], "mine")
    assert encode.core is not None
    assert encode.gpu is not None
    assert encode.core == pytest.approx(2 * 85.1e6 * 75 * 4e6 / 45e9 / 3600)
    assert mine.core == pytest.approx(2 * (1e6 * 2e6 * 768 * 2) / 48e9 / 3600)
    pooled = estimate.vector_hours("m3e-base", [2_000_000, 2_000_000], "mine", pooled=True)[1]
    assert pooled.core == pytest.approx(2 * mine.core)
    assert estimate.vector_hours("a-stranger", [10], "mine")[0].core is None


def test_a_recipe_upon_a_base_is_told_hours_and_vectors(tmp_path: Path) -> None:
    catalog = read_catalog([])
    told = plan(catalog, catalog.recipe("demo-with-score"), tmp_path / "store", out=tmp_path / "out")
    stages = {one["stage"]: one for one in told["needs"]["hours"]}
    assert stages["encode"]["texts"] == stages["mine"]["texts"] > 500
    assert told["needs"]["disk"]["parts"]["vectors"] == 2 * 384 * stages["encode"]["texts"]
    assert "worked out, never run" in "\n".join(need_lines(told))


def test_a_disk_too_small_is_told_before_anything_runs(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    words = ("build", "small", "--manifests", home, "--only", "near", "--store", tmp_path / "store", "--out", tmp_path)
    need = 8 * (181 * 2.4 + 46 + 1300)
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda _: usage(0, 0, int(need / 3)))
    refused = m3e(*words)
    assert refused.returncode == 1
    assert "kB are needed" in refused.stderr
    assert "--only, --sample" in refused.stderr
    assert not list((tmp_path / "store").glob("convert/*"))
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda _: usage(0, 0, int(need / 1.5)))
    warned = m3e(*words)
    assert warned.returncode == 0, warned.stderr
    assert "the disk may not suffice" in warned.stderr
    # What is in the store is not needed again.
    assert "may not suffice" not in m3e(*words).stderr
