"""Conversion against plain Python over the same rows: nothing lost, nothing doubled, ids that never move."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pipeline.convert import convert
from pipeline.convert.identity import Identities
from pipeline.convert.rows import only_bad
from pipeline.errors import BadRowsError, CurationError, DriftError, UsageError
from pipeline.layouts import stream as stream_module
from pipeline.ledger import hold_counts
from pipeline.manifest.corpus import Corpus
from pipeline.record import LABELLED_SCHEMA, QUARANTINE_SCHEMA, TEXT_SCHEMA
from pipeline.source import SourceFile

LABEL = {"names": ["neutral", "entailment", "-"]}
COLUMNS = {"q": "string", "a": "string?", "label": LABEL, "l": ["string?"], "n": "int?", "f": "float?"}
ROW: dict[str, Any] = {"q": "问题", "a": "回答", "label": "entailment", "l": [], "n": 1, "f": 0.5}
SELECT = {"text": "q", "text_pos": "a"}


def corpus(select: Any = SELECT, labelled: Any = None, **more: Any) -> Corpus:
    made: dict[str, Any] = {"files": {"train": "*"}, "layout": "jsonl", "columns": COLUMNS}
    made |= {"select": select} if select else {}
    made |= {"labelled": labelled} if labelled else {}
    told = {
        "name": "demo",
        "title": "demo",
        "domain": "百科",
        "task": "问答",
        "prompt": "问答",
        "grade": "优",
        "source": {"kind": "local", "root": "."},
        "parts": [made],
        "max_bad_rows": 1.0,
        "licence": {"spdx": "CC0-1.0", "commercial": "unknown", "redistribute": "unknown", "confidence": "low"},
    }
    return Corpus.model_validate(told | more)


class Converted:
    def __init__(self, of: Corpus, folder: Path, files: list[list[dict[str, Any]]], sample: int | None = None) -> None:
        sources = []
        for number, rows in enumerate(files):
            path = folder / f"{number}.jsonl"
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
            sources.append(SourceFile(0, "train", f"dir/{path.name}", path, "", 0))
        self.out = folder / "out"
        for old in self.out.glob("*"):
            old.unlink()
        self.out.mkdir(exist_ok=True)
        self.receipt = convert(of, sources, self.out, sample)
        self.text, self.labelled, self.quarantine = (
            pa.concat_tables([pq.read_table(self.out / name) for name in self.receipt["shards"][kind]])
            for kind in ("text", "labelled", "quarantine")
        )
        self.records = self.text.to_pylist()

    def pairs(self) -> list[tuple[str, str]]:
        return [(row["text"], row["text_pos"]) for row in self.records]

    def rows(self) -> list[str]:
        return [row["row"] for row in self.records]

    def digest(self) -> str:
        return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(self.out.iterdir()))).hexdigest()


@contextmanager
def chunks_of(size: int) -> Iterator[None]:
    """Small chunks, and so many small batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_module, "CHUNK_BYTES", size)
        patch.setattr("pipeline.layouts.CHUNK_BYTES", size)
        yield


def netstring(text: str) -> str:
    return f"{len(text.encode())}:{text},"


def expected_id(tag: str, text: str, other: str, occurrence: int) -> str:
    preimage = tag + netstring("demo") + netstring(text) + netstring(other) + str(occurrence)
    return xxhash.xxh3_128_hexdigest(preimage.encode())


# --- identity --------------------------------------------------------------------------------------------------------

texts = st.sampled_from(["", "a", "b", "你好", "1:a,", "天气 很好", "\u200b天"])


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.tuples(texts, texts), max_size=12), min_size=1, max_size=3), st.sampled_from([60, 1 << 20]))
def test_ids_follow_the_documented_bytes(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[tuple[str, str]]], size: int
) -> None:
    folder = tmp_path_factory.mktemp("ids")
    of = corpus(labelled={"text": "q", "other": "a", "match": "label = 'entailment'"})
    with chunks_of(size):
        made = Converted(of, folder, [[ROW | {"q": q, "a": a} for q, a in rows] for rows in files])
    pairs = [pair for rows in files for pair in rows]
    seen: Counter[tuple[str, str]] = Counter()
    occurrences = []
    for pair in pairs:
        occurrences.append(seen[pair])
        seen[pair] += 1
    for table, tag in ((made.text, ""), (made.labelled, "labelled,")):
        ids = table["record_id"].to_pylist()
        assert ids == [expected_id(tag, *pair, n) for pair, n in zip(pairs, occurrences, strict=True)]
    everything = made.text["record_id"].to_pylist() + made.labelled["record_id"].to_pylist()
    assert len(set(everything)) == len(everything)
    assert made.text["doc_group"].to_pylist() == [int(row["record_id"][:16], 16) for row in made.records]


def test_occurrences_are_counted_past_the_growth_of_the_table() -> None:
    identities = Identities("demo")
    numbers = pl.Series(range(100_000)).cast(pl.String)
    first, _ = identities.assign(numbers, numbers)
    again, _ = identities.assign(numbers.reverse(), numbers.reverse())
    assert len(set(first.to_pylist()) | set(again.to_pylist())) == 200_000
    for at in (0, 1, 99_999):
        assert first[at].as_py() == expected_id("", str(at), str(at), 0)
        assert again[at].as_py() == expected_id("", str(99_999 - at), str(99_999 - at), 1)


def test_a_cleaner_does_not_change_ids(tmp_path: Path) -> None:
    rows = [[ROW | {"q": "第 一 行"}, ROW | {"q": "第一行"}]]
    plain = Converted(corpus(), tmp_path, rows)
    cleaned = Converted(corpus(clean=["despace_zh"]), tmp_path, rows)
    assert plain.text["record_id"] == cleaned.text["record_id"]
    assert cleaned.pairs() == [("第一行", "回答"), ("第一行", "回答")]


# --- records ---------------------------------------------------------------------------------------------------------


def test_columns_are_filled_as_declared(tmp_path: Path) -> None:
    select = SELECT | {
        "text_neg": "l",
        "prompt": "CASE WHEN n = 1 THEN '一' END",
        "score": "f",
        "doc_group": "n",
        "quality_score": "n * 2",
    }
    rows = [ROW | {"l": [" b ", "", None, "c\u200b"]}, ROW | {"q": "x", "n": None, "f": None, "l": [""]}]
    made = Converted(corpus(select), tmp_path, [rows])
    assert made.text.schema.equals(TEXT_SCHEMA)
    first, second = made.records
    assert first | {"record_id": "", "doc_group": 0} == {
        "record_id": "",
        "corpus": "demo",
        "sub_source": "",
        "split": "train",
        "row": "dir/0.jsonl#0",
        "text": "问题",
        "text_pos": "回答",
        "text_neg": ["b", "c"],
        "prompt": "一",
        "prompt_pos": "",
        "score": 0.5,
        "doc_group": 0,
        "quality_score": 2.0,
    }
    assert first["doc_group"] == xxhash.xxh3_64_intdigest(b"demo\0001")
    assert second["doc_group"] == int(second["record_id"][:16], 16)
    assert (second["text_neg"], second["prompt"], second["score"], second["quality_score"]) == ([], "问答", None, None)


def test_a_symmetric_corpus_prompts_both_sides(tmp_path: Path) -> None:
    made = Converted(corpus(SELECT | {"text_neg": "a"}, symmetric=True), tmp_path, [[ROW]])
    assert [(row["prompt"], row["prompt_pos"], row["text_neg"]) for row in made.records] == [("问答", "问答", ["回答"])]


def test_code_sides_keep_their_blanks(tmp_path: Path) -> None:
    row = ROW | {"q": "a  b", "a": "SELECT  a\r\n  FROM <b>t</b>"}
    made = Converted(corpus(code_sides=["text_pos"]), tmp_path, [[row]])
    assert made.pairs() == [("a b", "SELECT  a\n  FROM <b>t</b>")]


@pytest.mark.parametrize(("side", "other"), [("text", "text_pos"), ("text_pos", "text")])
def test_a_list_explodes_into_numbered_records(tmp_path: Path, side: str, other: str) -> None:
    select = {side: "l", other: "q", "score": "f", "where": "label <> '-'"}
    rows = [ROW | {"l": ["x", "y"]}, ROW | {"l": []}, ROW | {"l": ["z"], "label": "-"}, ROW | {"l": ["x"]}]
    made = Converted(corpus(select), tmp_path, [rows])
    assert [row[side] for row in made.records] == ["x", "y", "x"]
    assert made.rows() == ["dir/0.jsonl#0/0", "dir/0.jsonl#0/1", "dir/0.jsonl#3/0"]
    assert made.receipt["totals"] == {
        "read": 4, "used": 2, "filtered": 2, "quarantined": 0, "records": 3, "labelled": 0
    }  # fmt: skip


def test_several_selects_give_their_records_row_by_row(tmp_path: Path) -> None:
    select = [
        {"text": "q", "text_pos": "l"},
        {"text": "'定'", "text_pos": "a", "where": "n > 1"},
    ]
    rows = [ROW | {"l": ["x", "y"], "n": 2}, ROW | {"n": 2}, ROW, ROW | {"l": ["z"]}]
    made = Converted(corpus(select), tmp_path, [rows])
    assert made.pairs() == [("问题", "x"), ("问题", "y"), ("定", "回答"), ("定", "回答"), ("问题", "z")]
    ends = [row.removeprefix("dir/0.jsonl#") for row in made.rows()]
    assert ends == ["0/0", "0/1", "0/2", "1/0", "3/0"]


def test_labelled_rows(tmp_path: Path) -> None:
    labelled = {"text": "q", "other": "a", "match": "label = 'entailment'", "score": "f", "where": "label <> '-'"}
    rows = [ROW, ROW | {"label": "neutral", "f": None}, ROW | {"label": "-"}]
    made = Converted(corpus(None, labelled), tmp_path, [rows])
    assert made.labelled.schema.equals(LABELLED_SCHEMA)
    told = [(row["row"], row["text"], row["other"], row["label"], row["score"]) for row in made.labelled.to_pylist()]
    assert told == [
        ("dir/0.jsonl#0", "问题", "回答", True, 0.5),
        ("dir/0.jsonl#1", "问题", "回答", False, None),
    ]
    assert made.receipt["totals"]["filtered"] == 1
    assert made.text.num_rows == 0


def test_parts_and_splits_are_counted_apart(tmp_path: Path) -> None:
    base = corpus().parts[0].model_dump(exclude_none=True)
    of = corpus(
        splits=["train", "dev"],
        parts=[base | {"files": {"train": "a", "dev": "b"}}, base | {"sub_source": "杂", "files": {"train": "c"}}],
    )
    path = tmp_path / "x"
    path.write_text(json.dumps(ROW) + "\n" + json.dumps(ROW | {"q": None}) + "\n")
    files = [SourceFile(p, s, n, path, "", 0) for p, s, n in ((0, "train", "a"), (0, "dev", "b"), (1, "train", "c"))]
    (tmp_path / "out").mkdir()
    receipt = convert(of, files, tmp_path / "out")
    one = {"read": 2, "used": 1, "filtered": 0, "quarantined": 1, "records": 1, "labelled": 0}
    assert receipt["counts"] == [
        {"part": 0, "sub_source": "", "split": "train", **one},
        {"part": 0, "sub_source": "", "split": "dev", **one},
        {"part": 1, "sub_source": "杂", "split": "train", **one},
    ]
    table = pq.read_table(tmp_path / "out" / "text-00000.parquet").to_pylist()
    assert [(row["split"], row["sub_source"], row["row"]) for row in table] == [
        ("train", "", "a#0"), ("dev", "", "b#0"), ("train", "杂", "c#0")
    ]  # fmt: skip
    assert json.loads(json.dumps(receipt)) == receipt


# --- quarantine ------------------------------------------------------------------------------------------------------


def test_nulls_in_selected_texts_are_quarantined_whole(tmp_path: Path) -> None:
    select = [SELECT | {"where": "n > 0"}, {"text": "q", "text_pos": "l"}]
    rows = [
        ROW | {"a": None, "l": ["x"]},
        ROW | {"a": None, "n": 0, "l": ["x"]},
        ROW | {"l": ["x", None]},
        ROW | {"n": None},
        ROW,
    ]
    made = Converted(corpus(select), tmp_path, [rows])
    assert made.quarantine.schema.equals(QUARANTINE_SCHEMA)
    told = {row["row"]: row["reason"] for row in made.quarantine.to_pylist()}
    assert told == {
        "dir/0.jsonl#0": "select[0]: text_pos is null",
        "dir/0.jsonl#2": "select[1]: text_pos holds a null",
    }
    assert json.loads(made.quarantine["raw"][0].as_py()) == rows[0]
    assert made.rows() == ["dir/0.jsonl#1/0", "dir/0.jsonl#4/0"]
    assert made.receipt["totals"] | {"records": 0} == {
        "read": 5, "used": 2, "filtered": 1, "quarantined": 2, "records": 0, "labelled": 0
    }  # fmt: skip


def test_a_labelled_row_must_be_judged(tmp_path: Path) -> None:
    labelled = {"text": "q", "other": "a", "score": "f"}
    made = Converted(corpus(None, labelled), tmp_path, [[ROW, ROW | {"f": None}, ROW | {"a": None}]])
    assert [row["reason"] for row in made.quarantine.to_pylist()] == [
        "labelled: nothing is judged",
        "labelled: other is null",
    ]


def test_too_many_bad_rows_fail_with_the_first_three(tmp_path: Path) -> None:
    rows = [ROW] * 96 + [ROW | {"q": n} for n in range(4)]
    with pytest.raises(BadRowsError) as caught:
        Converted(corpus(max_bad_rows=0.03), tmp_path, [rows])
    assert str(caught.value) == (
        "demo: 4 of 100 rows (4.00%) are malformed (max_bad_rows 3.00%). The first: "
        "dir/0.jsonl#96: column q: expected string, found int; "
        "dir/0.jsonl#97: column q: expected string, found int; "
        "dir/0.jsonl#98: column q: expected string, found int. "
        "Cure: mend columns, layout or encoding of the part, or allow more with max_bad_rows"
    )
    assert Converted(corpus(max_bad_rows=0.04), tmp_path, [rows]).receipt["totals"]["quarantined"] == 4


def test_bad_rows_do_not_pile_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [ROW] * 10 + [ROW | {"q": n} for n in range(500)] + [ROW]
    held = []
    monkeypatch.setattr("pipeline.convert.only_bad", lambda bad: held.append(len(bad)) or only_bad(bad))
    with chunks_of(1000):
        made = Converted(corpus(), tmp_path, [rows])
    assert max(held) < 20
    assert sum(held) > 480
    assert made.quarantine["row"].to_pylist() == [f"dir/0.jsonl#{n}" for n in range(10, 510)]


# --- expectations and samples ----------------------------------------------------------------------------------------


def test_measured_counts_must_hold_and_claimed_ones_warn(tmp_path: Path) -> None:
    expect = {"rows": 3, "records": 2, "labelled": 7}
    totals = Converted(corpus(), tmp_path, [[ROW, ROW]]).receipt["totals"]
    with pytest.raises(DriftError, match=r"demo: measured .*rows: expected 3, found 2; labelled: expected 7, found 0"):
        hold_counts(corpus(expect=expect | {"seen": "measured"}), totals)
    assert hold_counts(corpus(expect=expect | {"seen": "claimed"}), totals) == [
        "rows: expected 3, found 2 (claimed)",
        "labelled: expected 7, found 0 (claimed)",
    ]
    assert hold_counts(corpus(expect={"rows": 2, "records": 2, "labelled": 0, "seen": "measured"}), totals) == []
    assert hold_counts(corpus(), totals) == []


@pytest.mark.parametrize("sample", range(1, 9))
@pytest.mark.parametrize("size", [90, 1 << 20])
def test_a_sample_is_a_head_of_the_whole(tmp_path: Path, sample: int, size: int) -> None:
    of = corpus(
        {"text": "q", "text_pos": "l"},
        {"text": "q", "other": "a", "match": "label = 'entailment'", "where": "label <> '-'"},
        max_bad_rows=0.3,
    )
    rows = [ROW | {"l": ["x", "y"]}, ROW | {"q": 1}, ROW | {"label": "-"}, ROW | {"l": ["x", "y", "z"]}, ROW | {"q": 1}]
    files = [rows, [ROW | {"l": ["u"]}, ROW]]
    with chunks_of(size):
        whole = Converted(of, tmp_path, files)
        some = Converted(of, tmp_path, files, sample)
    assert some.records == whole.records[:sample]
    totals = some.receipt["totals"]
    assert totals["read"] == totals["used"] + totals["filtered"] + totals["quarantined"]
    assert totals["quarantined"] == (0 if sample <= 2 else 1 if sample <= 5 else 2)
    assert some.receipt["whole"] is (sample > 6)
    # The whole has 2 bad rows of 7; a head cut after the fifth row's record would have more than 30 %.
    share = totals["quarantined"] / totals["read"]
    assert bool(some.receipt["warnings"]) is (share > 0.3)


def test_a_sample_of_judged_rows_only(tmp_path: Path) -> None:
    of = corpus(None, {"text": "q", "other": "a", "score": "f"})
    made = Converted(of, tmp_path, [[ROW] * 5], sample=3)
    assert made.labelled.num_rows == 3
    assert made.receipt["totals"]["read"] == 3
    with pytest.raises(UsageError):
        Converted(of, tmp_path, [[ROW]], sample=0)


# --- SQL -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "sql", "cause"),
    [
        ("text", "question", "unable to find column"),
        ("text", "q ||", "is not understood"),
        ("text", "n", "gives Int64, not text or a list of texts"),
        ("where", "q", "gives String, not true or false"),
        ("where", "label = 'entailed'", "label has no name 'entailed'; it is one of neutral, entailment, -"),
        ("where", "COUNT(*) > 1", "sums up rows"),
        ("text", "max(q)", "sums up rows"),
        ("score", "q", "gives String, not a number"),
        ("doc_group", "f", "gives Float64, not text or a whole number"),
        ("prompt", "l", "not text"),
        ("text", "l", "only one side may explode"),
    ],
)
def test_wrong_sql_is_told_before_a_row_is_read(tmp_path: Path, key: str, sql: str, cause: str) -> None:
    select = {"text": "q", "text_pos": "l" if cause.startswith("only") else "a"} | {key: sql}
    missing = [SourceFile(0, "train", "x", tmp_path / "missing", "", 0)]
    with pytest.raises(CurationError) as caught:
        convert(corpus(select), missing, tmp_path)
    assert str(caught.value).startswith("demo parts[0].select: ")
    assert cause in str(caught.value)
    assert sql in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_wrong_labelled_sql_and_types_name_their_place(tmp_path: Path) -> None:
    with pytest.raises(CurationError, match=r"demo parts\[0\]\.labelled: match: 'n' gives Int64"):
        convert(corpus(None, {"text": "q", "other": "a", "match": "n"}), [], tmp_path)
    with pytest.raises(CurationError, match=r"demo parts\[0\]\.select\[1\]: text_pos: 'x'"):
        convert(corpus([SELECT, SELECT | {"text_pos": "x"}]), [], tmp_path)
    wrong = corpus(parts=[{"files": {"train": "x"}, "layout": "jsonl", "columns": {"q": "text"}, "select": SELECT}])
    with pytest.raises(CurationError, match=r"demo parts\[0\]: column q: 'text' is no column type"):
        convert(wrong, [], tmp_path)


def test_an_expression_that_fails_on_a_row_is_named(tmp_path: Path) -> None:
    with pytest.raises(CurationError, match=r"score: 'CAST\(q AS INT\)' fails: "):
        Converted(corpus(SELECT | {"score": "CAST(q AS INT)"}), tmp_path, [[ROW]])
    made = Converted(
        corpus(SELECT | {"score": "CAST(q AS INT)", "where": "q = '7'"}), tmp_path, [[ROW, ROW | {"q": "7"}]]
    )
    assert [row["score"] for row in made.records] == [7.0]


# --- the whole -------------------------------------------------------------------------------------------------------

rows = st.fixed_dictionaries(
    {
        "q": texts | st.just(5),
        "a": st.none() | texts,
        "label": st.sampled_from(["neutral", "entailment", "-", 1, "x"]),
        "l": st.lists(st.none() | texts, max_size=3),
        "n": st.none() | st.integers(0, 3),
        "f": st.none() | st.sampled_from([0.0, 0.5]),
    }
)


def plain(files: list[list[dict[str, Any]]]) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]], Counter[str]]:
    """Records (row, text, text_pos), labelled (row, text) and statuses, by loops over the rows."""
    records: list[tuple[str, str, str]] = []
    judged: list[tuple[str, str]] = []
    status: Counter[str] = Counter()
    for number, given_rows in enumerate(files):
        for at, row in enumerate(given_rows):
            place = f"dir/{number}.jsonl#{at}"
            label = {1: "entailment"}.get(row["label"], row["label"])
            if row["q"] == 5 or label == "x":
                status["quarantined"] += 1
                continue
            pairs, null = [], False
            if label == "entailment":
                pairs.append((row["q"], row["a"]))
            if row["n"] is not None and row["n"] > 1:
                pairs += [(one, row["q"]) for one in row["l"]]
            null = any(None in pair for pair in pairs) or (label != "-" and row["a"] is None)
            if null:
                status["quarantined"] += 1
                continue
            records += [(f"{place}/{n}", *pair) for n, pair in enumerate(pairs)]
            judged += [(place, row["q"])] if label != "-" else []
            status["used" if pairs or label != "-" else "filtered"] += 1
    return records, judged, status


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(rows, max_size=10), min_size=1, max_size=3))
def test_every_row_has_one_fate_whatever_the_batches(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[dict[str, Any]]]
) -> None:
    files = [[ROW, *given_rows] for given_rows in files]
    of = corpus(
        [SELECT | {"where": "label = 'entailment'"}, {"text": "l", "text_pos": "q", "where": "n > 1"}],
        {"text": "q", "other": "a", "match": "label = 'entailment'", "where": "label <> '-'"},
    )
    folder = tmp_path_factory.mktemp("fates")
    digests = set()
    for size in (50, 300, 1 << 20):
        with chunks_of(size):
            made = Converted(of, folder, files)
        digests.add(made.digest())
    assert len(digests) == 1
    records, judged, status = plain(files)
    cleaned = {"\u200b天": "天"}
    told = [(row["row"], row["text"], row["text_pos"]) for row in made.records]
    assert told == [(at, cleaned.get(a, a), cleaned.get(b, b)) for at, a, b in records]
    assert [(row["row"], row["text"]) for row in made.labelled.to_pylist()] == [
        (at, cleaned.get(a, a)) for at, a in judged
    ]
    totals = made.receipt["totals"]
    assert {name: totals[name] for name in ("used", "filtered", "quarantined")} == {
        name: status[name] for name in ("used", "filtered", "quarantined")
    }
    assert totals["read"] == sum(map(len, files)) == sum(status.values())
    assert (totals["records"], totals["labelled"]) == (len(records), len(judged))


def real(folder: Path, name: str, out: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    manifest = Path(__file__).parent / "real" / "corpora" / f"{name}.yaml"
    of = Corpus.model_validate(YAML(typ="safe").load(manifest.read_text("utf-8")))
    root = folder / str(of.source.root).split("corpora/")[-1]  # type: ignore[union-attr]
    files = [
        SourceFile(number, split, pattern, root / pattern, "", 0)
        for number, part in enumerate(of.parts)
        for split, patterns in part.files.items()
        for pattern in ([patterns] if isinstance(patterns, str) else patterns)
        if split in of.splits
    ]
    receipt = convert(of, files, out)
    return receipt, pa.concat_tables([pq.read_table(out / shard) for shard in receipt["shards"]["text"]]).to_pylist()


def test_real_manifests_hold_their_measured_counts(real_corpora: Path, tmp_path: Path) -> None:
    names = sorted(path.stem for path in (Path(__file__).parent / "real" / "corpora").glob("*.yaml"))
    assert names
    for name in names:
        out = tmp_path / name
        out.mkdir()
        receipt, records = real(real_corpora, name, out)
        totals = receipt["totals"]
        assert totals["quarantined"] == 0
        assert totals["records"] == len(records) == len({row["record_id"] for row in records})


def test_real_ocnli_ids_are_made_of_the_raw_sentences(real_corpora: Path, tmp_path: Path) -> None:
    _, records = real(real_corpora, "ocnli", tmp_path)
    lines = (real_corpora / "ocnli/raw/train.3k.json").read_text("utf-8").splitlines()
    wanted = [row for row in map(json.loads, lines) if row["label"] == "entailment"]
    assert len(records) == len(wanted) > 900
    seen: Counter[tuple[str, str]] = Counter()
    for record, row in zip(records, wanted, strict=True):
        pair = row["sentence1"], row["sentence2"]
        preimage = "".join(map(netstring, ("ocnli", *pair))) + str(seen[pair])
        seen[pair] += 1
        assert record["record_id"] == xxhash.xxh3_128_hexdigest(preimage.encode())
        assert record["doc_group"] == xxhash.xxh3_64_intdigest(f"ocnli\0{row['prem_id']}".encode())
