"""The quality rules: each on rows made for it, the counting ones on whole small corpora, the dropping ones on real slices."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any, get_args

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.manifest.settings import Action, QualityConfig
from pipeline.normalize import clean, match_key
from pipeline.quality import RULES, quality
from pipeline.quality.repetition import NGRAM, repeated_share
from pipeline.quality.rules import foreign_script
from pipeline.record import MARK_SCHEMA, TEXT_SCHEMA

Pair = tuple[str, str]
GOOD: Pair = ("借呗怎么还款", "打开支付宝，点我的，再点借呗，就能还款")
LONG = "本店自建成以来一直为附近居民服务，出售日用百货与新鲜蔬果，风雨无阻"


def shard(path: Path, pairs: list[Pair]) -> Path:
    filler: dict[str, Any] = {"text_neg": [], "doc_group": 0, "score": None, "quality_score": None}
    rows = [
        {field.name: filler.get(field.name, "") for field in TEXT_SCHEMA} | {"text": text, "text_pos": text_pos}
        for text, text_pos in pairs
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=TEXT_SCHEMA), path)
    return path


def run(
    folder: Path, pairs: list[Pair], code_sides: tuple[str, ...] = (), **config: Any
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    folder.mkdir(parents=True, exist_ok=True)
    text = shard(folder / "text-00000.parquet", pairs)
    receipt = quality([text], folder, QualityConfig(**config), code_sides)
    marks = pq.read_table(folder / "marks-00000.parquet")
    assert marks.schema.equals(MARK_SCHEMA)
    return marks.to_pylist(), receipt


def only(rule: str, action: Action = "flag", **config: Any) -> dict[str, Any]:
    return {name: "off" for name in RULES} | {rule: action} | config


def hits(folder: Path, rule: str, pairs: list[Pair], **options: Any) -> list[bool]:
    marks, receipt = run(folder, pairs, options.pop("code_sides", ()), **only(rule, **options))
    found = [mark["flags"] == [rule] for mark in marks]
    assert all(mark["reason"] is None and mark["flags"] in ([], [rule]) for mark in marks)
    assert receipt == {"records": len(pairs), "dropped": {}, "flagged": {rule: sum(found)}}
    return found


CASES: list[tuple[str, Pair, bool]] = [
    ("empty_side", ("", "有"), True),
    ("empty_side", ("……！", "有"), True),
    ("empty_side", ("1", "😀"), False),
    ("equal_sides", ("借呗怎麼還款？", "借呗，怎么还款"), True),
    ("equal_sides", ("3.5", "35"), False),
    ("equal_sides", ("a>b", "a<b"), False),
    ("too_short", ("好", LONG), True),
    ("too_short", ("好的，朋友", "是"), True),
    ("too_short", ("店", "店（diàn），汉字，本义为陈列货物出售的地方，也指旅舍"), False),
    ("too_short", ("贷", "能贷吗"), True),
    ("too_short", ("好的", "对"), True),
    ("too_short", ("好的", "对的"), False),
    ("script_ratio", ("สวัสดีครับ ยินดีต้อนรับ", "欢迎你"), True),
    ("script_ratio", ("你好", "مرحبا بكم في الصين"), True),
    ("script_ratio", ("你好", "今日はとてもいい天気ですね"), True),
    ("script_ratio", ("借呗怎么还款呢，在哪里看".encode().decode("latin-1"), LONG), True),
    ("script_ratio", ("借呗怎么还款呢，在哪里看额度".encode().decode("gbk", "replace"), LONG), True),
    ("script_ratio", ("锟斤拷", LONG), True),
    ("script_ratio", ("how to repay the loan", "臺灣的資訊產業與經濟發展"), False),
    ("script_ratio", ("氕氘氚钪钛钒铬锰", "癫痫癔症痫癫痫癔、鲟鲑鲢鳙鳊鲂鲈鳜"), False),
    ("script_ratio", ("魑魅魍魉", "αβγ"), False),
    ("script_ratio", ("3.5 × 2 = 7", "12:30"), False),
    ("script_ratio", ("カタカナ是什么意思", "日语的片假名叫做カタカナ，用来写外来词"), False),
    ("markup", ("题", '<table style="a">'), True),
    ("markup", ("见[url=http://a.cn]这里[/url]", "好"), True),
    ("markup", ("{{引用}}", "好"), True),
    ("markup", ("a&nbsp", "好"), True),
    ("markup", ("a<b 且 b>c", "vector<int> <战国> AT&T R&D [1] {x}"), False),
    ("repetition", ("问", "再来一个。" * 12), True),
    ("repetition", ("问", LONG + LONG + LONG), True),
    ("repetition", ("这是什么？？" + "。" * 80, LONG), False),
    ("refusal", ("写首诗", "很抱歉，作为一个AI语言模型，我无法写诗"), True),
    ("refusal", ("写首诗", "对不起，我不能满足这个要求"), True),
    ("refusal", ("write", "I'm sorry, but as an AI language model I cannot"), True),
    ("refusal", ("作为AI，我无法回答", "这是一句引文"), False),
    ("refusal", ("失眠怎么办", "我无法入睡时会看书。"), False),
    ("refusal", ("长文", LONG * 3 + "作为一个AI语言模型"), False),
    ("generic_title", ("求助！！", LONG), True),
    ("generic_title", ("【请 问】", LONG), True),
    ("generic_title", ("请问借呗怎么还", LONG), False),
]


@pytest.mark.parametrize(("rule", "pair", "expected"), CASES)
def test_rule(tmp_path: Path, rule: str, pair: Pair, expected: bool) -> None:
    assert hits(tmp_path, rule, [GOOD, pair]) == [False, expected]


def test_too_long(tmp_path: Path) -> None:
    assert hits(tmp_path, "too_long", [GOOD, ("问", "长" * 51)], max_chars=50) == [False, True]


def test_code_is_no_prose(tmp_path: Path) -> None:
    pairs = [("取出所有行", "<br> " + "select a from t where b = 1 and " * 9), ("取出", "выбрать из таблицы всё")]
    for number, rule in enumerate(("script_ratio", "markup", "repetition")):
        assert not any(hits(tmp_path / f"{number}c", rule, pairs, code_sides=("text_pos",)))
        assert any(hits(tmp_path / f"{number}p", rule, pairs))


def test_actions_order_and_details(tmp_path: Path) -> None:
    pairs = [GOOD, ("", ""), ("求助", "问"), ("求助", LONG), ("求助", "<br>" * 3), ("同一句话", "同一句话！")]
    marks, receipt = run(tmp_path, pairs, generic_title="flag", markup="flag", too_short="drop")
    assert [(mark["reason"], mark["against"], mark["flags"]) for mark in marks] == [
        (None, None, []),
        ("empty_side", "text", []),
        ("too_short", "text_pos", ["generic_title"]),
        (None, None, ["generic_title"]),
        (None, None, ["generic_title", "markup"]),
        ("equal_sides", None, []),
    ]
    assert receipt["records"] == 6
    assert receipt["dropped"] == {"empty_side": 1, "equal_sides": 1, "too_short": 1, "script_ratio": 0}
    assert receipt["flagged"]["generic_title"] == 3
    assert all(mark["similarity"] is None for mark in marks)

    marks, receipt = run(tmp_path / "b", pairs, **{rule: "off" for rule in RULES} | {"generic_title": "drop"})
    assert [mark["reason"] for mark in marks].count("generic_title") == 3
    assert receipt["flagged"] == {}


def test_every_action_of_the_config_is_a_rule() -> None:
    actions = {name for name, field in QualityConfig.model_fields.items() if field.annotation == Action}
    assert actions == set(RULES)
    assert set(get_args(Action)) == {"drop", "flag", "off"}


def test_template_opening(tmp_path: Path) -> None:
    """An opening counts once for each distinct text that has it, and only within its corpus."""
    opening = "请根据下面的材料回答如下问题"
    many = [(f"{opening}：第{n}题讲什么", f"讲第{n}件事情") for n in range(30)]
    copies = [("今天的天气预报里说了些什么呢", f"说了{n}件事情") for n in range(60)]
    other = [(f"{n}号展厅里有哪些值得一看的展品", f"有第{n}种") for n in range(1000, 1400)]
    found = hits(tmp_path, "template_opening", many + copies + other)
    assert found == [True] * 30 + [False] * 460
    assert not any(hits(tmp_path / "few", "template_opening", many[:19] + other))
    assert all(hits(tmp_path / "edge", "template_opening", many[:20]))
    assert not any(hits(tmp_path / "share", "template_opening", many + other, max_template_share=0.1))


def test_hub_positive(tmp_path: Path) -> None:
    hub = [(f"第{n}种不同的问法", "您好，请联系客服。") for n in range(21)]
    same = [("同一个问题", "您好，请联系您的客服")] * 40
    assert hits(tmp_path, "hub_positive", hub + same) == [True] * 21 + [False] * 40
    assert not any(hits(tmp_path / "less", "hub_positive", hub[:20] + same))


def test_shards_are_judged_together_and_stay_apart(tmp_path: Path) -> None:
    hub = [(f"第{n}种不同的问法", "您好，请联系客服。") for n in range(21)]
    rows = [*hub[:9], GOOD, *hub[9:]]
    shards = [shard(tmp_path / f"text-{i}.parquet", part) for i, part in enumerate((rows[:5], [], rows[5:]))]
    receipt = quality(shards, tmp_path, QualityConfig())
    flags = [pq.read_table(tmp_path / f"marks-0000{i}.parquet")["flags"].to_pylist() for i in range(3)]
    assert [len(part) for part in flags] == [5, 0, 17]
    assert [flag for part in flags for flag in part] == [["hub_positive"]] * 9 + [[]] + [["hub_positive"]] * 12
    assert receipt["records"] == 22
    assert receipt["flagged"]["hub_positive"] == 21


def test_same_bytes_every_time(tmp_path: Path) -> None:
    pairs = [pair for _, pair, _ in CASES] * 3
    for name in ("a", "b"):
        run(tmp_path / name, pairs)
    assert (tmp_path / "a/marks-00000.parquet").read_bytes() == (tmp_path / "b/marks-00000.parquet").read_bytes()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet="甲乙ab", max_size=60), min_size=1, max_size=6))
def test_repeated_share_counts_windows(texts: list[str]) -> None:
    expected = []
    for text in texts:
        windows = [text[at : at + NGRAM] for at in range(len(text) - NGRAM + 1)]
        expected.append((len(windows) - len(set(windows))) / len(windows) if len(text) >= 2 * NGRAM else 0.0)
    assert repeated_share(pl.Series(texts)).tolist() == pytest.approx(expected)


# --- real corpora -----------------------------------------------------------------------------------------------------


def _real_pairs(folder: Path) -> dict[str, list[Pair]]:
    """Positive pairs of the slices whose Hub layout shows them plainly, and of two JSON ones."""

    def columns(file: str, text: str, text_pos: str, label: int | None = None) -> list[Pair]:
        frame = pl.read_parquet(folder / file)
        frame = frame if label is None else frame.filter(pl.col("label") == label)
        return frame.select(text, text_pos).rows()

    def lines(file: str) -> list[dict[str, str]]:
        return [json.loads(line) for line in (folder / file).read_text(encoding="utf-8").splitlines()]

    with (folder / "lawzhidao/raw-standin/lawzhidao_filter.csv").open(encoding="utf-8-sig", newline="") as file:
        law = [(row["title"], row["reply"]) for row in csv.DictReader(file) if row["is_best"] == "1"]
    return {
        "cmrc2018": columns("cmrc2018/hf/default/validation.parquet", "question", "context"),
        "lcqmc": columns("lcqmc/hf/LCQMC/validation.parquet", "sentence1", "sentence2", 1),
        "bq": columns("bq/hf/BQ/validation.parquet", "sentence1", "sentence2", 1),
        "ocnli": columns("ocnli/hf/ocnli/validation.parquet", "sentence1", "sentence2", 1),
        "csl": columns("csl/hf/csl/csl.parquet", "title", "abstract"),
        "mlqa": columns("mlqa/hf/mlqa-translate-train.zh/validation.parquet", "question", "context"),
        "webqa": columns("webqa/hf/default/validation.parquet", "input", "output"),
        "paws-x": columns("paws-x/hf/zh/validation.parquet", "sentence1", "sentence2", 1),
        "chatmed": columns("chatmed_consult/hf/default/train.parquet", "query", "response"),
        "SimCLUE": [(row["query"], row["title"]) for row in lines("SimCLUE/raw/train_pair_postive_1w.json")],
        "CINLID": [
            (row["sentence1"], row["sentence2"])
            for row in lines("CINLID/raw/train.jsonl")
            if row["label"] == "entailment"
        ],
        "baike": [(row["title"], row["answer"]) for row in lines("baike2018qa/raw-standin/baike_qa_valid.json")],
        "lawzhidao": law,
    }


#: Pairs that say one thing twice are no loss, whatever their number; all other dropping rules together stay below this.
_MOST_LOST = 0.002


def test_dropping_rules_spare_real_corpora(tmp_path: Path, real_corpora: Path) -> None:
    for name, pairs in _real_pairs(real_corpora).items():
        texts, positives = (clean(pl.Series(side)).to_list() for side in zip(*pairs, strict=True))
        _, receipt = run(tmp_path / name, list(zip(texts, positives, strict=True)))
        dropped = dict(receipt["dropped"])
        equal = dropped.pop("equal_sides")
        assert sum(dropped.values()) <= _MOST_LOST * len(pairs), (name, receipt)
        keys = (match_key(pl.Series(texts)), match_key(pl.Series(positives)))
        assert equal == sum(a == b for a, b in zip(*keys, strict=True)), name


def test_mojibake_of_real_texts_is_found(real_corpora: Path) -> None:
    rows = pl.read_parquet(real_corpora / "lcqmc/hf/LCQMC/validation.parquet")["sentence1"].unique(maintain_order=True)
    texts = random.Random(1).sample([row for row in rows.to_list() if len(row) >= 10], 1000)
    assert not foreign_script(pl.Series(texts), 0.5).any()
    for written, read, least in (
        ("utf-8", "latin-1", 0.98),
        ("gb18030", "latin-1", 0.98),
        ("gb18030", "utf-8", 0.98),
        ("utf-8", "gbk", 0.8),  # gives Chinese characters, some of them common
    ):
        broken = pl.Series([text.encode(written).decode(read, "replace") for text in texts])
        assert foreign_script(broken, 0.5).mean() > least, (written, read)
