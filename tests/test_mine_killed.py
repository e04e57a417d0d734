"""Mining that is killed at any moment and run again ends with the same bytes, and mines no finished corpus again."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.finished import build
from benchmarks.yardstick import made_up

ROOT = Path(__file__).resolve().parents[1]


def kills() -> int:
    """How often to kill: 5 in the suite; `make soak` asks for more."""
    return int(os.environ.get("M3E_SOAK_KILLS", "5"))


class Miner:
    """The process that forks, and the run that is under way in it."""

    def __init__(self, inputs: Path) -> None:
        command = [sys.executable, str(ROOT / "tests/mine_child.py"), str(inputs)]
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": path}, stdin=pipe, stdout=pipe, text=True, bufsize=1
        )

    def start(self, store: Path) -> int:
        """The process id of a run into this store."""
        return self._answer(str(store))

    def wait(self) -> int:
        """How the run ended."""
        return self._answer("")

    def _answer(self, line: str) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        return int(self.process.stdout.readline())


@pytest.fixture
def miner(tmp_path: Path) -> Iterator[Miner]:
    corpora = [made_up(300, name, seed) for seed, name in enumerate(("one", "two"))]
    made = build(tmp_path / "build", corpora)
    (tmp_path / "inputs.pickle").write_bytes(pickle.dumps((made.inputs, made.known)))
    miner = Miner(tmp_path / "inputs.pickle")
    with miner.process:
        yield miner
        assert miner.process.stdin is not None
        miner.process.stdin.close()


def finished(store: Path) -> dict[str, tuple[int, dict[str, bytes]]]:
    """Of every entry under its final name the inode, and the bytes of its files."""
    entries = [path for path in store.glob("mine/*") if path.suffix != ".tmp"]
    files = {e: {str(p.relative_to(e)): p.read_bytes() for p in e.rglob("*") if p.is_file()} for e in entries}
    return {e.name: (e.stat().st_ino, files[e]) for e in entries}


def test_killed_at_any_moment_a_plain_re_run_ends_the_same(miner: Miner, tmp_path: Path) -> None:
    for store in ("compiled", "undisturbed"):  # kernels are compiled once, and kept
        began = time.monotonic()
        miner.start(tmp_path / store)
        assert miner.wait() == 0
        usual = time.monotonic() - began
    expected = {key: content for key, (_, content) in finished(tmp_path / "undisturbed").items()}
    assert {key: content for key, (_, content) in finished(tmp_path / "compiled").items()} == expected
    assert len(expected) == 2 and all(len(files) >= 4 for files in expected.values())
    chance, killed, round_ = random.Random(11), 0, 0
    before: dict[str, tuple[int, dict[str, bytes]]] = {}
    for number in range(kills()):
        store = tmp_path / f"killed-{round_}"
        broken = miner.start(store)
        time.sleep(chance.uniform(0, usual * (2 - len(before)) / 2))
        os.kill(broken, signal.SIGKILL)
        killed += miner.wait() == -signal.SIGKILL
        left = finished(store)
        assert all(content == expected[key] for key, (_, content) in left.items())
        assert all(left[key] == told for key, told in before.items())
        before = left
        if number == kills() - 1 or len(before) > 1:
            miner.start(store)
            assert miner.wait() == 0
            after = finished(store)
            assert {key: content for key, (_, content) in after.items()} == expected
            assert all(after[key] == told for key, told in before.items())
            assert not list(store.glob("mine/*.tmp"))
            round_, before = round_ + 1, {}
    assert killed >= kills() // 2
