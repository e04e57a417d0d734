"""The card and the attributions, read back by the programs they are for: YAML, Markdown tables, `datasets`."""

from __future__ import annotations

import ast
import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pipeline.build import build, count
from pipeline.card import COLUMNS, SCORED, Copy, licence_mix, losses_of, render_attribution, render_card, size_category
from pipeline.context import context_of
from pipeline.ledger import STAGES, Funnel
from pipeline.manifest.catalog import read_catalog
from pipeline.manifest.corpus import Corpus
from pipeline.receipt import write_build
from pipeline.record import DATA_SCHEMA, SCORED_SCHEMA
from pipeline.runner import Threads
from pipeline.views import Measured
from tests.command import python
from tests.small import CLOSED, OPEN, corpus

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped demo, built."""
    base = tmp_path_factory.mktemp("demo")
    catalog = read_catalog([])
    runner = Threads(2)
    try:
        outcome = build(context_of(catalog, catalog.recipe("demo"), base / "store"), runner)
    finally:
        runner.close()
    count(outcome)
    return write_build(outcome, base / "out", (), [])[0]


def front_matter(card: str) -> dict[str, Any]:
    head = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    assert head
    told: dict[str, Any] = YAML(typ="safe").load(head[1])
    return told


def table(card: str, title: str) -> list[list[str]]:
    """The cells of the first table below a heading, header and rule left out."""
    section = card.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("*") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def numbers(cells: list[str]) -> list[int]:
    return [int(cell.replace(",", "")) for cell in cells]


def funnels_of(folder: Path) -> dict[str, Any]:
    told = json.loads((folder / "funnel.json").read_bytes())
    return {one["corpus"]: one for one in [*told["corpora"], told["all"]]}


def made(name: str, **changes: Any) -> Corpus:
    return Corpus.model_validate(corpus(name, **changes))


def receipt(**changes: Any) -> dict[str, Any]:
    settings = {"policy": "drop", "threshold": 0.8, "min_chars": 8}
    recipe: dict[str, Any] = {"name": "small", "title": None, "consistency": None, "decontaminate": settings}
    recipe |= {"accept_generator_terms": False, "accept_miner_terms": False}
    told = {"recipe": recipe, "only": [], "sample": None, "gaps": [], "warnings": [], "benchmarks": []}
    return told | {"versions": {"m3e-pipeline": "1.2.3"}, "licences": {}, "training_datasets": {}} | changes


def measured_file(name: str, rows: int) -> Measured:
    return Measured(f"data/{name}/train-00000-of-00001.parquet", 1000, rows, rows, DATA_SCHEMA, {"text": 10 * rows})


def funnel(name: str, kept: int, **removed: dict[str, int]) -> Funnel:
    n = kept + sum(sum(reasons.values()) for reasons in removed.values())
    return Funnel(name, n, n, 0, 0, n, kept, removed)


def test_the_head_names_a_config_per_corpus_and_one_default(demo: Path) -> None:
    text = (demo / "README.md").read_text("utf-8")
    head = front_matter(text)
    names = [name for name in funnels_of(demo) if name != "all"]
    assert [config["config_name"] for config in head["configs"]] == [
        "all",
        "full",
        *(name + tail for name in names for tail in ("", "-full")),
    ]
    assert [config["config_name"] for config in head["configs"] if config.get("default")] == ["all"]
    assert (head["license"], head["license_name"]) == ("other", "mixed-per-corpus")
    assert head["language"] == ["zh"] and head["size_categories"] == "n<1K"
    assert "sentence-transformers" in head["tags"] and "sentence-similarity" in head["task_categories"]
    assert "*id" not in text  # no YAML alias: not every reader of cards follows one


LOAD = """
import json, sys
from datasets import load_dataset
folder, cache, *names = sys.argv[1:]
told = {}
for name in names:
    loaded = load_dataset(folder, *([name] if name != "-" else []), cache_dir=cache)
    assert list(loaded) == ["train"]
    told[name] = {"columns": loaded["train"].column_names, "texts": loaded["train"]["text"][:]}
sys.stdout.write(json.dumps(told))
"""


def loaded(folder: Path, tmp_path: Path, *names: str) -> dict[str, Any]:
    """What `datasets` reads by each config ("-" is the default one), in a process without a network or a cache."""
    if find_spec("datasets") is None:
        pytest.skip("datasets is not installed (extra: dev)")
    cache = str(tmp_path / "cache")
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": cache, "PATH": "", "HOME": cache}
    done = python(LOAD, folder, cache, *names, env=env)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_datasets_loads_every_config(demo: Path, tmp_path: Path) -> None:
    names = [name for name in funnels_of(demo) if name != "all"]
    told = loaded(demo, tmp_path, "-", "all", "full", *names)
    for name in names:
        shards = sorted((demo / "data" / name).glob("*.parquet"))
        assert told[name]["texts"] == pl.concat([pl.read_parquet(p) for p in shards])["text"].to_list()
        assert told[name]["columns"] == ["text", "text_pos"]
    everything = [text for name in names for text in told[name]["texts"]]
    assert told["all"]["texts"] == told["full"]["texts"] == told["-"]["texts"] == everything
    assert len(everything) == funnels_of(demo)["all"]["kept"]
    assert told["-"]["columns"] == ["text", "text_pos"]
    assert told["full"]["columns"] == DATA_SCHEMA.names


def test_the_tables_say_what_the_funnel_says(demo: Path) -> None:
    card = (demo / "README.md").read_text("utf-8")
    expected = funnels_of(demo)
    rows = {cells[0]: numbers(cells[1:]) for cells in table(card, "Funnel")}
    assert set(rows) == set(expected)
    for name, told in expected.items():
        gone = sum(n for reasons in told["removed"].values() for n in reasons.values())
        read, filtered, bad, converted, *losses, kept = rows[name]
        assert (read, filtered, bad) == (told["read"], told["filtered"], told["quarantined"])
        assert (converted, sum(losses), kept) == (told["converted"], gone, told["kept"])
    composition = {cells[0]: numbers([cells[6]])[0] for cells in table(card, "Composition")}
    assert composition == {name: told["kept"] for name, told in expected.items()}
    assert f"Removed: {sum(expected['all']['removed']['decontaminate'].values())} of" in card
    assert table(card, "Decontamination") == [[*key, *map(str, counts)] for key, counts in leaks_by_hand(demo)]


def leaks_by_hand(folder: Path) -> list[tuple[tuple[str, str], list[int]]]:
    """(task, role) -> exact, edited, embedded, removed, flagged, row by row from ledger and evidence."""
    told: dict[tuple[str, str], list[int]] = {}
    roles = {"benchmark_positive": "positive", "corpus_overlap": "passage", "benchmark_negative": "negative"}
    for path in sorted((folder / "ledger").glob("*.parquet")):
        for row in pl.read_parquet(path).filter(pl.col("stage") == "decontaminate").iter_rows(named=True):
            counts = told.setdefault(
                (row["benchmark"], "pair" if row["reason"] == "benchmark_pair" else "query"), [0] * 5
            )
            counts[2 if row["reason"] == "benchmark_inside" else int(row["similarity"] < 1)] += 1
            counts[3] += 1
    for path in sorted((folder / "evidence").glob("*.parquet")):
        if path.stem == "edges":
            continue
        for flags in pl.read_parquet(path).filter("kept")["flags"]:
            for name, _, task in (flag.partition(":") for flag in flags):
                if name in roles:
                    told.setdefault((task, roles[name]), [0] * 5)[4] += 1
    assert told, "the demo needs leaks to be told"
    return sorted(told.items())


def test_the_funnel_tells_the_leaks_of_every_corpus(demo: Path) -> None:
    told = json.loads((demo / "funnel.json").read_bytes())["benchmarks"]
    kinds = ("exact", "edited", "embedded", "flagged")
    for kind in kinds:
        assert sum(leak[kind] for leak in told["all"]) == sum(
            leak[kind] for name, leaks in told.items() if name != "all" for leak in leaks
        )
    by_hand = {key: [*counts[:3], counts[4]] for key, counts in leaks_by_hand(demo)}
    assert {(leak["task"], leak["role"]): [leak[kind] for kind in kinds] for leak in told["all"]} == by_hand


def test_what_a_model_declares_to_mteb_is_told() -> None:
    card = render_card([made("one")], receipt(training_datasets={"BQ": ["bq"], "DuRetrieval": ["a", "b"]}), [])
    code = card.split("```python\ntraining_datasets = ", 1)[1].split("```", 1)[0]
    assert ast.literal_eval(code) == {"BQ", "DuRetrieval"}  # a set, as mteb wants it


def test_every_column_of_a_record_is_told(demo: Path) -> None:
    told = {cells[0].strip("`") for cells in table((demo / "README.md").read_text("utf-8"), "Columns")}
    assert told == set(COLUMNS) == set(DATA_SCHEMA.names)
    assert {*COLUMNS, *SCORED} == set(SCORED_SCHEMA.names)


def test_the_papers_hold_no_path_and_the_card_no_date(demo: Path) -> None:
    for name in ("README.md", "ATTRIBUTION.md", "report.html"):
        text = (demo / name).read_text("utf-8")
        assert str(demo.parents[1]) not in text and str(ROOT) not in text
    assert not re.search(r"\b20\d\d-\d\d-\d\d\b", (demo / "README.md").read_text("utf-8"))


def test_the_papers_are_counted_in_the_receipt(demo: Path) -> None:
    files = json.loads((demo / "build.json").read_bytes())["files"]
    for name in ("README.md", "ATTRIBUTION.md"):
        assert files[name]["bytes"] == (demo / name).stat().st_size
    assert "report.html" not in files  # it tells what this run cost


def test_a_corpus_of_which_nothing_is_left_has_no_config_but_is_named() -> None:
    corpora = [made("one"), made("gone")]
    told = receipt(licences={"one": {"CC0-1.0 (allowed)": 3}, "gone": {}})
    card = render_card(corpora, told, [funnel("one", 3), funnel("gone", 0, quality={"too_short": 2})])
    assert [c["config_name"] for c in front_matter(card)["configs"]] == ["all", "full", "one", "one-full"]
    assert ["gone", "2", "0", "0", "2", "2", "0"] in table(card, "Funnel")
    assert [cells[0] for cells in table(card, "Composition")] == ["one", "all"]
    assert "Nothing is left of gone" in card


def test_a_build_with_nothing_left_still_has_a_card() -> None:
    card = render_card([made("gone")], receipt(), [funnel("gone", 0, quality={"too_short": 2})])
    assert "configs" not in front_matter(card)
    assert front_matter(card)["license"] == "unknown"


@pytest.mark.parametrize(
    ("mix", "repo", "expected"),
    [
        ({"CC0-1.0 (allowed)": 2}, None, {"license": "cc0-1.0"}),
        ({"CC-BY-SA-4.0 (allowed)": 1, "CC-BY-SA-4.0 (unknown)": 1}, None, {"license": "cc-by-sa-4.0"}),
        ({"NOASSERTION (unknown)": 2}, None, {"license": "unknown"}),
        ({"LicenseRef-BQ form (forbidden)": 2}, None, {"license": "other", "license_name": "licenseref-bq-form"}),
        ({"CC0-1.0 (allowed)": 1, "MIT (unknown)": 1}, None, {"license": "other", "license_name": "mixed-per-corpus"}),
        (
            {"CC0-1.0 (allowed)": 1, "MIT (unknown)": 1},
            "org/name",
            {
                "license": "other",
                "license_name": "mixed-per-corpus",
                "license_link": "https://huggingface.co/datasets/org/name/blob/main/ATTRIBUTION.md",
            },
        ),
    ],
)
def test_the_licence_of_the_head(mix: dict[str, int], repo: str | None, expected: dict[str, str]) -> None:
    copy = Copy(repo, {"one": 2}, {}, [], [measured_file("one", 2)]) if repo else None
    card = render_card([made("one")], receipt(licences={"one": mix}), [funnel("one", 2)], copy=copy)
    head = front_matter(card)
    assert {key: value for key, value in head.items() if key.startswith("license")} == expected


def test_a_published_part_counts_what_it_holds_and_says_so() -> None:
    corpora = [made("free"), made("closed", licence=CLOSED)]
    told = receipt(licences={"free": {"CC0-1.0 (allowed)": 1500}, "closed": {"CC-BY-NC-4.0 (forbidden)": 9}})
    funnels = [funnel("free", 1500), funnel("closed", 9)]
    copy = Copy("org/part", {"free": 1500, "closed": 0}, {"closed": 9}, [], [measured_file("free", 1500)])
    card = render_card(corpora, told, funnels, copy=copy)
    head = front_matter(card)
    assert head["license"] == "cc0-1.0" and head["size_categories"] == "1K<n<10K"
    assert [c["config_name"] for c in head["configs"]] == ["all", "full", "free", "free-full"]
    assert "This copy holds 1,500 of the 1,509 kept records" in card and "and no text:\nclosed 9." in card
    assert [info["splits"][0]["num_examples"] for info in head["dataset_info"]] == [1500] * 4
    assert 'load_dataset("org/part"' in card
    assert "forbidden 0" in card


def test_gaps_parts_and_unchecked_builds_are_told() -> None:
    gap = {"corpus": "lost", "stage": "fetch", "cause": f"{ROOT}/x is missing", "cure": "find it"}
    told = receipt(gaps=[gap], only=["one"], sample=20, warnings=["one: 3 rows, 4 claimed"])
    card = render_card([made("one", weak=True)], told, [funnel("one", 3)])
    assert "lost (fetch)" in card and str(ROOT) not in card
    assert "only one" in card and "first 20 records" in card and "one: 3 rows, 4 claimed" in card
    assert "m3e build small --only one --sample 20" in card
    assert "not compared with any benchmark" in card and "decontaminated" not in front_matter(card)["tags"]
    assert "pairs of one were never labelled" in card


def test_foreign_text_stays_in_its_cell() -> None:
    card = render_card([made("one", title="a | b\n<b>c")], receipt(), [funnel("one", 3)])
    assert table(card, "Composition")[0][1] == r"a \| b &lt;b>c"


def test_attribution_holds_every_quote_of_every_manifest() -> None:
    """Over the manifests of the real slices, read here as plain YAML; the slices themselves are not needed."""
    folder = ROOT / "tests" / "real"
    text = render_attribution(list(read_catalog([folder]).corpora.values()))
    flat = " ".join(re.sub(r"^> ?", "", line) for line in text.splitlines())
    flat = re.sub(r"\s+", " ", flat)
    quotes = 0
    for path in sorted((folder / "corpora").glob("*.yaml")):
        told = YAML(typ="safe").load(path)
        assert f"\n## {told['name']}\n" in text
        for evidence in told["licence"].get("evidence", []):
            quotes += 1
            assert re.sub(r"\s+", " ", evidence["quote"]).strip() in flat
            place = f"{evidence['repo']}@{evidence['commit']}" if "repo" in evidence else evidence.get("url", "")
            assert place in text and str(evidence["read"]) in text
        for key in ("spdx", "attribution", "conflict", "note"):
            assert re.sub(r"\s+", " ", told["licence"].get(key) or "") in flat
    assert quotes > 10


def test_attribution_tells_sub_sources_apart() -> None:
    part = corpus("hc")["parts"][0]
    closed = CLOSED | {"attribution": "The Institute", "conflict": "tag says MIT, text says research"}
    licence = OPEN | {"sub_sources": {"medicine": closed}}
    parts = [part | {"sub_source": "baike"}, part | {"sub_source": "medicine"}]
    text = render_attribution([made("hc", parts=parts, licence=licence)])
    baike, medicine = text.split("## hc / ")[1:]
    assert baike.startswith("baike") and "CC0-1.0" in baike and "The Institute" not in baike
    assert medicine.startswith("medicine") and "CC-BY-NC-4.0" in medicine
    assert "Attribution: The Institute" in medicine and "Conflict: tag says MIT" in medicine


@given(st.integers(0, 10**12))
def test_a_size_lies_in_its_category(records: int) -> None:
    unit = {"K": 10**3, "M": 10**6, "B": 10**9}
    low, high = re.fullmatch(r"(?:(\d+[KMB])<)?n(?:[<>](\d+[KMB]))?", size_category(records)).groups()  # type: ignore[union-attr]
    value = {bound: int(bound[:-1]) * unit[bound[-1]] for bound in (low, high) if bound}
    if size_category(records) == "n>1B":
        assert records >= 10**9
    else:
        assert value.get(low, 0) <= records < value[high]


reasons = st.sampled_from(["exact_duplicate", "near_duplicate", "swapped_duplicate", "too_short", "new_reason"])
removals = st.dictionaries(st.sampled_from([*STAGES, "new_stage"]), st.dictionaries(reasons, st.integers(0, 9)))


@given(st.lists(st.tuples(st.integers(0, 9), removals), max_size=4))
def test_the_losses_and_the_kept_are_all_records(told: list[tuple[int, dict[str, dict[str, int]]]]) -> None:
    funnels = [funnel(str(i), kept, **removed) for i, (kept, removed) in enumerate(told)]
    losses = losses_of(funnels)
    for one in funnels:
        assert sum(loss.of(one) for loss in losses) + one.kept == one.converted
    assert len({loss.key for loss in losses}) == len(losses)


def test_the_licence_mix_adds_up_over_corpora() -> None:
    told = {"licences": {"a": {"MIT (unknown)": 2, "CC0-1.0 (allowed)": 1}, "b": {"MIT (unknown)": 5}}}
    assert [(s.licence, s.commercial, s.records) for s in licence_mix(told)] == [
        ("MIT", "unknown", 7),
        ("CC0-1.0", "allowed", 1),
    ]
    assert [s.records for s in licence_mix(told, ["b"])] == [5]
