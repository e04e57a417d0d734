"""A disk that fills up at any stage ends in one sentence, keeps what was finished, and the next run ends the same."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import failpoints
from tests import whole_build
from tests.command import ROOT
from tests.whole_build import STAGES, content, finished, start, world

#: Bytes that any one file may have: fewer than the smallest parquet file, receipt or lock of a download.
ROOM = 200


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("undisturbed")
    world(base / "manifests")
    assert finished(start(base / "manifests", base / "whole")) == 0
    assert (base / "whole" / "said").read_text("utf-8") == ""
    return base


def keys(store: Path) -> dict[str, int]:
    """Finished entries of the store, with the inode of their receipt."""
    found = store.glob("*/*/entry.json")
    return {f"{p.parent.parent.name}/{p.parent.name}": p.stat().st_ino for p in found if p.parent.suffix != ".tmp"}


def fill_at_every_stage(manifests: str, base: str) -> Callable[[str], None]:
    """Builds again and again, each time with no room left from the start of the next stage on; the last time with room."""
    room, told, reach = resource.getrlimit(resource.RLIMIT_FSIZE), {}, failpoints.reach

    def without_room_from(stage: str) -> Callable[[str], None]:
        def hear(name: str) -> None:
            if name.startswith(f"{stage}:"):
                resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, room[1]))

        return hear

    for stage in (*STAGES, "folder"):
        before = keys(Path(base, "store"))
        try:
            said = whole_build.build(Path(manifests), Path(base), without_room_from(stage))
        except BaseException as error:  # told by the test
            said = f"NOT TYPED {type(error).__name__}: {error}"
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, room)
        after = keys(Path(base, "store"))
        left = [p.name for p in Path(base).glob("store/*/*.tmp")] + [p.name for p in Path(base).glob("out/*/*.part")]
        told[stage] = {"said": said, "kept": before.items() <= after.items(), "made": sorted(after), "left": left}
    Path(base, "told.json").write_text(json.dumps(told), "utf-8")
    return reach


def test_no_room_at_any_stage_is_a_sentence_and_the_next_run_goes_on(undisturbed: Path, tmp_path: Path) -> None:
    manifests = undisturbed / "manifests"
    assert finished(start(manifests, tmp_path, fill_at_every_stage, str(manifests), str(tmp_path))) == 0
    told = json.loads((tmp_path / "told.json").read_text("utf-8"))
    for stage, one in told.items():
        assert "Cure: " in one["said"] and "disk" in one["said"], (stage, one["said"])
        assert one["kept"] and not one["left"], (stage, one)
        assert not any(key.startswith(f"{stage}/") for key in one["made"]), stage
    assert (tmp_path / "said").read_text("utf-8") == ""  # the last run, with room
    assert content(tmp_path) == content(undisturbed / "whole")
    made = keys(tmp_path / "store")
    assert all(key in made for key in told["folder"]["made"])


ON_TMPFS = """
import subprocess, sys
from pathlib import Path
from tests import whole_build
manifests, disk, steps = Path(sys.argv[1]), sys.argv[2], iter(range(1000))
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=True)
for step in steps:
    said = whole_build.build(manifests, Path(disk))
    left = [p.name for p in Path(disk).glob("store/*/*.tmp")]
    print(f"{64 << step}k", len(left), said.replace(chr(10), " "), sep="\\t", flush=True)
    if not said:
        break
    subprocess.run(["mount", "-o", f"remount,size={128 << step}k", disk], check=True)
import json
print(json.dumps(whole_build.content(Path(disk))))
"""


def can_mount() -> bool:
    """Linux lets a process be root of a world of its own, unless it is told not to."""
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="no tmpfs can be mounted here (unshare -rm)")
def test_a_disk_that_grows_by_and_by_ends_with_the_same_bytes(undisturbed: Path, tmp_path: Path) -> None:
    command = ["unshare", "-rm", sys.executable, "-c", ON_TMPFS, str(undisturbed / "manifests"), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    *attempts, last = done.stdout.splitlines()
    told = [line.split("\t") for line in attempts]
    assert len(told) > 3 and told[-1][2] == ""
    for size, left, said in told[:-1]:
        assert "the disk is full" in said and "Cure: free some space" in said, (size, said)
        assert left == "0", size
    assert json.loads(last) == content(undisturbed / "whole")
