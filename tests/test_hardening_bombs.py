"""Files that unpack to far more than they are end in one sentence, in bounded memory and time."""

from __future__ import annotations

import gzip
import json
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.measure import peak_bytes
from pipeline.errors import CurationError, FormatError
from pipeline.fetch import Wanted, fetch
from pipeline.layouts import read_rows
from pipeline.layouts.parquet import read_parquet
from pipeline.manifest.columns import parse_columns
from pipeline.manifest.corpus import FileSet, LocalSource
from pipeline.store import Store
from tests.whole_build import CONTEXT

#: What reading a bomb may take beyond what the process had: a batch or two, written out.
ROOM = 1 << 30
SECONDS = 60


def one_text_many_times(path: Path) -> None:
    """100 KB on disk, 200 GB written out: a dictionary of one long text and two million references."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000_000, pa.int32()), pa.array(["长" * 35_000]))
    pq.write_table(pa.table({"q": text, "a": text}), path, compression="zstd", row_group_size=2_000_000)


def one_long_text_in_lists(path: Path) -> None:
    inner = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000_000, pa.int32()), pa.array(["长" * 35_000]))
    lists = pa.ListArray.from_arrays(pa.array(range(0, 1_000_001, 1000), pa.int32()), inner)
    pq.write_table(pa.table({"q": pa.array(["问"] * 1000), "a": lists}), path, compression="zstd")


def rows_of_nothing(path: Path) -> None:
    """Two kilobytes, 30 million nulls."""
    schema = pa.schema([("q", pa.string()), ("a", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for _ in range(3):
            nulls = pa.nulls(10_000_000, pa.string())
            writer.write_table(pa.table({"q": nulls, "a": nulls}, schema=schema), row_group_size=10_000_000)


def zeros(path: Path) -> None:
    row = json.dumps({"q": "问", "a": "答" * 50}).encode() + b"\n"
    with gzip.open(path, "wb") as file:
        file.write(row)
        for _ in range(200):  # short of what one row may have
            file.write(b" " * (1 << 20))


def one_row_without_end(path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"q": "')
        for n in range(300):
            file.write(os.urandom(512).hex().encode() * 1024 if n % 2 else b"x" * (1 << 20))


def line(path: Path) -> None:
    path.write_bytes(b'{"q": ' + b"[" * 5_000_000 + b"\n")


BOMBS: dict[str, tuple[str, Callable[[Path], None], dict[str, Any], str]] = {
    "parquet, a dictionary": ("parquet", one_text_many_times, {"q": "string", "a": "string"}, "an attack"),
    "parquet, a dictionary in lists": (
        "parquet",
        one_long_text_in_lists,
        {"q": "string", "a": ["string"]},
        "an attack",
    ),
    "parquet, rows of nothing": ("parquet", rows_of_nothing, {"q": "string?", "a": "string?"}, "an attack"),
    "gzip, blanks": ("jsonl", zeros, {"q": "string", "a": "string"}, "an attack"),
    "gzip, one row": ("jsonl", one_row_without_end, {"q": "string", "a": "string"}, "a row does not end within"),
    "json, brackets": ("jsonl", line, {"q": "string", "a": "string"}, "no row is a JSON object"),
}


def read(layout: str, path: str, columns: dict[str, Any], to: str) -> None:
    """Read a file to its end in a process of its own; what was said, the memory and the seconds go to `to`."""
    part = FileSet(files={"train": "x"}, layout=layout, columns=columns)  # type: ignore[arg-type]
    before, began, said, rows = peak_bytes(), time.process_time(), "", 0
    try:
        for batch in read_rows(Path(path), part, lambda _: None):
            rows += len(batch.rows)
    except FormatError as error:
        said = str(error)
    told = {"said": said, "more": peak_bytes() - before, "seconds": time.process_time() - began, "rows": rows}
    Path(to).write_text(json.dumps(told), "utf-8")


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_that_unpacks_without_end_is_refused(name: str, tmp_path: Path) -> None:
    layout, write, columns, expected = BOMBS[name]
    path = tmp_path / "bomb"
    write(path)
    process = CONTEXT.Process(target=read, args=(layout, str(path), columns, str(tmp_path / "told")))
    process.start()
    process.join(4 * SECONDS)
    assert process.exitcode == 0
    told = json.loads((tmp_path / "told").read_text("utf-8"))
    assert expected in told["said"] and "Cure: " in told["said"], told
    assert told["more"] < ROOM and told["seconds"] < SECONDS, told


def test_honest_files_of_few_values_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same prompt for every row is no attack; neither are texts longer than a batch."""
    part = FileSet(files={"train": "x"}, layout="parquet", columns={"q": "string", "a": "string"})
    many = pa.DictionaryArray.from_arrays(pa.array([0, 1] * 50_000, pa.int32()), pa.array(["问答", "摘要"]))
    own = pa.array([f"第{n}个回答" for n in range(100_000)])
    pq.write_table(pa.table({"q": many, "a": own}), tmp_path / "many")
    assert sum(len(batch.rows) for batch in read_rows(tmp_path / "many", part, print)) == 100_000
    monkeypatch.setattr("pipeline.layouts.parquet._BATCH_BYTES", 4 << 20)
    long = [("长" if n % 2 else "短") * 200_000 + str(n) for n in range(30)]
    pq.write_table(pa.table({"q": long, "a": long}), tmp_path / "long", compression="none")
    batches = list(read_parquet(tmp_path / "long", parse_columns(part.columns), "long", print))
    assert [row["q"] for batch in batches for row in batch.table.to_pylist()] == long
    assert [n for batch in batches for n in batch.rows] == list(range(30))
    assert len(batches) > 5 and max(batch.table.nbytes for batch in batches) <= 5 << 20


def test_archives_that_unpack_without_end_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.jsonl", b" " * (100 << 20))
    store = Store(tmp_path / "store")
    wanted = [Wanted(0, "train", ("bomb.zip!x.jsonl",))]
    with pytest.raises(CurationError, match="unpacks to more than 1000 times its size: an attack"):
        fetch("toy", LocalSource(kind="local", root="."), wanted, tmp_path, store)
    assert sum(path.stat().st_size for path in (tmp_path / "store").rglob("*") if path.is_file()) < 1 << 20
