"""The command line from tests: in this process, which has everything loaded, or started as a user starts it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
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
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=kept, capture_output=True, text=True, check=False)
