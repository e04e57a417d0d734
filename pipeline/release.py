"""What of a build may be published, and in which parts: a Hub repository has one licence, a build has many.

Rows go out only where the terms allow passing them on; of the others a release holds record ids and marks alone, so
that anyone who has the sources can build them again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import LicenceError
from pipeline.licence import Terms, UseClass
from pipeline.manifest.corpus import Corpus

Part = tuple[str, str]


@dataclass
class LicenceClass:
    """Rows that may lie in one repository: one licence, one commercial use class.

    `parts`: (corpus, sub_source) -> records. `attributions` and `share_alike` are those of every part together.
    """

    licence: str
    commercial: str
    parts: dict[Part, int] = field(default_factory=dict)
    labelled: dict[Part, int] = field(default_factory=dict)
    attributions: set[str] = field(default_factory=set)
    generators: set[str] = field(default_factory=set)
    share_alike: bool = False

    @property
    def slug(self) -> str:
        """For a repository's name.

        >>> LicenceClass("LicenseRef-PAWS", "allowed").slug, LicenceClass("CC-BY-4.0", "unknown").slug
        ('licenseref-paws', 'cc-by-4.0-commercial-unknown')
        """
        name = re.sub(r"[^a-z0-9.]+", "-", self.licence.lower()).strip("-")
        return name if self.commercial == UseClass.ALLOWED else f"{name}-commercial-{self.commercial}"

    @property
    def corpora(self) -> list[str]:
        return sorted({corpus for corpus, _ in self.parts.keys() | self.labelled.keys()})

    @property
    def records(self) -> int:
        return sum(self.parts.values())


@dataclass
class Release:
    """The classes of a build's rows that may be passed on, most records first, and what must be held back and why."""

    classes: list[LicenceClass]
    held_back: dict[Part, str]


def told_terms(terms: Terms, records: int, labelled: int) -> dict[str, Any]:
    """What the receipt says of the terms of one sub-source: all that a release decides by."""
    return {
        "licence_id": terms.spdx,
        "underlying": terms.underlying,
        "commercial": terms.commercial.value,
        "redistribute": terms.redistribute.value,
        "share_alike": terms.share_alike,
        "attribution": terms.attribution,
        "generator": terms.generator.model if terms.generator else None,
        "records": records,
        "labelled": labelled,
    }


def release_of(receipt: Mapping[str, Any]) -> Release:
    """Group the rows of a build by licence class, from its receipt (`build.json`) alone.

    >>> one = {"licence_id": "CC0-1.0", "commercial": "allowed", "redistribute": "allowed", "share_alike": False}
    >>> one |= {"attribution": None, "generator": None, "records": 3, "labelled": 0}
    >>> held = one | {"redistribute": "unknown"}
    >>> release = release_of({"terms": {"a": {"": one}, "b": {"": one, "x": held}}})
    >>> [(c.slug, c.corpora, c.records) for c in release.classes], release.held_back
    ([('cc0-1.0', ['a', 'b'], 6)], {('b', 'x'): 'unknown'})
    """
    classes: dict[tuple[str, str], LicenceClass] = {}
    held_back: dict[Part, str] = {}
    for corpus, parts in receipt["terms"].items():
        for sub_source, told in parts.items():
            part = (corpus, sub_source)
            if told["redistribute"] != UseClass.ALLOWED:
                held_back[part] = told["redistribute"]
                continue
            key = (told["licence_id"], told["commercial"])
            mine = classes.setdefault(key, LicenceClass(*key))
            for counts, n in ((mine.parts, told["records"]), (mine.labelled, told["labelled"])):
                if n:
                    counts[part] = n
            mine.share_alike |= told["share_alike"]
            mine.attributions |= {told["attribution"]} - {None}
            mine.generators |= {told["generator"]} - {None}
    most_first = sorted(classes.values(), key=lambda c: (-c.records, c.licence, c.commercial))
    return Release(most_first, dict(sorted(held_back.items())))


def refuse_unpublishable(
    wanted: Iterable[str], corpora: Sequence[Corpus], receipt: Mapping[str, Any] | None = None
) -> None:
    """Refuse, before anything runs, to publish rows of these corpora where any of them may not be passed on.

    Judged by the manifests as they are now and, where a receipt is given, by the terms the build was made under: the
    stricter counts. A corpus that neither knows is refused as well.

    Raises LicenceError, naming every such corpus or sub-source and what may be published instead.
    """
    known = {corpus.name: corpus for corpus in corpora}
    built: Mapping[str, Any] = receipt["terms"] if receipt else {}
    refused: list[str] = []
    free: list[str] = []
    for name in dict.fromkeys(wanted):
        parts = _redistribution(known.get(name), built.get(name, {}))
        shut = {sub: use for sub, use in parts.items() if use != UseClass.ALLOWED}
        refused += [f"{name}/{sub} ({use})" if sub else f"{name} ({use})" for sub, use in sorted(shut.items())]
        if parts and not shut:
            free.append(name)
        if not parts:
            refused.append(f"{name} (no terms known)")
    if refused:
        instead = f"publish only {', '.join(free)}" if free else "leave these rows out"
        raise LicenceError(
            "publish",
            f"the terms do not allow passing on the rows of {', '.join(refused)}",
            f"{instead}; of the rest only record ids and marks may go out. Where you have found terms that allow it, "
            "put them with their evidence into the manifest, then build again",
        )


def _redistribution(corpus: Corpus | None, built: Mapping[str, Any]) -> dict[str, UseClass]:
    """Sub-source -> the stricter of what the manifest says now and what the build was made under."""
    found: dict[str, UseClass] = {}
    if corpus is not None:
        found = {part.sub_source: corpus.licence.of(part.sub_source).redistribute for part in corpus.parts}
    for sub_source, told in built.items():
        use = UseClass(told["redistribute"])
        found[sub_source] = max(use, found.get(sub_source, use), key=lambda u: u.rank)
    return found
