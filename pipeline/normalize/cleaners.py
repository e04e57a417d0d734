"""Named cleaners: what one corpus needs and the next must not have. A manifest lists them under `clean`.

despace_zh       blanks between two Chinese characters go (word-segmented corpora)
br               every spelling of a line break tag, escaped ones too, becomes a newline, even in web page sources
consult_wrapper  the `<s>问：… 答：` around ChatMed questions goes
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from pipeline.manifest.corpus import Cleaner
from pipeline.normalize.rows import patch_matching

_HAN = r"\p{Han}\u3001-\u301f\u3041-\u30ff\uff01-\uff5e"
#: Used by both scripts: these belong to Chinese when one neighbour does.
_SHARED = r"\u2018\u2019\u201c\u201d\u2014\u2026\u00b7"
_BREAK = r"(?i)(?:<|&lt;)br\s*/?\s*(?:>|&gt;)"
_CONSULT = r"(?s)^\s*<s>\s*问：\s*(.*?)\s*答：\s*$"


def _despace(texts: pl.Series) -> pl.Series:
    blanks = r"[^\S\n]+"
    pairs = (f"([{_HAN}]){blanks}([{_HAN}{_SHARED}])", f"([{_SHARED}]){blanks}([{_HAN}])")

    def drop(rows: pl.Series) -> pl.Series:
        for pair in pairs:  # twice: matches cannot overlap, and in `你 好 吗` they would
            rows = rows.str.replace_all(pair, "$1$2").str.replace_all(pair, "$1$2")
        return rows

    return patch_matching(texts, "|".join(pairs), drop)


def _break_lines(texts: pl.Series) -> pl.Series:
    return patch_matching(texts, _BREAK, lambda rows: rows.str.replace_all(_BREAK, "\n"))


def _unwrap_consult(texts: pl.Series) -> pl.Series:
    return patch_matching(texts, _CONSULT, lambda rows: rows.str.replace(_CONSULT, "$1"))


CLEANERS: dict[Cleaner, Callable[[pl.Series], pl.Series]] = {
    "despace_zh": _despace,
    "br": _break_lines,
    "consult_wrapper": _unwrap_consult,
}
