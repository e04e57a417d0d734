"""The licence of a text: what it says, what it rests on, and the rules for wholes made of many texts.

    terms       one licence block: use classes, evidence, generator
    vocabulary  the licence ids that manifests may use, and what each allows at most
    rules       the policy of a recipe, the join of terms, what binds a scored record
    scored      the last of these over whole columns; the only one that needs polars

A use class is `allowed`, `unknown` or `forbidden`; the stricter always wins and nothing upgrades.
"""

from __future__ import annotations

from pipeline.licence.rules import Policy, Uses, Whole, join, scored_uses, stale_evidence, under
from pipeline.licence.terms import (
    Evidence,
    Generator,
    Licence,
    Rank,
    RowTerms,
    Terms,
    UseClass,
    strictest,
)
from pipeline.licence.vocabulary import LicenceEntry, Vocabulary, licence_faults

__all__ = [
    "Evidence",
    "Generator",
    "Licence",
    "LicenceEntry",
    "Policy",
    "Rank",
    "RowTerms",
    "Terms",
    "UseClass",
    "Uses",
    "Vocabulary",
    "Whole",
    "join",
    "licence_faults",
    "scored_uses",
    "stale_evidence",
    "strictest",
    "under",
]
