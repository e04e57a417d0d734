"""The examples in docstrings, run module by module; a module is imported when its turn comes, so collecting loads none."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def with_examples() -> list[str]:
    """Every module of ours that holds an example, by name."""
    found = []
    for room in ("pipeline", "flows", "benchmarks", "tests"):
        for path in sorted((ROOT / room).rglob("*.py")):
            if ">>> " in path.read_text("utf-8") and path != Path(__file__):
                parts = path.relative_to(ROOT).with_suffix("").parts
                found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


@pytest.mark.parametrize("name", with_examples())
def test_examples_give_what_they_show(name: str) -> None:
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for example in doctest.DocTestFinder(exclude_empty=True).find(import_module(name), name):
        runner.run(example, out=told.append)
    assert runner.tries, f"{name} shows `>>>` where no docstring is"
    assert not runner.failures, "".join(told)
