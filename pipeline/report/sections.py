"""What each section of the report page shows, worked out from funnels, profiles and costs: numbers with their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from rich.filesize import decimal

from pipeline.card import Loss
from pipeline.ledger import Funnel, Leak
from pipeline.report.charts import Slice, bar, histogram, stacked
from pipeline.report.profile import LENGTH_BINS, Profiles

#: Pairs of corpora told in words above the matrix, steps in the table of costs, corpora in the table of leaks.
MOST = 8
Counts = Mapping[str, int]


def funnel_bar(funnel: Funnel, losses: Sequence[Loss]) -> Markup:
    slices = [Slice("kept", "kept", funnel.kept), *(Slice(loss.name, loss.key, loss.of(funnel)) for loss in losses)]
    return stacked(slices, max(1, funnel.converted), funnel.corpus)


def funnel_steps(whole: Funnel, losses: Sequence[Loss]) -> list[tuple[str, int, int, Markup]]:
    """The funnel as steps: what is taken, how many records, how many are left, and a bar of both."""
    left = whole.converted
    told = [("records", 0, left, stacked([Slice("left", "kept", left)], max(1, left), "records"))]
    for loss in losses:
        gone = loss.of(whole)
        left -= gone
        slices = [Slice("left", "kept", left), Slice(loss.name, loss.key, gone)]
        told.append((loss.name, gone, left, stacked(slices, max(1, whole.converted), f"after {loss.name}")))
    return told


def reasons(whole: Funnel) -> list[tuple[str, str, int, Markup]]:
    """Stage, reason, records, bar; most first."""
    listed = [(stage, reason, n) for stage, of in whole.removed.items() for reason, n in of.items() if n]
    most = max((n for *_, n in listed), default=1)
    return [
        (stage, reason, n, bar(n, most, _css(stage, reason), reason))
        for stage, reason, n in sorted(listed, key=lambda one: (-one[2], one[0], one[1]))
    ]


def _css(stage: str, reason: str) -> str:
    return reason.removesuffix("_duplicate") if stage == "dedupe" else stage


def repeated(told: Mapping[str, Counts], converted: Counts) -> dict[str, Any]:
    """Who repeats whom as a matrix: rows lost the records, columns keep the copies; the largest meetings in words.

    A cell: records, and their share of the row's records in percent.
    """
    found = {holder for row in told.values() for holder in row}
    # In the order of the rows, so that a corpus meets itself on the diagonal.
    holders = [name for name in [*told, *sorted(found - set(told))] if name in found]
    cells = {
        loser: [(row.get(holder, 0), 100 * row.get(holder, 0) / max(1, converted[loser])) for holder in holders]
        for loser, row in told.items()
    }
    across = [(n, loser, holder) for loser, row in told.items() for holder, n in row.items() if loser != holder]
    largest = sorted(across, key=lambda one: (-one[0], one[1], one[2]))[:MOST]
    within = sum(row.get(loser, 0) for loser, row in told.items())
    return {
        "holders": holders,
        "rows": cells,
        "largest": [(n, loser, holder, converted[loser]) for n, loser, holder in largest],
        "within": within,
        "across": sum(n for n, *_ in across),
    }


def leaked(leaks: Sequence[Leak]) -> list[tuple[Leak, Markup]]:
    """Leaks with a bar by kind, the largest first."""
    most = max((leak.removed for leak in leaks), default=0) or 1
    return [
        (leak, stacked([Slice(k, k, getattr(leak, k)) for k in ("exact", "edited", "embedded")], most, leak.task))
        for leak in sorted(leaks, key=lambda leak: (-leak.removed, -leak.flagged, leak.task, leak.role))
    ]


def leaked_corpora(profiles: Profiles, funnels: Sequence[Funnel]) -> list[tuple[str, int, int, list[tuple[str, int]]]]:
    """Corpus, records lost to benchmarks, its records, and to which benchmarks most; the largest losses first."""
    told = []
    for funnel in funnels:
        tasks = {
            task: sum(sum(k.values()) for k in of.values())
            for task, of in profiles[funnel.corpus]["benchmarks"].items()
        }
        if tasks:
            most = sorted(tasks.items(), key=lambda one: (-one[1], one[0]))
            told.append((funnel.corpus, sum(tasks.values()), funnel.converted, most[:MOST]))
    return sorted(told, key=lambda one: (-one[1], one[0]))


def flags(profiles: Profiles) -> list[tuple[str, int]]:
    """Flag, kept records that carry it; most first."""
    counts: dict[str, int] = {}
    for profile in profiles.values():
        for flag, records in profile["flags"].items():
            counts[flag] = counts.get(flag, 0) + records
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))


def personal(told: Mapping[str, Mapping[str, Counts]], masked: Mapping[str, Counts]) -> dict[str, Any]:
    """Per corpus where any was found or masked: rows that hold each kind, all values, values masked; the kinds."""
    kinds = sorted({kind for of in told.values() for kind in of})
    rows = []
    for name in sorted(told):
        of = told[name]
        values, hidden = sum(one["values"] for one in of.values()), sum(masked.get(name, {}).values())
        if values or hidden:
            holders = [of[kind]["records"] + of[kind]["labelled"] if kind in of else 0 for kind in kinds]
            rows.append((name, holders, values, hidden))
    return {"kinds": kinds, "rows": rows}


def lengths(profiles: Profiles, side: str) -> dict[str, Any]:
    counts: dict[int, int] = {}
    for profile in profiles.values():
        for low, records in profile["lengths"][side]["bins"].items():
            counts[int(low)] = counts.get(int(low), 0) + records
    lows = [low for low in LENGTH_BINS if min(counts, default=1) <= low <= max(counts, default=1)]
    named = {str(low): counts.get(low, 0) for low in lows}
    every = 1 if len(lows) <= 10 else 2
    picture = histogram(list(named), [("records", "kept", named)], f"lengths of {side} in characters", every=every)
    longest = max((profile["lengths"][side]["longest"] for profile in profiles.values()), default=0)
    medians = {name: profile["lengths"][side]["median"] for name, profile in profiles.items()}
    return {"side": side, "picture": picture, "longest": longest, "records": sum(counts.values()), "medians": medians}


def similarity(profiles: Profiles, threshold: float) -> dict[str, Any]:
    merged: dict[str, dict[str, int]] = {}
    for profile in profiles.values():
        for reason, counts in profile["similarity"].items():
            mine = merged.setdefault(reason, {})
            for hundredth, records in counts.items():
                mine[hundredth] = mine.get(hundredth, 0) + records
    drawn = {
        reason: {int(at): n for at, n in counts.items() if int(at) < 100} for reason, counts in sorted(merged.items())
    }
    low = min([round(threshold * 100), *(at for counts in drawn.values() for at in counts)])
    series = [
        (name, name, {f"{at / 100:.2f}": n for at, n in drawn.get(f"{name}_duplicate", {}).items()})
        for name in ("near", "swapped")
    ]
    names = [f"{at / 100:.2f}" for at in range(low, 100)]
    picture = histogram(names, series, "similarity of removed near duplicates", every=5 if len(names) > 12 else 2)
    # Swapped exact copies are so many that they would flatten the rest.
    same = sum(counts.get("100", 0) for counts in merged.values())
    return {"picture": picture, "records": sum(sum(c.values()) for c in drawn.values()), "same": same}


def scores(told: Mapping[str, Mapping[str, Counts]]) -> dict[str, Any] | None:
    """Cosines of positives above those of negatives, on one scale; None for a build without scores."""
    merged: dict[str, dict[str, int]] = {"positive": {}, "negative": {}}
    for of in told.values():
        for kind, counts in of.items():
            for low, n in counts.items():
                merged[kind][low] = merged[kind].get(low, 0) + n
    found = [round(float(low) * 20) for counts in merged.values() for low in counts]
    if not found:
        return None
    names = [f"{at / 20:.2f}" for at in range(min(found), max(found) + 1)]
    pictures = {
        kind: histogram(
            names, [(f"{kind}s", css, merged[kind])], f"cosines of {kind}s", every=4 if len(names) > 8 else 1
        )
        for kind, css in (("positive", "kept"), ("negative", "leaked"))
    }
    return {"pictures": pictures, "counts": {kind: sum(counts.values()) for kind, counts in merged.items()}}


def gold(told: Mapping[str, Counts]) -> list[tuple[str, int, Markup]]:
    """Per corpus with gold scores: how many were looked at, and their histogram."""
    return [
        (
            name,
            sum(counts.values()),
            histogram(list(counts), [("records", "kept", counts)], f"gold scores of {name}", every=4),
        )
        for name, counts in told.items()
        if counts
    ]


def costs(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Per stage: steps, seconds, the most memory, bar; and the longest steps. None where nobody measured."""
    stages: dict[str, list[Mapping[str, Any]]] = {}
    for step in steps:
        stages.setdefault(step["stage"], []).append(step)
    if not stages:
        return None
    sums = {stage: sum(one["seconds"] for one in of) for stage, of in stages.items()}
    most = max(sums.values()) or 1.0
    told = [
        (stage, len(of), sums[stage], _memory(of), bar(round(1000 * sums[stage]), round(1000 * most), "near", stage))
        for stage, of in sorted(stages.items(), key=lambda one: (-sums[one[0]], one[0]))
    ]
    longest = sorted(steps, key=lambda one: (-one["seconds"], one["stage"], one["corpus"]))[:MOST]
    return {
        "stages": told,
        "longest": [(one["stage"], one["corpus"], one["seconds"], _memory([one])) for one in longest],
        "seconds": sum(sums.values()),
        "memory": _memory(steps),
        "cached": sum(bool(one.get("cached")) for one in steps),
        "steps": len(steps),
    }


def _memory(steps: Sequence[Mapping[str, Any]]) -> str:
    peak = max((one.get("peak_bytes", 0) for one in steps), default=0)
    return decimal(peak) if peak else "–"
