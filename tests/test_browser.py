"""The eyes of the other tests: a page with known faults, each of which must be seen."""

from __future__ import annotations

from pathlib import Path

from tests.browser import faults_of

BROKEN = """<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<style>p { margin: 0 }</style><input type="radio" name="lang" id="en"><input type="radio" name="lang" id="zh">
<main><p style="width: 3000px">wide</p><div style="position: relative; height: 3em"><p>first of two</p>
<p style="position: absolute; top: 0">second of two</p></div><details><summary>more</summary>
<p style="position: relative; top: -1.3em">folded away</p></details><span class="t" lang="en">word</span></main>
<img src="http://127.0.0.1:9/nothing.png"><script>console.error("oh dear")</script>"""


def test_every_fault_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(BROKEN, "utf-8")
    told = "\n".join(faults_of(page))
    for fault in (
        "beyond the edge: P wide",
        "over one another: first of two / second of two",
        "1280 en: 3",
        "another language than zh shows",
        "oh dear",
        "asks for http://127.0.0.1:9/nothing.png",
        "net::ERR_",
    ):
        assert fault in told, fault
    assert told.count("folded away") == 4  # only where it is unfolded
