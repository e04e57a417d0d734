"""Taking HTML out of texts that really hold some, and leaving alone whatever only looks like it.

`1 < 2 且 a<b`, `vector<int>`, `List<String>`, `<战国>` and placeholders such as `<time>` are text. What counts as markup:

- a closing tag of a known element: `</div>`
- an opening tag that is well formed and carries attributes with values: `<p class=a>`
- an opening tag without attributes of an element whose name means nothing else: `<br>`
- an opening tag of the other elements (`<b>`, `<time>`, `<map>`) when the text closes that element somewhere
- comments; script and style elements with their bodies
- entities with a semicolon, numeric or among the names of HTML 4

A text that closes an element which HTML does not know (`</item>`) is XML: there `<data>` and its like stay.
A text that holds `<html` or `<!doctype html` shows the source of a page on purpose (answers to "write me a web page")
and is left alone. Why no parser: selectolax, like every browser, reads `a<b 且 c>d` as an element and gives `ad`, and `vector<int>`
as `vector`; on the rows that hold markup it is no faster than these expressions.
"""

from __future__ import annotations

import html
import re
from html.entities import name2codepoint

import polars as pl

from pipeline.normalize.rows import patch

_PLAIN = (
    "br hr p div img ul ol li td tr th tbody thead h1 h2 h3 h4 h5 h6 strong em font sub sup blockquote center nobr wbr"
    " dl dt dd nowiki noinclude includeonly onlyinclude"
)
_AMBIGUOUS = (
    "a abbr acronym address applet area article aside audio b base big body button canvas caption cite code col"
    " colgroup data datalist del details dfn dialog embed fieldset figcaption figure footer form frame frameset head"
    " header html i iframe input ins kbd label legend link main map mark marquee menu meta nav noscript object optgroup"
    " option output param picture pre progress q ref references rp rt ruby s samp script section select small source"
    " span strike style summary svg table template textarea tfoot time title track tt u ul var video"
)
#: Elements whose bare opening tag is markup by itself; the last four are MediaWiki's.
PLAIN = frozenset(_PLAIN.split())
#: Elements whose names are words, types or variables as well.
AMBIGUOUS = frozenset(_AMBIGUOUS.split())
ELEMENTS = PLAIN | AMBIGUOUS
_BLOCKS = "br hr p div ul ol li tr table h1 h2 h3 h4 h5 h6 blockquote dl dt dd pre section article caption tbody thead"
_NEWLINE = frozenset(_BLOCKS.split())
_BLANK = frozenset(("td", "th"))
_NAMES = "|".join(sorted(ELEMENTS, key=lambda name: (-len(name), name)))
_SWITCHES = (
    "allowfullscreen|async|checked|controls|defer|disabled|hidden|multiple|noshade|nowrap|readonly|required|selected"
)
_ATTRIBUTE = (
    r"(?:\s+|(?<=[\"']))(?:[A-Za-z_:][\w:.-]{0,60}\s{0,9}=\s{0,9}"
    r"(?:\"[^\"<>]{0,2000}\"|'[^'<>]{0,2000}'|[^\s\"'=<>`][^\s\"'<>`]{0,999})"
    rf"|(?:{_SWITCHES})\b)"
)
_TAG = re.compile(rf"<(?P<close>/?)(?P<name>{_NAMES})(?P<attributes>(?:{_ATTRIBUTE}){{0,40}})\s{{0,99}}/?>", re.I)
_CLOSING = re.compile(rf"</({_NAMES})\s{{0,99}}>", re.I)
_FOREIGN = re.compile(rf"</(?!(?:{_NAMES})[\s>])[A-Za-z][\w.-]{{0,60}}\s{{0,99}}>", re.I)
_BODIES = re.compile(r"<(script|style)\b[^<>]{0,2000}>.*?</\1\s{0,99}>", re.I | re.S)
_COMMENT = re.compile(r"<!--.*?-->", re.S)
_EXPONENT = re.compile(r"(?<=\d)<sup>(?=[\d-])", re.I)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});")
_ESCAPED_ENTITY = re.compile(r"&(?:amp;)+")
_ENTITY_NAMES = frozenset(name2codepoint) | {"apos"}

_SUSPECT = rf"(?i)</?(?:{_NAMES})[\s/>]|<!--|&#?[a-z0-9]{{1,31}};"
_PAGE = r"(?i)<!doctype\s+html|<html[\s>]"


def strip_markup(texts: pl.Series) -> pl.Series:
    """Each text without its HTML; block elements become newlines, table cells blanks, all else vanishes.

    >>> strip_markup(pl.Series(["a<b 且 x&lt;y<br>H<sub>2</sub>O", "List<String> <战国>"])).to_list()
    ['a<b 且 x<y\\nH2O', 'List<String> <战国>']
    """
    suspect = texts.str.contains(_SUSPECT) & ~texts.str.contains(_PAGE)
    return patch(texts, suspect, lambda rows: pl.Series(rows.name, [_strip(row) for row in rows], dtype=pl.String))


def _strip(text: str) -> str:
    if "-->" in text:
        text = _COMMENT.sub(" ", text)
    if "<" in text:
        text = _EXPONENT.sub("^", _BODIES.sub(" ", text))
        closed = {name.lower() for name in _CLOSING.findall(text)}
        is_xml = _FOREIGN.search(text) is not None
        text = _TAG.sub(lambda tag: _replacement(tag, closed, is_xml), text)
    if "&" in text:
        text = _ENTITY.sub(_character, _ESCAPED_ENTITY.sub("&", text) if _ENTITY.search(text) else text)
    return text


def _replacement(tag: re.Match[str], closed: set[str], is_xml: bool) -> str:
    name = tag["name"].lower()
    if is_xml and name in AMBIGUOUS:
        return tag[0]
    if not tag["close"] and not tag["attributes"] and name not in closed:
        before = tag.string[tag.start() - 1 : tag.start()]
        if name in AMBIGUOUS or (name == "p" and before.isascii() and before.isalnum()):
            return tag[0]
    return "\n" if name in _NEWLINE else " " if name in _BLANK else ""


def _character(entity: re.Match[str]) -> str:
    name = entity[0][1:-1]
    return html.unescape(entity[0]) if name[0] == "#" or name in _ENTITY_NAMES else entity[0]
