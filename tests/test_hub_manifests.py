"""The manifests of the seed's Hub rows: from files as upstream lays them out to the records they must give."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import tarfile
import unicodedata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.convert import convert
from pipeline.errors import BadRowsError, DriftError
from pipeline.fetch import fetch
from pipeline.manifest.catalog import Catalog, read_catalog
from pipeline.manifest.corpus import Corpus, HttpSource, HubSource, LocalSource
from pipeline.source import SourceFile, Wanted
from pipeline.store import Store
from tests import external_files
from tests.command import ROOT, m3e, started
from tests.data import hub_rows
from tests.data.hub_rows import Upstream
from tests.http_double import FileServer
from tests.hub_double import HubDouble

SCRIPT_REPOS = {"mlqa", "xlsum", "bq", "lcqmc", "wiki_atomic_edit", "dureader_robust"}
NAMES = sorted(hub_rows.CORPORA)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return read_catalog([])


def fetched(corpus: Corpus, upstream: Upstream, folder: Path) -> tuple[SourceFile, ...]:
    """The upstream files put into `folder`, found by the manifest's own patterns."""
    contents = {**upstream.files, **dict.fromkeys(upstream.beside, hub_rows.UNREADABLE)}
    for name, content in contents.items():
        path = folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    wanted = [
        Wanted(number, split, (patterns,) if isinstance(patterns, str) else tuple(patterns))
        for number, part in enumerate(corpus.parts)
        for split, patterns in part.files.items()
        if split in corpus.splits
    ]
    source = LocalSource(kind="local", root=str(folder / "files"))
    return fetch(corpus.name, source, wanted, folder, Store(folder / "store")).files


def converted(corpus: Corpus, files: tuple[SourceFile, ...], folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What convert says, and its rows by kind."""
    out = folder / "out"
    out.mkdir()
    receipt = convert(corpus, files, out)
    shards = {kind: [pq.read_table(out / name) for name in names] for kind, names in receipt["shards"].items()}
    return receipt, {kind: pa.concat_tables(tables).to_pylist() for kind, tables in shards.items()}


def told(rows: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{name: row[name] for name in names} for row in rows]


def sharing(values: list[Any]) -> list[int]:
    """Which rows share a value: the place of its first appearance."""
    return [values.index(value) for value in values]


RECORD = ("row", "text", "text_pos", "prompt", "prompt_pos", "sub_source", "text_neg", "quality_score")


def assert_gives(corpus: Corpus, files: tuple[SourceFile, ...], upstream: Upstream, folder: Path) -> None:
    receipt, rows = converted(corpus, files, folder)
    expected = [vars(record) | {"text_neg": list(record.text_neg)} for record in upstream.records]
    assert told(rows["text"], *RECORD) == told(expected, *RECORD)
    assert told(rows["labelled"], "row", "text", "other", "label") == [vars(judged) for judged in upstream.labelled]
    assert rows["quarantine"] == []
    assert {row["split"] for row in rows["text"] + rows["labelled"]} == {"train"}
    documents = [record.doc if record.doc is not None else number for number, record in enumerate(upstream.records)]
    assert sharing([row["doc_group"] for row in rows["text"]]) == sharing(documents)
    totals = receipt["totals"]
    assert (totals["read"], totals["filtered"], totals["quarantined"]) == (upstream.rows, upstream.filtered, 0)


@pytest.mark.parametrize("name", NAMES)
def test_upstream_files_give_the_records_written_down(catalog: Catalog, name: str, tmp_path: Path) -> None:
    corpus, upstream = catalog.corpora[name], hub_rows.CORPORA[name]
    files = fetched(corpus, upstream, tmp_path)
    assert {file.name for file in files} == set(upstream.files)
    assert_gives(corpus, files, upstream, tmp_path)


def archived(files: dict[str, bytes]) -> dict[str, bytes]:
    """Files as a web server has them: members of one tar.gz in it, beside one that nobody names."""
    plain = {name: content for name, content in files.items() if "!" not in name}
    for name, content in files.items():
        if "!" in name:
            archive, _, member = name.partition("!")
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w:gz") as tar:
                for inside, held in ((f"{Path(member).parent}/dev.json", hub_rows.UNREADABLE), (member, content)):
                    info = tarfile.TarInfo(inside)
                    info.size = len(held)
                    tar.addfile(info, io.BytesIO(held))
            plain[archive] = packed.getvalue()
    return plain


def test_every_corpus_has_its_table_of_rows(catalog: Catalog) -> None:
    shipped = {name for name in catalog.corpora if not name.startswith("demo-")}
    assert shipped == set(NAMES) | set(external_files.CORPORA)
    alternates = {name for name in NAMES if catalog.corpora[name].alternates}
    assert alternates == set(hub_rows.ALTERNATES)


@pytest.mark.parametrize("name", sorted(hub_rows.ALTERNATES))
def test_alternates_give_the_same_pairs(catalog: Catalog, name: str, server: FileServer, tmp_path: Path) -> None:
    """Through the fetcher, from a server that has the files under the path of the manifest's own address."""
    corpus, upstream = catalog.corpora[name], hub_rows.ALTERNATES[name]
    (alternate,) = corpus.alternates
    assert isinstance(alternate.source, HttpSource) and alternate.parts is not None
    folder = urlsplit(alternate.source.base).path.rstrip("/")
    on_server = archived(upstream.files)
    server.files |= {f"{folder}/{name}".lstrip("/"): content for name, content in on_server.items()}
    told = alternate.source.checksums  # of the publisher's own archive
    assert set(told) <= set(on_server)
    sums = {name: f"md5:{hashlib.md5(on_server[name]).hexdigest()}" for name in told}
    source = alternate.source.model_copy(update={"base": server.base + folder, "checksums": sums})
    wanted = [Wanted(at, "train", (str(part.files["train"]),)) for at, part in enumerate(alternate.parts)]
    files = fetch(name, source, wanted, tmp_path, Store(tmp_path / "store")).files
    assert sorted(path for path, _ in server.requests) == sorted(server.files)
    assert_gives(corpus.model_copy(update={"parts": alternate.parts}), files, upstream, tmp_path)


# --- what must not pass ----------------------------------------------------------------------------------------------


def replaced(upstream: Upstream, content: bytes) -> Upstream:
    (name,) = upstream.files
    return Upstream({name: content}, [], 0)


def test_labels_in_the_order_of_other_nli_sets_are_refused(catalog: Catalog, tmp_path: Path) -> None:
    corpus, upstream = catalog.corpora["ocnli"], hub_rows.CORPORA["ocnli"]
    turned = {"label": ["entailment", "neutral", "contradiction"]}
    copy = replaced(upstream, hub_rows.parquet(hub_rows.NLI_ROWS, hub_rows.NLI_COLUMNS, turned))
    with pytest.raises(DriftError, match="neutral"):
        converted(corpus, fetched(corpus, copy, tmp_path), tmp_path)


def test_rows_without_a_label_are_no_non_matches(catalog: Catalog, tmp_path: Path) -> None:
    corpus, upstream = catalog.corpora["ocnli"], hub_rows.CORPORA["ocnli"]
    unjudged = [row | {"label": -1} for row in hub_rows.NLI_ROWS]
    labels = {"label": hub_rows.NLI_LABELS}
    copy = replaced(upstream, hub_rows.parquet(unjudged, hub_rows.NLI_COLUMNS, labels))
    with pytest.raises(BadRowsError):
        converted(corpus, fetched(corpus, copy, tmp_path), tmp_path)


# --- real rows in the layout of the Hub's copies ---------------------------------------------------------------------


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Plain rows of a slice."""
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = content.decode()
    return json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]


def pairs_by_label(row: dict[str, Any]) -> list[tuple[str, str]]:
    return [(row["sentence1"], row["sentence2"])] if row["label"] == 1 else []


def reading(row: dict[str, Any]) -> list[tuple[str, str]]:
    return [(row["question"], row["context"])]


#: slice (an evaluation split, or rows of another corpus in this one's layout, may stand in for train), and plain code
#: that makes pairs of a row.
SLICES: dict[str, tuple[str, Any]] = {
    "alpaca_gpt4": (
        "alpaca_gpt4/raw-standin/alpaca_zh_demo.json",
        lambda row: [("\n".join(filter(None, (row["instruction"], row["input"]))), row["output"])],
    ),
    "bq": ("bq/hf/BQ/validation.parquet", pairs_by_label),
    "chatmed_consult": (
        "chatmed_consult/hf/ChatMed_Consult-v0.3.json",
        lambda row: [(row["query"], row["response"])],
    ),
    "cmrc2018": ("cmrc2018/hf/default/validation.parquet", reading),
    "csl": ("csl/hf/data/csl.jsonl.gz", lambda row: [(row["title"], row["abstract"])]),
    "dureader_robust": ("dureader_robust/hf/plain_text/validation.parquet", reading),
    "lcqmc": ("lcqmc/hf/LCQMC/validation.parquet", pairs_by_label),
    "miracl-corpus": (
        "miracl-corpus/raw-standin/miracl-corpus-v1.0-zh/docs-0.jsonl.gz",
        lambda row: [(row["title"], row["text"])] if row["docid"].endswith("#0") else [],
    ),
    "mlqa": ("mlqa/hf/mlqa-translate-train.zh/validation.parquet", reading),
    "ocnli": ("ocnli/hf/ocnli/train.parquet", pairs_by_label),
    "paws-x": ("paws-x/hf/zh/validation.parquet", pairs_by_label),
}


def bare(text: str) -> str:
    return "".join(unicodedata.normalize("NFC", text).split())


@pytest.mark.parametrize("name", sorted(SLICES))
def test_real_slices_give_what_plain_code_makes_of_them(
    catalog: Catalog, real_corpora: Path, name: str, tmp_path: Path
) -> None:
    corpus, (slice_, pairs) = catalog.corpora[name], SLICES[name]
    path = real_corpora / slice_
    if not path.is_file():
        pytest.skip(f"{slice_} is not here")
    (part,) = corpus.parts
    file = SourceFile(0, "train", str(part.files["train"]), path, "", 0)
    receipt, rows = converted(corpus, (file,), tmp_path)
    upstream = rows_of(path)
    expected = [pair for row in upstream for pair in pairs(row)]
    totals = receipt["totals"]
    assert (totals["read"], totals["records"], totals["quarantined"]) == (len(upstream), len(expected), 0)
    assert totals["labelled"] == (len(upstream) if part.labelled else 0)
    # Blanks aside, nearly all texts are as they were: cleaning takes markup off, and turns traditional characters.
    same = sum(
        (bare(row["text"]), bare(row["text_pos"])) == (bare(text), bare(other))
        for row, (text, other) in zip(rows["text"], expected, strict=True)
    )
    assert same >= 0.9 * len(expected) > 0


# --- through the Hub's protocol --------------------------------------------------------------------------------------


def test_every_corpus_builds_from_the_hub(catalog: Catalog, tmp_path: Path) -> None:
    recipes = tmp_path / "manifests" / "recipes"
    recipes.mkdir(parents=True)
    (recipes / "hub.yaml").write_text(json.dumps({"name": "hub", "corpora": NAMES}))
    with HubDouble() as hub:
        for name in NAMES:
            source, upstream = catalog.corpora[name].source, hub_rows.CORPORA[name]
            assert isinstance(source, HubSource)
            contents = {**upstream.files, **dict.fromkeys(upstream.beside, hub_rows.UNREADABLE)}
            hub.commit(source.repo, contents, ref=source.ref)
            if source.ref != "main":
                hub.commit(source.repo, {f"{source.repo.split('/')[1]}.py": b"raise SystemExit"})
        environment = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf")}
        folders = ("--manifests", tmp_path / "manifests", "--store", tmp_path / "store", "--out", tmp_path / "out")
        done = started("build", "hub", "--sample", "50", *folders, **environment)
        asked = {request.path for request in hub.requests if "/resolve/" in request.path}
    assert done.returncode == 0, done.stderr
    built = json.loads(next((tmp_path / "out").glob("hub*/build.json")).read_bytes())
    assert built["gaps"] == []
    funnel = json.loads(next((tmp_path / "out").glob("hub*/funnel.json")).read_bytes())
    assert {row["corpus"]: row["converted"] for row in funnel["corpora"]} == {
        name: len(upstream.records) for name, upstream in hub_rows.CORPORA.items()
    }
    wanted = set()
    for name in NAMES:
        source = catalog.corpora[name].source
        assert isinstance(source, HubSource)
        commit = hub.repository(source.repo).refs[source.ref]
        wanted |= {f"/datasets/{source.repo}/resolve/{commit}/{file}" for file in hub_rows.CORPORA[name].files}
    assert asked == wanted


# --- the table -------------------------------------------------------------------------------------------------------


def seed_table() -> dict[str, dict[str, Any]]:
    """The table of the M3E model card, a row per corpus, under the names it uses."""
    with (ROOT / "tests" / "data" / "m3e-table.csv").open(encoding="utf-8-sig", newline="") as table:
        return {row["name"]: {**row, "rows": int(row["rows"])} for row in csv.DictReader(table)}


def test_the_seed_is_told_verbatim(catalog: Catalog) -> None:
    table = seed_table()
    seeds = {name: corpus.seed.model_dump() for name, corpus in catalog.corpora.items() if corpus.seed is not None}
    assert {name: seed for name, seed in seeds.items() if seed != table.get(seed["name"])} == {}
    renamed = {"bq": "BQ", "firefly": "firefily"}
    assert {name: seeds[name]["name"] for name in NAMES} == {name: renamed.get(name, name) for name in NAMES}


def test_domain_prompt_grade_and_symmetry_are_the_seeds(catalog: Catalog) -> None:
    for name in NAMES:
        corpus = catalog.corpora[name]
        assert corpus.seed is not None
        assert (corpus.domain, corpus.task, corpus.grade) == (
            corpus.seed.domain,
            corpus.seed.task,
            corpus.seed.quality,
        )
        assert corpus.prompt == ("" if corpus.seed.prompt == "无" else corpus.seed.prompt)
        assert corpus.symmetric == (corpus.seed.symmetric == "是")
        assert corpus.instruction is not None
        assert corpus.splits == ["train"]
        assert corpus.instruction_data == (corpus.task == "指令微调")


def test_only_the_withdrawn_corpus_is_off(catalog: Catalog) -> None:
    assert [name for name in NAMES if not catalog.corpora[name].enabled] == ["amazon_reviews_multi"]


def test_loading_scripts_are_passed_by(catalog: Catalog) -> None:
    by_ref = {name for name in NAMES if getattr(catalog.corpora[name].source, "ref", "main") == "refs/convert/parquet"}
    assert by_ref == SCRIPT_REPOS


def test_the_corpora_add_up_to_the_seed() -> None:
    done = m3e("corpora", "--json")
    assert done.returncode == 0, done.stderr
    rows = [row["seed"]["rows"] for row in json.loads(done.stdout) if row["seed"]]
    assert (len(rows), sum(rows)) == (29, 21_837_781)
