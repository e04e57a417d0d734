"""Builds that disturb each other, a store that cannot be written, and code that nobody wrote down."""

from __future__ import annotations

import ast
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.gc import survey
from pipeline.store import Store
from tests.command import ROOT
from tests.test_hardening_disk import can_mount, undisturbed  # noqa: F401
from tests.whole_build import content, finished, start


def test_two_builds_into_one_folder_at_once_end_as_one(undisturbed: Path, tmp_path: Path) -> None:  # noqa: F811
    manifests, base = undisturbed / "manifests", tmp_path / "both"
    processes = [start(manifests, base), start(manifests, base)]
    assert [finished(process) for process in processes] == [0, 0]
    assert (base / "said").read_text("utf-8") == ""
    assert content(base) == content(undisturbed / "whole")
    assert sorted(p.name for p in (base / "out").iterdir()) == ["scored", "small"]
    assert survey(Store(base / "store")).unused == ()  # every stage was made once, and is used


READ_ONLY = """
import subprocess, sys
from pathlib import Path
from tests import whole_build
manifests, base = Path(sys.argv[1]), Path(sys.argv[2])
for folder in (base / "store", base / "out"):
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
print("again:", whole_build.build(manifests, base))
(manifests / "files" / "exam.txt").write_text("长城有多长呢\\n", "utf-8")
print("other:", whole_build.build(manifests, base))
"""


@pytest.mark.skipif(not can_mount(), reason="nothing can be mounted read-only here (unshare -rm)")
def test_a_read_only_store_serves_what_it_has_and_says_what_it_cannot(
    undisturbed: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    before = content(tmp_path / "whole")
    command = [sys.executable, "-c", READ_ONLY, str(tmp_path / "manifests"), str(tmp_path / "whole")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run(["unshare", "-rm", *command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    again, other = done.stdout.splitlines()
    assert again == "again: "
    assert "the disk is read-only. Cure: point --store and --out to a folder that can be written" in other
    assert content(tmp_path / "whole") == before


def test_a_refusal_of_the_disk_is_a_sentence_in_any_library_s_words() -> None:
    from pipeline.disk import writable

    told = [
        OSError(errno.ENOSPC, "No space left on device", "/x/text.parquet"),
        OSError("1000 requested and 12 written"),  # numpy's tofile
        RuntimeError("No space left on device (os error 28)"),  # polars
        OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"),  # pyarrow
    ]
    for error in told:
        with pytest.raises(StoreError, match=r"the disk is full. Cure: free some space"), writable(Path("/s"), "stage"):
            raise error
    for error in (RuntimeError("something else"), OSError(errno.EIO, "Input/output error"), KeyError("os")):
        with pytest.raises(type(error)) as caught, writable(Path("/s"), "stage"):
            raise error
        assert caught.value is error


#: What runs code that came as data, or brings it in.
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


def test_no_source_calls_what_runs_data() -> None:
    found = []
    for path in [*(ROOT / "pipeline").rglob("*.py"), *(ROOT / "flows").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_bytes())):
            place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {getattr(node, "module", None) or "", *(alias.name for alias in node.names)}
                if {name.partition(".")[0] for name in names} & FORBIDDEN_MODULES:
                    found.append(f"{place}: imports {names}")
            if not isinstance(node, ast.Call):
                continue
            if isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
                found.append(f"{place}: {node.func.id}()")
            named = {word.arg: word.value for word in node.keywords}
            if "trust_remote_code" in named and getattr(named["trust_remote_code"], "value", None) is not False:
                found.append(f"{place}: trust_remote_code")
            if getattr(named.get("allow_pickle"), "value", False) is not False:
                found.append(f"{place}: allow_pickle")
            is_load = isinstance(node.func, ast.Attribute) and ast.unparse(node.func) == "torch.load"
            if is_load and getattr(named.get("weights_only"), "value", None) is not True:
                found.append(f"{place}: torch.load without weights_only")
    assert found == []


AUDITED = """
import sys, traceback
from pathlib import Path
told, OURS = [], (str(Path("pipeline").resolve()), str(Path("flows").resolve()))

def judge(event, arguments):
    if event in ("exec", "compile", "pickle.find_class"):
        stack = [frame.f_code.co_filename for frame, _ in traceback.walk_stack(sys._getframe(1))]
        # Importing a module executes it; numba reads its own cache of machine code.
        if event == "pickle.find_class":
            is_bad = not any("/numba/" in name for name in stack)
        else:
            is_bad = stack[0].startswith(OURS)
        if is_bad:
            told.append(f"{event} from {stack[0]}: {str(arguments)[:200]}")
    elif event in ("socket.connect", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "marshal.loads"):
        if event != "marshal.loads" or "importlib" not in sys._getframe(1).f_code.co_filename:
            told.append(f"{event}: {str(arguments)[:200]}")

sys.addaudithook(judge)
if sys.argv[1] == "control":
    import pickle, socket
    pickle.loads(pickle.dumps(Path))
    try:
        socket.create_connection(("127.0.0.1", 1), 0.1)
    except OSError:
        pass
    exec(compile("x = 1", OURS[0] + "/made.py", "exec"))
    code = compile("eval('1')", OURS[0] + "/made.py", "exec")
    exec(code)
else:
    from pipeline.cli import main
    sys.argv = ["m3e", *sys.argv[1:]]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, ended.code
for line in told:
    print("AUDIT", line)
"""


def audited(*words: str, cwd: Path) -> list[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "NO_PROXY": "*"}
    done = subprocess.run(
        [sys.executable, "-c", AUDITED, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.removeprefix("AUDIT ") for line in done.stdout.splitlines() if line.startswith("AUDIT ")]


def test_a_whole_demo_with_scores_unpickles_nothing_runs_no_data_and_asks_no_network(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers", reason="the encoder is loaded by it (extra: mine)")
    from tests.test_scoring import Run, encoder
    from tests.tiny_model import letters, tiny_model

    encoder(tmp_path, "tiny", tiny_model(tmp_path / "tiny", [letters()], layers=1))
    Run(tmp_path).recipe(base="demo", encoder="tiny", mine={"keep": 20, "yardstick_texts": 50})
    heard = audited("control", cwd=tmp_path)
    assert {line.partition(" ")[0].rstrip(":") for line in heard} >= {"pickle.find_class", "socket.connect", "compile"}
    told = ("--manifests", str(tmp_path / "manifests"), "--out", str(tmp_path / "b"), "--store", str(tmp_path / "s"))
    assert audited("build", "scored", *told, cwd=tmp_path) == []
    assert "score" in json.loads((tmp_path / "b" / "scored" / "build.json").read_bytes())
