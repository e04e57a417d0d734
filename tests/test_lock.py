"""The lock: what is written, kept and refused."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.build import build as plain_build
from pipeline.context import context_of
from pipeline.errors import CurationError, ManifestError, UsageError
from pipeline.lock import lock
from pipeline.manifest.catalog import read_catalog
from pipeline.manifest.lock import Lock, read_lock
from pipeline.report.plan import plan
from pipeline.runner import Threads
from pipeline.store import Store
from tests.command import m3e, started
from tests.http_double import FileServer
from tests.hub_double import HubDouble
from tests.small import corpus, write_manifests, write_rows
from tests.test_build import pairs
from tests.test_fetch_sources import rows


@pytest.fixture
def home(tmp_path: Path, server: FileServer) -> Path:
    server.files["a/one.jsonl"] = rows()
    told = corpus(
        "one",
        source={"kind": "http", "base": f"{server.base}/a"},
        alternates=[{"source": {"kind": "http", "base": f"{server.base}/b"}}],
    )
    folder = write_manifests(
        tmp_path / "manifests", [told, corpus("two")], {"name": "small", "corpora": ["one", "two"]}
    )
    write_rows(folder, "two", pairs(5, 8))
    return tmp_path


def written(home: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((home / "manifests/m3e.lock").read_bytes())
    return told


def look(home: Path, *names: str, every: bool = False) -> list[str]:
    catalog = read_catalog([home / "manifests"], shipped=False)
    return [one.sentence for one in lock(catalog, names, Store(home / ".m3e"), every=every)]


def told(name: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def build(home: Path, *, frozen: bool = False, store: str = ".m3e") -> str:
    """Every gap of a build, or the sentence it failed with; made in this process."""
    catalog = read_catalog([home / "manifests"], shipped=False)
    runner = Threads(1)
    try:
        context = context_of(catalog, catalog.recipe("small"), home / store, frozen=frozen)
        return "".join(
            f"gap: {gap.corpus}: {gap.cause}. Cure: {gap.cure}\n" for gap in plain_build(context, runner).gaps
        )
    except CurationError as error:
        return str(error)
    finally:
        runner.close()


def test_what_was_seen_is_written_and_what_was_not_is_kept_with_the_reason(home: Path, server: FileServer) -> None:
    assert len(look(home)) == 2
    two = (home / "manifests/files/two.jsonl").read_bytes()
    a = {"kind": "http", "place": f"{server.base}/a", "files": [told("one.jsonl", rows())]}
    local = {"kind": "local", "place": "../files", "files": [told("two.jsonl", two)]}
    assert written(home) == {"benchmarks": {}, "corpora": {"one": [a], "two": [local]}}
    before = (home / "manifests/m3e.lock").read_bytes()
    look(home)
    assert (home / "manifests/m3e.lock").read_bytes() == before
    (home / "manifests/files/two.jsonl").unlink()
    said = look(home, "two", "one", every=True)
    gone = "no file matches 'two.jsonl' in ./../files"
    missing = f"{server.base}/b/one.jsonl: there is no such file (404)"
    assert written(home)["corpora"] == {
        "one": [a, {"kind": "http", "place": f"{server.base}/b", "files": [], "unreached": missing}],
        "two": [local | {"unreached": gone}],
    }
    assert said[-1] == f"two: local ../files: not reached: {gone}"
    assert str(home) not in (home / "manifests/m3e.lock").read_text()
    with pytest.raises(UsageError, match="no corpus or benchmark three"):
        look(home, "three")


def test_rows_are_those_a_build_counted(home: Path) -> None:
    build(home)
    look(home)
    assert [source["rows"] for sources in written(home)["corpora"].values() for source in sources] == [5, 3]
    (home / "manifests/files/two.jsonl").write_bytes(rows(count=2))
    look(home)
    assert "rows" not in written(home)["corpora"]["two"][0]


def test_frozen_takes_what_the_lock_holds_and_nothing_else(home: Path, server: FileServer) -> None:
    refused = m3e("build", "small", "--manifests", "manifests", "--frozen", cwd=home)
    assert refused.returncode == 1
    assert f"the lock holds nothing of http {server.base}/a" in refused.stderr
    assert "run: m3e lock one" in refused.stderr
    assert not server.requests
    look(home, "one")
    only_two = "gap: two: two: the lock holds nothing of local ../files. Cure: run: m3e lock two\n"
    assert build(home, frozen=True) == only_two
    look(home, "two")
    assert build(home, frozen=True) == ""
    more = corpus("two", parts=[corpus("two")["parts"][0] | {"files": {"train": ["two.jsonl", "more.jsonl"]}}])
    write_manifests(home / "manifests", [more])
    (home / "manifests/files/more.jsonl").write_bytes(rows(count=1))
    assert "the lock does not hold 'more.jsonl'. Cure: run: m3e lock two" in build(home, frozen=True)
    assert build(home) == ""


def test_bytes_that_differ_from_the_lock_are_refused_naming_both_sums(home: Path, server: FileServer) -> None:
    look(home)
    two = (home / "manifests/files/two.jsonl").read_bytes()
    server.files |= {"a/one.jsonl": rows(count=4), "b/one.jsonl": rows()}
    (home / "manifests/files/two.jsonl").write_bytes(rows(count=1))
    for frozen in (False, True):
        said = build(home, frozen=frozen, store=f"fresh{frozen}")
        for new, old in ((rows(count=4), rows()), (rows(count=1), two)):
            assert (
                f"has sha256 {hashlib.sha256(new).hexdigest()}, but the lock says {hashlib.sha256(old).hexdigest()}"
                in said
            )
        assert "to accept it, run: m3e lock one" in said
    look(home, "one")
    assert build(home).count("but the lock says") == 1


def test_the_verb_says_what_it_did(home: Path, server: FileServer) -> None:
    done = m3e("lock", "one", "--manifests", "manifests", cwd=home)
    assert done.returncode == 0, done.stderr
    assert f"one: http {server.base}/a: 1 file(s), {len(rows()):,} bytes\nLocked 1 of 1." in done.stdout
    server.files.clear()
    done = m3e("lock", "one", "--manifests", "manifests", "--store", "fresh", cwd=home)
    assert done.returncode == 1
    assert done.stdout.count("not reached") == 2
    assert written(home)["corpora"]["one"][0]["files"] == [told("one.jsonl", rows())]


def test_a_damaged_lock_is_told_and_an_absent_one_is_empty(home: Path) -> None:
    assert read_lock(home / "nothing.lock") == Lock()
    (home / "manifests/m3e.lock").write_text('{"corpora": {"one": [{"kind": "http"}]}}')
    with pytest.raises(ManifestError, match=r"m3e\.lock:1:1 corpora\.one\.0\.place: Field required; the file is gen"):
        read_lock(home / "manifests/m3e.lock")
    assert "the file is generated" in build(home)


def test_plan_asks_no_network(home: Path, server: FileServer) -> None:
    catalog = read_catalog([home / "manifests"], shipped=False)
    (before,) = [plan(catalog, catalog.recipe("small"), home / ".m3e")]
    assert not server.requests and not before["gaps"]
    assert {step["state"] for step in before["steps"]} == {"to run"}
    build(home)
    asked = len(server.requests)
    after = plan(catalog, catalog.recipe("small"), home / ".m3e")
    assert {step["state"] for step in after["steps"]} == {"cached"}
    assert len(server.requests) == asked


def test_a_locked_commit_is_built_while_its_branch_moves_on(tmp_path: Path) -> None:
    """On the Hub: a script repository's parquet conversion, resolved once, then held."""
    source = {"kind": "hub", "repo": "people/pairs", "revision": None, "ref": "refs/convert/parquet"}
    folder = write_manifests(
        tmp_path / "manifests", [corpus("one", source=source)], {"name": "small", "corpora": ["one"]}
    )
    with HubDouble() as hub:
        environment = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "*"}

        def run(*words: str) -> str:
            done = started(*words, "--manifests", str(folder), cwd=tmp_path, **environment)
            return done.stdout + done.stderr

        hub.commit("people/pairs", {"one.jsonl": b"wrong branch"})
        first = hub.commit("people/pairs", {"one.jsonl": rows()}, ref="refs/convert/parquet")
        assert "Locked 1 of 1." in run("lock", "one")
        (locked,) = json.loads((folder / "m3e.lock").read_bytes())["corpora"]["one"]
        assert (locked["place"], locked["commit"]) == ("people/pairs@refs/convert/parquet", first)
        assert locked["files"] == [told("one.jsonl", rows())]
        hub.commit("people/pairs", {"one.jsonl": rows(count=3)}, ref="refs/convert/parquet")
        assert "Built" in run("build", "small", "--frozen", "--store", "fresh")
        receipt = json.loads((tmp_path / "build/small/build.json").read_bytes())
        assert (receipt["lock"]["one"]["revision"], receipt["counts"]["read"]) == (first, 5)
        os.remove(folder / "m3e.lock")
        run("build", "small", "--store", "fresh")
        assert json.loads((tmp_path / "build/small/build.json").read_bytes())["counts"]["read"] == 3


def test_large_hub_files_are_locked_by_their_listed_sum_alone(tmp_path: Path) -> None:
    part = corpus("one")["parts"][0] | {"files": {"train": ["one.jsonl", "big.jsonl.gz"]}}
    source = {"kind": "hub", "repo": "people/pairs", "revision": None}
    folder = write_manifests(tmp_path / "manifests", [corpus("one", source=source, parts=[part])])
    with HubDouble() as hub:
        hub.commit("people/pairs", {"one.jsonl": rows(), "big.jsonl.gz": b"many rows"})
        environment = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "*"}
        done = started("lock", "--manifests", str(folder), "one", cwd=tmp_path, **environment)
        assert "2 file(s)" in done.stdout
        (locked,) = json.loads((folder / "m3e.lock").read_bytes())["corpora"]["one"]
        assert locked["files"] == [told("big.jsonl.gz", b"many rows"), told("one.jsonl", rows())]
        assert not [request for request in hub.requests if "_cdn" in request.path]


def test_a_frozen_build_needs_the_locks_of_its_benchmarks_too(home: Path) -> None:
    benchmark = {
        "name": "bench",
        "task": "Bench",
        "source": {"kind": "local", "root": "../files"},
        "splits": ["test"],
        "parts": [
            {
                "files": {"test": "bench.jsonl"},
                "layout": "jsonl",
                "columns": {"q": "string"},
                "texts": [{"role": "query", "text": "q"}],
            }
        ],
    }
    recipe = {"name": "small", "corpora": ["one", "two"], "decontaminate": {"benchmarks": ["bench"]}}
    write_manifests(home / "manifests", [], recipe, [benchmark])
    write_rows(home / "manifests", "bench", [{"q": "从来没有见过的问题"}])
    look(home, "one", "two")
    assert "bench: the lock holds nothing of local ../files" in build(home, frozen=True)
    look(home, "bench")
    assert [file["name"] for file in written(home)["benchmarks"]["bench"][0]["files"]] == ["bench.jsonl"]
    assert build(home, frozen=True) == ""
