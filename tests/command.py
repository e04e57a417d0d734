"""The command line from tests: in this process, which has everything loaded, or started as a user starts it."""

from __future__ import annotations

import atexit
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from pipeline.cli import main

ROOT = Path(__file__).resolve().parents[1]
#: Wide enough that no table is cut.
WIDE = {"COLUMNS": "160"}


def m3e(*words: str | Path, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """What `m3e WORDS` says and its exit code, without the seconds that a process takes to load polars and numba.

    An error that is no sentence comes out as itself. What a library reads once when it is imported (HF_ENDPOINT) cannot
    be told here: see `started`.
    """
    command, out, err, code = ["m3e", *map(str, words)], io.StringIO(), io.StringIO(), 0
    with (
        patch.dict(os.environ, WIDE | env),
        patch.object(sys, "argv", command),
        chdir(cwd),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


def started(*words: str | Path, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own, whose environment tells of no other Hub and no manifests but by `env`."""
    kept = {name: told for name, told in os.environ.items() if not name.startswith(("HF_", "HUGGING", "M3E"))}
    kept |= {"PYTHONPATH": str(ROOT), "NO_PROXY": "*", "M3E_TEST_LOOPBACK": "1", **WIDE, **env}
    return python("from pipeline.cli import main; main()", *words, cwd=cwd, env=kept)


def python(
    script: str, *words: str | Path, env: Mapping[str, str], cwd: Path = ROOT, merged: bool = False
) -> subprocess.CompletedProcess[str]:
    """`python -c SCRIPT WORDS`, in a fork of one process that has loaded what most scripts need (`tests/preloaded.py`).

    `merged` puts both streams into stdout. For what depends on the start itself (PYTHONHASHSEED, NUMBA_NUM_THREADS, what
    is imported when), start a process.
    """
    command = [sys.executable, "-c", script, *map(str, words)]
    if sys.platform != "linux":  # elsewhere a fork may not use what its parent has loaded
        to = subprocess.STDOUT if merged else subprocess.PIPE
        return subprocess.run(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=to, text=True, check=False)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        err = out if merged else Path(folder, "err")
        out.touch()
        err.touch()
        told = {"script": script, "words": command[3:], "env": dict(env), "cwd": str(cwd)}
        code = _Forks.ask(told | {"out": str(out), "err": str(err)})
        return subprocess.CompletedProcess(
            command, code, out.read_text("utf-8"), "" if merged else err.read_text("utf-8")
        )


class _Forks:
    """The process that forks; started by the first job, one job at a time."""

    _lock = threading.Lock()
    _process: subprocess.Popen[str] | None = None

    @classmethod
    def ask(cls, job: dict[str, object]) -> int:
        with cls._lock:
            if cls._process is None:
                kept = {
                    name: told for name, told in os.environ.items() if not name.startswith(("HF_", "HUGGING", "M3E"))
                }
                cls._process = subprocess.Popen(
                    [sys.executable, "-m", "tests.preloaded"],
                    env=kept,
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                atexit.register(cls._end)
            given, answers = cls._process.stdin, cls._process.stdout
            assert given is not None and answers is not None
            given.write(json.dumps(job) + "\n")
            given.flush()
            return int(answers.readline())

    @classmethod
    def _end(cls) -> None:
        assert cls._process is not None
        cls._process.communicate()
