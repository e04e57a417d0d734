"""The demo: every flaw planted in its corpora meets the fate it should, and nothing else is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import opencc
import polars as pl
import pytest

from tests.browser import faults_of
from tests.command import ROOT, m3e, started
from tests.hub_uploads import UploadDouble
from tests.publishing import TOKEN
from tests.test_publish import loaded

PLANTED = [
    pytest.param(
        path.stem.removeprefix("planted-"),
        told,
        id=f"{path.stem.removeprefix('planted-')}-{told['flaw']}-{told['row'].partition('#')[2]}",
    )
    for path in sorted((ROOT / "manifests" / "demo").glob("planted-*.json"))
    for told in json.loads(path.read_text("utf-8"))
]
DUPLICATES = {"exact_duplicate", "near_duplicate", "swapped_duplicate", "cross_corpus_duplicate"}


class Demo:
    """A build of the demo with the fate of every record, by corpus and locator."""

    def __init__(self, base: Path) -> None:
        done = m3e("build", "demo", "--out", base / "build", "--store", base / "store")
        assert done.returncode == 0, done.stderr
        self.folder = base / "build" / "demo"
        texts = json.loads((self.folder / "run.json").read_bytes())["text"]
        self.ids: dict[tuple[str, str], str] = {}
        self.text: dict[str, tuple[str, str]] = {}
        for corpus, paths in texts.items():
            for record_id, row, text, text_pos in pl.read_parquet(
                paths, columns=["record_id", "row", "text", "text_pos"]
            ).iter_rows():
                self.ids[corpus, row] = record_id
                self.text[record_id] = text, text_pos
        self.removed: dict[str, dict[str, Any]] = {}
        self.flags: dict[str, list[str]] = {}
        for corpus in texts:
            rows = pl.read_parquet(self.folder / "ledger" / f"{corpus}.parquet").to_dicts()
            self.removed |= {row["record_id"]: row for row in rows}
            evidence = pl.read_parquet(self.folder / "evidence" / f"{corpus}.parquet")
            self.flags |= dict(evidence.select("record_id", "flags").iter_rows())

    def find(self, corpus: str, row: str) -> str | None:
        """The record a row gave; a planted partner may lie in another corpus."""
        found = [i for (name, locator), i in self.ids.items() if locator in (row, f"{row}/0") and name == corpus]
        return (
            found[0]
            if found
            else next((i for (_, locator), i in self.ids.items() if locator in (row, f"{row}/0")), None)
        )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return Demo(tmp_path_factory.mktemp("demo"))


@pytest.mark.parametrize(("corpus", "planted"), PLANTED)
def test_a_planted_flaw_meets_its_fate(demo: Demo, corpus: str, planted: dict[str, Any]) -> None:
    flaw, record = planted["flaw"], demo.find(corpus, planted["row"])
    if flaw == "malformed":
        assert record is None
        assert planted["row"] in set(pl.read_parquet(demo.folder / "quarantine" / f"{corpus}.parquet")["row"])
        return
    assert record is not None
    gone = demo.removed.get(record)
    if flaw in DUPLICATES:
        other = demo.find(corpus, planted["of"])
        assert other is not None
        (loser,) = [i for i in (record, other) if i in demo.removed]
        told = demo.removed[loser]
        assert told["stage"] == "dedupe"
        assert {told["duplicate_of"], loser} == {record, other}
        assert flaw == "cross_corpus_duplicate" or told["reason"] == flaw
    elif flaw == "benchmark_leak":
        assert gone is not None
        assert (gone["stage"], gone["benchmark"]) == ("decontaminate", "DemoExam")
    elif flaw in ("empty_side", "equal_sides", "too_short"):
        assert gone is not None
        assert (gone["stage"], gone["reason"]) == ("quality", flaw)
    else:
        assert gone is None, gone
        if flaw == "refusal":
            assert "refusal" in demo.flags[record]
        if flaw == "markup":
            assert "<" not in "".join(demo.text[record])
            assert "&nbsp;" not in "".join(demo.text[record])
        if flaw == "traditional":
            assert "".join(demo.text[record]) == opencc.OpenCC("t2s").convert("".join(demo.text[record]))
        if flaw in ("digit_veto", "negation_veto", "shared_passage"):
            assert demo.find(corpus, planted["of"]) not in demo.removed


def test_the_report_is_whole_in_a_browser(demo: Demo) -> None:
    assert faults_of(demo.folder / "report.html") == []


def test_every_kind_of_flaw_is_planted() -> None:
    kinds = {param.values[1]["flaw"] for param in PLANTED}  # type: ignore[index]
    assert kinds >= DUPLICATES | {
        "traditional",
        "markup",
        "empty_side",
        "refusal",
        "benchmark_leak",
        "malformed",
        "shared_passage",
    }


def test_nothing_is_lost_that_was_not_planted(demo: Demo) -> None:
    planted = {
        demo.find(param.values[0], param.values[1][key])
        for param in PLANTED
        for key in ("row", "of")
        if param.values[1].get(key)
    }  # type: ignore[index,arg-type,union-attr,call-overload]
    stray = [row for record_id, row in demo.removed.items() if record_id not in planted]
    assert [(row["corpus"], row["stage"]) for row in stray] == [("demo-forum", "cap")]


def test_the_licence_of_a_duplicate_decides_which_copy_stays(demo: Demo) -> None:
    across = [row for row in demo.removed.values() if row["corpus"] == "demo-forum" and row["stage"] == "dedupe"]
    assert across
    faq = set(pl.read_parquet(demo.folder / "data" / "demo-faq" / "*.parquet")["record_id"])
    assert {row["duplicate_of"] for row in across} <= faq
    kept = pl.read_parquet(demo.folder / "data" / "*" / "*.parquet")
    assert set(kept.filter(pl.col("corpus") == "demo-forum")["commercial"]) == {"forbidden"}
    assert set(kept.filter(pl.col("corpus") != "demo-forum")["commercial"]) == {"allowed"}


def test_it_is_published_and_every_view_reads_back(demo: Demo, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    with UploadDouble() as hub:
        hub.tokens[TOKEN] = "alice"
        env = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": TOKEN, "NO_PROXY": "*"}
        words = ("publish", demo.folder, "--repo", "alice/demo", "--store", tmp_path / "store")
        done = started(*words, HF_HUB_DISABLE_XET="1", **env)
        assert done.returncode == 0, done.stderr
        rows = {
            path.name: pl.read_parquet(path / "*.parquet").to_dicts()
            for path in sorted((demo.folder / "data").iterdir())
        }
        assert {row["redistribute"] for mine in rows.values() for row in mine} == {"allowed"}
        told = loaded(hub, "alice/demo", tmp_path, "all", "full", *rows, *(f"{name}-full" for name in rows))
    for name, mine in rows.items():
        assert told[f"{name}-full"] == mine
        assert told[name] == [{side: row[side] for side in ("text", "text_pos")} for row in mine]
    assert sorted(row["record_id"] for row in told["full"]) == sorted(
        r["record_id"] for mine in rows.values() for r in mine
    )
    assert len(told["all"]) == len(told["full"])
