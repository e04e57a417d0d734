"""How the tests of layouts read: rows by number, as plain Python values."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from pipeline.layouts import BadRow, read_rows
from pipeline.layouts import stream as stream_module
from pipeline.manifest.corpus import Part

ANY_SELECT = {"text": "'a'", "text_pos": "'b'"}


def part(layout: str, columns: dict[str, Any] | None = None, **more: Any) -> Part:
    told = {"files": {"train": "x"}, "layout": layout, "columns": columns or {}, "select": ANY_SELECT, **more}
    return Part.model_validate(told)


def read(path: Path, declared: Part) -> tuple[dict[int, dict[str, Any]], dict[int, BadRow]]:
    """Good rows and bad rows by row number; no number may occur twice."""
    bad: list[BadRow] = []
    good: dict[int, dict[str, Any]] = {}
    last = -1
    for batch in read_rows(path, declared, bad.append):
        assert len(batch.rows) == batch.table.num_rows
        assert all(last < row for row in batch.rows[:1])
        last = int(max(batch.rows, default=last))
        good.update(zip(batch.rows.tolist(), batch.table.to_pylist(), strict=True))
    told = {row.row: row for row in bad}
    assert len(told) == len(bad) and not told.keys() & good.keys()
    assert sorted([*good, *told]) == list(range(len(good) + len(told)))
    return good, told


@contextmanager
def chunks_of(size: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_module, "CHUNK_BYTES", size)
        yield


def projected(kind: Any, value: Any) -> object:
    if value is None:
        return None
    if isinstance(kind, list):
        return [projected(kind[0], one) for one in value]
    if isinstance(kind, dict) and "names" in kind:
        return kind["names"][value] if isinstance(value, int) else value
    if isinstance(kind, dict):
        return {key: projected(inner, value.get(key)) for key, inner in kind.items()}
    return float(value) if kind.startswith("float") else value


def walked(tree: Any) -> list[dict[str, Any]]:
    """Questions of a SQuAD tree by plain loops."""
    return [
        {
            "title": article.get("title"),
            "context": paragraph["context"],
            "context_id": None if paragraph.get("id") is None else str(paragraph["id"]),
            "id": None if asked.get("id") is None else str(asked["id"]),
            "question": asked["question"],
            "is_impossible": asked.get("is_impossible"),
            "answers": [answer["text"] for answer in asked.get("answers") or []],
        }
        for article in tree["data"]
        for paragraph in article["paragraphs"]
        for asked in paragraph["qas"]
    ]


texts = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(['"', "\\", "]}", "},{", "\u2028", "😀"])
