"""A build with scores, killed at every named failpoint and at random moments: the same command ends with the same bytes.

`make test` takes a few of the points in turn, `make soak` all of them and as many random moments (M3E_SOAK_KILLS) as
make two hundred.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from pipeline.gc import survey
from pipeline.store import Store
from tests.whole_build import STAGES, content, finished, made, moments, points, start, world


def soaked() -> int:
    """How many kills a soak asks for; 0 in the suite."""
    return int(os.environ.get("M3E_SOAK_KILLS", "0"))


def told(line: str) -> None:
    """A soak says how far it is: it may be cut off itself."""
    if soaked():
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str], int]:
    """An undisturbed build: its folder, the failpoints it came to, how many files and folders it made."""
    base = tmp_path_factory.mktemp("whole")
    world(base / "manifests")
    assert finished(start(base / "manifests", base / "built", points, base / "points")) == 0
    assert (base / "built" / "said").read_text("utf-8") == ""
    return base, list(dict.fromkeys((base / "points").read_text().split())), made(base / "built")


def same_after_another_run(whole: Path, base: Path) -> None:
    assert finished(start(whole / "manifests", base)) == 0
    assert (base / "said").read_text("utf-8") == ""
    assert content(base) == content(whole / "built")
    assert not list(base.glob("store/*/*.tmp")) and sorted(p.name for p in (base / "out").iterdir()) == [
        "scored",
        "small",
    ]
    assert survey(Store(base / "store")).unused == ()
    shutil.rmtree(base)


def test_every_stage_and_rename_has_its_points(whole: tuple[Path, list[str], int]) -> None:
    _, names, _ = whole
    assert {f"{stage}:{moment}" for stage in STAGES for moment in ("start", "worked", "sealed", "renamed")} <= {*names}
    assert {f"folder:{moment}" for moment in ("start", "linked", "made", "aside", "renamed")} <= {*names}
    assert {"entry.json:written", "build.json:written"} <= {*names}


def test_killed_at_a_failpoint_a_plain_re_run_ends_the_same(whole: tuple[Path, list[str], int], tmp_path: Path) -> None:
    base, names, _ = whole
    # In the suite one process is killed again and again, further on each time.
    chosen = [[name] for name in names] if soaked() else [["convert:worked", "dedupe:sealed", "folder:aside"]]
    for number, row in enumerate(chosen):
        for name in row:
            broken = start(base / "manifests", tmp_path / str(number), point=name)
            assert finished(broken) == -signal.SIGKILL, name
        same_after_another_run(base, tmp_path / str(number))
        told(f"killed at {', '.join(row)}; the re-run ended the same")
    sys.stdout.write(
        f"{sum(map(len, chosen))} of {len(names)} failpoints: killed there, and every re-run ended the same.\n"
    )


def test_killed_at_a_random_moment_a_plain_re_run_ends_the_same(
    whole: tuple[Path, list[str], int], tmp_path: Path
) -> None:
    base, names, steps = whole
    killed, wanted = 0, max(soaked() - len(names), 1)
    for number, (moment, pause) in zip(range(2 * wanted), moments(steps, seed=5), strict=False):
        broken = start(base / "manifests", tmp_path / str(number))
        while made(tmp_path / str(number)) < moment and broken.is_alive():
            time.sleep(0.001)
        time.sleep(pause)
        if broken.is_alive():
            assert broken.pid is not None
            os.kill(broken.pid, signal.SIGKILL)
        was = finished(broken) == -signal.SIGKILL
        same_after_another_run(base, tmp_path / str(number))
        killed += was
        told(f"{'killed' if was else 'too late'} with {moment} things on disk; the re-run ended the same")
        if killed == wanted:
            break
    sys.stdout.write(f"{killed} of {number + 1} builds were killed before their end; every re-run ended the same.\n")
    assert killed == wanted
