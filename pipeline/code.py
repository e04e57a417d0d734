"""The code of a stage: loaded where it has work, and as one hash, which makes a store forget what it no longer gives."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

Made = TypeVar("Made")

#: numba, while it is imported, cannot bear that another thread imports what adds a name to `builtins`, as C++ does.
_LOADING = threading.Lock()
#: Python 3.11's parser counts its recursion per interpreter: two threads in it at once can end in a SystemError.
_PARSING = threading.Lock()
#: What is remembered of modules holds for this way of looking through them alone.
_BY = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
#: Modules looked through that are not remembered on the disk yet.
_NEW: set[str] = set()
#: Modules that decide no byte of an output.
NO_BYTES = ("pipeline", "pipeline.disk", "pipeline.errors", "pipeline.failpoints", "pipeline.heap")


def loaded(module: str, work: Callable[[Path], Made]) -> Callable[[Path], Made]:
    """The same work, before which its module is loaded; threads load one at a time."""

    def ready(out: Path) -> Made:
        with _LOADING:
            importlib.import_module(module)
        return work(out)

    return ready


@cache
def code_hash(module: str) -> str:
    """sha256 of the code that an output comes from: see `modules_behind`."""
    return hashlib.sha256(json.dumps(modules_behind(module), sort_keys=True).encode()).hexdigest()


def modules_behind(module: str) -> dict[str, str]:
    """A module and every `pipeline` module it imports, with the sha256 of each, comments and docstrings left out.

    What decides no byte of an output is left out: errors and refusals of the disk, as the wording of a message does not, and
    failpoints; imports that only a type checker sees; and the `__init__` of a package around an imported module, where it
    does no more than hand on names. So a module that imports little is not made anew because of its neighbours.
    """
    todo, seen = [module], dict[str, str]()
    with _PARSING:
        while todo:
            name = todo.pop()
            if name in seen or name in NO_BYTES:
                continue
            if (read := _read_module(name)) is not None:
                seen[name] = read.digest
                package = _read_module(name.rpartition(".")[0])
                todo += read.imports if package is None or package.hands_on else [*read.imports, package.name]
        if _NEW:
            _NEW.clear()
            _remember(_memory())
    return seen


class _Read(NamedTuple):
    """A module: its sha256, the names it imports, and whether there is nothing else in it."""

    name: str
    digest: str
    imports: list[str]
    hands_on: bool


@cache
def _read_module(module: str) -> _Read | None:
    """None for what is no module of this package."""
    path = _source_of(module)
    if path is None:
        return None
    source, remembered = path.read_bytes(), _remembered(_memory())
    told = hashlib.sha256(source).hexdigest()
    if (known := remembered.get(module)) and known[0] == told:
        return _Read(module, *known[1:])
    read = _looked_through(module, source)
    remembered[module] = [told, *read[1:]]
    _NEW.add(module)
    return read


def _looked_through(module: str, source: bytes) -> _Read:
    tree = _parsed(source)
    tree.body = [node for node in tree.body if not _for_type_checkers(node)]
    imports: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            imports += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
    plain = _without_docstrings(tree)
    digest = hashlib.sha256(ast.dump(plain).encode()).hexdigest()
    return _Read(module, digest, imports, all(_hands_on(node) for node in plain.body))


def _parsed(source: bytes) -> ast.Module:
    """Python counts the depth of a tree per process: another thread that parses as well upsets it, and only the clock helps.

    Source: https://github.com/python/cpython/issues/106905, SystemError "AST constructor recursion depth mismatch".
    """
    for wait_s in (0.0, 0.01, 0.1, 0.5, 1.0, 3.0):
        try:
            return ast.parse(source)
        except SystemError:
            time.sleep(wait_s)
    return ast.parse(source)


def _memory() -> Path:
    """Where it is kept what was found in modules: beside the modules that Python compiled, as that takes time as well."""
    return Path(importlib.util.cache_from_source(str(Path(__file__)))).with_suffix(".json")


@cache
def _remembered(memory: Path) -> dict[str, list[Any]]:
    """Module -> the sha256 of its source when it was looked through, and what `_Read` holds of it."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        told = json.loads(memory.read_bytes())
        if told["by"] == _BY:
            return dict(told["modules"])
    return {}


def _remember(memory: Path) -> None:
    """Written for the next process; one that cannot be, or that another overwrites, costs that process its time."""
    with suppress(OSError):
        memory.parent.mkdir(exist_ok=True)
        part = memory.with_suffix(f".{os.getpid()}.part")
        try:
            part.write_text(json.dumps({"by": _BY, "modules": _remembered(memory)}), "utf-8")
            part.replace(memory)
        finally:
            part.unlink(missing_ok=True)


def _for_type_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _hands_on(node: ast.stmt) -> bool:
    """An import, or a list of names."""
    named = isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]
    return named or isinstance(node, ast.Import | ast.ImportFrom)


def _source_of(module: str) -> Path | None:
    """The file of a module of this package; None for anything else (`pipeline.record.SHARD_ROWS`, `numpy`)."""
    root, *parts = module.split(".")
    if root != "pipeline":
        return None
    base = Path(__file__).parent.joinpath(*parts)
    candidates = (base / "__init__.py", base.with_suffix(".py"))
    return next((path for path in candidates if path.is_file()), None)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return tree
