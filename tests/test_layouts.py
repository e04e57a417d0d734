"""Containers, encodings, delimited text and parquet against the json and csv modules."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import chunks_of, part, read, texts

from pipeline.errors import CurationError, DriftError, FormatError


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("layouts") / "file"


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


@pytest.mark.parametrize("layout", ["csv", "tsv"])
def test_a_header_in_another_encoding_is_refused(scratch: Path, layout: str) -> None:
    scratch.write_bytes("问题,答案\n1,2\n".replace(",", "," if layout == "csv" else "\t").encode("gbk"))
    with pytest.raises(FormatError, match="declared encoding utf-8, but its header does not decode"):
        read(scratch, part(layout, {"问题": "string"}))
    scratch.write_bytes(b"\xb4q\n1\n")
    with pytest.raises(FormatError, match="its header does not decode"):
        read(scratch, part(layout, {"q": "string"}))


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
