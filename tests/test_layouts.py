"""Every layout against plain json, csv and string code that shares nothing with it."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import CurationError, DriftError, FormatError
from pipeline.layouts import BadRow, read_rows
from pipeline.layouts import stream as stream_module
from pipeline.manifest.corpus import SQUAD_COLUMNS, Part
from pipeline.record import RAW_BYTES

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
        assert len(batch.rows) == batch.table.num_rows > 0
        assert batch.rows[0] > last
        last = int(batch.rows[-1])
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


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("layouts") / "file"


# --- JSON lines ------------------------------------------------------------------------------------------------------

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


def projected(kind: Any, value: Any) -> object:
    if value is ABSENT or value is None:
        return None
    if isinstance(kind, list):
        return [projected(kind[0], one) for one in value]
    if isinstance(kind, dict) and "names" in kind:
        return kind["names"][value] if isinstance(value, int) else value
    if isinstance(kind, dict):
        return {key: projected(inner, value.get(key)) for key, inner in kind.items()}
    return float(value) if kind.startswith("float") else value


def expected_row(line: bytes) -> dict[str, object] | None:
    try:
        row = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not all(allowed(kind, row.get(name, ABSENT)) for name, kind in TYPES.items()):
        return None
    return {name: projected(kind, row.get(name)) for name, kind in TYPES.items()}


texts = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(['"', "\\", "]}", "},{", "\u2028", "😀"])
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


# --- one container after another -------------------------------------------------------------------------------------

plain_rows = st.lists(st.fixed_dictionaries({"q": texts, "l": st.lists(texts, max_size=3)}), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(plain_rows, st.booleans(), st.sampled_from([None, 2]), st.sampled_from([1, 7, 1 << 20]))
def test_containers_hold_the_same_rows(scratch: Path, rows: list[Any], ascii: bool, indent: Any, size: int) -> None:
    columns = {"q": "string", "l": ["string"]}
    decoys = {"data ": [1], "x": {"data": [{"q": 1}]}, "s": '"data": [', "dat": ["data", "]"]}
    wrapped = json.dumps({**decoys, "data": rows, "z": {"data": []}}, ensure_ascii=ascii, indent=indent)
    contents = {
        "jsonl": "\r\n".join(json.dumps(row, ensure_ascii=ascii) for row in rows),
        "json-array": json.dumps(rows, ensure_ascii=ascii, indent=indent),
        "json-object": wrapped,
    }
    for layout, content in contents.items():
        more = {"path": "data"} if layout == "json-object" else {}
        scratch.write_text(content, "utf-8")
        with chunks_of(size):
            good, bad = read(scratch, part(layout, columns, **more))
        assert list(good.values()) == rows and not bad


@pytest.mark.parametrize(("layout", "more"), [("json-array", {}), ("json-object", {"path": "data"})])
def test_a_file_cut_anywhere_is_refused(scratch: Path, layout: str, more: dict[str, Any]) -> None:
    rows = [{"q": 'a"]}'}, {"q": "b\\"}]
    content = json.dumps({"v": 1, "data": rows, "w": []} if more else rows)
    for cut in range(len(content)):
        scratch.write_text(content[:cut])
        with pytest.raises(FormatError, match=r"the file (ends|holds)"):
            read(scratch, part(layout, {"q": "string"}, **more))
    inside = content.index("b\\\\")
    scratch.write_text(content[:inside])
    with pytest.raises(FormatError, match="ends in element 1"):
        read(scratch, part(layout, {"q": "string"}, **more))


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ('[{"q": "a"},, {"q": "b"}]', "element 1 is empty"),
        ('[{"q": "a"},]', "element 1 is empty"),
        ('[{"q": "a"}}', "closed by a brace after element 0"),
        ('[{"q": "a"}] [', "more text follows"),
        ('{"q": "a"}', "does not open as"),
        ("", "holds no list"),
    ],
)
def test_faults_between_elements(scratch: Path, content: str, cause: str) -> None:
    scratch.write_text(content)
    with pytest.raises(FormatError, match=cause):
        read(scratch, part("json-array", {"q": "string"}))


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ('{"data": {"q": 1}}', "the value of data is no list"),
        ('{"date": []}', "ends without the key data"),
        ('{"data": [], "data": []}', "the key data is there twice"),
    ],
)
def test_faults_around_the_list(scratch: Path, content: str, cause: str) -> None:
    scratch.write_text(content)
    with pytest.raises(FormatError, match=cause):
        read(scratch, part("json-object", {"q": "string"}, path="data"))


def test_elements_that_are_no_objects_are_bad_rows(scratch: Path) -> None:
    scratch.write_text('[{"q": "a"}, null, 3, "x", [{"q": "b"}], {"q": "line\nbreak"}, {"q": "c"}]')
    good, bad = read(scratch, part("json-array", {"q": "string"}))
    assert good == {0: {"q": "a"}, 6: {"q": "c"}}
    assert bad[1].reason == "expected an object, found NoneType" and bad[5].reason.startswith("not JSON")


# --- encodings and gzip ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["gbk", "gb18030"])
@pytest.mark.parametrize("size", [1, 3, 1 << 20])
def test_chinese_encodings(scratch: Path, encoding: str, size: int) -> None:
    rows = [{"q": "诚惶诚恐"}, {"q": '乗\\"镕' if encoding == "gb18030" else "誠|{}"}]
    for layout, content in (
        ("jsonl", "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)),
        ("json-array", json.dumps(rows, ensure_ascii=False, indent=1)),
        ("csv", "q\n" + "\n".join('"' + row["q"].replace('"', '""') + '"' for row in rows)),
    ):
        scratch.write_bytes(content.encode(encoding))
        quote = {"quote": '"'} if layout == "csv" else {}
        with chunks_of(size):
            assert list(read(scratch, part(layout, {"q": "string"}, encoding=encoding, **quote))[0].values()) == rows


@pytest.mark.parametrize("layout", ["jsonl", "json-array", "csv", "txt"])
@pytest.mark.parametrize(("encoding", "stray"), [("utf-8", b"\xc3\x28"), ("gbk", b"\xff"), ("gb18030", b"\x81\x30")])
def test_one_stray_row_is_a_bad_row(scratch: Path, layout: str, encoding: str, stray: bytes) -> None:
    rows = [f"第{number}行".encode(encoding) for number in range(20)]
    rows[7] += stray
    if layout == "jsonl":
        content = b"\n".join(b'{"q": "' + row + b'"}' for row in rows)
    elif layout == "json-array":
        content = b"[" + b", ".join(b'{"q": "' + row + b'"}' for row in rows) + b"]"
    else:
        content = b"\n".join(rows)
    scratch.write_bytes(content)
    more = {"header": False} if layout == "csv" else {}
    columns = {} if layout == "txt" else {"q": "string"}
    good, bad = read(scratch, part(layout, columns, encoding=encoding, **more))
    assert len(good) == 19 and list(bad) == [7]
    assert bad[7].reason.startswith(f"not {encoding}: character")


@pytest.mark.parametrize("layout", ["jsonl", "json-array", "csv", "txt", "squad"])
def test_a_wrong_encoding_is_refused(scratch: Path, layout: str) -> None:
    rows = [{"q": f"第{number}行，天气很好"} for number in range(40)]
    contents = {
        "jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in rows),
        "json-array": json.dumps(rows, ensure_ascii=False),
        "csv": "q\n" + "\n".join(row["q"] for row in rows),
        "txt": "\n".join(row["q"] for row in rows),
        "squad": json.dumps({"data": [{"paragraphs": [row]} for row in rows]}, ensure_ascii=False),
    }
    columns = {} if layout in ("txt", "squad") else {"q": "string"}
    scratch.write_bytes(contents[layout].encode("gbk"))
    with pytest.raises(
        FormatError,
        match=r"declared encoding utf-8, but (39|40) of its first (39|40) rows.*row 0.*\d+ bytes",
    ):
        read(scratch, part(layout, columns))
    scratch.write_bytes(contents[layout].encode())
    with pytest.raises(FormatError, match="declared encoding gb18030, but from byte 0 it reads as UTF-8"):
        read(scratch, part(layout, columns, encoding="gb18030"))


def test_a_byte_order_mark_must_be_declared(scratch: Path) -> None:
    scratch.write_bytes("\ufeffq\n天\n".encode())
    with pytest.raises(FormatError, match=r"byte-order mark.*utf-8-sig"):
        read(scratch, part("csv", {"q": "string"}))
    assert read(scratch, part("csv", {"q": "string"}, encoding="utf-8-sig"))[0] == {0: {"q": "天"}}
    scratch.write_bytes("q\n天\n".encode())
    assert read(scratch, part("csv", {"q": "string"}, encoding="utf-8-sig"))[0] == {0: {"q": "天"}}


def test_gzip_is_told_by_its_bytes_and_must_be_whole(scratch: Path) -> None:
    rows = [{"q": f"{number}"} for number in range(5000)]
    packed = gzip.compress("\n".join(map(json.dumps, rows)).encode())
    scratch.write_bytes(packed)
    assert list(read(scratch, part("jsonl", {"q": "string"}))[0].values()) == rows
    scratch.write_bytes(packed[:-20])
    with pytest.raises(FormatError, match=r"ends early.*fetch the file again"):
        read(scratch, part("jsonl", {"q": "string"}))
    scratch.write_bytes(packed[:40] + b"\x00\x01" + packed[42:])
    with pytest.raises(FormatError, match="gzip stream is damaged"):
        read(scratch, part("jsonl", {"q": "string"}))


# --- delimited -------------------------------------------------------------------------------------------------------

cells = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=5) | st.sampled_from(
    ['"', ",", "\n", "a\r\nb", '""', ' "', "\t", "\r"]
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([",", "\t"]),
    st.sampled_from([3, 1 << 20]),
)
def test_quoted_text_reads_as_the_csv_module_wrote_it(
    scratch: Path, rows: list[Any], end: str, delimiter: str, size: int
) -> None:
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter, lineterminator=end).writerows([("a", "b", "c"), *rows])
    scratch.write_bytes(written.getvalue().encode())
    layout = "csv" if delimiter == "," else "tsv"
    with chunks_of(size):
        good, bad = read(scratch, part(layout, {"c": "string", "a": "string"}, quote='"'))
    # The csv module leaves a lone CR unquoted and then reads it as the end of a record, as everyone does.
    _, *records = (
        record for record in csv.reader(io.StringIO(written.getvalue(), newline=""), delimiter=delimiter) if record
    )
    assert good == {n: {"c": row[2], "a": row[0]} for n, row in enumerate(records) if len(row) == 3}
    assert {n: row.reason for n, row in bad.items()} == {
        n: f"has {len(row)} fields, expected 3" for n, row in enumerate(records) if len(row) != 3
    }


lines = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r\n"), max_size=6)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(lines.map(lambda line: line.replace("\t", "")), max_size=4), max_size=8))
def test_unquoted_text_is_split_at_tabs(scratch: Path, rows: list[list[str]]) -> None:
    content = "".join("\t".join(row) + "\n" for row in rows)
    scratch.write_bytes(content.encode())
    kept = [line.split("\t") for line in content.split("\n") if line]
    good, bad = read(scratch, part("tsv", {"a": "string", "b": "string"}, header=False))
    assert good == {number: {"a": row[0], "b": row[1]} for number, row in enumerate(kept) if len(row) == 2}
    assert {n: row.reason for n, row in bad.items()} == {
        number: f"has {len(row)} fields, expected 2" for number, row in enumerate(kept) if len(row) != 2
    }


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40).map(lambda raw: raw.replace(b"\x00", b"")), st.sampled_from([1, 1 << 20]))
def test_any_bytes_are_read_or_refused_in_words(scratch: Path, raw: bytes, size: int) -> None:
    scratch.write_bytes(b'a,"b"\n' * 3 + raw)
    with chunks_of(size):
        try:
            good, _ = read(scratch, part("csv", {"a": "string", "b": "string"}, quote='"', header=False))
        except FormatError as fault:
            told = str(fault)
        else:
            told = good[0]["b"]
    assert told == "b" or "quote stays open" in told


def test_values_are_cast_or_bad(scratch: Path) -> None:
    columns = {"n": "int", "f": "float?", "b": "bool?", "label": {"names": ["no", "yes"]}, "t": "string?"}
    rows = [
        ("1", "0.5", "True", "0", ""),
        ("-7", "", "", "yes", "x"),
        ("+3", "1e3", "0", "1", "y"),
        ("1.0", "1", "1", "no", ""),
        ("", "1", "1", "no", ""),
        ("1", "nan", "1", "no", ""),
        ("1", "1", "maybe", "no", ""),
        ("1", "1", "1", "2", ""),
        ("9223372036854775808", "1", "1", "no", ""),
        (" 1", "1", "1", "no", ""),
    ]
    scratch.write_text("n,f,b,label,t\n" + "\n".join(map(",".join, rows)))
    good, bad = read(scratch, part("csv", columns))
    assert [tuple(row.values()) for row in good.values()] == [
        (1, 0.5, True, "no", ""),
        (-7, None, None, "yes", "x"),
        (3, 1000.0, False, "yes", "y"),
    ]
    assert [row.reason for row in bad.values()] == [
        "column n: '1.0' is not of type int",
        "column n: '' is not of type int",
        "column f: 'nan' is not of type float?",
        "column b: 'maybe' is not of type bool?",
        "column label: '2' is not one of no, yes",
        "column n: '9223372036854775808' is not of type int",
        "column n: ' 1' is not of type int",
    ]


def test_a_label_name_wins_over_a_number(scratch: Path) -> None:
    scratch.write_text("1\n0\n")
    good, _ = read(scratch, part("tsv", {"label": {"names": ["1", "0"]}}, header=False))
    assert [row["label"] for row in good.values()] == ["1", "0"]


def test_header_faults(scratch: Path) -> None:
    scratch.write_text("query,answer,answer\na,b,c\n")
    with pytest.raises(DriftError, match="column q is not in the header, which has query, answer, answer"):
        read(scratch, part("csv", {"q": "string"}))
    with pytest.raises(DriftError, match="column answer is twice"):
        read(scratch, part("csv", {"answer": "string"}))
    assert read(scratch, part("csv", {"query": "string"}))[0] == {0: {"query": "a"}}
    scratch.write_text("")
    with pytest.raises(FormatError, match="empty, not even a header"):
        read(scratch, part("csv", {"q": "string"}))
    with pytest.raises(CurationError, match="delimited text has only plain columns"):
        read(scratch, part("csv", {"q": ["string"]}))
    scratch.write_text('q\n"open\nnever closed\n')
    with pytest.raises(FormatError, match="a quote stays open in the record that begins '\"open'"):
        read(scratch, part("csv", {"q": "string"}, quote='"'))


def test_text_lines(scratch: Path) -> None:
    scratch.write_bytes("第一行\r\n\n  \n 第二行 \n最后".encode())
    assert [row["line"] for row in read(scratch, part("txt"))[0].values()] == ["第一行", " 第二行 ", "最后"]


# --- parquet ---------------------------------------------------------------------------------------------------------


def write(path: Path, columns: dict[str, pa.Array], metadata: dict[str, Any] | None = None) -> Path:
    table = pa.table(columns)
    if metadata is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    pq.write_table(table, path)
    return path


def test_parquet_types_become_the_declared_ones(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.parquet",
        {
            "s": pa.array(["a", "", None], pa.large_string()),
            "n": pa.array([1, 2, 3], pa.int16()),
            "f": pa.array([1, None, 3], pa.float32()),
            "l": pa.array([["x"], [], ["y", "z"]], pa.large_list(pa.string())),
            "a": pa.array([{"t": ["p"], "start": [1]}] * 3),
            "d": pa.array(["u", "v", "u"]).dictionary_encode(),
            "label": pa.array([0, 1, 1], pa.int64()),
            "unused": pa.array([object.__name__] * 3),
        },
    )
    columns = {"label": {"names": ["no", "yes"]}, "s": "string?", "n": "int", "f": "float?", "l": ["string"]}
    good, bad = read(path, part("parquet", {**columns, "a": {"t": ["string"]}, "d": "string"}))
    assert not bad and good[2] == {
        "label": "yes",
        "s": None,
        "n": 3,
        "f": 3.0,
        "l": ["y", "z"],
        "a": {"t": ["p"]},
        "d": "u",
    }


def test_parquet_rows_that_break_their_type_are_bad(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.parquet",
        {
            "q": pa.array(["a", None, "c", "d", "e"]),
            "label": pa.array([0, 1, 2, None, -1], pa.int32()),
            "l": pa.array([["x"], ["x"], ["x"], ["x"], [None]]),
        },
    )
    good, bad = read(path, part("parquet", {"q": "string", "label": {"names": ["no", "yes"]}, "l": ["string"]}))
    assert list(good) == [0]
    assert [row.reason for row in bad.values()] == [
        "column q is null",
        "column label: 2 is not one of no, yes",
        "column label is null",
        "column label: -1 is not one of no, yes",
    ]
    assert json.loads(bad[1].raw) == {"q": None, "label": 1, "l": ["x"]}


@pytest.mark.parametrize(
    ("columns", "cause"),
    [
        ({"question": "string"}, r"column question is not in the file, which has q, label"),
        ({"q": "int"}, r"column q is declared int, the file has string"),
        ({"q": ["string"]}, r"column q is declared \[string\], the file has string"),
        ({"label": {"names": ["entailment", "neutral"]}}, r"\['entailment', 'neutral'\].*\['neutral', 'entailment'\]"),
    ],
)
def test_parquet_drift(tmp_path: Path, columns: dict[str, Any], cause: str) -> None:
    features = {"label": {"names": ["neutral", "entailment"], "_type": "ClassLabel"}, "q": {"dtype": "string"}}
    data = {"q": pa.array(["a"]), "label": pa.array([1], pa.int64())}
    path = write(tmp_path / "a.parquet", data, {"info": {"features": features}})
    with pytest.raises(DriftError, match=cause):
        read(path, part("parquet", columns))
    good, _ = read(path, part("parquet", {"label": {"names": ["neutral", "entailment"]}}))
    assert good == {0: {"label": "entailment"}}


def test_class_labels_as_the_datasets_library_writes_them(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"label": datasets.ClassLabel(names=["否", "是"]), "q": datasets.Value("string")})
    made = datasets.Dataset.from_dict({"label": [1, 0], "q": ["a", "b"]}, features=features)
    made.to_parquet(str(tmp_path / "a.parquet"))
    good, _ = read(tmp_path / "a.parquet", part("parquet", {"label": {"names": ["否", "是"]}}))
    assert [row["label"] for row in good.values()] == ["是", "否"]
    with pytest.raises(DriftError, match="the file's names are"):
        read(tmp_path / "a.parquet", part("parquet", {"label": {"names": ["是", "否"]}}))


def test_cut_and_partial_parquet_files_are_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.parquet", {"q": pa.array(["a"] * 1000)})
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(whole.read_bytes()[:-30])
    with pytest.raises(FormatError, match="not a parquet file"):
        read(cut, part("parquet", {"q": "string"}))
    (tmp_path / "partial-train").mkdir()
    partial = tmp_path / "partial-train" / "0000.parquet"
    partial.write_bytes(whole.read_bytes())
    with pytest.raises(FormatError, match="the hub cut short"):
        read(partial, part("parquet", {"q": "string"}))


# --- squad -----------------------------------------------------------------------------------------------------------


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


ids = st.none() | st.integers(0, 9) | texts
questions = st.fixed_dictionaries(
    {"question": texts},
    optional={
        "id": ids,
        "is_impossible": st.none() | st.booleans(),
        "answers": st.none() | st.lists(st.fixed_dictionaries({"text": texts}, optional={"answer_start": st.just(3)})),
        "plausible_answers": st.just([{"text": 1}]),
    },
)
paragraphs = st.fixed_dictionaries({"context": texts, "qas": st.lists(questions, max_size=3)}, optional={"id": ids})
articles = st.fixed_dictionaries(
    {"paragraphs": st.lists(paragraphs, max_size=3)}, optional={"title": st.none() | texts, "id": ids}
)


@settings(max_examples=50, deadline=None)
@given(st.lists(articles, max_size=4), st.sampled_from([11, 1 << 20]))
def test_questions_of_any_tree(scratch: Path, data: list[Any], size: int) -> None:
    tree = {"version": "v1", "data": data}
    scratch.write_text(json.dumps(tree), "utf-8")
    with chunks_of(size):
        good, bad = read(scratch, part("squad"))
    assert list(good.values()) == walked(tree) and not bad
    assert all(list(row) == list(SQUAD_COLUMNS) for row in good.values())


def test_faults_in_a_tree_are_single_bad_rows(scratch: Path) -> None:
    fine = {"question": "问", "answers": [{"text": "答"}]}
    data: list[Any] = [
        {"paragraphs": [{"context": "文", "qas": [fine, {"question": 1}, {"question": "q", "answers": "a"}, fine]}]},
        {"paragraphs": [{"context": None, "qas": [fine]}, {"context": "文", "qas": [fine]}]},
        {"title": "t"},
        7,
        {"paragraphs": [{"context": "文", "qas": [fine]}]},
    ]
    scratch.write_text(json.dumps({"data": data}, ensure_ascii=False), "utf-8")
    good, bad = read(scratch, part("squad"))
    assert sorted(good) == [0, 3, 5, 8]
    assert {n: row.reason for n, row in bad.items()} == {
        1: "column question: expected string, found int",
        2: "answers: expected a list, found str",
        4: "column context is null",
        6: "paragraphs: expected a list, found nothing",
        7: "article: expected an object, found int",
    }
    assert json.loads(bad[1].raw) == {"question": 1}


def test_a_long_context_is_not_multiplied_without_bounds(scratch: Path) -> None:
    qas = [{"question": f"{number}"} for number in range(40)]
    tree = {"data": [{"paragraphs": [{"context": "长" * 1_000_000, "qas": qas}]}]}
    scratch.write_text(json.dumps(tree, ensure_ascii=False), "utf-8")
    sizes = [batch.table.nbytes for batch in read_rows(scratch, part("squad"), pytest.fail)]
    assert len(sizes) > 2 and max(sizes) < 48 << 20


# --- real slices -----------------------------------------------------------------------------------------------------


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _lines(path: Path) -> list[Any]:
    raw = path.read_bytes()
    raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    return [json.loads(line) for line in raw.decode().split("\n") if line.strip()]


def _gbk(path: Path) -> Any:
    return json.loads(path.read_text("gbk"))["data"]


def _table(delimiter: str, columns: list[str] | None, encoding: str = "utf-8", quoting: int = csv.QUOTE_NONE) -> Any:
    def rows(path: Path) -> list[dict[str, str]]:
        with path.open(encoding=encoding, newline="") as opened:
            return list(csv.DictReader(opened, columns, delimiter=delimiter, quoting=quoting))

    return rows


NLI = {"names": ["neutral", "entailment", "contradiction", "-"]}
PAIR = {"sentence1": "string", "sentence2": "string"}
SQL = {"question": "string", "db_id": "string", "query": "string"}
SCHEMA = {"db_id": "string", "table_names": ["string"]}
CSL = ["prompt", "text_a", "text_b"]
CSL_COLUMNS: dict[str, Any] = dict.fromkeys(CSL, "string")
LINES = {
    "CINLID/raw/train.jsonl": {**PAIR, "label": NLI},
    "SimCLUE/raw/train_pair_1w.json": {**PAIR, "label": {"names": ["0", "1"]}},
    "SimCLUE/raw/train_pair_postive_1w.json": {"query": "string", "title": "string"},
    "SimCLUE/raw/train_rank_1w.json": {"query": "string", "title": "string", "neg_title": "string"},
    "Zhuiyi-NL2SQL/raw-tableqa/val.json": {"question": "string", "sql": {"agg": ["int"], "cond_conn_op": "int"}},
    "baike2018qa/raw-sample/baike_qa_valid.json": dict.fromkeys(["qid", "title", "desc", "answer"], "string"),
    "baike2018qa/raw-standin/baike_qa_valid.json": {"title": "string", "desc": "string", "answer": "string"},
    "belle_2m/raw-standin/eval_set.json": {"question": "string", "class": "string", "std_answer": "string?"},
    "belle_2m/raw-standin/zh_seed_tasks.json": {
        "instruction": "string",
        "instances": [{"input": "string", "output": "string"}],
    },
    "chatmed_consult/hf/ChatMed_Consult-v0.3.json": {"query": "string", "response": "string"},
    "chatmed_consult/raw/ChatMed-Consult_test.json": {"query": "string", "response": "string"},
    "csl/hf/data/csl.jsonl.gz": {"doc_id": "string", "title": "string", "abstract": "string", "keywords": ["string"]},
    "miracl-corpus/raw-standin/miracl-corpus-v1.0-zh/docs-0.jsonl.gz": {"docid": "string", "text": "string"},
    "news2016zh/raw-sample/news2016zh_valid.json": {"news_id": "string", "title": "string", "content": "string"},
    "ocnli/raw/dev.json": {**PAIR, "label": NLI, "label0": "string?", "id": "int"},
    "ocnli/raw/train.3k.json": {**PAIR, "label": NLI, "label0": "string?", "id": "int"},
    "webqa/raw/test_file_example.json.gz": {
        "question_tokens": ["string"],
        "evidences": [{"type": "string", "evidence_tokens": ["string"]}],
    },
    "webtext2019zh/raw-sample/web_text_zh_valid.json": {"qid": "int", "title": "string", "star": "int"},
}
ARRAYS = {
    "CSpider/raw/db_schema.json": SCHEMA,
    "CSpider/raw/dev.json": SQL,
    "CSpider/raw/test.json": SQL,
    "DuSQL/raw/db_schema.json": SCHEMA,
    "DuSQL/raw/dev.json": SQL,
    "DuSQL/raw/test.json": SQL,
    "DuSQL/raw/train.json": SQL,
    "Zhuiyi-NL2SQL/raw/dev.json": SQL,
    "Zhuiyi-NL2SQL/raw/test.json": SQL,
    "alpaca_gpt4/raw-standin/alpaca_zh_demo.json": dict.fromkeys(["instruction", "input", "output"], "string"),
    "medi/raw/medi-data.json": {"query": ["string"], "pos": ["string"], "neg": ["string"], "task_name": "string"},
}
TABLES: dict[str, tuple[str, dict[str, Any], dict[str, Any], Any]] = {
    "CINLID/raw/Idiom_NLI.txt": ("tsv", {**PAIR, "label": "string"}, {"header": False}, _table("\t", [*PAIR, "label"])),
    "bq/raw/BQ.valid.data": ("tsv", {**PAIR, "label": "string"}, {"header": False}, _table("\t", [*PAIR, "label"])),
    "bq/raw/dev.csv": (
        "csv",
        {**PAIR, "label": "string"},
        {"encoding": "utf-8-sig", "quote": '"'},
        _table(",", None, "utf-8-sig", csv.QUOTE_MINIMAL),
    ),
    **{
        f"csl/raw/benchmark/{task}/dev.tsv": ("tsv", CSL_COLUMNS, {"header": False}, _table("\t", CSL))
        for task in ("cls_ctg", "cls_dcp", "kg", "ts")
    },
    "lawzhidao/raw-standin/LegalQA-manual-dev.csv": (
        "csv",
        dict.fromkeys(["question: subject", "question: body", "answer", "label"], "string"),
        {"quote": '"'},
        _table(",", None, quoting=csv.QUOTE_MINIMAL),
    ),
    "lawzhidao/raw-standin/lawzhidao_filter.csv": (
        "csv",
        dict.fromkeys(["title", "question", "reply", "is_best"], "string"),
        {"quote": '"'},
        _table(",", None, quoting=csv.QUOTE_MINIMAL),
    ),
    "lcqmc/raw/LCQMC.valid.data": (
        "tsv",
        {**PAIR, "label": "string"},
        {"header": False},
        _table("\t", [*PAIR, "label"]),
    ),
    "paws-x/raw/dev_2k.tsv": ("tsv", {"id": "string", **PAIR, "label": "string"}, {}, _table("\t", None)),
}
TREES = (
    "Chinese-SQuAD/raw/dev-v2.0-zh.part.json",
    "cmrc2018/raw/squad-style-data/cmrc2018_dev.json",
    "cmrc2018/raw/squad-style-data/cmrc2018_trial.json",
    "dureader_robust/raw-standin/dureader_checklist_dev.json",
    "mlqa/raw-standin/xquad.zh.json",
)
REAL: dict[str, tuple[Part, Any]] = {
    **{name: (part("jsonl", columns), _lines) for name, columns in LINES.items()},
    **{name: (part("json-array", columns), _json) for name, columns in ARRAYS.items()},
    **{name: (part(layout, columns, **more), rows) for name, (layout, columns, more, rows) in TABLES.items()},
    **{name: (part("squad"), lambda path: walked(_json(path))) for name in TREES},
    "CINLID/raw-luge-layout/train.json": (
        part("json-object", {"phrase1": "string", "phrase2": "string", "label": NLI}, path="data", encoding="gbk"),
        _gbk,
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_read_as_plain_code_reads_them(real_corpora: Path, name: str) -> None:
    declared, plain = REAL[name]
    good, bad = read(real_corpora / name, declared)
    expected = [
        {key: projected(kind, row.get(key)) for key, kind in declared.typed_columns.items()}
        for row in plain(real_corpora / name)
    ]
    assert not bad
    assert list(good.values()) == expected and expected


def test_every_real_raw_file_is_read_above(real_corpora: Path) -> None:
    there = {
        path.relative_to(real_corpora).as_posix()
        for path in real_corpora.rglob("*")
        if path.is_file() and path.suffix not in (".parquet", ".md")
    }
    assert there == set(REAL)


def test_real_parquet_files(real_corpora: Path) -> None:
    found = sorted(real_corpora.rglob("*.parquet"))
    assert found
    for path in found:
        table = pq.read_table(path)
        columns: dict[str, Any] = {}
        for field in table.schema:
            if pa.types.is_large_string(field.type):
                columns[field.name] = "string?"
            elif pa.types.is_integer(field.type):
                columns[field.name] = "int"
            elif pa.types.is_struct(field.type):
                columns[field.name] = {"text": ["string"], "answer_start": ["int"]}
            else:
                columns[field.name] = ["string"]
        good, bad = read(path, part("parquet", columns))
        assert not bad and list(good.values()) == table.to_pylist()


def test_the_reference_knows_nan() -> None:
    """The reference above must not take what no column may hold."""
    assert not allowed("float", math.nan) and not allowed("int", True) and allowed("float", 3)
