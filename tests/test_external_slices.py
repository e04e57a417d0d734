"""The external corpora's manifests over real slices of them, judged by plain json and csv code."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from pipeline.source import SourceFile
from tests.external_files import Variant, converted
from tests.real import counts

Counted = Callable[[Path], Iterable[counts.Row]]


def jsonl_pairs(*names: str) -> Counted:
    return lambda s: counts.each(row for name in names for row in counts.lines(s / name))


def cspider(slices: Path) -> Iterable[counts.Row]:
    return counts.sql(slices / "CSpider/raw/dev.json", slices / "CSpider/raw/test.json")


def simclue(slices: Path) -> Iterable[counts.Row]:
    raw = slices / "SimCLUE/raw"
    yield from counts.each(counts.lines(raw / "train_pair_postive_1w.json"))
    yield from counts.each(counts.lines(raw / "train_rank_1w.json"))
    yield from ((0, True) for _ in counts.lines(raw / "train_pair_1w.json"))


def idioms(slices: Path) -> Iterable[counts.Row]:
    return counts.judged((row[2] for row in counts.table(slices / "CINLID/raw/Idiom_NLI.txt", "\t")), "entailment")


#: Corpus, alternate, the slices of each part, plain code for the counts. Stand-ins are other text in the same layout.
SLICES: list[tuple[Variant, dict[int, list[str]], Counted]] = [
    (
        Variant("CINLID", None),
        {0: ["CINLID/raw-luge-layout/train.json"]},
        lambda s: counts.cinlid(s / "CINLID/raw-luge-layout/train.json"),
    ),
    (Variant("CINLID", 0), {0: ["CINLID/raw/Idiom_NLI.txt"]}, idioms),
    (
        Variant("DuSQL", None),
        {0: ["DuSQL/raw/train.json", "DuSQL/raw/dev.json", "DuSQL/raw/test.json"]},
        lambda s: counts.sql(*(s / f"DuSQL/raw/{split}.json" for split in ("train", "dev", "test"))),
    ),
    (
        Variant("Zhuiyi-NL2SQL", None),
        {0: ["Zhuiyi-NL2SQL/raw/dev.json", "Zhuiyi-NL2SQL/raw/test.json"]},
        lambda s: counts.sql(s / "Zhuiyi-NL2SQL/raw/dev.json", s / "Zhuiyi-NL2SQL/raw/test.json"),
    ),
    (Variant("CSpider", None), {0: ["CSpider/raw/dev.json", "CSpider/raw/test.json"]}, cspider),
    (
        Variant("SimCLUE", None),
        {at: [f"SimCLUE/raw/train_{kind}_1w.json"] for at, kind in enumerate(("pair_postive", "rank", "pair"))},
        simclue,
    ),
    (
        Variant("Chinese-SQuAD", None),
        {0: ["Chinese-SQuAD/raw/dev-v2.0-zh.part.json"]},
        lambda s: counts.answerable(s / "Chinese-SQuAD/raw/dev-v2.0-zh.part.json"),
    ),
    (
        Variant("medi", 0),
        {0: ["medi/raw/medi-data.json"]},
        lambda s: counts.each(counts.array(s / "medi/raw/medi-data.json")),
    ),
    (
        Variant("lawzhidao", None),
        {0: ["lawzhidao/raw-standin/lawzhidao_filter.csv"]},
        lambda s: counts.best(s / "lawzhidao/raw-standin/lawzhidao_filter.csv"),
    ),
    *(
        (Variant(name, 0), {0: files}, jsonl_pairs(*files))
        for name, files in {
            "baike2018qa": [f"baike2018qa/{kind}/baike_qa_valid.json" for kind in ("raw-standin", "raw-sample")],
            "news2016zh": ["news2016zh/raw-sample/news2016zh_valid.json"],
            "webtext2019zh": ["webtext2019zh/raw-sample/web_text_zh_valid.json"],
        }.items()
    ),
]


@pytest.mark.parametrize(("variant", "slices", "plain"), SLICES, ids=[str(variant) for variant, _, _ in SLICES])
def test_real_slices_give_the_counts_of_plain_code(
    variant: Variant, slices: dict[int, list[str]], plain: Counted, real_corpora: Path, tmp_path: Path
) -> None:
    absent = [name for names in slices.values() for name in names if not (real_corpora / name).is_file()]
    if absent:
        pytest.skip(f"no real slice {absent[0]}")
    files = [
        SourceFile(part, "train", name, real_corpora / name, "", 0) for part, names in slices.items() for name in names
    ]
    told, text, _ = converted(variant.corpus, files, tmp_path)
    expected, totals = counts.count(plain(real_corpora)), told["totals"]
    assert (totals["read"], totals["records"], totals["labelled"], totals["filtered"], totals["quarantined"]) == (
        expected.rows,
        expected.records,
        expected.labelled,
        expected.filtered,
        0,
    )
    if variant.name == "medi":
        rows = counts.array(real_corpora / slices[0][0])
        sides = [(row["query"][0], row["pos"][0]) for row in rows]
        assert text.select("prompt", "prompt_pos").rows() == sides
        assert text["text_neg"].list.len().to_list() == [1] * len(rows)
