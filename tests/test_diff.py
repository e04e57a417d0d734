"""m3e diff: two builds whose every difference is planted, counted again with plain sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.errors import UsageError
from pipeline.report import diff as module
from pipeline.report.changes import changelog, diff_view, summed
from pipeline.report.diff import Diff, diff, open_two
from pipeline.report.opened import open_build
from tests.command import m3e
from tests.small import CLOSED, corpus, write_manifests, write_rows
from tests.test_build import pairs, run


def near(pair: dict[str, str]) -> dict[str, str]:
    return {"q": pair["q"], "a": pair["a"] + "啊"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """From the first to the second build: one loses and gains rows and is overtaken by two, three is re-licensed and
    its cleaner changes a text, four stays as it is, six comes."""
    home = tmp_path_factory.mktemp("diff")
    short = {"q": "好", "a": "短的问题没有内容"}
    broken = {"q": "床 前 明 月 光 的 下 一 句", "a": "是一首诗里面的句子"}
    first = [corpus("one"), corpus("two", licence=CLOSED), corpus("three"), corpus("four")]
    folder = write_manifests(home / "a", first, {"name": "small", "quality": {"too_short": "off"}})
    write_rows(folder, "one", [*pairs(0, 4), short])
    write_rows(folder, "two", [pairs()[0], near(pairs()[1])])
    write_rows(folder, "three", [*pairs(4, 6), broken])
    write_rows(folder, "four", pairs(6, 8))
    one, _, _ = run(folder, home, to="out-a")
    changed = [
        corpus("one", licence=CLOSED),
        corpus("two"),
        corpus("three", licence=CLOSED, clean=["despace_zh"]),
        corpus("four"),
        corpus("six"),
    ]
    folder = write_manifests(home / "b", changed, {"name": "small", "dedupe": {"threshold": 0.95}})
    new = {"q": "今年的春节是哪一天", "a": "今年的春节在二月十七日"}
    write_rows(folder, "one", [*pairs(0, 3), new, short])
    write_rows(folder, "two", [pairs()[0], near(pairs()[1])])
    write_rows(folder, "three", [*pairs(4, 6), broken])
    write_rows(folder, "four", pairs(6, 8))
    write_rows(folder, "six", [{"q": "月亮离我们有多远", "a": "大约三十八万公里"}, pairs()[7]])
    two, _, _ = run(folder, home, to="out-b")
    return one, two


@pytest.fixture(scope="module")
def told(built: tuple[Path, Path]) -> Diff:
    return diff(*map(open_build, built))


def fates(build: Path, name: str) -> dict[str, dict[str, Any]]:
    """Record id -> its line of data or of the ledger, with plain dicts."""
    found: dict[str, dict[str, Any]] = {}
    for path in [*(build / "data" / name).glob("*.parquet"), build / "ledger" / f"{name}.parquet"]:
        if path.exists():
            found |= {row["record_id"]: row for row in pl.read_parquet(path).to_dicts()}
    return found


def test_every_count_is_that_of_plain_sets(built: tuple[Path, Path], told: Diff) -> None:
    assert {change.corpus for change in told.changes} == {"one", "two", "three", "four", "six"}
    for change in told.changes:
        old, new = (fates(build, change.corpus) for build in built)
        kept_old, kept_new = ({i for i, row in rows.items() if "text" in row} for rows in (old, new))
        assert (change.converted, change.kept) == ((len(old), len(new)), (len(kept_old), len(kept_new)))
        assert sum(change.entered.values()) == len(kept_new - kept_old)
        assert sum(change.dropped.values()) == len(kept_old - kept_new)
        assert change.dropped["absent"] == len(kept_old - set(new))
        assert change.entered["absent"] == len(kept_new - set(old))
        both = kept_old & kept_new
        assert change.rewritten == sum(old[i]["text"] != new[i]["text"] for i in both)
        assert sum(change.terms.values()) == sum(old[i]["licence_id"] != new[i]["licence_id"] for i in both)
        judged = (set(old) - kept_old) & (set(new) - kept_new)
        assert sum(change.judged.values()) == sum(old[i]["reason"] != new[i]["reason"] for i in judged)


def test_what_was_planted_is_told_with_its_reason(told: Diff) -> None:
    one, two, three, four, six = (
        next(c for c in told.changes if c.corpus == name) for name in ("one", "two", "three", "four", "six")
    )
    # two became freer than one: of the pairs that both hold, one of them nearly, two's records stand for them now.
    assert one.moved == {"two": 2}
    assert one.dropped == {"exact_duplicate": 1, "near_duplicate": 1, "absent": 1, "too_short": 1}
    assert one.entered == {"absent": 1}
    assert two.entered == {"exact_duplicate": 1, "near_duplicate": 1}
    assert three.rewritten == 1
    assert three.terms == {"CC0-1.0 (allowed, allowed) → CC-BY-NC-4.0 (forbidden, allowed)": 3}
    assert four.is_none
    assert six.kept == (0, 1)
    assert told.settings == {"dedupe.threshold": (0.8, 0.95), "quality.too_short": ("off", "drop")}
    assert set(told.sources) == {"six", "one.files.one.jsonl"}
    assert told.licences["CC-BY-NC-4.0 (forbidden)"][0] == 0


def test_parts_of_ids_give_the_same(built: tuple[Path, Path], told: Diff, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_RECORDS", 2)
    again = diff(*map(open_build, built))
    assert again.told() == told.told()


def test_the_way_back_is_the_mirror_image(built: tuple[Path, Path], told: Diff) -> None:
    back = diff(*map(open_build, reversed(built)))
    forth = {change.corpus: change for change in told.changes}
    for change in back.changes:
        assert (change.entered, change.dropped) == (forth[change.corpus].dropped, forth[change.corpus].entered)
        assert change.rewritten == forth[change.corpus].rewritten


def test_changelog_and_table(built: tuple[Path, Path], told: Diff) -> None:
    entry = m3e("diff", *built, "--changelog")
    assert entry.returncode == 0, entry.stderr
    assert entry.stdout == changelog(told)
    whole = summed(told.changes)
    assert entry.stdout.startswith(f"### Data\n\n- `small`: {whole.kept[1]} records, ")
    for words in (
        "New corpora: `six`",
        "2 of them kept by others now (two 2)",
        "`dedupe.threshold` 0.8 → 0.95",
        "Licence mix",
    ):
        assert words in entry.stdout
    shown = m3e("diff", *built)
    assert "1 of 5 corpora are the same" in shown.stdout
    read = {one["corpus"]: one for one in json.loads(m3e("diff", *built, "--json").stdout)["corpora"]}
    assert read["one"]["moved"] == {"two": 2}
    assert diff_view(told)


def test_a_build_beside_a_copy_of_itself(built: tuple[Path, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.symlink_to(built[0])
    with pytest.raises(UsageError, match="same folder"):
        open_two(built[0], copy)
    same = diff(open_build(built[0]), open_build(copy))
    assert changelog(same) == "### Data\n\n- `small`: no record changed.\n"
