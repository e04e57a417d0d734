"""Traditional to simplified characters (OpenCC `t2s`: characters, never vocabulary), and which texts are traditional.

Only rows that hold a character `t2s` could change are handed to OpenCC, joined into one string: simplified text, nearly
all there is, never pays. Which characters those are is asked of the installed OpenCC, save for the few that change in
phrases only; `tests/test_normalize.py` checks these two lists against the dictionary files of the installed OpenCC.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import opencc
import polars as pl

from pipeline.normalize.rows import patch_matching, put

#: Characters that t2s leaves alone, save in phrases (回覆 -> 回复, but 覆盖); and a pattern of those phrases.
PHRASE_ONLY = "沈藉覆坏瞭哩甦衹"
PHRASES = (
    "[函反回批拜明申示答重]覆|覆[信呈命墓按文校]|[一土打拉捏毛陶]坏|坏[土子布]|明瞭|瞭[如然解若]|[海英]哩|甦[生醒]|衹得"
    "|[凌滑素茵狐]藉|藉[代以助卉口喻手故方槁此甚由着端寇]"
    "|[昏浮深耳墨暗黑消戟釜]沈|沈[下冤厚吟寂思浮浸湎溺痛痼睡筒船落迷醉重降陷香默甸砂]"
)
#: Characters that t2s changes and that stand in a phrase which it does not take character by character (乾坤, 彷彿), unless
#: `PHRASES` matches that phrase when its characters are changed one by one. All others it changes alike wherever they stand.
IN_PHRASES = (
    "乾傢兒剋劄吒噁塊帳彿復徵悶憑戶扞擊據於昇條機氣氾沒淪滯澱濁濛烏甌畫痾磚祕稟積籌脩脫蒐薹袷製見計詞讀谿資躪載逕醞釐鈞鉅鋼鍊鍾鑿門陞陰電靜顧鬱魚"
    "麪麼麽"
)
#: Some phrases keep these (畢昇 -> 毕昇), so they may be left over in converted text and prove nothing about a row.
LEFT_BY_PHRASES = "乾昇釐氾麽祕陞蒐薹徵"
#: Code points that Chinese characters with a simplified form are taken from.
_HAN = [(0x3400, 0xA000), (0xF900, 0xFB00), (0x20000, 0x323B0)]
_SEPARATOR = "\x1f"
#: A traditional row has at least so many traditional characters for each character that only simplified text has.
_TRADITIONAL_PER_SIMPLIFIED = 4


@cache
def _converter(config: str) -> opencc.OpenCC:
    return opencc.OpenCC(config)


@cache
def _changed(config: str) -> frozenset[str]:
    """Every single character that a conversion changes."""
    characters = [chr(code) for start, stop in _HAN for code in range(start, stop)]
    converted = _converter(config).convert("\n".join(characters)).split("\n")
    return frozenset(a for a, b in zip(characters, converted, strict=True) if a != b)


def _encodable(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


@cache
def convertible_pattern() -> str:
    """Matches every text that t2s changes, and few others."""
    return f"[{''.join(sorted(_changed('t2s')))}]|{PHRASES}"


@cache
def _only_traditional() -> str:
    """Converted by t2s into GB 2312 and not in it themselves: it holds what simplified text uses too (乾坤, 徵).

    The form they are converted to must be in it as well: simplified books print rare characters (殢) unchanged.
    """
    known = sorted(_changed("t2s") - frozenset(LEFT_BY_PHRASES))
    simple = _converter("t2s").convert("\n".join(known)).split("\n")
    found = [a for a, b in zip(known, simple, strict=True) if _encodable(b, "gb2312") and not _encodable(a, "gb2312")]
    return f"[{''.join(found)}]"


@cache
def _only_simplified() -> str:
    """Converted by s2t, and not in Big5, which holds what traditional text uses too (皇后, 公里)."""
    return f"[{''.join(sorted(c for c in _changed('s2t') if not _encodable(c, 'big5')))}]"


def _convert(texts: pl.Series) -> pl.Series:
    rows = texts.to_list()
    converter = _converter("t2s")
    converted = converter.convert(_SEPARATOR.join(rows)).split(_SEPARATOR)
    if len(converted) != len(rows):  # a row holds the separator itself
        converted = [converter.convert(row) for row in rows]
    return pl.Series(texts.name, converted, dtype=pl.String)


def simplify(texts: pl.Series) -> pl.Series:
    """Each text in simplified characters; words stay (資訊 -> 资讯, not 信息).

    >>> simplify(pl.Series(["臺灣的資訊", "回覆", "覆盖"])).to_list()
    ['台湾的资讯', '回复', '覆盖']
    """
    return patch_matching(texts, convertible_pattern(), _convert)


def is_traditional(texts: pl.Series) -> pl.Series:
    """True where a text is written in traditional characters.

    A row counts as traditional when it holds at least one character that only traditional text uses and at least
    four of them for each character that only simplified text uses: a simplified sentence may name 周杰倫, a
    traditional one may quote a title in simplified characters.

    >>> is_traditional(pl.Series(["臺灣的資訊", "周杰倫是谁", "皇后"])).to_list()
    [True, False, False]
    """
    traditional = texts.str.count_matches(_only_traditional())
    simplified = texts.str.count_matches(_only_simplified())
    return (traditional > 0) & (traditional >= simplified * _TRADITIONAL_PER_SIMPLIFIED)


def simplify_all(texts: pl.Series) -> pl.Series:
    """Every row in simplified characters, for corpora declared traditional.

    >>> simplify_all(pl.Series(["畢昇發明了活字", "於是"])).to_list()
    ['毕昇发明了活字', '于是']
    """
    return _convert_while(texts, _is_convertible)


def simplify_traditional(texts: pl.Series) -> pl.Series:
    """Rows that are traditional in simplified characters; a simplified row is not touched (t2s makes 打坏 into 打坯)."""
    return _convert_while(texts, is_traditional)


@cache
def _certain() -> str:
    """What t2s changes, less what its own phrases keep."""
    return f"[{''.join(sorted(_changed('t2s') - frozenset(LEFT_BY_PHRASES)))}]"


def _is_convertible(texts: pl.Series) -> pl.Series:
    return texts.str.contains(_certain()) | (texts.str.contains(PHRASES) & ~texts.str.contains(f"[{LEFT_BY_PHRASES}]"))


def _convert_while(texts: pl.Series, needed: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Converts the rows that need it, and again those that still do: what is stored needs no conversion."""
    mask = needed(texts)
    rows = texts.filter(mask)
    while rows.len():
        converted = _convert(rows)
        texts = put(texts, mask, converted)
        changed = converted != rows
        mask = put(mask, mask, changed & needed(converted))
        rows = texts.filter(mask)
    return texts
