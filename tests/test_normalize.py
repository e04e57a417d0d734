"""Stored text and match key, against a slow reference, the dictionaries of OpenCC, and real corpora where they lie here."""

from __future__ import annotations

import json
import re
import subprocess
import typing
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import opencc
import polars as pl
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.manifest.corpus import Cleaner
from pipeline.normalize import CLEANERS, clean, key_hash, match_key
from pipeline.normalize.chinese import (
    IN_PHRASES,
    PHRASE_ONLY,
    PHRASES,
    convertible_pattern,
    is_traditional,
    simplify,
    simplify_all,
)
from tests.reference_key import reference_code_key, reference_key


def cleaned(text: str, **options: typing.Any) -> str:
    return clean(pl.Series([text]), **options).item()


def key(text: str, *, code: bool = False) -> str:
    return match_key(pl.Series([text]), code=code).item()


# --- stored text ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "1 < 2 且 a<b",
        "若 a<b 且 b>c，则 <b and c> 不成立",
        "vector<int> v; map<string, List<Object>> m;",
        "#include <map>\n#include <time>",
        "《三国》和<战国>、<北京欢迎你>",
        "输出格式：<name> <time> <location>",
        "x<y>z 与 0<p>1 与 Foo<A>",
        "<rss><data><item>1</item></data></rss>",
        "AT&T; R&D; 研发&#x; ?a=1&copy=2 &nosuch;",
        "全角，标点！？：“引号”‘单’……——（括）【号】～￥％　".rstrip("　"),
        "①㎏㈱ ﬁ ½ Ⅷ",
        "HTML 用 `<br>` 换行，用 `&lt;` 写小于号",
        "```html\n<p>a</p>\n    <br>  &nbsp;\n```",
        "<!DOCTYPE html>\n<html><body><p>一页</p></body></html>",
        "👨‍👩‍👧‍👦 👩🏽‍💻 🏳️‍🌈 ❤️ 1️⃣ 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
        "打坏了，覆盖",
        "臺灣",
        "",
    ],
)
def test_text_that_only_looks_like_markup_stays(text: str) -> None:
    assert cleaned(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a<br>b<BR/>c<br />d", "a\nb\nc\nd"),
        ('<p class="x">一</p><p>二</p>', "一\n\n二"),
        ("<div style='a:b'>一</div>二", "一\n二"),
        ("上限<a href=http://x.cn/?a=1&b=2 target=_blank>链接</a>下", "上限链接下"),
        ("<b>粗</b>和<time>时间</time>", "粗和时间"),
        ("尾巴</font></span>", "尾巴"),
        ("一<!-- 注 -->二", "一 二"),
        ("前<script type='a'>if (a<b) {}</script><style>p{}</style>后", "前 后"),
        ("<script>没有结尾", "<script>没有结尾"),
        ("&nbsp;a&nbsp;&lt;b&gt;&amp;&quot;&#39;&apos;&hellip;&#20013;&#x6587;&mdash;", "a <b>&\"''…中文—"),
        ("&amp;amp;amp;lt;br&amp;gt;x", "x"),
        ("&#0;&#8203;x", "�x"),
        ("H<sub>2</sub>O，10<sup>5</sup>", "H2O，10^5"),
        ("1<<b>b>2</b>", "1<b>2"),
        ("<table><tr><td>甲</td><td>乙</td></tr></table>", "甲 乙"),
        ("词<nowiki>条</nowiki><ref name=书/1>注</ref>", "词条注"),
        ("a\r\nb\rc\x0bd\u2028e\x85f", "a\nb\nc\nd\ne\nf"),
        ("a\n \n\t\n\nb", "a\n\nb"),
        ("　　首行 \t 二  　三 ", "首行 二 三"),
        ("\ufeff零\u200b宽\u200d字\u00ad符\x00\x08", "零宽字符"),
        ("e\u200b\u0301", "é"),
        ("\uf900", "豈"),
    ],
)
def test_what_goes(text: str, expected: str) -> None:
    assert cleaned(text) == expected


def test_code_keeps_its_blanks_and_signs() -> None:
    assert cleaned("\tif a<b:\r\n\t\tx = '&lt;<br>  '\r\n ", code=True) == "if a<b:\n\t\tx = '&lt;<br>  '"


@pytest.mark.parametrize(
    ("cleaner", "text", "expected"),
    [
        ("despace_zh", "你 好 ， 世  界 hello big world 吗 “ 对 ” 是", "你好，世界 hello big world 吗“对”是"),
        ("despace_zh", "iPhone 手机\n2 号", "iPhone 手机\n2 号"),
        ("br", "一&lt;br /&gt;二<br>三", "一\n二\n三"),
        ("br", "<!doctype html><br>", "<!doctype html>"),
        ("consult_wrapper", "<s>问：\n头疼怎么办\n答：\n", "头疼怎么办"),
        ("consult_wrapper", "问：头疼\n答：多睡", "问：头疼\n答：多睡"),
    ],
)
def test_cleaners(cleaner: Cleaner, text: str, expected: str) -> None:
    assert cleaned(text, cleaners=[cleaner]) == expected


def test_cleaners_are_those_a_manifest_may_name() -> None:
    assert set(typing.get_args(Cleaner)) == set(CLEANERS)


def test_scripts() -> None:
    rows = ["臺灣的資訊，於是", "周杰倫是谁？这位歌手", "打坏了", "畢昇發明活字", "皇后的公里"]
    assert clean(pl.Series(rows), script="hans").to_list() == rows
    assert clean(pl.Series(rows), script="none").to_list() == rows
    mixed = ["台湾的资讯，于是", "周杰倫是谁？这位歌手", "打坏了", "毕昇发明活字", "皇后的公里"]
    assert clean(pl.Series(rows), script="mixed").to_list() == mixed
    assert clean(pl.Series(rows), script="hant").to_list()[1] == "周杰伦是谁？这位歌手"


def test_a_separator_within_a_row_does_not_mix_rows() -> None:
    assert simplify(pl.Series(["臺\x1f灣", "資", "a"])).to_list() == ["台\x1f湾", "资", "a"]


# --- match key --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("借 呗，怎麼還款？", "借呗怎么还款"),
        ("３．５", "3.5"),
        ("35", "35"),
        ("3, 5", "3,5"),
        ("3   5", "3 5"),
        ("3 . 5年。", "3.5年"),
        ("a>b", "a>b"),
        ("Ａ＜Ｂ", "a<b"),
        ("……", "……"),
        (" ？！ ", "？！"),
        ("", ""),
        ("1，a，2", "1a2"),
        ("ΑΣ.", "ας"),
        ("e\u200b\u0301", "é"),
        ("①㎏", "1kg"),
    ],
)
def test_keys(text: str, expected: str) -> None:
    assert key(text) == expected


def test_code_keys_fold_blanks_only() -> None:
    assert key(" SELECT  a,\n\tB FROM t; ", code=True) == "SELECT a, B FROM t;"


#: What this Python's Unicode tables say otherwise than those of polars; empty for 3.11 to 3.13 so far.
_OTHER_IN_POLARS: frozenset[str] = frozenset()


_PLACES = ("{}", "中{}国", "1{}2", "a{}b", "3{} 4", "e{}\u0301")


def test_every_assigned_character() -> None:
    """All places for the characters below the Chinese ones, where surprises live; for each other one a place in turn.

    Characters newer than Python's tables are left out: they are unassigned there.
    """
    assigned = [code for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cs", "Cn", "Co")]
    judged = [code for code in assigned if chr(code) not in _OTHER_IN_POLARS]
    texts = [place.format(chr(code)) for code in judged if code < 0x3400 for place in _PLACES]
    texts += [_PLACES[code % len(_PLACES)].format(chr(code)) for code in judged if code >= 0x3400]
    keys = match_key(pl.Series(texts)).to_list()
    assert len(texts) > 190_000
    assert [text for text, key in zip(texts, keys, strict=True) if key != reference_key(text)] == []


_CHARACTERS = (
    "0159aZｚ３，。.,、 　\u200b\u200d\u0301\u0327\u3099か中國国乾坤覆回坏昇畢麼薴…½㎏ΣσİßǅⅧ①👨👩❤\ufe0f"
    "\u1100\u1161\u11a8가<>&;/`#\n\t\r"
)
_PIECES = (
    "<br> <b> </b> &lt; &amp; &#96; ``` <script> </script> <p> &nbsp; <s>问： 答： 旋乾轉坤 樊於期".split()  # noqa: SIM905
)
_odd = st.sampled_from([*_CHARACTERS, *_PIECES])
_texts = st.lists(st.one_of(_odd, st.text(max_size=3)), max_size=14).map("".join)


@settings(max_examples=150, deadline=None)
@given(st.lists(_texts, min_size=1, max_size=8))
def test_key_agrees_with_the_reference(texts: list[str]) -> None:
    texts = [text for text in texts if all(unicodedata.category(c) not in ("Cn", "Co") for c in text)]
    assert match_key(pl.Series(texts, dtype=pl.String)).to_list() == [reference_key(text) for text in texts]
    assert match_key(pl.Series(texts, dtype=pl.String), code=True).to_list() == [
        reference_code_key(text) for text in texts
    ]


@settings(max_examples=120, deadline=None)
@given(st.lists(_texts, min_size=1, max_size=8))
def test_key_of_a_key_is_the_key(texts: list[str]) -> None:
    keys = match_key(pl.Series(texts))
    assert match_key(keys).to_list() == keys.to_list()


@settings(max_examples=120, deadline=None)
@given(
    st.lists(_texts, min_size=1, max_size=8),
    st.sampled_from(["hans", "hant", "mixed", "none"]),
    st.lists(st.sampled_from(sorted(CLEANERS)), unique=True),
    st.booleans(),
)
def test_cleaning_clean_text_changes_nothing(
    texts: list[str], script: typing.Any, cleaners: list[Cleaner], code: bool
) -> None:
    once = clean(pl.Series(texts), script=script, cleaners=cleaners, code=code)
    assert clean(once, script=script, cleaners=cleaners, code=code).to_list() == once.to_list()
    assert all(
        unicodedata.is_normalized("NFC", text) for text in once if all(unicodedata.category(c) != "Cn" for c in text)
    )


@settings(max_examples=50, deadline=None)
@given(st.lists(_texts, min_size=2, max_size=8))
def test_a_row_is_cleaned_alike_whatever_stands_beside_it(texts: list[str]) -> None:
    assert clean(pl.Series(texts), script="mixed").to_list() == [cleaned(text, script="mixed") for text in texts]


def test_names_and_sliced_series() -> None:
    rows = pl.Series("text", ["零", "一，", "二。é", "三"])[1:3]
    assert match_key(rows).to_list() == ["一", "二é"]
    assert match_key(rows).name == clean(rows).name == "text"
    assert match_key(rows.head(0)).to_list() == clean(rows.head(0)).to_list() == []


@given(st.lists(st.text(), min_size=1, max_size=5))
def test_key_hash_is_xxh3(texts: list[str]) -> None:
    assert key_hash(pl.Series(texts)).to_list() == [xxhash.xxh3_64_intdigest(text.encode()) for text in texts]


# --- the dictionaries of the installed OpenCC -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def phrases(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    package = Path(opencc.__file__).parent
    tool, dictionary = next(package.rglob("opencc_dict"), None), next(package.rglob("TSPhrases.ocd2"), None)
    if tool is None or dictionary is None:
        pytest.skip("this build of OpenCC ships no opencc_dict to read its dictionaries with")
    text = tmp_path_factory.mktemp("opencc") / "phrases.txt"
    subprocess.run([tool, "-i", dictionary, "-o", text, "-f", "ocd2", "-t", "text"], check=True, capture_output=True)
    return [line.split("\t")[0] for line in text.read_text(encoding="utf-8").splitlines()]


def test_no_phrase_escapes_the_pattern(phrases: list[str]) -> None:
    """Rows that do not match are not shown to OpenCC, so every phrase it changes must match."""
    converter = opencc.OpenCC("t2s")
    changed = [phrase for phrase in phrases if converter.convert(phrase) != phrase]
    assert len(changed) > 300
    assert pl.Series(changed).str.contains(convertible_pattern()).all()
    escaping = [p for p in changed if not any(converter.convert(c) != c for c in p) and not set(p) & set(PHRASE_ONLY)]
    assert escaping == []


def test_all_but_listed_characters_are_changed_alike_in_every_phrase(phrases: list[str]) -> None:
    """What allows one table of single characters: a row without IN_PHRASES whose key matches no phrase needs no OpenCC."""
    converter = opencc.OpenCC("t2s")
    singly = {phrase: "".join(map(converter.convert, phrase)) for phrase in phrases}
    otherwise = [phrase for phrase in phrases if converter.convert(phrase) != singly[phrase]]
    assert len(otherwise) > 300
    missed = [p for p in otherwise if not set(p) & set(IN_PHRASES) and not re.search(PHRASES, singly[p])]
    assert missed == []
    assert all(converter.convert(character) != character for character in IN_PHRASES)


def test_converted_phrases_stay(phrases: list[str]) -> None:
    once = simplify_all(pl.Series(phrases))
    assert simplify_all(once).to_list() == once.to_list()
    in_pairs = pl.Series([a + b for a, b in zip(phrases, reversed(phrases), strict=True)])
    once = simplify_all(in_pairs)
    assert simplify_all(once).to_list() == once.to_list()


# --- real corpora -----------------------------------------------------------------------------------------------------


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from _strings(member)
    elif isinstance(value, list):
        for member in value:
            yield from _strings(member)


@pytest.fixture(scope="module")
def real_texts(real_corpora: Path) -> pl.Series:
    """Every string of the slices as their Hub layout has them, and of the JSON ones that have none."""
    texts: set[str] = set()
    for path in sorted(real_corpora.rglob("*.parquet")):
        frame = pl.read_parquet(path)
        for name, kind in frame.schema.items():
            if kind == pl.String:
                texts.update(frame[name].drop_nulls().to_list())
    for path in sorted(real_corpora.rglob("*_1w.json")):
        for line in path.read_text(encoding="utf-8").splitlines():
            texts.update(_strings(json.loads(line)))
    for path in [*real_corpora.rglob("dev-v2.0-zh.part.json"), *real_corpora.glob("CSpider/raw/dev.json")]:
        texts.update(_strings(json.loads(path.read_text(encoding="utf-8"))))
    assert len(texts) > 30_000
    return pl.Series(sorted(texts))


def test_keys_of_real_texts(real_texts: pl.Series) -> None:
    keys = match_key(real_texts)
    assert match_key(keys).equals(keys)
    some = range(0, real_texts.len(), 5)
    assert [real_texts[i] for i in some if keys[i] != reference_key(real_texts[i])] == []


def test_cleaning_real_texts(real_texts: pl.Series) -> None:
    for script in ("hans", "mixed"):
        once = clean(real_texts, script=script)
        assert clean(once, script=script).equals(once)
    changed = (clean(real_texts) != real_texts).mean()
    assert 0.001 < changed < 0.05
    assert is_traditional(real_texts).mean() < 0.001  # these corpora are simplified


def test_traditional_rows_are_found(real_texts: pl.Series) -> None:
    """Simplified sentences set in traditional characters by OpenCC: those in which that leaves a trace are found."""
    rows = real_texts.filter(real_texts.str.len_chars().is_between(10, 60)).sample(2000, seed=1).to_list()
    to_traditional = opencc.OpenCC("s2twp")
    converted = [(row, to_traditional.convert(row)) for row in rows]
    traditional = pl.Series([after for before, after in converted if after != before])
    assert traditional.len() > 1500
    assert is_traditional(traditional).mean() > 0.98
