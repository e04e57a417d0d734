"""What of a build may be published, and in which parts: a Hub repository has one licence, a build has many.

Rows go out only where the terms allow passing them on; of the others a release holds record ids and marks alone, so
that anyone who has the sources can build them again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import LicenceError
from pipeline.licence import Terms, UseClass
from pipeline.manifest.corpus import Corpus

Part = tuple[str, str]
#: The licence of rows whose negatives are under other licences than their pair.
MIXED = "mixed"


class RowClass(NamedTuple):
    """So many rows of one part under the same terms; `licences` are those of their pairs and of all their negatives."""

    corpus: str
    sub_source: str
    commercial: str
    redistribute: str
    licences: frozenset[str]
    records: int = 0
    labelled: int = 0


@dataclass
class LicenceClass:
    """Rows that may lie in one repository: one licence (or MIXED), one commercial use class.

    `parts`: (corpus, sub_source) -> records. `licences`, `attributions`, `generators` and `share_alike` are those of
    every text among them together.
    """

    licence: str
    commercial: str
    parts: dict[Part, int] = field(default_factory=dict)
    labelled: dict[Part, int] = field(default_factory=dict)
    licences: set[str] = field(default_factory=set)
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
    """The classes of a build's rows that may be passed on, most records first; and what is held back.

    `held_back`: (corpus, sub_source) -> redistribute class -> records and labelled rows.
    """

    classes: list[LicenceClass]
    held_back: dict[Part, dict[str, int]]


def parts_of(corpora: Iterable[Corpus]) -> Iterator[tuple[Corpus, str, Terms]]:
    """Every corpus with its sub-sources and the terms of each; "" is the corpus as a whole."""
    for corpus in corpora:
        for sub_source in dict.fromkeys(part.sub_source for part in corpus.parts):
            yield corpus, sub_source, corpus.licence.of(sub_source)


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


def release_of(receipt: Mapping[str, Any], rows: Iterable[RowClass] | None = None) -> Release:
    """Group the rows of a build by licence class, from its receipt (`build.json`) and, where given, its rows.

    Without `rows` every row counts under the terms of its part, which is true of a build without mined negatives; the
    rows of one with scores may each be stricter, so there they must be given (`row_classes`).

    Raises LicenceError where they are not.

    >>> one = {"licence_id": "CC0-1.0", "commercial": "allowed", "redistribute": "allowed", "share_alike": False}
    >>> one |= {"attribution": None, "generator": None, "records": 3, "labelled": 0}
    >>> held = one | {"redistribute": "unknown"}
    >>> release = release_of({"terms": {"a": {"": one}, "b": {"": one, "x": held}}})
    >>> [(c.slug, c.corpora, c.records) for c in release.classes], release.held_back
    ([('cc0-1.0', ['a', 'b'], 6)], {('b', 'x'): {'unknown': 3}})
    """
    told = {(name, sub): terms for name, parts in receipt["terms"].items() for sub, terms in parts.items()}
    if rows is None:
        if "encoders" in receipt:
            raise LicenceError(
                "release",
                "this build has mined negatives, so its parts do not tell the terms of its rows",
                "read its rows",
            )
        rows = [
            RowClass(
                corpus=name,
                sub_source=sub,
                commercial=t["commercial"],
                redistribute=t["redistribute"],
                licences=frozenset([t["licence_id"]]),
                records=t["records"],
                labelled=t["labelled"],
            )
            for (name, sub), t in told.items()
        ]
    classes: dict[tuple[str, str], LicenceClass] = {}
    held_back: dict[Part, dict[str, int]] = {}
    for row in rows:
        part = (row.corpus, row.sub_source)
        if row.redistribute != UseClass.ALLOWED:
            uses = held_back.setdefault(part, {})
            uses[row.redistribute] = uses.get(row.redistribute, 0) + row.records + row.labelled
            continue
        key = (MIXED if len(row.licences) > 1 else min(row.licences), row.commercial)
        mine = classes.setdefault(key, LicenceClass(*key))
        for counts, n in ((mine.parts, row.records), (mine.labelled, row.labelled)):
            if n:
                counts[part] = counts.get(part, 0) + n
        mine.licences |= row.licences
        # A negative may be from any part under its licence: name them all rather than one too few.
        bound = [t for p, t in told.items() if p == part or (len(row.licences) > 1 and t["licence_id"] in row.licences)]
        mine.share_alike |= any(t["share_alike"] for t in bound)
        mine.attributions |= {t["attribution"] for t in bound} - {None}
        mine.generators |= {t["generator"] for t in bound} - {None}
    most_first = sorted(classes.values(), key=lambda c: (-c.records, c.licence, c.commercial))
    return Release(most_first, dict(sorted(held_back.items())))


def release_of_build(folder: Path) -> Release:
    """`release_of` a build folder, by what its rows say of themselves."""
    return release_of(json.loads((folder / "build.json").read_bytes()), row_classes(folder))


def row_classes(folder: Path) -> Iterator[RowClass]:
    """The records and labelled rows of a build, counted by part and terms; streams, one corpus at a time."""
    import polars as pl

    own = ["corpus", "sub_source", "commercial", "redistribute"]
    for kind, pattern in (("records", "data/*/*.parquet"), ("labelled", "labelled/*.parquet")):
        homes = {p.parent if kind == "records" else p for p in folder.glob(pattern)}
        for home in sorted(homes):
            rows = pl.scan_parquet(home)
            licences = pl.concat_list("licence_id")
            if "neg" in rows.collect_schema():
                mined = pl.col("neg").list.eval(pl.element().struct.field("licence_id"))
                licences = pl.concat_list("licence_id", mined).list.unique().list.sort()
            counted = rows.select(*own, licences=licences).group_by(*own, "licences").len().sort(*own, "licences")
            for corpus, sub, commercial, redistribute, found, n in counted.collect(engine="streaming").iter_rows():
                yield RowClass(corpus, sub, commercial, redistribute, frozenset(found), **{kind: n})
