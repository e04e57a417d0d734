"""The report page of a build: one HTML file that reads well anywhere, and says the same as funnel.json and the ledger.

No script, no network, no date: it can be read from a folder, a mail or a printout. It is made from the build's folder
alone, and lies outside the build's identity: it tells what this run cost. In English and Chinese, with a switch.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pipeline.card import YARDSTICK, licence_mix, losses_of, rebuild_command, yardstick_rows
from pipeline.disk import writable
from pipeline.errors import UsageError
from pipeline.folder import PAGE
from pipeline.ledger import total
from pipeline.licence import UseClass, strictest
from pipeline.rendering import environment
from pipeline.report import sections
from pipeline.report.charts import Slice, bar, stacked
from pipeline.report.difference import difference
from pipeline.report.opened import Build
from pipeline.report.profile import Profiles, all_leaks, profiles_of
from pipeline.report.removed import looks
from pipeline.report.repeats import repeats
from pipeline.report.samples import gold_counts, kept_pairs, score_counts, scored_pairs
from pipeline.report.words import CHINESE, meaning
from pipeline.store import write_durably

#: With `show_all` the page is for whoever built it; it gets a name of its own, so that it is not passed on by mistake.
NAME_ALL = "report-all.html"
LANGUAGES = ("en", "zh")
#: Characters of a text on the page; rows of its longest tables.
SHOWN, ROWS = 400, 200


def write_page(
    build: Build, *, show_all: bool = False, lang: str = "en", to: Path | None = None, profiles: Profiles | None = None
) -> Path:
    """Make the page of a finished build, in its folder or at `to`; `profiles` where they are known already.

    `show_all`: with texts that may not be passed on. Raises UsageError for a language that it does not speak, StoreError
    where the file cannot be written.
    """
    if lang not in LANGUAGES:
        raise UsageError(f"--lang {lang}", "the page does not speak it", f"choose one of: {', '.join(LANGUAGES)}")
    place = to or build.folder / (NAME_ALL if show_all else PAGE)
    page = render_page(build, profiles or profiles_of(build), show_all=show_all, lang=lang)
    with writable(place.parent, "writing the report page"):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_durably(place, page.encode())
    return place


def render_page(build: Build, profiles: Profiles, *, show_all: bool = False, lang: str = "en") -> str:
    """The page as HTML. `profiles` holds one profile per corpus of the build."""
    receipt, funnels = build.receipt, build.funnels
    whole, losses = total(funnels), losses_of(funnels)
    mix = licence_mix(receipt)
    uses = [Slice(use.value, use.value, sum(s.records for s in mix if s.commercial == use)) for use in UseClass]
    top = max((share.records for share in mix), default=1)
    told = {
        "lang": lang,
        "show_all": show_all,
        "receipt": receipt,
        "recipe": receipt["recipe"],
        "total": whole,
        "funnels": funnels,
        "about": {name: build.about(name) for name in build.corpora},
        "losses": losses,
        "legend": [("kept", "kept"), *((loss.key, loss.name) for loss in losses)],
        "bars": {f.corpus: sections.funnel_bar(f, losses) for f in [*funnels, whole]},
        "steps": sections.funnel_steps(whole, losses),
        "uses": uses,
        "use_bar": stacked(uses, max(1, whole.kept), "commercial use"),
        "mix": [(share, bar(share.records, top, share.commercial, share.licence)) for share in mix],
        "shares": _shares(build),
        "reasons": sections.reasons(whole),
        "repeats": sections.repeated(repeats(build), {f.corpus: f.converted for f in funnels}),
        "leaks": sections.leaked(all_leaks(profiles)),
        "leaked_corpora": sections.leaked_corpora(profiles, funnels),
        "flags": sections.flags(profiles),
        "personal": sections.personal(receipt.get("personal", {}), receipt.get("masked", {})),
        "lengths": [sections.lengths(profiles, side) for side in ("text", "text_pos")],
        "similarity": sections.similarity(profiles, float(receipt["recipe"]["dedupe"]["threshold"])),
        "scores": sections.scores({name: score_counts(build, name) for name in build.corpora}),
        "gold": sections.gold({name: gold_counts(build, name) for name in build.corpora}),
        "looks": looks(build, show_all=show_all),
        "samples": {name: kept_pairs(build, name, show_all=show_all) for name in build.corpora},
        "scored": {name: scored_pairs(build, name, show_all=show_all) for name in build.corpora},
        "has_scores": build.has_scores,
        "has_texts": any(build.texts(name) for name in build.corpora),
        "yardstick": yardstick_rows(receipt),
        "meanings": YARDSTICK,
        "costs": sections.costs(build.run.get("steps", [])),
        "command": rebuild_command(receipt),
        "most_rows": ROWS,
    }
    return _environment().get_template("report/page.html.jinja").render(told)


def _shares(build: Build) -> list[tuple[Any, str, Markup]]:
    """Funnel, what kind of text, bar in the colour of its strictest use class; largest first."""
    most = max((f.kept for f in build.funnels), default=0)
    told = []
    for funnel in sorted(build.funnels, key=lambda f: -f.kept):
        about = build.about(funnel.corpus)
        use = strictest(UseClass(terms["commercial"]) for terms in about["parts"].values())
        kind = " · ".join(dict.fromkeys(word for word in (about["domain"], about["task"], about["prompt"]) if word))
        told.append((funnel, kind, bar(funnel.kept, most, use.value, funnel.corpus)))
    return told


@cache
def _environment() -> jinja2.Environment:
    made = environment(html=True, n=lambda count: f"{count:,}", percent=_percent, cut=_cut, word=_word)
    made.globals["say"] = _say
    made.globals["meaning"] = lambda reason: _say(*meaning(reason))
    made.globals["both"] = _both
    return made


def _say(english: str, chinese: str, **told: Any) -> Markup:
    """A phrase in both languages, one of which is hidden; `{name}` stands for what is told, escaped."""
    if english == chinese:
        return Markup.escape(english)
    phrase = Markup('<span class="t" lang="{}">{}</span>')
    return Markup("").join(
        phrase.format(lang, Markup(text).format(**told))
        for lang, text in zip(LANGUAGES, (english, chinese), strict=True)
    )


def _word(word: str) -> Markup:
    return _say(word, CHINESE.get(word, word))


def _both(left: str, right: str) -> tuple[Markup, Markup]:
    """Two texts with what differs marked."""
    sides = difference(left, right, SHOWN)
    marked = Markup("<mark>{}</mark>")
    drawn = [Markup("").join(marked.format(run.text) if run.differs else run.text for run in side) for side in sides]
    return drawn[0], drawn[1]


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _percent(part: int, whole: int) -> str:
    """Never rounded to a claim: what is not all is not 100.0 %, what is not nothing is not 0.0 %."""
    share = 100 * part / whole if whole else 0.0
    if 0 < part < whole:
        share = min(max(share, 0.1), 99.9)
    return f"{share:.1f}\N{NO-BREAK SPACE}%"
