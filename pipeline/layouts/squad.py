"""SQuAD trees: articles of paragraphs of questions, one row per question, with the columns of SQUAD_COLUMNS.

A row's number is the ordinal of its question in the file. A paragraph without questions gives no row; `answers` may
be absent (none); `id` of a paragraph or question may be a string or a number. An article or paragraph whose questions
cannot be reached counts as one bad row.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from pipeline.layouts import scan
from pipeline.layouts.columns import arrow_schema
from pipeline.layouts.json import parsed
from pipeline.layouts.rows import BATCH_ROWS, CHUNK_BYTES, BadRow, Int64s, OnBad, RowBatch, raw_text
from pipeline.layouts.stream import decodes, refuse_wrong_encoding, undecodable
from pipeline.layouts.values import Fault, shaped
from pipeline.manifest.columns import Scalar, parse_columns
from pipeline.manifest.corpus import SQUAD_COLUMNS

_SCHEMA = arrow_schema(parse_columns(SQUAD_COLUMNS))
#: Contexts repeat with every question: a batch is cut where it would hold more text than this.
_BATCH_BYTES = 4 * CHUNK_BYTES


def read_articles(blocks: Iterable[bytes], encoding: str, place: str, on_bad: OnBad) -> Iterator[RowBatch]:
    """Rows of `blocks`, whose lines are articles `{title?, paragraphs: [{context, id?, qas: [...]}]}`."""
    first_row = 0
    opened = False
    for data in blocks:
        starts, ends = scan.lines_of(data)
        if not len(starts):
            continue
        if not opened:
            refuse_wrong_encoding(decodes(data, starts, ends), data, starts, ends, encoding, place)
            opened = True
        whole = _flat(data, starts, ends)
        if whole is not None:
            yield from whole.batches(first_row)
            first_row += len(whole.context_of)
            continue
        for line in range(len(starts)):  # one article that is not as declared leaves its neighbours alone
            span = slice(line, line + 1)
            article = _flat(data, starts[span], ends[span])
            if article is not None:
                yield from article.batches(first_row)
                first_row += len(article.context_of)
                continue
            walk = _Walk(encoding, first_row, on_bad)
            walk.article(data[starts[line] : ends[line]])
            for low in range(0, max(1, len(walk.rows)), _WALKED_ROWS):
                table = pa.Table.from_pylist(walk.rows[low : low + _WALKED_ROWS], schema=_SCHEMA)
                yield RowBatch(table, np.array(walk.numbers[low : low + _WALKED_ROWS], dtype=np.int64))
            first_row = walk.next_row


class _Flat(NamedTuple):
    """Questions, and the contexts they point at, not yet multiplied."""

    contexts: pa.Table  # title, context, context_id
    questions: pa.Table  # id, question, is_impossible, answers
    context_of: Int64s

    def batches(self, first_row: int) -> Iterator[RowBatch]:
        sizes = pc.binary_length(self.contexts["context"]).to_numpy()[self.context_of]
        sizes = sizes + pc.binary_length(self.questions["question"]).to_numpy()
        piece = np.cumsum(sizes, dtype=np.int64) // _BATCH_BYTES
        cuts = {*range(0, len(sizes), BATCH_ROWS), *(np.flatnonzero(np.diff(piece)) + 1).tolist(), len(sizes)}
        bounds = sorted(cuts)
        for low, high in itertools.pairwise(bounds):
            contexts = self.contexts.take(self.context_of[low:high])
            questions = self.questions.slice(low, high - low)
            columns = {name: (contexts if name in contexts.column_names else questions)[name] for name in _SCHEMA.names}
            numbers = np.arange(first_row + low, first_row + high, dtype=np.int64)
            yield RowBatch(pa.table(columns, schema=_SCHEMA), numbers)


def _stored(paragraph_id: pa.DataType) -> pj.ParseOptions:
    question = pa.struct(
        [
            ("id", pa.string()),
            ("question", pa.string()),
            ("is_impossible", pa.bool_()),
            ("answers", pa.list_(pa.struct([("text", pa.string())]))),
        ]
    )
    paragraph = pa.struct([("context", pa.string()), ("id", paragraph_id), ("qas", pa.list_(question))])
    schema = pa.schema([("title", pa.string()), ("paragraphs", pa.list_(paragraph))])
    return pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")


_STORED = tuple(_stored(kind) for kind in (pa.string(), pa.int64()))


def _flat(data: bytes, starts: Int64s, ends: Int64s) -> _Flat | None:
    """The questions of some articles, or None where one of them needs a closer look."""
    block = data[starts[0] : ends[-1]]
    if not scan.are_objects(data, starts, ends) or not decodes(data, starts[:1], ends[-1:]).all():
        return None
    options = pj.ReadOptions(use_threads=False, block_size=len(block) + 1)
    for stored in _STORED:
        try:
            articles = pj.read_json(pa.BufferReader(block), read_options=options, parse_options=stored).combine_chunks()
        except pa.ArrowInvalid:
            continue
        return _flattened(articles) if articles.num_rows == len(starts) else None
    return None


def _flattened(articles: pa.Table) -> _Flat | None:
    lists = articles["paragraphs"].combine_chunks()
    paragraphs = pc.list_flatten(lists)
    asked = pc.struct_field(paragraphs, "qas")
    questions = pc.list_flatten(asked)
    context, question = pc.struct_field(paragraphs, "context"), pc.struct_field(questions, "question")
    given = pc.struct_field(questions, "answers")
    texts = pc.struct_field(pc.list_flatten(given), "text")
    if any(values.null_count for values in (lists, paragraphs, asked, questions, context, question, texts)):
        return None
    offsets = np.concatenate(([0], np.cumsum(pc.fill_null(pc.list_value_length(given), 0).to_numpy())))
    contexts = {
        "title": articles["title"].combine_chunks().take(pc.list_parent_indices(lists)),
        "context": context,
        "context_id": pc.struct_field(paragraphs, "id").cast(pa.string()),
    }
    rest = {
        "id": pc.struct_field(questions, "id"),
        "question": question,
        "is_impossible": pc.struct_field(questions, "is_impossible"),
        "answers": pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), texts),
    }
    return _Flat(pa.table(contexts), pa.table(rest), pc.list_parent_indices(asked).to_numpy())


#: Rows of a batch that came the slow way.
_WALKED_ROWS = 4096
_TEXT, _MAYBE_TEXT, _MAYBE_BOOL = Scalar("string"), Scalar("string", True), Scalar("bool", True)


class _Walk:
    """The slow way down one article, question by question, with a reason for each that is not as declared."""

    def __init__(self, encoding: str, first_row: int, on_bad: OnBad) -> None:
        self._encoding, self.next_row, self._on_bad = encoding, first_row, on_bad
        self.rows: list[dict[str, object]] = []
        self.numbers: list[int] = []

    def article(self, raw: bytes) -> None:
        try:
            raw.decode()
        except UnicodeDecodeError:
            self._bad(undecodable(raw, self._encoding), raw)
            return
        tree = parsed(raw)
        try:
            if isinstance(tree, Fault):
                raise tree
            title = shaped(_MAYBE_TEXT, _object(tree, "article"), "title")
            paragraphs = _list(tree, "paragraphs")
        except Fault as fault:
            self._bad(fault.reason, raw)
            return
        for paragraph in paragraphs:
            try:
                shared = {
                    "title": title,
                    "context": shaped(_TEXT, _object(paragraph, "paragraph"), "context"),
                    "context_id": _identity(paragraph),
                }
                questions = _list(paragraph, "qas")
            except Fault as fault:
                self._bad(fault.reason, _raw(paragraph))
                continue
            for question in questions:
                self._question(question, shared)

    def _question(self, question: object, shared: Mapping[str, object]) -> None:
        try:
            asked = _object(question, "question")
            given = {"answers": [], **{key: value for key, value in asked.items() if value is not None}}
            own = {
                "id": _identity(asked),
                "question": shaped(_TEXT, asked, "question"),
                "is_impossible": shaped(_MAYBE_BOOL, asked, "is_impossible"),
                "answers": [shaped(_TEXT, _object(one, "answer"), "text") for one in _list(given, "answers")],
            }
        except Fault as fault:
            self._bad(fault.reason, _raw(question))
            return
        self.rows.append({**shared, **own})
        self.numbers.append(self.next_row)
        self.next_row += 1

    def _bad(self, reason: str, raw: bytes) -> None:
        self._on_bad(BadRow(self.next_row, reason, raw_text(raw)))
        self.next_row += 1


def _object(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise Fault(f"{what}: expected an object, found {type(value).__name__}")
    return value


def _list(holder: object, name: str) -> list[object]:
    found = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(found, list):
        raise Fault(f"{name}: expected a list, found {'nothing' if found is None else type(found).__name__}")
    return found


def _identity(holder: object) -> object:
    found = holder.get("id") if isinstance(holder, dict) else None
    number = isinstance(found, int) and not isinstance(found, bool)
    return shaped(_MAYBE_TEXT, {"id": str(found) if number else found}, "id")


def _raw(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
