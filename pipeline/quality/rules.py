"""The rules that look at one record alone, each a boolean series over a batch of records.

`docs/quality.md` tells what each rule hits in real corpora and why its default is what it is.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache

import numpy as np
import polars as pl

from pipeline.manifest.settings import QualityConfig
from pipeline.normalize.markup import ELEMENTS
from pipeline.quality.phrases import GENERIC_TITLES, REFUSAL
from pipeline.quality.repetition import repeated_share

SIDES = ("text", "text_pos")

#: Fewer letters than this say nothing about a text's script.
_MIN_LETTERS = 8
_HEADWORD_CHARS = 20
_LETTERS = r"[\p{L}\x{fffd}]"
#: What is left of bytes that were decoded wrongly twice.
_MOJIBAKE = "锟斤拷|烫烫烫|屯屯屯|ï»¿"
_NAMES = "|".join(sorted(ELEMENTS, key=lambda name: (-len(name), name)))
_MARKUP = (
    rf"(?i)</?(?:{_NAMES})\s*/?>|<(?:{_NAMES})\s[^<>]*=|<!doctype|<[a-z]+\s[^<>]*=\s*[\"']"
    r"|&(?:nbsp|quot|amp|lt|gt|ldquo|rdquo|mdash|hellip|#[0-9]{2,7})(?-u:\b)"
    r"|\[/?(?:url|img|quote|color|size|font|align|attach)(?:=[^\]\n]*)?\]"
    r"|\{\{[^{}\n]+\}\}|\[\[[^\[\]\n]+\]\]|(?:javascript|vbscript):|style\s*=\s*[\"']"
)


def row_rules(
    batch: pl.DataFrame, keys: dict[str, pl.Series], config: QualityConfig, code_sides: Collection[str]
) -> dict[str, dict[str, pl.Series]]:
    """Rule -> detail -> which rows it hits; the detail is the side, or "" where the rule judges the pair.

    batch: columns text and text_pos. keys: the match keys of both. Rules that are off are not computed.
    """
    hits: dict[str, dict[str, pl.Series]] = {}
    prose = [side for side in SIDES if side not in code_sides]

    def judge(rule: str, sides: Collection[str], found: dict[str, pl.Series]) -> None:
        hits[rule] = {side: found[side] for side in sides}

    if config.empty_side != "off":
        judge("empty_side", SIDES, {side: ~batch[side].str.contains(r"[\p{L}\p{N}\p{S}]") for side in SIDES})
    if config.equal_sides != "off":
        hits["equal_sides"] = {"": keys["text"] == keys["text_pos"]}
    sizes = {side: keys[side].str.len_chars() for side in SIDES}
    if config.too_short != "off":
        short = {side: sizes[side] < config.min_chars for side in SIDES}
        judge("too_short", SIDES, short | {"text": short["text"] & ~_is_headword(keys)})
    if config.too_long != "off":
        judge("too_long", SIDES, {side: batch[side].str.len_chars() > config.max_chars for side in SIDES})
    if config.script_ratio != "off":
        judge("script_ratio", prose, {side: foreign_script(batch[side], config.min_script_ratio) for side in prose})
    if config.markup != "off":
        judge("markup", prose, {side: batch[side].str.contains(_MARKUP) for side in prose})
    if config.repetition != "off":
        limit = np.float32(config.max_repetition)
        judge("repetition", prose, {side: pl.Series(repeated_share(keys[side]) > limit) for side in prose})
    if config.refusal != "off":
        hits["refusal"] = {"text_pos": refuses(batch["text_pos"], config.refusal_chars)}
    if config.generic_title != "off":
        hits["generic_title"] = {"text": keys["text"].is_in(sorted(GENERIC_TITLES))}
    return hits


def _is_headword(keys: dict[str, pl.Series]) -> pl.Series:
    """True where text_pos speaks of the text in its first words: a dictionary entry, an article and its title."""
    opening = pl.col("text_pos").str.slice(0, _HEADWORD_CHARS)
    found = opening.str.contains(pl.col("text"), literal=True) & (pl.col("text_pos").str.len_chars() >= _HEADWORD_CHARS)
    return pl.DataFrame(keys).select(found & (pl.col("text") != "")).to_series()


@cache
def _expected() -> str:
    """Latin letters of English and the Chinese characters of print, both scripts.

    Those are GB 2312 and the first level of Big5: lists of fish, elements or illnesses lie within. UTF-8 read as GBK
    gives Chinese characters too, but for the greater part others.
    """
    found = []
    for code in range(0x4E00, 0xA000):
        gb, big5 = (chr(code).encode(encoding, "ignore") for encoding in ("gb2312", "big5"))
        if gb or b"\xa4\x40" <= big5 <= b"\xc6\x7e":
            found.append(chr(code))
    return f"[A-Za-z{''.join(found)}]"


def foreign_script(texts: pl.Series, min_ratio: float) -> pl.Series:
    """True where fewer than `min_ratio` of eight or more letters are Chinese characters of print or A to Z.

    >>> foreign_script(pl.Series(["สวัสดีครับ ยินดีต้อนรับ", "借呗 how to 还款怎么办"]), 0.5).to_list()
    [True, False]
    """
    letters = texts.str.count_matches(_LETTERS)
    expected = texts.str.count_matches(_expected())
    return ((letters >= _MIN_LETTERS) & (expected < letters * min_ratio)) | texts.str.contains(_MOJIBAKE)


def refuses(texts: pl.Series, chars: int) -> pl.Series:
    """True where a model declines, or speaks of itself, within the first characters of its answer.

    >>> refuses(pl.Series(["很抱歉，我无法回答", "我无法入睡怎么办"]), 80).to_list()
    [True, False]
    """
    return texts.str.slice(0, chars).str.contains(REFUSAL)
