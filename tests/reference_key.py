"""The match key a second time: slow, one string at a time, from `unicodedata` and OpenCC alone.

Shares no code with `pipeline.normalize`; written from `docs/design.md` section 3.
"""

from __future__ import annotations

import unicodedata

import opencc

_T2S = opencc.OpenCC("t2s")
#: The characters with the Unicode property White_Space.
WHITE_SPACE = (
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


def _once(text: str) -> str:
    text = _T2S.convert(unicodedata.normalize("NFKC", text).lower())
    kinds = [unicodedata.category(character) for character in text]
    out: list[str] = []
    at = 0
    while at < len(text):
        if kinds[at][0] not in "PZC":
            out.append(text[at])
            at += 1
            continue
        end = at
        while end < len(text) and kinds[end][0] in "PZC":
            end += 1
        if at > 0 and kinds[at - 1] == "Nd" and end < len(text) and kinds[end] == "Nd":
            out.append("".join(text[i] for i in range(at, end) if kinds[i][0] == "P") or " ")
        at = end
    return "".join(out)


def reference_key(text: str) -> str:
    """The match key of one text."""
    key = _once(text)
    while (again := _once(key)) != key:
        key = again
    return key or unicodedata.normalize("NFC", text).strip(WHITE_SPACE)


def reference_code_key(text: str) -> str:
    """The match key of program code: blanks folded."""
    for blank in WHITE_SPACE:
        text = text.replace(blank, " ")
    return " ".join(part for part in text.split(" ") if part)
