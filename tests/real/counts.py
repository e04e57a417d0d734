"""Counts of the real slices by plain json, csv and gzip code: what `expect` in `corpora/*.yaml` must say.

Shares nothing with the pipeline, so that it can judge it. Run `python tests/real/counts.py [FOLDER]` for the table;
the folder of the slices is $M3E_SHARED, else `../shared/corpora` beside the repository.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

#: Of one row: how many records it gives, and whether it is a labelled pair.
Row = tuple[int, bool]


@dataclass(frozen=True)
class Count:
    """rows = filtered + those that gave a record or a labelled pair."""

    rows: int
    records: int
    labelled: int
    filtered: int


def slices() -> Path:
    """Where the real slices lie, whether they are there or not."""
    return Path(os.environ.get("M3E_SHARED") or Path(__file__).resolve().parents[3] / "shared" / "corpora")


def lines(path: Path) -> Iterator[dict]:
    raw = path.read_bytes()
    for line in (gzip.decompress(raw) if path.suffix == ".gz" else raw).splitlines():
        yield json.loads(line)


def array(path: Path) -> list[dict]:
    return json.loads(path.read_text("utf-8"))


def questions(path: Path) -> Iterator[dict]:
    for article in json.loads(path.read_text("utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            yield from paragraph["qas"]


def table(path: Path, delimiter: str, encoding: str = "utf-8") -> Iterator[list[str]]:
    with path.open(encoding=encoding, newline="") as file:
        yield from csv.reader(
            file, delimiter=delimiter, quoting=csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
        )


def header(rows: Iterator[list[str]]) -> Iterator[dict[str, str]]:
    names = next(rows)
    return (dict(zip(names, row, strict=True)) for row in rows)


def each(rows: Iterable[object]) -> Iterator[Row]:
    return ((1, False) for _ in rows)


def answerable(path: Path) -> Iterator[Row]:
    return ((0 if question.get("is_impossible") else 1, False) for question in questions(path))


def judged(labels: Iterable[str], match: str, unlabelled: str | None = None) -> Iterator[Row]:
    return ((int(label == match), label != unlabelled) for label in labels)


def sql(*paths: Path) -> Iterator[Row]:
    return ((int(row["query"] != ""), False) for path in paths for row in array(path))


def best(path: Path) -> Iterator[Row]:
    return ((int(row["is_best"] == "1"), False) for row in header(table(path, ",")))


def webqa(path: Path) -> Iterator[Row]:
    return ((sum(e["type"] == "positive" for e in row["evidences"]), False) for row in lines(path))


def cinlid(path: Path) -> Iterator[Row]:
    return judged((row["label"] for row in json.loads(path.read_text("gbk"))["data"]), "entailment")


def paws_x(path: Path) -> Iterator[Row]:
    labels = pq.read_table(path, columns=["label"])["label"].to_pylist()
    return judged((str(label) for label in labels), "1")


def simclue(folder: Path) -> Iterator[Row]:
    yield from judged((row["label"] for row in lines(folder / "train_pair_1w.json")), "1")
    yield from each(lines(folder / "train_rank_1w.json"))


CORPORA: dict[str, Callable[[Path], Iterator[Row]]] = {
    "CINLID": lambda s: cinlid(s / "CINLID/raw-luge-layout/train.json"),
    "CINLID_csts": lambda s: judged((r[2] for r in table(s / "CINLID/raw/Idiom_NLI.txt", "\t")), "entailment"),
    "CSpider": lambda s: sql(s / "CSpider/raw/dev.json", s / "CSpider/raw/test.json"),
    "Chinese-SQuAD": lambda s: answerable(s / "Chinese-SQuAD/raw/dev-v2.0-zh.part.json"),
    "DuSQL": lambda s: sql(*(s / f"DuSQL/raw/{split}.json" for split in ("train", "dev", "test"))),
    "SimCLUE": lambda s: simclue(s / "SimCLUE/raw"),
    "Zhuiyi-NL2SQL": lambda s: sql(s / "Zhuiyi-NL2SQL/raw/dev.json", s / "Zhuiyi-NL2SQL/raw/test.json"),
    "alpaca_gpt4_standin": lambda s: each(array(s / "alpaca_gpt4/raw-standin/alpaca_zh_demo.json")),
    "baike2018qa_standin": lambda s: each(lines(s / "baike2018qa/raw-standin/baike_qa_valid.json")),
    "belle_2m_standin": lambda s: each(lines(s / "belle_2m/raw-standin/zh_seed_tasks.json")),
    "bq": lambda s: judged((r["label"] for r in header(table(s / "bq/raw/dev.csv", ",", "utf-8-sig"))), "1"),
    "chatmed_consult": lambda s: each(lines(s / "chatmed_consult/raw/ChatMed-Consult_test.json")),
    "cmrc2018": lambda s: each(questions(s / "cmrc2018/raw/squad-style-data/cmrc2018_dev.json")),
    "csl": lambda s: each(lines(s / "csl/hf/data/csl.jsonl.gz")),
    "dureader_robust_standin": lambda s: answerable(s / "dureader_robust/raw-standin/dureader_checklist_dev.json"),
    "lawzhidao_standin": lambda s: best(s / "lawzhidao/raw-standin/lawzhidao_filter.csv"),
    "lcqmc": lambda s: judged((r[2] for r in table(s / "lcqmc/raw/LCQMC.valid.data", "\t")), "1"),
    "medi": lambda s: each(array(s / "medi/raw/medi-data.json")),
    "miracl-corpus_standin": lambda s: each(
        lines(s / "miracl-corpus/raw-standin/miracl-corpus-v1.0-zh/docs-0.jsonl.gz")
    ),
    "mlqa_standin": lambda s: each(questions(s / "mlqa/raw-standin/xquad.zh.json")),
    "ocnli": lambda s: judged((row["label"] for row in lines(s / "ocnli/raw/train.3k.json")), "entailment", "-"),
    "paws-x": lambda s: paws_x(s / "paws-x/hf/zh/validation.parquet"),
    "webqa": lambda s: webqa(s / "webqa/raw/test_file_example.json.gz"),
}


def count(rows: Iterable[Row]) -> Count:
    """
    >>> count([(1, True), (0, True), (0, False), (3, False)])
    Count(rows=4, records=4, labelled=2, filtered=1)
    """
    got = list(rows)
    return Count(
        rows=len(got),
        records=sum(records for records, _ in got),
        labelled=sum(labelled for _, labelled in got),
        filtered=sum(records == 0 and not labelled for records, labelled in got),
    )


def main(folder: Path) -> None:
    print(f"{'corpus':<26}{'rows':>9}{'records':>9}{'labelled':>9}{'filtered':>9}")
    total = [0, 0, 0, 0]
    for name, rows in CORPORA.items():
        got = count(rows(folder))
        numbers = [got.rows, got.records, got.labelled, got.filtered]
        total = [a + b for a, b in zip(total, numbers, strict=True)]
        print(f"{name:<26}" + "".join(f"{n:>9,}" for n in numbers))
    print(f"{'all':<26}" + "".join(f"{n:>9,}" for n in total))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else slices())
