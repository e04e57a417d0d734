"""Which columns of a stranger's file are the text, its positive and its negatives: by their usual names, or as told."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.audit.table import Kind, Table
from pipeline.errors import UsageError
from pipeline.manifest.corpus import Corpus

#: The corpus that a file becomes while it is looked at.
NAME = "audit"
#: Names that go together, as data sets have them: (texts, positives); lower case, without blanks, `-` and `_`.
FAMILIES = (
    (
        ("text", "query", "question", "anchor", "q", "sent", "sentence"),
        ("textpos", "positive", "positives", "pos", "answer", "answers", "a", "response", "passage", "document", "doc"),
    ),
    (("sentence1", "sent1", "text1", "texta", "sentencea"), ("sentence2", "sent2", "text2", "textb", "sentenceb")),
    (("premise",), ("hypothesis",)),
    (("instruction", "prompt", "input"), ("output", "response", "completion", "answer", "target")),
    (("title",), ("content", "body", "abstract", "text")),
    (("source", "src"), ("target", "tgt")),
)
#: Both sides of these are of one kind.
SYMMETRIC = ("sentence1", "sent1", "text1", "texta", "sentencea")
_NEGATIVE = re.compile(r"(?i)^(?:(?:text|hard)[\s_-]?)?neg(?:ative)?s?(?:[\s_-].*|[0-9]*)$")
#: Columns that often tell pairs from pairs that do not match.
_LABELS = ("label", "labels", "gold_label", "score")
#: Joins several columns of negatives; a noncharacter, which cleaning removes from texts.
_JOINT = "\ufdd0"


@dataclass(frozen=True)
class Given:
    """What the user said of the columns; `where` is a SQL condition that rows must meet."""

    text: str | None = None
    text_pos: str | None = None
    negatives: tuple[str, ...] = ()
    where: str | None = None


@dataclass(frozen=True)
class Sides:
    """The columns that are looked at; `unused` are those that are not."""

    text: str
    text_pos: str
    negatives: tuple[str, ...]
    symmetric: bool
    unused: tuple[str, ...] = ()

    def sentence(self) -> str:
        """What was taken for what.

        >>> Sides("question", "answer", (), False).sentence()
        'text is column question, its positive answer; no negatives'
        """
        told = f"negatives {', '.join(self.negatives)}" if self.negatives else "no negatives"
        both = " (of one kind: compared both ways)" if self.symmetric else ""
        unused = f"; not looked at: {', '.join(self.unused)}" if self.unused else ""
        label = next((f" (--where \"{name} = '1'\" leaves rows out)" for name in self.unused if name in _LABELS), "")
        return f"text is column {self.text}, its positive {self.text_pos}{both}; {told}{unused}{label}"


def choose_sides(table: Table, given: Given) -> Sides:
    """The sides of a file. Raises UsageError, listing the columns, where they cannot be told."""
    named = [
        ("--text", given.text),
        ("--text-pos", given.text_pos),
        *(("--negatives", name) for name in given.negatives),
    ]
    for option, name in named:
        if name is not None and name not in table.columns:
            raise _unclear(table, f"{option} names column {name}, which is not there or holds no text")
    plain = {_plain(name): name for name in table.columns}
    found = [
        (plain[text], plain[pos])
        for texts, positives in FAMILIES
        for text in texts
        for pos in positives
        if text in plain and pos in plain and plain[text] != plain[pos]
        if given.text in (None, plain[text]) and given.text_pos in (None, plain[pos])
    ]
    if given.text is not None and given.text_pos is not None:
        found = [(given.text, given.text_pos)]
    if len(set(found)) != 1:
        several = " or ".join(f"({text}, {pos})" for text, pos in dict.fromkeys(found))
        raise _unclear(table, f"text and positive may be {several}" if found else "no two columns have usual names")
    text, pos = found[0]
    if text == pos:
        raise _unclear(table, f"column {text} cannot be both the text and its positive")
    if table.columns[text] == table.columns[pos] == "list":
        raise _unclear(table, f"columns {text} and {pos} are both lists; one of them must be plain text")
    negatives = given.negatives or tuple(
        name for name in table.columns if name not in (text, pos) and _NEGATIVE.match(name)
    )
    seen = (text, pos, *negatives)
    unused = tuple(name for name in (*table.columns, *table.others) if name not in seen)
    return Sides(text, pos, negatives, _plain(text) in SYMMETRIC, unused)


def corpus_of(table: Table, sides: Sides, where: str | None = None) -> Corpus:
    """A corpus that is this one file, for the stages: nothing is known of its terms, and no bad row stops it."""
    used = (sides.text, sides.text_pos)
    declared: dict[str, object] = {name: ["string"] if table.columns[name] == "list" else "string" for name in used}
    for name in sides.negatives:
        declared[name] = ["string"] if table.columns[name] == "list" else "string?"
    if where is not None:
        kinds = {**{name: "string" for name in table.columns if table.columns[name] != "list"}, **table.others}
        declared |= {
            name: f"{kind}?" for name, kind in kinds.items() if kind and name in where and name not in declared
        }
    select = {
        "text": _quoted(sides.text),
        "text_pos": _quoted(sides.text_pos),
        "text_neg": _negatives(sides.negatives, table.columns),
        "where": where,
    }
    part = {
        "files": {"train": table.path.name},
        "layout": table.layout,
        "encoding": table.encoding,
        "quote": table.quote,
        "columns": declared,
        "select": {key: value for key, value in select.items() if value is not None},
    }
    unknown = {"spdx": "LicenseRef-unknown", "commercial": "unknown", "redistribute": "unknown", "confidence": "low"}
    return Corpus.model_validate(
        {
            "name": NAME,
            "title": table.path.name,
            "domain": "",
            "task": "",
            "grade": "良",
            "symmetric": sides.symmetric,
            "source": {"kind": "local", "root": str(table.path.parent)},
            "parts": [part],
            "instruction_data": True,
            "max_bad_rows": 1.0,
            "licence": unknown,
        }
    )


def _negatives(names: Sequence[str], columns: Mapping[str, Kind]) -> str | None:
    if len(names) < 2:
        return _quoted(names[0]) if names else None
    joined = [
        f"array_to_string({_quoted(name)}, '{_JOINT}')" if columns[name] == "list" else _quoted(name) for name in names
    ]
    return f"string_to_array(concat_ws('{_JOINT}', {', '.join(joined)}), '{_JOINT}')"


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-]", "", name).lower()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _unclear(table: Table, cause: str) -> UsageError:
    columns = ", ".join(table.columns) or "none"
    others = f"; without text are {', '.join(table.others)}" if table.others else ""
    return UsageError(
        str(table.path),
        f"{cause}. Columns with text are {columns}{others}",
        "name them: --text COLUMN --text-pos COLUMN [--negatives COLUMN]",
    )
