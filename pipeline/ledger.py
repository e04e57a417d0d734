"""The funnel: how many rows and records went where, and the proof that nothing was lost on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.errors import CountError, DriftError
from pipeline.manifest.corpus import Corpus

#: Stages that remove records, in the order they are applied.
STAGES = ("tombstone", "quality", "decontaminate", "consistency", "licence", "dedupe", "cap")


@dataclass(frozen=True)
class Funnel:
    """The counts of one corpus. Rows: read = used + filtered + quarantined. Records: converted = removed + kept.

    >>> removed = {"dedupe": {"exact_duplicate": 1}}
    >>> Funnel("bq", read=10, used=6, filtered=4, quarantined=0, converted=6, kept=5, removed=removed).prove()
    """

    corpus: str
    read: int
    used: int
    filtered: int
    quarantined: int
    converted: int
    kept: int
    removed: dict[str, dict[str, int]] = field(default_factory=dict)
    labelled: int = 0
    labelled_kept: int = 0
    labelled_removed: dict[str, int] = field(default_factory=dict)
    #: Kept records per licence and commercial use class: `CC0-1.0 (allowed)`. Not part of a sum where it is not told.
    licences: dict[str, int] = field(default_factory=dict)

    def prove(self) -> None:
        """Raises CountError where a sum does not hold; the build must not end well then."""
        removed = sum(n for reasons in self.removed.values() for n in reasons.values())
        self._equal(
            "rows read", self.read, "used + filtered + quarantined", self.used + self.filtered + self.quarantined
        )
        self._equal("records converted", self.converted, "kept + removed", self.kept + removed)
        self._equal(
            "labelled rows", self.labelled, "kept + removed", self.labelled_kept + sum(self.labelled_removed.values())
        )
        if self.licences:
            self._equal("records kept", self.kept, "the licence mix", sum(self.licences.values()))

    def _equal(self, left: str, a: int, right: str, b: int) -> None:
        if a != b:
            raise CountError(
                self.corpus,
                f"{left} is {a:,} but {right} is {b:,}",
                "this is a fault of the pipeline: please report it with build.json",
            )

    def at(self, stage: str) -> int:
        return sum(self.removed.get(stage, {}).values())

    def told(self) -> dict[str, Any]:
        return asdict(self)


def total(funnels: Iterable[Funnel]) -> Funnel:
    """The sum over corpora, under the name `all`."""
    listed = list(funnels)
    removed: dict[str, dict[str, int]] = {}
    labelled_removed: dict[str, int] = {}
    licences: dict[str, int] = {}
    for funnel in listed:
        for stage, reasons in funnel.removed.items():
            for reason, n in reasons.items():
                removed.setdefault(stage, {})[reason] = removed.get(stage, {}).get(reason, 0) + n
        for reason, n in funnel.labelled_removed.items():
            labelled_removed[reason] = labelled_removed.get(reason, 0) + n
        for licence, n in funnel.licences.items():
            licences[licence] = licences.get(licence, 0) + n
    names = ("read", "used", "filtered", "quarantined", "converted", "kept", "labelled", "labelled_kept")
    sums = {name: sum(getattr(f, name) for f in listed) for name in names}
    return Funnel("all", **sums, removed=removed, labelled_removed=labelled_removed, licences=licences)


#: What the text that a record was removed for is in its benchmark, by the reason in the ledger.
ROLES = {
    "benchmark_query": "query",
    "benchmark_joined": "query",
    "benchmark_inside": "query",
    "benchmark_pair": "pair",
}
#: The same by the flag of a kept record; `negative` was taken out of the record singly.
FLAGGED_ROLES = {
    "benchmark_positive": "positive",
    "corpus_overlap": "passage",
    "benchmark_negative": "negative",
    "contaminated": "query or pair",
}
KINDS = ("exact", "edited", "embedded")


@dataclass
class Leak:
    """Records that hold text of one task in one role: removed ones by how they hold it, and kept ones with a flag."""

    task: str
    role: str
    exact: int = 0
    edited: int = 0
    embedded: int = 0
    flagged: int = 0

    @property
    def removed(self) -> int:
        return self.exact + self.edited + self.embedded


def leaks_of(removed: Mapping[str, Mapping[str, Mapping[str, int]]], flags: Mapping[str, int]) -> list[Leak]:
    """Leaks by task and role from the removed records (task -> reason -> kind -> records) and the flags of kept ones.

    >>> told = leaks_of({"BQ": {"benchmark_query": {"exact": 2, "edited": 1}}}, {"corpus_overlap:BQ": 4, "markup": 3})
    >>> [(leak.task, leak.role, leak.removed, leak.flagged) for leak in told]
    [('BQ', 'passage', 0, 4), ('BQ', 'query', 3, 0)]
    """
    found: dict[tuple[str, str], Leak] = {}

    def leak(task: str, role: str) -> Leak:
        return found.setdefault((task, role), Leak(task, role))

    for task, reasons in removed.items():
        for reason, kinds in reasons.items():
            for kind, records in kinds.items():
                of = leak(task, ROLES.get(reason, reason))
                setattr(of, kind, getattr(of, kind) + records)
    for flag, records in flags.items():
        name, _, task = flag.partition(":")
        if task and name in FLAGGED_ROLES:
            leak(task, FLAGGED_ROLES[name]).flagged += records
    return [found[key] for key in sorted(found)]


def personal_rows(receipt: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, int]]] | None:
    """Corpus, kind and counts (`pipeline.personal.Tally`) of personal data in what is kept; None where nobody counted."""
    if "personal" not in receipt:
        return None
    told = receipt["personal"]
    return [(corpus, kind, counts) for corpus in sorted(told) for kind, counts in told[corpus].items()]


def masked_values(receipt: Mapping[str, Any]) -> dict[str, int]:
    """Values that were masked, by kind, over all corpora."""
    found: Counter[str] = Counter()
    for values in receipt.get("masked", {}).values():
        found.update(values)
    return dict(sorted(found.items()))


def hold_counts(corpus: Corpus, totals: Mapping[str, int]) -> list[str]:
    """Hold the counts of a whole conversion against the manifest's `expect`; the warnings for claimed ones.

    Apart from `convert`, so that an edited `expect` is judged without converting again.

    Raises DriftError, naming every measured count that does not hold with both numbers.
    """
    expect = corpus.expect
    if expect is None:
        return []
    found = {"rows": totals["read"], "records": totals["records"], "labelled": totals["labelled"]}
    wrong = [
        f"{kind}: expected {expected:,}, found {found[kind]:,}"
        for kind in found
        if (expected := getattr(expect, kind)) is not None and expected != found[kind]
    ]
    if wrong and expect.seen == "measured":
        cure = "look at what changed upstream, then give the new counts in expect"
        raise DriftError(corpus.name, f"measured counts do not hold: {'; '.join(wrong)}", cure)
    return [f"{fault} (claimed)" for fault in wrong]
