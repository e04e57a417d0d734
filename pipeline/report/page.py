"""The report page of a build: one HTML file that reads well anywhere, and says the same as funnel.json and the ledger.

No script, no network, no date: the same build gives the same bytes, from a folder, a mail or a printout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from pipeline.card import YARDSTICK, Loss, licence_mix, losses_of, parts_of, rebuild_command, yardstick_rows
from pipeline.errors import UsageError
from pipeline.ledger import KINDS, Funnel, Leak, leaks_of, total
from pipeline.licence import UseClass, strictest
from pipeline.manifest.corpus import Corpus
from pipeline.report.charts import Slice, bar, histogram, stacked
from pipeline.report.opened import Build
from pipeline.report.profile import LENGTH_BINS

Profiles = Mapping[str, Mapping[str, Any]]

#: What each reason and flag means, for a reader who has not read the code.
MEANINGS = {
    "tombstone": "asked to be taken out: listed in tombstones.txt",
    "empty_side": "one side is empty after cleaning",
    "equal_sides": "both sides say the same",
    "too_short": "a side is shorter than min_chars",
    "too_long": "a side is longer than max_chars",
    "script_ratio": "too little of the script the corpus is in",
    "markup": "leftover markup",
    "repetition": "a text repeats itself",
    "refusal": "a model refuses or speaks of itself",
    "template_opening": "an opening shared by too many texts",
    "hub_positive": "one positive for too many texts",
    "generic_title": "a title that says nothing",
    "benchmark_query": "holds a query of a benchmark",
    "benchmark_pair": "both sides are a pair of a benchmark",
    "benchmark_joined": "both sides together are a text of a benchmark",
    "benchmark_inside": "a benchmark's query stands inside the text",
    "benchmark_positive": "holds a positive passage of a benchmark",
    "benchmark_negative": "a negative was a benchmark's text and was taken out",
    "corpus_overlap": "holds a passage that a benchmark searches through",
    "contaminated": "matches a benchmark",
    "use_class": "its terms do not fit the recipe",
    "exact_duplicate": "an exact copy of a kept record",
    "near_duplicate": "nearly a kept record, on both sides",
    "swapped_duplicate": "a kept record with its sides exchanged",
    "positives_per_text": "more positives of one text than the cap",
    "keeper_over_cap": "duplicate of a record that fell to the cap",
}


def render_page(
    receipt: Mapping[str, Any], funnels: Sequence[Funnel], corpora: Sequence[Corpus], profiles: Profiles
) -> str:
    """report.html of a build. `profiles` holds one profile (`report.profile.profile`) per corpus of the funnels."""
    whole, losses = total(funnels), losses_of(funnels)
    known = {corpus.name: corpus for corpus in corpora}
    mix = licence_mix(receipt)
    uses = [Slice(use.value, use.value, sum(s.records for s in mix if s.commercial == use)) for use in UseClass]
    top = max((share.records for share in mix), default=1)
    told = {
        "receipt": receipt,
        "recipe": receipt["recipe"],
        "total": whole,
        "funnels": funnels,
        "corpora": known,
        "losses": losses,
        "legend": [("kept", "kept"), *((loss.key, loss.name) for loss in losses)],
        "bars": {f.corpus: _funnel_bar(f, losses) for f in [*funnels, whole]},
        "uses": uses,
        "use_bar": stacked(uses, max(1, whole.kept), "commercial use"),
        "mix": [(share, bar(share.records, top, share.commercial, share.licence)) for share in mix],
        "shares": _shares(funnels, known),
        "parts": list(parts_of(c for c in corpora if c.name in profiles)),
        "reasons": _reasons(whole),
        "leaks": all_leaks(profiles),
        "flags": _flags(profiles),
        "lengths": [_lengths(profiles, side) for side in ("text", "text_pos")],
        "similarity": _similarity(profiles, float(receipt["recipe"]["dedupe"]["threshold"])),
        "samples": {name: told["samples"] for name, told in profiles.items()},
        "yardstick": yardstick_rows(receipt),
        "meanings": YARDSTICK,
        "command": rebuild_command(receipt),
    }
    return _environment().get_template("report.html.jinja").render(told)


def page_of(build: Build) -> Path:
    """The report page of a finished build. Raises UsageError where the build has none."""
    page = build.folder / "report.html"
    if not page.is_file():
        raise UsageError(
            str(build.folder), "this build holds no report.html", f"run again: {rebuild_command(build.receipt)}"
        )
    return page


def all_leaks(profiles: Profiles) -> list[Leak]:
    """Benchmark text by task and role, over all corpora."""
    whole: dict[tuple[str, str], Leak] = {}
    for profile in profiles.values():
        for one in leaks_of(profile["benchmarks"], profile["flags"]):
            sum_ = whole.setdefault((one.task, one.role), Leak(one.task, one.role))
            for name in (*KINDS, "flagged"):
                setattr(sum_, name, getattr(sum_, name) + getattr(one, name))
    return [whole[key] for key in sorted(whole)]


def _funnel_bar(funnel: Funnel, losses: Sequence[Loss]) -> Markup:
    slices = [Slice("kept", "kept", funnel.kept), *(Slice(loss.name, loss.key, loss.of(funnel)) for loss in losses)]
    return stacked(slices, max(1, funnel.converted), funnel.corpus)


def _shares(funnels: Sequence[Funnel], known: Mapping[str, Corpus]) -> list[tuple[Funnel, str, Markup]]:
    """Funnel, what kind of text, bar in the colour of its strictest use class; largest first."""
    most = max((f.kept for f in funnels), default=0)
    told = []
    for funnel in sorted(funnels, key=lambda f: -f.kept):
        corpus = known[funnel.corpus]
        use = strictest(terms.commercial for _, _, terms in parts_of([corpus]))
        kind = " · ".join(dict.fromkeys(word for word in (corpus.domain, corpus.task, corpus.prompt) if word))
        told.append((funnel, kind, bar(funnel.kept, most, use.value, funnel.corpus)))
    return told


def _reasons(whole: Funnel) -> list[tuple[str, str, str, int, Markup]]:
    """Stage, reason, meaning, records, bar; most first."""
    listed = [(stage, reason, n) for stage, reasons in whole.removed.items() for reason, n in reasons.items() if n]
    most = max((n for *_, n in listed), default=1)
    return [
        (stage, reason, MEANINGS.get(reason, ""), n, bar(n, most, _css(stage, reason), reason))
        for stage, reason, n in sorted(listed, key=lambda one: (-one[2], one[0], one[1]))
    ]


def _css(stage: str, reason: str) -> str:
    return reason.removesuffix("_duplicate") if stage == "dedupe" else stage


def _flags(profiles: Profiles) -> list[tuple[str, str, int]]:
    """Flag, meaning, kept records that carry it; most first."""
    counts: dict[str, int] = {}
    for profile in profiles.values():
        for flag, records in profile["flags"].items():
            counts[flag] = counts.get(flag, 0) + records
    listed = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return [(flag, MEANINGS.get(flag.partition(":")[0], ""), records) for flag, records in listed]


def _lengths(profiles: Profiles, side: str) -> dict[str, Any]:
    counts: dict[int, int] = {}
    for profile in profiles.values():
        for low, records in profile["lengths"][side]["bins"].items():
            counts[int(low)] = counts.get(int(low), 0) + records
    lows = [low for low in LENGTH_BINS if min(counts, default=1) <= low <= max(counts, default=1)]
    named = {str(low): counts.get(low, 0) for low in lows}
    every = 1 if len(lows) <= 10 else 2
    picture = histogram(list(named), [("records", "kept", named)], f"lengths of {side} in characters", every=every)
    longest = max((profile["lengths"][side]["longest"] for profile in profiles.values()), default=0)
    return {"side": side, "picture": picture, "longest": longest, "records": sum(counts.values())}


def _similarity(profiles: Profiles, threshold: float) -> dict[str, Any]:
    reasons: dict[str, dict[str, int]] = {}
    for profile in profiles.values():
        for reason, counts in profile["similarity"].items():
            mine = reasons.setdefault(reason, {})
            for hundredth, records in counts.items():
                mine[hundredth] = mine.get(hundredth, 0) + records
    drawn = {
        reason: {int(at): n for at, n in counts.items() if int(at) < 100} for reason, counts in sorted(reasons.items())
    }
    low = min([round(threshold * 100), *(at for counts in drawn.values() for at in counts)])
    series = [
        (name, name, {f"{at / 100:.2f}": n for at, n in drawn.get(f"{name}_duplicate", {}).items()})
        for name in ("near", "swapped")
    ]
    names = [f"{at / 100:.2f}" for at in range(low, 100)]
    picture = histogram(names, series, "similarity of removed near duplicates", every=5 if len(names) > 12 else 2)
    # Swapped exact copies are so many that they would flatten the rest.
    same = sum(counts.get("100", 0) for counts in reasons.values())
    return {"picture": picture, "records": sum(sum(c.values()) for c in drawn.values()), "same": same}


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["n"] = lambda count: f"{count:,}"
    made.filters["percent"] = _percent
    return made


def _percent(part: int, whole: int) -> str:
    """Never rounded to a claim: what is not all is not 100.0 %, what is not nothing is not 0.0 %."""
    share = 100 * part / whole if whole else 0.0
    if 0 < part < whole:
        share = min(max(share, 0.1), 99.9)
    return f"{share:.1f} %"
