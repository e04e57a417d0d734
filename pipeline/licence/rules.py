"""The rules: what a recipe's policy makes of terms, how terms join, what binds a scored record, when evidence is old.

Pure functions. Joining is associative, commutative and idempotent, so neither order nor grouping of parts decides
anything; a whole is never freer than its strictest part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import reduce
from typing import NamedTuple, TypeVar

from pipeline.licence.terms import Licence, Strict, Terms, UseClass, strictest

#: From this age on evidence should be read again: pages change and licences are replaced.
FRESH_DAYS = 365
#: How much is known of personal data in a text, the more worrying later.
PERSONAL_DATA = ("none", "pseudonymous", "unknown", "present")
AnyTerms = TypeVar("AnyTerms", bound=Terms)


class Policy(Strict):
    """What a recipe takes upon itself. Legal views differ on both, so both are named switches, off by default.

    `accept_generator_terms`: a provider's terms on its model's output (non-compete clauses) do not hold a text back.
    `accept_miner_terms`: the terms of the encoder that chose negatives and scores do not bind what it chose.
    """

    accept_generator_terms: bool = False
    accept_miner_terms: bool = False


class Uses(NamedTuple):
    """The use classes of one text, or of a whole made of several."""

    commercial: UseClass
    redistribute: UseClass


def uses(terms: Terms) -> Uses:
    return Uses(terms.commercial, terms.redistribute)


def under(terms: AnyTerms, policy: Policy) -> AnyTerms:
    """The terms as a recipe's policy has them, with those of every sub-source.

    Text of a model whose provider's terms are not known to be open is commercially `unknown` at best, unless the
    policy accepts such terms. The policy frees nothing else: what a manifest calls `unknown` stays so.

    >>> told = {"spdx": "CC0-1.0", "commercial": "allowed", "redistribute": "allowed", "confidence": "high", "basis": "own"}
    >>> gpt = {"model": "gpt-4", "provider": "OpenAI", "terms": "non-compete"}
    >>> under(Terms(**told, generator=gpt), Policy()).commercial.value
    'unknown'
    >>> under(Terms(**told, generator=gpt), Policy(accept_generator_terms=True)).commercial.value
    'allowed'
    """
    changes: dict[str, object] = {}
    held = terms.generator is not None and terms.generator.terms != "open" and not policy.accept_generator_terms
    if held:
        changes["commercial"] = strictest([terms.commercial, UseClass.UNKNOWN])
    if isinstance(terms, Licence):
        changes["sub_sources"] = {name: under(part, policy) for name, part in terms.sub_sources.items()}
    return terms.model_copy(update=changes)


@dataclass(frozen=True)
class Whole:
    """What binds a thing made of many texts: the strictest use, and every duty and doubt of every part."""

    commercial: UseClass = UseClass.ALLOWED
    redistribute: UseClass = UseClass.ALLOWED
    share_alike: bool = False
    licences: frozenset[str] = frozenset()
    attributions: frozenset[str] = frozenset()
    generators: frozenset[str] = frozenset()
    conflicts: frozenset[str] = frozenset()
    personal_data: str = "none"

    def __or__(self, other: Whole) -> Whole:
        return Whole(
            strictest([self.commercial, other.commercial]),
            strictest([self.redistribute, other.redistribute]),
            self.share_alike or other.share_alike,
            self.licences | other.licences,
            self.attributions | other.attributions,
            self.generators | other.generators,
            self.conflicts | other.conflicts,
            max(self.personal_data, other.personal_data, key=PERSONAL_DATA.index),
        )


def join(parts: Iterable[Terms]) -> Whole:
    """What binds a whole made of texts under these terms: strictest use; duties, generators and conflicts add up.

    The rights in the underlying text count among the licences. Apply `under` first where a policy is to hold.

    >>> own = {"redistribute": "allowed", "confidence": "high", "basis": "own"}
    >>> nc = Terms(spdx="CC-BY-NC-4.0", commercial="forbidden", attribution="B", **own)
    >>> sa = Terms(spdx="CC-BY-SA-4.0", commercial="allowed", share_alike=True, attribution="A", **own)
    >>> whole = join([nc, sa])
    >>> whole.commercial.value, whole.share_alike, sorted(whole.attributions)
    ('forbidden', True, ['A', 'B'])
    """
    return reduce(Whole.__or__, map(_alone, parts), Whole())


def scored_uses(record: Uses, negatives: Iterable[Uses | None], miner: Terms, policy: Policy) -> Uses:
    """The use classes of a record with mined negatives and scores.

    On either axis the strictest of the record itself, every negative, and the miner's terms, which count unless the
    policy accepts them. A negative of which nothing is known (None) makes the whole `unknown` at best.

    >>> free, shut = Uses(UseClass.ALLOWED, UseClass.ALLOWED), Uses(UseClass.FORBIDDEN, UseClass.ALLOWED)
    >>> m3e = Terms(spdx="NOASSERTION", commercial="forbidden", redistribute="unknown", confidence="high")
    >>> scored_uses(free, [free], m3e, Policy()).commercial.value
    'forbidden'
    >>> scored_uses(free, [free, shut], m3e, Policy(accept_miner_terms=True)).commercial.value
    'forbidden'
    """
    nothing = Uses(UseClass.UNKNOWN, UseClass.UNKNOWN)
    parts = [record, *(one or nothing for one in negatives)]
    if not policy.accept_miner_terms:
        parts.append(uses(under(miner, policy)))
    return Uses(strictest(p.commercial for p in parts), strictest(p.redistribute for p in parts))


def stale_evidence(terms: Terms, today: date) -> Iterator[tuple[int, int]]:
    """Which pieces of evidence (by number) are older than FRESH_DAYS, and how many days old they are.

    The day is given, not asked for: a build never looks at a clock, only people are warned.
    """
    for number, evidence in enumerate(terms.evidence):
        if (days := (today - evidence.read).days) > FRESH_DAYS:
            yield number, days


def _alone(terms: Terms) -> Whole:
    return Whole(
        terms.commercial,
        terms.redistribute,
        terms.share_alike,
        frozenset([terms.spdx, *terms.underlying]),
        frozenset([terms.attribution] if terms.attribution else []),
        frozenset([terms.generator.model] if terms.generator else []),
        frozenset([terms.conflict] if terms.conflict else []),
        terms.personal_data,
    )
