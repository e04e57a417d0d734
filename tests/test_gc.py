"""Collecting the store: what a build needs stays, to the byte; the rest goes, and only when nobody is at work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from pipeline.build import build
from pipeline.context import context_of
from pipeline.errors import StoreError
from pipeline.gc import Survey, collect, survey
from pipeline.manifest.catalog import read_catalog
from pipeline.report.opened import open_build
from pipeline.runner import Threads
from pipeline.store import Store
from tests.command import ROOT, m3e
from tests.small import CLOSED, corpus, write_manifests, write_rows
from tests.test_build import pairs, run, snapshot


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    folder = write_manifests(tmp_path / "manifests", [corpus("one"), corpus("two", licence=CLOSED)], {"name": "small"})
    write_rows(folder, "one", pairs(0, 5))
    write_rows(folder, "two", pairs(3, 8))
    return folder


def kinds(found: Survey) -> dict[str, int]:
    told: dict[str, int] = {}
    for item in found.unused:
        told[item.kind] = told.get(item.kind, 0) + 1
    return told


def test_what_builds_use_stays_and_the_next_build_finds_it(manifests: Path, tmp_path: Path) -> None:
    path, _, _ = run(manifests, tmp_path)
    store = Store(tmp_path / "store")
    assert kinds(survey(store)) == {}
    before = snapshot(tmp_path / "store")
    assert collect(store).unused == () and snapshot(tmp_path / "store").keys() >= before.keys()
    # Another threshold: other marks, decisions and data; the old build folder gives way to the new one.
    write_manifests(manifests, [], {"name": "small", "quality": {"min_chars": 3}})
    run(manifests, tmp_path)
    found = survey(store)
    # Of "one" the same rows are kept, so its data is the same; the entry that made it is another one.
    assert kinds(found) == {"quality": 2, "resolve": 1, "assemble": 2, "profile": 2, "papers": 1}
    gone = [item.path for item in found.unused]
    listed = [file for path in gone for file in path.rglob("*") if file.is_file()]
    assert found.bytes == sum(file.stat().st_size for file in listed)
    built = snapshot(tmp_path / "out")
    assert collect(store).bytes == found.bytes and not any(path.exists() for path in gone)
    assert snapshot(tmp_path / "out") == built
    _, changed, outcome = run(manifests, tmp_path)
    assert not changed and all(entry.cached for entry in outcome.entries.values())
    texts = json.loads((path / "run.json").read_bytes())["text"]
    assert all(Path(text).is_file() for paths in texts.values() for text in paths)  # for m3e explain


def test_without_its_build_nothing_of_it_stays(manifests: Path, tmp_path: Path) -> None:
    path, _, _ = run(manifests, tmp_path)
    shutil.rmtree(path)
    (tmp_path / "store" / "convert" / f"{'0' * 32}.tmp").mkdir()
    (tmp_path / "store" / "manual" / "one").mkdir(parents=True)
    (tmp_path / "store" / "manual" / "one" / "corpus.zip").write_bytes(b"fetched by a person")
    collect(Store(tmp_path / "store"))
    left = [p.relative_to(tmp_path / "store").parts for p in (tmp_path / "store").rglob("*") if p.is_file()]
    assert [parts for parts in left if parts[0] != "locks"] == [("manual", "one", "corpus.zip")]
    assert {parts[1] for parts in left if parts[0] == "locks"} <= {"in-use.lock"} | {
        parts[1] for parts in left if parts[1].startswith("out-")
    }


def test_a_build_on_another_disk_is_named(manifests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _, _ = run(manifests, tmp_path)
    for file in [p for p in path.rglob("*.parquet")]:  # as folder._link leaves it across disks
        copy = file.with_name("copy")
        shutil.copyfile(file, copy)
        os.replace(copy, file)
    store = Store(tmp_path / "store")
    assert len(survey(store).unused) == sum(1 for _ in (tmp_path / "store").glob("*/*/entry.json"))
    elsewhere = os.stat("/proc").st_dev
    plain = Path.stat

    def stat(self: Path, **told: bool) -> os.stat_result:
        found = plain(self, **told)
        if self != path:
            return found
        return os.stat_result((*found[:2], elsewhere, *found[3:10]))

    monkeypatch.setattr(Path, "stat", stat)
    assert kinds(survey(store, [open_build(path)])) == {}


def test_sources_of_the_web_stay_while_a_build_lists_them(tmp_path: Path, server: object) -> None:
    base = server.base  # type: ignore[attr-defined]
    rows = pl.DataFrame(pairs(0, 4)).write_ndjson().encode()
    server.files |= {"one.jsonl": rows, "old.jsonl": rows + b"\n"}  # type: ignore[attr-defined]
    web = corpus("one", source={"kind": "http", "base": base})
    folder = write_manifests(tmp_path / "manifests", [web], {"name": "small"})
    old = [{**web["parts"][0], "files": {"train": "old.jsonl"}}]
    write_manifests(folder, [web | {"parts": old}])
    run(folder, tmp_path)
    write_manifests(folder, [web])
    run(folder, tmp_path)
    blobs = tmp_path / "store" / "downloads" / "blobs"
    assert len(list(blobs.iterdir())) == 2
    assert kinds(collect(Store(tmp_path / "store")))["downloads"] == 1
    (left,) = blobs.iterdir()
    assert left.read_bytes() == rows
    asked = len(server.requests)  # type: ignore[attr-defined]
    assert run(folder, tmp_path)[1] is False and len(server.requests) == asked  # type: ignore[attr-defined]


HOLDING = """
import sys
from pathlib import Path
from pipeline.store import Store
with Store(Path(sys.argv[1])).in_use():
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_build_at_work_is_waited_for(manifests: Path, tmp_path: Path) -> None:
    """Entries of a build that has no folder yet look like nobody's."""
    catalog = read_catalog([manifests], shipped=False)
    runner = Threads(2)
    build(context_of(catalog, catalog.recipe("small"), tmp_path / "store"), runner)
    runner.close()
    store = Store(tmp_path / "store")
    assert survey(store).unused
    command = [sys.executable, "-c", HOLDING, str(tmp_path / "store")]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        before = snapshot(tmp_path / "store")
        with pytest.raises(StoreError, match=r"a build is at work .* Cure: run this again when it is done"):
            collect(store)
        assert snapshot(tmp_path / "store").keys() == before.keys()
        with store.in_use():  # builds do not wait for each other
            pass
        holder.communicate(b"\n")
    assert collect(store).unused and not survey(store).unused


def test_the_verb_shows_first_and_removes_when_told(manifests: Path, tmp_path: Path) -> None:
    path, _, _ = run(manifests, tmp_path)
    shutil.rmtree(path)
    shown = m3e("gc", "--store", tmp_path / "store", cwd=tmp_path)
    assert shown.returncode == 0 and "Nothing was removed" in shown.stdout and "assemble" in shown.stdout
    assert list((tmp_path / "store").glob("assemble/*/entry.json"))
    done = m3e("gc", "--store", tmp_path / "store", "--yes", cwd=tmp_path)
    assert done.returncode == 0 and "Removed" in done.stdout
    assert not list((tmp_path / "store").glob("*/*/entry.json"))
    assert "Nothing to remove" in m3e("gc", "--store", tmp_path / "store", cwd=tmp_path).stdout
    missing = m3e("gc", "--store", tmp_path / "none", "--yes", cwd=tmp_path)
    assert missing.returncode == 1 and "there is no store here" in missing.stderr
