"""The shipped benchmarks: rows in each upstream layout, served at the manifest's own commit and paths, become the index.

The rows are written here; what must come of them is written beside them, as match keys. The table of sources is that of
the mteb 2.26.24 wheel (reranking: mteb 1.12) and of uniem's MTEB-zh.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.decontaminate import decontaminate, protect
from pipeline.manifest.benchmark import Benchmark
from pipeline.manifest.catalog import read_catalog
from pipeline.manifest.settings import DecontaminateConfig
from pipeline.record import TEXT_SCHEMA
from pipeline.shards import read_shards, write_parquet
from tests.command import python
from tests.hub_double import HubDouble

RETRIEVAL = [
    *("T2Retrieval", "MMarcoRetrieval", "DuRetrieval", "CovidRetrieval"),
    *("CmedqaRetrieval", "EcomRetrieval", "MedicalRetrieval", "VideoRetrieval"),
]
RERANKING = ["T2Reranking", "MMarcoReranking", "CMedQAv1-reranking", "CMedQAv2-reranking"]
PAIR_CLASSIFICATION = ["Ocnli", "Cmnli"]
CLUSTERING = ["CLSClusteringS2S", "CLSClusteringP2P", "ThuNewsClusteringS2S", "ThuNewsClusteringP2P"]
STS = ["LCQMC", "PAWSX", "AFQMC", "QBQTC", "ATEC", "BQ", "STSB"]
CLASSIFICATION = ["TNews", "IFlyTek", "Waimai", "OnlineShopping", "JDReview", "MultilingualSentiment"]
CMTEB = [*RETRIEVAL, *RERANKING, *PAIR_CLASSIFICATION, *CLUSTERING, *STS, *CLASSIFICATION]
ENGLISH_RETRIEVAL = {
    "ArguAna": "mteb/arguana",
    "AskUbuntuDupQuestions": "mteb/AskUbuntuDupQuestions",
    "CQADupstackGamingRetrieval": "mteb/cqadupstack-gaming",
    "CQADupstackUnixRetrieval": "mteb/cqadupstack-unix",
    "ClimateFEVERHardNegatives": "mteb/ClimateFEVER_test_top_250_only_w_correct-v2",
    "FEVERHardNegatives": "mteb/FEVER_test_top_250_only_w_correct-v2",
    "FiQA2018": "mteb/fiqa",
    "HotpotQAHardNegatives": "mteb/HotpotQA_test_top_250_only_w_correct-v2",
    "MindSmallReranking": "mteb/MindSmallReranking",
    "SCIDOCS": "mteb/scidocs",
    "TRECCOVID": "mteb/trec-covid",
    "Touche2020Retrieval.v3": "mteb/webis-touche2020-v3",
}
ENGLISH_CLUSTERING = {
    "ArXivHierarchicalClusteringP2P": "mteb/arxiv-clustering-p2p",
    "ArXivHierarchicalClusteringS2S": "mteb/arxiv-clustering-s2s",
    "MedrxivClusteringP2P.v2": "mteb/medrxiv-clustering-p2p",
    "MedrxivClusteringS2S.v2": "mteb/medrxiv-clustering-s2s",
    "StackExchangeClustering.v2": "mteb/stackexchange-clustering",
    "StackExchangeClusteringP2P.v2": "mteb/stackexchange-clustering-p2p",
    "TwentyNewsgroupsClustering.v2": "mteb/twentynewsgroups-clustering",
}
ENGLISH_STS = {
    "BIOSSES": "mteb/biosses-sts",
    "SICK-R": "mteb/sickr-sts",
    "STS12": "mteb/sts12-sts",
    "STS13": "mteb/sts13-sts",
    "STS14": "mteb/sts14-sts",
    "STS15": "mteb/sts15-sts",
    "STSBenchmark": "mteb/stsbenchmark-sts",
}
ENGLISH_PAIRS = {
    "SprintDuplicateQuestions": "mteb/sprintduplicatequestions-pairclassification",
    "TwitterSemEval2015": "mteb/twittersemeval2015-pairclassification",
    "TwitterURLCorpus": "mteb/twitterurlcorpus-pairclassification",
}
ENGLISH_CLASSIFICATION = {
    "Banking77Classification": "mteb/banking77",
    "ImdbClassification": "mteb/imdb",
    "ToxicConversationsClassification": "mteb/toxic_conversations_50k",
    "TweetSentimentExtractionClassification": "mteb/tweet_sentiment_extraction",
}
ENGLISH_OTHERS = {
    "AmazonCounterfactualClassification": "mteb/amazon_counterfactual",
    "MTOPDomainClassification": "mteb/MTOPDomainClassification",
    "MassiveIntentClassification": "mteb/amazon_massive_intent",
    "MassiveScenarioClassification": "mteb/amazon_massive_scenario",
    "STS17": "mteb/sts17-crosslingual-sts",
    "STS22.v2": "mteb/sts22-crosslingual-sts",
    "BiorxivClusteringP2P.v2": "mteb/biorxiv-clustering-p2p",
    "SummEvalSummarization.v2": "mteb/summeval",
}
ENGLISH = {
    **ENGLISH_RETRIEVAL,
    **ENGLISH_CLUSTERING,
    **ENGLISH_STS,
    **ENGLISH_PAIRS,
    **ENGLISH_CLASSIFICATION,
    **ENGLISH_OTHERS,
}
MTEB_ZH = ["TNews", "JDIphone", "GubaEastmony", "TYQSentiment", "StockComSentiment", "IFlyTek", "T2Ranking"]

#: task: repository, commit (null: the newest of the Hub's parquet conversion), evaluated splits.
SOURCES = {
    "T2Retrieval": ("mteb/T2Retrieval", "cf778c0ea4168ec5174a34d888d6453e4cde9222", "dev"),
    "MMarcoRetrieval": ("mteb/MMarcoRetrieval", "4940a7b26bf53463cfe3435bb8e201963e9c31ae", "dev"),
    "DuRetrieval": ("mteb/DuRetrieval", "313c81b51311893c8fd09ca432f96b841ed0ebb3", "dev"),
    "CovidRetrieval": ("mteb/CovidRetrieval", "9c6dc4b276bb47c3ff725bbc5ffcafd56dded38b", "dev"),
    "CmedqaRetrieval": ("mteb/CmedqaRetrieval", "c476f85bf03d6642ec66bf54b9a551c88108bbb4", "dev"),
    "EcomRetrieval": ("mteb/EcomRetrieval", "fa705ce5418e91636b1eaeaf43f34c15aa3f5a8a", "dev"),
    "MedicalRetrieval": ("mteb/MedicalRetrieval", "023ae3b2c6b96f583c4ff9b3f9239c93f7885c20", "dev"),
    "VideoRetrieval": ("mteb/VideoRetrieval", "146a9d5e4fd7a9c182b6b92cccb6a3753994305c", "dev"),
    "T2Reranking": ("mteb/T2Reranking", "a34fe6bc0dff185af1228e49a0f6fb1de1565627", "dev"),
    "MMarcoReranking": ("mteb/MMarcoReranking", "91c0f9d5cbd4cdc7ecd7039c5c2e57740cb62b00", "dev"),
    "CMedQAv1-reranking": ("mteb/CMedQAv1-reranking", "f77f0345c9b6ac0a2447a3a71483d5b27393cb35", "test"),
    "CMedQAv2-reranking": ("mteb/CMedQAv2-reranking", "01399b6956a4c6bf9edc5b6b90e176aeeb399686", "test"),
    "Ocnli": ("C-MTEB/OCNLI", "66e76a618a34d6d565d5538088562851e6daa7ec", "validation"),
    "Cmnli": ("C-MTEB/CMNLI", "41bc36f332156f7adc9e38f53777c959b2ae9766", "validation"),
    "CLSClusteringS2S": ("C-MTEB/CLSClusteringS2S", "e458b3f5414b62b7f9f83499ac1f5497ae2e869f", "test"),
    "CLSClusteringP2P": ("C-MTEB/CLSClusteringP2P", "4b6227591c6c1a73bc76b1055f3b7f3588e72476", "test"),
    "ThuNewsClusteringS2S": ("C-MTEB/ThuNewsClusteringS2S", "8a8b2caeda43f39e13c4bc5bea0f8a667896e10d", "test"),
    "ThuNewsClusteringP2P": ("C-MTEB/ThuNewsClusteringP2P", "5798586b105c0434e4f0fe5e767abe619442cf93", "test"),
    "LCQMC": ("C-MTEB/LCQMC", "17f9b096f80380fce5ed12a9be8be7784b337daf", "test"),
    "PAWSX": ("mteb/PAWSX", "bd129d4230ee0551b5469c566bced8da75abae0a", "test"),
    "AFQMC": ("C-MTEB/AFQMC", "b44c3b011063adb25877c13823db83bb193913c4", "validation"),
    "QBQTC": ("C-MTEB/QBQTC", "790b0510dc52b1553e8c49f3d2afb48c0e5c48b7", "test"),
    "ATEC": ("C-MTEB/ATEC", "0f319b1142f28d00e055a6770f3f726ae9b7d865", "test"),
    "BQ": ("C-MTEB/BQ", "e3dda5e115e487b39ec7e618c0c6a29137052a55", "test"),
    "STSB": ("mteb/STSB", "e036defee8f190911de6fc825a944b928c8cda53", "test"),
    "TNews": ("C-MTEB/TNews-classification", "317f262bf1e6126357bbe89e875451e4b0938fe4", "validation"),
    "IFlyTek": ("C-MTEB/IFlyTek-classification", "421605374b29664c5fc098418fe20ada9bd55f8a", "validation"),
    "Waimai": ("C-MTEB/waimai-classification", "339287def212450dcaa9df8c22bf93e9980c7023", "test"),
    "OnlineShopping": ("C-MTEB/OnlineShopping-classification", "e610f2ebd179a8fda30ae534c3878750a96db120", "test"),
    "JDReview": ("C-MTEB/JDReview-classification", "b7c64bd89eb87f8ded463478346f76731f07bf8b", "test"),
    "MultilingualSentiment": (
        "C-MTEB/MultilingualSentiment-classification",
        "46958b007a63fdbf239b7672c25d0bea67b5ea1a",
        "validation test",
    ),
    "JDIphone": ("kuroneko5943/jd21", None, "validation"),
    "StockComSentiment": ("kuroneko5943/stock11", None, "validation"),
    "GubaEastmony": ("Fearao/guba_eastmoney", None, "test"),
    "TYQSentiment": ("tyqiangz/multilingual-sentiments", None, "validation"),
    "T2Ranking": ("THUIR/T2Ranking", "1e3ceeea18566e50fc79159449739315d60ac554", "dev"),
    **{task: (repo, None, "test") for task, repo in ENGLISH.items()},
}
CONVERSION = "refs/convert/parquet"

Rows = Sequence[Mapping[str, Any]]
#: (role, match key, joined)
Text = tuple[str, str, bool]


@dataclass(frozen=True)
class Upstream:
    """A repository as its layout has it, and the index that must come of it. `unread` are files nobody may ask for."""

    files: Mapping[str, Rows | bytes]
    unread: Mapping[str, Rows | bytes]
    texts: set[Text]
    pairs: set[tuple[str, str]]


QUERIES = [
    {"_id": "q1", "text": "如何申请公积金贷款？"},
    {"_id": "q2", "text": "ＷＩＦＩ 連不上"},
    {"_id": "q3", "text": "没有任何判断提到这个问题"},
]
PASSAGES = [
    {"_id": "d1", "text": "公积金贷款：先到柜台登记，再等 3.5 天。", "title": ""},
    {"_id": "d2", "text": "路由器重启之后，再看看密码。", "title": ""},
    {"_id": "d3", "text": "谁也没有判断过的一段文字。", "title": "标题"},
]
JUDGED = [
    {"query-id": "q1", "corpus-id": "d1", "score": 1},
    {"query-id": "q1", "corpus-id": "d2", "score": 0},
    {"query-id": "q2", "corpus-id": "d1", "score": 0},
    {"query-id": "q2", "corpus-id": "d4", "score": 2},
]
TRAIN = [{"text": "训练集的一行", "sentence": "训练集的一行", "query": "训练集的一行"}]


def retrieval(split: str, folders: Sequence[str] = ("queries/{}-0", "corpus/{}-0", "data/{}-0")) -> Upstream:
    """Queries, documents and judgements apart. d4 is judged and not there; mteb reads such sets all the same."""
    queries, corpus, judged = (f"{folder.format(split)}.parquet" for folder in folders)
    return Upstream(
        {queries: QUERIES, corpus: PASSAGES, judged: JUDGED},
        {"data/train-0.parquet": TRAIN, "default/train/0000.parquet": TRAIN, f"top_ranked/{split}-0.parquet": TRAIN},
        {
            ("query", "如何申请公积金贷款", False),
            ("query", "wifi连不上", False),
            ("positive", "公积金贷款先到柜台登记再等3.5天", False),
            ("passage", "路由器重启之后再看看密码", False),
            ("passage", "标题谁也没有判断过的一段文字", False),
        },
        {("如何申请公积金贷款", "公积金贷款先到柜台登记再等3.5天")},
    )


def renamed(upstream: Upstream) -> Upstream:
    """The same with ids under `id` and no titles: newer uploads."""

    def told(row: Mapping[str, Any]) -> dict[str, Any]:
        if "_id" not in row:
            return dict(row)
        return {"id": row["_id"], "text": f"{row.get('title', '')} {row['text']}"}

    files = {name: [told(row) for row in rows if isinstance(row, Mapping)] for name, rows in upstream.files.items()}
    return Upstream(files, upstream.unread, upstream.texts, upstream.pairs)


def pair_lists() -> Upstream:
    """One row holds the whole split."""
    row = {
        "sent1": ["他在北京住了三年。", "他在北京住了三年。", "会议八点开始"],
        "sent2": ["他住过北京。", "他没有去过北京。", "会议不是八点开始"],
        "labels": [1, 0, 0],
    }
    return Upstream(
        {"data/validation-00000-of-00001-c03e72abe2b8cd48.parquet": [row]},
        {},
        {
            ("query", "他在北京住了三年", False),
            ("query", "会议八点开始", False),
            ("query", "他住过北京", False),
            ("query", "他没有去过北京", False),
            ("query", "会议不是八点开始", False),
        },
        {
            ("他在北京住了三年", "他住过北京"),
            ("他在北京住了三年", "他没有去过北京"),
            ("会议八点开始", "会议不是八点开始"),
        },
    )


def pair_rows(split: str) -> Upstream:
    rows = [
        {"sentence1": "花呗怎么还款？", "sentence2": "花唄如何還款", "score": 1, "idx": 0},
        {"sentence1": "银行卡丢了", "sentence2": "身份证丢了。", "score": 0, "idx": 1},
    ]
    return Upstream(
        {f"data/{split}-00000-of-00001-cb3f2553acbb3663.parquet": rows},
        {"data/train-00000-of-00001-83493a6b9e29a4d0.parquet": TRAIN},
        {
            ("query", "花呗怎么还款", False),
            ("query", "花呗如何还款", False),
            ("query", "银行卡丢了", False),
            ("query", "身份证丢了", False),
        },
        {("花呗怎么还款", "花呗如何还款"), ("银行卡丢了", "身份证丢了")},
    )


def clustering(is_joined: bool) -> Upstream:
    rows = [
        {"sentences": ["稻田土壤镉的迁移规律。研究了两种土壤。", "小麦育种进展"], "labels": ["农学", "农学"]},
        {"sentences": ["小麦育种进展", "明代赋役制度考"], "labels": ["农学", "历史学"]},
    ]
    keys = ["稻田土壤镉的迁移规律研究了两种土壤", "小麦育种进展", "明代赋役制度考"]
    files = {"data/test-00000-of-00001-4f7ef75ffdb42eff.parquet": rows}
    return Upstream(files, {}, {("query", key, is_joined) for key in keys}, set())


def classification(*splits: str) -> Upstream:
    rows = {split: {"text": f"{split} 手机很好用，电池耐用！", "label": 1, "label_text": "好"} for split in splits}
    return Upstream(
        {f"data/{split}-00000-of-00001-b1f0617526744b05.parquet": [row] for split, row in rows.items()},
        {"data/train-00000-of-00001-ef5f133fdcfafc08.parquet": TRAIN},
        {("query", f"{split}手机很好用电池耐用", False) for split in splits},
        set(),
    )


def converted(config: str, split: str, column: str) -> Upstream:
    rows = [{column: "电池不耐用，后悔了。", "label": "0"}, {column: "降到 3.5 元就买！", "label": "1"}]
    return Upstream(
        {f"{config}/{split}/0000.parquet": rows},
        {f"{config}/train/0000.parquet": TRAIN, f"other/{split}/0000.parquet": TRAIN},
        {("query", "电池不耐用后悔了", False), ("query", "降到3.5元就买", False)},
        set(),
    )


def moved(upstream: Upstream, rows: Rows | None = None, config: str = "default") -> Upstream:
    """As the Hub's conversion holds it: one folder for the configuration, one for the split."""
    (held,) = upstream.files.values()
    files = {f"{config}/test/0000.parquet": held if rows is None else rows}
    return Upstream(files, {f"{config}/train/0000.parquet": TRAIN}, upstream.texts, upstream.pairs)


def by_language(upstream: Upstream, kept: str) -> Upstream:
    (rows,) = upstream.files.values()
    assert not isinstance(rows, bytes)
    told: list[dict[str, Any]] = [{**row, "lang": kept} for row in rows]
    others = [{name: f"另一种语言 {name}" if isinstance(v, str) else v for name, v in row.items()} for row in told]
    return moved(upstream, [*told, *(row | {"lang": "de"} for row in others)])


ENGLISH_FOLDERS = ("queries/{}/0000", "corpus/{}/0000", "default/{}/0000")
UPSTREAM: dict[str, Upstream] = {
    **dict.fromkeys(RETRIEVAL, retrieval("dev")),
    "EcomRetrieval": renamed(retrieval("dev")),
    **{task: retrieval(SOURCES[task][2]) for task in RERANKING},
    **dict.fromkeys(PAIR_CLASSIFICATION, pair_lists()),
    **{task: clustering(task.endswith("P2P")) for task in CLUSTERING},
    **{task: pair_rows(SOURCES[task][2]) for task in STS},
    **{task: classification(*SOURCES[task][2].split()) for task in CLASSIFICATION},
    "JDIphone": converted("iPhone", "validation", "sentence"),
    "StockComSentiment": converted("communication", "validation", "sentence"),
    "GubaEastmony": converted("default", "test", "text"),
    "TYQSentiment": converted("chinese", "validation", "text"),
    "T2Ranking": Upstream(
        {"data/queries.dev.tsv": 'qid\ttext\n7\t什么是"元宇宙"？\n12\t"双减 是什么意思\n'.encode()},
        {"data/queries.train.tsv": "qid\ttext\n1\t训练集的一行\n".encode(), "data/collection.tsv": b"pid\ttext\n"},
        {("query", "text", False), ("query", "什么是元宇宙", False), ("query", "双减是什么意思", False)},
        set(),
    ),
    **dict.fromkeys(ENGLISH_RETRIEVAL, retrieval("test", ENGLISH_FOLDERS)),
    # One split of queries and of documents for all judgements, as BEIR's have.
    "FiQA2018": retrieval("test", ("queries/queries/0000", "corpus/corpus/0000", "default/test/0000")),
    "SCIDOCS": renamed(retrieval("test", ENGLISH_FOLDERS)),
    **{task: moved(clustering("P2P" in task)) for task in ENGLISH_CLUSTERING},
    **dict.fromkeys(ENGLISH_STS, moved(pair_rows("test"))),
    **dict.fromkeys(ENGLISH_PAIRS, moved(pair_lists())),
    **dict.fromkeys(ENGLISH_CLASSIFICATION, moved(classification("test"))),
    "AmazonCounterfactualClassification": moved(classification("test"), config="en"),
    "MTOPDomainClassification": moved(classification("test"), config="en"),
    "MassiveIntentClassification": by_language(classification("test"), "en"),
    "MassiveScenarioClassification": by_language(classification("test"), "en"),
    "STS17": by_language(pair_rows("test"), "en-en"),
    "STS22.v2": by_language(pair_rows("test"), "en"),
    "BiorxivClusteringP2P.v2": Upstream(
        {"default/test/0000.parquet": [{"sentences": "Title. Body.", "labels": "x"}]},
        {},
        {("query", "titlebody", True)},
        set(),
    ),
    "SummEvalSummarization.v2": Upstream(
        {
            "default/test/0000.parquet": [
                {
                    "text": "原文。",
                    "human_summaries": ["人写。", "人又写。"],
                    "machine_summaries": ["机写。"],
                    "relevance": [1.0],
                }
            ]
        },
        {},
        {("query", key, False) for key in ("原文", "人写", "人又写", "机写")},
        set(),
    ),
}

#: Fetches and indexes all benchmarks of suites in a process of its own: huggingface_hub reads HF_ENDPOINT on import.
CHILD = """
import json, sys
from pathlib import Path
from pipeline.errors import CurationError
from pipeline.manifest.catalog import read_catalog
from pipeline.manifest.recipe import Recipe
from pipeline.steps import fetch_step, index_step
from pipeline.context import Context
from pipeline.store import Store

catalog = read_catalog([])
benchmarks = tuple(b for b in catalog.benchmarks.values() if {"cmteb", "mteb-zh", "mteb-eng-v2"} & set(b.suites))
homes = {f"benchmark:{b.name}": catalog.home("benchmarks", b.name) for b in benchmarks}
context = Context(Recipe(name="toy"), (), benchmarks, homes, frozenset(), Store(Path(sys.argv[1])))
told = {}
for benchmark in benchmarks:
    try:
        fetched = fetch_step(context, benchmark)
        entry = index_step(context, benchmark, fetched)
    except CurationError as error:
        told[benchmark.task] = {"error": str(error)}
        continue
    told[benchmark.task] = {
        "revision": fetched.revision,
        "files": [[file.split, file.name] for file in fetched.files],
        "folder": str(entry.path),
        "receipt": entry.receipt,
    }
print(json.dumps(told))
"""


def content(rows: Rows | bytes) -> bytes:
    if isinstance(rows, bytes):
        return rows
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), buffer)
    return buffer.getvalue()


def mount(hub: HubDouble, task: str) -> None:
    """The repository under the commit the manifest names, or under the ref of the Hub's parquet conversion."""
    upstream, (repo, revision, _) = UPSTREAM[task], SOURCES[task]
    files = {path: content(rows) for path, rows in {**upstream.files, **upstream.unread}.items()}
    if revision is None:
        hub.commit(repo, {"README.md": b"# main has no such files", "load.py": b""})
        hub.commit(repo, files, ref=CONVERSION)
        return
    made = hub.repository(repo).commits[hub.commit(repo, files)]
    hub.repository(repo).commits[revision] = made
    hub.commit(repo, dict.fromkeys(files) | {"README.md": b"# main has moved on"})


@dataclass(frozen=True)
class Indexed:
    """What the child told per task, and the paths it asked the double for."""

    told: dict[str, dict[str, Any]]
    asked: list[str]

    def of(self, task: str) -> dict[str, Any]:
        assert "error" not in self.told[task], self.told[task]["error"]
        return self.told[task]

    def folder(self, task: str) -> Path:
        return Path(self.of(task)["folder"])


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Indexed]:
    folder = tmp_path_factory.mktemp("benchmarks")
    with HubDouble() as hub:
        for task in UPSTREAM:
            mount(hub, task)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        env = kept | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(folder / "hf"), "NO_PROXY": "*"}
        done = python(CHILD, folder / "store", env=env)
        assert done.returncode == 0, done.stderr
        yield Indexed(json.loads(done.stdout), [request.path for request in hub.requests])


def shipped() -> dict[str, Benchmark]:
    found = read_catalog([]).benchmarks
    return {b.task: b for b in found.values() if {"cmteb", "mteb-zh", "mteb-eng-v2"} & set(b.suites)}


def test_the_suites_are_the_31_tasks_of_cmteb_the_7_of_mteb_zh_and_the_41_english_ones() -> None:
    benchmarks = shipped()
    assert len(set(CMTEB)) == 31
    assert len(set(MTEB_ZH)) == 7
    assert len(ENGLISH) == 41
    assert {task for task, b in benchmarks.items() if "cmteb" in b.suites} == set(CMTEB)
    assert {task for task, b in benchmarks.items() if "mteb-zh" in b.suites} == set(MTEB_ZH)
    assert {task for task, b in benchmarks.items() if "mteb-eng-v2" in b.suites} == set(ENGLISH)
    assert all(b.name == task.replace(".", "-") for task, b in benchmarks.items())


def test_sources_and_evaluated_splits() -> None:
    found = {}
    for task, benchmark in shipped().items():
        source = benchmark.source
        assert source.kind == "hub"
        assert source.ref == ("main" if source.revision else CONVERSION)
        found[task] = (source.repo, source.revision, " ".join(benchmark.splits))
        for part in benchmark.parts:
            assert list(part.files) == benchmark.splits  # neither a split that is not evaluated nor one left out
    assert found == SOURCES
    assert set(UPSTREAM) == set(SOURCES)


@pytest.mark.parametrize("task", sorted(UPSTREAM))
def test_upstream_files_become_the_expected_texts_and_pairs(indexed: Indexed, task: str) -> None:
    upstream, folder = UPSTREAM[task], indexed.folder(task)
    texts = pl.read_parquet(folder / "texts-*.parquet").select("role", "key", "joined").rows()
    pairs = pl.read_parquet(folder / "pairs-*.parquet").select("key_a", "key_b").rows()
    assert len(texts) == len(set(texts))
    assert set(texts) == upstream.texts
    assert set(pairs) == upstream.pairs
    assert indexed.of(task)["receipt"]["task"] == task
    assert indexed.of(task)["receipt"]["empty"] == 0
    judged = {"relevant": 2, "joined": 1, "unjudged": 1} if JUDGED in upstream.files.values() else None
    assert indexed.of(task)["receipt"].get("judged") == judged


@pytest.mark.parametrize("task", sorted(UPSTREAM))
def test_only_evaluated_files_of_the_named_commit_are_asked_for(indexed: Indexed, task: str) -> None:
    repo, revision, splits = SOURCES[task]
    told = indexed.of(task)
    assert revision in (None, told["revision"])
    assert {name for _, name in told["files"]} == set(UPSTREAM[task].files)
    assert {split for split, _ in told["files"]} == set(splits.split())
    resolved = re.compile(rf"/datasets/{re.escape(repo)}/resolve/([^/]+)/(.+)")
    asked = {match.groups() for path in indexed.asked if (match := resolved.fullmatch(path))}
    assert asked == {(told["revision"], name) for name in UPSTREAM[task].files}


def test_roles_decide_what_happens_to_a_record(indexed: Indexed, tmp_path: Path) -> None:
    """Title and abstract together are a P2P query; a positive goes with its query; a positive or passage alone flags."""
    records = [
        ("稻田土壤镉的迁移规律", "研究了两种土壤。"),
        ("如何申请公积金贷款", "公积金贷款，先到柜台登记，再等3.5天"),
        ("贷款要等几天", "公积金贷款，先到柜台登记，再等3.5天"),
        ("腿摔断了去哪个科", "路由器重启之后再看看密码"),
        ("没有任何判断提到这个问题", "答案"),
    ]
    same: dict[str, Any] = dict.fromkeys(("corpus", "sub_source", "split", "prompt", "prompt_pos"), "")
    rows = [
        same
        | {"record_id": f"{n:032x}", "row": str(n), "text": text, "text_pos": text_pos, "text_neg": [], "doc_group": n}
        for n, (text, text_pos) in enumerate(records)
    ]
    shard, out = tmp_path / "text-00000.parquet", tmp_path / "out"
    write_parquet(shard, pa.Table.from_pylist(rows, TEXT_SCHEMA))
    protected = tmp_path / "protected"
    out.mkdir()
    protected.mkdir()
    tasks = ["CLSClusteringP2P", "CMedQAv2-reranking", "VideoRetrieval"]
    protect({task: indexed.folder(task) for task in tasks}, protected, DecontaminateConfig())
    decontaminate([shard], [], protected, out, DecontaminateConfig())
    (marks,) = read_shards([out / "marks-00000.parquet"])
    positive = [f"benchmark_positive:{task}" for task in tasks[1:]]
    both_contaminated = [f"contaminated:{task}" for task in tasks[1:]]
    assert [(mark["reason"], mark["against"], mark["flags"]) for mark in marks.to_pylist()] == [
        ("benchmark_joined", "CLSClusteringP2P", ["contaminated:CLSClusteringP2P"]),
        ("benchmark_query", "CMedQAv2-reranking", [*positive, *both_contaminated]),
        (None, None, positive),
        (None, None, [f"corpus_overlap:{task}" for task in tasks[1:]]),
        (None, None, []),
    ]


def test_t2ranking_without_a_header_line_loses_no_query() -> None:
    part = shipped()["T2Ranking"].parts[0]
    assert (part.layout, part.header, part.quote) == ("tsv", False, None)
