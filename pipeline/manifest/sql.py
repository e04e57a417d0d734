"""A light look at the SQL expressions of a manifest, without polars: do they name columns and labels that exist?

polars compares a label with a name that does not exist and answers false, so a misspelt `label = 'entailed'` would
select nothing without a word. `m3e check` finds it here, before any row is read; the syntax itself is judged by polars
in `convert`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pipeline.manifest.columns import Label, parse_column


class Token(NamedTuple):
    kind: str  # name | quoted | text | number | mark
    value: str

    def is_word(self, *words: str) -> bool:
        return self.kind == "name" and self.value.lower() in words


_TOKEN = re.compile(
    r"""(?P<blank>\s+|--[^\n]*|/\*.*?\*/)
      | (?P<text>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")*"|`[^`]*`)
      | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | (?P<name>[^\W\d][\w$]*)
      | (?P<mark><=>|<>|!=|==|<=|>=|::|\|\||.)""",
    re.VERBOSE | re.DOTALL,
)

#: Words of the expression language; a name among them is no column unless it is declared as one.
_WORDS = """
all and any array as asc between both by case cast collate cross date datetime desc distinct div else end escape
except exists exclude extract false filter first following for from glob group having ilike in interval is last
leading like limit not null nulls offset on or order over partition preceding range regexp rlike row rows select
similar some then time timestamp to trailing true try_cast unbounded union unknown unnest using when where with within
xor
"""
_KEYWORDS = frozenset(re.findall(r"\w+", _WORDS))
_EQUALS = ("=", "==", "<>", "!=", "<=>")
_END = Token("mark", "")


def tokens(expr: str) -> list[Token]:
    """The tokens of an expression, blanks and comments left out, quotes taken off.

    >>> [token.value for token in tokens("label <> 'it''s'")]
    ['label', '<>', "it's"]
    """
    found = []
    for match in _TOKEN.finditer(expr):
        kind, value = str(match.lastgroup), match.group()
        if kind == "text":
            value = value[1:-1].replace("''", "'")
        elif kind == "quoted":
            value = value[1:-1].replace('""', '"')
        if kind != "blank":
            found.append(Token(kind, value))
    return found


def unknown_columns(expr: str, columns: Iterable[str]) -> list[str]:
    """Names in `expr` that are no declared column, in order of appearance; functions, fields and types left out.

    >>> unknown_columns("concat_ws(' ', title, s.field, CAST(n AS VARCHAR))", ["title", "s"])
    ['n']
    """
    declared, unknown = set(columns), []
    stream = [_END, *tokens(expr), _END]
    for before, token, after in zip(stream, stream[1:], stream[2:], strict=False):
        if token.kind not in ("name", "quoted") or token.value in declared or token.value in unknown:
            continue
        is_field = before == ("mark", ".")
        is_type = before == ("mark", "::") or before.is_word("as")
        is_word = token.kind == "name" and (token.value.lower() in _KEYWORDS or after == ("mark", "("))
        if not (is_field or is_type or is_word):
            unknown.append(token.value)
    return unknown


def unknown_labels(expr: str, columns: Mapping[str, object]) -> list[str]:
    """A sentence for every name that `expr` compares with a label column that has no such name.

    Seen are `label = 'x'` and its kin either way round, `label [NOT] IN ('x', ...)`, `label IS [NOT] DISTINCT FROM 'x'`
    and `CASE label WHEN 'x'`.

    >>> unknown_labels("label = 'entailed'", {"label": {"names": ["neutral", "entailment"]}})
    ["label has no name 'entailed'; it is one of neutral, entailment"]
    """
    labels = {name: label.names for name, label in _labels(columns)}
    faults = [
        f"{column} has no name '{name}'; it is one of {', '.join(labels[column])}"
        for column, name in _compared(tokens(expr), set(labels))
        if name not in labels[column]
    ]
    return list(dict.fromkeys(faults))


def _labels(columns: Mapping[str, object]) -> Iterator[tuple[str, Label]]:
    for name, declared in columns.items():
        try:
            column = parse_column(declared)
        except ValueError:
            continue  # a wrong type is told where types are checked
        if isinstance(column, Label):
            yield name, column


def _compared(stream: list[Token], labels: set[str]) -> Iterator[tuple[str, str]]:
    """(label column, name) for every comparison of the two."""
    cases: list[str | None] = []  # the label that each open CASE asks about

    def at(index: int) -> Token:
        return stream[index] if 0 <= index < len(stream) else _END

    for here, token in enumerate(stream):
        if token.is_word("case"):
            asked = at(here + 1)
            cases.append(asked.value if asked.value in labels and at(here + 2).is_word("when") else None)
        elif token.is_word("end") and cases:
            cases.pop()
        elif token.is_word("when") and cases and cases[-1] and at(here + 1).kind == "text":
            yield cases[-1], at(here + 1).value
        if token.kind not in ("name", "quoted") or token.value not in labels:
            continue
        if at(here - 2).kind == "text" and at(here - 1).value in _EQUALS:
            yield token.value, at(here - 2).value
        after = here + 1
        negated = at(after).is_word("not")
        if at(after + negated).is_word("in") and at(after + negated + 1) == ("mark", "("):
            after += negated + 2
            while at(after).kind == "text":
                yield token.value, at(after).value
                after += 1 + (at(after + 1) == ("mark", ","))
        elif at(after).kind == "mark" and at(after).value in _EQUALS and at(after + 1).kind == "text":
            yield token.value, at(after + 1).value
        elif at(after).is_word("is"):
            after += 1 + at(after + 1).is_word("not")
            if at(after).is_word("distinct") and at(after + 1).is_word("from") and at(after + 2).kind == "text":
                yield token.value, at(after + 2).value
