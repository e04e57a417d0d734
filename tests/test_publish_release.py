"""Releases: editions that nest and keep the mixture, and small changes that send little."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.manifest.catalog import read_catalog
from pipeline.manifest.lock import Lock
from pipeline.publish import make_release
from pipeline.publish.editions import ROWS, quotas
from pipeline.record import LABELLED_DATA_SCHEMA
from pipeline.report.opened import open_build
from pipeline.store import Store
from pipeline.views import PUBLISHED_SCORED, dataset_info, measured, views_of
from tests.hub_uploads import UploadDouble
from tests.publishing import TOKEN, Publisher, built, manifests_of, scored_build, sentences
from tests.small import corpus, write_manifests, write_rows

corpora_rows = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 3000), min_size=1)


@given(corpora_rows, st.integers(0, 4000), st.integers(0, 4000))
def test_quotas_keep_the_mixture_and_nest(rows: dict[str, int], one: int, other: int) -> None:
    small, large = sorted((one, other))
    total = sum(rows.values())
    for wanted in (small, large):
        told = quotas(rows, wanted)
        assert sum(told.values()) == min(wanted, total)
        for name, n in rows.items():
            share = n * min(wanted, total) / max(1, total)
            assert 0 <= told[name] <= n and math.floor(share) - 1 <= told[name] <= math.ceil(share) + 1
    assert all(quotas(rows, small)[name] <= quotas(rows, large)[name] for name in rows)


@given(corpora_rows, st.integers(1, 200))
def test_quotas_are_those_of_webster_one_row_at_a_time(rows: dict[str, int], wanted: int) -> None:
    given: dict[str, int] = dict.fromkeys(rows, 0)
    for _ in range(min(wanted, sum(rows.values()))):
        open_ = [name for name in sorted(rows) if given[name] < rows[name]]
        given[min(open_, key=lambda name: ((given[name] + 0.5) / rows[name], name))] += 1
    assert quotas(rows, wanted) == given


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release")
    manifests_of(folder / "manifests", 60)
    built(folder / "manifests", folder / "out", folder / "store")
    scored_build(folder / "out/small", folder / "scored")
    return folder


def released(base: Path, build: str, edition: str | None = None) -> Any:
    catalog = read_catalog([base / "manifests"])
    return make_release(open_build(base / build), catalog, "org/name", edition, Store(base / "store"))


def records(release: Any) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {}
    for path, item in sorted(release.files.items()):
        if path.startswith("data/"):
            frame = pl.read_parquet(item.source)
            assert set(frame["redistribute"]) <= {"allowed"}
            told.setdefault(path.split("/")[1], []).extend(frame["record_id"])
    return told


def test_editions_lie_inside_each_other(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, rows in (("100k", 23), ("1m", 80)):
        monkeypatch.setitem(ROWS, name, rows)
    for build in ("out/small", "scored"):
        whole, large, small = (records(released(base, build, edition)) for edition in (None, "1m", "100k"))
        assert sum(map(len, large.values())) == 80 and sum(map(len, small.values())) == 23
        total = sum(map(len, whole.values()))
        for name, ids in whole.items():
            assert set(small.get(name, ())) <= set(large[name]) <= set(ids)
            assert large[name] == [one for one in ids if one in set(large[name])]  # in the order of the build
            assert abs(len(large[name]) - 80 * len(ids) / total) <= 1
    told = released(base, "out/small", "100k")
    assert not any(path.startswith(("ids/", "labelled/")) for path in told.files) and told.told["edition"] == "100k"
    card = told.files["README.md"].source.decode()
    assert "the 100k edition" in card and "23 pairs" in card


def test_the_files_of_a_build_go_as_they_are_and_a_release_is_the_same_twice(base: Path) -> None:
    release = released(base, "out/small")
    again = released(base, "out/small")
    assert {p: i.sha256 for p, i in release.files.items()} == {p: i.sha256 for p, i in again.files.items()}
    for path in ("data/free/train-00000-of-00001.parquet", "funnel.json"):
        assert release.files[path].source == base / "out/small" / path
    for path in ("build.json", "ATTRIBUTION.md"):
        assert release.files[path].source == (base / "out/small" / path).read_bytes()
    lock = Lock.model_validate_json(release.files["m3e.lock"].source)
    built_from = json.loads((base / "out/small/build.json").read_bytes())["lock"]
    assert {name: one[0].sums() for name, one in lock.corpora.items()} == {
        name: {file["name"]: file["sha256"] for file in told["files"]} for name, told in built_from.items()
    }


def test_the_card_describes_features_as_datasets_does(base: Path) -> None:
    from datasets import Features

    release = released(base, "scored")
    files = [measured(path, i.source) for path, i in release.files.items() if path.startswith(("data/", "labelled/"))]
    told = {
        info["config_name"]: info
        for info in dataset_info(views_of(["free", "bound", "parts"], ["free"], scored=True), files)
    }
    for name, schema in (("full", PUBLISHED_SCORED), ("labelled", LABELLED_DATA_SCHEMA)):
        assert told[name]["features"] == Features.from_arrow_schema(schema)._to_yaml_list()
    rows = sum(map(len, records(release).values()))
    assert told["all"]["splits"][0]["num_examples"] == rows > told["all-triplet"]["splits"][0]["num_examples"] > 0


@pytest.fixture(scope="module")
def xet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UploadDouble]:
    pytest.importorskip("hf_xet")
    with UploadDouble(xet=tmp_path_factory.mktemp("xet")) as hub:
        hub.tokens[TOKEN] = "alice"
        yield hub


def test_a_hundredth_of_a_corpus_less_sends_a_tenth_of_its_files(xet: UploadDouble, tmp_path: Path) -> None:
    rows = [{"q": row["q"], "a": row["a"]} for row in sentences(1, 100_000, 160)]
    settings = {
        "name": "small",
        "corpora": ["large", "other"],
        "dedupe": {"near": False},
        "quality": {"repetition": "off"},
    }
    manifests = write_manifests(tmp_path / "manifests", [corpus("large"), corpus("other")], settings)
    write_rows(manifests, "large", rows)
    write_rows(manifests, "other", [{"q": row["q"], "a": row["a"]} for row in sentences(2, 2000)])
    build = built(manifests, tmp_path / "out", tmp_path / "store")
    publisher = Publisher(xet, tmp_path, HF_HUB_DISABLE_XET="0")
    try:
        first = publisher.push("alice/xet", build)
        whole = pl.read_parquet(build / "data/large/*.parquet")
        gone = whole["record_id"][30_000:31_000]
        sent, before = _bytes(xet), dict(xet.head("alice/xet").tree)
        (manifests / "tombstones.txt").write_text("\n".join(gone) + "\n")
        assert built(manifests, tmp_path / "out", tmp_path / "store") == build
        publisher.close()
        publisher = Publisher(xet, tmp_path, HF_HUB_DISABLE_XET="0")  # the manifests are read anew
        second = publisher.push("alice/xet", build)
    finally:
        publisher.close()
    assert first["pushed"]["state"] == second["pushed"]["state"] == "published", (first, second)
    tree = xet.head("alice/xet").tree
    changed = [path for path, blob in tree.items() if path.startswith("data/") and blob.sha256 != before[path].sha256]
    assert changed == [f"data/large/{path.name}" for path in sorted((build / "data/large").iterdir())]
    share = (_bytes(xet) - sent) / sum(tree[path].size for path in changed)
    sys.stdout.write(f"re-sent after 1 % of its rows went: {share:.1%} of the corpus' files\n")
    assert share < 0.10
    left = whole.filter(~pl.col("record_id").is_in(gone.to_list()))
    assert pl.read_parquet(build / "data/large/*.parquet").equals(left) and left.height == 99_000


def _bytes(hub: UploadDouble) -> int:
    assert hub.xet is not None
    return sum(path.stat().st_size for path in hub.xet.rglob("*") if path.is_file())
