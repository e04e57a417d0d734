"""Rows as the Hub's copies hold them, and the records they must give: written by hand, in the documented columns.

Per corpus: the files at the manifest's own paths, files beside them that nothing may touch, the expected records and
labelled rows, and the row counts. No row here is taken from a corpus.
"""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

#: In place of files that must not be fetched, let alone read.
UNREADABLE = b"nobody may read this"


def parquet(rows: list[dict[str, Any]], schema: pa.Schema, labels: dict[str, list[str]] | None = None) -> bytes:
    """A file as `datasets` writes it: with its ClassLabel names in the metadata, where there are any."""
    if labels is not None:
        told = {
            name: {"_type": "Value", "dtype": str(kind)} for name, kind in zip(schema.names, schema.types, strict=True)
        }
        told |= {name: {"_type": "ClassLabel", "names": names} for name, names in labels.items()}
        schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": told}})})
    made = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), made)
    return made.getvalue()


def jsonl(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def columns(**kinds: pa.DataType) -> pa.Schema:
    return pa.schema(list(kinds.items()))


STRING, INT32, INT64 = pa.string(), pa.int32(), pa.int64()
ANSWERS = pa.struct([("text", pa.list_(STRING)), ("answer_start", pa.list_(INT32))])
ANSWERS_TURNED = pa.struct([("answer_start", pa.list_(INT32)), ("text", pa.list_(STRING))])


@dataclass(frozen=True)
class Record:
    """What convert must write for one pair; `doc` says which records of the corpus share a document."""

    row: str
    text: str
    text_pos: str
    prompt: str = ""
    prompt_pos: str = ""
    sub_source: str = ""
    text_neg: tuple[str, ...] = ()
    quality_score: float | None = None
    doc: str | None = None


@dataclass(frozen=True)
class Judged:
    row: str
    text: str
    other: str
    label: bool


@dataclass(frozen=True)
class Upstream:
    files: dict[str, bytes]
    records: list[Record]
    rows: int
    filtered: int = 0
    labelled: list[Judged] = field(default_factory=list)
    beside: tuple[str, ...] = ()


CORPORA: dict[str, Upstream] = {}

# --- reading comprehension -------------------------------------------------------------------------------------------

BRIDGE = "石桥镇因镇口的一座石拱桥得名。该桥始建于明代，桥长四十二米，一九八五年经过一次大修。"
LIGHTHOUSE = "东山灯塔高二十六米，光程十八海里，由三名守塔人轮流值守。"
CORPORA["cmrc2018"] = Upstream(
    files={
        "data/train-00000-of-00001.parquet": parquet(
            [
                {
                    "id": "TRAIN_1_QUERY_0",
                    "context": BRIDGE,
                    "question": "石桥镇的名字是怎么来的？",
                    "answers": {"text": ["镇口的一座石拱桥"], "answer_start": [4]},
                },
                {
                    "id": "TRAIN_1_QUERY_1",
                    "context": BRIDGE,
                    "question": "桥长多少米？",
                    "answers": {"text": ["四十二米", "四十二"], "answer_start": [26, 26]},
                },
                {
                    "id": "TRAIN_2_QUERY_0",
                    "context": LIGHTHOUSE,
                    "question": "东山灯塔的光程是多少？\u3000",
                    "answers": {"text": ["十八海里"], "answer_start": [12]},
                },
            ],
            columns(id=STRING, context=STRING, question=STRING, answers=ANSWERS),
        )
    },
    records=[
        Record("data/train-00000-of-00001.parquet#0", "石桥镇的名字是怎么来的？", BRIDGE, "问答", doc="bridge"),
        Record("data/train-00000-of-00001.parquet#1", "桥长多少米？", BRIDGE, "问答", doc="bridge"),
        Record("data/train-00000-of-00001.parquet#2", "东山灯塔的光程是多少？", LIGHTHOUSE, "问答", doc="tower"),
    ],
    rows=3,
    beside=("data/validation-00000-of-00001.parquet", "data/test-00000-of-00001.parquet", "README.md"),
)

NORMANS = "诺曼人在十世纪和十一世纪把他们的名字给了诺曼底，那是法国的一个地区。"
CORPORA["mlqa"] = Upstream(
    files={
        "mlqa-translate-train.zh/train/0000.parquet": parquet(
            [
                {
                    "context": NORMANS,
                    "question": "诺曼底位于哪个国家？",
                    "answers": {"answer_start": [28], "text": ["法国"]},
                    "id": "56ddde6b9a695914005b9628",
                },
                {
                    "context": NORMANS,
                    "question": "诺曼人什么时候把名字给了诺曼底？",
                    "answers": {"answer_start": [4], "text": ["十世纪和十一世纪"]},
                    "id": "56ddde6b9a695914005b9629",
                },
            ],
            columns(context=STRING, question=STRING, answers=ANSWERS_TURNED, id=STRING),
        )
    },
    records=[
        Record("mlqa-translate-train.zh/train/0000.parquet#0", "诺曼底位于哪个国家？", NORMANS, "问答", doc="normans"),
        Record(
            "mlqa-translate-train.zh/train/0000.parquet#1",
            "诺曼人什么时候把名字给了诺曼底？",
            NORMANS,
            "问答",
            doc="normans",
        ),
    ],
    rows=2,
    beside=(
        "mlqa-translate-train.zh/validation/0000.parquet",
        "mlqa-translate-train.ar/train/0000.parquet",
        "mlqa.zh.zh/test/0000.parquet",
    ),
)

STEAK = "牛排从冰箱拿出来要先回温，热锅下油，每面煎两分钟，煎好静置五分钟再切。"
CORPORA["dureader_robust"] = Upstream(
    files={
        "plain_text/train/0000.parquet": parquet(
            [
                {
                    "id": "0a25cb4bc1ab6f474c699884e04601e4",
                    "title": "",
                    "context": STEAK,
                    "question": "煎牛排每面几分钟",
                    "answers": {"text": ["两分钟"], "answer_start": [19]},
                },
                {
                    "id": "7de192d6adf7d60ba73ba25cf590cc1e",
                    "title": "",
                    "context": "本店周末营业时间以门口公告为准，欢迎光临。",
                    "question": "附近哪里修手表",
                    "answers": {"text": [], "answer_start": []},
                },
                {
                    "id": "b9e74d4b9228399b03701d1fe6d52940",
                    "title": "",
                    "context": STEAK,
                    "question": "牛排煎好要静置多久",
                    "answers": {"text": ["五分钟", "五分钟"], "answer_start": [27, 27]},
                },
            ],
            columns(id=STRING, title=STRING, context=STRING, question=STRING, answers=ANSWERS),
        )
    },
    records=[
        Record("plain_text/train/0000.parquet#0", "煎牛排每面几分钟", STEAK, "问答", doc="steak"),
        Record("plain_text/train/0000.parquet#2", "牛排煎好要静置多久", STEAK, "问答", doc="steak"),
    ],
    rows=3,
    filtered=1,
    beside=("plain_text/validation/0000.parquet", "plain_text/test/0000.parquet"),
)

# --- instructions ----------------------------------------------------------------------------------------------------

CORPORA["belle_2m"] = Upstream(
    files={
        "train_2M_CN.json": jsonl(
            {"instruction": "写一句劝人早睡的话。\n", "input": "", "output": "夜深了，放下手机，让身体先下班。"},
            {
                "instruction": "把下面的词按笔画多少排序。",
                "input": "山 水 木",
                "output": "山（三画）、水（四画）、木（四画）",
            },
            {"instruction": "列出三种常见的绿叶菜。", "output": "1. 菠菜\n2. 油麦菜\n3. 空心菜"},
        )
    },
    records=[
        Record("train_2M_CN.json#0", "写一句劝人早睡的话。", "夜深了，放下手机，让身体先下班。"),
        Record("train_2M_CN.json#1", "把下面的词按笔画多少排序。\n山 水 木", "山（三画）、水（四画）、木（四画）"),
        Record("train_2M_CN.json#2", "列出三种常见的绿叶菜。", "1. 菠菜\n2. 油麦菜\n3. 空心菜"),
    ],
    rows=3,
    beside=("README.md",),
)

CORPORA["alpaca_gpt4"] = Upstream(
    files={
        "alpaca_gpt4_data_zh.json": json.dumps(
            [
                {
                    "instruction": "说出保持专注的两个办法。",
                    "input": "",
                    "output": "一次只做一件事；把手机放到别的房间。",
                },
                {"instruction": "改正句子里的错别字。", "input": "他再学校门口等我。", "output": "他在学校门口等我。"},
                {"instruction": "解释什么是潮汐。", "input": None, "output": "潮汐是海水在月球和太阳引力下的涨落。"},
                {"instruction": "给小猫起个名字。", "input": "  ", "output": "可以叫它“糯米”。"},
            ],
            ensure_ascii=False,
            indent=4,
        ).encode()
    },
    records=[
        Record("alpaca_gpt4_data_zh.json#0", "说出保持专注的两个办法。", "一次只做一件事；把手机放到别的房间。"),
        Record("alpaca_gpt4_data_zh.json#1", "改正句子里的错别字。\n他再学校门口等我。", "他在学校门口等我。"),
        Record("alpaca_gpt4_data_zh.json#2", "解释什么是潮汐。", "潮汐是海水在月球和太阳引力下的涨落。"),
        Record("alpaca_gpt4_data_zh.json#3", "给小猫起个名字。", "可以叫它“糯米”。"),
    ],
    rows=4,
)

CORPORA["firefly"] = Upstream(
    files={
        "firefly-train-1.1M.jsonl": jsonl(
            {"kind": "NLI", "input": "前提：他在睡觉。假设：他醒着。两句关系是", "target": "矛盾"},
            {"kind": "OpenQA", "input": "为什么树叶秋天会变黄？", "target": "叶绿素分解以后，叶黄素的颜色显了出来。"},
            {"kind": "KeywordRecognition", "input": "找出关键词：秋天的银杏叶", "target": "秋天、银杏叶"},
            {"kind": "SentimentAnalyze", "input": "房间又小又吵。这条评价的态度是", "target": "消极"},
            {"kind": "NER", "input": "张三住在杭州。找出地名", "target": "杭州"},
            {"kind": "TextMatching", "input": "怎么开票；如何开发票。意思相同吗", "target": "是"},
            {"kind": "Couplet", "input": "上联：春风吹柳绿", "target": "下联：夜雨润桃红"},
            {"kind": "Cot", "input": "小明有三个苹果，吃了一个，还剩几个？", "target": "三减一等于二，所以还剩两个。"},
        )
    },
    records=[
        Record("firefly-train-1.1M.jsonl#1", "为什么树叶秋天会变黄？", "叶绿素分解以后，叶黄素的颜色显了出来。"),
        Record("firefly-train-1.1M.jsonl#6", "上联：春风吹柳绿", "下联：夜雨润桃红"),
        Record("firefly-train-1.1M.jsonl#7", "小明有三个苹果，吃了一个，还剩几个？", "三减一等于二，所以还剩两个。"),
    ],
    rows=8,
    filtered=5,
    beside=("task_distribution.png", "len_distribution.png"),
)

# --- questions and answers -------------------------------------------------------------------------------------------


def zhihu(question: str, answer: str, upvotes: str | None) -> dict[str, Any]:
    told = {
        "question_id": 357137.0,
        "answer_id": 914332.0,
        "url": "https://www.zhihu.com/question/357137/answer/914332",
    }
    more = {"upvotes": upvotes, "answer_creation_time": "2019-11-28T12:01:22.000Z"}
    metadata = None if upvotes is None else json.dumps(told | more, ensure_ascii=False)
    return {"INSTRUCTION": question, "RESPONSE": answer, "SOURCE": "Zhihu", "METADATA": metadata}


ZHIHU = columns(INSTRUCTION=STRING, RESPONSE=STRING, SOURCE=STRING, METADATA=STRING)
CORPORA["zhihu_kol"] = Upstream(
    files={
        "data/train-00000-of-00005-a1658dcfc72baa71.parquet": parquet(
            [
                zhihu("第一次养猫要准备什么？", "猫砂盆、猫粮和一个它能躲起来的纸箱就够了。", "赞同 15"),
                zhihu("第一次养猫要准备什么？", "先准备好封窗，别的都可以慢慢买。", "赞同 1.2 万"),
            ],
            ZHIHU,
        ),
        "data/train-00001-of-00005-1b5bb5e1e0bf1c1d.parquet": parquet(
            [
                zhihu("如何坚持跑步？", "把鞋放在门口，先答应自己只跑五分钟。", "赞同"),
                zhihu("为什么海水是咸的？", "河流把岩石里的盐分带进海里，水蒸发了，盐留了下来。", None),
            ],
            ZHIHU,
        ),
    },
    records=[
        Record(
            "data/train-00000-of-00005-a1658dcfc72baa71.parquet#0",
            "第一次养猫要准备什么？",
            "猫砂盆、猫粮和一个它能躲起来的纸箱就够了。",
            "问答",
            quality_score=15.0,
        ),
        Record(
            "data/train-00000-of-00005-a1658dcfc72baa71.parquet#1",
            "第一次养猫要准备什么？",
            "先准备好封窗，别的都可以慢慢买。",
            "问答",
            quality_score=12000.0,
        ),
        Record(
            "data/train-00001-of-00005-1b5bb5e1e0bf1c1d.parquet#0",
            "如何坚持跑步？",
            "把鞋放在门口，先答应自己只跑五分钟。",
            "问答",
            quality_score=0.0,
        ),
        Record(
            "data/train-00001-of-00005-1b5bb5e1e0bf1c1d.parquet#1",
            "为什么海水是咸的？",
            "河流把岩石里的盐分带进海里，水蒸发了，盐留了下来。",
            "问答",
        ),
    ],
    rows=4,
)


def hc3(question: str, human: list[str], chatgpt: list[str]) -> bytes:
    return jsonl({"question": question, "human_answers": human, "chatgpt_answers": chatgpt})


CORPORA["hc3_chinese"] = Upstream(
    files={
        "baike.jsonl": hc3("什么是季风？", ["随季节改变方向的风。", ""], ["季风是随季节变换风向的大范围风系。"]),
        "finance.jsonl": hc3("定期存款能提前取吗？", ["可以，利息按活期算。"], ["可以提前支取，但会损失利息。"]),
        "law.jsonl": hc3("借条没写日期有效吗？", ["一般有效。", "有效，但最好补上日期。"], []),
        "medicine.jsonl": hc3(
            "感冒要不要吃抗生素？", ["多数感冒由病毒引起，不需要。"], ["通常不需要，请听医生的意见。"]
        ),
        "nlpcc_dbqa.jsonl": hc3("长江全长多少公里？", ["长江全长六千三百余公里。"], ["大约六千三百公里。"]),
        "open_qa.jsonl": hc3("怎样去除茶渍？", ["用小苏打擦洗。"], ["可以用小苏打或者柠檬汁擦洗。"]),
        "psychology.jsonl": hc3("总是失眠怎么办？", [], ["建议固定起床时间，睡前少看手机。"]),
    },
    records=[
        Record("open_qa.jsonl#0/0", "怎样去除茶渍？", "用小苏打擦洗。", "问答", sub_source="open_qa"),
        Record("open_qa.jsonl#0/1", "怎样去除茶渍？", "可以用小苏打或者柠檬汁擦洗。", "问答", sub_source="open_qa"),
        Record("baike.jsonl#0/0", "什么是季风？", "随季节改变方向的风。", "问答", sub_source="baike"),
        Record("baike.jsonl#0/1", "什么是季风？", "", "问答", sub_source="baike"),
        Record("baike.jsonl#0/2", "什么是季风？", "季风是随季节变换风向的大范围风系。", "问答", sub_source="baike"),
        Record(
            "nlpcc_dbqa.jsonl#0/0", "长江全长多少公里？", "长江全长六千三百余公里。", "问答", sub_source="nlpcc_dbqa"
        ),
        Record("nlpcc_dbqa.jsonl#0/1", "长江全长多少公里？", "大约六千三百公里。", "问答", sub_source="nlpcc_dbqa"),
        Record(
            "psychology.jsonl#0/0",
            "总是失眠怎么办？",
            "建议固定起床时间，睡前少看手机。",
            "问答",
            sub_source="psychology",
        ),
        Record(
            "medicine.jsonl#0/0", "感冒要不要吃抗生素？", "多数感冒由病毒引起，不需要。", "问答", sub_source="medicine"
        ),
        Record(
            "medicine.jsonl#0/1", "感冒要不要吃抗生素？", "通常不需要，请听医生的意见。", "问答", sub_source="medicine"
        ),
        Record("finance.jsonl#0/0", "定期存款能提前取吗？", "可以，利息按活期算。", "问答", sub_source="finance"),
        Record(
            "finance.jsonl#0/1", "定期存款能提前取吗？", "可以提前支取，但会损失利息。", "问答", sub_source="finance"
        ),
        Record("law.jsonl#0/0", "借条没写日期有效吗？", "一般有效。", "问答", sub_source="law"),
        Record("law.jsonl#0/1", "借条没写日期有效吗？", "有效，但最好补上日期。", "问答", sub_source="law"),
    ],
    rows=7,
    beside=("all.jsonl", "HC3-Chinese.py"),
)

CORPORA["chatmed_consult"] = Upstream(
    files={
        "ChatMed_Consult-v0.3.json": jsonl(
            {"query": "最近总是落枕，脖子转不动怎么办？", "response": "建议先热敷，并换一个高度合适的枕头。"},
            {
                "query": "<s>问：\n孩子三岁，晚上磨牙，需要看医生吗？\n答：\n",
                "response": "偶尔磨牙不必紧张，可以先观察。",
            },
        )
    },
    records=[
        Record(
            "ChatMed_Consult-v0.3.json#0",
            "最近总是落枕，脖子转不动怎么办？",
            "建议先热敷，并换一个高度合适的枕头。",
            "问答",
        ),
        Record(
            "ChatMed_Consult-v0.3.json#1",
            "孩子三岁，晚上磨牙，需要看医生吗？",
            "偶尔磨牙不必紧张，可以先观察。",
            "问答",
        ),
    ],
    rows=2,
)

CORPORA["webqa"] = Upstream(
    files={
        "train.json": jsonl(
            {
                "id": "Q_TRN_000001",
                "input": "世界上最大的淡水湖是哪个",
                "output": "按面积算，苏必利尔湖是最大的淡水湖。",
            },
            {"id": "Q_TRN_000002", "input": "京剧里的花旦是什么角色", "output": "花旦是京剧里活泼的年轻女子。"},
        )
    },
    records=[
        Record("train.json#0", "世界上最大的淡水湖是哪个", "按面积算，苏必利尔湖是最大的淡水湖。", "问答"),
        Record("train.json#1", "京剧里的花旦是什么角色", "花旦是京剧里活泼的年轻女子。", "问答"),
    ],
    rows=2,
    beside=("dev.json", "test.json"),
)

# --- titles and texts ------------------------------------------------------------------------------------------------


def review(number: int, text: str) -> dict[str, Any]:
    return {"id": f"zh_{number:07}", "text": text, "label": 0, "label_text": "0"}


CORPORA["amazon_reviews_multi"] = Upstream(
    files={
        "zh/train.jsonl": jsonl(
            review(1, "不值这个价\n\n拉链用了两天就坏了，客服一直不回复。"),
            review(2, "好书\n\n第一章有点慢。\n\n后面一口气读完。"),
            review(3, "只有一行，没有标题的评论。"),
            review(4, "\n\n标题是空的。"),
            review(5, "正文是空的\n\n"),
        )
    },
    records=[
        Record("zh/train.jsonl#0", "不值这个价", "拉链用了两天就坏了，客服一直不回复。", "摘要"),
        Record("zh/train.jsonl#1", "好书", "第一章有点慢。\n\n后面一口气读完。", "摘要"),
    ],
    rows=5,
    filtered=3,
    beside=("zh/validation.jsonl", "zh/test.jsonl", "en/train.jsonl", "amazon_reviews_multi.py"),
)

FLOOD = "连日暴雨以后，沿河三个村庄的居民被转移到镇上的学校。当地气象部门说，降雨还会持续两天，请大家不要涉水过河。"
XLSUM_COLUMNS = columns(id=STRING, url=STRING, title=STRING, summary=STRING, text=STRING)
CORPORA["xlsum"] = Upstream(
    files={
        "chinese_simplified/train/0000.parquet": parquet(
            [
                {
                    "id": "world-1001",
                    "url": "https://example.org/world-1001",
                    "title": "暴雨过后 三个村庄紧急转移",
                    "summary": "沿河三个村庄的居民因连日暴雨被转移。",
                    "text": FLOOD,
                },
                {
                    "id": "science-1002",
                    "url": "https://example.org/science-1002",
                    "title": "古老化石改写鸟类历史",
                    "summary": "一块新发现的化石把鸟类的出现提前了一千万年。",
                    "text": "研究人员在湖底的岩层里找到一块保存完好的化石。\n\n它的羽毛清晰可见。",
                },
            ],
            XLSUM_COLUMNS,
        )
    },
    records=[
        Record(
            "chinese_simplified/train/0000.parquet#0/0",
            "暴雨过后 三个村庄紧急转移",
            "沿河三个村庄的居民因连日暴雨被转移。",
            "摘要",
            doc="flood",
        ),
        Record("chinese_simplified/train/0000.parquet#0/1", "暴雨过后 三个村庄紧急转移", FLOOD, "摘要", doc="flood"),
        Record(
            "chinese_simplified/train/0000.parquet#1/0",
            "古老化石改写鸟类历史",
            "一块新发现的化石把鸟类的出现提前了一千万年。",
            "摘要",
            doc="fossil",
        ),
        Record(
            "chinese_simplified/train/0000.parquet#1/1",
            "古老化石改写鸟类历史",
            "研究人员在湖底的岩层里找到一块保存完好的化石。\n\n它的羽毛清晰可见。",
            "摘要",
            doc="fossil",
        ),
    ],
    rows=2,
    beside=(
        "chinese_simplified/validation/0000.parquet",
        "chinese_simplified/test/0000.parquet",
        "chinese_traditional/train/0000.parquet",
    ),
)


def paper(number: int, title: str, abstract: str) -> dict[str, Any]:
    told = {"doc_id": f"csl-{number}", "title": title, "abstract": abstract, "keywords": ["土壤", "含水率"]}
    return told | {
        "category": "农学",
        "category_eng": "Agronomy",
        "discipline": "农业工程",
        "discipline_eng": "Engineering",
    }


CORPORA["csl"] = Upstream(
    files={
        "data/csl.jsonl.gz": gzip.compress(
            jsonl(
                paper(0, "土壤含水率的快速测定方法", "为缩短测定时间，提出一种基于介电常数的方法，误差小于百分之二。"),
                paper(1, "山区小流域洪水预报模型", "针对资料缺乏的小流域，建立了以雨量为输入的预报模型。"),
            ),
            mtime=0,
        )
    },
    records=[
        Record(
            "data/csl.jsonl.gz#0",
            "土壤含水率的快速测定方法",
            "为缩短测定时间，提出一种基于介电常数的方法，误差小于百分之二。",
            "摘要",
        ),
        Record(
            "data/csl.jsonl.gz#1",
            "山区小流域洪水预报模型",
            "针对资料缺乏的小流域，建立了以雨量为输入的预报模型。",
            "摘要",
        ),
    ],
    rows=2,
    beside=("data/csl.gt.063023.jsonl.gz", "csl.py"),
)


def passage(docid: str, title: str, text: str) -> dict[str, Any]:
    return {"docid": docid, "title": title, "text": text}


CORPORA["miracl-corpus"] = Upstream(
    files={
        "miracl-corpus-v1.0-zh/docs-0.jsonl.gz": gzip.compress(
            jsonl(
                passage("13#0", "石榴", "石榴是一种落叶灌木，果实多籽，原产西亚。"),
                passage("13#1", "石榴", "二十世纪以来，主要产地的产量增加了三倍。"),
                passage("13#10", "石榴", "参见园艺植物列表。"),
            ),
            mtime=0,
        ),
        "miracl-corpus-v1.0-zh/docs-1.jsonl.gz": gzip.compress(
            jsonl(
                passage("130#0", "鐵路橋樑", "鐵路橋樑是供火車通過的橋樑，多以鋼材建造。"),
                passage("131#0", "云海", "云海是从高处看到的成片低云。"),
            ),
            mtime=0,
        ),
    },
    records=[
        Record("miracl-corpus-v1.0-zh/docs-0.jsonl.gz#0", "石榴", "石榴是一种落叶灌木，果实多籽，原产西亚。", "摘要"),
        Record(
            "miracl-corpus-v1.0-zh/docs-1.jsonl.gz#0", "铁路桥梁", "铁路桥梁是供火车通过的桥梁，多以钢材建造。", "摘要"
        ),
        Record("miracl-corpus-v1.0-zh/docs-1.jsonl.gz#1", "云海", "云海是从高处看到的成片低云。", "摘要"),
    ],
    rows=5,
    filtered=2,
    beside=("miracl-corpus-v1.0-en/docs-0.jsonl.gz", "miracl-corpus.py"),
)

# --- pairs of sentences ----------------------------------------------------------------------------------------------

OCNLI = "ocnli/train-00000-of-00001.parquet"
NLI_LABELS = ["neutral", "entailment", "contradiction"]
NLI_ROWS = [
    {"sentence1": "他每天坐地铁上班", "sentence2": "他上班用公共交通", "label": 1, "idx": 0},
    {"sentence1": "他每天坐地铁上班", "sentence2": "他住得离公司很远", "label": 0, "idx": 1},
    {"sentence1": "他每天坐地铁上班", "sentence2": "他从不坐地铁", "label": 2, "idx": 2},
    {"sentence1": "会议改到了下午三点", "sentence2": "会议不在原来的时间开", "label": 1, "idx": 3},
    {"sentence1": "他每天坐地铁上班", "sentence2": "他有工作", "label": 1, "idx": 4},
]
NLI_COLUMNS = columns(sentence1=STRING, sentence2=STRING, label=INT64, idx=INT32)
CORPORA["ocnli"] = Upstream(
    files={OCNLI: parquet(NLI_ROWS, NLI_COLUMNS, {"label": NLI_LABELS})},
    records=[
        Record(f"{OCNLI}#0", "他每天坐地铁上班", "他上班用公共交通", "推理", "推理", doc="metro"),
        Record(f"{OCNLI}#3", "会议改到了下午三点", "会议不在原来的时间开", "推理", "推理", doc="meeting"),
        Record(f"{OCNLI}#4", "他每天坐地铁上班", "他有工作", "推理", "推理", doc="metro"),
    ],
    labelled=[
        Judged(f"{OCNLI}#0", "他每天坐地铁上班", "他上班用公共交通", True),
        Judged(f"{OCNLI}#1", "他每天坐地铁上班", "他住得离公司很远", False),
        Judged(f"{OCNLI}#2", "他每天坐地铁上班", "他从不坐地铁", False),
        Judged(f"{OCNLI}#3", "会议改到了下午三点", "会议不在原来的时间开", True),
        Judged(f"{OCNLI}#4", "他每天坐地铁上班", "他有工作", True),
    ],
    rows=5,
    filtered=0,
    beside=(
        "ocnli/validation-00000-of-00001.parquet",
        "ocnli/test-00000-of-00001.parquet",
        "cmnli/train-00000-of-00001.parquet",
    ),
)

CORPORA["bq"] = Upstream(
    files={
        "BQ/train/0000.parquet": parquet(
            [
                {"sentence1": "什么时候还款？", "sentence2": "还款日是哪天", "label": 1},
                {"sentence1": "什么时候还款？", "sentence2": "怎么提前还款", "label": 0},
                {"sentence1": "额度能提高吗", "sentence2": "可以提额吗", "label": 1},
            ],
            columns(sentence1=STRING, sentence2=STRING, label=INT32),
        )
    },
    records=[
        Record("BQ/train/0000.parquet#0", "什么时候还款？", "还款日是哪天", "相似", "相似"),
        Record("BQ/train/0000.parquet#2", "额度能提高吗", "可以提额吗", "相似", "相似"),
    ],
    labelled=[
        Judged("BQ/train/0000.parquet#0", "什么时候还款？", "还款日是哪天", True),
        Judged("BQ/train/0000.parquet#1", "什么时候还款？", "怎么提前还款", False),
        Judged("BQ/train/0000.parquet#2", "额度能提高吗", "可以提额吗", True),
    ],
    rows=3,
    beside=("BQ/validation/0000.parquet", "BQ/test/0000.parquet", "ATEC/train/0000.parquet"),
)

CORPORA["lcqmc"] = Upstream(
    files={
        "LCQMC/train/0000.parquet": parquet(
            [
                {"sentence1": "喜欢打篮球的男生喜欢什么样的女生", "sentence2": "打球的男孩喜欢哪种女孩", "label": 1},
                {"sentence1": "我手机丢了，想换个手机", "sentence2": "我想换个手机号", "label": 0},
            ],
            columns(sentence1=STRING, sentence2=STRING, label=INT64),
        )
    },
    records=[
        Record(
            "LCQMC/train/0000.parquet#0",
            "喜欢打篮球的男生喜欢什么样的女生",
            "打球的男孩喜欢哪种女孩",
            "相似",
            "相似",
        )
    ],
    labelled=[
        Judged("LCQMC/train/0000.parquet#0", "喜欢打篮球的男生喜欢什么样的女生", "打球的男孩喜欢哪种女孩", True),
        Judged("LCQMC/train/0000.parquet#1", "我手机丢了，想换个手机", "我想换个手机号", False),
    ],
    rows=2,
    beside=("LCQMC/validation/0000.parquet", "LCQMC/test/0000.parquet"),
)

PAWS = "zh/train-00000-of-00001.parquet"
CORPORA["paws-x"] = Upstream(
    files={
        PAWS: parquet(
            [
                {"id": 1, "sentence1": "这座塔由两位工匠建成。", "sentence2": "两位工匠建成了这座塔。", "label": 1},
                {"id": 2, "sentence1": "甲队在决赛中击败了乙队。", "sentence2": "乙队在决赛中击败了甲队。", "label": 0},
                {"id": 3, "sentence1": "河流向东流入湖中。", "sentence2": "河流向东流入湖中。", "label": 1},
            ],
            columns(id=INT32, sentence1=STRING, sentence2=STRING, label=INT64),
            {"label": ["0", "1"]},
        )
    },
    records=[
        Record(f"{PAWS}#0", "这座塔由两位工匠建成。", "两位工匠建成了这座塔。", "相似", "相似"),
        Record(f"{PAWS}#2", "河流向东流入湖中。", "河流向东流入湖中。", "相似", "相似"),
    ],
    labelled=[
        Judged(f"{PAWS}#0", "这座塔由两位工匠建成。", "两位工匠建成了这座塔。", True),
        Judged(f"{PAWS}#1", "甲队在决赛中击败了乙队。", "乙队在决赛中击败了甲队。", False),
        Judged(f"{PAWS}#2", "河流向东流入湖中。", "河流向东流入湖中。", True),
    ],
    rows=3,
    beside=(
        "zh/validation-00000-of-00001.parquet",
        "zh/test-00000-of-00001.parquet",
        "en/train-00000-of-00001.parquet",
    ),
)


def edit(number: int, base: str, phrase: str, edited: str) -> dict[str, Any]:
    """`edited` keeps the newline of its line, as the script that made the files left it."""
    return {"id": number, "base_sentence": base, "phrase": phrase, "edited_sentence": edited + "\n"}


INSERTIONS = [
    edit(0, "他 于 1990 年  出生 在 一个 小镇 。", "北方", "他 于 1990 年  出生 在 北方 一个 小镇 。"),
    edit(1, "車站 位於 市區 的 東側 。", "舊", "舊 車站 位於 市區 的 東側 。"),
    edit(2, "他 去世 了 。", "因为 长期 患病 并且 没有 得到 治疗", "他 因为 长期 患病 并且 没有 得到 治疗 去世 了 。"),
    edit(3, "该  片 由 BBC News 制作 ， 共 六 集 。", "今年", "该  片 今年 由 BBC News 制作 ， 共 六 集 。"),
]
DELETIONS = [
    edit(0, "这 条 河 其实 全长 约 三百 公里 。", "其实", "这 条 河 全长 约 三百 公里 。"),
    edit(1, "校园 很 大 ， 有 三 座 食堂 和 一 座 图书馆 。", "有 三 座 食堂 和 一 座 图书馆", "校园 很 大 。"),
]
EDITS = columns(id=INT32, base_sentence=STRING, phrase=STRING, edited_sentence=STRING)
INSERTED, DELETED = "chinese_insertions/train/0000.parquet", "chinese_deletions/train/0000.parquet"
#: (row of its file, text, text_pos)
INSERTED_PAIRS = [
    (0, "他于 1990 年出生在一个小镇。", "他于 1990 年出生在北方一个小镇。"),
    (1, "车站位于市区的东侧。", "旧车站位于市区的东侧。"),
    (3, "该片由 BBC News 制作，共六集。", "该片今年由 BBC News 制作，共六集。"),
]
DELETED_PAIRS = [(0, "这条河其实全长约三百公里。", "这条河全长约三百公里。")]
CORPORA["wiki_atomic_edit"] = Upstream(
    files={INSERTED: parquet(INSERTIONS, EDITS), DELETED: parquet(DELETIONS, EDITS)},
    records=[
        *(Record(f"{INSERTED}#{at}", text, other, "相似", "相似") for at, text, other in INSERTED_PAIRS),
        *(Record(f"{DELETED}#{at}", text, other, "相似", "相似") for at, text, other in DELETED_PAIRS),
    ],
    rows=6,
    filtered=2,
    beside=("english_insertions/train/0000.parquet", "german_deletions/train/0000.parquet"),
)

# --- where the Hub cannot be had: the members of the archives and files named as alternates --------------------------


def squad(context: str, *questions: tuple[str, str, list[str]], title: str | None = None) -> bytes:
    asked = [
        {"id": number, "question": question, "answers": [{"text": text, "answer_start": 0} for text in answers]}
        for number, question, answers in questions
    ]
    article: dict[str, Any] = {"paragraphs": [{"context": context, "qas": asked}]}
    return json.dumps({"data": [article | ({"title": title} if title else {})]}, ensure_ascii=False).encode()


def tsv(rows: list[dict[str, Any]]) -> bytes:
    lines = ["original_sentence\tphrase\tedited_sentence\n"]
    lines += ["\t".join((row["base_sentence"], row["phrase"], row["edited_sentence"])) for row in rows]
    return gzip.compress("".join(lines).encode(), mtime=0)


_MLQA = "mlqa-translate-train.tar.gz!mlqa-translate-train/zh_squad-translate-train-train-v1.1.json"
_DUREADER = "dureader_robust-data.tar.gz!dureader_robust-data/train.json"
#: By corpus: what its first alternate gives.
ALTERNATES: dict[str, Upstream] = {
    "mlqa": Upstream(
        files={_MLQA: squad(NORMANS, ("a1", "诺曼底位于哪个国家？", ["法国"]), title="Normans")},
        records=[Record(f"{_MLQA}#0", "诺曼底位于哪个国家？", NORMANS, "问答")],
        rows=1,
    ),
    "dureader_robust": Upstream(
        files={
            _DUREADER: squad(
                STEAK,
                ("a1", "煎牛排每面几分钟", ["两分钟"]),
                ("a2", "附近哪里修手表", []),
                ("a3", "静置多久", ["五分钟"]),
            )
        },
        records=[
            Record(f"{_DUREADER}#0", "煎牛排每面几分钟", STEAK, "问答", doc="steak"),
            Record(f"{_DUREADER}#2", "静置多久", STEAK, "问答", doc="steak"),
        ],
        rows=3,
        filtered=1,
    ),
    "wiki_atomic_edit": Upstream(
        files={"insertions.tsv.gz": tsv(INSERTIONS), "deletions.tsv.gz": tsv(DELETIONS)},
        records=[  # row 0 is the line of column names
            *(Record(f"insertions.tsv.gz#{at + 1}", text, other, "相似", "相似") for at, text, other in INSERTED_PAIRS),
            *(Record(f"deletions.tsv.gz#{at + 1}", text, other, "相似", "相似") for at, text, other in DELETED_PAIRS),
        ],
        rows=8,
        filtered=4,
    ),
}
