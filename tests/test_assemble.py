"""Assemble: decisions applied, terms attached, negatives cleared one by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xxhash

from pipeline.assemble import AssembleInput, assemble
from pipeline.errors import CountError
from pipeline.licence import RowTerms
from pipeline.record import DATA_SCHEMA, DECISION_SCHEMA, LABELLED_SCHEMA, LEDGER_SCHEMA, MARK_SCHEMA, TEXT_SCHEMA

TERMS = {
    "": RowTerms(licence_id="CC0-1.0", commercial="allowed", redistribute="allowed"),
    "nc": RowTerms(licence_id="CC-BY-NC-4.0", commercial="forbidden", redistribute="allowed"),
    "barred": RowTerms(licence_id="X", commercial="forbidden", redistribute="forbidden", usable=False),
}


def key(text: str) -> int:
    """The hash of a match key, for texts that are their own match key."""
    return xxhash.xxh3_64_intdigest(text.encode())


class Corpus:
    """One shard of a corpus, written row by row: text, positive, negatives, class, fate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.text: list[dict[str, Any]] = []
        self.decisions: list[dict[str, Any]] = []
        self.classes: list[dict[str, Any]] = []
        self.flags: list[list[str]] = []

    def add(
        self,
        text: str,
        pos: str,
        neg: list[str] = [],
        *,
        of: int,
        keep: bool = True,
        sub: str = "",
        flags: list[str] = [],
        dup: str | None = None,
    ) -> str:
        record_id = f"{len(self.text):032x}"
        self.text.append(
            dict(
                record_id=record_id,
                corpus="c",
                sub_source=sub,
                split="train",
                row=f"f#{len(self.text)}",
                text=text,
                text_pos=pos,
                text_neg=neg,
                prompt="",
                prompt_pos="",
                score=None,
                doc_group=1,
                quality_score=None,
            )
        )
        fate: dict[str, Any] = (
            dict(stage=None, reason=None, duplicate_of=None, benchmark=None, similarity=None)
            if keep
            else dict(stage="dedupe", reason="exact_duplicate", duplicate_of=dup, benchmark=None, similarity=1.0)
        )
        self.decisions.append(dict(keep=keep, cluster=of, also_in=[], **fate))
        self.classes.append(
            dict(class_id=of, text_key=key(text), pos_key=key(pos), text_group=key(text), pos_group=key(pos))
        )
        self.flags.append(flags)
        return record_id

    def assemble(
        self,
        out: Path,
        negatives: list[tuple[int, int]] = [],
        labelled: list[dict[str, Any]] = [],
        labelled_reasons: list[str | None] = [],
        tombstones: frozenset[str] = frozenset(),
    ) -> dict[str, Any]:
        self.folder.mkdir(parents=True)
        out.mkdir()
        paths = {
            name: self.folder / f"{name}-00000.parquet"
            for name in ("text", "decisions", "classes", "marks", "negatives", "labelled", "labelled-marks")
        }
        pq.write_table(pa.Table.from_pylist(self.text, schema=TEXT_SCHEMA), paths["text"])
        pq.write_table(pa.Table.from_pylist(self.decisions, schema=DECISION_SCHEMA), paths["decisions"])
        pl.DataFrame(
            self.classes,
            schema=dict.fromkeys(("class_id", "text_key", "pos_key", "text_group", "pos_group"), pl.UInt64),
        ).write_parquet(paths["classes"])
        pq.write_table(
            pa.Table.from_pylist(
                [dict(reason=None, against=None, similarity=None, flags=f) for f in self.flags], schema=MARK_SCHEMA
            ),
            paths["marks"],
        )
        pl.DataFrame(negatives, schema={"record_row": pl.UInt32, "neg": pl.UInt32}, orient="row").with_columns(
            task=pl.lit("T")
        ).write_parquet(paths["negatives"])
        pq.write_table(pa.Table.from_pylist(labelled, schema=LABELLED_SCHEMA), paths["labelled"])
        pq.write_table(
            pa.Table.from_pylist(
                [dict(reason=r, against=None, similarity=None, flags=[]) for r in labelled_reasons], schema=MARK_SCHEMA
            ),
            paths["labelled-marks"],
        )
        given = AssembleInput(
            "c",
            [paths["text"]],
            [paths["decisions"]],
            [paths["classes"]],
            [[paths["marks"]]],
            [paths["negatives"]],
            [paths["labelled"]],
            [paths["labelled-marks"]],
        )
        return assemble(given, [paths["classes"]], TERMS, out, tombstones)


def rows(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def test_kept_records_carry_groups_and_terms_and_the_rest_goes_to_the_ledger(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "in")
    kept = corpus.add("甲", "乙", of=1, sub="nc", flags=["refusal"])
    gone = corpus.add("甲", "乙", of=1, keep=False, dup=kept)
    receipt = corpus.assemble(tmp_path / "out")
    (data,) = rows(tmp_path / "out" / "train-00000-of-00001.parquet")
    assert (data["record_id"], data["licence_id"], data["commercial"]) == (kept, "CC-BY-NC-4.0", "forbidden")
    assert (data["text_group"], data["pos_group"], data["cluster"]) == (key("甲"), key("乙"), 1)
    (entry,) = rows(tmp_path / "out" / "ledger-00000.parquet")
    assert entry == dict(
        record_id=gone,
        corpus="c",
        stage="dedupe",
        reason="exact_duplicate",
        duplicate_of=kept,
        benchmark=None,
        similarity=1.0,
    )
    evidence = rows(tmp_path / "out" / "evidence-00000.parquet")
    assert [(e["record_id"], e["kept"], e["flags"]) for e in evidence] == [(kept, True, ["refusal"]), (gone, False, [])]
    assert (receipt["kept"], receipt["removed"], receipt["licences"]) == (1, 1, {"CC-BY-NC-4.0 (forbidden)": 1})
    assert pq.read_schema(tmp_path / "out" / "train-00000-of-00001.parquet").equals(DATA_SCHEMA)
    assert pq.read_schema(tmp_path / "out" / "ledger-00000.parquet").equals(LEDGER_SCHEMA)


def test_negatives_join_over_exact_copies_and_lose_positives_leaks_and_repeats(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "in")
    kept = corpus.add("问", "答", ["坏一", "别的答", "泄漏"], of=1)
    corpus.add("问", "答", ["坏二", "坏一", "问"], of=1, keep=False, dup=kept)
    corpus.add("问", "别的答", of=2)  # so 别的答 is a known positive of 问
    other = corpus.add("甲", "乙", of=3)
    corpus.assemble(tmp_path / "out", negatives=[(0, 2)])
    found = {r["record_id"]: r["text_neg"] for r in rows(tmp_path / "out" / "train-00000-of-00001.parquet")}
    assert found[kept] == ["坏一", "坏二"]
    assert found[other] == []


def test_a_positive_that_was_removed_is_still_no_negative(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "in")
    kept = corpus.add("问", "答", ["旧答"], of=1)
    corpus.add("问", "旧答", of=2, keep=False, dup=kept)
    corpus.assemble(tmp_path / "out")
    assert [r["text_neg"] for r in rows(tmp_path / "out" / "train-00000-of-00001.parquet")] == [[]]


def test_negatives_of_another_sub_source_stay_away(tmp_path: Path) -> None:
    """Freer or stricter: the record's licence columns would not be theirs."""
    corpus = Corpus(tmp_path / "in")
    kept = corpus.add("问", "答", ["甲"], of=1)
    corpus.add("问", "答", ["乙"], of=1, sub="nc", keep=False, dup=kept)
    corpus.add("问", "答", ["丙"], of=1, keep=False, dup=kept)
    strict = corpus.add("问二", "答二", ["丁"], of=2, sub="nc")
    corpus.add("问二", "答二", ["戊"], of=2, keep=False, dup=strict)
    receipt = corpus.assemble(tmp_path / "out")
    found = {r["record_id"]: r["text_neg"] for r in rows(tmp_path / "out" / "train-00000-of-00001.parquet")}
    assert found == {kept: ["甲", "丙"], strict: ["丁"]}
    assert receipt["sub_sources"] == {"": 1, "nc": 1}


def test_tombstones_strike_single_negatives_and_those_of_struck_records(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "in")
    kept = corpus.add("问", "答", ["甲", "乙"], of=1)
    corpus.add("问", "答", ["丙"], of=1, keep=False, dup=kept)
    corpus.decisions[-1] |= dict(stage="tombstone", reason="tombstone", duplicate_of=None)
    corpus.assemble(tmp_path / "out", tombstones=frozenset({f"{key('乙'):016x}"}))
    (data,) = rows(tmp_path / "out" / "train-00000-of-00001.parquet")
    assert data["text_neg"] == ["甲"]


def labelled_row(i: int, sub: str = "", text: str = "甲", other: str = "丙") -> dict[str, Any]:
    home = dict(record_id=f"{i:032x}", corpus="c", sub_source=sub, split="train", row=f"f#{i}")
    return home | dict(text=text, other=other, label=False, score=None)


def test_labelled_rows_go_for_the_first_of_their_reasons(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "in")
    corpus.add("甲", "乙", of=1)
    told: list[tuple[dict[str, Any], str | None]] = [
        (labelled_row(0), None),
        (labelled_row(1, sub="barred"), None),
        (labelled_row(2, sub="barred"), "benchmark_pair"),
        (labelled_row(3), "benchmark_pair"),
        (labelled_row(4), "benchmark_pair"),
        (labelled_row(5, text="丁，"), None),
        (labelled_row(6, other="丁"), None),
        (labelled_row(7, sub="nc"), None),
    ]
    receipt = corpus.assemble(
        tmp_path / "out",
        labelled=[row for row, _ in told],
        labelled_reasons=[reason for _, reason in told],
        tombstones=frozenset({f"{4:032x}", f"{key('丁'):016x}"}),
    )
    assert receipt["labelled_removed"] == {"tombstone": 3, "benchmark_pair": 2, "use_class": 1}
    left = rows(tmp_path / "out" / "labelled-00000.parquet")
    assert [(int(r["record_id"], 16), r["commercial"]) for r in left] == [(0, "allowed"), (7, "forbidden")]
    assert receipt["labelled_sub_sources"] == {"": 1, "nc": 1}


def test_contaminated_labelled_rows_are_left_out_and_counted(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "in")
    corpus.add("甲", "乙", of=1)
    labelled = [
        dict(
            record_id=f"{i:032x}",
            corpus="c",
            sub_source="",
            split="train",
            row=f"f#{i}",
            text="甲",
            other="丙",
            label=False,
            score=None,
        )
        for i in range(3)
    ]
    receipt = corpus.assemble(tmp_path / "out", labelled=labelled, labelled_reasons=[None, "benchmark_pair", None])
    assert (receipt["labelled"], receipt["labelled_kept"], receipt["labelled_removed"]) == (3, 2, {"benchmark_pair": 1})
    assert [r["licence_id"] for r in rows(tmp_path / "out" / "labelled-00000.parquet")] == ["CC0-1.0"] * 2


def test_marks_of_another_length_are_refused(tmp_path: Path) -> None:
    corpus = Corpus(tmp_path / "in")
    corpus.add("甲", "乙", of=1)
    corpus.add("丙", "丁", of=2)
    corpus.decisions.pop()
    with pytest.raises(CountError, match="differ in length"):
        corpus.assemble(tmp_path / "out")
