"""Licences through whole builds: every row, negative and labelled row is followed back to a manifest entry that allows it.

The judge is `tests/provenance.py`, which shares no code with the pipeline; it is itself judged by breaches made by hand.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from pipeline.build import build, count
from pipeline.context import context_of
from pipeline.manifest.catalog import read_catalog
from pipeline.normalize import key_hash, match_key
from pipeline.receipt import write_build
from pipeline.release import release_of, release_of_build
from pipeline.runner import Threads
from tests.provenance import violations
from tests.small import corpus, write_manifests, write_rows

READ = {"repo": "a/b", "commit": "0" * 40, "file": "LICENSE", "read": "2026-11-23", "quote": "free for any purpose"}
FREE = {"spdx": "CC0-1.0", "commercial": "allowed", "redistribute": "allowed", "confidence": "high", "evidence": [READ]}
SHUT = {"spdx": "CC-BY-NC-4.0", "commercial": "forbidden", "redistribute": "unknown", "confidence": "high"}
SHUT |= {"evidence": [READ], "attribution": "somebody"}
GPT = {"model": "gpt-4", "provider": "OpenAI", "terms": "non-compete"}
COMMERCIAL = {"name": "commercial", "corpora": {"commercial": "allowed"}}
EVERYTHING = {"name": "everything"}
#: Same pairs in a free and a closed corpus; negatives and labelled rows in a free and a closed part of one corpus.
SHARED = 30
COMMON = (
    "的一是在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经"
    "么去法学如都同现当动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意"
)


@dataclass(frozen=True)
class Rows:
    pairs: list[tuple[str, str]]
    triplets: list[tuple[str, str, str]]
    judged: list[tuple[str, str, bool]]


def made_up() -> Rows:
    """Texts of random characters: no near copies of each other."""
    chance = random.Random(5)
    texts = ["".join(chance.choices(COMMON, k=14)) for _ in range(600)]
    some = iter(texts)
    return Rows(
        [(next(some), next(some)) for _ in range(90)],
        [(next(some), next(some), next(some)) for _ in range(60)],
        [(next(some), next(some), n % 2 == 0) for n in range(40)],
    )


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").rstrip("\n").split("\n")


def from_slices(slices: Path) -> Rows:
    squad = json.loads((slices / "cmrc2018/raw/squad-style-data/cmrc2018_trial.json").read_text("utf-8"))
    asked = [(q["question"], p["context"]) for a in squad["data"] for p in a["paragraphs"] for q in p["qas"]]
    ranked = [json.loads(line) for line in lines(slices / "SimCLUE/raw/train_rank_1w.json")[:800]]
    judged = [line.split("\t") for line in lines(slices / "lcqmc/raw/LCQMC.valid.data")]
    return Rows(
        asked[:400],
        [(row["query"], row["title"], row["neg_title"]) for row in ranked],
        [(row[0], row[1], row[2] == "1") for row in judged[:400] if len(row) == 3],
    )


def manifests_of(folder: Path, rows: Rows, **recipe: Any) -> Path:
    """Corpora `open` and `closed` share pairs; `mixed` has a free part, a closed part, and one a model wrote."""
    triplets = {"layout": "jsonl", "columns": {"q": "string", "a": "string", "n": "string"}}
    judged = {"layout": "jsonl", "columns": {"q": "string", "a": "string", "same": "bool"}}
    select = {"text": "q", "text_pos": "a", "text_neg": "n"}
    parts = [
        {"sub_source": sub, "files": {"train": f"ranked-{sub}.jsonl"}, **triplets, "select": select}
        for sub in ("free", "shut", "made")
    ] + [
        {
            "sub_source": sub,
            "files": {"train": f"judged-{sub}.jsonl"},
            **judged,
            "labelled": {"text": "q", "other": "a", "match": "same"},
        }
        for sub in ("free", "shut")
    ]
    licence = {**SHUT, "sub_sources": {"free": FREE, "shut": SHUT, "made": {**FREE, "generator": GPT}}}
    names = [
        corpus("closed", licence=SHUT),
        corpus("open", licence=FREE),
        corpus("mixed", licence=licence, parts=parts),
    ]
    for told in (COMMERCIAL | recipe, EVERYTHING | recipe):
        write_manifests(folder, names, told)
    split = len(rows.pairs) // 2
    write_rows(folder, "open", [{"q": q, "a": a} for q, a in rows.pairs[: split + SHARED]])
    write_rows(folder, "closed", [{"q": q, "a": a} for q, a in rows.pairs[split:]])
    quarter = len(rows.triplets) // 4
    for sub, start, end in (("free", 0, 2), ("shut", 1, 4), ("made", 2, 3)):
        # The parts share pairs, and each ships negatives of its own to them.
        told = [{"q": q, "a": a, "n": f"{n}{sub}"} for q, a, n in rows.triplets[start * quarter : end * quarter]]
        write_rows(folder, f"ranked-{sub}", told)
    half = len(rows.judged) // 2
    for sub, start in (("free", 0), ("shut", half)):
        told = [{"q": q, "a": a, "same": same} for q, a, same in rows.judged[start : start + half]]
        write_rows(folder, f"judged-{sub}", told)
    return folder


def built(folder: Path, recipe: str, base: Path, heard: list[tuple[str, str, str]] | None = None) -> Path:
    """Build a recipe of a folder of manifests; `heard` takes what the runner says."""
    catalog = read_catalog([folder], shipped=False)
    listen = (lambda stage, name, state, _: heard.append((stage, name, state))) if heard is not None else None
    runner = Threads(2, listen)
    try:
        outcome = build(context_of(catalog, catalog.recipe(recipe), base / "store"), runner)
    finally:
        runner.close()
    count(outcome)
    assert not outcome.gaps
    return write_build(outcome, base / "out", (), [])[0]


@pytest.fixture(scope="module", params=["made", "slices"])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp(request.param)
    rows = made_up() if request.param == "made" else from_slices(request.getfixturevalue("real_corpora"))
    manifests_of(base / "manifests", rows)
    for recipe in ("commercial", "everything"):
        built(base / "manifests", recipe, base)
    return base


def table(path: Path) -> pl.DataFrame:
    return pl.read_parquet(path)


# --- what a commercial build holds -----------------------------------------------------------------------------------


def test_every_text_of_a_commercial_build_is_allowed(home: Path) -> None:
    assert violations(home / "out/commercial", [home / "manifests"], allowed_only=True) == []
    mixed = table(home / "out/commercial/data/mixed")
    assert set(mixed["sub_source"]) == {"free"}
    assert mixed["text_neg"].list.len().min() == 1
    assert set(table(home / "out/commercial/labelled/mixed.parquet")["sub_source"]) == {"free"}
    assert not (home / "out/commercial/data/closed").exists()


def test_every_text_of_any_build_says_what_its_manifest_says(home: Path) -> None:
    assert violations(home / "out/everything", [home / "manifests"], allowed_only=False) == []
    told = violations(home / "out/everything", [home / "manifests"], allowed_only=True)
    assert any("data/closed" in one for one in told)
    assert any("labelled/mixed" in one for one in told)


def test_a_pair_in_a_free_and_a_closed_corpus_survives_in_its_free_copy_and_lists_the_other(home: Path) -> None:
    both = table(home / "out/everything/data/open").filter(pl.col("also_in").list.contains("closed"))
    assert both.height >= SHARED * 2 // 3, both.height
    removed = table(home / "out/everything/ledger/closed.parquet").filter(pl.col("stage") == "dedupe")
    assert set(both["record_id"]) <= set(removed["duplicate_of"])
    closed = table(home / "out/everything/data/closed")
    assert not set(closed["text"] + "\n" + closed["text_pos"]) & set(both["text"] + "\n" + both["text_pos"])
    # In the commercial build the closed corpus takes no part, and the free copies are all there.
    assert set(both["record_id"]) <= set(table(home / "out/commercial/data/open")["record_id"])


def test_negatives_of_a_stricter_part_do_not_join_a_freer_copy(home: Path) -> None:
    mixed = table(home / "out/everything/data/mixed").explode("text_neg")
    assert set(mixed["sub_source"]) == {"free", "shut", "made"}
    assert mixed.filter(~pl.col("text_neg").str.ends_with(pl.col("sub_source"))).height == 0
    shared = {
        row["text"] for row in table(home / "out/everything/data/mixed").to_dicts() if row["sub_source"] == "free"
    }
    rows = [json.loads(line) for line in lines(home / "manifests/files/ranked-shut.jsonl")]
    assert shared & {row["q"] for row in rows}


def test_dropped_rows_are_counted_with_their_reason(home: Path) -> None:
    told = {f["corpus"]: f for f in json.loads((home / "out/commercial/funnel.json").read_text())["corpora"]}
    assert told["mixed"]["removed"]["licence"]["use_class"] > 0
    shut = lines(home / "manifests/files/judged-shut.jsonl")
    assert told["mixed"]["labelled_removed"]["use_class"] == len(shut)
    assert sum(told["mixed"]["licences"].values()) == told["mixed"]["kept"]


def test_a_release_counts_each_row_once_whether_by_receipt_or_by_rows(home: Path) -> None:
    for name in ("commercial", "everything"):
        folder = home / "out" / name
        told = json.loads((folder / "build.json").read_text())
        by_rows, by_receipt = release_of_build(folder), release_of(told)
        assert vars(by_rows) == vars(by_receipt)
        held = sum(n for uses in by_rows.held_back.values() for n in uses.values())
        placed = sum(c.records + sum(c.labelled.values()) for c in by_rows.classes)
        assert placed + held == told["counts"]["kept"] + told["counts"]["labelled_kept"]
        assert (held > 0) == (name == "everything")


# --- the judge is judged ---------------------------------------------------------------------------------------------


def rewrite(path: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    read = pq.read_table(path)
    rows = read.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=read.schema), path)


def the(folder: Path) -> Path:
    return next(iter(sorted(folder.glob("*.parquet"))))


def manifest(copy: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    path = copy / "manifests/corpora" / f"{name}.yaml"
    told = YAML(typ="safe").load(path.read_text("utf-8"))
    change(told)
    path.write_text(json.dumps(told, ensure_ascii=False, default=str), "utf-8")


def set_all(**values: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda rows: rows[0].update(values)


def of(home: Path, name: str, keep: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
    rows = pq.read_table(home / "out/everything" / name).to_pylist()
    return next(row for row in rows if keep(row))


def breaches(home: Path, copy: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """What could go wrong, one at a time, in a copy of the build and its manifests."""
    out = copy / "build"
    closed = of(home, "data/closed")
    shut_row = of(home, "data/mixed", lambda row: row["sub_source"] == "shut")
    shut_judged = of(home, "labelled/mixed.parquet", lambda row: row["sub_source"] == "shut")
    data, mixed, judged = the(out / "data/open"), the(out / "data/mixed"), out / "labelled/mixed.parquet"
    allowed = {"licence_id": "CC0-1.0", "commercial": "allowed", "redistribute": "allowed"}
    yield "a row of a closed corpus, as it is", lambda: rewrite(data, lambda rows: rows.append(closed))
    yield "the same under a free name", lambda: rewrite(data, lambda r: r.append(closed | allowed | {"corpus": "open"}))
    yield (
        "the same text under the id of a free row",
        lambda: rewrite(data, set_all(text=closed["text"], text_pos=closed["text_pos"])),
    )
    yield "a row of a closed part", lambda: rewrite(mixed, lambda rows: rows.append(shut_row))
    yield (
        "the same, called free",
        lambda: rewrite(mixed, lambda rows: rows.append(shut_row | allowed | {"sub_source": "free"})),
    )
    yield (
        "the same, of a part nobody knows",
        lambda: rewrite(mixed, lambda rows: rows.append(shut_row | allowed | {"sub_source": "other"})),
    )
    yield "licence columns that flatter", lambda: rewrite(mixed, lambda rows: rows.append(shut_row | allowed))
    yield "licence columns that are wrong in the id alone", lambda: rewrite(data, set_all(licence_id="MIT"))
    yield (
        "a negative of a closed part",
        lambda: rewrite(mixed, lambda r: r[0]["text_neg"].append(shut_row["text_neg"][0])),
    )
    yield "a negative from nowhere", lambda: rewrite(data, set_all(text_neg=["从何而来"]))
    yield "a labelled row of a closed part", lambda: rewrite(judged, lambda rows: rows.append(shut_judged))
    yield (
        "the same, called free (labelled)",
        lambda: rewrite(judged, lambda rows: rows.append(shut_judged | allowed | {"sub_source": "free"})),
    )
    yield "a record twice", lambda: rewrite(data, lambda rows: rows.append(rows[0]))
    yield "a file that no receipt lists", lambda: shutil.copy(data, data.with_name("train-00009-of-00010.parquet"))
    yield "text beside the records", lambda: shutil.copy(data, out / "ledger" / "open.parquet")
    yield "a corpus without a manifest", lambda: (copy / "manifests/corpora/open.yaml").unlink()
    yield "evidence taken back", lambda: manifest(copy, "open", lambda told: told["licence"].update(evidence=[]))
    yield (
        "evidence without its words",
        lambda: manifest(copy, "open", lambda told: told["licence"].update(evidence=[{**READ, "quote": ""}])),
    )
    yield "confidence lost", lambda: manifest(copy, "open", lambda told: told["licence"].update(confidence="low"))
    yield (
        "terms that became stricter",
        lambda: manifest(copy, "open", lambda told: told["licence"].update(commercial="unknown")),
    )
    yield (
        "a part that became stricter",
        lambda: manifest(
            copy, "mixed", lambda told: told["licence"]["sub_sources"]["free"].update(commercial="forbidden")
        ),
    )
    yield "a generator found out", lambda: manifest(copy, "open", lambda told: told["licence"].update(generator=GPT))


def test_every_planted_breach_is_caught(home: Path, tmp_path: Path) -> None:
    caught: list[str] = []
    while True:
        copy = tmp_path / str(len(caught))
        shutil.copytree(home / "out/commercial", copy / "build")
        shutil.copytree(home / "manifests", copy / "manifests")
        assert caught or violations(copy / "build", [copy / "manifests"], allowed_only=True) == []
        planted = list(breaches(home, copy))
        name, plant = planted[len(caught)]
        plant()
        assert violations(copy / "build", [copy / "manifests"], allowed_only=True), f"not caught: {name}"
        shutil.rmtree(copy)
        caught.append(name)
        if len(caught) == len(planted):
            break
    assert len(set(caught)) == 22


# --- edits -----------------------------------------------------------------------------------------------------------


def ran(folder: Path, base: Path, recipe: str = "everything") -> set[str]:
    heard: list[tuple[str, str, str]] = []
    built(folder, recipe, base, heard)
    return {stage for stage, _, state in heard if state == "done" and stage != "fetch"}


def test_an_edit_of_terms_runs_only_resolve_and_assemble(tmp_path: Path) -> None:
    folder = manifests_of(tmp_path / "manifests", made_up())
    assert {"convert", "quality", "dedupe"} < ran(folder, tmp_path)
    assert ran(folder, tmp_path) == set()

    def edit(change: Callable[[dict[str, Any]], None]) -> set[str]:
        manifest(tmp_path, "mixed", change)
        return ran(folder, tmp_path)

    free = {"licence_id": "CC0-1.0", "commercial": "allowed"}
    rows = table(tmp_path / "out/everything/data/mixed").filter(sub_source="free").select(*free)
    assert set(rows.rows()) == {tuple(free.values())}
    assert edit(lambda told: told["licence"]["sub_sources"]["free"].update(commercial="unknown")) == {
        "resolve",
        "assemble",
    }
    rows = table(tmp_path / "out/everything/data/mixed").filter(sub_source="free").select(*free)
    assert set(rows.rows()) == {("CC0-1.0", "unknown")}
    # What no column and no priority hangs on is told in the papers alone.
    assert edit(lambda told: told["licence"]["sub_sources"]["free"].update(attribution="A. Body")) == set()
    assert "A. Body" in (tmp_path / "out/everything/ATTRIBUTION.md").read_text("utf-8")


def test_the_policy_of_a_recipe_decides_over_generated_text_and_is_told(tmp_path: Path) -> None:
    folder = manifests_of(tmp_path / "manifests", made_up())
    built(folder, "commercial", tmp_path)
    assert set(table(tmp_path / "out/commercial/data/mixed")["sub_source"]) == {"free"}
    card = (tmp_path / "out/commercial/README.md").read_text("utf-8")
    assert "`accept_generator_terms: false`" in card and "`accept_miner_terms: false`" in card
    write_manifests(folder, [], COMMERCIAL | {"accept_generator_terms": True})
    assert ran(folder, tmp_path, "commercial") == {"resolve", "assemble"}
    assert set(table(tmp_path / "out/commercial/data/mixed")["sub_source"]) == {"free", "made"}
    assert "`accept_generator_terms: true`" in (tmp_path / "out/commercial/README.md").read_text("utf-8")
    assert json.loads((tmp_path / "out/commercial/build.json").read_text())["recipe"]["accept_generator_terms"] is True
    assert violations(tmp_path / "out/commercial", [folder], allowed_only=True) == []


# --- tombstones ------------------------------------------------------------------------------------------------------


def hashed(text: str) -> str:
    return f"{key_hash(match_key(pl.Series([text]))).item():016x}"


def test_a_tombstone_strikes_records_negatives_and_labelled_rows(tmp_path: Path) -> None:
    rows = made_up()
    folder = manifests_of(tmp_path / "manifests", rows)
    built(folder, "everything", tmp_path)
    before = {name: table(tmp_path / "out/everything/data" / name) for name in ("open", "closed", "mixed")}
    one = before["open"].row(0, named=True)
    with_neg = before["mixed"].filter(sub_source="free").row(0, named=True)
    judged = table(tmp_path / "out/everything/labelled/mixed.parquet")
    shared = rows.pairs[len(rows.pairs) // 2][1]  # held by two corpora
    by_id, by_row = one["record_id"], judged.row(3, named=True)["record_id"]
    spelt = "，".join(judged.row(0, named=True)["other"])  # the same text, other punctuation
    listed = [by_id, by_row, hashed(shared), hashed(with_neg["text_neg"][0]), hashed(spelt)]
    (folder / "tombstones.txt").write_text("".join(f"{t}  # asked for\n" for t in listed))
    assert ran(folder, tmp_path) == {"resolve", "assemble"}

    out = tmp_path / "out/everything"
    after = {name: table(out / "data" / name) for name in before}
    assert by_id not in set(after["open"]["record_id"])
    assert all(shared not in set(frame["text_pos"]) | set(frame["text"]) for frame in after.values())
    ledgers = pl.concat([table(out / "ledger" / f"{name}.parquet") for name in before])
    struck = ledgers.filter(stage="tombstone")
    assert set(struck["reason"]) == {"tombstone"}
    assert by_id in set(struck["record_id"])
    assert {row["corpus"] for row in struck.to_dicts()} >= {"open", "closed"}
    kept = {row["record_id"]: row for row in after["mixed"].to_dicts()}
    assert kept[with_neg["record_id"]]["text_neg"] == []
    assert not {n for row in kept.values() for n in row["text_neg"]} & set(with_neg["text_neg"])
    left = table(out / "labelled/mixed.parquet")
    assert set(judged["record_id"]) - set(left["record_id"]) == {by_row, judged.row(0, named=True)["record_id"]}
    funnel = {f["corpus"]: f for f in json.loads((out / "funnel.json").read_text())["corpora"]}
    assert funnel["mixed"]["labelled_removed"] == {"tombstone": 2}
    assert json.loads((out / "build.json").read_text())["tombstones"] == len(listed)


# --- the real recipe over real slices --------------------------------------------------------------------------------

SLICES = ["cmrc2018", "paws-x", "csl", "ocnli", "lcqmc", "bq", "SimCLUE", "medi", "chatmed_consult", "webqa"]
SLICES += ["mlqa_standin", "dureader_robust_standin", "miracl-corpus_standin"]


def test_the_commercial_recipe_over_real_slices(real_corpora: Path, tmp_path: Path) -> None:
    """The slices under the licence blocks of the shipped manifests, by the shipped recipe but for its benchmarks."""
    root = Path(__file__).resolve().parents[1]
    folder = tmp_path / "manifests"
    (folder / "corpora").mkdir(parents=True)
    (folder / "recipes").mkdir()
    shutil.copy(root / "manifests/licences.yaml", folder)
    for name in SLICES:
        told = YAML(typ="safe").load((root / "tests/real/corpora" / f"{name}.yaml").read_text("utf-8"))
        shipped = root / "manifests/corpora" / f"{name.removesuffix('_standin')}.yaml"
        told["licence"] = YAML(typ="safe").load(shipped.read_text("utf-8"))["licence"]
        told["source"]["root"] = str(real_corpora / Path(told["source"]["root"]).name)
        (folder / "corpora" / f"{name}.yaml").write_text(json.dumps(told, ensure_ascii=False, default=str), "utf-8")
    recipe = YAML(typ="safe").load((root / "manifests/recipes/m3e-commercial.yaml").read_text("utf-8"))
    recipe["decontaminate"] = {"benchmarks": []}
    (folder / "recipes/m3e-commercial.yaml").write_text(json.dumps(recipe), "utf-8")

    path = built(folder, "m3e-commercial", tmp_path)
    held = {p.name for p in (path / "data").iterdir()}
    assert held == {"cmrc2018", "paws-x", "mlqa_standin", "dureader_robust_standin", "miracl-corpus_standin"}
    assert {p.stem for p in (path / "labelled").iterdir()} == {"paws-x"}
    assert violations(path, [folder], allowed_only=True) == []
    read = json.loads((path / "build.json").read_text())
    assert all(use.endswith("(allowed)") for told in read["licences"].values() for use in told)
    assert read["counts"]["kept"] > 5000
