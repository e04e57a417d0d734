"""Personal data in texts: telephone numbers, Chinese identity cards, e-mail addresses and bank cards, found and masked.

Numbers count only where they are valid: a mobile number begins with digits that are given out, an identity card holds
a province, a day and the check digit of GB 11643, a bank card the digits of its network and the check digit of Luhn
(ISO/IEC 7812). Digits that are part of a longer number, a word or an address of a page are none. Full-width digits read
as their plain forms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from typing import Literal, NamedTuple

import polars as pl

from pipeline.normalize.rows import patch

#: In the order in which they claim a stretch of text.
KINDS = ("email", "id_card", "bank_card", "phone")
#: What stands for a value that was masked, at home in Chinese and English text; none of them is found again.
MASKS = {"email": "[EMAIL]", "id_card": "[ID]", "bank_card": "[CARD]", "phone": "[PHONE]"}

_WIDE = str.maketrans("０１２３４５６７８９＠．－＋Ｘｘ", "0123456789@.-+Xx")
_D = r"[0-9\x{ff10}-\x{ff19}]"
_GAP = r"[ \x{ff0d}-]?"
#: Rows that may hold any: cheap enough for every text, and seldom true.
_PERHAPS = (
    rf"[A-Za-z0-9][@\x{{ff20}}][A-Za-z0-9]|{_D}{{3}}{_GAP}{_D}{{4}}{_GAP}{_D}{{4}}|{_D}{{3,4}}[)\x{{ff0d}}-]{_D}{{7}}"
)
_NOT_BEFORE, _NOT_AFTER = r"(?<![0-9A-Za-z_./=%#&?:+\-])", r"(?![0-9A-Za-z_/=%]|[.\-][0-9])"
_EMAIL = re.compile(
    r"(?<![0-9A-Za-z._%+\-])[0-9A-Za-z][0-9A-Za-z._%+\-]{0,63}@(?:[0-9A-Za-z](?:[0-9A-Za-z\-]{0,61}[0-9A-Za-z])?\.)+"
    r"[A-Za-z]{2,24}(?![0-9A-Za-z\-])"
)
#: Domains that stand for any in documents (RFC 2606): nobody has such an address.
_RESERVED = re.compile(r"(?i)(?:@|\.)(?:example\.(?:com|net|org)|example|test|invalid|localhost)$")
_ID_CARD = re.compile(rf"{_NOT_BEFORE}[1-9][0-9]{{16}}[0-9Xx]{_NOT_AFTER}")
_BANK_CARD = re.compile(rf"{_NOT_BEFORE}[2-69][0-9]{{3,4}}(?:[ -]?[0-9]{{3,6}}){{2,4}}{_NOT_AFTER}")
_MOBILE = r"(?:13[0-9]|14[5-9]|15[0-35-9]|16[2567]|17[0-8]|18[0-9]|19[0-35-9])"
_PHONE = re.compile(
    rf"(?:{_NOT_BEFORE}|(?<![0-9])(?:\+|00)?86[ -]?){_MOBILE}(?:[0-9]{{8}}|([ -])[0-9]{{4}}\1[0-9]{{4}}){_NOT_AFTER}"
    rf"|{_NOT_BEFORE}\(?0(?:10|2[0-57-9]|[3-9][0-9]{{2}})[)-][2-8][0-9]{{6,7}}{_NOT_AFTER}"
)
#: First two digits of an identity card: the provinces of GB/T 2260, by region.
_PROVINCES = frozenset(
    str(10 * region + of)
    for region, last in ((1, 5), (2, 3), (3, 7), (4, 6), (6, 5), (8, 3))
    for of in range(1, last + 1)
) | {"50", "51", "52", "53", "54", "71"}
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
#: Networks by their first digits, with the lengths of their cards: UnionPay, Visa, Mastercard, American Express, JCB, ICBC.
_NETWORKS = (
    (re.compile(r"62"), range(16, 20)),
    (re.compile(r"4"), range(16, 17)),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), range(16, 17)),
    (re.compile(r"3[47]"), range(15, 16)),
    (re.compile(r"35(?:2[89]|[3-8])"), range(16, 17)),
    (re.compile(r"9558"), range(19, 20)),
)


class Hit(NamedTuple):
    """One value: its kind and the characters of the text it takes."""

    kind: str
    start: int
    end: int


def personal_hits(text: str) -> list[Hit]:
    """All values of one text in their order; none overlap.

    >>> personal_hits("请致电 13812345678 或写信到 li@m3e.cn")
    [Hit(kind='phone', start=4, end=15), Hit(kind='email', start=21, end=30)]
    """
    plain = text.translate(_WIDE)
    taken: list[Hit] = []
    for kind, pattern, holds in _RULES:
        for match in pattern.finditer(plain):
            start, end = match.span()
            if holds(match.group()) and all(end <= hit.start or hit.end <= start for hit in taken):
                taken.append(Hit(kind, start, end))
    return sorted(taken, key=lambda hit: hit.start)


def find_personal(texts: pl.Series) -> pl.DataFrame:
    """One row per value: `row` (the place in `texts`), `kind`, `start` and `length` in characters.

    Nulls hold none. Most texts are only searched for what may be a number; Python looks at the few that remain.

    >>> find_personal(pl.Series(["无", "身份证 11010519491231002X"])).rows()
    [(1, 'id_card', 4, 18)]
    """
    found = [(row, hit.kind, hit.start, hit.end - hit.start) for row, text in _candidates(texts) for hit in text]
    schema = {"row": pl.UInt32, "kind": pl.String, "start": pl.UInt32, "length": pl.UInt32}
    return pl.DataFrame(found, schema=schema, orient="row")


class Tally:
    """Counts personal data by kind: `records` and `labelled` rows that hold any, and all `values`.

    >>> tally = Tally()
    >>> tally.add("records", pl.Series(["13812345678"]), pl.Series([["li@m3e.cn", "13812345678"]]))
    >>> tally.told()
    {'email': {'records': 1, 'labelled': 0, 'values': 1}, 'phone': {'records': 1, 'labelled': 0, 'values': 2}}
    """

    def __init__(self) -> None:
        self._counts = {kind: dict.fromkeys(("records", "labelled", "values"), 0) for kind in KINDS}

    def add(self, rows: Literal["records", "labelled"], *sides: pl.Series) -> None:
        """The sides of some rows, texts or lists of texts, without nulls."""
        at = pl.int_range(pl.len(), dtype=pl.UInt32).alias("at")
        units = [pl.DataFrame({"text": side}).select("text", at) for side in sides]
        exploded = [u.explode("text").drop_nulls() if isinstance(u.schema["text"], pl.List) else u for u in units]
        every = pl.concat(exploded)
        hit = find_personal(every["text"])
        hit = hit.with_columns(at=every["at"][hit["row"]])
        for kind, holders, values in hit.group_by("kind").agg(pl.col("at").n_unique(), pl.len()).iter_rows():
            self._counts[kind][rows] += holders
            self._counts[kind]["values"] += values

    def told(self) -> dict[str, dict[str, int]]:
        """The kinds that were found."""
        return {kind: counts for kind, counts in sorted(self._counts.items()) if counts["values"]}


def mask_personal(texts: pl.Series) -> pl.Series:
    """The texts with every value replaced by the mask of its kind. Masking twice changes nothing more.

    >>> mask_personal(pl.Series(["电话 13812345678。", "第 13812345678901 号"])).to_list()
    ['电话 [PHONE]。', '第 13812345678901 号']
    """
    return patch(texts, _perhaps(texts), lambda rows: pl.Series(rows.name, list(map(_masked, rows)), pl.String))


def _perhaps(texts: pl.Series) -> pl.Series:
    return texts.str.contains(_PERHAPS).fill_null(False)


def _candidates(texts: pl.Series) -> Iterator[tuple[int, list[Hit]]]:
    rows = _perhaps(texts).arg_true()
    for row, text in zip(rows.to_list(), texts.gather(rows), strict=True):
        yield row, personal_hits(text)


def _masked(text: str) -> str:
    for hit in reversed(personal_hits(text)):
        text = text[: hit.start] + MASKS[hit.kind] + text[hit.end :]
    return text


def _is_id_card(number: str) -> bool:
    if number[:2] not in _PROVINCES:
        return False
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    check = sum(int(digit) * weight for digit, weight in zip(number[:17], _WEIGHTS, strict=True)) % 11
    return born.year >= 1900 and number[17].upper() == "10X98765432"[check]


def _is_bank_card(number: str) -> bool:
    digits = re.sub(r"[ -]", "", number)
    if len(set(digits)) < 4 or not any(len(digits) in lengths and start.match(digits) for start, lengths in _NETWORKS):
        return False
    doubled = [int(digit) * (1 + at % 2) for at, digit in enumerate(reversed(digits))]
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0


_RULES: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("email", _EMAIL, lambda address: not _RESERVED.search(address)),
    ("id_card", _ID_CARD, _is_id_card),
    ("bank_card", _BANK_CARD, _is_bank_card),
    # A sum of money in full (15000000000) has the look of a mobile number.
    ("phone", _PHONE, lambda number: not number.endswith("000000")),
)
