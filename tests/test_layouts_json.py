"""JSON lines against the json module and a second writing of the type grammar."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import chunks_of, part, projected, read, texts

from pipeline.errors import DriftError, FormatError
from pipeline.record import RAW_BYTES


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("layouts") / "file"


TYPES: dict[str, Any] = {
    "q": "string",
    "n": "int?",
    "f": "float?",
    "b": "bool?",
    "label": {"names": ["neutral", "entailment"]},
    "l": ["string"],
    "s": {"t": "string?", "d": [{"x": "int"}]},
}
GOOD = {"q": "问", "n": 1, "f": 0.5, "b": True, "label": "neutral", "l": ["a"], "s": {"t": None, "d": [{"x": 1}]}}
ABSENT = object()


def allowed(kind: Any, value: object) -> bool:
    """The type grammar, written a second time."""
    if isinstance(kind, str):
        if value is None or value is ABSENT:
            return kind.endswith("?")
        match kind.removesuffix("?"):
            case "string":
                return isinstance(value, str) and not any(0xD800 <= ord(c) < 0xE000 for c in value)
            case "int":
                return type(value) is int and -(2**63) <= value < 2**63
            case "float":
                return type(value) in (int, float) and abs(value) < 1.8e308  # type: ignore[operator]
            case _:
                return type(value) is bool
    if isinstance(kind, list):
        return isinstance(value, list) and all(allowed(kind[0], one) for one in value)
    if "names" in kind:
        return value in kind["names"] if isinstance(value, str) else type(value) is int and 0 <= value < 2
    return isinstance(value, dict) and all(allowed(inner, value.get(key, ABSENT)) for key, inner in kind.items())


def expected_row(line: bytes) -> dict[str, object] | None:
    try:
        row = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not all(allowed(kind, row.get(name, ABSENT)) for name, kind in TYPES.items()):
        return None
    return {name: projected(kind, row.get(name)) for name, kind in TYPES.items()}


scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.just("neutral") | st.integers(-1, 3)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("txd"), inner, max_size=3),
    max_leaves=4,
)
changed_rows = st.dictionaries(st.sampled_from([*TYPES, "extra"]), values, max_size=2).map(lambda more: GOOD | more)
shorter_rows = st.sets(st.sampled_from(list(TYPES)), max_size=2).map(
    lambda less: {key: value for key, value in GOOD.items() if key not in less}
)
json_lines = (changed_rows | shorter_rows | values).flatmap(
    lambda row: st.booleans().map(lambda ascii: json.dumps(row, ensure_ascii=ascii).encode())
)
nasty_lines = st.sampled_from(
    [
        b'{"q": "\xff"}',
        b'{"q": "\\ud800"}',
        b"{}null{}",
        b"null",
        b"[1]",
        b'{"q": 1} {"q": 2}',
        b'{"q": "x"',
        json.dumps(GOOD).encode()[:-1] + b', "extra": NaN}',
        json.dumps(GOOD).encode()[:-1] + b', "f": NaN}',
        json.dumps(GOOD).encode()[:-1] + b', "q": "twice"}',
        json.dumps(GOOD).encode()[:-1] + b', "extra": "\\ud800"}',
        json.dumps(GOOD).encode()[:-1] + b', "n": 9223372036854775808}',
        json.dumps(GOOD).encode()[:-1] + b', "n": 1.0}',
        json.dumps(GOOD).encode()[:-1] + b', "f": 1e999}',
        b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
        json.dumps(GOOD).encode() + b"\r",
        b" \t" + json.dumps(GOOD).encode() + b" ",
        json.dumps(GOOD | {"extra": 1}).encode().replace(b"1}", b"[" * 1500 + b"]" * 1500 + b"}"),
    ]
)


@st.composite
def broken_lines(draw: st.DrawFn) -> bytes:
    line = draw(json_lines)
    at = draw(st.integers(0, len(line)))
    return line[:at] + draw(st.sampled_from([b"", b'"', b"{", b"}", b",", b"\\", b"\x00", b"\x80"])) + line[at + 1 :]


@settings(max_examples=100, deadline=None)
@given(st.lists(json_lines | broken_lines() | nasty_lines, max_size=8), st.sampled_from([5, 1 << 20]))
def test_a_line_is_good_or_bad_by_itself(scratch: Path, lines: list[bytes], size: int) -> None:
    lines = [json.dumps(GOOD).encode(), *(line for line in lines if line.strip(b" \t\r"))]
    scratch.write_bytes(b"\n".join(lines))
    with chunks_of(size):
        good, bad = read(scratch, part("jsonl", TYPES))
    expected = {number: row for number, line in enumerate(lines) if (row := expected_row(line)) is not None}
    assert good == expected
    assert sorted(bad) == sorted(set(range(len(lines))) - set(expected))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"q": 7, "label": 0}', "column q: expected string, found int"),
        ('{"label": 0}', "column q is missing"),
        ('{"q": null, "label": 0}', "column q is null"),
        ('{"q": "a", "label": 7}', "column label: 7 is not one of neutral, entailment, contradiction"),
        ('{"q": "a", "label": "x"}', "column label: x is not one of neutral, entailment, contradiction"),
        ('{"q": "a", "label": true}', "column label: True is not one of neutral, entailment, contradiction"),
        ('{"q": "a", "label": 0, "l": [1]}', "column l[]: expected string, found int"),
        ('{"q": "a", "label": 0, "l": {}}', "column l: expected a list, found object"),
        ('{"q": "a", "label": 0, "s": {}}', "column s.t is missing"),
        ('{"q": "\\ud800", "label": 0}', "column q holds half a surrogate pair"),
        ('{"q": "a"', "not JSON: unexpected end of data"),
        ("[1, 2]", "expected an object, found list"),
    ],
)
def test_reasons_are_told_in_words(scratch: Path, line: str, reason: str) -> None:
    columns = {"q": "string", "label": {"names": ["neutral", "entailment", "contradiction"]}, "l": ["string"]}
    columns["s"] = {"t": "string"}
    fine = {"q": "a", "label": 0, "l": [], "s": {"t": ""}}
    full = line.replace("{", json.dumps({k: v for k, v in fine.items() if f'"{k}"' not in line})[:-1] + ", ", 1)
    if "missing" in reason and "q" in reason:
        full = '{"label": 0, "l": [], "s": {"t": ""}}'
    told = full if line.startswith("{") else line
    scratch.write_text(json.dumps(fine) + "\n" + told, "utf-8")
    good, bad = read(scratch, part("jsonl", columns))
    assert list(good) == [0]
    assert bad[1].reason == reason and bad[1].raw == told


def test_a_bad_row_keeps_at_most_4_kb_of_itself(scratch: Path) -> None:
    scratch.write_text('{"q": "a"}\n{"q": ["' + "长" * 5000 + '"]}\n', "utf-8")
    raw = read(scratch, part("jsonl", {"q": "string"}))[1][1].raw
    assert RAW_BYTES - 3 < len(raw.encode()) <= RAW_BYTES and raw.endswith("长")
    scratch.write_bytes(b'{"q": "a"}\n' + b"\xff" * 5000)
    raw = read(scratch, part("jsonl", {"q": "string"}))[1][1].raw
    assert RAW_BYTES - 3 < len(raw.encode()) <= RAW_BYTES


def test_a_label_may_change_from_number_to_name_within_a_file(scratch: Path) -> None:
    rows = [{"label": 0}] * 600 + [{"label": "yes"}] * 600 + [{"label": 1}, {"label": 2}]
    scratch.write_text("\n".join(map(json.dumps, rows)))
    good, bad = read(scratch, part("jsonl", {"label": {"names": ["no", "yes"]}}))
    assert [row["label"] for row in good.values()] == ["no"] * 600 + ["yes"] * 601
    assert list(bad) == [1201]


def test_a_renamed_column_is_drift_and_names_both(scratch: Path) -> None:
    scratch.write_text('{"question": "a", "id": 1}\n{"question": "b"}\n')
    with pytest.raises(DriftError, match=r"file: column query is in none of the first 2 rows, which have question, id"):
        read(scratch, part("jsonl", {"query": "string"}))
    assert len(read(scratch, part("jsonl", {"query": "string?"}))[0]) == 2


def test_a_wrong_layout_is_told_at_once(scratch: Path) -> None:
    scratch.write_text('[\n{"q": "a"},\n{"q": "b"}\n]')
    assert len(read(scratch, part("json-array", {"q": "string"}))[0]) == 2
    scratch.write_text('[{"q": "a"}]')
    with pytest.raises(FormatError, match=r"no row is a JSON object.*declare layout: json-array"):
        read(scratch, part("jsonl", {"q": "string"}))
    scratch.write_text('{"q": "a"}\n{"q": "b"}')
    with pytest.raises(FormatError, match="does not open as"):
        read(scratch, part("json-array", {"q": "string"}))


def test_the_reference_knows_nan() -> None:
    """The reference above must not take what no column may hold."""
    assert not allowed("float", math.nan) and not allowed("int", True) and allowed("float", 3)
