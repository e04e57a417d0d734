"""Mutated manifests and mutated rows: an answer in sentences, in bounded time, and every row accounted for.

`make test` tries hundreds of each, `make soak` ten thousand (M3E_SOAK_MUTATIONS).
"""

from __future__ import annotations

import faulthandler
import io
import json
import os
import random
import re
import signal
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from pipeline.convert import convert
from pipeline.errors import CurationError, ManifestError
from pipeline.manifest.catalog import SHIPPED, read_catalog
from pipeline.manifest.corpus import Corpus
from pipeline.manifest.yaml import load
from pipeline.source import SourceFile
from tests.small import corpus

#: One answer may take so long, on a busy machine too.
SECONDS = 20


def mutations(usual: int) -> int:
    return int(os.environ.get("M3E_SOAK_MUTATIONS", str(usual)))


@contextmanager
def in_time(what: str) -> Iterator[None]:
    """Raises in this process when an answer does not come; C code that never comes back is told by faulthandler."""

    def late(*_: object) -> None:
        raise AssertionError(f"no answer after {SECONDS} seconds: {what}")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


STRANGE = [
    *(b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf", "\u2028".encode(), "𠮷".encode(), b"\r", b"\n", b"\t"),
    *(b'"', b"'", b"\\", b"{", b"}", b"[", b"]", b",", b":", b"#", b"- ", b"? ", b"&a ", b"*a", b"!!x ", b"|", b">"),
    *(b"null", b"NaN", b"1e999", b"-0", b"9" * 400, b"..", b"../../x", b"%", b"{{", b"'''", b"x" * 5000),
]


def mutated(content: bytes, chance: random.Random, *, lines: bool, faults: int | None = None) -> bytes:
    """The same bytes with so many faults, else one to four: bits, strange pieces, cuts, copies, swapped or lost lines."""
    data = bytearray(content)
    for _ in range(faults or chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(8 if lines else 5):
            case 0:
                data[at:at] = chance.choice(STRANGE)
            case 1 if data:
                data[at % len(data)] ^= 1 << chance.randrange(8)
            case 2:
                del data[at : at + chance.choice((1, 2, 7, 40))]
            case 3:
                data[at : at + chance.choice((1, 3, 9))] = chance.choice(STRANGE)
            case 4:
                data[at:at] = data[max(0, at - chance.randint(1, 30)) : at]
            case 5 | 6:
                rows = data.split(b"\n")
                one, two = (chance.randrange(len(rows)) for _ in range(2))
                rows[one], rows[two] = rows[two], rows[one]
                data = bytearray(b"\n".join(rows))
            case _:
                rows = data.split(b"\n")
                del rows[chance.randrange(len(rows))]
                data = bytearray(b"\n".join(rows))
    return bytes(data)


def twisted(value: Any, chance: random.Random) -> Any:
    """The same plain values with one of them replaced, renamed, doubled or gone: well-formed and wrong."""
    odd: list[Any] = [
        None,
        "",
        [],
        {},
        -1,
        1e300,
        True,
        "x" * 3000,
        ["a"],
        {"a": 1},
        "SELECT (",
        "'" * 3,
        "*",
        "\u0000",
        "[]",
    ]
    if isinstance(value, dict) and value and chance.random() < 0.8:
        key = chance.choice(list(value))
        match chance.randrange(6):
            case 0:
                return {name: one for name, one in value.items() if name != key}
            case 1:
                return {
                    chance.choice(["", "x", "name", key.upper()]) if name == key else name: one
                    for name, one in value.items()
                }
            case _:
                return value | {key: twisted(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        return [*value[:at], *([] if chance.random() < 0.2 else [twisted(value[at], chance)]), *value[at + 1 :]]
    if isinstance(value, str) and value and chance.random() < 0.4:
        return mutated(value.encode(), chance, lines=False).decode("utf-8", "replace")
    return chance.choice(odd)


def manifests() -> list[tuple[str, bytes]]:
    kinds = ("corpora", "benchmarks", "recipes", "encoders")
    return [(kind, path.read_bytes()) for kind in kinds for path in sorted((SHIPPED / kind).glob("*.yaml"))]


def test_a_mutated_manifest_is_read_or_told_wrong_with_its_place(tmp_path: Path) -> None:
    """Half of them broken as bytes, half well-formed and wrong in what they say."""
    known, dumper = manifests(), YAML(typ="safe", pure=True)
    chance, counted = random.Random(3), {"read": 0, "told": 0}
    (tmp_path / "licences.yaml").write_bytes((SHIPPED / "licences.yaml").read_bytes())
    for number in range(mutations(250)):
        kind, content = chance.choice(known)
        if number % 2:
            twist = twisted(YAML(typ="safe").load(content), chance)
            held = io.BytesIO()
            dumper.dump(twist, held)
            content = held.getvalue()
        else:
            content = mutated(content, chance, lines=True)
        folder = tmp_path / kind
        folder.mkdir(exist_ok=True)
        path = folder / "mutant.yaml"
        path.write_bytes(content)
        try:
            with in_time(f"mutation {number}"):
                read_catalog([tmp_path], shipped=False)
            counted["read"] += 1
        except ManifestError as error:
            counted["told"] += 1
            assert all(one.line >= 1 and one.column >= 1 and one.message for one in error.problems), number
            assert not [one for one in str(error) if unicodedata.category(one)[0] == "C" and one != "\n"], number
        except CurationError as error:
            counted["told"] += 1
            assert "Cure: " in str(error)
        path.unlink()
    sys.stdout.write(f"{sum(counted.values()):,} mutated manifests: {counted}.\n")
    assert counted["told"] > sum(counted.values()) // 4


BOMBS: dict[str, bytes] = {
    "brackets": b"[" * 200_000,
    "closed brackets": b"[" * 100_000 + b"]" * 100_000,
    "maps": b"{a: " * 60_000,
    "lists": b"- " * 120_000 + b"a",
    "questions": b"? " * 120_000,
    "steps": b"".join(b" " * n + b"a:\n" for n in range(700)),
    "aliases": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(20)),
    "merges": b"a: &a {x: 1}\nb: {<<: *a}\n",
    "values": b"a: [" + b"1," * 60_000 + b"]",
    "keys": b"".join(b"k%d: 1\n" % n for n in range(25_500)),
    "one key": b"a: 1\n" * 20_000,
    "a number": b"a: " + b"9" * 250_000,
    "a tag": b"!!python/object/apply:os.system ['true']",
    "too long": b"# " + b"x" * (1 << 18),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_yaml_bomb_is_told_in_bounded_memory_and_time(name: str, tmp_path: Path) -> None:
    """In a process of its own: some of these end a process that composes them (a stack overflow in C)."""
    path = tmp_path / "bomb.yaml"
    path.write_bytes(BOMBS[name])
    with in_time(name):
        document = load(path, "bomb.yaml")
    assert document.problems or isinstance(document.value["a"], str)
    assert len(document.problems) <= 400
    assert all(len(str(problem)) < 2000 for problem in document.problems)


def test_a_deep_document_that_may_pass_is_still_told_where_it_is_too_deep(tmp_path: Path) -> None:
    path = tmp_path / "deep.yaml"
    path.write_bytes(b"a:\n" + b"".join(b" " * n + b"b:\n" for n in range(1, 60)))
    (problem,) = load(path, "deep.yaml").problems
    assert "deeper than 32 levels" in problem.message and problem.line > 30


ROWS = [{"q": f"第{n}个问题：怎样学好“书法”？", "a": f"每天临帖 {n} 遍，\\ 贵在坚持, 不在贪多。"} for n in range(12)]
COLUMNS = {"q": "string", "a": "string"}


def as_parquet(rows: list[dict[str, str]]) -> bytes:
    held = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), held)
    return held.getvalue()


def with_strange_values(rows: list[dict[str, str]], chance: random.Random, faults: int) -> list[dict[str, Any]]:
    """So many values replaced by null or by a mutated one."""
    strange: list[dict[str, Any]] = [dict(row) for row in rows]
    for _ in range(faults):
        row, side = chance.choice(strange), chance.choice(("q", "a"))
        told = mutated((row[side] or "").encode(), chance, lines=False).decode("utf-8", "replace")
        row[side] = told if chance.random() < 0.7 else None
    return strange


def as_delimited(mark: str) -> Callable[[list[dict[str, str]]], bytes]:
    def write(rows: list[dict[str, str]]) -> bytes:
        quote = '"' if mark == "," else ""
        lines = [f"q{mark}a"]
        lines += [mark.join(f"{quote}{value}{quote}" for value in row.values()) for row in rows]
        return "\n".join(lines).encode() + b"\n"

    return write


SQUAD = {"columns": None, "select": {"text": "question", "text_pos": "context"}}
LAYOUTS: dict[str, tuple[dict[str, Any], Callable[[list[dict[str, str]]], bytes]]] = {
    "jsonl": ({}, lambda rows: b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)),
    "json-array": ({}, lambda rows: json.dumps(rows, ensure_ascii=False, indent=1).encode()),
    "json-object": ({"path": "data"}, lambda rows: json.dumps({"v": 1, "data": rows}, ensure_ascii=False).encode()),
    "csv": ({"quote": '"'}, as_delimited(",")),
    "tsv": ({}, as_delimited("\t")),
    "txt": (
        {"columns": None, "select": {"text": "line", "text_pos": "line || '。'"}},
        lambda rows: "\n".join(row["q"] for row in rows).encode() + b"\n",
    ),
    "squad": (
        SQUAD,
        lambda rows: json.dumps(
            {
                "data": [
                    {
                        "title": "t",
                        "paragraphs": [
                            {
                                "context": row["a"],
                                "qas": [
                                    {
                                        "id": str(n),
                                        "question": row["q"],
                                        "answers": [{"text": "临帖", "answer_start": 2}],
                                    }
                                ],
                            }
                        ],
                    }
                    for n, row in enumerate(rows)
                ]
            },
            ensure_ascii=False,
        ).encode(),
    ),
    "parquet": ({}, as_parquet),
}
#: How a reader that knows no layout counts the rows of a file of lines.
LINES: dict[str, Callable[[bytes], int]] = {
    "jsonl": lambda data: sum(bool(line.strip(b" \t\r")) for line in data.split(b"\n")),
    "txt": lambda data: sum(bool(line.strip(b" \t\r")) for line in data.split(b"\n")),
    "tsv": lambda data: sum(bool(line) for line in re.split(rb"[\r\n]", data)) - 1,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_mutated_row_is_used_filtered_or_quarantined(layout: str, tmp_path: Path) -> None:
    """A file is refused with a sentence, or each of its rows is somewhere: counted anew in what was written."""
    changes, write = LAYOUTS[layout]
    part = {"files": {"train": "x"}, "layout": layout, "columns": COLUMNS} | {"select": {"text": "q", "text_pos": "a"}}
    part = {key: value for key, value in (part | changes).items() if value is not None}
    told = Corpus.model_validate(corpus("fuzz", parts=[part], max_bad_rows=1.0))
    chance, faults, rows, refused, number = random.Random(layout), 0, 0, 0, 0
    whole = write(ROWS)
    path, wanted = tmp_path / "x", mutations(60)
    while faults < wanted:
        more = chance.randint(1, 4)  # each meets a row of its own, most of the time
        number, faults = number + 1, faults + more
        if layout == "parquet" and number % 2:  # a file of its own kind whose values are strange
            path.write_bytes(as_parquet(with_strange_values(ROWS, chance, more)))
        else:
            path.write_bytes(mutated(whole, chance, lines=layout != "parquet", faults=more))
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        for old in out.iterdir():
            old.unlink()
        try:
            with in_time(f"{layout}, mutation {number}"):
                receipt = convert(told, [SourceFile(0, "train", "x", path, "0" * 64, path.stat().st_size)], out)
        except CurationError as error:
            assert "Cure: " in str(error), number
            refused += 1
            continue
        total = receipt["totals"]
        rows += total["read"]
        assert total["read"] == total["used"] + total["filtered"] + total["quarantined"], number
        written = {kind: pl.read_parquet(out / f"{kind}-*.parquet") for kind in ("text", "quarantine")}
        assert (written["text"].height, written["quarantine"].height) == (total["records"], total["quarantined"])
        assert written["text"]["record_id"].is_unique().all(), number
        if layout in LINES:
            assert total["read"] == LINES[layout](path.read_bytes()), number
    summary = f"{faults:,} faults in {number:,} files, of which {refused:,} were refused as a whole; the others gave {rows:,} rows"
    sys.stdout.write(f"{layout}: {summary}.\n")
    assert refused < number
