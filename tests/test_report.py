"""The report page, read back as HTML: the same numbers as the build, foreign text as text, nothing from elsewhere."""

from __future__ import annotations

import json
import re
import shutil
import statistics
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser as Html

from pipeline.build import Outcome, build, count
from pipeline.context import context_of
from pipeline.errors import UsageError
from pipeline.folder import PAGE
from pipeline.manifest.catalog import read_catalog
from pipeline.receipt import write_build
from pipeline.report.charts import Slice, bar, histogram, stacked
from pipeline.report.opened import Build, open_build
from pipeline.report.page import SHOWN, render_page, write_page
from pipeline.report.preview import preview
from pipeline.report.profile import LENGTH_BINS, profile, profile_of, profiles_of
from pipeline.report.removed import Border, Case, Held, Looks
from pipeline.report.words import REASONS
from pipeline.runner import Threads
from tests.small import CLOSED, corpus, write_manifests, write_rows

EVIL = '<script>alert("1")</script> & <img src=x onerror=alert(2)>'
#: A tag that no cleaner knows, among enough Chinese for the quality rules to let it pass.
EVIL_TEXT = (
    "<x-own onload=alert(3)>\" 'a' & b"
    + "网页里常有人试着写进一段会自己运行的代码，报告页只把它当作文字来显示，绝不运行其中任何一句话"
)
SENTENCES = [
    "春天的院子里开满了白色的梨花，风一吹就落了满地",
    "修理旧钟表需要一盏好灯和一双很稳的手",
    "山脚下的小店每天清晨六点开始卖豆浆",
    "他把三本借来的字典整整齐齐放回书架上",
    "渡船在傍晚之前还要往返两次，错过就要等到明天",
    "腌萝卜要先晒两天，再用盐揉到出水为止",
]
SPLIT = {
    "source": {"kind": "local", "root": "../files"},
    "splits": ["test"],
    "parts": [
        {
            "files": {"test": "exam.jsonl"},
            "layout": "jsonl",
            "columns": {"q": "string"},
            "texts": [{"role": "query", "text": "q"}],
        }
    ],
}


def manifests_in(folder: Path) -> Path:
    """Two corpora and a benchmark: near and swapped duplicates, a leak, short rows, text that would be HTML, a long text."""
    evil = corpus("evil", title=EVIL, task=EVIL, symmetric=True)
    plain = corpus("plain", licence=CLOSED | {"attribution": EVIL}, symmetric=True)
    recipe = {"name": "small", "title": EVIL, "decontaminate": {"benchmarks": ["exam"]}}
    write_manifests(folder, [evil, plain], recipe, [{"name": "exam", "task": "Exam", **SPLIT}])
    write_rows(folder, "exam", [{"q": SENTENCES[5]}])
    write_rows(
        folder,
        "evil",
        [{"q": EVIL_TEXT, "a": "长" * 900}, {"q": "问", "a": ""}]
        + [{"q": q, "a": f"第{i}句的回答写在这里：{q}"} for i, q in enumerate(SENTENCES)],
    )
    near = [{"q": q + "啊", "a": f"第{i}句的回答写在这里：{q}"} for i, q in enumerate(SENTENCES[:2])]
    turned = [{"q": f"第{i}句的回答写在这里：{q}", "a": q} for i, q in enumerate(SENTENCES[2:4], 2)]
    own = [
        {"q": f"{n}号车几点从{place}开出", "a": f"{n}号车的时刻表"}
        for n, place in enumerate("甲乙丙丁戊己庚辛壬癸" * 2)
    ]
    write_rows(folder, "plain", [*near, *turned, *own])
    return folder


def built(manifests: Path, base: Path) -> tuple[Path, Outcome]:
    catalog = read_catalog([manifests], shipped=False)
    runner = Threads(2)
    try:
        outcome = build(context_of(catalog, catalog.recipe("small"), base / "store"), runner)
    finally:
        runner.close()
    count(outcome)
    return write_build(outcome, base / "out", (), [])[0], outcome


@pytest.fixture
def whole(reported: tuple[Path, Outcome]) -> tuple[Path, Outcome]:
    return reported


@pytest.fixture
def page(whole: tuple[Path, Outcome]) -> Html:
    return english((whole[0] / "report.html").read_text("utf-8"))


def english(text: str) -> Html:
    """A page without its Chinese phrases."""
    page = Html(text)
    for node in page.css(".t[lang=zh]"):
        node.decompose()
    return page


def cells(page: Html, table: str) -> list[list[str]]:
    return [[cell.text() for cell in row.css("td")] for row in page.css(f"#{table} tbody tr")]


def number(text: str) -> int:
    return int(text.replace(",", ""))


def test_the_numbers_are_those_of_the_funnel(whole: tuple[Path, Outcome], page: Html) -> None:
    told = json.loads((whole[0] / "funnel.json").read_bytes())
    expected = {one["corpus"]: one for one in [*told["corpora"], told["all"]]}
    heads = [head.text() for head in page.css("#funnel-table th")]
    rows = {row[0]: dict(zip(heads[1:], map(number, row[1:]), strict=True)) for row in cells(page, "funnel-table")}
    assert set(rows) == set(expected)
    for name, one in expected.items():
        stages = {stage: sum(reasons.values()) for stage, reasons in one["removed"].items()}
        assert rows[name] == {
            "rows": one["read"],
            "filtered": one["filtered"],
            "bad": one["quarantined"],
            "records": one["converted"],
            "quality": stages.get("quality", 0),
            "leaked": stages.get("decontaminate", 0),
            "near": one["removed"].get("dedupe", {}).get("near_duplicate", 0),
            "swapped": one["removed"].get("dedupe", {}).get("swapped_duplicate", 0),
            "kept": one["kept"],
            "labelled": one["labelled_kept"],
        }
    assert rows["plain"]["near"] == 2 and rows["plain"]["swapped"] == 2 and rows["evil"]["leaked"] == 1
    assert number(page.css_first("#kept").text(deep=False)) == told["all"]["kept"]


def test_the_bars_tell_the_same_numbers(whole: tuple[Path, Outcome], page: Html) -> None:
    told = json.loads((whole[0] / "funnel.json").read_bytes())["all"]
    label = page.css("#bars svg.bar")[-1].attributes["aria-label"] or ""
    assert label.startswith(f"all: kept {told['kept']}, quality 1, leaked 1, near 2, swapped 2")
    reasons = {
        row.css_first(".name").text(deep=False): row.css_first(".count").text() for row in page.css("#reasons .row")
    }
    expected = {reason: n for reasons in told["removed"].values() for reason, n in reasons.items()}
    assert {reason: number(n) for reason, n in reasons.items()} == expected
    assert cells(page, "benchmark-table") == [["Exam", "query", "1", "0", "0", "1", "0"]]
    assert set(expected) <= set(REASONS)


def test_personal_data_is_told_by_corpus(whole: tuple[Path, Outcome]) -> None:
    found = {
        "plain": {"phone": {"records": 3, "labelled": 1, "values": 5}},
        "evil": {"email": dict.fromkeys(("records", "labelled", "values"), 1)},
    }
    build = told_of(whole, personal=found, masked={"plain": {"phone": 2}})
    page = english(render_page(build, profiles_of(build)))
    assert cells(page, "personal-table") == [["evil", "2", "0", "1", "0"], ["plain", "0", "4", "5", "2"]]
    assert "pii: {mask: true}" in page.css_first("#personal").text()
    assert "None was found" in english((whole[0] / "report.html").read_text("utf-8")).css_first("#personal").text()


def test_foreign_text_is_shown_not_run(page: Html) -> None:
    assert page.css("script, img, x-own, [onerror], [onload]") == []
    shown = [node.text() for node in page.css("#samples .text")]
    assert EVIL_TEXT in shown
    assert EVIL in page.css_first("#samples summary").text()
    assert page.css_first("title").text() == "small: report"
    assert EVIL in page.css_first("header").text()
    assert EVIL in cells(page, "licence-table")[1][-1]


def told_of(whole: tuple[Path, Outcome], **changes: Any) -> Build:
    """The build with another receipt."""
    build = Build(whole[0])
    build.__dict__["receipt"] = open_build(whole[0]).receipt | changes
    return build


def test_samples_are_escaped_even_where_no_cleaner_was(
    whole: tuple[Path, Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles = {name: measured(whole, name) for name in whole[1].corpora}
    profiles["evil"] |= {"flags": {EVIL: 1}, "benchmarks": {EVIL: {EVIL: {"exact": 1}}}}
    sample = {"record_id": EVIL, "text": EVIL, "text_pos": EVIL, "text_neg": [EVIL], "prompt": EVIL}
    held = Held(EVIL, EVIL, EVIL, EVIL + "!")
    case = Case("dedupe", EVIL, held, held, EVIL, 0.5)
    border = Border(held, held, 0.5, swapped=True)
    steps = [{"stage": EVIL, "corpus": EVIL, "seconds": 1.0, "peak_bytes": 1, "cached": False}]
    monkeypatch.setattr("pipeline.report.page.kept_pairs", lambda *_, **__: [sample])
    monkeypatch.setattr("pipeline.report.page.looks", lambda *_, **__: Looks({EVIL: [case]}, [case], [border]))
    monkeypatch.setattr("pipeline.report.page.repeats", lambda _: {"evil": {EVIL: 3}})
    build = told_of(whole, warnings=[EVIL], gaps=[{"corpus": EVIL, "stage": EVIL, "cause": EVIL, "cure": EVIL}])
    build.__dict__["run"] = {"steps": steps}
    page = english(render_page(build, profiles))
    assert page.css("script, img, [onerror]") == []
    shown = page.css_first("#samples .sample")
    for css in (".text", ".positive", ".negative", ".prompt", "code"):
        assert shown.css_first(css).text() == EVIL
    assert EVIL in [node.text() for node in page.css(".notice")]
    for section in ("removed", "border", "duplicates", "cost", "leaks"):
        assert EVIL in page.css_first(f"#{section}").text(), section


def test_the_page_needs_nothing_from_elsewhere(whole: tuple[Path, Outcome]) -> None:
    text = (whole[0] / "report.html").read_text("utf-8")
    assert not re.search(r"https?:|@import|url\(|<link|<iframe|<object", text)
    # Inside a real tag, and to another place than this page: escaped samples hold none.
    assert not re.search(r"<[^>]+\s(?:src|href)=(?!\"#)", text)
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text


def test_every_phrase_is_told_in_both_languages(whole: tuple[Path, Outcome]) -> None:
    page = Html((whole[0] / "report.html").read_text("utf-8"))
    told = {lang: [node.text().strip() for node in page.css(f".t[lang={lang}]")] for lang in ("en", "zh")}
    assert len(told["en"]) == len(told["zh"]) > 80 and all(told["en"]) and all(told["zh"])
    assert all(re.search(r"[\u4e00-\u9fff]", phrase) for phrase in told["zh"])
    assert not any(re.search(r"[\u4e00-\u9fff]", phrase) for phrase in told["en"])
    chosen = Html(render_page(open_build(whole[0]), profiles_of(open_build(whole[0])), lang="zh"))
    assert [node.attributes["id"] for node in chosen.css("input[checked]")] == ["zh"]


def test_the_same_build_elsewhere_gives_the_same_bytes(whole: tuple[Path, Outcome], tmp_path: Path) -> None:
    """The page too, but for what the run cost, of which `built` tells nothing."""
    again, _ = built(manifests_in(tmp_path / "copy"), tmp_path)
    for name in ("report.html", "README.md", "ATTRIBUTION.md"):
        assert (again / name).read_bytes() == (whole[0] / name).read_bytes()
    assert "report.html" not in json.loads((again / "build.json").read_bytes())["files"]


def test_profiles_are_kept_and_not_made_twice(whole: tuple[Path, Outcome]) -> None:
    _, outcome = whole
    entry = outcome.entries["assemble", "plain"]
    folder = outcome.context.store.root / "profile"
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert len([p for p in before if p.name == "profile.json"]) == 2
    shards = [entry.paths(f"{kind}-*.parquet") for kind in ("train", "ledger", "evidence")]
    assert profile_of(outcome.context.store, entry) == profile(*shards)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def measured(whole: tuple[Path, Outcome], name: str) -> dict[str, Any]:
    return profile_of(whole[1].context.store, whole[1].entries["assemble", name])


@pytest.mark.parametrize("name", ["evil", "plain"])
def test_lengths_are_counted_right(whole: tuple[Path, Outcome], name: str) -> None:
    kept = pl.read_parquet(whole[0] / "data" / name / "*.parquet")
    for side in ("text", "text_pos"):
        lengths = [len(text) for text in kept[side]]
        expected = Counter(str(max(low for low in LENGTH_BINS if low <= n)) for n in lengths)
        told = measured(whole, name)["lengths"][side]
        assert told["bins"] == dict(expected)
        assert told["longest"] == max(lengths)
        assert told["median"] == statistics.median_low(lengths)


def test_similarities_benchmarks_and_flags_are_the_ledgers(whole: tuple[Path, Outcome]) -> None:
    ledger = pl.read_parquet(whole[0] / "ledger" / "plain.parquet")
    expected: dict[str, Counter[str]] = {}
    for reason, similarity in ledger.select("reason", "similarity").iter_rows():
        if reason in ("near_duplicate", "swapped_duplicate"):
            expected.setdefault(reason, Counter())[str(int(similarity * 100 + 1e-4))] += 1
    told = measured(whole, "plain")
    assert told["similarity"] == {reason: dict(counts) for reason, counts in expected.items()}
    assert told["benchmarks"] == {}
    assert measured(whole, "evil")["benchmarks"] == {"Exam": {"benchmark_query": {"exact": 1}}}
    evidence = pl.read_parquet(whole[0] / "evidence" / "evil.parquet")
    flags = Counter(flag for kept, flags in evidence.select("kept", "flags").iter_rows() if kept for flag in flags)
    assert measured(whole, "evil")["flags"] == dict(flags)
    assert flags, "the test needs a flag to be counted"


def test_the_samples_are_those_of_preview(whole: tuple[Path, Outcome], page: Html) -> None:
    opened = open_build(whole[0])
    expected = [text for _, frame in preview(opened) for text in frame["text"]]
    assert [node.text() for node in page.css("#samples .text")] == expected
    ids = [node.text() for node in page.css("#samples .sample code")]
    assert ids == [record for _, frame in preview(opened) for record in frame["record_id"]]
    long = [node.text() for node in page.css("#samples .positive") if node.text().startswith("长")]
    assert [len(text) for text in long] == [SHOWN + 1]


def test_gaps_warnings_and_parts_stand_at_the_top(whole: tuple[Path, Outcome]) -> None:
    told = told_of(
        whole,
        gaps=[{"corpus": "lost", "stage": "fetch", "cause": "a < b is gone", "cure": "find <it>"}],
        warnings=["plain: 3 rows, 4 claimed"],
        sample=7,
    )
    text = render_page(told, profiles_of(told))
    notices = [node.text() for node in english(text).css(".notice")]
    assert "first 7 records" in notices[0]
    assert "lost is missing" in notices[1] and "a < b is gone" in notices[1] and "find <it>" in notices[1]
    assert notices[2] == "plain: 3 rows, 4 claimed"
    assert "--sample 7" in Html(text).css_first("#receipt").text()


def test_a_corpus_of_which_nothing_is_left_is_shown(tmp_path: Path) -> None:
    folder = write_manifests(tmp_path / "m", [corpus("none")], {"name": "small"})
    write_rows(folder, "none", [{"q": "问", "a": ""}])
    path, _ = built(folder, tmp_path)
    page = english((path / "report.html").read_text("utf-8"))
    assert cells(page, "funnel-table")[0][-2] == "0"
    assert "Nothing of this corpus was kept" in page.css_first("#samples").text()
    assert "NaN" not in page.html and "not checked" in page.css_first(".tiles").text()


def test_the_page_is_made_again_where_it_is_gone(whole: tuple[Path, Outcome], tmp_path: Path) -> None:
    folder = tmp_path / "build"
    shutil.copytree(whole[0], folder)
    before = (folder / PAGE).read_bytes()
    (folder / PAGE).unlink()
    assert write_page(Build(folder)) == (folder / PAGE)
    assert (folder / PAGE).read_bytes() == before
    with pytest.raises(UsageError, match="en, zh"):
        write_page(Build(folder), lang="fr")


counts = st.lists(st.integers(0, 10**9), min_size=1, max_size=8)


@given(counts, st.text(max_size=20))
def test_the_slices_of_a_bar_fill_it_in_order(told: list[int], name: str) -> None:
    drawn = Html(str(stacked([Slice(name, f"c{i}", n) for i, n in enumerate(told)], max(1, sum(told)), "x")))
    rects = [
        (r.attributes["class"], float(r.attributes["x"] or 0), float(r.attributes["width"] or 0))
        for r in drawn.css("rect")
    ]
    assert [css for css, _, _ in rects] == [f"c{i}" for i, n in enumerate(told) if n]
    edge = 0.0
    for _, x, width in rects:
        assert x == pytest.approx(edge, abs=0.05) and width > 0
        edge = x + width
    assert not rects or edge == pytest.approx(100, abs=0.05)
    wide = [(n, width) for n, (_, _, width) in zip([n for n in told if n], rects, strict=True) if n >= sum(told) * 0.01]
    for (a, first), (b, second) in pairwise(wide):
        assert first / second == pytest.approx(a / b, rel=0.02)


@given(counts)
def test_a_histogram_draws_every_bin_in_proportion(told: list[int]) -> None:
    names = [f"b{i}" for i in range(len(told))]
    drawn = Html(str(histogram(names, [("records", "kept", dict(zip(names, told, strict=True)))], "x")))
    titles = [node.text() for node in drawn.css("rect title")]
    assert titles == [f"{name}: {n:,} records" for name, n in zip(names, told, strict=True) if n]
    heights = [float(rect.attributes["height"] or 0) for rect in drawn.css("rect")]
    most = max(told)
    expected = [max(1.0, heights and max(heights) * n / most) for n in told if n]
    assert heights == pytest.approx(expected, abs=0.1)


def test_labels_of_pictures_are_escaped() -> None:
    for picture in (
        stacked([Slice(EVIL, "kept", 1)], 1, EVIL),
        bar(1, 2, "kept", EVIL),
        histogram([EVIL], [(EVIL, "kept", {EVIL: 1})], EVIL),
    ):
        page = Html(str(picture))
        assert page.css("script") == [] and page.css("img") == []
        assert EVIL in (page.css_first("svg").attributes["aria-label"] or "")
