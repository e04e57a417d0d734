"""The store: what is there is whole, what is not there leaves no trace."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline import code as code_module
from pipeline.code import code_hash, loaded
from pipeline.errors import StoreError
from pipeline.store import Entry, Store, stage_key, write_durably


def write_two(out: Path) -> dict[str, int]:
    (out / "a.txt").write_text("one")
    (out / "deep").mkdir()
    (out / "deep" / "b.txt").write_text("two")
    return {"n": 2}


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.rglob("*")}


def test_an_entry_is_made_once_and_then_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = store.run("s", "k", write_two)
    before = snapshot(tmp_path)
    found = store.run("s", "k", lambda _: pytest.fail("made twice"))
    assert (made.cached, found.cached) == (False, True)
    assert found.receipt == {"n": 2}
    assert (
        found.files["deep/b.txt"]["sha256"] == "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"
    )  # sha256sum of "two"
    assert snapshot(tmp_path) == before


def test_a_failing_stage_leaves_nothing_under_its_name(tmp_path: Path) -> None:
    def half(out: Path) -> dict[str, int]:
        (out / "a.txt").write_text("half")
        raise ValueError("stopped")

    store = Store(tmp_path)
    with pytest.raises(ValueError, match="stopped"):
        store.run("s", "k", half)
    assert store.find("s", "k") is None
    assert not list((tmp_path / "s").iterdir())
    assert store.run("s", "k", write_two).receipt == {"n": 2}


def test_what_a_killed_process_left_is_swept_and_made_again(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from pipeline.store import Store
        def work(out):
            (out / "a.txt").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
        Store(Path(sys.argv[1])).run("s", "k", work)
        """
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert (tmp_path / "s" / "k.tmp" / "a.txt").exists()
    store = Store(tmp_path)
    assert store.find("s", "k") is None
    store.run("s", "k", write_two)
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == ["k"]


def test_a_damaged_entry_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.run("s", "k", write_two).path / "a.txt"
    path.chmod(0o644)
    path.write_text("longer than it was")
    assert store.find("s", "k") is None
    assert (store.run("s", "k", write_two).path / "a.txt").read_text() == "one"


def _count(root: Path, log: Path) -> Entry:
    def work(out: Path) -> dict[str, int]:
        with log.open("a") as file:
            file.write("made\n")
        return write_two(out)

    return Store(root).run("s", "k", work)


def test_two_processes_make_one_entry(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        entries = pool.starmap(_count, [(tmp_path / "store", log)] * 8)
    assert log.read_text() == "made\n"
    assert len({json.dumps(e.receipt) for e in entries}) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_store_is_a_sentence_for_users(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(StoreError, match="right to write"):
        Store(tmp_path / "store").run("s", "k", write_two)


def test_a_file_in_the_place_of_the_store_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(StoreError, match=r"Cure: .*--store"):
        Store(tmp_path / "store").run("s", "k", write_two)


def test_the_key_follows_code_but_not_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "pipeline"
    package.mkdir()
    monkeypatch.setattr(code_module, "__file__", str(package / "code.py"))

    def hashed(stage: str, tool: str) -> str:
        (package / "stage.py").write_text(stage)
        (package / "tool.py").write_text(tool)
        code_hash.cache_clear()
        code_module._read_module.cache_clear()
        return code_hash("pipeline.stage")

    plain = hashed("from pipeline.tool import f\n", "def f(x):\n    return x\n")
    assert hashed("from pipeline.tool import f\n", 'def f(x):\n    """Told."""\n    return x  # told\n') == plain
    assert hashed("from pipeline.tool import f\n", "def f(x):\n    return x + 1\n") != plain
    assert hashed("from pipeline.tool import f as g\n", "def f(x):\n    return x\n") != plain
    code_hash.cache_clear()
    code_module._read_module.cache_clear()


def test_a_module_is_looked_through_once_for_each_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "pipeline"
    package.mkdir()
    monkeypatch.setattr(code_module, "__file__", str(package / "code.py"))
    looked: list[str] = []
    plain = code_module._looked_through

    def noted(module: str, source: bytes) -> object:
        looked.append(module)
        return plain(module, source)

    monkeypatch.setattr(code_module, "_looked_through", noted)

    def hashed(stage: str) -> str:
        """As a new process finds it."""
        (package / "stage.py").write_text(stage)
        for known in (code_hash, code_module._read_module, code_module._remembered):
            known.cache_clear()
        return code_hash("pipeline.stage")

    first = hashed("x = 1\n")
    assert hashed("x = 1\n") == first and looked == ["pipeline.stage"]
    second = hashed("x = 2\n")
    assert second != first and len(looked) == 2
    code_module._memory().write_text("{")  # half-written: as if there were none
    assert hashed("x = 2\n") == second and len(looked) == 3
    for known in (code_hash, code_module._read_module, code_module._remembered):
        known.cache_clear()


def test_a_neighbour_is_no_reason_to_make_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = tmp_path / "pipeline" / "room"
    room.mkdir(parents=True)
    monkeypatch.setattr(code_module, "__file__", str(tmp_path / "pipeline" / "code.py"))

    def behind(**modules: str) -> set[str]:
        written = {"__init__": "from pipeline.room.neighbour import g\n__all__ = ['g']\n", "neighbour": "g = 1\n"}
        for name, content in (written | {"kinds": "T = int\n"} | modules).items():
            (room / f"{name}.py").write_text(content)
        code_module._read_module.cache_clear()
        return set(code_module.modules_behind("pipeline.room.stage"))

    alone = {"pipeline.room.stage"}
    assert behind(stage="x = 1\n") == alone
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pipeline.room.kinds import T\n"
    assert behind(stage=typed) == alone
    assert behind(stage="def f():\n    from pipeline.room.kinds import T\n") == alone | {"pipeline.room.kinds"}
    whole = alone | {"pipeline.room", "pipeline.room.neighbour"}
    assert behind(stage="from pipeline.room import g\n") == whole
    # A package that does something when it is imported may change what its modules do.
    assert behind(stage="x = 1\n", __init__="from pipeline.room.neighbour import g\ng.limit = 2\n") == whole
    code_module._read_module.cache_clear()


def test_vectors_hang_on_what_decides_them_alone() -> None:
    room = "pipeline.encode."
    shared = {room + "stage", room + "encoder"}
    found = [code_module.modules_behind(room + name) for name in ("stage", "nano", "model")]
    assert found[0].keys() == shared
    assert found[1].keys() == {room + "nano", room + "encoder"}
    assert found[2].keys() == {room + "model", room + "batches", room + "encoder"}


def test_the_key_follows_every_part() -> None:
    base = stage_key("s", "pipeline.errors", {"a": 1}, ["x", "y"])
    others = [
        stage_key("t", "pipeline.errors", {"a": 1}, ["x", "y"]),
        stage_key("s", "pipeline.record", {"a": 1}, ["x", "y"]),
        stage_key("s", "pipeline.errors", {"a": 2}, ["x", "y"]),
        stage_key("s", "pipeline.errors", {"a": 1}, ["y", "x"]),
        stage_key("s", "pipeline.errors", {"a": 1}, ["x", "y"], libraries=["polars"]),
    ]
    assert len({base, *others}) == 6
    assert base == stage_key("s", "pipeline.errors", {"a": 1}, ["x", "y"])


def test_a_durable_write_replaces_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_durably(path, b"one")
    write_durably(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_many_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.with_name(".x.json.part").write_bytes(b"what a killed process left")
    letters = (b"a", b"b", b"c", b"d")

    def write_often(letter: bytes) -> None:
        for size in range(1, 200):
            write_durably(path, letter * size * 100)

    with ThreadPoolExecutor(len(letters)) as writers:
        list(writers.map(write_often, letters))
    assert path.read_bytes() in {letter * 199 * 100 for letter in letters}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


LOADS = """
import builtins, time
assert not hasattr(builtins, "_loads_here"), "another one is loading"
builtins._loads_here = True
time.sleep(0.1)
del builtins._loads_here
"""


def test_stages_are_loaded_one_at_a_time_and_before_their_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"loads_alone_{n}" for n in range(4)]
    for name in names:
        (tmp_path / f"{name}.py").write_text(LOADS)
    monkeypatch.syspath_prepend(tmp_path)
    works = [loaded(name, lambda _, name=name: name in sys.modules) for name in names]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda work: work(tmp_path), works)) == [True] * 4
