"""The stored text: what is written to the shards and read by people and models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import count

import polars as pl

from pipeline.manifest.corpus import Cleaner, Script
from pipeline.normalize.chinese import simplify_all, simplify_traditional
from pipeline.normalize.cleaners import CLEANERS
from pipeline.normalize.markup import strip_markup
from pipeline.normalize.rows import patch, patch_matching, put

_NEWLINE = r"\r\n|[\r\x0b\x0c\u0085\u2028\u2029]"
#: Control characters but tab and newline, soft hyphen, zero-width and direction marks, noncharacters. Not ZWJ, see below.
_INVISIBLE = (
    r"[\x00-\x08\x0e-\x1f\x7f-\u0084\u0086-\u009f\u00ad\u180e\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u206f"
    r"\ufeff\ufff9-\ufffb\ufdd0-\ufdef\ufffe\uffff]"
)
#: A zero-width joiner lives between two emoji (families, professions, flags) and goes everywhere else.
_EMOJI = r"\p{Extended_Pictographic}[\ufe0f\u20e3\x{1f3fb}-\x{1f3ff}]*"
_WITHOUT_JOINERS = rf"{_EMOJI}(?:\u200d{_EMOJI})*|[^\u200d\p{{Extended_Pictographic}}]+"
#: Characters that NFC never changes, whatever stands beside them: nearly all of nearly all rows.
_PERHAPS_NOT_NFC = (
    r"[^\x00-\u00bf\u2010-\u205e\u3000-\u3029\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf\u4e00-\u9fff\uff01-\uff5e]"
)
_LOOSE_BLANKS = r"[^\S\n ]|  |\n\n\n| \n|\n |^\s|\s$"
#: Code within a text: between fences, or between backticks on one line.
_FENCE = re.compile(r"```.*?```|`[^`\n]{1,200}`", re.S)


def clean(
    texts: pl.Series, *, script: Script = "hans", cleaners: Sequence[Cleaner] = (), code: bool = False
) -> pl.Series:
    """The stored form of every text.

    NFC. Invisible characters go. Line ends become `\\n`, three and more newlines two; runs of blanks (tabs and wide
    blanks too) one blank, none at line ends; trimmed. HTML goes where it is HTML (see `markup`). Full-width punctuation stays.
    Code between ``` fences, or between backticks on one line, keeps its markup and blanks.

    script: `hant` converts every row to simplified characters, `mixed` those that are traditional; others stay.
    cleaners: named cleaners of the corpus, in the order given.
    code: the text is program code: line ends become `\\n`, NFC, trimmed, and nothing else happens.

    Types: strings without nulls in, the same out. Idempotent: cleaning clean text changes nothing.

    >>> clean(pl.Series(["\\ufeff价格：&lt;5元<br/>好　　吃 ", "a\\r\\n\\r\\n\\r\\nb"])).to_list()
    ['价格：<5元\\n好 吃', 'a\\n\\nb']
    """
    if code:
        lines = patch_matching(texts, r"\r", lambda rows: rows.str.replace_all(r"\r\n?", "\n"))
        return _nfc(lines).str.strip_chars()
    cleaned = _settle(texts, cleaners)
    if script == "hant":
        cleaned = simplify_all(cleaned)
    elif script == "mixed":
        cleaned = simplify_traditional(cleaned)
    return cleaned


def _settle(texts: pl.Series, cleaners: Sequence[Cleaner]) -> pl.Series:
    """One pass, and again over the rows where markup or a cleaner acted: `&lt;br&gt;` is a tag one pass later."""
    cleaned, acted = _pass(texts, cleaners)
    while acted.any():
        rows, acted_again = _pass(cleaned.filter(acted), cleaners)
        cleaned = put(cleaned, acted, rows)
        acted = put(acted, acted, acted_again)
    return cleaned


def _pass(texts: pl.Series, cleaners: Sequence[Cleaner]) -> tuple[pl.Series, pl.Series]:
    """The rows cleaned once, and in which of them markup or a cleaner acted."""
    plain = _plain(texts)
    fenced = plain.str.contains(r"(?s)`.+`")
    blocks = [_FENCE.findall(row) for row in plain.filter(fenced)]
    hidden = patch(plain, fenced, lambda rows: _from(rows, map(_hide, rows)))
    worked = hidden
    for cleaner in cleaners:
        worked = CLEANERS[cleaner](worked)
    worked = strip_markup(worked)
    tidy = _tidy_blanks(worked)
    return patch(tidy, fenced, lambda rows: _from(rows, map(_show, rows, blocks))), worked != hidden


def _from(like: pl.Series, rows: Iterable[str]) -> pl.Series:
    return pl.Series(like.name, list(rows), dtype=pl.String)


def _hide(row: str) -> str:
    """The row with a mark in place of each piece of code: `_plain` has removed all noncharacters of its own."""
    numbers = count()
    return _FENCE.sub(lambda _: f"\ufdd0{next(numbers)}\ufdd1", row)


def _show(row: str, blocks: list[str]) -> str:
    return re.sub("\ufdd0([0-9]+)\ufdd1", lambda mark: blocks[int(mark[1])], row)


def _plain(texts: pl.Series) -> pl.Series:
    texts = patch_matching(texts, _NEWLINE, lambda rows: rows.str.replace_all(_NEWLINE, "\n"))
    texts = patch_matching(texts, _INVISIBLE, lambda rows: rows.str.replace_all(_INVISIBLE, ""))
    texts = patch_matching(texts, "\u200d", lambda rows: rows.str.extract_all(_WITHOUT_JOINERS).list.join(""))
    return _nfc(texts)


def _nfc(texts: pl.Series) -> pl.Series:
    return patch_matching(texts, _PERHAPS_NOT_NFC, lambda rows: rows.str.normalize("NFC"))


def _tidy_blanks(texts: pl.Series) -> pl.Series:
    def tidy(rows: pl.Series) -> pl.Series:
        rows = rows.str.replace_all(r"[^\S\n]+", " ").str.replace_all(r" ?\n ?", "\n")
        return rows.str.replace_all(r"\n{3,}", "\n\n").str.strip_chars()

    return patch_matching(texts, _LOOSE_BLANKS, tidy)
