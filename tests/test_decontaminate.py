"""Decontaminate: planted leaks and look-alikes, a second computation with plain string sets, and real slices."""

from __future__ import annotations

import hashlib
import json
import random
import unicodedata
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from pipeline.errors import CurationError, FormatError
from pipeline.manifest.settings import DecontaminateConfig
from pipeline.record import MARK_SCHEMA
from tests.workbench import Oracle, Record, Workbench, shingles


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path)


QUERY = "今天北京的天气怎么样啊"


@pytest.mark.parametrize(
    "leak",
    [
        (QUERY, "晴"),
        ("今天北京的天气，怎么样啊？", "晴"),
        ("今天北京的天氣怎麼樣啊", "晴"),
        ("今天北京的天气怎么样啊啊", "晴"),
        ("晴", QUERY),
        ("这是另外一个很长的问题", "今天北京的天气怎么样呀！"[:-2] + "啊"),
    ],
)
def test_a_query_on_either_side_removes(bench: Workbench, leak: Record) -> None:
    bench.benchmark("Weather", queries=[QUERY])
    outputs = bench.run([leak, ("明天上海的交通堵不堵呢", "不堵")])
    assert outputs.reasons == ["benchmark_query", None]
    assert outputs.rows("marks")[0]["against"] == "Weather"
    assert outputs.flags == [["contaminated:Weather"], []]


def test_similarity_is_true_jaccard_of_shingles(bench: Workbench) -> None:
    bench.benchmark("Weather", queries=[QUERY])
    near = "今天北京的天气怎么样啊啊"
    shared = {QUERY[i : i + 2] for i in range(len(QUERY) - 1)} & {near[i : i + 2] for i in range(len(near) - 1)}
    every = {QUERY[i : i + 2] for i in range(len(QUERY) - 1)} | {near[i : i + 2] for i in range(len(near) - 1)}
    exact, close = bench.run([(QUERY, "晴"), (near, "晴")]).rows("marks")
    assert exact["similarity"] == 1.0
    assert close["similarity"] == pytest.approx(len(shared) / len(every))
    assert close["similarity"] < 1.0


def test_digits_and_negations_veto_near_matches(bench: Workbench) -> None:
    bench.benchmark("Sql", queries=["查询在北京工作的员工人数大于15的部门有哪些", "这家公司的产品可以在网上买到吗请问"])
    kept = [
        ("查询在北京工作的员工人数大于16的部门有哪些", "select"),
        ("查询在北京工作的员工人数不大于15的部门有哪些", "select"),
        ("这家公司的产品不可以在网上买到吗请问", "可以"),
    ]
    outputs = bench.run([*kept, ("查询在北京工作的员工人数大于15的部门有哪些啊", "select")])
    assert outputs.reasons == [None, None, None, "benchmark_query"]


def test_short_queries_count_only_as_a_pair(bench: Workbench) -> None:
    pairs = [("怎么退货", "打开订单点击退货"), ("小于2", "不大于2")]
    bench.benchmark("Retrieval", queries=["怎么退货", "小于2"], pairs=pairs)
    outputs = bench.run(
        [
            ("怎么退货", "联系客服即可"),
            ("小于2", "大于1"),
            ("不大于2", "小于3"),
            ("怎么退货", "打开订单，点击退货"),
            ("打开订单，点击退货", "怎么退货？"),
            ("小于2", "不大于2"),
            ("不大于2", "小于2"),
            ("小于2", "小于2"),
        ]
    )
    assert outputs.reasons == [None] * 3 + ["benchmark_pair"] * 4 + [None]


def test_the_shorter_of_two_near_keys_must_be_long_enough(bench: Workbench) -> None:
    bench.benchmark("Eight", queries=["怎么退换货呢请问"])
    bench.benchmark("Seven", queries=["如何注销老账户"])
    texts = ["怎么退换货呢请", "怎么退换货呢请问", "如何注销老账户呢", "如何注销老账户"]
    records = [(text, "答") for text in texts]
    assert bench.run(records).reasons == [None, "benchmark_query", None, None]
    assert bench.run(records, config=DecontaminateConfig(min_chars=7), out="seven").reasons == ["benchmark_query"] * 4


def test_a_pair_is_near_on_both_sides_and_the_smaller_similarity_counts(bench: Workbench) -> None:
    bench.benchmark("Pairs", pairs=[("如何更换花呗绑定的银行卡号码", "花呗更改绑定银行卡的方法是什么")])
    both = ("花呗更改绑定银行卡的方法是什么呢", "如何更换花呗绑定的银行卡号码")
    one = ("花呗更改绑定银行卡的方法是什么呢", "打开支付宝设置")
    outputs = bench.run([both, one])
    assert outputs.reasons == ["benchmark_pair", None]
    a, b = ({text[i : i + 2] for i in range(len(text) - 1)} for text in (both[0], "花呗更改绑定银行卡的方法是什么"))
    assert outputs.rows("marks")[0]["similarity"] == pytest.approx(len(a & b) / len(a | b))


def test_positives_and_passages_flag_and_a_positive_with_its_query_removes(bench: Workbench) -> None:
    query, positive = "谁写的", "红楼梦是清代作家曹雪芹创作的章回体长篇小说"
    bench.benchmark("Books", positives=[positive], passages=["水浒传写的是梁山好汉的故事"], pairs=[(query, positive)])
    outputs = bench.run(
        [
            ("红楼梦的作者是谁呢请回答", positive + "。"),
            (query, positive),
            ("讲梁山的书", "水浒传写的是梁山好汉的故事"),
            ("水浒传写的是梁山好汉的故事", "书"),
            ("书", "画"),
        ]
    )
    assert outputs.reasons == [None, "benchmark_pair", None, None, None]
    assert outputs.flags == [
        ["benchmark_positive:Books"],
        ["benchmark_positive:Books", "contaminated:Books"],
        ["corpus_overlap:Books"],
        ["corpus_overlap:Books"],
        [],
    ]
    assert outputs.receipt["flags"] == {"Books": {"benchmark_positive": 2, "corpus_overlap": 2}}


def test_joined_texts_are_compared_with_both_sides_together(bench: Workbench) -> None:
    title, body = "基于深度学习的图像检索方法", "本文提出一种新的图像检索方法并在公开数据上验证了效果"
    bench.benchmark("Clustering", joined=[f"{title} {body}"], queries=["标题和正文分开的另一篇文章"])
    outputs = bench.run(
        [(title, body), (body, title), (title, body + "了"), (title, "别的正文"), ("标题和正文", "分开的另一篇文章")]
    )
    assert outputs.reasons == ["benchmark_joined"] * 3 + [None, None]


def test_joined_texts_are_still_compared_side_by_side(bench: Workbench) -> None:
    bench.benchmark("Clustering", joined=["基于深度学习的图像检索方法"])
    assert bench.run([("基于深度学习的图像检索方法", "摘要")]).reasons == ["benchmark_query"]


def test_a_text_joined_in_one_task_only_is_joined_for_that_task_only(bench: Workbench) -> None:
    title, body = "基于深度学习的图像检索方法", "本文提出一种新的图像检索方法"
    bench.benchmark("Documents", joined=[title + body])
    bench.benchmark("Sentences", queries=[title + body])
    assert bench.run([(title, body)]).flags == [["contaminated:Documents"]]


def test_instruction_data_is_searched_for_queries_inside(bench: Workbench) -> None:
    long = "新冠疫情期间武汉市民如何申请出城通行证"
    positive = "请回答下面的问题并说明理由和依据是什么"
    bench.benchmark("Covid", queries=[long, "武汉市民如何申请通行证"], positives=[positive])
    prompt = f"请回答下面的问题，并说明理由和依据是什么：{long[:7]}，{long[7:]}？答案不超过五十个字。"
    records: list[Record] = [
        (prompt, "可以"),
        ("可以", prompt),
        ("请回答：武汉市民如何申请通行证？不超过五十个字，谢谢你的帮助。", "可以"),
        (f"请回答下面的问题：{long[:-1]}，答案不超过五十个字，谢谢你的帮助。", "可以"),
    ]
    assert bench.run(records, instruction_data=True).reasons == ["benchmark_inside", "benchmark_inside", None, None]
    assert bench.run(records, out="plain").reasons == [None] * 4


def test_all_nested_and_overlapping_queries_are_named(bench: Workbench) -> None:
    outer = "新冠疫情期间武汉市民如何申请出城通行证"
    bench.benchmark("A", queries=[outer[:17]])
    bench.benchmark("B", queries=[outer])
    bench.benchmark("C", queries=[outer[2:]])
    outputs = bench.run([("请你回答我的这个问题好吗" + outer + "谢谢", "好")], instruction_data=True)
    assert outputs.flags == [["contaminated:A", "contaminated:B", "contaminated:C"]]
    assert outputs.rows("marks")[0]["against"] == "A"


def test_contaminated_negatives_are_named_one_by_one(bench: Workbench) -> None:
    bench.benchmark("Weather", queries=[QUERY, "短的问"], pairs=[("甲乙", "丙丁")])
    outputs = bench.run(
        [
            ("问题一二三四五六七八", "答案", ["好的回答", QUERY + "？", "另一个回答", QUERY + "啊"]),
            ("甲乙", "戊己", ["短的问", "丙丁"]),
            ("戊己", "甲乙", ["丙丁"]),
            ("没有反例的一行记录在此", "答案"),
        ],
        shard_rows=3,
    )
    assert outputs.rows("negatives") == [
        {"record_row": 0, "neg": 1, "task": "Weather"},
        {"record_row": 0, "neg": 3, "task": "Weather"},
        {"record_row": 1, "neg": 1, "task": "Weather"},
    ]
    assert outputs.reasons == [None] * 4
    assert outputs.flags == [["benchmark_negative:Weather"], ["benchmark_negative:Weather"], [], []]
    assert outputs.receipt["negatives"] == {"Weather": 3}
    for kind in ("marks", "negatives"):
        assert len(list(outputs.folder.glob(f"{kind}-*.parquet"))) == 2


def test_labelled_rows_are_treated_alike_on_both_sides(bench: Workbench) -> None:
    bench.benchmark("Weather", queries=[QUERY], pairs=[("甲乙", "丙丁")])
    labelled = [("别的句子在这里放着呢", QUERY), (QUERY, "别的"), ("丙丁", "甲乙"), ("甲乙", "丙"), ("无关的", "句子")]
    outputs = bench.run([("无关", "记录")], labelled)
    told = [mark["reason"] for mark in outputs.rows("labelled-marks")]
    assert told == ["benchmark_query", "benchmark_query", "benchmark_pair", None, None]
    assert outputs.receipt["labelled"]["hits"] == {"Weather": {"benchmark_pair": 1, "benchmark_query": 2}}
    assert outputs.receipt["removed"] == 0


def test_policy_flag_removes_nothing_but_tells_all(bench: Workbench) -> None:
    bench.benchmark("Weather", queries=[QUERY])
    outputs = bench.run([(QUERY, "晴", [QUERY])], config=DecontaminateConfig(policy="flag"))
    assert outputs.rows("marks") == [
        {
            "reason": None,
            "against": "Weather",
            "similarity": 1.0,
            "flags": ["benchmark_negative:Weather", "contaminated:Weather"],
        }
    ]
    assert outputs.rows("negatives") == []
    assert outputs.receipt["hits"] == {"Weather": {"benchmark_query": 1}}
    assert outputs.receipt["removed"] == 0


def test_the_most_similar_task_is_named_and_ties_go_by_name(bench: Workbench) -> None:
    bench.benchmark("Zeta", queries=[QUERY])
    bench.benchmark("Alpha", queries=[QUERY + "啊"])
    bench.benchmark("Beta", queries=[QUERY, "另一个问题放在这里"])
    marks = bench.run([(QUERY, "晴")]).rows("marks")
    assert marks[0]["against"] == "Beta"
    assert marks[0]["flags"] == ["contaminated:Alpha", "contaminated:Beta", "contaminated:Zeta"]


def test_ties_go_by_task_before_reason(bench: Workbench) -> None:
    bench.benchmark("Zeta", queries=[QUERY])
    bench.benchmark("Alpha", pairs=[("晴", QUERY)])
    mark = bench.run([(QUERY, "晴")]).rows("marks")[0]
    assert (mark["against"], mark["reason"]) == ("Alpha", "benchmark_pair")


def test_code_sides_are_compared_for_equality_only(bench: Workbench) -> None:
    bench.benchmark("Sql", queries=["select name from staff where age > 30 and city = 'beijing'"])
    records: list[Record] = [
        ("问题一", "SELECT name FROM staff WHERE age > 30 AND city = 'beijing'"),
        ("问题二", "SELECT name FROM staff WHERE age > 30 AND city = 'beijing' LIMIT"),
        ("SELECT name FROM staff WHERE age > 30 AND city = 'beijing' LIMIT", "同一段文字在文本一侧"),
    ]
    assert bench.run(records, code_sides={"text_pos"}).reasons == ["benchmark_query", None, "benchmark_query"]
    assert bench.run(records, out="prose").reasons == ["benchmark_query"] * 3


def test_no_benchmarks_and_no_rows(bench: Workbench) -> None:
    outputs = bench.run([("一", "二", ["三"])], [("一", "二")])
    assert outputs.rows("marks") == [{"reason": None, "against": None, "similarity": None, "flags": []}]
    bench.benchmark("Weather", queries=[QUERY])
    empty = bench.run(out="empty")
    assert empty.rows("marks") == []
    assert pl.read_parquet_schema(empty.folder / "marks-00000.parquet").names() == MARK_SCHEMA.names


# --- index ---


def test_index_writes_distinct_keys_with_their_first_place(bench: Workbench) -> None:
    part = {
        "files": {"test": "x"},
        "layout": "jsonl",
        "columns": {"q": "string", "docs": ["string"], "label": {"names": ["no", "yes"]}},
        "texts": [{"role": "query", "text": "q"}, {"role": "positive", "text": "docs", "where": "label = 'yes'"}],
        "pairs": [{"text": "q", "other": "docs", "where": "label = 'yes'"}],
    }
    rows = [
        {"q": "故宫在哪？", "docs": ["北京", "东城"], "label": "yes"},
        {"q": "故宫 在哪", "docs": ["北京。", ""], "label": 1},
        {"q": "长城在哪", "docs": ["北京"], "label": "no"},
        {"q": "", "docs": [], "label": "yes"},
    ]
    receipt = bench.index_rows("Places", part, rows)
    texts = bench.texts("Places").sort("role", "locator").drop("hash").rows()
    assert texts == [
        ("positive", "北京", False, "Places.jsonl#0/0"),
        ("positive", "东城", False, "Places.jsonl#0/1"),
        ("query", "故宫在哪", False, "Places.jsonl#0"),
        ("query", "长城在哪", False, "Places.jsonl#2"),
    ]
    pairs = bench.pairs("Places").drop("hash_a", "hash_b").rows()
    assert pairs == [("故宫在哪", "北京", "Places.jsonl#0/0"), ("故宫在哪", "东城", "Places.jsonl#0/1")]
    assert receipt["texts"] == {"positive": 2, "query": 2}
    assert (receipt["rows"], receipt["pairs"], receipt["empty"]) == (4, 2, 3)


def test_lists_of_a_pair_go_side_by_side(bench: Workbench) -> None:
    part = {
        "files": {"test": "x"},
        "layout": "jsonl",
        "columns": {"a": ["string"], "b": ["string"]},
        "pairs": [{"text": "a", "other": "b"}],
    }
    bench.index_rows("Sts", part, [{"a": ["甲", "乙"], "b": ["丙", "丁"]}])
    assert bench.pairs("Sts").select("key_a", "key_b").rows() == [("甲", "丙"), ("乙", "丁")]
    with pytest.raises(FormatError, match=r"Sts.jsonl#0.*differ in length"):
        bench.index_rows("Sts", part, [{"a": ["甲", "乙"], "b": ["丙"]}])


def test_a_benchmark_without_any_text_is_an_error(bench: Workbench) -> None:
    part = PART | {"texts": [{"role": "query", "text": "q", "where": "n = 2"}]}
    with pytest.raises(CurationError, match="benchmark t: its 1 rows give no text"):
        bench.index_rows("T", part, [{"q": "一", "n": 1}])


PART = {
    "files": {"test": "x"},
    "layout": "jsonl",
    "columns": {"q": "string", "n": "int", "maybe": "string?"},
    "texts": [{"role": "query", "text": "q"}],
}


@pytest.mark.parametrize(
    ("row", "told"),
    [("{", "not JSON"), ({"q": 7, "n": 1}, "q"), ({"n": 1, "q": None}, "q")],
)
def test_a_malformed_benchmark_row_is_an_error(bench: Workbench, row: object, told: str) -> None:
    with pytest.raises(FormatError, match=rf"T.jsonl#1.*{told}"):
        bench.index_rows("T", PART, [{"q": "一", "n": 1}, row, {"q": "三", "n": 1}])


def test_a_null_text_is_an_error(bench: Workbench) -> None:
    part = PART | {"texts": [{"role": "query", "text": "maybe", "where": "n = 1"}]}
    bench.index_rows("T", part, [{"q": "一", "n": 1, "maybe": "二"}, {"q": "三", "n": 0}])
    with pytest.raises(FormatError, match=r"T.jsonl#1: maybe is null"):
        bench.index_rows("T", part, [{"q": "一", "n": 1, "maybe": "二"}, {"q": "三", "n": 1}])


@pytest.mark.parametrize(
    "texts",
    [{"text": "nope"}, {"text": "q ||"}, {"text": "n"}, {"text": "q", "where": "n"}, {"text": "q", "where": "zz = 1"}],
)
def test_a_wrong_expression_is_told_before_reading(bench: Workbench, texts: dict[str, str]) -> None:
    with pytest.raises(CurationError, match=r"benchmark t, parts\[0\]\.texts\[0\]\.(text|where)"):
        bench.index_files("T", [PART | {"texts": [{"role": "query", **texts}]}], [bench.folder / "absent.jsonl"])


# --- a second computation with plain strings ---


CHARACTERS = "天地人山水火日月星风不未3"


def varied(rng: random.Random, text: str) -> str:
    """The text, or one with a character changed, added or taken away."""
    at, kind = rng.randrange(len(text) + 1), rng.randrange(5)
    if kind < 2:
        return text
    added = rng.choice(CHARACTERS) if kind != 4 else ""
    return (text[:at] + added + text[at + (kind != 2) :]) or text


@pytest.mark.parametrize(("seed", "inside"), [(0, False), (1, True)])
def test_agrees_with_plain_string_sets(bench: Workbench, seed: int, inside: bool) -> None:
    rng = random.Random(seed)
    config = DecontaminateConfig(threshold=0.7, min_chars=9, inside_chars=12)
    oracle = Oracle(config)

    def made(low: int = 1, high: int = 34) -> str:
        # No digit at either end: two keys set side by side would otherwise join into another number.
        text = "".join(rng.choice(CHARACTERS) for _ in range(rng.randint(low, high)))
        return "天" + text + "地"

    pool: list[str] = []
    for task in ("A", "B", "C"):
        told = {role: [made() for _ in range(12)] for role in ("queries", "positives", "passages", "joined")}
        pairs = [(made(0, 20), made(0, 20)) for _ in range(25)]
        bench.benchmark(task, **told, pairs=pairs)
        roles = {"queries": "query", "positives": "positive", "passages": "passage", "joined": "query"}
        oracle.texts += [(task, role, key, kind == "joined") for kind, role in roles.items() for key in told[kind]]
        oracle.pairs += [(task, a, b) for a, b in pairs]
        pool += [text for texts in told.values() for text in texts] + [text for pair in pairs for text in pair]
    joined = [key for _, _, key, is_joined in oracle.texts if is_joined]
    records: list[tuple[str, str, list[str]]] = []
    for _ in range(400):
        kind = rng.randrange(6)
        if kind == 0:
            sides = list(rng.choice(oracle.pairs)[1:])
        elif kind == 1:
            text = rng.choice(joined)
            cut = rng.randrange(1, len(text))
            sides = [text[:cut], text[cut:]]
        elif kind == 2:
            sides = [made() + rng.choice(pool) + made(), made()]
        else:
            sides = [rng.choice([rng.choice(pool), made()]) for _ in range(2)]
        rng.shuffle(sides)
        negatives = [varied(rng, rng.choice([rng.choice(pool), made()])) for _ in range(rng.randrange(4))]
        records.append((varied(rng, sides[0]), varied(rng, sides[1]), negatives))
    outputs = bench.run(records, config=config, shard_rows=150, instruction_data=inside)
    marks, negatives = outputs.rows("marks"), outputs.rows("negatives")
    expected = [oracle.judge(*record, inside=inside) for record in records]
    for record, mark, (told, _) in zip(records, marks, expected, strict=True):
        assert mark == told, record
    assert [(n["neg"], n["task"]) for n in negatives] == [pair for _, out in expected for pair in out]
    hit = {mark["reason"] for mark in marks} - {None}
    assert hit >= {"benchmark_query", "benchmark_pair", "benchmark_joined"}
    assert ("benchmark_inside" in hit) == inside
    assert 0.2 < sum(mark["reason"] is None for mark in marks) / len(marks) < 0.8
    assert any(0 < (mark["similarity"] or 0) < 1 for mark in marks)


def test_output_bytes_do_not_depend_on_the_run_or_the_order_of_tasks(bench: Workbench) -> None:
    rng = random.Random(5)
    texts = ["".join(rng.choice(CHARACTERS) for _ in range(12)) for _ in range(300)]
    for task in ("B", "A"):
        bench.benchmark(task, queries=texts[:100], passages=texts[50:150], pairs=pairwise(texts))
    triples = zip(texts, reversed(texts), texts[7:], strict=False)
    records = [(varied(rng, a), varied(rng, b), [c]) for a, b, c in triples]
    digests = set()
    for turn in ("one", "two"):
        outputs = bench.run(records, [(a, b) for a, b, _ in records], out=turn)
        files = sorted(outputs.folder.glob("*.parquet"))
        digests.add(hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest())
        bench.indexes = dict(reversed(bench.indexes.items()))
    assert len(digests) == 1


# --- real slices ---


def plain_key(text: str) -> str:
    """A match key by hand, good for texts without traditional characters: kept are letters, marks, symbols, numbers."""
    folded = unicodedata.normalize("NFKC", text).lower()
    return "".join(c for c in folded if unicodedata.category(c)[0] not in "PZC")


def test_ocnli_train_against_its_dev_sentences(bench: Workbench, real_corpora: Path) -> None:
    columns = {"sentence1": "string", "sentence2": "string"}
    part = {
        "files": {"test": "dev.json"},
        "layout": "jsonl",
        "columns": columns,
        "texts": [{"role": "query", "text": side} for side in columns],
        "pairs": [{"text": "sentence1", "other": "sentence2"}],
    }
    dev, train = real_corpora / "ocnli/raw/dev.json", real_corpora / "ocnli/raw/train.3k.json"
    bench.index_files("Ocnli", [part], [dev])
    rows = [json.loads(line) for line in train.read_text("utf-8").splitlines()]
    records = [(row["sentence1"], row["sentence2"]) for row in rows]
    marks = bench.run(records).rows("marks")

    judged = [json.loads(line) for line in dev.read_text("utf-8").splitlines()]
    pairs = {frozenset((plain_key(row["sentence1"]), plain_key(row["sentence2"]))) for row in judged}
    queries = {plain_key(row[side]) for row in judged for side in columns}
    keys = [(plain_key(a), plain_key(b)) for a, b in records]
    equal = [any(len(key) >= 8 and key in queries for key in pair) or frozenset(pair) in pairs for pair in keys]
    assert [mark["similarity"] == 1.0 for mark in marks] == equal
    near = NearQueries(queries)
    for pair, mark in zip(keys, marks, strict=True):
        best = max(near.best(key) for key in pair)
        # A pair of short sentences may be near where neither sentence counts alone.
        if mark["reason"] != "benchmark_pair":
            assert (mark["similarity"] or 0) == pytest.approx(best), pair
        else:
            assert best < mark["similarity"]


class NearQueries:
    """The most similar query of a key by counting shared shingles in plain dictionaries."""

    def __init__(self, queries: Iterable[str]) -> None:
        self.sets = {k: {query: shingles(query, k) for query in queries if len(query) >= 8} for k in (2, 3)}
        self.holders: dict[str, list[str]] = {}
        for sets in self.sets.values():
            for query, held in sets.items():
                for shingle in held:
                    self.holders.setdefault(shingle, []).append(query)

    def best(self, key: str) -> float:
        similarities = [0.0]
        for k, sets in self.sets.items() if len(key) >= 8 else ():
            own = shingles(key, k)
            shared = Counter(query for shingle in own for query in self.holders.get(shingle, ()))
            for query, count in shared.items():
                jaccard = count / (len(own) + len(sets[query]) - count)
                fits = k == (2 if min(len(key), len(query)) < 20 else 3)
                if fits and jaccard >= 0.8 and Oracle.traits(key) == Oracle.traits(query):
                    similarities.append(jaccard)
        return max(similarities)
