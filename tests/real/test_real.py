"""The whole pipeline over real slices, judged by code that shares nothing with it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.dedupe import DedupeInput, dedupe
from pipeline.manifest.settings import DedupeConfig
from pipeline.record import TEXT_SCHEMA
from pipeline.report.explain import explain
from pipeline.report.opened import open_build
from tests.browser import faults_of
from tests.command import python
from tests.hub_uploads import UploadDouble
from tests.publishing import TOKEN
from tests.real.counts import CORPORA, count
from tests.reference_key import reference_code_key, reference_key
from tests.string_oracle import Record, edge, pair_edges, plant_edits
from tests.test_publish import loaded

ROOT = Path(__file__).resolve().parents[2]
CODE = {"DuSQL", "Zhuiyi-NL2SQL", "CSpider"}
SYMMETRIC = {"CINLID", "CINLID_csts", "SimCLUE", "bq", "lcqmc", "paws-x"}
FLOOR, THRESHOLD = 0.6, 0.8


def m3e_build(base: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command of tests/real/README.md, with its output and store below `base`."""
    command = [
        sys.executable,
        "-c",
        "from pipeline.cli import main; main()",
        "build",
        "real",
        "--manifests",
        "tests/real",
    ]
    command += ["--out", str(base / "build"), "--store", str(base / "store"), *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def slices(real_corpora: Path) -> Path:
    if real_corpora.resolve() != (ROOT.parent / "shared" / "corpora").resolve():
        pytest.skip(
            "tests/real/corpora/*.yaml read ../shared/corpora beside the checkout, and the slices lie elsewhere"
        )
    return real_corpora


@pytest.fixture(scope="module")
def base(slices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    done = m3e_build(folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def built(base: Path) -> Path:
    return base / "build" / "real"


@pytest.fixture(scope="module")
def funnels(built: Path) -> dict[str, Any]:
    return {told["corpus"]: told for told in json.loads((built / "funnel.json").read_bytes())["corpora"]}


@pytest.fixture(scope="module")
def everyone(base: Path, built: Path) -> pl.DataFrame:
    """Every converted record with its text, keys by the reference implementation left to the tests that need them."""
    shards = [
        pl.read_parquet(p, columns=["record_id", "corpus", "text", "text_pos"])
        for p in base.glob("store/convert/*/text-*.parquet")
    ]
    evidence = pl.concat(
        [pl.read_parquet(p) for p in sorted((built / "evidence").glob("*.parquet")) if p.stem != "edges"]
    )
    return pl.concat(shards).join(evidence, on="record_id", validate="1:1").sort("record_id")


def test_every_corpus_has_the_rows_and_records_that_plain_code_counts(slices: Path, funnels: dict[str, Any]) -> None:
    assert set(funnels) == set(CORPORA)
    assert len(funnels) >= 15
    for name, rows in CORPORA.items():
        told, expected = funnels[name], count(rows(slices))
        found = (told["read"], told["converted"], told["labelled"], told["filtered"], told["quarantined"])
        assert found == (expected.rows, expected.records, expected.labelled, expected.filtered, 0), name


def test_the_ledger_adds_up(built: Path, funnels: dict[str, Any]) -> None:
    kept_ids: set[str] = set()
    for name, told in funnels.items():
        kept = set(pl.read_parquet(built / "data" / name / "*.parquet")["record_id"])
        ledger = pl.read_parquet(built / "ledger" / f"{name}.parquet")
        gone = set(ledger["record_id"])
        assert len(gone) == ledger.height
        assert not kept & gone
        assert len(kept) + len(gone) == told["converted"]
        assert len(kept) == told["kept"]
        by_reason = {(stage, reason): n for stage, reasons in told["removed"].items() for reason, n in reasons.items()}
        assert Counter(zip(ledger["stage"], ledger["reason"], strict=True)) == by_reason
        kept_ids |= kept
    for name in funnels:
        ledger = pl.read_parquet(built / "ledger" / f"{name}.parquet")
        assert set(ledger["duplicate_of"].drop_nulls()) <= kept_ids
        assert ledger.filter(pl.col("stage") == "dedupe")["duplicate_of"].null_count() == 0
        assert ledger.filter(pl.col("stage") == "decontaminate")["benchmark"].null_count() == 0


def test_a_second_run_writes_nothing(base: Path) -> None:
    def seen() -> dict[Path, tuple[int, int]]:
        return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in base.rglob("*")}

    before = seen()
    done = m3e_build(base)
    assert done.returncode == 0
    assert "Nothing changed" in done.stdout
    assert seen() == before


def test_another_folder_store_hash_seed_and_thread_count_give_the_same_bytes(built: Path, tmp_path: Path) -> None:
    threads = {"POLARS_MAX_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1"}
    done = m3e_build(tmp_path, "--workers", "1", PYTHONHASHSEED="12345", **threads)
    assert done.returncode == 0, done.stderr
    other = tmp_path / "build" / "real"
    assert json.loads((other / "build.json").read_bytes()) == json.loads((built / "build.json").read_bytes())


def test_distinct_questions_survive_dedupe(funnels: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{'corpus':<26}{'records':>9}{'exact':>8}{'near':>8}{'swapped':>9}{'kept':>9}"]
    for name, told in funnels.items():
        gone = told["removed"].get("dedupe", {})
        numbers = [gone.get(f"{kind}_duplicate", 0) for kind in ("exact", "near", "swapped")]
        lines.append(
            f"{name:<26}{told['converted']:>9,}{numbers[0]:>8,}{numbers[1]:>8,}{numbers[2]:>9,}{told['kept']:>9,}"
        )
    with capsys.disabled():
        print("\n" + "\n".join(lines))  # noqa: T201 - the table is what this test is read for
    assert funnels["cmrc2018"]["converted"] - sum(funnels["cmrc2018"]["removed"].get("dedupe", {}).values()) >= 3200


@pytest.mark.parametrize("name", ["cmrc2018", "Chinese-SQuAD", "DuSQL", "lcqmc", "webqa"])
def test_what_dedupe_removed_is_a_true_duplicate_of_what_it_names(
    built: Path, everyone: pl.DataFrame, name: str
) -> None:
    ledger = pl.read_parquet(built / "ledger" / f"{name}.parquet").filter(pl.col("stage") == "dedupe")
    pair = {r: (c, t, p) for r, c, t, p in everyone.select("record_id", "corpus", "text", "text_pos").iter_rows()}
    for record_id, other, told in ledger.select("record_id", "duplicate_of", "similarity").iter_rows():
        joined = edge(oracle_record(*pair[record_id]), oracle_record(*pair[other]), THRESHOLD)
        assert joined is not None, (record_id, other)
        assert joined[0] == pytest.approx(told, abs=1e-6)


def oracle_record(corpus: str, text: str, text_pos: str) -> Record:
    second = reference_code_key if corpus in CODE else reference_key
    return reference_key(text), second(text_pos), corpus in SYMMETRIC, corpus not in CODE


def drawn(everyone: pl.DataFrame, seed: int) -> pl.DataFrame:
    """3,000 records: half at random, half from corpora where near duplicates are common."""
    rng = random.Random(seed)
    rows = list(range(everyone.height))
    crowded = [i for i, corpus in enumerate(everyone["corpus"]) if corpus in ("webqa", "lcqmc", "bq")]
    chosen = set(rng.sample(crowded, 1500))
    return everyone[sorted(chosen | set(rng.sample([i for i in rows if i not in chosen], 1500)))]


def agreement(found: dict[tuple[int, int], float], expected: dict[tuple[int, int], float]) -> tuple[float, float]:
    """Recall and precision of edges; an edge with another similarity is a false one."""
    right = sum(abs(found.get(pair, -1) - similarity) < 1e-6 for pair, similarity in expected.items())
    return right / max(1, len(expected)), right / max(1, len(found))


def test_the_edges_of_the_build_are_those_of_sets_of_strings(
    built: Path, everyone: pl.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = drawn(everyone, 3)
    records = [oracle_record(*row) for row in sample.select("corpus", "text", "text_pos").iter_rows()]
    expected = {pair: similarity for pair, (similarity, _) in pair_edges(records, FLOOR).items()}
    edges = pl.read_parquet(built / "evidence" / "edges.parquet")
    similar = {(a, b): s for a, b, s in edges.select("class_a", "class_b", "similarity").iter_rows()}
    members: dict[int, list[int]] = {}
    for i, class_id in enumerate(sample["class_id"]):
        members.setdefault(class_id, []).append(i)
    found: dict[tuple[int, int], float] = {}
    for same in members.values():
        found |= {(i, j): 1.0 for i in same for j in same if i < j}
    for (a, b), similarity in similar.items():
        found |= {(min(i, j), max(i, j)): similarity for i in members.get(a, ()) for j in members.get(b, ())}
    report(capsys, "3,000 records of the real build", found, expected)


def test_dedupe_finds_planted_edits(everyone: pl.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample = drawn(everyone.filter(~pl.col("corpus").is_in(list(CODE))), 4)
    pairs = list(sample.select("text", "text_pos").iter_rows())
    both = [*pairs, *plant_edits(pairs, 5)]
    blank = {
        "corpus": "planted",
        "sub_source": "",
        "split": "train",
        "text_neg": [],
        "prompt": "",
        "prompt_pos": "",
        "score": None,
    }
    rows = [
        blank
        | {"record_id": f"{i:032x}", "row": f"x#{i}", "text": t, "text_pos": p, "doc_group": i, "quality_score": None}
        for i, (t, p) in enumerate(both)
    ]
    shard = tmp_path / "text-00000.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=TEXT_SCHEMA), shard)
    out = tmp_path / "out"
    out.mkdir()
    dedupe([DedupeInput("planted", [shard], True, True, frozenset())], out, DedupeConfig())
    classes = pl.read_parquet(out / "classes" / "planted" / "classes-00000.parquet")["class_id"].to_list()
    members: dict[int, list[int]] = {}
    for i, class_id in enumerate(classes):
        members.setdefault(class_id, []).append(i)
    found = {(i, j): 1.0 for same in members.values() for i in same for j in same if i < j}
    for a, b, similarity in (
        pl.read_parquet(out / "edges.parquet").select("class_a", "class_b", "similarity").iter_rows()
    ):
        found |= {(min(i, j), max(i, j)): similarity for i in members[a] for j in members[b]}
    records = [(reference_key(t), reference_key(p), True, True) for t, p in both]
    report(
        capsys,
        "3,000 planted edits",
        found,
        {pair: similarity for pair, (similarity, _) in pair_edges(records, FLOOR).items()},
    )


def report(
    capsys: pytest.CaptureFixture[str],
    title: str,
    found: dict[tuple[int, int], float],
    expected: dict[tuple[int, int], float],
) -> None:
    for at in (FLOOR, THRESHOLD):
        wanted = {pair: s for pair, s in expected.items() if s >= at - 1e-9}
        recall, precision = agreement({pair: s for pair, s in found.items() if s >= at - 1e-6}, wanted)
        with capsys.disabled():
            print(f"\n{title}, J >= {at}: {len(wanted)} pairs, recall {recall:.4f}, precision {precision:.4f}")  # noqa: T201
        assert recall >= 0.99
        assert precision == 1.0


def test_explain_names_stage_reason_and_the_kept_record(built: Path) -> None:
    near = (
        pl.read_parquet(built / "ledger" / "lcqmc.parquet")
        .filter(pl.col("reason") == "near_duplicate")
        .row(0, named=True)
    )
    (fate,) = explain(open_build(built), near["record_id"])
    assert near["duplicate_of"] in fate.sentence()
    assert "removed by dedupe: near_duplicate" in fate.sentence()
    assert f"similarity {near['similarity']:.3f}" in fate.sentence()
    leaked = pl.read_parquet(built / "ledger" / "mlqa_standin.parquet").row(0, named=True)
    (fate,) = explain(open_build(built), leaked["record_id"])
    assert f"benchmark {leaked['benchmark']}" in fate.sentence()


def test_the_report_is_whole_in_a_browser(built: Path) -> None:
    assert faults_of(built / "report.html") == []


def test_the_build_is_published_and_reads_back(base: Path, built: Path, tmp_path: Path) -> None:
    """Through the command, to the Hub's double; `datasets` reads it in a process that never saw it."""
    with UploadDouble() as hub:
        hub.tokens[TOKEN] = "alice"
        env = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": TOKEN, "NO_PROXY": "*"}
        env |= {"HF_HUB_DISABLE_XET": "1"}
        words = ["publish", str(built), "--repo", "alice/real", "--manifests", "tests/real"]
        script = "from pipeline.cli import main; main()"
        done = python(script, *words, "--store", base / "store", env={**os.environ, **env})
        assert done.returncode == 0, done.stderr
        names = sorted({path.split("/")[1] for path in hub.head("alice/real").tree if path.startswith("data/")})
        assert len(names) >= 5
        told = loaded(hub, "alice/real", tmp_path, "full", *names)
        rows = {name: pl.read_parquet(built / "data" / name / "*.parquet") for name in funnel_names(built)}
        free = {name: frame.filter(redistribute="allowed") for name, frame in rows.items()}
        assert names == sorted(name for name, frame in free.items() if frame.height)
        for name in names:
            assert told[name] == free[name].select("text", "text_pos").to_dicts()
        assert sorted(row["record_id"] for row in told["full"]) == sorted(pl.concat(list(free.values()))["record_id"])
        shut = {name: frame.filter(pl.col("redistribute") != "allowed") for name, frame in rows.items()}
        for name, frame in shut.items():
            ids = hub.head("alice/real").tree.get(f"ids/{name}.parquet")
            assert (ids is not None) == bool(frame.height)
            assert ids is None or pl.read_parquet(ids.content)["record_id"].to_list() == frame["record_id"].to_list()


def funnel_names(built: Path) -> list[str]:
    return [told["corpus"] for told in json.loads((built / "funnel.json").read_bytes())["corpora"] if told["kept"]]
