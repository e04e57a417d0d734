"""The licence ids that manifests may use, and what a block may claim under each.

Ids are SPDX's, or `LicenseRef-*` for terms without one; expressions are read by license-expression. It takes a tenth of a
second to learn two thousand licences, so it is asked only about what is not simply an id of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any

from pipeline.licence.terms import Strict, Terms, UseClass, strictest

if TYPE_CHECKING:
    from license_expression import Licensing

Key = tuple[str | int, ...]
NO_ID = "NOASSERTION"
FILE = "manifests/licences.yaml"


class LicenceEntry(Strict):
    """One licence id of the vocabulary: the freest classes any corpus under it may claim."""

    name: str
    url: str | None = None
    commercial: UseClass
    redistribute: UseClass
    attribution: bool
    share_alike: bool


class Vocabulary(Strict):
    """`manifests/licences.yaml`: every licence id that manifests may use."""

    licences: dict[str, LicenceEntry]


def licence_faults(terms: Terms, vocabulary: Vocabulary) -> Iterator[tuple[Key, str]]:
    """What is wrong with a block: the key within it, and a sentence that holds the cure.

    A claim may not be freer than its licence, nor than the rights in the underlying text: a packager's licence never
    covers gathered text. Of `A OR B` the user chooses, so the freer counts; of `A AND B` both bind. A share-alike
    licence binds unless the id itself is in conflict. `basis: own` text may be used more freely than its licence says.
    """
    expressions: list[tuple[Key, str]] = [(("spdx",), terms.spdx)]
    expressions += [(("underlying", i), told) for i, told in enumerate(terms.underlying)]
    own = terms.basis == "own"
    for key, told in expressions:
        if faults := list(_expression_faults(told, vocabulary)):
            yield from ((key, fault) for fault in faults)
            continue
        for use in ("commercial", "redistribute"):
            freest, claimed = _freest(told, use, vocabulary), getattr(terms, use)
            if claimed.rank < freest.rank and not own:
                whose = told if key == ("spdx",) else f"the underlying text under {told}"
                yield (use,), f"{claimed} is freer than {whose} can be ({freest})"
    yield from _duty_faults(terms, vocabulary)


def id_faults(vocabulary: Vocabulary) -> Iterator[tuple[Key, str]]:
    """Ids of the vocabulary itself that are neither SPDX's nor a LicenseRef."""
    for licence_id in vocabulary.licences:
        if licence_id not in _spdx_ids() and not licence_id.startswith("LicenseRef-") and licence_id != NO_ID:
            yield ("licences", licence_id), f"{licence_id} is no SPDX id{_near(licence_id, _spdx_ids())}"


def _expression_faults(told: str, vocabulary: Vocabulary) -> Iterator[str]:
    if told in vocabulary.licences:
        return
    from license_expression import ExpressionError, ExpressionParseError

    try:
        parsed = _spdx().parse(told)
    except (ExpressionError, ExpressionParseError) as error:
        yield f"not an SPDX expression: {error}"
        return
    if parsed is None:
        yield f"empty; give an SPDX id, or {NO_ID} where no licence was found"
        return
    for licence_id in _spdx().license_keys(parsed):
        if licence_id in vocabulary.licences:
            continue
        if licence_id in _spdx_ids() or licence_id.startswith("LicenseRef-"):
            yield f"{licence_id} is not in {FILE}; add it there"
        else:
            yield f"{licence_id} is no SPDX id{_near(licence_id, vocabulary.licences)}"
    if (written := parsed.render()) != told and all(i in vocabulary.licences for i in _spdx().license_keys(told)):
        yield f"write it {written}"


def _duty_faults(terms: Terms, vocabulary: Vocabulary) -> Iterator[tuple[Key, str]]:
    entries = [vocabulary.licences[i] for i in _ids(terms.spdx, vocabulary) if i in vocabulary.licences]
    if any(e.share_alike for e in entries) and not terms.share_alike and not terms.conflict:
        yield ("share_alike",), f"{terms.spdx} is a share-alike licence; write share_alike: true"
    claims = UseClass.ALLOWED in (terms.commercial, terms.redistribute)
    if any(e.attribution for e in entries) and claims and not terms.attribution and terms.basis != "own":
        yield ("attribution",), f"{terms.spdx} asks for attribution; say whom to name"


def _freest(told: str, use: str, vocabulary: Vocabulary) -> UseClass:
    """The freest class that an expression without faults leaves room for."""
    if told in vocabulary.licences:
        return UseClass(getattr(vocabulary.licences[told], use))
    from license_expression import AND, OR

    def of(node: Any) -> UseClass:
        if isinstance(node, OR):
            return min((of(child) for child in node.args), key=lambda c: c.rank)
        if isinstance(node, AND):
            return strictest(of(child) for child in node.args)
        # `A WITH exception`: an exception only adds freedom, so the licence alone is the safe reading.
        symbol = getattr(node, "license_symbol", node)
        found: UseClass = getattr(vocabulary.licences[symbol.key], use)
        return found

    return of(_spdx().parse(told))


def _ids(told: str, vocabulary: Vocabulary) -> list[str]:
    """The ids of an expression; none of one that cannot be read."""
    if told in vocabulary.licences:
        return [told]
    from license_expression import ExpressionError, ExpressionParseError

    try:
        return list(_spdx().license_keys(told))
    except (ExpressionError, ExpressionParseError):
        return []


@cache
def _spdx() -> Licensing:
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()


@cache
def _spdx_ids() -> frozenset[str]:
    from license_expression import get_license_index

    return frozenset(entry["spdx_license_key"] for entry in get_license_index() if entry.get("spdx_license_key"))


def _near(licence_id: str, known: Any) -> str:
    found = get_close_matches(licence_id, sorted(known), 3, 0.6)
    return f"; did you mean {' or '.join(found)}?" if found else "; for terms without one, use a LicenseRef-* id"
