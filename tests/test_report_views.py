"""Explain and preview in a terminal: reasons in words, both similarities, what differs in colour."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console, RenderableType
from rich.text import Text

from pipeline.build import Outcome
from pipeline.report.explain import Fate, explain
from pipeline.report.opened import Build, open_build
from pipeline.report.preview import preview
from pipeline.report.views import fate_view, pairs_view
from tests.command import m3e
from tests.test_report import SENTENCES

RED, GREEN = 1, 2


@pytest.fixture
def build(reported: tuple[Path, Outcome]) -> Build:
    return open_build(reported[0])


def drawn(view: RenderableType, width: int = 120) -> Text:
    """What a terminal shows, with its styles."""
    told = io.StringIO()
    Console(file=told, width=width, force_terminal=True, color_system="truecolor").print(view)
    return Text.from_ansi(told.getvalue())


def coloured(shown: Text, colour: int) -> set[str]:
    """Pieces that are underlined in one of the terminal's colours."""
    return {
        shown.plain[span.start : span.end]
        for span in shown.spans
        if not isinstance(span.style, str)
        and span.style.underline
        and span.style.color
        and span.style.color.number == colour
    }


def removed(build: Build, reason: str) -> Fate:
    ledger = pl.concat([pl.read_parquet(build.ledger(name)) for name in build.corpora])
    (fate,) = explain(build, ledger.filter(pl.col("reason") == reason)["record_id"].min())  # type: ignore[arg-type]
    return fate


def shingles(text: str, k: int) -> set[str]:
    return {text[i : i + k] for i in range(len(text) - k + 1)}


def test_a_near_duplicate_shows_what_differs_and_both_similarities(build: Build) -> None:
    fates = explain(build, SENTENCES[0] + "啊")
    (fate,) = [one for one in fates if not one.kept]
    key = SENTENCES[0].replace("，", "")
    one, two = shingles(key, 3), shingles(key + "啊", 3)
    assert fate.sides is not None
    assert fate.sides[0] == pytest.approx(len(one & two) / len(one | two)) and fate.sides[1] == 1
    assert fate.similarity == pytest.approx(min(fate.sides))
    shown = drawn(fate_view(fate))
    assert coloured(shown, RED) == {"啊"} and coloured(shown, GREEN) == set()
    for words in (
        "removed by dedupe",
        "Why: nearly a kept record",
        f"{fate.sides[0]:.3f}",
        "removed · plain",
        "kept · evil",
    ):
        assert words in shown.plain


def test_a_swapped_duplicate_stands_beside_its_sides_exchanged(build: Build) -> None:
    fate = removed(build, "swapped_duplicate")
    shown = drawn(fate_view(fate))
    assert fate.sides == (1.0, 1.0) and "sides exchanged" in shown.plain
    assert coloured(shown, RED) == coloured(shown, GREEN) == set()


def test_a_leak_names_its_benchmark_and_a_kept_record_its_flags(build: Build) -> None:
    assert "Benchmark: Exam" in drawn(fate_view(removed(build, "benchmark_query"))).plain
    shown = drawn(fate_view(Fate("1" * 32, "c", True, ("corpus_overlap:Exam", "markup"), pair=("[b]x[/b]", "y")))).plain
    assert "Flag corpus_overlap:Exam: holds a passage" in shown and "[b]x[/b]" in shown and "kept" in shown
    gone = Fate("1" * 32, "c", False, (), stage="quality", reason="too_short")
    assert "no longer in the store" in drawn(fate_view(gone)).plain


@pytest.mark.parametrize("width", [40, 80, 160])
def test_nothing_is_lost_in_a_narrow_terminal(build: Build, width: int) -> None:
    fate = removed(build, "near_duplicate")
    lines = drawn(fate_view(fate), width).plain.splitlines()
    # A character of Chinese takes two columns.
    assert all(len(line) <= width for line in lines)
    told = "".join(letter for line in lines for letter in line if letter not in "│╭╮╰╯─ \n")
    assert fate.pair is not None
    assert set(fate.pair[1]) <= set(told)


def test_pairs_are_shown_whole_with_terms(build: Build) -> None:
    for name, frame in preview(build, n=3):
        shown = drawn(pairs_view(name, build.about(name)["title"], frame.to_dicts()), 200).plain
        for row in frame.iter_rows(named=True):
            assert row["record_id"] in shown and row["licence_id"] in shown and row["text"][:20] in shown
    assert "nothing was kept" in drawn(pairs_view("a", "a", [])).plain


def test_the_verbs_say_it(build: Build) -> None:
    told = m3e("explain", SENTENCES[0] + "啊", "--build", build.folder)
    assert told.returncode == 0 and "removed by dedupe: near_duplicate of" in told.stdout and "Why:" in told.stdout
    shown = m3e("preview", build.folder, "--corpus", "plain", "-n", "1")
    assert "号车的时刻表" in shown.stdout


def test_the_report_can_go_elsewhere_and_speak_chinese(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    page = tmp_path / "page.html"
    told = m3e("report", build.folder, "--out", page, "--lang", "zh", "--open")
    assert told.stdout.strip() == page.as_uri() and opened == [page.as_uri()]
    assert 'id="zh" aria-label="中文" checked' in page.read_text("utf-8")
    wrong = m3e("report", build.folder, "--out", page / "page.html")
    assert wrong.returncode == 1 and "Cure" in wrong.stderr and "Traceback" not in wrong.stderr
