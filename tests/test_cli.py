"""The command line as its user meets it: exit codes, sentences, tables; some of it as processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.command import m3e, started
from tests.small import corpus, write_manifests, write_rows
from tests.test_build import pairs


def failed_in_one_sentence(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with manifests of one corpus and a recipe `small`."""
    manifests = write_manifests(tmp_path / "manifests", [corpus("one")], {"name": "small", "corpora": ["one"]})
    write_rows(manifests, "one", [*pairs(0, 5), pairs(0, 1)[0]])
    return tmp_path


def build(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return m3e("build", "small", "--manifests", "manifests", *words, cwd=home)


def edit(home: Path, **changes: Any) -> None:
    write_manifests(home / "manifests", [corpus("one", **changes)])


def test_build_explain_and_preview(home: Path) -> None:
    done = started("build", "small", "--manifests", "manifests", cwd=home)
    assert done.returncode == 0, done.stderr
    assert "Built: build/small\n" in done.stdout
    assert (home / "build/small/report.html").is_file()
    ledger = pl.read_parquet(home / "build/small/ledger/one.parquet")
    told = m3e("explain", ledger["record_id"][0], "--build", "build/small", cwd=home)
    assert f"removed by dedupe: exact_duplicate of {ledger['duplicate_of'][0]} (one), similarity 1.000." in told.stdout
    by_text = m3e("explain", pairs()[0]["q"] + "？", "--build", "build/small", cwd=home)
    assert by_text.stdout.count("exact_duplicate") == 1
    assert "is kept." in by_text.stdout
    shown = m3e("preview", "build/small", "-n", "2", cwd=home)
    assert sum(pair["q"] in shown.stdout for pair in pairs()) == 2
    assert "Nothing changed: build/small" in build(home).stdout


def test_explain_says_when_it_never_saw_the_text(home: Path) -> None:
    build(home)
    failed_in_one_sentence(
        m3e("explain", "从未见过的句子", "--build", "build/small", cwd=home), 2, "no record of this build", "Cure"
    )
    failed_in_one_sentence(m3e("explain", "x", cwd=home), 2, "build/small", "no record of this build")
    assert build(home, "--sample", "2").returncode == 0
    failed_in_one_sentence(m3e("explain", "x", cwd=home), 2, "no build.json", "build/small, build/small.sample-2")
    failed_in_one_sentence(m3e("explain", "x", "--build", "manifests", cwd=home), 2, "no build.json", "m3e build")
    failed_in_one_sentence(m3e("preview", "build/small", "--corpus", "two", cwd=home), 2, "two", "one")


def test_plan_runs_and_writes_nothing(home: Path) -> None:
    before = json.loads(m3e("plan", "small", "--manifests", "manifests", "--json", cwd=home).stdout)
    assert {s["state"] for s in before["steps"]} == {"to run"}
    assert not (home / ".m3e").exists()
    build(home)
    after = json.loads(m3e("plan", "small", "--manifests", "manifests", "--json", cwd=home).stdout)
    assert {s["state"] for s in after["steps"]} == {"cached"}
    assert [s["stage"] for s in after["steps"]] == [s["stage"] for s in before["steps"]]
    assert "one" in m3e("plan", "small", "--manifests", "manifests", cwd=home).stdout


def test_corpora_as_a_table_and_for_programs(home: Path) -> None:
    listed = json.loads(m3e("corpora", "--manifests", "manifests", "--json", cwd=home).stdout)
    one = next(c for c in listed if c["name"] == "one")
    assert (one["commercial"], one["redistribute"], one["licence"]) == ("allowed", "allowed", "CC0-1.0")
    assert "one" in m3e("corpora", "--manifests", "manifests", cwd=home).stdout
    by_environment = m3e("corpora", "--json", cwd=home, M3E_MANIFESTS=str(home / "manifests"))
    assert "one" in {c["name"] for c in json.loads(by_environment.stdout)}


def test_check_tells_every_problem_and_exits_1(home: Path) -> None:
    assert m3e("check", "--manifests", "manifests", cwd=home).returncode == 0
    edit(home, grade="好", source={"kind": "hub", "repo": "a/b", "revision": "main"})
    done = started("check", "--manifests", "manifests", cwd=home)
    failed_in_one_sentence(done, 1, "manifests/corpora/one.yaml:7:11", "grade", "source.revision: 'main' moves")
    assert m3e("check", "manifests/corpora/one.yaml", cwd=home).returncode == 1


def test_wrong_usage_exits_2(home: Path) -> None:
    failed_in_one_sentence(
        started("build", "nothing", "--manifests", "manifests", cwd=home), 2, "no such recipe", "small"
    )
    failed_in_one_sentence(m3e("check", "--manifests", "nowhere", cwd=home), 2, "nowhere")
    assert m3e("bulid").returncode == 2
    assert build(home, "--sample", "0").returncode == 2


SELECT = {"text": "q", "text_pos": "a"}
LABEL = {"q": "string", "a": "string", "label": {"names": ["no", "yes"]}}


def part(**changes: Any) -> list[dict[str, Any]]:
    return [corpus("one")["parts"][0] | changes]


@pytest.mark.parametrize(
    ("changes", "content", "words"),
    [
        pytest.param({}, None, ["one.jsonl"], id="missing file"),
        pytest.param({}, '{"q": "问题一", "a": "答案一"}\n'.encode("gbk") * 3, ["utf-8"], id="wrong encoding"),
        pytest.param(
            {"parts": part(files={"train": "one.jsonl.gz"})},
            b"\x1f\x8b\x08\x00cut",
            ["one.jsonl.gz"],
            id="truncated gzip",
        ),
        pytest.param({}, b'{"question": "q", "a": "x"}\n', ["one", "column q", "question"], id="renamed column"),
        pytest.param(
            {"parts": part(columns=LABEL, select=SELECT | {"where": "label = 'yes'"})},
            b'{"q": "x", "a": "y", "label": "maybe"}\n' * 2,
            ["one", "maybe", "no, yes"],
            id="unknown label in the data",
        ),
        pytest.param(
            {"expect": {"rows": 7, "seen": "measured"}},
            b'{"q": "x", "a": "y"}\n',
            ["one", "rows", "7", "1"],
            id="count drift",
        ),
        pytest.param({}, b'{"q": "x", "a": "y"}\n' + b"not json\n", ["one", "not JSON"], id="too many bad rows"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    home: Path, changes: dict[str, Any], content: bytes | None, words: list[str]
) -> None:
    edit(home, **changes)
    name = str((changes.get("parts") or part())[0]["files"]["train"])
    (home / "manifests" / "files" / "one.jsonl").unlink()
    if content is not None:
        (home / "manifests" / "files" / name).write_bytes(content)
    failed_in_one_sentence(build(home), 1, "Cure", *words)
    assert not (home / "build").exists()
    assert not list((home / ".m3e").glob("*/*.tmp"))
    # A conversion whose counts are not as expected is whole; any other left nothing.
    left = list((home / ".m3e" / "convert").glob("*"))
    assert all((path / "entry.json").is_file() for path in left)
    assert bool(left) == ("expect" in changes)


def test_bad_rows_below_the_limit_are_kept_aside_and_counted(home: Path) -> None:
    edit(home, max_bad_rows=0.2)
    with (home / "manifests" / "files" / "one.jsonl").open("a") as file:
        file.write('{"q": "少了一边"}\n')
    assert build(home).returncode == 0
    (bad,) = pl.read_parquet(home / "build/small/quarantine/one.parquet").to_dicts()
    assert (bad["row"], bad["raw"]) == ("one.jsonl#6", '{"q": "少了一边"}')
    assert "a" in bad["reason"]
    funnel = json.loads((home / "build/small/funnel.json").read_bytes())["corpora"][0]
    assert (funnel["read"], funnel["used"], funnel["quarantined"]) == (7, 6, 1)


def test_manifest_faults_stop_a_build_before_anything_is_written(home: Path) -> None:
    (home / "manifests/corpora/again.yaml").write_text(json.dumps(corpus("one")))
    failed_in_one_sentence(build(home), 1, "already the name of")
    (home / "manifests/corpora/again.yaml").unlink()
    write_manifests(home / "manifests", [], {"name": "small", "corpora": ["one", "nobody"]})
    failed_in_one_sentence(build(home), 1, "no corpus nobody")
    edit(home, parts=part(columns=LABEL, select=SELECT | {"where": "label = 'maybe'"}))
    failed_in_one_sentence(build(home), 1, "maybe")
    assert not (home / ".m3e").exists()


def test_an_output_folder_that_cannot_be_written(home: Path) -> None:
    (home / "build").write_text("a file")
    failed_in_one_sentence(build(home), 1, "build", "--out")
    failed_in_one_sentence(build(home, "--store", "build"), 1, "build", "--store")


def test_answers_without_loading_anything_heavy(home: Path) -> None:
    build(home)
    asked = (["--help"], ["check"], ["corpora"], ["build", "small", "--manifests", "manifests"])
    for words in asked:
        light(words, home)


def light(words: list[str], home: Path) -> None:
    script = "import sys\nfrom pipeline.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
    heavy = {"polars", "pyarrow", "numba", "torch", "prefect", "datasets", "huggingface_hub", "jinja2"}
    script += f"heavy = {heavy} & set(sys.modules)\n"
    script += "assert not heavy, heavy\n"
    done = subprocess.run([sys.executable, "-c", script, *words], cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert words[0] != "build" or "Nothing changed" in done.stdout


def test_help_names_every_verb() -> None:
    told = m3e("--help").stdout
    for verb in ("check", "corpora", "plan", "build", "explain", "preview", "report"):
        assert verb in told
        assert m3e(verb, "--help").returncode == 0
